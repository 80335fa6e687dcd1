package exampleenclave_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/isolation/attest"
	"github.com/leadglass/leadglass/isolation/attest/exampleenclave"
)

// What an HSM encrypts to an enclave that the authority vouches for, that
// enclave opens and no other.
func TestAnExampleEnclaveGetsWhatIsForIt(t *testing.T) {
	now := time.Now()
	a, err := exampleenclave.New(now)
	if err != nil {
		t.Fatal(err)
	}
	c := hsmtest.Open(t, t.TempDir(), hsm.Root{DER: a.Root(), Name: "example", Tier: uint64(attest.Confidential), Hosts: true})
	enclave, err := a.Enclave([]byte("image"), now)
	if err != nil {
		t.Fatal(err)
	}
	other, err := a.Enclave([]byte("another image"), now)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := enclave.Document(now)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := attest.Verify(doc, attest.Options{Roots: []attest.Root{{DER: a.Root(), Tier: attest.Confidential, Hosts: true}}, Now: now, Key: true})
	if err != nil || claims.Tier != attest.Software || claims.Debug || !claims.Measures(0, enclave.Image()) || claims.Measures(0, other.Image()) {
		t.Fatalf("%+v, %v", claims, err)
	}
	s, err := c.RandomFor(t.Context(), 100, hsm.Recipient{Document: doc})
	if err != nil {
		t.Fatal(err)
	}
	if secret, err := enclave.Open(s.Envelope); err != nil || len(secret) != 100 {
		t.Errorf("%d bytes, %v", len(secret), err)
	}
	if secret, err := other.Open(s.Envelope); err == nil {
		t.Errorf("another enclave opens %d bytes", len(secret))
	}
	stranger, err := exampleenclave.New(now)
	if err != nil {
		t.Fatal(err)
	}
	impostor, err := stranger.Enclave([]byte("image"), now)
	if err != nil {
		t.Fatal(err)
	}
	if doc, err = impostor.Document(now); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RandomFor(t.Context(), 32, hsm.Recipient{Document: doc}); !errors.Is(err, hsm.ErrAttestation) {
		t.Errorf("an enclave of an authority that nobody trusts: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	now := time.Now()
	a, err := exampleenclave.New(now)
	if err != nil {
		f.Fatal(err)
	}
	enclave, err := a.Enclave(nil, now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{0x30, 0x80, 0x06, 1, 1, 0xa0, 0x80, 0, 0, 0, 0})
	f.Add(bytes.Repeat([]byte{0x30, 0x80}, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		if out, err := enclave.Open(b); err == nil {
			t.Errorf("it opens %x to %d bytes", b, len(out))
		}
	})
}
