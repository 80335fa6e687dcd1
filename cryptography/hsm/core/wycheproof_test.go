package core_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha3"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/mldsa"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// hexed is a byte string of a vector file.
type hexed []byte

func (b *hexed) UnmarshalJSON(j []byte) error {
	var s string
	if err := json.Unmarshal(j, &s); err != nil {
		return err
	}
	raw, err := hex.DecodeString(s)
	*b = raw
	return err
}

// A group is the part of a Wycheproof group that some test here reads.
type group struct {
	Type            string
	KeySize         int
	Sha, MgfSha     string
	SLen            int
	TagSize         int
	Curve           string
	PublicKey       json.RawMessage // a string or an object
	PublicKeyDER    hexed           `json:"publicKeyDer"`
	PrivateKeyPKCS8 hexed           `json:"privateKeyPkcs8"`
	PrivateSeed     hexed
	Tests           []struct {
		TcID                          int
		Comment, Result               string
		Flags                         []string
		Msg, Sig, CT, Label, Key, Tag hexed
		Public, Private, Shared, Mu   hexed
		Ctx                           *hexed
	}
}

// wycheproof calls test for every group of every file of a pattern, of the
// module's own copy and of $LEADGLASS_EXTRA_VECTORS.
func wycheproof(t *testing.T, pattern string, test func(t *testing.T, g *group)) {
	t.Helper()
	dirs := []string{"../../../testdata/vectors/wycheproof"}
	if extra := os.Getenv("LEADGLASS_EXTRA_VECTORS"); extra != "" {
		dirs = append(dirs, filepath.Join(extra, "wycheproof"))
	}
	for i, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || i == 0 && len(files) == 0 {
			t.Fatalf("no vectors %s: %v", pattern, err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var f struct{ TestGroups []*group }
			if err := json.Unmarshal(b, &f); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			t.Run(strings.TrimSuffix(filepath.Base(file), "_test.json"), func(t *testing.T) {
				for _, g := range f.TestGroups {
					test(t, g)
				}
			})
		}
	}
}

var hashes = map[string]crypto.Hash{"SHA-1": crypto.SHA1, "SHA-224": crypto.SHA224, "SHA-256": crypto.SHA256, "SHA-384": crypto.SHA384, "SHA-512": crypto.SHA512}

func digest(hash string, msg []byte) []byte {
	h := hashes[hash].New()
	h.Write(msg)
	return h.Sum(nil)
}

// bits is the end of the names of AWS's algorithms.
func bits(hash string) string { return strings.ReplaceAll(hash, "-", "_") }

// judge compares a verdict with the vector's; acceptable is either.
func judge(t *testing.T, id int, comment, want string, got bool) {
	t.Helper()
	if want == "valid" && !got || want == "invalid" && got {
		t.Errorf("test %d (%s) is %s, the HSM says %v", id, comment, want, got)
	}
}

func TestRSASignaturesOfWycheproof(t *testing.T) {
	verify := func(family string) func(t *testing.T, g *group) {
		return func(t *testing.T, g *group) {
			parsed, err := x509.ParsePKIXPublicKey(g.PublicKeyDER)
			if err != nil {
				t.Fatal(err)
			}
			key := parsed.(*rsa.PublicKey)
			exact := family != "PSS" || g.SLen == hashes[g.Sha].Size()
			for _, c := range g.Tests {
				got := core.VerifyInput(key, "RSASSA_"+family+"_"+bits(g.Sha), false, digest(g.Sha, c.Msg), c.Sig)
				if !exact { // a salt of another length is wrong, however valid
					if got && c.Result == "valid" {
						t.Errorf("test %d has a salt of %d bytes and was accepted", c.TcID, g.SLen)
					}
					continue
				}
				judge(t, c.TcID, c.Comment, c.Result, got)
			}
		}
	}
	wycheproof(t, "rsa_signature_*_test.json", verify("PKCS1_V1_5"))
	wycheproof(t, "rsa_pss_*_test.json", verify("PSS"))
}

