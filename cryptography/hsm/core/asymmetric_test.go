package core_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"filippo.io/mldsa"
	mldsax509 "filippo.io/mldsa/x509"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	secpecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

var (
	rsaSigning   = []string{"RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384", "RSASSA_PKCS1_V1_5_SHA_512", "RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_384", "RSASSA_PSS_SHA_512"}
	signingSpecs = map[string][]string{
		"RSA_2048": rsaSigning, "RSA_3072": rsaSigning, "RSA_4096": rsaSigning,
		"ECC_NIST_P256": {"ECDSA_SHA_256"}, "ECC_NIST_P384": {"ECDSA_SHA_384"}, "ECC_NIST_P521": {"ECDSA_SHA_512"},
		"ECC_SECG_P256K1": {"ECDSA_SHA_256"}, "ECC_NIST_EDWARDS25519": {"ED25519_SHA_512", "ED25519_PH_SHA_512"},
		"ML_DSA_44": {"ML_DSA_SHAKE_256"}, "ML_DSA_65": {"ML_DSA_SHAKE_256"}, "ML_DSA_87": {"ML_DSA_SHAKE_256"},
	}
	hashOf = map[string]crypto.Hash{"SHA_256": crypto.SHA256, "SHA_384": crypto.SHA384, "SHA_512": crypto.SHA512}
)

// hashName is the end of an algorithm's name.
func hashName(alg string) string { return alg[max(0, len(alg)-7):] }

// public reads an SPKI as somebody else does.
func public(t testing.TB, spec string, spki []byte) any {
	t.Helper()
	var key any
	var err error
	switch {
	case spec == "ECC_SECG_P256K1": // which crypto/x509 does not know
		key, err = secp256k1.ParsePubKey(spki[len(spki)-65:])
	case strings.HasPrefix(spec, "ML_DSA"):
		key, err = mldsax509.ParsePKIXPublicKey(spki)
	default:
		key, err = x509.ParsePKIXPublicKey(spki)
	}
	if err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	return key
}

