package kms_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/isolation/attest"
	"github.com/leadglass/leadglass/isolation/attest/attesttest"
)

// An enclave is a desk that trusts an authority, and a cell under it.
type enclave struct {
	*desk
	pki  *attesttest.PKI
	spki []byte
}

// newEnclave has the time of day: the HSM's clock is the machine's.
func newEnclave(t testing.TB, tier attest.Tier) *enclave {
	p := attesttest.New(t, attesttest.Options{Now: time.Now(), Tier: tier})
	r := p.Root()
	e := &enclave{desk: newDesk(t, hsm.Root{DER: r.DER, Name: r.Name, Tier: uint64(r.Tier), Hosts: r.Hosts}), pki: p}
	e.clock.Set(time.Now())
	_, e.spki = attesttest.EnclaveKey(t)
	return e
}

func (e *enclave) document(s attest.Statement) map[string]any {
	if s.PublicKey == nil {
		s.PublicKey = e.spki
	}
	return map[string]any{"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": e.pki.Document(e, s)}
}

// open gives what is in an answer's envelope.
func (e *enclave) open(a answer) []byte {
	e.Helper()
	key, _ := attesttest.EnclaveKey(e)
	b, err := base64.StdEncoding.DecodeString(a.str("CiphertextForRecipient"))
	if err != nil {
		e.Fatal(err)
	}
	plain, err := attesttest.OpenEnvelope(key, b)
	if err != nil {
		e.Fatal(err)
	}
	for _, member := range []string{"Plaintext", "PrivateKeyPlaintext", "SharedSecret"} {
		if _, there := a.body[member]; there {
			e.Errorf("%s is in the answer", member)
		}
	}
	return plain
}

func TestAnEnclaveGetsTheSecretAndTheCallerDoesNot(t *testing.T) {
	e := newEnclave(t, attest.Software)
	to := e.document(attest.Statement{})
	k := e.key(e.admin, "{}")
	blob := e.ok(e.admin, "Encrypt", obj("KeyId", k, "Plaintext", []byte("the secret"), "EncryptionContext", ctxPairs{"a": "b"})).str("CiphertextBlob")
	a := e.ok(e.admin, "Decrypt", obj("CiphertextBlob", blob, "EncryptionContext", ctxPairs{"a": "b"}, "Recipient", to))
	if got := e.open(a); string(got) != "the secret" || a.str("KeyId") != keyARN+k || a.str("KeyMaterialId") == "" || a.str("EncryptionAlgorithm") != "SYMMETRIC_DEFAULT" {
		t.Errorf("Decrypt: %q, %s", got, a.raw)
	}
	decrypt := func(blob string) []byte {
		b, _ := base64.StdEncoding.DecodeString(e.ok(e.admin, "Decrypt", obj("CiphertextBlob", blob)).str("Plaintext"))
		return b
	}
	a = e.ok(e.admin, "GenerateDataKey", obj("KeyId", k, "KeySpec", "AES_256", "Recipient", to))
	if got := e.open(a); len(got) != 32 || !bytes.Equal(got, decrypt(a.str("CiphertextBlob"))) {
		t.Errorf("GenerateDataKey: %x", got)
	}
	a = e.ok(e.admin, "GenerateDataKeyPair", obj("KeyId", k, "KeyPairSpec", "ECC_NIST_P256", "Recipient", to))
	if got := e.open(a); !bytes.Equal(got, decrypt(a.str("PrivateKeyCiphertextBlob"))) || a.str("PublicKey") == "" {
		t.Error("GenerateDataKeyPair: another key")
	}
	if got := e.open(e.ok(e.admin, "GenerateRandom", obj("NumberOfBytes", 77, "Recipient", to))); len(got) != 77 {
		t.Errorf("GenerateRandom: %d bytes", len(got))
	}
	oaep := e.keyOf("RSA_2048", "ENCRYPT_DECRYPT")
	sealed := e.ok(e.admin, "Encrypt", obj("KeyId", oaep, "Plaintext", []byte("by RSA"), "EncryptionAlgorithm", "RSAES_OAEP_SHA_1")).str("CiphertextBlob")
	a = e.ok(e.admin, "Decrypt", obj("KeyId", oaep, "CiphertextBlob", sealed, "EncryptionAlgorithm", "RSAES_OAEP_SHA_1", "Recipient", to))
	if got := e.open(a); string(got) != "by RSA" {
		t.Errorf("Decrypt with RSA: %q", got)
	}
	agree := e.keyOf("ECC_NIST_P256", "KEY_AGREEMENT")
	peer, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(peer.Public())
	if err != nil {
		t.Fatal(err)
	}
	derive := []any{"KeyId", agree, "KeyAgreementAlgorithm", "ECDH", "PublicKey", spki}
	a = e.ok(e.admin, "DeriveSharedSecret", obj(append(derive, "Recipient", to)...))
	if got := e.open(a); base64.StdEncoding.EncodeToString(got) != e.ok(e.admin, "DeriveSharedSecret", obj(derive...)).str("SharedSecret") {
		t.Errorf("DeriveSharedSecret: %x", got)
	}
	// A dry run seals nothing; what a call refuses without a recipient it refuses with one.
	e.fails(e.admin, "GenerateDataKey", obj("KeyId", k, "KeySpec", "AES_256", "Recipient", to, "DryRun", true), "DryRunOperationException",
		"The request would have succeeded, but the DryRun option is set.")
	if a := e.do(e.admin, "Decrypt", obj("CiphertextBlob", blob, "Recipient", to)); a.code() != "InvalidCiphertextException" {
		t.Errorf("another context: %s", a.raw)
	}
	if a := e.do(e.nobody, "GenerateDataKey", obj("KeyId", k, "KeySpec", "AES_256", "Recipient", to)); a.code() != "AccessDeniedException" {
		t.Errorf("nobody: %s", a.raw)
	}
}

