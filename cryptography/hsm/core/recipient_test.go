package core_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/isolation/attest"
	"github.com/leadglass/leadglass/isolation/attest/attesttest"
)

// trusting is an HSM that accepts documents of the PKI.
func trusting(t testing.TB) (*hsm, *attesttest.PKI) {
	t.Helper()
	h := mustOpen(t, newStore())
	p := attesttest.New(t, attesttest.Options{Now: h.now, Tier: attest.Software})
	h.must(message.OpTrustRoots, nil, message.Params{Data: message.AppendRoots(nil, []message.Root{rootOf(p)})})
	return h, p
}

func rootOf(p *attesttest.PKI) message.Root {
	r := p.Root()
	return message.Root{DER: r.DER, Name: r.Name, Tier: uint64(r.Tier), Hosts: r.Hosts}
}

func TestASecretForARecipientLeavesOnlyInItsEnvelope(t *testing.T) {
	h, p := trusting(t)
	enclave, spki := attesttest.EnclaveKey(t)
	doc := p.Document(t, attest.Statement{PublicKey: spki})
	key := h.newKey()
	blob := h.must(message.OpEncrypt, key, message.Params{Data: []byte("the secret"), Context: context("a", "b")}).Blob
	agree := h.must(message.OpGenerateKey, nil, message.Params{Spec: message.SpecP256, Usage: message.UsageAgree, Origin: "AWS_KMS", Name: "arn:aws:kms:us-east-1:111122223333:key/y"})
	peer, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	peerSPKI, err := x509.MarshalPKIXPublicKey(peer.Public())
	if err != nil {
		t.Fatal(err)
	}
	oaep := h.must(message.OpGenerateKey, nil, message.Params{Spec: message.SpecRSA2048, Usage: message.UsageEncrypt, Origin: "AWS_KMS", Name: "arn:aws:kms:us-east-1:111122223333:key/z"})
	wrapped := h.must(message.OpEncrypt, oaep.Token, message.Params{Data: []byte("by RSA"), Alg: "RSAES_OAEP_SHA_256"}).Blob
	open := func(r message.Result) []byte {
		t.Helper()
		plain, err := attesttest.OpenEnvelope(enclave, r.Envelope)
		if err != nil || len(r.Data) > 0 {
			t.Fatalf("%d bytes in the clear, %v", len(r.Data), err)
		}
		return plain
	}
	decrypt := func(blob []byte) []byte {
		return h.must(message.OpDecrypt, key, message.Params{Blob: blob, Context: context("a", "b")}).Data
	}
	if got := open(h.must(message.OpDecrypt, key, message.Params{Blob: blob, Context: context("a", "b"), Recipient: doc})); string(got) != "the secret" {
		t.Errorf("Decrypt: %q", got)
	}
	if got := open(h.must(message.OpDecrypt, oaep.Token, message.Params{Blob: wrapped, Alg: "RSAES_OAEP_SHA_256", Recipient: doc})); string(got) != "by RSA" {
		t.Errorf("Decrypt with RSA: %q", got)
	}
	r := h.must(message.OpGenerateDataKey, key, message.Params{Length: 32, Context: context("a", "b"), Recipient: doc})
	if got := open(r); len(got) != 32 || !bytes.Equal(got, decrypt(r.Blob)) {
		t.Errorf("GenerateDataKey: %x", got)
	}
	r = h.must(message.OpGenerateDataKeyPair, key, message.Params{Spec: message.SpecP384, Context: context("a", "b"), Recipient: doc})
	if got := open(r); !bytes.Equal(got, decrypt(r.Blob)) {
		t.Error("GenerateDataKeyPair: another key")
	} else if _, err := x509.ParsePKCS8PrivateKey(got); err != nil {
		t.Error(err)
	}
	if got := open(h.must(message.OpRandom, nil, message.Params{Length: 1024, Recipient: doc})); len(got) != 1024 {
		t.Errorf("Random: %d bytes", len(got))
	}
	r = h.must(message.OpDeriveSharedSecret, agree.Token, message.Params{Alg: "ECDH", Public: peerSPKI, Recipient: doc})
	public, err := x509.ParsePKIXPublicKey(agree.Public)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := public.(interface {
		ECDH() (*ecdh.PublicKey, error)
	}).ECDH()
	if err != nil {
		t.Fatal(err)
	}
	want, err := peer.ECDH(theirs)
	if got := open(r); err != nil || !bytes.Equal(got, want) {
		t.Errorf("DeriveSharedSecret: %x, %v", got, err)
	}
}

