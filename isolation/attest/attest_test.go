package attest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/leadglass/leadglass/isolation/attest"
	"github.com/leadglass/leadglass/isolation/attest/attesttest"
)

var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func ours(p *attesttest.PKI) attest.Options {
	return attest.Options{Roots: []attest.Root{p.Root()}, Now: now}
}

func TestWhatIsSignedIsWhatIsClaimed(t *testing.T) {
	p := attesttest.New(t, attesttest.Options{Now: now, Tier: attest.Software})
	key, spki := attesttest.EnclaveKey(t)
	s := attest.Statement{
		PublicKey: spki, UserData: bytes.Repeat([]byte("u"), attest.MaxField), Nonce: []byte{}, PCRs: attesttest.Measured(7),
	}
	doc := p.Document(t, s)
	o := ours(p)
	o.Key = true
	c, err := attest.Verify(doc, o)
	if err != nil {
		t.Fatal(err)
	}
	if c.ModuleID != attesttest.ModuleID || c.InstanceID != "i-0123456789abcdef0" || !c.Timestamp.Equal(now) || c.Debug || c.Root != "test" ||
		!c.RSA.Equal(key.Public()) || !bytes.Equal(c.UserData, s.UserData) || c.Nonce == nil || len(c.Nonce) > 0 || cmp.Diff(c.PCRs, s.PCRs) != "" {
		t.Errorf("%+v", c)
	}
	if !c.Measures(0, s.PCRs[0]) || c.Measures(0, s.PCRs[1]) || c.Measures(5, s.PCRs[5]) || c.Measures(31, nil) {
		t.Error("registers are compared wrongly: zeros and absent ones measure nothing")
	}
	if doc[0] != 0x84 || !bytes.Equal(doc[1:7], []byte{0x44, 0xa1, 0x01, 0x38, 0x22, 0xa0}) {
		t.Errorf("the head is %x", doc[:8])
	}
}

// Documents of ours have the members, their order and their encodings as real
// ones do, so that every verifier of those takes these.
func TestADocumentHasTheFormOfRealOnes(t *testing.T) {
	p := attesttest.New(t, attesttest.Options{Now: now})
	doc := p.Document(t, attest.Statement{})
	for _, der := range append(p.Bundle, p.Leaf) {
		if len(der) > attest.MaxCertificate {
			t.Errorf("a certificate of %d bytes", len(der))
		}
	}
	shape := func(doc []byte) (names []string) {
		outer, _ := parts(t, doc)
		var body []byte
		if err := cbor.Unmarshal(outer[2], &body); err != nil {
			t.Fatal(err)
		}
		for rest := body[1:]; len(rest) > 0; {
			var name string
			rest = must(cbor.UnmarshalFirst(rest, &name))
			var value cbor.RawMessage
			rest = must(cbor.UnmarshalFirst(rest, &value))
			if name == "timestamp" {
				name += string(value[:1])
			}
			names = append(names, name)
		}
		return append(names, string(body[:1]), string(outer[1]))
	}
	if d := cmp.Diff(shape(vectors(t)[0].doc), shape(doc)); d != "" {
		t.Error(d)
	}
}