func TestADocumentThatDoesNotHoldIsOnlyCalledNotValid(t *testing.T) {
	e := newEnclave(t, attest.Software)
	k := e.key(e.admin, "{}")
	const validation = "ValidationException"
	foreign := attesttest.New(t, attesttest.Options{Now: time.Now()})
	for name, c := range map[string]struct {
		doc  []byte
		want string
	}{
		"stale":                 {e.pki.Document(t, attest.Statement{PublicKey: e.spki, Timestamp: time.Now().Add(-6 * time.Minute)}), "stale"},
		"of another authority":  {foreign.Document(t, attest.Statement{PublicKey: e.spki}), "untrusted_root"},
		"without a key":         {e.pki.Document(t, attest.Statement{}), "missing_public_key"},
		"that is no document":   {[]byte("no"), "malformed"},
		"that was signed twice": {append(e.pki.Document(t, attest.Statement{PublicKey: e.spki}), 0), "malformed"},
	} {
		e.fails(e.admin, "GenerateDataKey", obj("KeyId", k, "KeySpec", "AES_256", "Recipient", map[string]any{"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": c.doc}),
			validation, "The attestation document is not valid.")
		if r := e.call.Remarks(); len(r) != 1 || string(r[0].JSON) != `{"attestationDocumentError":"`+c.want+`"}` {
			t.Errorf("a document %s: the record says %s", name, r)
		}
	}
	doc := e.document(attest.Statement{})
	for name, r := range map[string]map[string]any{
		"no algorithm": {"AttestationDocument": doc["AttestationDocument"]},
		"no document":  {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256"},
		"nothing":      {},
	} {
		for _, op := range []string{"GenerateDataKey", "Decrypt", "GenerateRandom", "GenerateDataKeyPair"} {
			in := obj("KeyId", k, "KeySpec", "AES_256", "KeyPairSpec", "ECC_NIST_P256", "CiphertextBlob", []byte("blob"), "NumberOfBytes", 32, "Recipient", r)
			if op == "GenerateDataKey" {
				in = obj("KeyId", k, "KeySpec", "AES_256", "Recipient", r)
			}
			if a := e.do(e.admin, op, in); a.code() != validation || !strings.Contains(a.text(), "Recipient") {
				t.Errorf("%s with %s: %s", op, name, a.raw)
			}
		}
	}
	if a := e.do(e.admin, "GenerateRandom", obj("NumberOfBytes", 32, "Recipient", map[string]any{"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_1", "AttestationDocument": doc["AttestationDocument"]})); a.code() != validation {
		t.Errorf("another algorithm: %s", a.raw)
	}
}

func TestWhatAPolicyAsksOfAnEnclave(t *testing.T) {
	image := hex.EncodeToString(attesttest.Measured(1)[0])
	other := hex.EncodeToString(attesttest.Measured(2)[0])
	signer := hex.EncodeToString(attesttest.Measured(1)[8])
	zeros := strings.Repeat("0", 96)
	const pcr, sha, tier = "kms:RecipientAttestation:PCR", "kms:RecipientAttestation:ImageSha384", "leadglass:RecipientAttestation:Tier"
	cond := func(operator, key, value string) string {
		return js(map[string]any{operator: map[string]any{key: value}})
	}
	debug := attesttest.Measured(1)
	for _, i := range []int{0, 1, 2} {
		debug[i] = make([]byte, 48)
	}
	measured := attest.Statement{}
	unmeasured := attest.Statement{PCRs: debug}
	for _, c := range []struct {
		name      string
		tier      attest.Tier
		condition string
		s         *attest.Statement // nil: no recipient
		want      bool
	}{
		{"the image", attest.Software, cond("StringEqualsIgnoreCase", sha, strings.ToUpper(image)), &measured, true},
		{"the image in capitals, compared exactly", attest.Software, cond("StringEquals", sha, strings.ToUpper(image)), &measured, false},
		{"the image by its register", attest.Software, cond("StringEquals", pcr+"0", image), &measured, true},
		{"the signer", attest.Software, cond("StringEquals", pcr+"8", signer), &measured, true},
		{"another image", attest.Software, cond("StringEquals", sha, other), &measured, false},
		{"any image", attest.Software, cond("StringLike", sha, "*"), &measured, true},
		{"the image, without a recipient", attest.Software, cond("StringEquals", sha, image), nil, false},
		{"any image, without a recipient", attest.Software, cond("StringLike", sha, "*"), nil, false},
		{"not the other image, without a recipient", attest.Software, cond("StringNotEquals", sha, other), nil, true},
		{"a register that is not in the document", attest.Software, cond("StringLike", pcr+"20", "*"), &measured, false},
		{"a register of zeros, named", attest.Software, cond("StringEquals", pcr+"5", zeros), &measured, false},
		{"a register of zeros, by a wildcard", attest.Software, cond("StringLike", pcr+"5", "*"), &measured, false},
		{"a debug enclave, by its zeros", attest.Software, cond("StringEquals", pcr+"0", zeros), &unmeasured, false},
		{"a debug enclave, by a wildcard", attest.Software, cond("StringLike", sha, "*"), &unmeasured, false},
		{"a debug enclave, by what it is not", attest.Software, cond("StringNotEquals", pcr+"0", other), &unmeasured, false},
		{"a debug enclave, by IfExists", attest.Software, cond("StringEqualsIfExists", pcr+"0", image), &unmeasured, false},
		{"a debug enclave, where nobody asks", attest.Software, "{}", &unmeasured, true},
		{"a simulated enclave", attest.Simulated, cond("StringEquals", sha, image), &measured, false},
		{"a simulated enclave, where nobody asks", attest.Simulated, "{}", &measured, true},
		{"a simulated enclave, where the policy knows tiers", attest.Simulated, js(map[string]any{
			"StringEquals": map[string]any{sha: image}, "NumericGreaterThanEquals": map[string]any{tier: "0"}}), &measured, true},
		{"a tier that is high enough", attest.Confidential, cond("NumericGreaterThanEquals", tier, "2"), &measured, true},
		{"a tier that is too low", attest.Software, cond("NumericGreaterThanEquals", tier, "2"), &measured, false},
		{"a tier, without a recipient", attest.Software, cond("NumericGreaterThanEquals", tier, "0"), nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnclave(t, c.tier)
			k := e.key(e.admin, obj("Policy", `{"Version":"2012-10-17","Statement":[
				{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::`+acct+`:root"},"Action":["kms:PutKeyPolicy","kms:DescribeKey"],"Resource":"*"},
				{"Effect":"Allow","Principal":{"AWS":"`+e.admin.principal.ARN+`"},"Action":"kms:GenerateDataKey","Resource":"*","Condition":`+c.condition+`}]}`))
			in := []any{"KeyId", k, "KeySpec", "AES_256"}
			if c.s != nil {
				in = append(in, "Recipient", e.document(*c.s))
			}
			a := e.do(e.admin, "GenerateDataKey", obj(in...))
			if got := a.status == 200; got != c.want || !got && a.code() != "AccessDeniedException" {
				t.Errorf("%v: %s", got, a.raw)
			}
		})
	}
}

