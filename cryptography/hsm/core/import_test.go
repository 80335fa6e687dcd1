package core_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"testing"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

const target = "arn:aws:kms:us-east-1:111122223333:key/01234567-89ab-cdef-0123-456789abcdef"

// beginning are the parameters of an import; importing those of its end.
func beginning(bytes uint64, alg, spec, usage string) message.Params {
	return message.Params{Length: bytes, Alg: alg, Spec: spec, Usage: usage, Name: target}
}

func importing(spec, usage string, blob []byte) message.Params {
	return message.Params{Spec: spec, Usage: usage, Origin: "EXTERNAL", Name: target, Blob: blob}
}

func wrap(t testing.TB, public []byte, alg string, material []byte) []byte {
	t.Helper()
	b, err := hsmtest.Wrap(public, alg, material)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// brought is material that its owner has made, of every spec that is imported.
func brought(t testing.TB) map[string][]byte {
	t.Helper()
	raw := make([]byte, 64)
	rand.Read(raw)
	all := map[string][]byte{
		"SYMMETRIC_DEFAULT": raw[:32], "HMAC_224": raw[:28], "HMAC_256": raw[:32], "HMAC_384": raw[:48], "HMAC_512": raw,
		"ECC_SECG_P256K1": secp(t),
	}
	put := func(spec string, k any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if all[spec], err = x509.MarshalPKCS8PrivateKey(k); err != nil {
			t.Fatal(err)
		}
	}
	for spec, curve := range map[string]elliptic.Curve{"ECC_NIST_P256": elliptic.P256(), "ECC_NIST_P384": elliptic.P384(), "ECC_NIST_P521": elliptic.P521()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		put(spec, k, err)
	}
	for spec, bits := range map[string]int{"RSA_2048": 2048, "RSA_3072": 3072, "RSA_4096": 4096} {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		put(spec, k, err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	put("ECC_NIST_EDWARDS25519", ed, err)
	return all
}

// secp is the PKCS#8 of a key that crypto/x509 cannot write, as OpenSSL does.
func secp(t testing.TB) []byte {
	t.Helper()
	k, err := secp256k1.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	head, _ := hex.DecodeString("308184020100301006072a8648ce3d020106052b8104000a046d306b0201010420")
	b := append(head, k.Serialize()...)
	b = append(b, 0xa1, 0x44, 0x03, 0x42, 0x00)
	return append(b, k.PubKey().SerializeUncompressed()...)
}

var usageOf = map[string]string{
	"SYMMETRIC_DEFAULT": "ENCRYPT_DECRYPT", "RSA_2048": "ENCRYPT_DECRYPT",
	"HMAC_224": "GENERATE_VERIFY_MAC", "HMAC_256": "GENERATE_VERIFY_MAC", "HMAC_384": "GENERATE_VERIFY_MAC", "HMAC_512": "GENERATE_VERIFY_MAC",
	"ECC_NIST_P384": "KEY_AGREEMENT",
}

func usage(spec string) string {
	if u := usageOf[spec]; u != "" {
		return u
	}
	return "SIGN_VERIFY"
}

func TestMaterialOfEverySpecIsImportedByEveryAlgorithmThatHoldsIt(t *testing.T) {
	h := mustOpen(t, newStore())
	all := brought(t)
	algorithms := map[string]int{ // what OAEP takes away of the modulus
		message.WrapOAEP1: 42, message.WrapOAEP256: 66, message.WrapAES1: 0, message.WrapAES256: 0,
	}
	ids := map[string][]byte{}
	for spec, material := range all {
		for alg, overhead := range algorithms {
			length := uint64(256)
			if overhead > 0 && len(material) > 256-overhead {
				length = 384
			}
			if overhead > 0 && len(material) > 384-overhead {
				continue // RSA: only with an AES key in between
			}
			p := h.must(message.OpImportBegin, nil, beginning(length, alg, spec, usage(spec)))
			if key, err := x509.ParsePKIXPublicKey(p.Public); err != nil || key.(*rsa.PublicKey).Size() != int(length) {
				t.Fatalf("%s %s: the wrapping key is %v, %v", spec, alg, key, err)
			}
			if len(p.Token) > 6144 {
				t.Errorf("an import token of %d bytes, which the API does not carry", len(p.Token))
			}
			k := h.must(message.OpImportKey, p.Token, importing(spec, usage(spec), wrap(t, p.Public, alg, material)))
			if got := h.Material(k.Token); !bytes.Equal(got, material) {
				t.Errorf("%s %s: other material", spec, alg)
			}
			if ids[spec] != nil && !bytes.Equal(ids[spec], k.Material) {
				t.Errorf("%s %s: the same material has another id", spec, alg)
			}
			ids[spec] = k.Material
			if pkcs8, err := x509.ParsePKCS8PrivateKey(material); err == nil {
				want, err := x509.MarshalPKIXPublicKey(pkcs8.(crypto.Signer).Public())
				if err != nil || !bytes.Equal(want, k.Public) {
					t.Errorf("%s: another public key: %v", spec, err)
				}
			}
		}
	}
	if len(ids) != 13 {
		t.Errorf("%d specs were imported", len(ids))
	}
	// The other sizes of wrapping keys.
	for _, length := range []uint64{384, 512} {
		p := h.must(message.OpImportBegin, nil, beginning(length, message.WrapAES256, "RSA_4096", "SIGN_VERIFY"))
		k := h.must(message.OpImportKey, p.Token, importing("RSA_4096", "SIGN_VERIFY", wrap(t, p.Public, message.WrapAES256, all["RSA_4096"])))
		if !bytes.Equal(k.Material, ids["RSA_4096"]) {
			t.Errorf("a wrapping key of %d bytes: other material", length)
		}
	}
}

func TestAnImportTokenIsGoodForItsKeyAndADay(t *testing.T) {
	h := mustOpen(t, newStore())
	key := make([]byte, 32)
	rand.Read(key)
	const spec, use = "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"
	p := h.must(message.OpImportBegin, nil, beginning(256, message.WrapOAEP256, spec, use))
	other := h.must(message.OpImportBegin, nil, beginning(256, message.WrapOAEP256, spec, use))
	blob := wrap(t, p.Public, message.WrapOAEP256, key)
	change := func(f func(p *message.Params)) message.Params {
		p := importing(spec, use, blob)
		f(&p)
		return p
	}
	same := change(func(*message.Params) {})
	flipped := bytes.Clone(p.Token)
	flipped[len(flipped)-1] ^= 1
	for name, c := range map[string]struct {
		token  []byte
		p      message.Params
		status uint64
	}{
		"the token of another import":     {other.Token, same, link.StatusAuthFailed},
		"a changed token":                 {flipped, same, link.StatusWrongToken},
		"no token":                        {nil, same, link.StatusWrongToken},
		"the token of a key":              {h.newKey(), same, link.StatusWrongToken},
		"the token of an RSA key":         {h.newKeyOf("RSA_2048", use).Token, same, link.StatusWrongToken},
		"another target":                  {p.Token, change(func(p *message.Params) { p.Name += "0" }), link.StatusWrongToken},
		"another spec":                    {p.Token, change(func(p *message.Params) { p.Spec, p.Usage = "HMAC_256", "GENERATE_VERIFY_MAC" }), link.StatusWrongToken},
		"a usage that does not fit":       {p.Token, change(func(p *message.Params) { p.Usage = "SIGN_VERIFY" }), link.StatusBadRequest},
		"an origin that is not the owner": {p.Token, change(func(p *message.Params) { p.Origin = "AWS_KMS" }), link.StatusBadRequest},
		"nothing wrapped":                 {p.Token, importing(spec, use, nil), link.StatusAuthFailed},
		"a byte too many":                 {p.Token, importing(spec, use, append(bytes.Clone(blob), 0)), link.StatusAuthFailed},
		"another ciphertext":              {p.Token, importing(spec, use, wrap(t, other.Public, message.WrapOAEP256, key)), link.StatusAuthFailed},
		"another hash":                    {p.Token, importing(spec, use, wrap(t, p.Public, message.WrapOAEP1, key)), link.StatusAuthFailed},
		"an AES key in between":           {p.Token, importing(spec, use, wrap(t, p.Public, message.WrapAES256, key)), link.StatusAuthFailed},
		"31 bytes":                        {p.Token, importing(spec, use, wrap(t, p.Public, message.WrapOAEP256, key[:31])), link.StatusMaterial},
		"33 bytes":                        {p.Token, importing(spec, use, wrap(t, p.Public, message.WrapOAEP256, append(key, 0))), link.StatusMaterial},
		"190 bytes":                       {p.Token, importing(spec, use, wrap(t, p.Public, message.WrapOAEP256, make([]byte, 190))), link.StatusMaterial},
	} {
		if _, status := h.do(message.OpImportKey, c.token, c.p); status != c.status {
			t.Errorf("%s: status %d, want %d", name, status, c.status)
		}
	}
	// No other operation takes the private key in the token.
	for op, name := range core.Operations() {
		if op == message.OpImportKey || op == message.OpRewrapEKT {
			continue // a token that is sealed anew is the same token
		}
		for _, q := range []message.Params{
			{Blob: blob, Alg: "RSAES_OAEP_SHA_256"}, {Data: []byte("x"), Alg: "RSASSA_PSS_SHA_256", MessageType: "RAW"}, {Blob: blob}, {Data: []byte("x")},
			{Length: 32}, {Data: []byte("x"), Alg: "RSAES_OAEP_SHA_256"}, {Blob: blob, Alg: "RSAES_OAEP_SHA_256", ToToken: h.newKey()},
		} {
			if r, status := h.do(op, p.Token, q); status == link.StatusOK && (len(r.Data) > 0 || len(r.Blob) > 0) && op != message.OpRandom {
				t.Errorf("%s works with an import token", name)
			}
		}
	}
	fresh := h.must(message.OpRewrapEKT, p.Token, message.Params{}).Token
	h.now = h.now.Add(24 * time.Hour)
	h.must(message.OpImportKey, p.Token, same)
	h.now = h.now.Add(time.Second)
	for _, token := range [][]byte{p.Token, fresh} {
		if _, status := h.do(message.OpImportKey, token, same); status != link.StatusDenied {
			t.Errorf("after a day: status %d", status)
		}
	}
	if _, status := h.doAs(authority, message.OpImportBegin, nil, beginning(256, message.WrapOAEP256, spec, use)); status != link.StatusDenied {
		t.Errorf("the authority imports: status %d", status)
	}
}

func TestWhatCannotBeImportedIsRefusedAtTheBeginning(t *testing.T) {
	h := mustOpen(t, newStore())
	const spec, use = "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"
	for name, p := range map[string]message.Params{
		"PKCS#1 padding":        beginning(256, "RSAES_PKCS1_V1_5", spec, use),
		"a modulus of 1024":     beginning(128, message.WrapOAEP256, spec, use),
		"a modulus of no bits":  beginning(0, message.WrapOAEP256, spec, use),
		"a length that wraps":   beginning(1<<61+256, message.WrapOAEP256, spec, use),
		"ML-DSA":                beginning(256, message.WrapAES256, "ML_DSA_44", "SIGN_VERIFY"),
		"a key of the log":      beginning(256, message.WrapAES256, message.SpecLog, ""),
		"a usage that does not": beginning(256, message.WrapAES256, spec, "SIGN_VERIFY"),
	} {
		if _, status := h.do(message.OpImportBegin, nil, p); status != link.StatusBadRequest {
			t.Errorf("%s: status %d", name, status)
		}
	}
}

func TestImportedMaterialEndsByTheClockOfTheHSM(t *testing.T) {
	h := mustOpen(t, newStore())
	key := sha256.Sum256([]byte("key"))
	p := h.must(message.OpImportBegin, nil, beginning(256, message.WrapOAEP1, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"))
	in := importing("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", wrap(t, p.Public, message.WrapOAEP1, key[:]))
	in.NotAfter = uint64(h.now.Add(time.Hour).UnixMilli())
	k := h.must(message.OpImportKey, p.Token, in)
	blob := h.must(message.OpEncrypt, k.Token, message.Params{Data: []byte("x")}).Blob
	rewrapped := h.must(message.OpRewrapEKT, k.Token, message.Params{}).Token
	h.now = h.now.Add(time.Hour + time.Millisecond)
	for _, token := range [][]byte{k.Token, rewrapped} {
		if _, status := h.do(message.OpDecrypt, token, message.Params{Blob: blob}); status != link.StatusDenied {
			t.Errorf("after its end: status %d", status)
		}
	}
	// The same material, imported again, opens what it has encrypted.
	in.NotAfter = 0
	again := h.must(message.OpImportKey, p.Token, in)
	if !bytes.Equal(again.Material, k.Material) {
		t.Error("it has another id")
	}
	if got := h.must(message.OpDecrypt, again.Token, message.Params{Blob: blob}).Data; string(got) != "x" {
		t.Errorf("decrypted %q", got)
	}
}

// Wycheproof's vectors of RFC 5649, and the two of the RFC itself (section 6).
func TestKeysAreUnwrappedByRFC5649(t *testing.T) {
	kek, _ := hex.DecodeString("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
	for key, wrapped := range map[string]string{
		"c37b7e6492584340bed12207808941155068f738": "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
		"466f7250617369": "afbeb0f07dfbf5419200f2ccb50bb24f",
	} {
		b, _ := hex.DecodeString(wrapped)
		got, ok := core.UnwrapPadded(kek, b)
		if !ok || hex.EncodeToString(got) != key {
			t.Errorf("%s: %x, %v", key, got, ok)
		}
	}
	wycheproof(t, "aes_kwp_test.json", func(t *testing.T, g *group) {
		for _, c := range g.Tests {
			got, ok := core.UnwrapPadded(c.Key, c.CT)
			judge(t, c.TcID, c.Comment, c.Result, ok)
			if ok && !bytes.Equal(got, c.Msg) {
				t.Errorf("test %d: %x", c.TcID, got)
			}
			if c.Result != "valid" {
				continue
			}
			if again, err := hsmtest.WrapPadded(c.Key, c.Msg); err != nil || !bytes.Equal(again, c.CT) {
				t.Errorf("test %d: the customer wraps it to %x, %v", c.TcID, again, err)
			}
		}
	})
}

func FuzzUnwrapPadded(f *testing.F) {
	kek := make([]byte, 32)
	for _, n := range []int{1, 8, 9, 32, 138} {
		b, err := hsmtest.WrapPadded(kek, make([]byte, n))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		key, ok := core.UnwrapPadded(kek, b)
		if !ok {
			return
		}
		if again, err := hsmtest.WrapPadded(kek, key); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x was unwrapped to %x, which is wrapped to %x", b, key, again)
		}
	})
}