func TestRSAMakesTheSignaturesOfWycheproof(t *testing.T) {
	h := mustOpen(t, newStore())
	wycheproof(t, "rsa_pkcs1_*_sig_gen_test.json", func(t *testing.T, g *group) {
		if g.Sha != "SHA-256" && g.Sha != "SHA-384" && g.Sha != "SHA-512" {
			return
		}
		ekt, _, ok := h.Import("RSA_"+map[int]string{2048: "2048", 3072: "3072", 4096: "4096"}[g.KeySize], "SIGN_VERIFY", g.PrivateKeyPKCS8)
		if !ok {
			t.Fatalf("a key of %d bits is refused", g.KeySize)
		}
		for _, c := range g.Tests {
			p := message.Params{Alg: "RSASSA_PKCS1_V1_5_" + bits(g.Sha), MessageType: "DIGEST", Data: digest(g.Sha, c.Msg)}
			if sig := h.must(message.OpSign, ekt, p).Data; c.Result == "valid" && !bytes.Equal(sig, c.Sig) {
				t.Errorf("test %d: another signature", c.TcID)
			}
			p.Signature = c.Sig
			if len(c.Sig) == 0 {
				continue
			}
			_, status := h.do(message.OpVerify, ekt, p)
			judge(t, c.TcID, c.Comment, c.Result, status == link.StatusOK)
		}
	})
}

func TestOAEPOfWycheproof(t *testing.T) {
	h := mustOpen(t, newStore())
	wycheproof(t, "rsa_oaep_*_test.json", func(t *testing.T, g *group) {
		spec := map[int]string{2048: "RSA_2048", 3072: "RSA_3072", 4096: "RSA_4096"}[g.KeySize]
		if g.Sha != g.MgfSha || g.Sha != "SHA-1" && g.Sha != "SHA-256" || spec == "" {
			return
		}
		ekt, _, ok := h.Import(spec, "ENCRYPT_DECRYPT", g.PrivateKeyPKCS8)
		if !ok {
			t.Fatalf("a key of %d bits is refused", g.KeySize)
		}
		for _, c := range g.Tests {
			r, status := h.do(message.OpDecrypt, ekt, message.Params{Alg: "RSAES_OAEP_" + bits(g.Sha), Blob: c.CT})
			if len(c.Label) > 0 || len(c.Msg) == 0 { // AWS has no label, and no empty plaintext
				if status != link.StatusAuthFailed {
					t.Errorf("test %d, which has a label or no text: status %d", c.TcID, status)
				}
				continue
			}
			judge(t, c.TcID, c.Comment, c.Result, status == link.StatusOK)
			if status == link.StatusOK && !bytes.Equal(r.Data, c.Msg) {
				t.Errorf("test %d: another plaintext", c.TcID)
			}
			if status != link.StatusOK && status != link.StatusAuthFailed {
				t.Errorf("test %d: status %d", c.TcID, status)
			}
		}
	})
}

