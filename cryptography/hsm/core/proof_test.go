package core_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// A signer is a customer with a SigV4A key, and the authority that vouches for
// it.
type signer struct {
	authority, caller *ecdsa.PrivateKey
	account           string
}

func (h *hsm) signer(account string) *signer {
	h.t.Helper()
	s := &signer{account: account}
	var err error
	var spki []byte
	if s.authority, spki, err = link.NewKey(); err != nil {
		h.t.Fatal(err)
	}
	if s.caller, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		h.t.Fatal(err)
	}
	h.must(message.OpPlaceHost, nil, message.Params{Public: spki, Role: core.RoleAuthority})
	return s
}

// request is what a test may get wrong on the way to a proof.
type request struct {
	target, body, host, regions string
	time                        time.Time
	notAfter                    time.Time
	edit                        func(*message.Proof)
}

func (s *signer) prove(t testing.TB, r request) []byte {
	t.Helper()
	stamp := r.time.Format("20060102T150405Z")
	body := sha256.Sum256([]byte(r.body))
	canonical := strings.Join([]string{
		"POST", "/", "", "content-type:application/x-amz-json-1.1", "host:" + r.host, "x-amz-date:" + stamp,
		"x-amz-region-set:" + r.regions, "x-amz-target:" + r.target, "",
		"content-type;host;x-amz-date;x-amz-region-set;x-amz-target", hex.EncodeToString(body[:]),
	}, "\n")
	sum := sha256.Sum256([]byte(canonical))
	p := message.Proof{
		Canonical: []byte(canonical), Body: []byte(r.body),
		StringToSign: []byte(strings.Join([]string{"AWS4-ECDSA-P256-SHA256", stamp, stamp[:8] + "/kms/aws4_request", hex.EncodeToString(sum[:])}, "\n")),
	}
	public, err := s.caller.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	k := message.CallerKey{AccessKeyID: "AKIAEXAMPLE", Account: s.account, Public: public, NotAfter: uint64(r.notAfter.UnixMilli())}
	record := k.Append(nil)
	sig, err := ecdsa.SignASN1(rand.Reader, s.authority, message.CallerKeyDigest(record))
	if err != nil {
		t.Fatal(err)
	}
	p.CallerKey = message.AppendCallerKey(nil, record, sig)
	hash := sha256.Sum256(p.StringToSign)
	if p.Signature, err = ecdsa.SignASN1(rand.Reader, s.caller, hash[:]); err != nil {
		t.Fatal(err)
	}
	if r.edit != nil {
		r.edit(&p)
	}
	return p.Append(nil)
}

const provenName = "arn:aws:kms:us-east-1:111122223333:key/a"

