package redteam_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/isolation/attest"
)

// The attacker has a genuine request of the customer's enclave, and sends it
// late, or with something else in its place.
func TestAForgedFrontReplaysARequestAsAnother(t *testing.T) {
	v := newVault(t)
	document := v.document()
	genuine := v.decrypt(document)
	foreign := v.must(message.OpEncrypt, v.newKey("mine"), message.Params{Data: []byte("x")}).Blob
	change := func(f func(*message.Params)) message.Params {
		p := genuine
		f(&p)
		return p
	}
	for what, p := range map[string]message.Params{
		"without the proof":                   change(func(p *message.Params) { p.Proof = nil }),
		"without the document":                change(func(p *message.Params) { p.Recipient = nil }),
		"for another recipient":               change(func(p *message.Params) { p.Recipient = v.documentOf(attest.Statement{Nonce: []byte("mine")}) }),
		"for another ciphertext":              change(func(p *message.Params) { p.Blob = foreign }),
		"for another context":                 change(func(p *message.Params) { p.Context = pairs("patient", "43") }),
		"for no context":                      change(func(p *message.Params) { p.Context = nil }),
		"by another algorithm":                change(func(p *message.Params) { p.Alg = "RSAES_OAEP_SHA_256" }),
		"with more than was asked for":        change(func(p *message.Params) { p.Length = 32 }),
		"in the clear, the proof being of it": change(func(p *message.Params) { p.Recipient, p.Flags = nil, message.FlagNoPlaintext }),
	} {
		v.fails(what, message.OpDecrypt, v.token, p)
	}
	for op, p := range map[uint64]message.Params{
		message.OpGenerateDataKey:     {Length: 32, Recipient: document, Proof: genuine.Proof},
		message.OpGenerateDataKeyPair: {Spec: message.SpecP256, Recipient: document, Proof: genuine.Proof},
		message.OpEncrypt:             {Data: []byte("x"), Proof: genuine.Proof},
		message.OpReEncrypt:           {Blob: v.blob, Context: genuine.Context, ToToken: v.newKey("open"), Proof: genuine.Proof},
		message.OpRaiseFence:          {Proof: genuine.Proof, Flags: message.FlagCurrent | message.FlagClosed},
	} {
		v.fails(fmt.Sprint("as operation ", op), op, v.token, p)
	}
	// Within five minutes he can send it again: it is the enclave that reads the answer.
	v.sleep(4 * time.Minute)
	if got := v.opened(v.must(message.OpDecrypt, v.token, genuine)); got != canary {
		t.Errorf("the enclave reads %q", got)
	}
	v.sleep(61 * time.Second)
	v.fails("five minutes later", message.OpDecrypt, v.token, genuine)
	late := v.decrypt(v.document())
	late.Proof = genuine.Proof
	v.fails("five minutes later, with a new document", message.OpDecrypt, v.token, late)
	v.legitimate()
}

