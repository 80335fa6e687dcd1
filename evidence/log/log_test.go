package log_test

import (
	"context"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"filippo.io/mldsa"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/evidence/record"
)

// localKeys is Signer and KeyStore in one process, with keys from fixed seeds,
// so that a log can be closed and opened again.
type localKeys struct {
	ed ed25519.PrivateKey
	pq *mldsa.PrivateKey

	mu   sync.Mutex
	fail error // guarded by mu; what Sign answers
}

func newLocalKeys(t testing.TB) *localKeys {
	t.Helper()
	seed := sha256.Sum256([]byte("log test signer"))
	pq, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return &localKeys{ed: ed25519.NewKeyFromSeed(seed[:]), pq: pq}
}

func (k *localKeys) Sign(_ context.Context, alg log.Alg, message []byte) ([]byte, error) {
	k.mu.Lock()
	err := k.fail
	k.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if alg == log.MLDSA44 {
		return k.pq.SignDeterministic(message, nil)
	}
	return ed25519.Sign(k.ed, message), nil
}

func (k *localKeys) setFail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = err
}

func (k *localKeys) private(account string) (hpke.PrivateKey, error) {
	ikm := sha256.Sum256([]byte("audit key of " + account))
	return hpke.MLKEM768X25519().DeriveKeyPair(ikm[:])
}

func (k *localKeys) NewAccountKey(_ context.Context, account string) (handle, public []byte, err error) {
	sk, err := k.private(account)
	if err != nil {
		return nil, nil, err
	}
	return []byte("handle of " + account), sk.PublicKey().Bytes(), nil
}

func (k *localKeys) OpenDEK(_ context.Context, account string, handle, enc, ct, info []byte) ([]byte, error) {
	if string(handle) != "handle of "+account {
		return nil, fmt.Errorf("handle of another account")
	}
	sk, err := k.private(account)
	if err != nil {
		return nil, err
	}
	r, err := hpke.NewRecipient(enc, sk, hpke.HKDFSHA256(), hpke.AES256GCM(), info)
	if err != nil {
		return nil, err
	}
	return r.Open(nil, ct)
}

const (
	alice = "111122223333"
	bob   = "444455556666"
)

func config(t testing.TB, dir string, c clock.Clock) log.Config {
	k := newLocalKeys(t)
	return log.Config{
		Dir: dir, Domain: "audit.test.example", Clock: c, Signer: k, Keys: k,
		Ed25519: k.ed.Public().(ed25519.PublicKey), MLDSA44: k.pq.PublicKey().Bytes(),
		SegmentSize: 8 << 20,
	}
}

func open(t testing.TB, cfg log.Config) *log.Log {
	t.Helper()
	l, err := log.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// opened is a fresh log with accounts alice and bob, closed with the test.
func opened(t testing.TB, cfg log.Config) *log.Log {
	t.Helper()
	l := open(t, cfg)
	t.Cleanup(func() { l.Close() })
	for _, a := range []string{alice, bob} {
		if err := l.CreateAccount(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// event makes a Decrypt of an account; change may alter its record.
func event(account string, at time.Time, change ...func(*record.Record)) log.Event {
	r := record.Record{
		UserIdentity: record.UserIdentity{
			Type: record.IAMUser, PrincipalID: "AIDAEXAMPLEEXAMPLE2A3", ARN: "arn:aws:iam::" + account + ":user/ward7",
			AccountID: account, AccessKeyID: "AKIAEXAMPLE234567ABC", UserName: "ward7",
		},
		EventTime: at, EventSource: "kms.amazonaws.com", EventName: "Decrypt", AWSRegion: "us-east-1",
		SourceIPAddress: "192.0.2.7", UserAgent: "aws-cli/2.15",
		RequestParameters: []byte(`{"encryptionAlgorithm":"SYMMETRIC_DEFAULT"}`),
		RequestID:         id.UUID(), EventID: id.UUID(), ReadOnly: true, ManagementEvent: true,
		RecipientAccountID: account,
		Resources:          []record.Resource{{AccountID: account, Type: "AWS::KMS::Key", ARN: "arn:aws:kms:us-east-1:" + account + ":key/1234abcd-12ab-34cd-56ef-1234567890ab"}},
	}
	for _, f := range change {
		f(&r)
	}
	e := log.Event{Account: account, ID: r.EventID, Time: at, JSON: r.AppendJSON(nil)}
	if r.Failed() {
		e.Flags |= record.Failure
	}
	if !r.ManagementEvent {
		e.Flags |= record.DataEvent
	}
	return e
}

func appendOne(t testing.TB, l *log.Log, e log.Event) log.Receipt {
	t.Helper()
	r, err := l.Append(context.Background(), e)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAppendGivesConsecutiveReceiptsThatVerify(t *testing.T) {
	cfg := config(t, t.TempDir(), clock.System)
	l := opened(t, cfg)
	for i := range uint64(10) {
		r := appendOne(t, l, event(alice, time.Now()))
		if r.Index != i+1 { // the key record is 0
			t.Errorf("event %d has index %d", i, r.Index)
		}
		if err := r.Verify(cfg.Ed25519); err != nil {
			t.Error(err)
		}
		r.Index++
		if r.Verify(cfg.Ed25519) == nil {
			t.Error("a receipt for another index verifies")
		}
	}
	if r := appendOne(t, l, event(bob, time.Now())); r.Index != 1 {
		t.Errorf("the other account's first event has index %d", r.Index)
	}
}

func TestTheLogContinuesAfterBeingClosedAndOpened(t *testing.T) {
	cfg := config(t, t.TempDir(), clock.System)
	l := opened(t, cfg)
	last := appendOne(t, l, event(alice, time.Now()))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		l = open(t, cfg)
		r := appendOne(t, l, event(alice, time.Now()))
		if r.Index <= last.Index {
			t.Fatalf("index %d after %d", r.Index, last.Index)
		}
		last = r
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// Without the saved state everything is derived again.
	if err := os.Remove(filepath.Join(cfg.Dir, "state")); err != nil {
		t.Fatal(err)
	}
	l = open(t, cfg)
	if r := appendOne(t, l, event(alice, time.Now())); r.Index <= last.Index {
		t.Fatalf("index %d after %d", r.Index, last.Index)
	}
	l.Close()
}

func benchmarkAppend(b *testing.B, callers int) {
	cfg := config(b, b.TempDir(), clock.System)
	cfg.SegmentSize = 256 << 20
	l := opened(b, cfg)
	e := event(alice, time.Now())
	b.SetParallelism(max(callers/2, 1))
	b.ReportAllocs()
	b.ResetTimer()
	if callers == 1 {
		for b.Loop() {
			appendOne(b, l, e)
		}
		return
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			appendOne(b, l, e)
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// Target: p50 of at most 0.5 ms on a disk whose fdatasync takes 0.25 ms.
func BenchmarkAppend1(b *testing.B) { benchmarkAppend(b, 1) }

// Target: at least 20,000 receipted events per second on two cores.
func BenchmarkAppend64(b *testing.B) { benchmarkAppend(b, 64) }