// A Deny that names measurements keeps a debug enclave out whatever it says,
// and one that names another image lets a measured enclave pass.
func TestADenyOfMeasurementsIsNotEscaped(t *testing.T) {
	e := newEnclave(t, attest.Software)
	debug := map[int][]byte{0: make([]byte, 48), 1: make([]byte, 48), 2: make([]byte, 48)}
	for condition, want := range map[string][2]bool{ // of a measured one, and of a debug enclave
		`{"StringEquals":{"kms:RecipientAttestation:PCR0":"` + strings.Repeat("0", 96) + `"}}`: {true, false},
		`{"StringNotLike":{"kms:RecipientAttestation:PCR0":"*"}}`:                              {true, false},
		`{"StringNotEquals":{"kms:RecipientAttestation:PCR0":"ab"}}`:                           {false, false},
		`{"Null":{"kms:RecipientAttestation:PCR0":"true"}}`:                                    {true, false},
	} {
		k := e.key(e.admin, obj("Policy", `{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::`+acct+`:root"},"Action":"kms:*","Resource":"*"},
			{"Effect":"Deny","Principal":"*","Action":"kms:GenerateDataKey","Resource":"*","Condition":`+condition+`}]}`))
		for i, s := range []attest.Statement{{}, {PCRs: debug}} {
			if a := e.do(e.admin, "GenerateDataKey", obj("KeyId", k, "KeySpec", "AES_256", "Recipient", e.document(s))); (a.status == 200) != want[i] {
				t.Errorf("%s, enclave %d: %s", condition, i, a.raw)
			}
		}
	}
}