func (h *hsm) request(target, body string) request {
	return request{target: "TrentService." + target, body: body, host: "kms.us-east-1.example", regions: "us-east-1", time: h.now, notAfter: h.now.Add(5 * time.Minute)}
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func TestAKeyThatAsksForProofActsOnlyOnWhatItsCallerSigned(t *testing.T) {
	h := mustOpen(t, newStore())
	s := h.signer("111122223333")
	open := h.named("a")
	blob := h.must(message.OpEncrypt, open, message.Params{Data: []byte("p"), Context: context("a", "b")}).Blob
	foreign := h.must(message.OpEncrypt, h.named("b"), message.Params{Data: []byte("p")}).Blob
	other := h.named("c")
	token, _, status := h.seal(open, message.Conditions{CallerProof: true}, 0, nil)
	if status != link.StatusOK {
		t.Fatal(status)
	}
	decrypt := fmt.Sprintf(`{"CiphertextBlob":"%s","EncryptionContext":{"a":"b"}}`, b64(blob))
	reencrypt := fmt.Sprintf(`{"CiphertextBlob":"%s","SourceEncryptionContext":{"a":"b"},"DestinationKeyId":"c","DestinationEncryptionContext":{"c":"d"}}`, b64(blob))
	params := message.Params{Blob: blob, Context: context("a", "b")}
	ok := func(op uint64, p message.Params, target, body string) {
		t.Helper()
		p.Proof = s.prove(t, h.request(target, body))
		if _, status := h.do(op, token, p); status != link.StatusOK {
			t.Errorf("%s %s: %d", target, body, status)
		}
	}
	ok(message.OpDecrypt, params, "Decrypt", decrypt)
	ok(message.OpDecrypt, params, "Decrypt", strings.Replace(decrypt, "{", `{"KeyId":"`+provenName+`","DryRun":false,"GrantTokens":["x"],`, 1))
	ok(message.OpDecrypt, params, "Decrypt", strings.Replace(decrypt, "{", `{"KeyId":"a","EncryptionAlgorithm":"SYMMETRIC_DEFAULT",`, 1))
	ok(message.OpEncrypt, message.Params{Data: []byte("pläin")}, "Encrypt", `{ "KeyId" : "a", "Plaintext" : "`+b64([]byte("pläin"))+`", "EncryptionContext" : { } }`)
	ok(message.OpGenerateDataKey, message.Params{Length: 16}, "GenerateDataKey", `{"KeyId":"a","KeySpec":"AES_128"}`)
	ok(message.OpGenerateDataKey, message.Params{Length: 17}, "GenerateDataKey", `{"KeyId":"a","NumberOfBytes":17}`)
	ok(message.OpGenerateDataKey, message.Params{Length: 32, Flags: message.FlagNoPlaintext}, "GenerateDataKeyWithoutPlaintext", `{"KeyId":"a","KeySpec":"AES_256"}`)
	ok(message.OpReEncrypt, message.Params{Blob: blob, Context: context("a", "b"), ToToken: other, ToContext: context("c", "d")}, "ReEncrypt", reencrypt)

	edit := func(f func(*message.Proof)) request {
		r := h.request("Decrypt", decrypt)
		r.edit = f
		return r
	}
	with := func(f func(*request)) request {
		r := h.request("Decrypt", decrypt)
		f(&r)
		return r
	}
	stranger := h.signer("444455556666")
	forger := *s
	forger.authority, _, _ = link.NewKey()
	for what, proof := range map[string][]byte{
		"none":                             nil,
		"bytes":                            {1, 2, 3},
		"a caller of another account":      stranger.prove(t, h.request("Decrypt", decrypt)),
		"a record of nobody's authority":   forger.prove(t, h.request("Decrypt", decrypt)),
		"a request for another ciphertext": s.prove(t, h.request("Decrypt", strings.Replace(decrypt, b64(blob), b64(foreign), 1))),
		"another context":                  s.prove(t, h.request("Decrypt", strings.Replace(decrypt, `"b"}`, `"c"}`, 1))),
		"no context":                       s.prove(t, h.request("Decrypt", `{"CiphertextBlob":"`+b64(blob)+`"}`)),
		"an alias":                         s.prove(t, h.request("Decrypt", strings.Replace(decrypt, "{", `{"KeyId":"alias/a",`, 1))),
		"another key":                      s.prove(t, h.request("Decrypt", strings.Replace(decrypt, "{", `{"KeyId":"b",`, 1))),
		"a dry run":                        s.prove(t, h.request("Decrypt", strings.Replace(decrypt, "{", `{"DryRun":true,`, 1))),
		"for a recipient":                  s.prove(t, h.request("Decrypt", strings.Replace(decrypt, "{", `{"Recipient":{"AttestationDocument":"AAAA"},`, 1))),
		"a member twice":                   s.prove(t, h.request("Decrypt", strings.Replace(decrypt, "{", `{"CiphertextBlob":"AAAA",`, 1))),
		"another operation":                s.prove(t, h.request("Encrypt", decrypt)),
		"no JSON":                          s.prove(t, h.request("Decrypt", decrypt+"}")),
		"a list":                           s.prove(t, h.request("Decrypt", "["+decrypt+"]")),
		"another service's operation":      s.prove(t, with(func(r *request) { r.target = "Other.Decrypt" })),
		"too old":                          s.prove(t, with(func(r *request) { r.time = r.time.Add(-5*time.Minute - time.Second) })),
		"too early":                        s.prove(t, with(func(r *request) { r.time = r.time.Add(5*time.Minute + time.Second) })),
		"an expired record":                s.prove(t, with(func(r *request) { r.notAfter = r.time.Add(-time.Millisecond) })),
		"no host":                          s.prove(t, with(func(r *request) { r.host = "" })),
		"another region":                   s.prove(t, with(func(r *request) { r.regions = "eu-west-1,us-east-2" })),
		"another body":                     s.prove(t, edit(func(p *message.Proof) { p.Body = append(p.Body, ' ') })),
		"another canonical request": s.prove(t, edit(func(p *message.Proof) {
			p.Canonical = bytes.Replace(p.Canonical, []byte("Decrypt"), []byte("Encrypt"), 1)
		})),
		"another string to sign": s.prove(t, edit(func(p *message.Proof) { p.StringToSign = bytes.Replace(p.StringToSign, []byte("Z"), []byte("Y"), 1) })),
		"no signature":           s.prove(t, edit(func(p *message.Proof) { p.Signature = nil })),
		"another's signature":    s.prove(t, edit(func(p *message.Proof) { p.Signature[len(p.Signature)-1] ^= 1 })),
		"an unsigned record":     s.prove(t, edit(func(p *message.Proof) { p.CallerKey[10] ^= 1 })),
	} {
		p := params
		p.Proof = proof
		if _, status := h.do(message.OpDecrypt, token, p); status != link.StatusDenied {
			t.Errorf("%s: %d", what, status)
		}
	}
	// A good proof is good for what it says only.
	for what, c := range map[string]struct {
		op   uint64
		p    message.Params
		body string
	}{
		"a data key instead":        {message.OpGenerateDataKey, message.Params{Length: 32}, "Decrypt " + decrypt},
		"plaintext, not without":    {message.OpGenerateDataKey, message.Params{Length: 32}, `GenerateDataKeyWithoutPlaintext {"KeyId":"a","KeySpec":"AES_256"}`},
		"a longer key":              {message.OpGenerateDataKey, message.Params{Length: 32}, `GenerateDataKey {"KeyId":"a","KeySpec":"AES_128"}`},
		"a key of two lengths":      {message.OpGenerateDataKey, message.Params{Length: 32}, `GenerateDataKey {"KeyId":"a","KeySpec":"AES_256","NumberOfBytes":32}`},
		"no key":                    {message.OpGenerateDataKey, message.Params{Length: 32}, `GenerateDataKey {"KeySpec":"AES_256"}`},
		"another plaintext":         {message.OpEncrypt, message.Params{Data: []byte("p")}, `Encrypt {"KeyId":"a","Plaintext":"` + b64([]byte("q")) + `"}`},
		"more than asked for":       {message.OpEncrypt, message.Params{Data: []byte("p"), Length: 5}, `Encrypt {"KeyId":"a","Plaintext":"` + b64([]byte("p")) + `"}`},
		"another destination":       {message.OpReEncrypt, message.Params{Blob: blob, Context: context("a", "b"), ToToken: token, ToContext: context("c", "d")}, "ReEncrypt " + reencrypt},
		"the destination's context": {message.OpReEncrypt, message.Params{Blob: blob, Context: context("a", "b"), ToToken: other, ToContext: context("c", "e")}, "ReEncrypt " + reencrypt},
	} {
		target, body, _ := strings.Cut(c.body, " ")
		c.p.Proof = s.prove(t, h.request(target, body))
		if _, status := h.do(c.op, token, c.p); status != link.StatusDenied {
			t.Errorf("%s: %d", what, status)
		}
	}
	// The destination's own conditions ask as well.
	into := strings.Replace(reencrypt, `"DestinationKeyId":"c"`, `"DestinationKeyId":"`+provenName+`"`, 1)
	from := h.must(message.OpEncrypt, other, message.Params{Data: []byte("p"), Context: context("a", "b")}).Blob
	into = strings.Replace(into, b64(blob), b64(from), 1)
	p := message.Params{Blob: from, Context: context("a", "b"), ToToken: token, ToContext: context("c", "d")}
	if _, status := h.do(message.OpReEncrypt, other, p); status != link.StatusDenied {
		t.Errorf("into the key without proof: %d", status)
	}
	p.Proof = s.prove(t, h.request("ReEncrypt", into))
	if _, status := h.do(message.OpReEncrypt, other, p); status != link.StatusOK {
		t.Errorf("into the key with proof: %d", status)
	}
}

// A front cannot undo its customer's DisableKey if the key asks for proofs.
func TestOpeningAKeyThatAsksForProofTakesOne(t *testing.T) {
	h := mustOpen(t, newStore())
	s := h.signer("111122223333")
	token := h.sealed("a", message.Conditions{CallerProof: true})
	if _, status := h.raise(token, 0, true); status != link.StatusOK {
		t.Fatalf("closing is free: %d", status)
	}
	open := func(target, body string) uint64 {
		_, status := h.do(message.OpRaiseFence, token, message.Params{Proof: s.prove(t, h.request(target, body))})
		return status
	}
	if _, status := h.raise(token, 0, false); status != link.StatusDenied {
		t.Errorf("opened without: %d", status)
	}
	for target, body := range map[string]string{"DisableKey": `{"KeyId":"a"}`, "EnableKey": `{"KeyId":"b"}`, "EnableKey ": `{}`} {
		if status := open(strings.TrimSpace(target), body); status != link.StatusDenied {
			t.Errorf("opened by %s %s: %d", target, body, status)
		}
	}
	if status := open("EnableKey", `{"KeyId":"a"}`); status != link.StatusOK {
		t.Errorf("opened by its owner: %d", status)
	}
}

func TestTheReaderOfSignedBodiesIsStrict(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":"x"}`: "x",
		` { "b" : [ 1 , -2.5e3 , true , null ] , "a" : "x\u0041\n\/" } `: "xA\n/",
		`{"a":"\ud83d\ude00"}`: "😀",
		`{"a":"é"}`:            "é",
	} {
		if got, ok := core.ParseJSON([]byte(in), "a"); !ok || got != want {
			t.Errorf("%s = %q, %v", in, got, ok)
		}
	}
	for _, in := range []string{
		"", "{", `{"a"}`, `{"a":}`, `{"a":"x"`, `{"a":"x"}x`, `{"a":"x",}`, `{,}`, `[1,]`, `{"a":"x","a":"x"}`, `{"a":"\ud83d"}`, `{"a":"\ude00"}`,
		`{"a":"\ud83d\u0041"}`, `{"a":"\x"}`, `{"a":"\u00"}`, "{\"a\":\"\xff\"}", "{\"a\":\"\n\"}", `{"a":"x`, `{"a":"\`, `{a:1}`, `{"a":tru}`, `{"a":'x'}`,
		strings.Repeat("[", 9) + strings.Repeat("]", 9), `{"\u0061":1,"a":2}`,
	} {
		if _, ok := core.ParseJSON([]byte(in), "a"); ok {
			t.Errorf("%s was read", in)
		}
	}
}

func FuzzProof(f *testing.F) {
	h := mustOpen(f, newStore())
	s := h.signer("111122223333")
	token := h.sealed("a", message.Conditions{CallerProof: true})
	good := s.prove(f, h.request("GenerateDataKey", `{"KeyId":"a","KeySpec":"AES_256"}`))
	f.Add(good, []byte(`{"a":"\u0041"}`))
	f.Add(good[:100], []byte(`[{"a":[1,2,{"b":null}]}]`))
	f.Fuzz(func(t *testing.T, proof, body []byte) {
		_, status := h.do(message.OpGenerateDataKey, token, message.Params{Length: 32, Proof: proof})
		if status == link.StatusOK && !bytes.Equal(proof, good) || status == link.StatusInternal {
			t.Errorf("a made-up proof: %d", status)
		}
		core.ParseJSON(body, "a")
	})
}
