package attest_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/leadglass/leadglass/isolation/attest"
)

// A vector is one entry of manifest.json.
type vector struct {
	File        string            `json:"file"`
	Time        int64             `json:"verify_time_ms"`
	Expect      string            `json:"expect"`
	ModuleID    string            `json:"module_id"`
	Timestamp   int64             `json:"timestamp"`
	PCRCount    int               `json:"pcr_count"`
	NonzeroPCRs map[string]string `json:"nonzero_pcrs"`
	PublicKey   *string           `json:"public_key"`
	UserData    *string           `json:"user_data"`
	Nonce       *string           `json:"nonce"`
	SHA256      string            `json:"sha256"`

	doc []byte
}

func (v *vector) at() time.Time { return time.UnixMilli(v.Time) }

func vectors(t testing.TB) (all []vector) {
	t.Helper()
	dirs := []string{"../../testdata/vectors/attestation"}
	if extra := os.Getenv("LEADGLASS_EXTRA_VECTORS"); extra != "" {
		if dir := filepath.Join(extra, "attestation"); exists(dir) {
			dirs = append(dirs, dir)
		}
	}
	for _, dir := range dirs {
		b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
		if err != nil {
			t.Fatal(err)
		}
		var vs []vector
		if err := json.Unmarshal(b, &vs); err != nil {
			t.Fatal(err)
		}
		for _, v := range vs {
			if v.doc, err = os.ReadFile(filepath.Join(dir, v.File)); err != nil {
				t.Fatal(err)
			}
			if sum := sha256.Sum256(v.doc); hex.EncodeToString(sum[:]) != v.SHA256 {
				t.Fatalf("%s is not what the manifest says", v.File)
			}
			all = append(all, v)
		}
	}
	if len(all) < 6 {
		t.Fatalf("%d vectors", len(all))
	}
	return all
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func aws(at time.Time) attest.Options {
	return attest.Options{Roots: []attest.Root{attest.AWSRootG1()}, Now: at, Debug: true}
}

func TestTheRootOfAWSIsTheOneThatItPublishes(t *testing.T) {
	sum := sha256.Sum256(attest.AWSRootG1().DER)
	if got := hex.EncodeToString(sum[:]); got != "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b" {
		t.Error(got)
	}
}

func TestRealDocumentsAreVerifiedAtTheirTime(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.File, func(t *testing.T) {
			c, err := attest.Verify(v.doc, aws(v.at()))
			if v.Expect != "valid" {
				if string(attest.ClassOf(err)) != v.Expect {
					t.Errorf("%v, not %s", err, v.Expect)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.ModuleID != v.ModuleID || c.Timestamp.UnixMilli() != v.Timestamp || len(c.PCRs) != v.PCRCount || c.Tier != attest.Hardware ||
				!strings.HasPrefix(v.ModuleID, c.InstanceID+"-enc") || c.Digest != sha512.Sum384(v.doc) {
				t.Errorf("claims %+v", c)
			}
			nonzero := map[string]string{}
			for i, p := range c.PCRs {
				if !attest.Zero(p) {
					nonzero[strconv.Itoa(i)] = hex.EncodeToString(p)
				}
			}
			if !maps.Equal(nonzero, v.NonzeroPCRs) {
				t.Errorf("registers %v", nonzero)
			}
			if _, measured := v.NonzeroPCRs["0"]; c.Debug == measured {
				t.Errorf("debug: %v", c.Debug)
			}
			for name, pair := range map[string]struct {
				got  []byte
				want *string
			}{"public_key": {c.PublicKey, v.PublicKey}, "user_data": {c.UserData, v.UserData}, "nonce": {c.Nonce, v.Nonce}} {
				if (pair.got == nil) != (pair.want == nil) || pair.want != nil && hex.EncodeToString(pair.got) != *pair.want {
					t.Errorf("%s: %x", name, pair.got)
				}
			}
		})
	}
}

func TestEveryRealDocumentIsExpiredToday(t *testing.T) {
	for _, v := range vectors(t) {
		if _, err := attest.Verify(v.doc, aws(time.Now())); attest.ClassOf(err) != attest.CertificateExpired {
			t.Errorf("%s: %v", v.File, err)
		}
	}
}

// The standard library, which the HSM cannot link, must agree about every real
// chain.
func TestTheStandardLibraryAgreesAboutTheChains(t *testing.T) {
	for _, v := range vectors(t) {
		leaf, bundle := certificates(t, v.doc)
		intermediates, roots := x509.NewCertPool(), x509.NewCertPool()
		for i, der := range bundle {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				roots.AddCert(c)
			} else {
				intermediates.AddCert(c)
			}
		}
		c, err := x509.ParseCertificate(leaf)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []time.Time{v.at(), time.Now(), v.at().Add(-4 * time.Hour)} {
			_, theirs := c.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			o := aws(at)
			o.MaxAge, o.MaxAhead = 1<<62, 1<<62
			_, ours := attest.Verify(v.doc, o)
			if (theirs == nil) != (attest.ClassOf(ours) != attest.CertificateExpired) {
				t.Errorf("%s at %v: crypto/x509 says %v, we say %v", v.File, at, theirs, ours)
			}
		}
	}
}

