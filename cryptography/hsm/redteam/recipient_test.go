package redteam_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/isolation/attest"
	"github.com/leadglass/leadglass/isolation/attest/attesttest"
)

// The attacker has a host's session and the token, and asks in the clear, or
// with a document that is not of the customer's enclave at this time.
func TestAForgedFrontAsksWithoutTheEnclave(t *testing.T) {
	w := newWorld(t)
	open := w.newKey("twin")
	blob := w.must(message.OpEncrypt, open, message.Params{Data: []byte(canary)}).Blob
	token := w.seal(w.newKey("attested"), message.Conditions{Measurements: []message.Measurement{measured(1)}})
	sealed := w.must(message.OpEncrypt, token, message.Params{Data: []byte(canary)}).Blob

	own, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ownSPKI, err := x509.MarshalPKIXPublicKey(own.Public())
	if err != nil {
		t.Fatal(err)
	}
	swapped := w.document()
	if n := bytes.Count(swapped, w.spki); n != 1 {
		t.Fatalf("the key is %d times in the document", n)
	}
	swapped = bytes.Replace(swapped, w.spki, ownSPKI, 1)
	one := attesttest.Measured(1)
	half := map[int][]byte{0: one[0], 1: one[1], 2: one[2]} // all but register 8
	zeros := make(map[int][]byte)
	for i := range 16 {
		zeros[i] = make([]byte, 48)
	}
	mine := attesttest.New(t, attesttest.Options{Now: w.now(), Tier: attest.Hardware})
	simulated := attesttest.New(t, attesttest.Options{Now: w.now(), Tier: attest.Simulated})
	for what, document := range map[string][]byte{
		"in the clear":                           nil,
		"six minutes after the enclave did":      w.documentOf(attest.Statement{Timestamp: w.now().Add(-6 * time.Minute)}),
		"two minutes before it will":             w.documentOf(attest.Statement{Timestamp: w.now().Add(2 * time.Minute)}),
		"for an image of his own":                w.documentOf(attest.Statement{PCRs: attesttest.Measured(2), PublicKey: ownSPKI}),
		"for the image without its signer":       w.documentOf(attest.Statement{PCRs: half, PublicKey: ownSPKI}),
		"for the image in debug mode":            w.documentOf(attest.Statement{PCRs: zeros, PublicKey: ownSPKI}),
		"under a root of his own":                mine.Document(t, attest.Statement{PublicKey: ownSPKI}),
		"with his key in the enclave's document": swapped,
		"with a document of no key":              w.pki.Document(t, attest.Statement{}),
		"with a simulator of his own":            simulated.Document(t, attest.Statement{PublicKey: ownSPKI}),
		"with a document cut off":                w.document()[:700],
	} {
		w.fails("Decrypt "+what, message.OpDecrypt, token, message.Params{Blob: sealed, Recipient: document})
		w.fails("GenerateDataKey "+what, message.OpGenerateDataKey, token, message.Params{Length: 32, Recipient: document})
		w.fails("GenerateDataKeyPair "+what, message.OpGenerateDataKeyPair, token, message.Params{Spec: message.SpecP256, Recipient: document})
	}
	good := w.document()
	for i := range some(good) {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, status := w.do(message.OpDecrypt, token, message.Params{Blob: sealed, Recipient: bad}); status == link.StatusOK {
			t.Fatalf("a document with byte %d changed is accepted", i)
		}
	}
	// The enclave itself; and the same attack where nothing stands in its way.
	if got := w.opened(w.must(message.OpDecrypt, token, message.Params{Blob: sealed, Recipient: good})); got != canary {
		t.Errorf("the enclave reads %q", got)
	}
	if got := w.must(message.OpDecrypt, open, message.Params{Blob: blob}).Data; string(got) != canary {
		t.Errorf("without conditions: %q", got)
	}
}

// Keys that do not encrypt: the shared secret of an attested key.
func TestAForgedFrontDerivesASecretInTheClear(t *testing.T) {
	w := newWorld(t)
	agree := func(id string) message.Result {
		return w.must(message.OpGenerateKey, nil, message.Params{Spec: message.SpecP256, Usage: message.UsageAgree, Origin: "AWS_KMS", Name: arn + id})
	}
	open := agree("open")
	token := w.seal(agree("attested").Token, message.Conditions{Attested: true, Operations: 1 << message.OpDeriveSharedSecret})
	p := message.Params{Alg: "ECDH", Public: open.Public}
	w.fails("DeriveSharedSecret", message.OpDeriveSharedSecret, token, p)
	w.fails("Sign with a key that agrees", message.OpSign, token, message.Params{Alg: "ECDSA_SHA_256", Data: []byte("m")})
	if r := w.must(message.OpDeriveSharedSecret, open.Token, p); len(r.Data) != 32 {
		t.Errorf("without conditions: %d bytes", len(r.Data))
	}
	p.Recipient = w.document()
	if got := w.opened(w.must(message.OpDeriveSharedSecret, token, p)); len(got) != 32 {
		t.Errorf("the enclave has %d bytes", len(got))
	}
}