// verifies checks a signature of msg with the standard library.
func verifies(key any, alg string, msg, sig []byte) bool {
	var digest []byte
	if h, ok := hashOf[hashName(alg)]; ok {
		d := h.New()
		d.Write(msg)
		digest = d.Sum(nil)
	}
	switch k := key.(type) {
	case *rsa.PublicKey:
		if strings.HasPrefix(alg, "RSASSA_PSS") {
			return rsa.VerifyPSS(k, hashOf[hashName(alg)], digest, sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(k, hashOf[hashName(alg)], digest, sig) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, digest, sig)
	case *secp256k1.PublicKey:
		s, err := secpecdsa.ParseDERSignature(sig)
		return err == nil && s.Verify(digest, k)
	case ed25519.PublicKey:
		if alg == "ED25519_PH_SHA_512" {
			again := sha512.Sum512(digest)
			return ed25519.VerifyWithOptions(k, again[:], sig, &ed25519.Options{Hash: crypto.SHA512}) == nil
		}
		return ed25519.Verify(k, msg, sig)
	case *mldsa.PublicKey:
		return mldsa.Verify(k, msg, sig, nil) == nil
	}
	return false
}

// keysOf makes one key of each spec once, since RSA takes its time.
func keysOf(t *testing.T, h *hsm, specs []string, usage string) map[string]message.Result {
	t.Helper()
	all := make(map[string]message.Result)
	for _, spec := range specs {
		all[spec] = h.newKeyOf(spec, usage)
	}
	return all
}

func TestEverySigningKeySignsWithItsAlgorithmsAndNoOthers(t *testing.T) {
	h := mustOpen(t, newStore())
	specs := slices.Sorted(maps.Keys(signingSpecs))
	all := keysOf(t, h, specs, "SIGN_VERIFY")
	msg := []byte("a message of any length")
	for _, spec := range specs {
		key := public(t, spec, all[spec].Public)
		for other, algs := range signingSpecs {
			for _, alg := range algs {
				p := message.Params{Alg: alg, MessageType: "RAW", Data: msg}
				var digest []byte
				if hash, ok := hashOf[hashName(alg)]; ok {
					d := hash.New()
					d.Write(msg)
					digest = d.Sum(nil)
				}
				if alg == "ED25519_PH_SHA_512" {
					p.MessageType, p.Data = "DIGEST", digest
				}
				if !slices.Contains(signingSpecs[spec], alg) {
					if _, status := h.do(message.OpSign, all[spec].Token, p); status != link.StatusBadRequest {
						t.Errorf("%s with %s of %s: status %d", spec, alg, other, status)
					}
					continue
				}
				if other != spec {
					continue
				}
				sig := bytes.Clone(h.must(message.OpSign, all[spec].Token, p).Data)
				if !verifies(key, alg, msg, sig) {
					t.Errorf("%s, %s: the signature does not verify", spec, alg)
				}
				types := []message.Params{p}
				if q := p; len(digest) > 0 && p.MessageType == "RAW" && alg != "ED25519_SHA_512" {
					q.MessageType, q.Data = "DIGEST", digest
					types = append(types, q)
				}
				for _, p := range types {
					p.Signature = sig
					h.must(message.OpVerify, all[spec].Token, p)
					sig2 := h.must(message.OpSign, all[spec].Token, p).Data
					if !verifies(key, alg, msg, sig2) {
						t.Errorf("%s, %s, %s: the signature does not verify", spec, alg, p.MessageType)
					}
					for _, bad := range [][]byte{nil, sig[1:], append(bytes.Clone(sig), 0), append([]byte{sig[0] ^ 1}, sig[1:]...)} {
						p.Signature = bad
						if _, status := h.do(message.OpVerify, all[spec].Token, p); status != link.StatusAuthFailed {
							t.Errorf("%s, %s: a wrong signature: status %d", spec, alg, status)
						}
					}
					p.Signature, p.Data = sig, append(bytes.Clone(p.Data[:len(p.Data)-1]), p.Data[len(p.Data)-1]^1)
					if _, status := h.do(message.OpVerify, all[spec].Token, p); status != link.StatusAuthFailed {
						t.Errorf("%s, %s: another message: status %d", spec, alg, status)
					}
				}
			}
		}
	}
	for name, p := range map[string]message.Params{
		"no message":              {Alg: "ECDSA_SHA_256", MessageType: "RAW"},
		"4097 bytes":              {Alg: "ECDSA_SHA_256", MessageType: "RAW", Data: make([]byte, 4097)},
		"a digest of 31 bytes":    {Alg: "ECDSA_SHA_256", MessageType: "DIGEST", Data: make([]byte, 31)},
		"μ for ECDSA":             {Alg: "ECDSA_SHA_256", MessageType: "EXTERNAL_MU", Data: make([]byte, 64)},
		"no message type":         {Alg: "ECDSA_SHA_256", Data: msg},
		"an unknown message type": {Alg: "ECDSA_SHA_256", MessageType: "raw", Data: msg},
		"no algorithm":            {MessageType: "RAW", Data: msg},
	} {
		if _, status := h.do(message.OpSign, all["ECC_NIST_P256"].Token, p); status != link.StatusBadRequest {
			t.Errorf("%s: status %d", name, status)
		}
	}
	for name, c := range map[string]struct {
		spec string
		p    message.Params
	}{
		"Ed25519ph of a message":  {"ECC_NIST_EDWARDS25519", message.Params{Alg: "ED25519_PH_SHA_512", MessageType: "RAW", Data: msg}},
		"Ed25519 of a digest":     {"ECC_NIST_EDWARDS25519", message.Params{Alg: "ED25519_SHA_512", MessageType: "DIGEST", Data: make([]byte, 64)}},
		"ML-DSA of a digest":      {"ML_DSA_65", message.Params{Alg: "ML_DSA_SHAKE_256", MessageType: "DIGEST", Data: make([]byte, 64)}},
		"ML-DSA of a μ too short": {"ML_DSA_65", message.Params{Alg: "ML_DSA_SHAKE_256", MessageType: "EXTERNAL_MU", Data: make([]byte, 63)}},
	} {
		if _, status := h.do(message.OpSign, all[c.spec].Token, c.p); status != link.StatusBadRequest {
			t.Errorf("%s: status %d", name, status)
		}
	}
	// The lower of the two values of s, always.
	for range 20 {
		sig := h.must(message.OpSign, all["ECC_SECG_P256K1"].Token, message.Params{Alg: "ECDSA_SHA_256", MessageType: "RAW", Data: []byte(rand.Text())}).Data
		s, err := secpecdsa.ParseDERSignature(sig)
		if err != nil {
			t.Fatal(err)
		}
		if v := s.S(); v.IsOverHalfOrder() {
			t.Error("a signature with the higher s")
		}
	}
}

func TestAKeyDoesOnlyWhatItsUsageSays(t *testing.T) {
	h := mustOpen(t, newStore())
	peer := h.newKeyOf("ECC_NIST_P256", "KEY_AGREEMENT").Public
	all := map[string][]byte{
		"SYMMETRIC": h.newKey(), "RSA/ENC": h.newKeyOf("RSA_2048", "ENCRYPT_DECRYPT").Token, "RSA/SIGN": h.newKeyOf("RSA_2048", "SIGN_VERIFY").Token,
		"EC/SIGN": h.newKeyOf("ECC_NIST_P256", "SIGN_VERIFY").Token, "EC/AGREE": h.newKeyOf("ECC_NIST_P256", "KEY_AGREEMENT").Token,
		"HMAC": h.newKeyOf("HMAC_256", "GENERATE_VERIFY_MAC").Token,
		"LOG":  h.must(message.OpGenerateLogKey, nil, message.Params{Name: "example.org"}).Token,
	}
	for _, c := range []struct {
		only string
		op   uint64
		p    message.Params
	}{
		{"RSA/SIGN", message.OpSign, message.Params{Alg: "RSASSA_PSS_SHA_256", MessageType: "RAW", Data: []byte("x")}},
		{"EC/SIGN", message.OpSign, message.Params{Alg: "ECDSA_SHA_256", MessageType: "RAW", Data: []byte("x")}},
		{"RSA/ENC", message.OpEncrypt, message.Params{Alg: "RSAES_OAEP_SHA_1", Data: []byte("x")}},
		{"SYMMETRIC", message.OpEncrypt, message.Params{Data: []byte("x")}},
		{"EC/AGREE", message.OpDeriveSharedSecret, message.Params{Alg: "ECDH", Public: peer}},
		{"HMAC", message.OpGenerateMac, message.Params{Alg: "HMAC_SHA_256", Data: []byte("x")}},
		{"SYMMETRIC", message.OpGenerateDataKeyPair, message.Params{Spec: "ECC_NIST_P256"}},
		{"SYMMETRIC", message.OpGenerateDataKey, message.Params{Length: 32}},
	} {
		for name, token := range all {
			_, status := h.do(c.op, token, c.p)
			switch {
			case name == c.only && status != link.StatusOK:
				t.Errorf("operation %d with %s: status %d", c.op, name, status)
			case name != c.only && status != link.StatusWrongToken && status != link.StatusBadRequest:
				t.Errorf("operation %d with %s: status %d", c.op, name, status)
			}
		}
	}
	for spec, usage := range map[string]string{
		"RSA_2048": "KEY_AGREEMENT", "ECC_NIST_P256": "ENCRYPT_DECRYPT", "ECC_SECG_P256K1": "KEY_AGREEMENT", "HMAC_256": "SIGN_VERIFY",
		"ML_DSA_44": "KEY_AGREEMENT", "SM2": "SIGN_VERIFY", "ECC_NIST_EDWARDS25519": "KEY_AGREEMENT", "LEADGLASS_LOG": "SIGN_LOG", "ECC_NIST_P384": "",
	} {
		p := newKeyParams()
		p.Spec, p.Usage = spec, usage
		if _, status := h.do(message.OpGenerateKey, nil, p); status != link.StatusBadRequest {
			t.Errorf("%s for %s: status %d", spec, usage, status)
		}
	}
}

func TestOAEPTakesWhatFitsAndNoContext(t *testing.T) {
	h := mustOpen(t, newStore())
	key := h.newKeyOf("RSA_2048", "ENCRYPT_DECRYPT")
	for alg, limit := range map[string]int{"RSAES_OAEP_SHA_1": 214, "RSAES_OAEP_SHA_256": 190} {
		for _, n := range []int{1, 32, limit} {
			plain := make([]byte, n)
			rand.Read(plain)
			blob := bytes.Clone(h.must(message.OpEncrypt, key.Token, message.Params{Alg: alg, Data: plain}).Blob)
			if got := h.must(message.OpDecrypt, key.Token, message.Params{Alg: alg, Blob: blob}).Data; !bytes.Equal(got, plain) {
				t.Errorf("%s: %d bytes decrypt to others", alg, n)
			}
			blob[10] ^= 1
			if _, status := h.do(message.OpDecrypt, key.Token, message.Params{Alg: alg, Blob: blob}); status != link.StatusAuthFailed {
				t.Errorf("%s: a changed ciphertext: status %d", alg, status)
			}
		}
		for name, p := range map[string]message.Params{
			"too much":                        {Alg: alg, Data: make([]byte, limit+1)},
			"nothing":                         {Alg: alg},
			"a context":                       {Alg: alg, Data: []byte("x"), Context: context("a", "b")},
			"an empty one, which is not none": {Alg: alg, Data: []byte("x"), Context: context()},
			"no such algorithm":               {Alg: "RSAES_PKCS1_V1_5", Data: []byte("x")},
		} {
			if _, status := h.do(message.OpEncrypt, key.Token, p); status != link.StatusBadRequest {
				t.Errorf("%s, %s: status %d", alg, name, status)
			}
		}
	}
	// What another implementation encrypts is decrypted.
	blob, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public(t, "RSA_2048", key.Public).(*rsa.PublicKey), []byte("plain"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := h.must(message.OpDecrypt, key.Token, message.Params{Alg: "RSAES_OAEP_SHA_256", Blob: blob}).Data; string(got) != "plain" {
		t.Errorf("decrypted %q", got)
	}
	// ReEncrypt, in all four directions.
	symmetric := h.newKey()
	from := func(rsaSide bool) ([]byte, message.Params) {
		if rsaSide {
			return key.Token, message.Params{Alg: "RSAES_OAEP_SHA_256", Blob: blob}
		}
		return symmetric, message.Params{Blob: h.must(message.OpEncrypt, symmetric, message.Params{Data: []byte("plain"), Context: context("a", "b")}).Blob, Context: context("a", "b")}
	}
	for _, rsaFrom := range []bool{true, false} {
		for _, rsaTo := range []bool{true, false} {
			token, p := from(rsaFrom)
			p.ToToken, p.ToContext = symmetric, context("c", "d")
			open := message.Params{Context: context("c", "d")}
			if rsaTo {
				p.ToToken, p.ToAlg, p.ToContext = key.Token, "RSAES_OAEP_SHA_1", nil
				open = message.Params{Alg: "RSAES_OAEP_SHA_1"}
			}
			open.Blob = h.must(message.OpReEncrypt, token, p).Blob
			if got := h.must(message.OpDecrypt, p.ToToken, open).Data; string(got) != "plain" {
				t.Errorf("from RSA %v to RSA %v: %q", rsaFrom, rsaTo, got)
			}
			if !rsaTo {
				open.Context = context("c", "e")
				if _, status := h.do(message.OpDecrypt, symmetric, open); status != link.StatusAuthFailed {
					t.Errorf("another context after ReEncrypt: status %d", status)
				}
			}
		}
	}
}

func TestBothSidesOfAnAgreementHaveTheSameSecret(t *testing.T) {
	h := mustOpen(t, newStore())
	for spec, c := range map[string]ecdh.Curve{"ECC_NIST_P256": ecdh.P256(), "ECC_NIST_P384": ecdh.P384(), "ECC_NIST_P521": ecdh.P521()} {
		ours := h.newKeyOf(spec, "KEY_AGREEMENT")
		theirs, err := c.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		spki, err := x509.MarshalPKIXPublicKey(theirs.PublicKey())
		if err != nil {
			t.Fatal(err)
		}
		pub, err := public(t, spec, ours.Public).(*ecdsa.PublicKey).ECDH()
		if err != nil {
			t.Fatal(err)
		}
		want, err := theirs.ECDH(pub)
		if err != nil {
			t.Fatal(err)
		}
		if got := h.must(message.OpDeriveSharedSecret, ours.Token, message.Params{Alg: "ECDH", Public: spki}).Data; !bytes.Equal(got, want) {
			t.Errorf("%s: another secret", spec)
		}
		offCurve := bytes.Clone(spki)
		offCurve[len(offCurve)-1] ^= 1
		other := h.newKeyOf(map[string]string{"ECC_NIST_P256": "ECC_NIST_P384", "ECC_NIST_P384": "ECC_NIST_P521", "ECC_NIST_P521": "ECC_NIST_P256"}[spec], "KEY_AGREEMENT").Public
		for name, peer := range map[string][]byte{
			"no peer": nil, "a point that is not on the curve": offCurve, "another curve": other, "a byte too many": append(bytes.Clone(spki), 0),
			"no SPKI": []byte("x"), "an Ed25519 key": h.newKeyOf("ECC_NIST_EDWARDS25519", "SIGN_VERIFY").Public,
		} {
			if _, status := h.do(message.OpDeriveSharedSecret, ours.Token, message.Params{Alg: "ECDH", Public: peer}); status != link.StatusBadRequest {
				t.Errorf("%s, %s: status %d", spec, name, status)
			}
		}
	}
}

// private reads PKCS#8 as somebody else does and gives the public key.
func private(t *testing.T, spec string, pkcs8 []byte) any {
	t.Helper()
	if spec == "ECC_SECG_P256K1" { // which crypto/x509 does not know: version, algorithm, {1, scalar, ...}
		i := bytes.Index(pkcs8, []byte{2, 1, 1, 4, 32})
		if i < 0 {
			t.Fatalf("no scalar in %x", pkcs8)
		}
		return secp256k1.PrivKeyFromBytes(pkcs8[i+5 : i+37]).PubKey()
	}
	k, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	if again, err := x509.MarshalPKCS8PrivateKey(k); err != nil || !bytes.Equal(again, pkcs8) {
		t.Errorf("%s: crypto/x509 writes the same key otherwise: %v", spec, err)
	}
	return k.(crypto.Signer).Public()
}

func TestTheHalvesOfADataKeyPairBelongTogether(t *testing.T) {
	h := mustOpen(t, newStore())
	key := h.newKey()
	for spec := range signingSpecs {
		p := message.Params{Spec: spec, Context: context("a", "b")}
		if strings.HasPrefix(spec, "ML_DSA") {
			if _, status := h.do(message.OpGenerateDataKeyPair, key, p); status != link.StatusBadRequest {
				t.Errorf("%s: status %d", spec, status)
			}
			continue
		}
		pair := h.must(message.OpGenerateDataKeyPair, key, p)
		type equal interface{ Equal(crypto.PublicKey) bool }
		ours, theirs := private(t, spec, pair.Data), public(t, spec, pair.Public)
		same := false
		if k, is := ours.(*secp256k1.PublicKey); is {
			same = k.IsEqual(theirs.(*secp256k1.PublicKey))
		} else {
			same = ours.(equal).Equal(theirs)
		}
		if !same {
			t.Errorf("%s: the halves do not belong together", spec)
		}
		if pair.Blob[0] != 1 || pair.Blob[1] != 3 {
			t.Errorf("%s: a blob of type %x", spec, pair.Blob[:2])
		}
		if plain := h.must(message.OpDecrypt, key, message.Params{Blob: pair.Blob, Context: context("a", "b")}).Data; !bytes.Equal(plain, pair.Data) {
			t.Errorf("%s: the blob holds something else", spec)
		}
		moved := h.must(message.OpReEncrypt, key, message.Params{Blob: pair.Blob, Context: context("a", "b"), ToToken: key}).Blob
		if moved[1] != 3 || !bytes.Equal(h.must(message.OpDecrypt, key, message.Params{Blob: moved}).Data, pair.Data) {
			t.Errorf("%s: ReEncrypt made something else of it", spec)
		}
		// The type is authenticated.
		pair.Blob[1] = 2
		if _, status := h.do(message.OpDecrypt, key, message.Params{Blob: pair.Blob, Context: context("a", "b")}); status != link.StatusAuthFailed {
			t.Errorf("%s: as a blob of another type: status %d", spec, status)
		}
		p.Flags = message.FlagNoPlaintext
		if rsa := strings.HasPrefix(spec, "RSA"); !rsa {
			if r := h.must(message.OpGenerateDataKeyPair, key, p); len(r.Data) > 0 || len(r.Public) == 0 || len(r.Blob) == 0 {
				t.Errorf("%s without plaintext: %d bytes of it", spec, len(r.Data))
			}
		}
	}
}

// Whatever context a private key was encrypted with, any other does not open
// it, by Decrypt or by ReEncrypt.
func TestAWrongContextNeverOpensTheKeyOfAPair(t *testing.T) {
	h := mustOpen(t, newStore())
	key := h.newKey()
	random := mathrand.New(mathrand.NewPCG(3, 4))
	word := func() string { return strings.Repeat("ab"[random.IntN(2):][:1], random.IntN(3)) }
	contexts := func() map[string]string {
		m := make(map[string]string)
		for range random.IntN(4) {
			m[word()] = word()
		}
		return m
	}
	encode := func(m map[string]string) []byte {
		b, err := message.AppendContext(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for range 1000 {
		made, asked := contexts(), contexts()
		spec := []string{"ECC_NIST_P256", "ECC_NIST_EDWARDS25519"}[random.IntN(2)]
		blob := h.must(message.OpGenerateDataKeyPair, key, message.Params{Spec: spec, Context: encode(made), Flags: message.FlagNoPlaintext}).Blob
		want := uint64(link.StatusAuthFailed)
		if maps.Equal(made, asked) {
			want = link.StatusOK
		}
		if _, status := h.do(message.OpDecrypt, key, message.Params{Blob: blob, Context: encode(asked)}); status != want {
			t.Fatalf("made with %v, Decrypt with %v: status %d", made, asked, status)
		}
		if _, status := h.do(message.OpReEncrypt, key, message.Params{Blob: blob, Context: encode(asked), ToToken: key}); status != want {
			t.Fatalf("made with %v, ReEncrypt with %v: status %d", made, asked, status)
		}
	}
}

func TestImportedKeysAreCheckedAndKeptInOneForm(t *testing.T) {
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	forms := map[string][]byte{}
	for spec, k := range map[string]any{"ECC_NIST_P256": p256, "ECC_NIST_P384": p384, "RSA_2048": rsaKey, "ECC_NIST_EDWARDS25519": ed} {
		b, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		forms[spec] = b
		spki, err := x509.MarshalPKIXPublicKey(k.(crypto.Signer).Public())
		if err != nil {
			t.Fatal(err)
		}
		out, public, ok := core.ParseMaterial(spec, b)
		if !ok || !bytes.Equal(out, b) || !bytes.Equal(public, spki) {
			t.Errorf("%s: accepted %v, the same form %v, the same public key %v", spec, ok, bytes.Equal(out, b), bytes.Equal(public, spki))
		}
		for n := range b {
			if _, _, ok := core.ParseMaterial(spec, b[:n]); ok {
				t.Fatalf("%s: %d bytes of %d are accepted", spec, n, len(b))
			}
		}
		if _, _, ok := core.ParseMaterial(spec, append(bytes.Clone(b), 0)); ok {
			t.Errorf("%s: a byte too many is accepted", spec)
		}
	}
	for spec := range signingSpecs {
		for of, b := range forms {
			if _, _, ok := core.ParseMaterial(spec, b); ok != (spec == of) {
				t.Errorf("a key of %s as %s: %v", of, spec, ok)
			}
		}
	}
	// An EC key without its public half (as some writers have it) is the same key.
	bare := []byte{0x30, 0x41, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 4, 0x27, 0x30, 0x25, 2, 1, 1, 4, 0x20}
	scalar, err := p256.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if out, _, ok := core.ParseMaterial("ECC_NIST_P256", append(bare, scalar...)); !ok || !bytes.Equal(out, forms["ECC_NIST_P256"]) {
		t.Errorf("without the public half: accepted %v", ok)
	}
	// A public half that belongs to another key, primes that do not make the modulus, a scalar of zero.
	foreign := bytes.Clone(forms["ECC_NIST_P256"])
	foreign[len(foreign)-1] ^= 1
	zero := append(bytes.Clone(bare), make([]byte, 32)...)
	wrong := bytes.Clone(forms["RSA_2048"])
	wrong[60] ^= 2
	for name, c := range map[string]struct {
		spec string
		b    []byte
	}{
		"a foreign public half": {"ECC_NIST_P256", foreign}, "a scalar of zero": {"ECC_NIST_P256", zero}, "a wrong modulus": {"RSA_2048", wrong},
		"31 bytes": {"SYMMETRIC_DEFAULT", make([]byte, 31)}, "an HMAC key of 33 bytes": {"HMAC_256", make([]byte, 33)}, "ML-DSA": {"ML_DSA_44", make([]byte, 32)},
	} {
		if _, _, ok := core.ParseMaterial(c.spec, c.b); ok {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestWhoeverFindsTheQueueForRSAKeysFullIsToldSo(t *testing.T) {
	h := mustOpen(t, newStore())
	release := h.HoldRSA()
	p := newKeyParams()
	p.Spec, p.Usage = "RSA_2048", "SIGN_VERIFY"
	statuses := make(chan uint64)
	var all sync.WaitGroup
	for range core.RSAQueue + 3 {
		all.Go(func() {
			_, status := h.do(message.OpGenerateKey, nil, p)
			statuses <- status
		})
	}
	for range 3 {
		if status := <-statuses; status != link.StatusBusy {
			t.Errorf("status %d while the queue is full", status)
		}
	}
	// Nobody else waits meanwhile.
	h.must(message.OpEncrypt, h.newKey(), message.Params{Data: []byte("x")})
	h.newKeyOf("ECC_NIST_P256", "SIGN_VERIFY")
	release()
	for range core.RSAQueue {
		if status := <-statuses; status != link.StatusOK {
			t.Errorf("status %d of one that waited", status)
		}
	}
	all.Wait()
}

func TestAsymmetricRequestsAreSlowAndSymmetricOnesAreNot(t *testing.T) {
	h := mustOpen(t, newStore())
	for name, c := range map[string]struct {
		op   uint64
		p    message.Params
		want bool
	}{
		"a symmetric key": {message.OpGenerateKey, newKeyParams(), false},
		"an RSA key":      {message.OpGenerateKey, message.Params{Spec: "RSA_2048", Usage: "SIGN_VERIFY"}, true},
		"Encrypt":         {message.OpEncrypt, message.Params{Data: []byte("x"), Context: context("a", "b")}, false},
		"Decrypt":         {message.OpDecrypt, message.Params{Blob: []byte("x"), Context: context("a", "b")}, false},
		"for a recipient": {message.OpRandom, message.Params{Length: 32, Recipient: []byte("x")}, true},
		"OAEP":            {message.OpDecrypt, message.Params{Blob: []byte("x"), Alg: "RSAES_OAEP_SHA_1"}, true},
		"ReEncrypt":       {message.OpReEncrypt, message.Params{Blob: []byte("x"), ToToken: []byte("x")}, false},
		"ReEncrypt to RSA, which comes after every other parameter": {message.OpReEncrypt, message.Params{Blob: []byte("x"), ToAlg: "RSAES_OAEP_SHA_1"}, true},
		"Sign":        {message.OpSign, message.Params{}, true},
		"GenerateMac": {message.OpGenerateMac, message.Params{Alg: "HMAC_SHA_256"}, false},
	} {
		if got := h.Slow(&link.Request{Op: c.op, Params: c.p.Append(nil)}); got != c.want {
			t.Errorf("%s: slow %v", name, got)
		}
	}
	if h.Slow(&link.Request{Op: message.OpDecrypt, Params: []byte{0xff}}) {
		t.Error("nonsense is slow")
	}
}