// parts takes a document apart with a general CBOR library.
func parts(t testing.TB, doc []byte) (outer []cbor.RawMessage, payload map[string]any) {
	t.Helper()
	if err := cbor.Unmarshal(doc, &outer); err != nil {
		t.Fatal(err)
	}
	var b []byte
	if err := cbor.Unmarshal(outer[2], &b); err != nil {
		t.Fatal(err)
	}
	if err := cbor.Unmarshal(b, &payload); err != nil {
		t.Fatal(err)
	}
	return outer, payload
}

func certificates(t testing.TB, doc []byte) (leaf []byte, bundle [][]byte) {
	t.Helper()
	_, p := parts(t, doc)
	for _, c := range p["cabundle"].([]any) {
		bundle = append(bundle, c.([]byte))
	}
	return p["certificate"].([]byte), bundle
}

func TestADocumentInTagEighteenIsTheSame(t *testing.T) {
	v := vectors(t)[0]
	tagged := append([]byte{0xd2}, v.doc...)
	if _, err := attest.Verify(tagged, aws(v.at())); err != nil {
		t.Error(err)
	}
	for _, bad := range [][]byte{append([]byte{0xd2}, tagged...), append([]byte{0xd1}, v.doc...)} {
		if _, err := attest.Verify(bad, aws(v.at())); attest.ClassOf(err) != attest.Malformed {
			t.Errorf("tag %x: %v", bad[0], err)
		}
	}
}

// One bit anywhere, and the document is refused: of every byte one, of those
// outside the payload each.
func TestNoBitOfADocumentCanBeChanged(t *testing.T) {
	v := vectors(t)[0]
	o := aws(v.at())
	o.Chains = new(attest.Chains)
	if _, err := attest.Verify(v.doc, o); err != nil {
		t.Fatal(err)
	}
	classes := map[attest.Class]int{}
	for i := range v.doc {
		bits := []int{i % 8}
		if i < 12 || i >= len(v.doc)-98 {
			bits = []int{0, 1, 2, 3, 4, 5, 6, 7}
		}
		for _, bit := range bits {
			bad := bytes.Clone(v.doc)
			bad[i] ^= 1 << bit
			_, err := attest.Verify(bad, o)
			if err == nil {
				t.Fatalf("bit %d of byte %d changed, and it is valid", bit, i)
			}
			classes[attest.ClassOf(err)]++
		}
	}
	for _, want := range []attest.Class{attest.Malformed, attest.UnsupportedAlgorithm, attest.UntrustedRoot, attest.ChainInvalid, attest.BadSignature} {
		if classes[want] == 0 {
			t.Errorf("nothing was %s: %v", want, classes)
		}
	}
}

func TestTheBundleIsThePath(t *testing.T) {
	v := vectors(t)[0]
	outer, p := parts(t, v.doc)
	bundle := p["cabundle"].([]any)
	foreign := vectors(t)[2]
	_, other := certificates(t, foreign.doc)
	for name, c := range map[string]struct {
		bundle []any
		want   attest.Class
	}{
		"two in another order": {[]any{bundle[0], bundle[2], bundle[1], bundle[3]}, attest.ChainInvalid},
		"one left out":         {[]any{bundle[0], bundle[1], bundle[3]}, attest.ChainInvalid},
		"one twice":            {[]any{bundle[0], bundle[1], bundle[1], bundle[2], bundle[3]}, attest.ChainInvalid},
		"leaf first":           {[]any{bundle[3], bundle[2], bundle[1], bundle[0]}, attest.UntrustedRoot},
		"root left out":        {bundle[1:], attest.UntrustedRoot},
		"another's host":       {[]any{bundle[0], bundle[1], bundle[2], other[3]}, attest.ChainInvalid},
		"none":                 {[]any{}, attest.Malformed},
		"nine":                 {[]any{bundle[0], bundle[0], bundle[0], bundle[0], bundle[0], bundle[0], bundle[1], bundle[2], bundle[3]}, attest.Malformed},
	} {
		q := maps.Clone(p)
		q["cabundle"] = c.bundle
		if _, err := attest.Verify(assemble(t, outer, q), aws(v.at())); attest.ClassOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := attest.Verify(v.doc, attest.Options{Now: v.at(), Debug: true}); attest.ClassOf(err) != attest.UntrustedRoot {
		t.Errorf("without roots: %v", err)
	}
}

// assemble puts a document together again, with its old signature.
func assemble(t testing.TB, outer []cbor.RawMessage, payload any) []byte {
	t.Helper()
	return assembleRaw(t, outer, must(cbor.Marshal(payload)))
}

func assembleRaw(t testing.TB, outer []cbor.RawMessage, payload []byte) []byte {
	t.Helper()
	o := slices.Clone(outer)
	o[2] = must(cbor.Marshal(payload))
	return must(cbor.Marshal(o))
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestKeysOfEnclavesAreReadAsTheStandardLibraryReadsThem(t *testing.T) {
	for _, v := range vectors(t) {
		if v.Expect != "valid" {
			continue
		}
		o := aws(v.at())
		o.Key = true
		_, err := attest.Verify(v.doc, o)
		c, _ := attest.Verify(v.doc, aws(v.at()))
		any, perr := x509.ParsePKIXPublicKey(c.PublicKey)
		_, isRSA := any.(*rsa.PublicKey)
		if (perr == nil && isRSA) != (err == nil) {
			t.Errorf("%s: %v, crypto/x509 says %v", v.File, err, perr)
		}
	}
}