func TestOnlyOperationsWithASecretTakeARecipient(t *testing.T) {
	h, p := trusting(t)
	_, spki := attesttest.EnclaveKey(t)
	doc := p.Document(t, attest.Statement{PublicKey: spki})
	key := h.newKey()
	takes := map[string]bool{"Decrypt": true, "GenerateDataKey": true, "GenerateDataKeyPair": true, "Random": true, "DeriveSharedSecret": true}
	for op, name := range core.Operations() {
		params := newKeyParams()
		params.Recipient = doc
		_, status := h.do(op, key, params)
		if !takes[name] && status != link.StatusBadRequest {
			t.Errorf("%s with a recipient: status %d", name, status)
		}
	}
	if _, status := h.do(message.OpGenerateDataKey, key, message.Params{Length: 32, Context: context(), Flags: message.FlagNoPlaintext, Recipient: doc}); status != link.StatusBadRequest {
		t.Errorf("a recipient of no plaintext: %d", status)
	}
	if _, status := h.do(message.OpRandom, nil, message.Params{Length: 32, Answer: []byte(`{"NumberOfBytes":32}`)}); status != link.StatusBadRequest {
		t.Errorf("a proof without a recipient: %d", status)
	}
}

func TestADocumentThatDoesNotHoldIsRejectedBeforeAnythingIsDone(t *testing.T) {
	h, p := trusting(t)
	_, spki := attesttest.EnclaveKey(t)
	foreign := attesttest.New(t, attesttest.Options{Now: h.now})
	zeros := map[int][]byte{0: make([]byte, 48), 1: make([]byte, 48), 2: make([]byte, 48)}
	good := p.Document(t, attest.Statement{PublicKey: spki})
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	for name, c := range map[string]struct {
		doc    []byte
		status uint64
	}{
		"a good one":                     {good, link.StatusOK},
		"of a debug enclave":             {p.Document(t, attest.Statement{PublicKey: spki, PCRs: zeros}), link.StatusOK},
		"six minutes old":                {p.Document(t, attest.Statement{PublicKey: spki, Timestamp: h.now.Add(-6 * time.Minute)}), link.StatusAttestation},
		"of the future":                  {p.Document(t, attest.Statement{PublicKey: spki, Timestamp: h.now.Add(2 * time.Minute)}), link.StatusAttestation},
		"without a key":                  {p.Document(t, attest.Statement{}), link.StatusAttestation},
		"with a key that is none":        {p.Document(t, attest.Statement{PublicKey: []byte("key")}), link.StatusAttestation},
		"of another authority":           {foreign.Document(t, attest.Statement{PublicKey: spki}), link.StatusAttestation},
		"changed":                        {flipped, link.StatusAttestation},
		"that is no document":            {[]byte("no"), link.StatusAttestation},
		"that is longer than any can be": {make([]byte, attest.MaxDocument+1), link.StatusAttestation},
	} {
		r, status := h.do(message.OpRandom, nil, message.Params{Length: 32, Recipient: c.doc})
		if status != c.status || status == link.StatusOK && len(r.Envelope) == 0 {
			t.Errorf("%s: status %d", name, status)
		}
	}
}

func TestWhoSaysWhichRootsAreTrusted(t *testing.T) {
	h, p := trusting(t)
	_, spki := attesttest.EnclaveKey(t)
	doc := p.Document(t, attest.Statement{PublicKey: spki})
	ask := func() uint64 {
		_, status := h.do(message.OpRandom, nil, message.Params{Length: 32, Recipient: doc})
		return status
	}
	listed := func() (names []string) {
		roots, err := message.ParseRoots(h.must(message.OpAttestationRoots, nil, message.Params{}).Record)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range roots {
			names = append(names, fmt.Sprint(r.Name, " ", r.Tier, " ", r.Hosts))
		}
		return names
	}
	if got := fmt.Sprint(listed()); got != "[test 3 true]" || ask() != link.StatusOK {
		t.Errorf("at first: %s, %d", got, ask())
	}
	other := &link.Peer{Roles: []string{core.RoleHost}}
	trust := message.Params{Data: message.AppendRoots(nil, []message.Root{rootOf(p)})}
	for name, c := range map[string]struct {
		host *link.Peer
		data []byte
	}{
		"a host that is not the supervisor": {other, trust.Data},
		"a leaf":                            {h.supervisor, message.AppendRoots(nil, []message.Root{{DER: p.Leaf, Name: "leaf"}})},
		"no certificate":                    {h.supervisor, message.AppendRoots(nil, []message.Root{{DER: []byte("x")}})},
		"a tier that does not exist":        {h.supervisor, message.AppendRoots(nil, []message.Root{{DER: p.Bundle[0], Tier: 5}})},
		"nothing":                           {h.supervisor, nil},
		"seventeen":                         {h.supervisor, message.AppendRoots(nil, make([]message.Root, 17))},
	} {
		if _, status := h.doAs(c.host, message.OpTrustRoots, nil, message.Params{Data: c.data}); status == link.StatusOK {
			t.Errorf("%s made the HSM trust", name)
		}
	}
	// Operators decide alone, once there are some.
	h.Govern(nil, 0, true)
	if got := listed(); len(got) > 0 || ask() != link.StatusAttestation {
		t.Errorf("a domain with operators trusts %v by the word of its supervisor", got)
	}
	h.Govern([][]byte{p.Bundle[0]}, core.FlagAWSAttestation, true)
	if got := fmt.Sprint(listed()); got != "[domain 3 true aws.nitro-enclaves G1 4 false]" || ask() != link.StatusOK {
		t.Errorf("the domain's own: %s, %d", got, ask())
	}
	h.Govern([][]byte{attest.AWSRootG1().DER}, 0, true)
	if got := fmt.Sprint(listed()); got != "[aws.nitro-enclaves G1 4 false]" {
		t.Errorf("AWS's, by its bytes: %s", got)
	}
	h.Govern(nil, 0, false)
	h.must(message.OpReady, nil, message.Params{})
	if _, status := h.do(message.OpTrustRoots, nil, trust); status != link.StatusDenied {
		t.Errorf("after Ready: %d", status)
	}
	if ask() != link.StatusOK {
		t.Error("what was trusted before Ready no longer is")
	}
}

