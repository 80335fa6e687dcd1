package redteam_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"testing"

	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// imported makes a key of material that the attacker knows.
func (w *world) imported(id string, material []byte, c *message.Conditions, epoch uint64, proof func(wrapped []byte) []byte) (message.Result, uint64) {
	w.t.Helper()
	p := message.Params{Spec: message.SpecSymmetric, Usage: message.UsageEncrypt, Name: arn + id, Alg: message.WrapOAEP256, Length: 256}
	r := w.must(message.OpImportBegin, nil, p)
	wrapped, err := hsmtest.Wrap(r.Public, message.WrapOAEP256, material)
	if err != nil {
		w.t.Fatal(err)
	}
	p = message.Params{Spec: p.Spec, Usage: p.Usage, Origin: message.OriginExternal, Name: p.Name, Blob: wrapped, Epoch: epoch}
	if c != nil {
		p.Conditions = c.Append(nil)
	}
	if proof != nil {
		p.Proof = proof(wrapped)
	}
	return w.do(message.OpImportKey, r.Token, p)
}

// outside opens a ciphertext blob with known material, by the documented
// format: what anybody can do who has the material.
func outside(t testing.TB, material, blob, context []byte) ([]byte, error) {
	t.Helper()
	var key [32]byte
	kdf.Derive(&key, material, "leadglass kms v1", blob[34:50])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	if len(context) == 0 {
		context = make([]byte, 4)
	}
	aad := append([]byte("leadglass kms aad v1\x00"), blob[:58]...)
	return aead.Open(nil, blob[58:70], blob[70:], append(aad, context...))
}

// The attacker moves the ciphertext to a key that he can read.
func TestReEncryptLeadsToNoKeyThatTheAttackerReads(t *testing.T) {
	w := newWorld(t)
	want := message.Conditions{Measurements: []message.Measurement{measured(1)}}
	loose := w.newKey("attested")
	blob := w.must(message.OpEncrypt, loose, message.Params{Data: []byte(canary)}).Blob
	token := w.seal(loose, want)
	known := bytes.Repeat([]byte{7}, 32)
	known2, status := w.imported("mine", known, nil, 0, nil)
	if status != link.StatusOK {
		t.Fatal(status)
	}
	mine := w.seal(known2.Token, want)
	rsa := w.must(message.OpGenerateKey, nil, message.Params{Spec: message.SpecRSA2048, Usage: message.UsageEncrypt, Origin: "AWS_KMS", Name: arn + "rsa"}).Token
	tight := w.seal(w.newKey("tight"), want)
	before := w.newKey("before")
	after := w.seal(before, want)
	for what, p := range map[string]message.Params{
		"an open key": {ToToken: w.newKey("open")},
		"the same key as it was before the sealing":     {ToToken: loose},
		"a key of his own as strict, of imported bytes": {ToToken: mine},
		"an RSA key":                       {ToToken: rsa, ToAlg: "RSAES_OAEP_SHA_256"},
		"a key that wants any attestation": {ToToken: w.seal(w.newKey("any"), message.Conditions{Attested: true})},
		"a key that wants his image":       {ToToken: w.seal(w.newKey("image"), message.Conditions{Measurements: []message.Measurement{measured(2)}})},
		"a key that wants proof alone":     {ToToken: w.seal(w.newKey("proof"), message.Conditions{CallerProof: true})},
		// Another member of the domain may open this one by its token from before: it heard of no sealing.
		"another key as strict":                        {ToToken: tight},
		"another key as strict, with its older token":  {ToToken: before},
		"another key as strict, with its newest token": {ToToken: after},
	} {
		p.Blob = blob
		w.fails("to "+what, message.OpReEncrypt, token, p)
	}
	// The way that is left leads back into the key itself.
	r := w.must(message.OpReEncrypt, token, message.Params{Blob: blob, ToToken: token, ToContext: pairs("a", "b")})
	w.fails("and decrypts that", message.OpDecrypt, token, message.Params{Blob: r.Blob, Context: pairs("a", "b")})
	if got := w.opened(w.must(message.OpDecrypt, token, message.Params{Blob: r.Blob, Context: pairs("a", "b"), Recipient: w.document()})); got != canary {
		t.Errorf("the enclave reads %q", got)
	}
	// Without conditions he reads it, by the material that he knows.
	open := w.newKey("twin")
	blob = w.must(message.OpEncrypt, open, message.Params{Data: []byte(canary)}).Blob
	theirs, status := w.imported("his", known, nil, 0, nil)
	if status != link.StatusOK {
		t.Fatal(status)
	}
	moved := w.must(message.OpReEncrypt, open, message.Params{Blob: blob, ToToken: theirs.Token}).Blob
	if got, err := outside(t, known, moved, nil); err != nil || string(got) != canary {
		t.Errorf("where nothing is in the way: %q, %v", got, err)
	}
}