func TestAStatementThatFitsIntoNoDocumentIsNotSigned(t *testing.T) {
	p := attesttest.New(t, attesttest.Options{Now: now})
	good := attest.Statement{ModuleID: "m", Timestamp: now, PCRs: attesttest.Measured(1), Certificate: p.Leaf, Bundle: p.Bundle}
	for name, spoil := range map[string]func(*attest.Statement){
		"no module":             func(s *attest.Statement) { s.ModuleID = "" },
		"no registers":          func(s *attest.Statement) { s.PCRs = nil },
		"register 32":           func(s *attest.Statement) { s.PCRs = map[int][]byte{32: make([]byte, 48)} },
		"register -1":           func(s *attest.Statement) { s.PCRs = map[int][]byte{-1: make([]byte, 48), 0: make([]byte, 48)} },
		"a short register":      func(s *attest.Statement) { s.PCRs = map[int][]byte{0: make([]byte, 47)} },
		"no bundle":             func(s *attest.Statement) { s.Bundle = nil },
		"a long certificate":    func(s *attest.Statement) { s.Certificate = make([]byte, 1025) },
		"long data":             func(s *attest.Statement) { s.UserData = make([]byte, 1025) },
		"an empty key":          func(s *attest.Statement) { s.PublicKey = []byte{} },
		"the beginning of time": func(s *attest.Statement) { s.Timestamp = time.UnixMilli(0) },
	} {
		s := good
		spoil(&s)
		if _, err := attest.Sign(&s, p.Key); !errors.Is(err, attest.ErrStatement) {
			t.Errorf("%s: %v", name, err)
		}
	}
	short, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attest.Sign(&good, short); !errors.Is(err, attest.ErrStatement) {
		t.Errorf("P-256: %v", err)
	}
}