// The attacker answers the enclave himself: with the envelope of another call,
// or with a data key under a key of his own. The signed answer says so.
func TestAnAnswerOfAnotherCallIsFoundOut(t *testing.T) {
	v := newVault(t)
	body := func(document []byte) []byte { return []byte(v.body(document)) }
	ask := func() (document []byte, r message.Result) {
		document = v.document()
		p := v.decrypt(document)
		p.Answer = body(document)
		return document, v.must(message.OpDecrypt, v.token, p)
	}
	first, r1 := ask()
	v.sleep(time.Second)
	second, r2 := ask()
	check := func(document []byte, envelope, proof []byte) error {
		_, err := hsm.VerifyAnswer(proof, v.hsm.Identity(), body(document), document, envelope)
		return err
	}
	for what, err := range map[string]error{
		"the envelope of another call":   check(first, r2.Envelope, r1.Proof),
		"the answer of another call":     check(first, r2.Envelope, r2.Proof),
		"an envelope that nobody signed": check(second, r2.Envelope, nil),
		"an envelope with a bit changed": check(second, append(bytes.Clone(r2.Envelope[:len(r2.Envelope)-1]), r2.Envelope[len(r2.Envelope)-1]^1), r2.Proof),
		"a signature with a bit changed": check(second, r2.Envelope, append(bytes.Clone(r2.Proof[:len(r2.Proof)-1]), r2.Proof[len(r2.Proof)-1]^1)),
		"the genuine answer to another request": func() error {
			_, err := hsm.VerifyAnswer(r2.Proof, v.hsm.Identity(), body(first), second, r2.Envelope)
			return err
		}(),
	} {
		if err == nil {
			t.Errorf("the enclave takes %s", what)
		}
	}
	if err := check(second, r2.Envelope, r2.Proof); err != nil {
		t.Errorf("the genuine answer: %v", err)
	}
	// A data key that the attacker can decrypt: made under another key.
	document := v.document()
	request := []byte(fmt.Sprintf(`{"KeyId":"vault","KeySpec":"AES_256","Recipient":{"AttestationDocument":"%s","KeyEncryptionAlgorithm":"RSAES_OAEP_SHA_256"}}`, b64(document)))
	mine := v.newKey("mine")
	r := v.must(message.OpGenerateDataKey, mine, message.Params{Length: 32, Recipient: document, Answer: request})
	a, err := hsm.VerifyAnswer(r.Proof, v.hsm.Identity(), request, document, r.Envelope)
	if err != nil || a.Key != arn+"mine" {
		t.Errorf("the answer hides the key that was used: %+v, %v", a, err)
	}
	// He cannot have signed what is not executed either.
	v.fails("an answer to a request that is not executed", message.OpGenerateDataKey, mine, message.Params{Length: 16, Recipient: document, Answer: request})
}

// Whoever can start the plane says which roots count, until there are
// operators; from then on nobody does but they.
func TestTheSupervisorTrustsARootOfHisOwn(t *testing.T) {
	v := newVault(t)
	own := attesttest.New(t, attesttest.Options{Now: v.now(), Tier: attest.Software})
	root := own.Root()
	trust := message.Params{Data: message.AppendRoots(nil, []message.Root{{DER: root.DER, Name: "mine", Tier: 3, Hosts: true}})}
	v.fails("TrustRoots by a host", message.OpTrustRoots, nil, trust)
	_ = v.front.Close()
	supervisor := v.start(v.store.copy())
	if _, status := v.as(supervisor).do(message.OpTrustRoots, nil, trust); status != link.StatusOK {
		t.Fatalf("the supervisor's word is not even heard: %d", status)
	}
	v.open(supervisor)
	document := own.Document(t, attest.Statement{PublicKey: v.spki})
	v.fails("Decrypt under the supervisor's root", message.OpDecrypt, v.token, v.decrypt(document))
	v.legitimate()
}