// The attacker imports material that he knows into the customer's key, to
// move ciphertexts to it or to read what is encrypted from then on.
func TestAForgedFrontImportsItsOwnMaterialIntoTheKey(t *testing.T) {
	v := newVault(t)
	known := bytes.Repeat([]byte{9}, 32)
	for what, c := range map[string]*message.Conditions{"with the key's conditions": &v.conditions, "with none": nil, "with others": {Attested: true}} {
		for epoch := range uint64(3) {
			if _, status := v.imported("vault", known, c, epoch, nil); status == link.StatusOK {
				t.Errorf("%s, epoch %d: imported into a key whose material the HSM made", what, epoch)
			}
		}
	}
	// A key whose material its owner imports takes what its owner signs.
	first, status := v.imported("external", bytes.Repeat([]byte{1}, 32), nil, 0, nil)
	if status != link.StatusOK {
		t.Fatal(status)
	}
	v.seal(first.Token, v.conditions)
	sign := func(id string, of func([]byte) []byte) func([]byte) []byte {
		return func(wrapped []byte) []byte {
			return v.prove("ImportKeyMaterial", fmt.Sprintf(`{"KeyId":"%s","ImportToken":"AAAA","EncryptedKeyMaterial":"%s"}`, id, b64(of(wrapped))))
		}
	}
	same := func(b []byte) []byte { return b }
	for what, proof := range map[string]func([]byte) []byte{
		"without a proof":                     nil,
		"with the proof of other material":    sign("external", func(b []byte) []byte { return b[1:] }),
		"with the proof for another key":      sign("other", same),
		"with the proof of another operation": func([]byte) []byte { return v.prove("EnableKey", `{"KeyId":"external"}`) },
	} {
		if _, status := v.imported("external", known, &v.conditions, 1, proof); status != link.StatusDenied {
			t.Errorf("%s: status %d", what, status)
		}
	}
	if _, status := v.imported("external", bytes.Repeat([]byte{2}, 32), &v.conditions, 1, sign("external", same)); status != link.StatusOK {
		t.Errorf("by its owner: status %d", status)
	}
	v.legitimate()
}

// An import token is of an RSA key: the attacker uses it as one, or for
// another key than it was made for.
func TestAnImportTokenIsGoodForNothingElse(t *testing.T) {
	w := newWorld(t)
	p := message.Params{Spec: message.SpecSymmetric, Usage: message.UsageEncrypt, Name: arn + "hers", Alg: message.WrapOAEP256, Length: 256}
	r := w.must(message.OpImportBegin, nil, p)
	wrapped, err := hsmtest.Wrap(r.Public, message.WrapOAEP256, []byte(canary + " 32 bytes.")[:32])
	if err != nil {
		t.Fatal(err)
	}
	w.fails("Decrypt", message.OpDecrypt, r.Token, message.Params{Blob: wrapped, Alg: "RSAES_OAEP_SHA_256"})
	w.fails("ReEncrypt", message.OpReEncrypt, r.Token, message.Params{Blob: wrapped, Alg: "RSAES_OAEP_SHA_256", ToToken: w.newKey("open")})
	w.fails("Sign", message.OpSign, r.Token, message.Params{Alg: "RSASSA_PSS_SHA_256", Data: []byte("m")})
	take := func(id, spec, usage string) uint64 {
		_, status := w.do(message.OpImportKey, r.Token, message.Params{Spec: spec, Usage: usage, Origin: message.OriginExternal, Name: arn + id, Blob: wrapped})
		return status
	}
	for what, status := range map[string]uint64{
		"into a key of his":       take("mine", message.SpecSymmetric, message.UsageEncrypt),
		"as a key that only MACs": take("hers", message.SpecHMAC256, message.UsageMac),
	} {
		if status == link.StatusOK {
			t.Errorf("%s: imported", what)
		}
	}
	if status := take("hers", message.SpecSymmetric, message.UsageEncrypt); status != link.StatusOK {
		t.Errorf("by its owner: status %d", status)
	}
}