func TestWhatIsExpectedOfADocument(t *testing.T) {
	p := attesttest.New(t, attesttest.Options{Now: now.Add(-2 * time.Hour)})
	_, spki := attesttest.EnclaveKey(t)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	smallSPKI := must(x509.MarshalPKIXPublicKey(small.Public()))
	ecKey := must(x509.MarshalPKIXPublicKey(p.Key.Public()))
	e3 := must(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 2047, 1), E: 3}))
	odd := must(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 2048, 1), E: 65537}))
	big5 := must(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 4103, 1), E: 65537}))
	zeros := map[int][]byte{0: make([]byte, 48), 4: bytes.Repeat([]byte{1}, 48)}
	for _, c := range []struct {
		name string
		s    attest.Statement
		o    attest.Options
		want attest.Class
	}{
		{"five minutes old", attest.Statement{Timestamp: now.Add(-5 * time.Minute)}, attest.Options{}, ""},
		{"older by a millisecond", attest.Statement{Timestamp: now.Add(-5*time.Minute - time.Millisecond)}, attest.Options{}, attest.Stale},
		{"a minute ahead", attest.Statement{Timestamp: now.Add(time.Minute)}, attest.Options{}, ""},
		{"further ahead", attest.Statement{Timestamp: now.Add(time.Minute + time.Millisecond)}, attest.Options{}, attest.Stale},
		{"an hour old where that may be", attest.Statement{Timestamp: now.Add(-time.Hour)}, attest.Options{MaxAge: time.Hour}, ""},
		{"the nonce", attest.Statement{Nonce: []byte("n")}, attest.Options{Nonce: []byte("n")}, ""},
		{"another nonce", attest.Statement{Nonce: []byte("m")}, attest.Options{Nonce: []byte("n")}, attest.NonceMismatch},
		{"no nonce", attest.Statement{}, attest.Options{Nonce: []byte("n")}, attest.NonceMismatch},
		{"the registers", attest.Statement{}, attest.Options{PCRs: map[int][]byte{0: attesttest.Measured(1)[0], 8: attesttest.Measured(1)[8]}}, ""},
		{"other registers", attest.Statement{}, attest.Options{PCRs: map[int][]byte{0: attesttest.Measured(2)[0]}}, attest.PCRMismatch},
		{"a register of zeros, expected so", attest.Statement{}, attest.Options{PCRs: map[int][]byte{5: make([]byte, 48)}}, attest.PCRMismatch},
		{"a register that is not there", attest.Statement{}, attest.Options{PCRs: map[int][]byte{20: nil}}, attest.PCRMismatch},
		{"a register that no document has", attest.Statement{}, attest.Options{PCRs: map[int][]byte{32: make([]byte, 48)}}, attest.PCRMismatch},
		{"a debug enclave", attest.Statement{PCRs: zeros}, attest.Options{}, attest.DebugNotAllowed},
		{"a debug enclave where that may be", attest.Statement{PCRs: zeros}, attest.Options{Debug: true}, ""},
		{"an RSA key", attest.Statement{PublicKey: spki}, attest.Options{Key: true}, ""},
		{"no key", attest.Statement{}, attest.Options{Key: true}, attest.MissingPublicKey},
		{"a short RSA key", attest.Statement{PublicKey: smallSPKI}, attest.Options{Key: true}, attest.MissingPublicKey},
		{"exponent 3", attest.Statement{PublicKey: e3}, attest.Options{Key: true}, attest.MissingPublicKey},
		{"2049 bits", attest.Statement{PublicKey: odd}, attest.Options{Key: true}, attest.MissingPublicKey},
		{"4104 bits", attest.Statement{PublicKey: big5}, attest.Options{Key: true}, attest.MissingPublicKey},
		{"a key on a curve", attest.Statement{PublicKey: ecKey}, attest.Options{Key: true}, attest.MissingPublicKey},
		{"a key and a byte", attest.Statement{PublicKey: append(spki[:len(spki):len(spki)], 0)}, attest.Options{Key: true}, attest.MissingPublicKey},
		{"no key that anybody needs", attest.Statement{PublicKey: []byte("dummy")}, attest.Options{}, ""},
	} {
		s, o := c.s, c.o
		if s.Timestamp.IsZero() {
			s.Timestamp = now
		}
		o.Roots, o.Now = []attest.Root{p.Root()}, now
		_, err := attest.Verify(p.Document(t, s), o)
		if attest.ClassOf(err) != c.want || err != nil && c.want == "" {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	_, err = attest.Verify(p.Document(t, attest.Statement{Timestamp: now}), attest.Options{Roots: []attest.Root{p.Root()}, Now: now, PCRs: map[int][]byte{3: {1}}})
	if e, ok := errors.AsType[*attest.Error](err); !ok || e.Index != 3 || !strings.Contains(err.Error(), "pcr_mismatch{3}") {
		t.Errorf("%v", err)
	}
}

func TestCertificatesOfAnotherProfileMakeNoChain(t *testing.T) {
	unknown := func(critical bool) pkix.Extension {
		return pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: critical, Value: []byte{5, 0}}
	}
	at := func(want int, edit func(*x509.Certificate)) func(int, *x509.Certificate) {
		return func(level int, c *x509.Certificate) {
			if level == want {
				edit(c)
			}
		}
	}
	for _, c := range []struct {
		name string
		o    attesttest.Options
		want attest.Class
	}{
		{"the profile", attesttest.Options{}, ""},
		{"an extension that is unknown", attesttest.Options{Edit: at(attesttest.Cluster, func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, unknown(false)) })}, ""},
		{"a critical one", attesttest.Options{Edit: at(attesttest.Cluster, func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, unknown(true)) })}, attest.ChainInvalid},
		{"a critical one in the leaf", attesttest.Options{Edit: at(attesttest.Leaf, func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, unknown(true)) })}, attest.ChainInvalid},
		{"a host that is no authority", attesttest.Options{Edit: at(attesttest.Host, func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false })}, attest.ChainInvalid},
		{"a zone without basic constraints", attesttest.Options{Edit: at(attesttest.HostGroup, func(c *x509.Certificate) { c.BasicConstraintsValid = false })}, attest.ChainInvalid},
		{"a zone that may not sign certificates", attesttest.Options{Edit: at(attesttest.HostGroup, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature })}, attest.ChainInvalid},
		{"a path that is too long", attesttest.Options{Edit: at(attesttest.Cluster, func(c *x509.Certificate) { c.MaxPathLen = 1 })}, attest.ChainInvalid},
		{"a root that allows too short a path", attesttest.Options{Edit: at(attesttest.Root, func(c *x509.Certificate) { c.MaxPathLen = 2 })}, attest.ChainInvalid},
		{"a root that allows the path", attesttest.Options{Edit: at(attesttest.Root, func(c *x509.Certificate) { c.MaxPathLen = 3 })}, ""},
		{"a leaf that is an authority", attesttest.Options{Edit: at(attesttest.Leaf, func(c *x509.Certificate) { c.IsCA = true })}, attest.ChainInvalid},
		{"a leaf that may not sign", attesttest.Options{Edit: at(attesttest.Leaf, func(c *x509.Certificate) { c.ExtraExtensions, c.KeyUsage = nil, x509.KeyUsageKeyAgreement })}, attest.ChainInvalid},
		{"a leaf without usages", attesttest.Options{Edit: at(attesttest.Leaf, func(c *x509.Certificate) { c.ExtraExtensions = nil })}, attest.ChainInvalid},
		{"another curve", attesttest.Options{Curve: func(level int) elliptic.Curve {
			if level == attesttest.Leaf {
				return elliptic.P521()
			}
			return elliptic.P384()
		}, Edit: func(level int, c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA384 }}, attest.ChainInvalid},
		{"another hash", attesttest.Options{Edit: at(attesttest.HostGroup, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA256 })}, attest.ChainInvalid},
		{"a host that has expired", attesttest.Options{Edit: at(attesttest.Host, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) })}, attest.CertificateExpired},
		{"a zone that is not valid yet", attesttest.Options{Edit: at(attesttest.HostGroup, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) })}, attest.CertificateExpired},
		{"a tier that does not exist", attesttest.Options{Tier: 5}, attest.ChainInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Now = now
			if strings.HasPrefix(c.name, "another curve") {
				signsWithP521(t, c.o)
				return
			}
			p := attesttest.New(t, c.o)
			_, err := attest.Verify(p.Document(t, attest.Statement{}), ours(p))
			if attest.ClassOf(err) != c.want || err != nil && c.want == "" {
				t.Error(err)
			}
		})
	}
}