func TestASignedAnswerIsAboutWhatWasExecuted(t *testing.T) {
	h, p := trusting(t)
	_, spki := attesttest.EnclaveKey(t)
	doc := p.Document(t, attest.Statement{PublicKey: spki})
	recipient := fmt.Sprintf(`"Recipient":{"KeyEncryptionAlgorithm":"RSAES_OAEP_SHA_256","AttestationDocument":"%s"}`, base64.StdEncoding.EncodeToString(doc))
	blob := []byte("the blob")
	b64 := base64.StdEncoding.EncodeToString(blob)
	decrypt := message.Params{Blob: blob, Context: context("a", "é", "b", ""), Recipient: doc}
	for _, c := range []struct {
		name, body string
		op         uint64
		p          message.Params
		want       bool
	}{
		{"the call", `{"CiphertextBlob":"` + b64 + `","EncryptionContext":{"b":"","a":"é"},` + recipient + `}`, message.OpDecrypt, decrypt, true},
		{"with escapes and spaces", "{ \"CiphertextBlob\" :\n\"" + b64 + "\",\t\"EncryptionContext\":{\"\\u0061\":\"\\u00e9\",\"b\":\"\"}, " + recipient + " } ", message.OpDecrypt, decrypt, true},
		{"with a key and tokens", `{"KeyId":"alias/x","GrantTokens":["a","b"],"Other":{"x":[1.5e3,true,null,{"y":-2}]},"EncryptionAlgorithm":"SYMMETRIC_DEFAULT","CiphertextBlob":"` + b64 + `","EncryptionContext":{"b":"","a":"é"},` + recipient + `}`, message.OpDecrypt, decrypt, true},
		{"another blob", `{"CiphertextBlob":"AAAA","EncryptionContext":{"b":"","a":"é"},` + recipient + `}`, message.OpDecrypt, decrypt, false},
		{"another context", `{"CiphertextBlob":"` + b64 + `","EncryptionContext":{"b":"","a":"e"},` + recipient + `}`, message.OpDecrypt, decrypt, false},
		{"no context", `{"CiphertextBlob":"` + b64 + `",` + recipient + `}`, message.OpDecrypt, decrypt, false},
		{"another algorithm", `{"EncryptionAlgorithm":"RSAES_OAEP_SHA_256","CiphertextBlob":"` + b64 + `","EncryptionContext":{"b":"","a":"é"},` + recipient + `}`, message.OpDecrypt, decrypt, false},
		{"no recipient", `{"CiphertextBlob":"` + b64 + `","EncryptionContext":{"b":"","a":"é"}}`, message.OpDecrypt, decrypt, false},
		{"another encryption", `{"CiphertextBlob":"` + b64 + `","EncryptionContext":{"b":"","a":"é"},` + strings.Replace(recipient, "SHA_256", "SHA_1", 1) + `}`, message.OpDecrypt, decrypt, false},
		{"a dry run", `{"DryRun":true,"CiphertextBlob":"` + b64 + `","EncryptionContext":{"b":"","a":"é"},` + recipient + `}`, message.OpDecrypt, decrypt, false},
		{"a member twice", `{"CiphertextBlob":"AAAA","CiphertextBlob":"` + b64 + `","EncryptionContext":{"b":"","a":"é"},` + recipient + `}`, message.OpDecrypt, decrypt, false},
		{"a name of the context twice", `{"CiphertextBlob":"` + b64 + `","EncryptionContext":{"b":"","a":"x","a":"é"},` + recipient + `}`, message.OpDecrypt, decrypt, false},
		{"trailing bytes", `{"CiphertextBlob":"` + b64 + `","EncryptionContext":{"b":"","a":"é"},` + recipient + `}{}`, message.OpDecrypt, decrypt, false},
		{"a list", `[]`, message.OpDecrypt, decrypt, false},
		{"random bytes", `{"NumberOfBytes":32,` + recipient + `}`, message.OpRandom, message.Params{Length: 32, Recipient: doc}, true},
		{"other random bytes", `{"NumberOfBytes":33,` + recipient + `}`, message.OpRandom, message.Params{Length: 32, Recipient: doc}, false},
		{"a number with a fraction", `{"NumberOfBytes":32.0,` + recipient + `}`, message.OpRandom, message.Params{Length: 32, Recipient: doc}, false},
		{"a data key", `{"KeySpec":"AES_256",` + recipient + `}`, message.OpGenerateDataKey, message.Params{Length: 32, Context: context(), Recipient: doc}, true},
		{"a short data key", `{"KeySpec":"AES_128","EncryptionContext":null,` + recipient + `}`, message.OpGenerateDataKey, message.Params{Length: 32, Context: context(), Recipient: doc}, false},
		{"a data key by its length", `{"NumberOfBytes":32,"EncryptionContext":{},` + recipient + `}`, message.OpGenerateDataKey, message.Params{Length: 32, Context: context(), Recipient: doc}, true},
		{"a pair", `{"KeyPairSpec":"RSA_2048",` + recipient + `}`, message.OpGenerateDataKeyPair, message.Params{Spec: "RSA_2048", Context: context(), Recipient: doc}, true},
		{"another pair", `{"KeyPairSpec":"RSA_3072",` + recipient + `}`, message.OpGenerateDataKeyPair, message.Params{Spec: "RSA_2048", Context: context(), Recipient: doc}, false},
		{"an agreement", `{"KeyAgreementAlgorithm":"ECDH","PublicKey":"` + b64 + `",` + recipient + `}`, message.OpDeriveSharedSecret, message.Params{Alg: "ECDH", Public: blob, Recipient: doc}, true},
		{"an agreement with another", `{"KeyAgreementAlgorithm":"ECDH","PublicKey":"AAAA",` + recipient + `}`, message.OpDeriveSharedSecret, message.Params{Alg: "ECDH", Public: blob, Recipient: doc}, false},
		{"an operation without a recipient", `{"Plaintext":"AAAA"}`, message.OpEncrypt, message.Params{Data: []byte{0, 0, 0}}, false},
	} {
		if got := core.Executes(c.op, c.p, []byte(c.body)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	body := []byte(`{"NumberOfBytes":32,` + recipient + `}`)
	if r := h.must(message.OpRandom, nil, message.Params{Length: 32, Recipient: doc, Answer: body}); len(r.Proof) == 0 {
		t.Error("no proof")
	}
	if _, status := h.do(message.OpRandom, nil, message.Params{Length: 31, Recipient: doc, Answer: body}); status != link.StatusAttestation {
		t.Errorf("an answer to another question was signed: %d", status)
	}
}

// FuzzBody: the reader of requests meets bytes of clients.
func FuzzBody(f *testing.F) {
	f.Add([]byte(`{"NumberOfBytes":32,"x":[{"y":null}],"EncryptionContext":{"a":"\ud83d\ude00"}}`))
	f.Add([]byte(`{"CiphertextBlob":"AAAA","DryRun":false,"Recipient":{"AttestationDocument":"","KeyEncryptionAlgorithm":"a"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		core.Executes(message.OpRandom, message.Params{Length: 32}, b)
	})
}

// BenchmarkRecipient measures a data key for an enclave with a remembered
// chain. Target: below 2 ms; the signature of the document and RSA are nearly all
// of it.
func BenchmarkRecipient(b *testing.B) {
	h, p := trusting(b)
	_, spki := attesttest.EnclaveKey(b)
	doc := p.Document(b, attest.Statement{PublicKey: spki})
	key := h.newKey()
	params := message.Params{Length: 32, Context: context(), Recipient: doc}
	encoded := params.Append(nil)
	buf := make([]byte, 0, 4096)
	for b.Loop() {
		if _, status := h.Handle(&link.Request{Host: h.supervisor, Op: message.OpGenerateDataKey, Token: key, Params: encoded}, buf); status != link.StatusOK {
			b.Fatal(status)
		}
	}
}