// What is done to keys for the customer's good is turned against her: each
// would be a way to a token without the conditions.
func TestNothingThatIsDoneToATokenShedsItsConditions(t *testing.T) {
	v := newVault(t)
	asks := func(what string, token []byte) {
		t.Helper()
		v.fails("Decrypt "+what, message.OpDecrypt, token, message.Params{Blob: v.blob, Context: pairs("patient", "42")})
		v.fails("Decrypt for the enclave without proof "+what, message.OpDecrypt, token, message.Params{Blob: v.blob, Context: pairs("patient", "42"), Recipient: v.document()})
	}
	asks("with the newest token", v.token)
	asks("with the token from before the sealing", v.loose)
	rewrapped := v.must(message.OpRewrapEKT, v.token, message.Params{}).Token
	asks("after a rewrap", rewrapped)
	asks("with the older one rewrapped", v.must(message.OpRewrapEKT, v.loose, message.Params{}).Token)
	v.fails("brings the older one up to date", message.OpRewrapEKT, v.loose, message.Params{Flags: message.FlagCurrent, Epoch: 1})
	for epoch := range uint64(3) {
		for what, c := range map[string]message.Conditions{"nothing": {}, "proof alone": {CallerProof: true}, "his image": {Measurements: []message.Measurement{measured(2)}, CallerProof: true}} {
			for _, token := range [][]byte{v.token, v.loose, rewrapped} {
				v.fails("seals "+what, message.OpSealConditions, token, message.Params{Conditions: c.Append(nil), Epoch: epoch})
			}
		}
		v.fails("makes new material without the conditions", message.OpGenerateKey, nil, message.Params{
			Spec: message.SpecSymmetric, Usage: message.UsageEncrypt, Origin: "AWS_KMS", Name: arn + "vault", Epoch: epoch})
	}
	// A bit of every byte of the token: attributes, nonce, ciphertext, tag.
	for i := range v.token {
		bad := bytes.Clone(v.token)
		bad[i] ^= 1 << (i % 8)
		if _, status := v.do(message.OpDecrypt, bad, message.Params{Blob: v.blob, Context: pairs("patient", "42")}); status == link.StatusOK {
			t.Fatalf("byte %d decides", i)
		}
		if _, status := v.do(message.OpRewrapEKT, bad, message.Params{}); status == link.StatusOK {
			t.Fatalf("byte %d is sealed anew", i)
		}
	}
	// The loose token's attributes before the sealed one's ciphertext.
	spliced := append(bytes.Clone(v.loose[:len(v.loose)-76]), v.token[len(v.token)-76:]...)
	v.fails("with attributes of before and the ciphertext of now", message.OpDecrypt, spliced, message.Params{Blob: v.blob, Context: pairs("patient", "42")})
	v.legitimate()
	w := v.world
	twin := w.newKey("twin")
	blob := w.must(message.OpEncrypt, twin, message.Params{Data: []byte(canary)}).Blob
	if got := w.must(message.OpDecrypt, w.must(message.OpRewrapEKT, twin, message.Params{}).Token, message.Params{Blob: blob}).Data; string(got) != canary {
		t.Errorf("without conditions: %q", got)
	}
}