// signsWithP521: Sign makes no document with such a key, so a document of
// another leaf gets the certificate of this one.
func signsWithP521(t *testing.T, o attesttest.Options) {
	p := attesttest.New(t, o)
	q := attesttest.New(t, attesttest.Options{Now: now})
	doc, err := attest.Sign(&attest.Statement{ModuleID: "m", Timestamp: now, PCRs: attesttest.Measured(1), Certificate: p.Leaf, Bundle: p.Bundle}, q.Key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attest.Verify(doc, ours(p)); attest.ClassOf(err) != attest.ChainInvalid {
		t.Error(err)
	}
}

func TestAnotherAuthorityOfTheSameNameIsNotTrusted(t *testing.T) {
	p, q := attesttest.New(t, attesttest.Options{Now: now}), attesttest.New(t, attesttest.Options{Now: now})
	if _, err := attest.Verify(q.Document(t, attest.Statement{}), ours(p)); attest.ClassOf(err) != attest.UntrustedRoot {
		t.Error(err)
	}
	// Its root's place taken by ours: then the chain does not hold together.
	s := attest.Statement{ModuleID: "m", Timestamp: now, PCRs: attesttest.Measured(1), Certificate: q.Leaf, Bundle: append([][]byte{p.Bundle[0]}, q.Bundle[1:]...)}
	doc, err := attest.Sign(&s, q.Key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attest.Verify(doc, ours(p)); attest.ClassOf(err) != attest.ChainInvalid {
		t.Error(err)
	}
	// Our chain, another's signature.
	s.Certificate, s.Bundle = p.Leaf, p.Bundle
	if doc, err = attest.Sign(&s, q.Key); err != nil {
		t.Fatal(err)
	}
	if _, err := attest.Verify(doc, ours(p)); attest.ClassOf(err) != attest.BadSignature {
		t.Error(err)
	}
}

func TestTheTierIsWhatTheAuthoritySaysAndNoMoreThanItsRootMay(t *testing.T) {
	for _, c := range []struct {
		name string
		o    attesttest.Options
		root func(*attest.Root)
		want attest.Tier
	}{
		{"stated", attesttest.Options{Tier: attest.MeasuredBoot}, nil, attest.MeasuredBoot},
		{"stated to be simulated", attesttest.Options{Tier: attest.Simulated}, nil, attest.Simulated},
		{"not stated", attesttest.Options{NoHost: true}, nil, attest.Simulated},
		{"more than the root may", attesttest.Options{Tier: attest.Hardware}, nil, attest.Confidential},
		{"a root that decides", attesttest.Options{NoHost: true}, func(r *attest.Root) { r.Hosts, r.Tier = false, attest.Hardware }, attest.Hardware},
		{"a root that decides, whatever is stated", attesttest.Options{Tier: attest.Hardware}, func(r *attest.Root) { r.Hosts, r.Tier = false, attest.Software }, attest.Software},
		// The statement of another certificate than the host's counts for nothing.
		{"stated by the leaf", attesttest.Options{NoHost: true, Edit: func(level int, c *x509.Certificate) {
			if level == attesttest.Leaf {
				h := attest.HostStatement{Tier: attest.Confidential}
				c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: attest.HostStatementID(), Value: h.DER()})
			}
		}}, nil, attest.Simulated},
	} {
		c.o.Now = now
		p := attesttest.New(t, c.o)
		o := ours(p)
		if c.root != nil {
			c.root(&o.Roots[0])
		}
		claims, err := attest.Verify(p.Document(t, attest.Statement{}), o)
		if err != nil || claims.Tier != c.want {
			t.Errorf("%s: %v, %v", c.name, claims, err)
		}
	}
}

