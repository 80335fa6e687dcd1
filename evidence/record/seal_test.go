package record_test

import (
	"bytes"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/evidence/record"
)

const account = "111122223333"

var (
	keyID = [16]byte{1, 2, 3}
	dek   = bytes.Repeat([]byte{7}, 32)
)

func sealer(t testing.TB) *record.Sealer {
	s, err := record.NewSealer(account, keyID, dek)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func opener(t testing.TB, account string, id [16]byte, key []byte) *record.Opener {
	o, err := record.NewOpener(account, id, key)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestASealedEventOpensForItsAccountAndKindOnly(t *testing.T) {
	s := sealer(t)
	text := []byte(`{"eventName":"Decrypt"}`)
	blob, commitment, hash, err := s.Seal([]byte("in front"), record.APIEvent, text)
	if err != nil {
		t.Fatal(err)
	}
	blob = blob[len("in front"):]
	if hash != sha256.Sum256(blob) {
		t.Error("the hash is not the blob's")
	}
	got, blind, err := opener(t, account, keyID, dek).Open(record.APIEvent, blob)
	if err != nil || !bytes.Equal(got, text) {
		t.Fatalf("%s, %v", got, err)
	}
	if record.Commit(&blind, got) != commitment {
		t.Error("the commitment is to another event")
	}
	other := bytes.Repeat([]byte{8}, 32)
	for name, open := range map[string]func() error{
		"another account": func() error {
			_, _, err := opener(t, "444455556666", keyID, dek).Open(record.APIEvent, blob)
			return err
		},
		"another kind": func() error {
			_, _, err := opener(t, account, keyID, dek).Open(record.Operator, blob)
			return err
		},
		"another key": func() error {
			_, _, err := opener(t, account, keyID, other).Open(record.APIEvent, blob)
			return err
		},
		"another key id": func() error {
			_, _, err := opener(t, account, [16]byte{9}, dek).Open(record.APIEvent, blob)
			return err
		},
	} {
		if err := open(); !errors.Is(err, record.ErrOpen) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range blob {
		blob[i] ^= 1
		if _, _, err := opener(t, account, keyID, dek).Open(record.APIEvent, blob); err == nil {
			t.Errorf("opens with byte %d changed", i)
		}
		blob[i] ^= 1
	}
}

func TestTheLengthOfAnEventIsHidden(t *testing.T) {
	s := sealer(t)
	for n, want := range map[int]int{0: 512, 476: 512, 477: 1024, 8156: 8192, 8157: 16384, 20000: 24576} {
		blob, _, _, err := s.Seal(nil, record.APIEvent, bytes.Repeat([]byte{'x'}, n))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(blob) - 32 - 16; got != want {
			t.Errorf("an event of %d bytes is sealed as %d, want %d", n, got, want)
		}
	}
	if _, _, _, err := s.Seal(nil, record.APIEvent, make([]byte, record.MaxEvent+1)); err == nil {
		t.Error("an event of any length is sealed")
	}
}

func TestNoNonceOccursTwice(t *testing.T) {
	s := sealer(t)
	seen := make(map[string]bool)
	var commitments [2][32]byte
	for i := range 1000 {
		// A used buffer, as the log has it: nothing of the event before may remain.
		blob, c, _, err := s.Seal(bytes.Repeat([]byte{0xaa}, 4096)[:0], record.APIEvent, []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		commitments[i%2] = c
		if seen[string(blob[20:32])] {
			t.Fatal("a nonce occurs twice")
		}
		seen[string(blob[20:32])] = true
	}
	if commitments[0] == commitments[1] {
		t.Error("equal events have equal commitments")
	}
}

func TestALeafHasOneForm(t *testing.T) {
	l := record.Leaf{
		Kind: record.Operator, Flags: record.Failure | record.CrossAccount, Time: 1234567890123,
		EventID: [16]byte{1}, Commitment: [32]byte{2}, Blob: [32]byte{3}, KeyID: [16]byte{4},
	}
	b := l.Append(nil)
	if len(b) != record.LeafSize {
		t.Fatalf("%d bytes", len(b))
	}
	back, err := record.ParseLeaf(b)
	if err != nil || back != l {
		t.Fatalf("%+v, %v", back, err)
	}
	for _, i := range []int{0, 3, 6, 7, 112, 127} {
		b[i] ^= 0x80
		if _, err := record.ParseLeaf(b); err == nil {
			t.Errorf("a leaf with byte %d changed is accepted", i)
		}
		b[i] ^= 0x80
	}
	for i, v := range map[int]byte{4: 0, 5: 8} {
		old := b[i]
		b[i] = v
		if _, err := record.ParseLeaf(b); err == nil {
			t.Errorf("a leaf with %d at %d is accepted", v, i)
		}
		b[i] = old
	}
}

func TestAWrappedKeyOpensWithTheAccountsPrivateKey(t *testing.T) {
	sk, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	k, err := record.WrapKey(sk.PublicKey().Bytes(), account, keyID, 42, dek)
	if err != nil {
		t.Fatal(err)
	}
	b := k.Append(nil)
	back, err := record.ParseKeyRecord(b)
	if err != nil || back.KeyID != keyID || back.NotBefore != 42 {
		t.Fatal(back, err)
	}
	open := func(account string) ([]byte, error) {
		r, err := hpke.NewRecipient(back.Enc, sk, hpke.HKDFSHA256(), hpke.AES256GCM(), record.KeyInfo(account, back.KeyID))
		if err != nil {
			return nil, err
		}
		return r.Open(nil, back.CT)
	}
	if got, err := open(account); err != nil || !bytes.Equal(got, dek) {
		t.Error("does not open:", err)
	}
	if _, err := open("444455556666"); err == nil {
		t.Error("opens as another account's key")
	}
	for i := range b {
		if _, err := record.ParseKeyRecord(b[:i]); err == nil {
			t.Errorf("a record cut at %d is accepted", i)
		}
	}
	if _, err := record.ParseKeyRecord(append(b, 0)); err == nil {
		t.Error("a record with something behind it is accepted")
	}
}

func TestAnAccountKeyFileMustBeComplete(t *testing.T) {
	whole := record.AccountKey{Format: record.AccountKeyFormat, Account: account, Domain: "d", Salt: make([]byte, 32), Logs: []string{"v"}, Keys: []record.DataKey{{ID: strings.Repeat("0a", 16), Key: dek}}}
	parse := func(k record.AccountKey) (*record.AccountKey, error) {
		b, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		return record.ParseAccountKey(b)
	}
	k, err := parse(whole)
	if err != nil {
		t.Fatal(err)
	}
	if o, err := k.Openers(); err != nil || len(o) != 1 {
		t.Error(o, err)
	}
	for name, change := range map[string]func(*record.AccountKey){
		"another format": func(k *record.AccountKey) { k.Format = "x" },
		"no account":     func(k *record.AccountKey) { k.Account = "" },
		"a short salt":   func(k *record.AccountKey) { k.Salt = k.Salt[1:] },
		"no log":         func(k *record.AccountKey) { k.Logs = nil },
	} {
		c := whole
		change(&c)
		if _, err := parse(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	whole.Keys[0].ID = "zz"
	k, err = parse(whole)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Openers(); err == nil {
		t.Error("a malformed key id is accepted")
	}
}

func FuzzFormats(f *testing.F) {
	l := record.Leaf{Kind: record.APIEvent}
	f.Add(l.Append(nil))
	f.Add((&record.KeyRecord{Enc: []byte{1}, CT: []byte{2}}).Append(nil))
	s, err := record.NewSealer(account, keyID, dek)
	if err != nil {
		f.Fatal(err)
	}
	blob, _, _, _ := s.Seal(nil, record.APIEvent, []byte("{}"))
	f.Add(blob)
	o := opener(f, account, keyID, dek)
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := record.ParseLeaf(b); err == nil && !bytes.Equal(l.Append(nil), b) {
			t.Error("a leaf has two forms")
		}
		if k, err := record.ParseKeyRecord(b); err == nil && !bytes.Equal(k.Append(nil), b) {
			t.Error("a key record has two forms")
		}
		if u, err := record.ParseUUID(string(b)); err == nil && id.FormatUUID(u) != string(b) {
			t.Error("a UUID has two forms")
		}
		_, _, _ = o.Open(record.APIEvent, b)
		_, _ = record.ParseAccountKey(b)
	})
}

// Target: at most 5 µs for an event of 1 KiB.
func BenchmarkSeal(b *testing.B) {
	s := sealer(b)
	text := samples()["role"].AppendJSON(nil)
	var buf []byte
	var err error
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		if n++; n%record.MaxEvents == 0 {
			s = sealer(b)
		}
		if buf, _, _, err = s.Seal(buf[:0], record.APIEvent, text); err != nil {
			b.Fatal(err)
		}
	}
}