func TestECDSAOfWycheproof(t *testing.T) {
	wycheproof(t, "ecdsa_*_test.json", func(t *testing.T, g *group) {
		var fields struct {
			Curve        string
			Uncompressed hexed
		}
		if err := json.Unmarshal(g.PublicKey, &fields); err != nil {
			t.Fatal(err)
		}
		var key any
		var err error
		if fields.Curve == "secp256k1" {
			key, err = secp256k1.ParsePubKey(fields.Uncompressed)
		} else {
			key, err = x509.ParsePKIXPublicKey(g.PublicKeyDER)
			if err == nil {
				_ = key.(*ecdsa.PublicKey)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range g.Tests {
			got := core.VerifyInput(key, "ECDSA_"+bits(g.Sha), false, digest(g.Sha, c.Msg), c.Sig)
			judge(t, c.TcID, c.Comment, c.Result, got)
		}
	})
}

func TestEd25519OfWycheproof(t *testing.T) {
	wycheproof(t, "ed25519_test.json", func(t *testing.T, g *group) {
		var fields struct{ PK hexed }
		if err := json.Unmarshal(g.PublicKey, &fields); err != nil {
			t.Fatal(err)
		}
		for _, c := range g.Tests {
			judge(t, c.TcID, c.Comment, c.Result, core.VerifyInput(ed25519.PublicKey(fields.PK), "ED25519_SHA_512", false, c.Msg, c.Sig))
		}
	})
}

// RFC 8032 section 7.3.
func TestEd25519phOfTheRFC(t *testing.T) {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	key := ed25519.NewKeyFromSeed(unhex("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42"))
	sig := unhex("98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae4131f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406")
	if !core.VerifyInput(key.Public().(ed25519.PublicKey), "ED25519_PH_SHA_512", false, digest("SHA-512", []byte("abc")), sig) {
		t.Error("the signature of the RFC is refused")
	}
	sig[0] ^= 1
	if core.VerifyInput(key.Public().(ed25519.PublicKey), "ED25519_PH_SHA_512", false, digest("SHA-512", []byte("abc")), sig) {
		t.Error("another signature is accepted")
	}
}

func TestHMACOfWycheproof(t *testing.T) {
	h := mustOpen(t, newStore())
	wycheproof(t, "hmac_*_test.json", func(t *testing.T, g *group) {
		name := strings.ToUpper(strings.TrimPrefix(filepath.Base(t.Name()), "hmac_"))
		if i := strings.IndexByte(name, '#'); i >= 0 {
			name = name[:i]
		}
		size := strings.TrimPrefix(name, "SHA")
		keySize := map[string]int{"224": 224, "256": 256, "384": 384, "512": 512}[size]
		for _, c := range g.Tests {
			ekt, _, ok := h.Import("HMAC_"+size, "GENERATE_VERIFY_MAC", c.Key)
			if want := g.KeySize == keySize; ok != want {
				t.Errorf("test %d: a key of %d bits is accepted: %v", c.TcID, g.KeySize, ok)
			}
			if !ok || len(c.Msg) == 0 {
				continue
			}
			p := message.Params{Alg: "HMAC_SHA_" + size, Data: c.Msg, Signature: c.Tag}
			_, status := h.do(message.OpVerifyMac, ekt, p)
			if g.TagSize != keySize { // a part of a MAC is none
				if status != link.StatusAuthFailed {
					t.Errorf("test %d: a MAC of %d bits: status %d", c.TcID, g.TagSize, status)
				}
				continue
			}
			judge(t, c.TcID, c.Comment, c.Result, status == link.StatusOK)
			if mac := h.must(message.OpGenerateMac, ekt, p).Data; c.Result == "valid" && !bytes.Equal(mac, c.Tag) {
				t.Errorf("test %d: another MAC", c.TcID)
			}
		}
	})
}

func TestECDHOfWycheproof(t *testing.T) {
	h := mustOpen(t, newStore())
	specs := map[string]string{"secp256r1": "ECC_NIST_P256", "secp384r1": "ECC_NIST_P384", "secp521r1": "ECC_NIST_P521"}
	wycheproof(t, "ecdh_*_test.json", func(t *testing.T, g *group) {
		for _, c := range g.Tests {
			ekt, ok := h.ImportScalar(specs[g.Curve], "KEY_AGREEMENT", c.Private)
			if !ok {
				t.Fatalf("test %d: the scalar is refused", c.TcID)
			}
			r, status := h.do(message.OpDeriveSharedSecret, ekt, message.Params{Alg: "ECDH", Public: c.Public})
			judge(t, c.TcID, c.Comment, c.Result, status == link.StatusOK)
			if status == link.StatusOK && !bytes.Equal(r.Data, c.Shared) {
				t.Errorf("test %d: another secret", c.TcID)
			}
			if status != link.StatusOK && status != link.StatusBadRequest {
				t.Errorf("test %d: status %d", c.TcID, status)
			}
		}
	})
}

func mldsaSet(t *testing.T) (spec string, params mldsa.Parameters) {
	switch name := t.Name()[strings.LastIndex(t.Name(), "/")+1:]; {
	case strings.HasPrefix(name, "mldsa_44"):
		return "ML_DSA_44", mldsa.MLDSA44()
	case strings.HasPrefix(name, "mldsa_65"):
		return "ML_DSA_65", mldsa.MLDSA65()
	}
	return "ML_DSA_87", mldsa.MLDSA87()
}

// representative is μ: SHAKE256(SHAKE256(pk) ‖ 0 ‖ len(ctx) ‖ ctx ‖ M), FIPS
// 204 algorithms 2 and 7.
func representative(pk, ctx, msg []byte) []byte {
	tr := sha3.SumSHAKE256(pk, 64)
	in := append(tr, 0, byte(len(ctx)))
	return sha3.SumSHAKE256(append(append(in, ctx...), msg...), 64)
}

func TestMLDSAVerifiesAsWycheproof(t *testing.T) {
	wycheproof(t, "mldsa_*_verify_test.json", func(t *testing.T, g *group) {
		_, params := mldsaSet(t)
		var pk hexed
		if err := json.Unmarshal(g.PublicKey, &pk); err != nil {
			t.Fatal(err)
		}
		key, err := mldsa.NewPublicKey(params, pk)
		for _, c := range g.Tests {
			if err != nil {
				judge(t, c.TcID, c.Comment, c.Result, false)
				continue
			}
			var ctx []byte
			if c.Ctx != nil {
				ctx = *c.Ctx
			}
			if len(ctx) < 256 {
				judge(t, c.TcID, c.Comment+", by μ", c.Result, core.VerifyInput(key, "ML_DSA_SHAKE_256", true, representative(pk, ctx, c.Msg), c.Sig))
			}
			if len(ctx) == 0 {
				judge(t, c.TcID, c.Comment, c.Result, core.VerifyInput(key, "ML_DSA_SHAKE_256", false, c.Msg, c.Sig))
			}
		}
	})
}

// The vectors are deterministic and the HSM hedges, so its own signatures are
// checked by what the vectors say of the key, and those of the vectors by it.
func TestMLDSASignsWithTheKeysOfWycheproof(t *testing.T) {
	h := mustOpen(t, newStore())
	wycheproof(t, "mldsa_*_sign_seed_test.json", func(t *testing.T, g *group) {
		spec, params := mldsaSet(t)
		if len(g.PrivateSeed) != 32 {
			return
		}
		ekt := h.ImportSeed(spec, g.PrivateSeed)
		var pk hexed
		if err := json.Unmarshal(g.PublicKey, &pk); err != nil {
			t.Fatal(err)
		}
		key, err := mldsa.NewPublicKey(params, pk)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range g.Tests {
			if c.Result != "valid" || c.Ctx != nil && len(*c.Ctx) > 0 || len(c.Msg) == 0 || len(c.Msg) > message.MaxMessage {
				continue
			}
			mu := representative(pk, nil, c.Msg)
			if len(c.Mu) > 0 && !bytes.Equal(mu, c.Mu) {
				t.Fatalf("test %d: μ", c.TcID)
			}
			raw := message.Params{Alg: "ML_DSA_SHAKE_256", MessageType: "RAW", Data: c.Msg}
			external := message.Params{Alg: "ML_DSA_SHAKE_256", MessageType: "EXTERNAL_MU", Data: mu}
			for _, p := range []message.Params{raw, external} {
				sig := h.must(message.OpSign, ekt, p).Data
				if err := mldsa.Verify(key, c.Msg, sig, nil); err != nil {
					t.Errorf("test %d, %s: %v", c.TcID, p.MessageType, err)
				}
				if bytes.Equal(sig, h.must(message.OpSign, ekt, p).Data) {
					t.Errorf("test %d, %s: the signature is not hedged", c.TcID, p.MessageType)
				}
				for _, q := range []message.Params{raw, external} {
					for _, s := range [][]byte{sig, c.Sig} {
						q.Signature = s
						h.must(message.OpVerify, ekt, q)
						q.Signature = append(bytes.Clone(s[:len(s)-1]), s[len(s)-1]^1)
						if _, status := h.do(message.OpVerify, ekt, q); status != link.StatusAuthFailed {
							t.Errorf("test %d: a changed signature: status %d", c.TcID, status)
						}
					}
				}
			}
		}
	})
}