func TestSignaturesOfImpossibleNumbersAreRefused(t *testing.T) {
	p := attesttest.New(t, attesttest.Options{Now: now})
	doc := p.Document(t, attest.Statement{})
	order := elliptic.P384().Params().N
	with := func(r, s *big.Int) error {
		d := bytes.Clone(doc)
		r.FillBytes(d[len(d)-96 : len(d)-48])
		s.FillBytes(d[len(d)-48:])
		_, err := attest.Verify(d, ours(p))
		return err
	}
	r, s := new(big.Int).SetBytes(doc[len(doc)-96:len(doc)-48]), new(big.Int).SetBytes(doc[len(doc)-48:])
	zero := new(big.Int)
	for name, pair := range map[string][2]*big.Int{
		"r zero": {zero, s}, "s zero": {r, zero}, "both zero": {zero, zero}, "r the order": {order, s}, "s the order": {r, order},
		"both the order": {order, order}, "exchanged": {s, r},
	} {
		if err := with(pair[0], pair[1]); attest.ClassOf(err) != attest.BadSignature {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The other of the two valid values of s. Documents are not identified by their bytes, so it does no harm.
	if err := with(r, new(big.Int).Sub(order, s)); err != nil {
		t.Errorf("n - s: %v", err)
	}
}

func TestPayloadsOfAnotherFormAreMalformed(t *testing.T) {
	p := attesttest.New(t, attesttest.Options{Now: now})
	outer, good := parts(t, p.Document(t, attest.Statement{}))
	pair := func(name string, v any) []byte { return append(must(cbor.Marshal(name)), must(cbor.Marshal(v))...) }
	body := func(head byte, skip string, more ...[]byte) []byte {
		b := []byte{head}
		for _, name := range []string{"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"} {
			if name != skip {
				b = append(b, pair(name, good[name])...)
			}
		}
		return append(b, bytes.Join(more, nil)...)
	}
	verify := func(payload []byte) attest.Class {
		_, err := attest.Verify(assembleRaw(t, outer, payload), ours(p))
		return attest.ClassOf(err)
	}
	// Well-formed, and so refused only because the signature is of another payload.
	for name, b := range map[string][]byte{
		"without the optional members": body(0xa6, ""),
		"with an unknown member":       body(0xa7, "", pair("later", []any{map[string]any{"x": 1.5}, nil, true, cbor.Tag{Number: 1, Content: 1}})),
		"with long heads":              append([]byte{0xb9, 0, 6}, body(0xa6, "")[1:]...),
		"with empty data":              body(0xa8, "", pair("nonce", []byte{}), pair("user_data", nil)),
	} {
		if c := verify(b); c != attest.BadSignature {
			t.Errorf("%s: %s", name, c)
		}
	}
	pcr := make([]byte, 48)
	for name, b := range map[string][]byte{
		"a member twice":              body(0xa7, "", pair("digest", "SHA384")),
		"an unknown member twice":     body(0xa8, "", pair("x", 1), pair("x", 1)),
		"an optional member twice":    body(0xa8, "", pair("nonce", nil), pair("nonce", nil)),
		"trailing bytes":              append(body(0xa6, ""), 0),
		"a map of indefinite length":  append(body(0xbf, ""), 0xff),
		"a name in bytes":             body(0xa7, "", must(cbor.Marshal([]byte("x"))), []byte{0}),
		"a name that is not UTF-8":    body(0xa7, "", []byte{0x61, 0xff, 0}),
		"a name of another case":      body(0xa6, "digest", pair("Digest", "SHA384")),
		"text in pieces":              body(0xa6, "digest", pair("digest", "")[:7], []byte{0x7f, 0x66, 'S', 'H', 'A', '3', '8', '4', 0xff}),
		"bytes in pieces":             body(0xa6, "certificate", pair("certificate", "")[:12], []byte{0x5f, 0x41, 1, 0xff}),
		"nested too deep":             body(0xa7, "", must(cbor.Marshal("x")), []byte{0x81, 0x81, 0x81, 0x81, 0x81, 0}),
		"no module id":                body(0xa5, "module_id"),
		"no digest":                   body(0xa5, "digest"),
		"no time":                     body(0xa5, "timestamp"),
		"no registers":                body(0xa5, "pcrs"),
		"no certificate":              body(0xa5, "certificate"),
		"no bundle":                   body(0xa5, "cabundle"),
		"an empty module id":          body(0xa6, "module_id", pair("module_id", "")),
		"a module id of bytes":        body(0xa6, "module_id", pair("module_id", []byte("m"))),
		"a module id that is null":    body(0xa6, "module_id", pair("module_id", nil)),
		"no time at all":              body(0xa6, "timestamp", pair("timestamp", 0)),
		"a negative time":             body(0xa6, "timestamp", pair("timestamp", -1)),
		"a time beyond all time":      body(0xa6, "timestamp", pair("timestamp", uint64(1)<<63)),
		"a time with a fraction":      body(0xa6, "timestamp", pair("timestamp", 1.5)),
		"registers in a list":         body(0xa6, "pcrs", pair("pcrs", [][]byte{pcr})),
		"an empty set of registers":   body(0xa6, "pcrs", pair("pcrs", map[int][]byte{})),
		"register 32":                 body(0xa6, "pcrs", pair("pcrs", map[int][]byte{32: pcr})),
		"register 256":                body(0xa6, "pcrs", pair("pcrs", map[int][]byte{256: pcr})),
		"register -1":                 body(0xa6, "pcrs", pair("pcrs", map[int][]byte{-1: pcr})),
		"a register twice":            body(0xa6, "pcrs", must(cbor.Marshal("pcrs")), []byte{0xa2, 0}, must(cbor.Marshal(pcr)), []byte{0}, must(cbor.Marshal(pcr))),
		"a register twice, once long": body(0xa6, "pcrs", must(cbor.Marshal("pcrs")), []byte{0xa2, 0}, must(cbor.Marshal(pcr)), []byte{0x18, 0}, must(cbor.Marshal(pcr))),
		"a register of 20 bytes":      body(0xa6, "pcrs", pair("pcrs", map[int][]byte{0: pcr[:20]})),
		"a register of numbers":       body(0xa6, "pcrs", pair("pcrs", map[int]any{0: make([]int, 48)})),
		"a certificate of numbers":    body(0xa6, "certificate", pair("certificate", []int{48, 0})),
		"an empty certificate":        body(0xa6, "certificate", pair("certificate", []byte{})),
		"a certificate of 1025 bytes": body(0xa6, "certificate", pair("certificate", make([]byte, 1025))),
		"a bundle that is bytes":      body(0xa6, "cabundle", pair("cabundle", []byte{1})),
		"an empty public key":         body(0xa7, "", pair("public_key", []byte{})),
		"a public key in text":        body(0xa7, "", pair("public_key", "key")),
		"a nonce of 1025 bytes":       body(0xa7, "", pair("nonce", make([]byte, 1025))),
		"a count that is a lie":       {0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"a length that is a lie":      {0xa1, 0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"no map":                      {0x80},
		"nothing":                     {},
	} {
		if c := verify(b); c != attest.Malformed {
			t.Errorf("%s: %q", name, c)
		}
	}
	if c := verify(body(0xa6, "digest", pair("digest", "SHA256"))); c != attest.UnsupportedAlgorithm {
		t.Errorf("SHA256: %s", c)
	}
}

func TestEnvelopesOfAnotherFormAreMalformed(t *testing.T) {
	p := attesttest.New(t, attesttest.Options{Now: now})
	doc := p.Document(t, attest.Statement{})
	outer, _ := parts(t, doc)
	with := func(i int, raw []byte) []byte {
		o := append([]cbor.RawMessage{}, outer...)
		o[i] = raw
		return must(cbor.Marshal(o))
	}
	header := func(b ...byte) []byte { return with(0, must(cbor.Marshal(b))) }
	for name, c := range map[string]struct {
		doc  []byte
		want attest.Class
	}{
		"empty":                        {nil, attest.Malformed},
		"too long":                     {append(doc, make([]byte, attest.MaxDocument)...), attest.Malformed},
		"a byte more":                  {append(bytes.Clone(doc), 0), attest.Malformed},
		"a byte less":                  {doc[:len(doc)-1], attest.Malformed},
		"five parts":                   {must(cbor.Marshal(append(outer[:4:4], cbor.RawMessage{0}))), attest.Malformed},
		"an array without end":         {append(append([]byte{0x9f}, doc[1:]...), 0xff), attest.Malformed},
		"a payload that is detached":   {with(2, []byte{null}), attest.Malformed},
		"an empty payload":             {with(2, []byte{0x40}), attest.Malformed},
		"a payload that is too long":   {with(2, must(cbor.Marshal(make([]byte, attest.MaxPayload+1)))), attest.Malformed},
		"an unprotected header":        {with(1, []byte{0xa1, 4, 0x41, 1}), attest.Malformed},
		"a signature of 95 bytes":      {with(3, must(cbor.Marshal(make([]byte, 95)))), attest.Malformed},
		"no algorithm":                 {header(0xa0), attest.Malformed},
		"nothing protected":            {header(), attest.Malformed},
		"another header":               {header(0xa2, 1, 0x38, 34, 4, 0x41, 1), attest.Malformed},
		"a critical header":            {header(0xa2, 1, 0x38, 34, 2, 0x81, 1), attest.Malformed},
		"the algorithm twice":          {header(0xa2, 1, 0x38, 34, 1, 0x38, 34), attest.Malformed},
		"an algorithm in text":         {header(0xa1, 1, 0x65, 'E', 'S', '3', '8', '4'), attest.Malformed},
		"a header and a byte":          {header(0xa1, 1, 0x38, 34, 0), attest.Malformed},
		"ES256":                        {header(0xa1, 1, 0x26), attest.UnsupportedAlgorithm},
		"HMAC":                         {header(0xa1, 1, 5), attest.UnsupportedAlgorithm},
		"the algorithm in a long head": {header(0xa1, 1, 0x39, 0, 34), attest.BadSignature},
	} {
		if _, err := attest.Verify(c.doc, ours(p)); attest.ClassOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const null = 0xf6

func TestARememberedChainIsStillCheckedForTimeAndTrust(t *testing.T) {
	p := attesttest.New(t, attesttest.Options{Now: now})
	chains := new(attest.Chains)
	o := ours(p)
	o.Chains = chains
	for range 2 {
		if _, err := attest.Verify(p.Document(t, attest.Statement{}), o); err != nil {
			t.Fatal(err)
		}
	}
	later := o
	later.Now = now.Add(4 * time.Hour)
	if _, err := attest.Verify(p.Document(t, attest.Statement{Timestamp: later.Now}), later); attest.ClassOf(err) != attest.CertificateExpired {
		t.Errorf("four hours later: %v", err)
	}
	elsewhere := o
	elsewhere.Roots = []attest.Root{attest.AWSRootG1()}
	if _, err := attest.Verify(p.Document(t, attest.Statement{}), elsewhere); attest.ClassOf(err) != attest.UntrustedRoot {
		t.Errorf("where the root is not trusted: %v", err)
	}
}

// FuzzVerify: whatever the bytes, no panic, and nothing is valid that was not
// signed.
func FuzzVerify(f *testing.F) {
	p := attesttest.New(f, attesttest.Options{Now: now})
	doc := p.Document(f, attest.Statement{})
	f.Add(doc)
	for _, v := range vectors(f)[:2] {
		f.Add(v.doc)
	}
	f.Add([]byte{0xd2, 0x84, 0x44, 0xa1, 0x01, 0x38, 0x22, 0xa0, 0x41, 0xa0})
	o := attest.Options{Roots: []attest.Root{p.Root(), attest.AWSRootG1()}, Now: now, Chains: new(attest.Chains)}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := attest.Verify(b, o)
		if err == nil && !bytes.Equal(b, doc) && !bytes.Equal(b, append([]byte{0xd2}, doc...)) && c.Timestamp != now {
			t.Errorf("valid: %x", b)
		}
		if err != nil && attest.ClassOf(err) == "" {
			t.Errorf("an error without a class: %v", err)
		}
	})
}

// FuzzCertificate puts bytes in the place of the host's certificate: the
// reader of certificates meets what the fuzzer of documents hardly finds.
func FuzzCertificate(f *testing.F) {
	p := attesttest.New(f, attesttest.Options{Now: now})
	for _, der := range append(p.Bundle, p.Leaf) {
		f.Add(der)
	}
	leaf, bundle := certificates(f, vectors(f)[0].doc)
	f.Add(leaf)
	f.Add(bundle[1])
	f.Fuzz(func(t *testing.T, der []byte) {
		if len(der) == 0 || len(der) > attest.MaxCertificate {
			return
		}
		s := attest.Statement{ModuleID: "m", Timestamp: now, PCRs: attesttest.Measured(1), Certificate: p.Leaf}
		s.Bundle = [][]byte{p.Bundle[0], p.Bundle[1], p.Bundle[2], der}
		doc, err := attest.Sign(&s, p.Key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := attest.Verify(doc, ours(p)); err == nil && !bytes.Equal(der, p.Bundle[3]) {
			t.Errorf("a chain over %x", der)
		}
	})
}

// BenchmarkVerify measures what a call with Recipient pays twice, in the front
// and in the HSM. Target: 1 ms with a remembered chain, 3 ms without.
func BenchmarkVerify(b *testing.B) {
	p := attesttest.New(b, attesttest.Options{Now: now})
	_, spki := attesttest.EnclaveKey(b)
	doc := p.Document(b, attest.Statement{PublicKey: spki})
	for name, chains := range map[string]*attest.Chains{"chain remembered": new(attest.Chains), "chain verified": nil} {
		b.Run(name, func(b *testing.B) {
			o := ours(p)
			o.Key, o.Chains = true, chains
			b.ReportAllocs()
			for b.Loop() {
				if _, err := attest.Verify(doc, o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