// The attacker writes a proof himself: with keys of his own, or by making the
// HSM read another request than the customer signed.
func TestAForgedFrontMakesAProof(t *testing.T) {
	v := newVault(t)
	document := v.document()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// As he, with his own credential in another account, or a record that he signed.
	as := func(record []byte) []byte {
		customer := v.caller
		v.caller = own
		defer func() { v.caller = customer }()
		return v.proveRequest(request{target: "Decrypt", body: v.body(document), edit: func(p *message.Proof) {
			if record != nil {
				p.CallerKey = record
			}
		}})
	}
	expires := v.now().Add(5 * time.Minute)
	stamp := v.now().UTC().Format("20060102T150405Z")
	headers := func(all ...string) []byte {
		for i, h := range all {
			all[i] = strings.ReplaceAll(h, "NOW", stamp)
		}
		return v.proveRequest(request{target: "Decrypt", body: v.body(document), headers: all})
	}
	edited := func(f func(*message.Proof)) []byte {
		return v.proveRequest(request{target: "Decrypt", body: v.body(document), edit: f})
	}
	body := v.body(document)
	type proofs map[string][]byte
	for what, proof := range (proofs{
		"nothing":                                   nil,
		"his credential of another account":         as(v.recordOf(v.authority, own, "999999999999", expires)),
		"his key in a record that he signed":        as(v.recordOf(v.host, own, account, expires)),
		"his key in a record that nobody signed":    as(message.AppendCallerKey(nil, v.recordOf(v.authority, own, account, expires)[3:40], []byte{0})),
		"the customer's record, his signature":      as(v.record(v.authority, account, expires)),
		"a record from a minute too long ago":       edited(func(p *message.Proof) { p.CallerKey = v.record(v.authority, account, v.now().Add(-time.Minute)) }),
		"a host twice":                              headers("host:a", "host:b", "x-amz-date:NOW", "x-amz-region-set:us-east-1", "x-amz-target:TrentService.Decrypt"),
		"a target twice":                            headers("host:a", "x-amz-date:NOW", "x-amz-region-set:us-east-1", "x-amz-target:TrentService.Decrypt", "x-amz-target:TrentService.Encrypt"),
		"headers out of order":                      headers("x-amz-date:NOW", "host:a", "x-amz-region-set:us-east-1", "x-amz-target:TrentService.Decrypt"),
		"a target in capitals":                      headers("X-Amz-Target:TrentService.Decrypt", "host:a", "x-amz-date:NOW", "x-amz-region-set:us-east-1"),
		"no target":                                 headers("host:a", "x-amz-date:NOW", "x-amz-region-set:us-east-1"),
		"no date":                                   headers("host:a", "x-amz-region-set:us-east-1", "x-amz-target:TrentService.Decrypt"),
		"a date in the header that is another":      headers("host:a", "x-amz-date:20260301T115959Z", "x-amz-region-set:us-east-1", "x-amz-target:TrentService.Decrypt"),
		"no Region":                                 headers("host:a", "x-amz-date:NOW", "x-amz-target:TrentService.Decrypt"),
		"another Region":                            headers("host:a", "x-amz-date:NOW", "x-amz-region-set:eu-west-1", "x-amz-target:TrentService.Decrypt"),
		"an operation with blanks around":           headers("host:a", "x-amz-date:NOW", "x-amz-region-set:us-east-1", "x-amz-target: TrentService.Decrypt "),
		"an operation in small letters":             headers("host:a", "x-amz-date:NOW", "x-amz-region-set:us-east-1", "x-amz-target:TrentService.decrypt"),
		"a canonical request cut off":               edited(func(p *message.Proof) { p.Canonical = p.Canonical[:len(p.Canonical)/2] }),
		"a canonical request without its last line": edited(func(p *message.Proof) { p.Canonical = p.Canonical[:bytes.LastIndexByte(p.Canonical, '\n')] }),
		"a string to sign with another hash":        edited(func(p *message.Proof) { p.StringToSign[len(p.StringToSign)-1] ^= 1 }),
		"no signature":                              edited(func(p *message.Proof) { p.Signature = nil }),
		"a signature of zeros":                      edited(func(p *message.Proof) { p.Signature = []byte{0x30, 6, 2, 1, 0, 2, 1, 0} }),
		"a signature with something behind":         edited(func(p *message.Proof) { p.Signature = append(p.Signature, 0) }),
		"another body":                              edited(func(p *message.Proof) { p.Body = bytes.Replace(p.Body, []byte("42"), []byte("43"), 1) }),
		"a member twice":                            v.prove("Decrypt", strings.Replace(body, "{", `{"Recipient":null,`, 1)),
		"a member twice, once escaped":              v.prove("Decrypt", strings.Replace(body, "{", `{"\u0052ecipient":null,`, 1)),
		"two bodies":                                v.prove("Decrypt", body+body),
		"a ciphertext in small letters":             v.prove("Decrypt", strings.Replace(body, "CiphertextBlob", "ciphertextBlob", 1)),
		"a recipient in small letters":              v.prove("Decrypt", strings.Replace(body, "Recipient", "recipient", 1)),
		"a recipient of another encryption":         v.prove("Decrypt", strings.Replace(body, "RSAES_OAEP_SHA_256", "RSAES_OAEP_SHA_1", 1)),
		"a context that is a text":                  v.prove("Decrypt", strings.Replace(body, `{"patient":"42"}`, `"patient=42"`, 1)),
		"a context with a number":                   v.prove("Decrypt", strings.Replace(body, `"42"`, `42`, 1)),
		"another key":                               v.prove("Decrypt", strings.Replace(body, "{", `{"KeyId":"other",`, 1)),
		"an alias that the front may turn":          v.prove("Decrypt", strings.Replace(body, "{", `{"KeyId":"alias/vault",`, 1)),
		"a dry run":                                 v.prove("Decrypt", strings.Replace(body, "{", `{"DryRun":true,`, 1)),
	}) {
		p := v.decrypt(document)
		p.Proof = proof
		v.fails("with "+what, message.OpDecrypt, v.token, p)
	}
	good := v.decrypt(document)
	for i := range some(good.Proof) {
		p := good
		p.Proof = bytes.Clone(good.Proof)
		p.Proof[i] ^= 1
		if _, status := v.do(message.OpDecrypt, v.token, p); status == link.StatusOK {
			t.Fatalf("a proof with byte %d changed is accepted", i)
		}
		p.Proof = good.Proof[:i]
		if _, status := v.do(message.OpDecrypt, v.token, p); status == link.StatusOK {
			t.Fatalf("the first %d bytes of a proof are accepted", i)
		}
	}
	v.legitimate()
}

