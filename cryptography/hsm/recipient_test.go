package hsm_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/isolation/attest"
	"github.com/leadglass/leadglass/isolation/attest/attesttest"
)

func enclaveRoot(p *attesttest.PKI) hsm.Root {
	r := p.Root()
	return hsm.Root{DER: r.DER, Name: r.Name, Tier: uint64(r.Tier), Hosts: r.Hosts}
}

func TestARecipientsAnswerIsProven(t *testing.T) {
	p := attesttest.New(t, attesttest.Options{Now: time.Now(), Tier: attest.Software})
	process := hsmtest.Start(t, hsm.Config{StateDir: t.TempDir(), Roots: []hsm.Root{enclaveRoot(p)}})
	c := process.Client()
	_, spki := attesttest.EnclaveKey(t)
	doc := p.Document(t, attest.Statement{PublicKey: spki})
	body := []byte(fmt.Sprintf(`{"KeyId":"alias/x","KeySpec":"AES_256","EncryptionContext":{"a":"b"},"Recipient":{"AttestationDocument":"%s","KeyEncryptionAlgorithm":"RSAES_OAEP_SHA_256"}}`,
		base64.StdEncoding.EncodeToString(doc)))
	k := newKey(t, c)
	s, blob, err := c.GenerateDataKeyFor(t.Context(), k.EKT, 32, map[string]string{"a": "b"}, hsm.Recipient{Document: doc, Body: body})
	if err != nil || len(s.Envelope) != 493 || len(blob) != 118 {
		t.Fatalf("%d and %d bytes, %v", len(s.Envelope), len(blob), err)
	}
	a, err := hsm.VerifyAnswer(s.Proof, process.Identity(), body, doc, s.Envelope)
	if err != nil || a.Operation != "GenerateDataKey" || a.Key != keyARN || time.Since(time.UnixMilli(int64(a.Time))) > time.Minute {
		t.Fatalf("%+v, %v", a, err)
	}
	status, err := c.Status(t.Context())
	if err != nil || a.Domain != status.Domain || a.Serial != status.Serial {
		t.Errorf("%+v, %v", status, err)
	}
	other := p.Document(t, attest.Statement{PublicKey: spki, Nonce: []byte("other")})
	otherHSM := hsmtest.Start(t, hsm.Config{StateDir: t.TempDir()})
	for name, err := range map[string]error{
		"another body":     refusal(hsm.VerifyAnswer(s.Proof, process.Identity(), append(bytes.Clone(body), ' '), doc, s.Envelope)),
		"another document": refusal(hsm.VerifyAnswer(s.Proof, process.Identity(), body, other, s.Envelope)),
		"another envelope": refusal(hsm.VerifyAnswer(s.Proof, process.Identity(), body, doc, append(bytes.Clone(s.Envelope), 0))),
		"another HSM":      refusal(hsm.VerifyAnswer(s.Proof, otherHSM.Identity(), body, doc, s.Envelope)),
		"a byte less":      refusal(hsm.VerifyAnswer(s.Proof[:len(s.Proof)-1], process.Identity(), body, doc, s.Envelope)),
		"nothing":          refusal(hsm.VerifyAnswer(nil, process.Identity(), body, doc, s.Envelope)),
	} {
		if !errors.Is(err, hsm.ErrAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range s.Proof {
		bad := bytes.Clone(s.Proof)
		bad[i] ^= 1
		if _, err := hsm.VerifyAnswer(bad, process.Identity(), body, doc, s.Envelope); !errors.Is(err, hsm.ErrAnswer) {
			t.Fatalf("a proof with byte %d changed: %v", i, err)
		}
	}
	// The host shows another body than it lets execute.
	if _, _, err := c.GenerateDataKeyFor(t.Context(), k.EKT, 16, map[string]string{"a": "b"}, hsm.Recipient{Document: doc, Body: body}); !errors.Is(err, hsm.ErrAttestation) {
		t.Errorf("an answer to another request: %v", err)
	}
}

func refusal(_ *hsm.Answer, err error) error { return err }

func TestNoRecipientNoSecret(t *testing.T) {
	p := attesttest.New(t, attesttest.Options{Now: time.Now()})
	c := hsmtest.Open(t, t.TempDir(), enclaveRoot(p))
	_, spki := attesttest.EnclaveKey(t)
	doc := p.Document(t, attest.Statement{PublicKey: spki})
	for name, r := range map[string]hsm.Recipient{
		"no document":    {},
		"a broken one":   {Document: doc[:len(doc)-1]},
		"one of nothing": {Document: []byte{}},
	} {
		if s, err := c.RandomFor(t.Context(), 32, r); !errors.Is(err, hsm.ErrAttestation) || s.Envelope != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s, err := c.RandomFor(t.Context(), 32, hsm.Recipient{Document: doc}); err != nil || len(s.Envelope) == 0 || s.Proof != nil {
		t.Errorf("%+v, %v", s, err)
	}
	roots, err := c.AttestationRoots(t.Context())
	if err != nil || len(roots) != 1 || !bytes.Equal(roots[0].DER, p.Bundle[0]) || !roots[0].Hosts || roots[0].Tier != 3 {
		t.Errorf("%v, %v", roots, err)
	}
}
