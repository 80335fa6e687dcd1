// Package logtest gives tests a working audit log: the Signer and KeyStore
// that the HSM process is in a running plane, in this process and from fixed
// seeds, so that a log can be closed and opened again.
//
// Start with Config. Nothing here may be used outside tests: the seeds are
// public.
package logtest

import (
	"context"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"

	"filippo.io/mldsa"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/evidence/record"
)

// Keys is a log.Signer and a log.KeyStore.
type Keys struct {
	ed ed25519.PrivateKey
	pq *mldsa.PrivateKey

	mu   sync.Mutex
	fail error // guarded by mu; what Sign answers
}

// NewKeys makes the keys; they are the same every time.
func NewKeys(t testing.TB) *Keys {
	t.Helper()
	seed := sha256.Sum256([]byte("logtest signer"))
	pq, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return &Keys{ed: ed25519.NewKeyFromSeed(seed[:]), pq: pq}
}

// SetFail makes Sign fail with err until it is called with nil.
func (k *Keys) SetFail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = err
}

// Sign is log.Signer.
func (k *Keys) Sign(_ context.Context, alg log.Alg, message []byte) ([]byte, error) {
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

func private(account string) (hpke.PrivateKey, error) {
	ikm := sha256.Sum256([]byte("logtest audit key of " + account))
	return hpke.MLKEM768X25519().DeriveKeyPair(ikm[:])
}

// NewAccountKey is log.KeyStore.
func (k *Keys) NewAccountKey(_ context.Context, account string) (handle, public []byte, err error) {
	sk, err := private(account)
	if err != nil {
		return nil, nil, err
	}
	return []byte("handle of " + account), sk.PublicKey().Bytes(), nil
}

// OpenDEK is log.KeyStore.
func (k *Keys) OpenDEK(_ context.Context, account string, handle, enc, ct, info []byte) ([]byte, error) {
	if string(handle) != "handle of "+account {
		return nil, errors.New("logtest: handle of another account")
	}
	sk, err := private(account)
	if err != nil {
		return nil, err
	}
	r, err := hpke.NewRecipient(enc, sk, hpke.HKDFSHA256(), hpke.AES256GCM(), info)
	if err != nil {
		return nil, err
	}
	return r.Open(nil, ct)
}

// Config is a configuration that lacks nothing, with small segments.
func Config(t testing.TB, dir string, c clock.Clock) log.Config {
	k := NewKeys(t)
	return log.Config{
		Dir: dir, Domain: "audit.test.example", Clock: c, Signer: k, Keys: k,
		Ed25519: k.ed.Public().(ed25519.PublicKey), MLDSA44: k.pq.PublicKey().Bytes(),
		SegmentSize: 8 << 20,
	}
}

// Open opens the log and closes it with the test; accounts that do not exist
// yet are made.
func Open(t testing.TB, cfg log.Config, accounts ...string) *log.Log {
	t.Helper()
	l, err := log.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for _, a := range accounts {
		if l.HasAccount(a) {
			continue
		}
		if err := l.CreateAccount(context.Background(), a); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// Event makes an event of an account, a Decrypt by an IAM user; change may
// alter its record.
func Event(account string, at time.Time, change ...func(*record.Record)) log.Event {
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
		Resources: []record.Resource{{
			AccountID: account, Type: "AWS::KMS::Key", ARN: "arn:aws:kms:us-east-1:" + account + ":key/1234abcd-12ab-34cd-56ef-1234567890ab",
		}},
	}
	for _, f := range change {
		f(&r)
	}
	e := log.Event{Account: account, ID: r.EventID, Time: at, JSON: r.AppendJSON(nil)}
	if r.Failed() {
		e.Flags |= record.Failure
	}
	if r.Category() == record.CategoryData {
		e.Flags |= record.DataEvent
	}
	return e
}

// Append appends an event and fails the test when that fails.
func Append(t testing.TB, l *log.Log, e log.Event) log.Receipt {
	t.Helper()
	r, err := l.Append(context.Background(), e)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Files reads a whole export.
func Files(t testing.TB, l *log.Log, account string) map[string][]byte {
	t.Helper()
	e, err := l.Export(context.Background(), account)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string][]byte, len(e.Files))
	for _, f := range e.Files {
		data := make([]byte, 0, f.Size)
		// In pieces of an odd length, as a pager would read it.
		for piece := make([]byte, 300_007); ; {
			n, err := l.ReadExport(context.Background(), account, e.ID, f.Name, int64(len(data)), piece)
			if err != nil {
				t.Fatalf("%s: %v", f.Name, err)
			}
			if n == 0 {
				break
			}
			data = append(data, piece[:n]...)
		}
		if int64(len(data)) != f.Size {
			t.Fatalf("%s has %d bytes, %d were announced", f.Name, len(data), f.Size)
		}
		files[f.Name] = data
	}
	return files
}