// The attacker would vouch for callers himself: as another authority.
func TestAForgedFrontPutsAnotherAuthorityInPlace(t *testing.T) {
	v := newVault(t)
	mine := newHost(t)
	spki, err := link.MarshalPublic(&mine.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	v.fails("PlaceHost", message.OpPlaceHost, nil, message.Params{Public: spki, Role: core.RoleAuthority})
	v.fails("Ready", message.OpReady, nil, message.Params{})
	if c, _ := v.dial(mine); c != nil {
		t.Error("a host that nobody placed is let in")
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	document := v.document()
	customer := v.caller
	v.caller = own
	proof := v.proveRequest(request{target: "Decrypt", body: v.body(document), edit: func(p *message.Proof) {
		p.CallerKey = v.recordOf(mine, own, account, v.now().Add(time.Minute))
	}})
	v.caller = customer
	p := v.decrypt(document)
	p.Proof = proof
	v.fails("with a record of his own authority", message.OpDecrypt, v.token, p)
	v.legitimate()
}

// The customer signs a ReEncrypt from the key to another key of hers; the
// attacker puts a key of his own in its place.
func TestAForgedFrontTurnsAReEncryptToItsOwnKey(t *testing.T) {
	v := newVault(t)
	theirs := v.newKey("theirs")
	blob := v.must(message.OpEncrypt, theirs, message.Params{Data: []byte(canary)}).Blob
	theirs = v.seal(theirs, message.Conditions{CallerProof: true})
	hers, mine := v.newKey("hers"), v.newKey("mine")
	ask := func(destination string, to []byte) (message.Result, uint64) {
		proof := v.prove("ReEncrypt", fmt.Sprintf(`{"CiphertextBlob":"%s","DestinationKeyId":"%s"}`, b64(blob), destination))
		return v.do(message.OpReEncrypt, theirs, message.Params{Blob: blob, ToToken: to, Proof: proof})
	}
	for what, destination := range map[string]string{"named by its id": "hers", "named by its ARN": arn + "hers", "named by an alias": "alias/hers"} {
		if _, status := ask(destination, mine); status != link.StatusDenied {
			t.Errorf("%s: status %d", what, status)
		}
	}
	r, status := ask("hers", hers)
	if status != link.StatusOK {
		t.Fatalf("to her own key: status %d", status)
	}
	if got := v.must(message.OpDecrypt, hers, message.Params{Blob: r.Blob}).Data; string(got) != canary {
		t.Errorf("she reads %q", got)
	}
}