func TestTheRecordOfACallNamesItsEnclave(t *testing.T) {
	e := newEnclave(t, attest.Software)
	e.ok(e.admin, "GenerateRandom", obj("NumberOfBytes", 32, "Recipient", e.document(attest.Statement{})))
	r := e.call.Remarks()
	if len(r) != 1 || r[0].Name != "recipient" {
		t.Fatalf("%v", r)
	}
	var got map[string]string
	if err := json.Unmarshal(r[0].JSON, &got); err != nil {
		t.Fatal(err)
	}
	m := attesttest.Measured(1)
	want := map[string]string{
		"attestationDocumentModuleId":           attesttest.ModuleID,
		"attestationDocumentEnclaveImageDigest": hex.EncodeToString(m[0]),
		"attestationDocumentEnclavePCR1":        hex.EncodeToString(m[1]),
		"attestationDocumentEnclavePCR2":        hex.EncodeToString(m[2]),
		"attestationDocumentEnclavePCR8":        hex.EncodeToString(m[8]),
	}
	if js(got) != js(want) {
		t.Errorf("%s", r[0].JSON)
	}
}

func TestAnAnswerIsProvenToWhoAsksForIt(t *testing.T) {
	e := newEnclave(t, attest.Software)
	k := e.key(e.admin, "{}")
	in := obj("KeyId", k, "KeySpec", "AES_256", "EncryptionContext", ctxPairs{"a": "b"}, "Recipient", e.document(attest.Statement{}))
	if e.ok(e.admin, "GenerateDataKey", in); e.call.Proof() != nil {
		t.Error("a proof that nobody asked for")
	}
	e.proof = true
	if e.ok(e.admin, "GenerateDataKey", in); len(e.call.Proof()) == 0 {
		t.Error("no proof")
	}
	// Without a recipient there is nothing that it could be about.
	if e.ok(e.admin, "GenerateDataKey", obj("KeyId", k, "KeySpec", "AES_256")); e.call.Proof() != nil {
		t.Error("a proof of an answer in the clear")
	}
	if a := e.do(e.admin, "GenerateRandom", `{"NumberOfBytes":32,"NumberOfBytes":32,"Recipient":`+js(e.document(attest.Statement{}))+`}`); a.code() != "ValidationException" {
		t.Errorf("a body that can be read in two ways: %s", a.raw)
	}
}
