package main

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/isolation/attest"
	"github.com/leadglass/leadglass/isolation/attest/attesttest"
)

// newEnclavePlane is a plane that trusts an attestation authority.
func newEnclavePlane(t *testing.T) (*plane, *attesttest.PKI) {
	t.Helper()
	pki := attesttest.New(t, attesttest.Options{Now: time.Now(), Tier: attest.Software})
	root := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pki.Bundle[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	return newPlane(t, t.TempDir(), "--attestation-root", root), pki
}

// A customer's enclave, whose policy names its image, gets secrets through the
// Go SDK that the SDK's caller cannot read.
func TestTheGoSDKFetchesSecretsForAnEnclave(t *testing.T) {
	defer ended(t)
	p, pki := newEnclavePlane(t)
	ctx := t.Context()
	customer := p.client(t, "customer")
	cfg := sdkConfig(t, customer)
	keys := kms.NewFromConfig(cfg)
	enclave, spki := attesttest.EnclaveKey(t)
	to := func(s attest.Statement) *kmstypes.RecipientInfo {
		s.PublicKey = spki
		return &kmstypes.RecipientInfo{KeyEncryptionAlgorithm: kmstypes.KeyEncryptionMechanismRsaesOaepSha256, AttestationDocument: pki.Document(t, s)}
	}
	open := func(envelope []byte) []byte {
		t.Helper()
		return must(attesttest.OpenEnvelope(enclave, envelope))
	}
	key := must(keys.CreateKey(ctx, &kms.CreateKeyInput{})).KeyMetadata
	account := strings.Split(*key.Arn, ":")[4]
	image := hex.EncodeToString(attesttest.Measured(1)[0])
	must(keys.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: key.KeyId, Policy: aws.String(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + account + `:root"},"Action":["kms:PutKeyPolicy","kms:DescribeKey","kms:Encrypt"],"Resource":"*"},
		{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + account + `:root"},"Action":["kms:Decrypt","kms:GenerateDataKey*"],"Resource":"*",
		 "Condition":{"StringEqualsIgnoreCase":{"kms:RecipientAttestation:ImageSha384":"` + image + `"},"NumericGreaterThanEquals":{"leadglass:RecipientAttestation:Tier":"1"}}}]}`)}))
	bound := map[string]string{"patient": "42"}
	sealed := must(keys.Encrypt(ctx, &kms.EncryptInput{KeyId: key.Arn, Plaintext: []byte("x-ray"), EncryptionContext: bound})).CiphertextBlob
	_, err := keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed, EncryptionContext: bound})
	refusedWith(t, "Decrypt without an enclave", err, "AccessDeniedException")
	_, err = keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed, EncryptionContext: bound, Recipient: to(attest.Statement{PCRs: attesttest.Measured(2)})})
	refusedWith(t, "Decrypt for another image", err, "AccessDeniedException")
	_, err = keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed, EncryptionContext: bound, Recipient: to(attest.Statement{Timestamp: time.Now().Add(-time.Hour + time.Minute)})})
	refusedWith(t, "Decrypt with an old document", err, "ValidationException")
	got := must(keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed, EncryptionContext: bound, Recipient: to(attest.Statement{})}))
	if got.Plaintext != nil || string(open(got.CiphertextForRecipient)) != "x-ray" || *got.KeyId != *key.Arn {
		t.Errorf("Decrypt: %+v", got)
	}
	data := must(keys.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: key.KeyId, KeySpec: kmstypes.DataKeySpecAes256, Recipient: to(attest.Statement{})}))
	again := must(keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: data.CiphertextBlob, Recipient: to(attest.Statement{})}))
	if data.Plaintext != nil || !bytes.Equal(open(data.CiphertextForRecipient), open(again.CiphertextForRecipient)) {
		t.Error("GenerateDataKey: another key")
	}
	pair := must(keys.GenerateDataKeyPair(ctx, &kms.GenerateDataKeyPairInput{KeyId: key.KeyId, KeyPairSpec: kmstypes.DataKeyPairSpecEccNistP256, Recipient: to(attest.Statement{})}))
	if _, err := x509.ParsePKCS8PrivateKey(open(pair.CiphertextForRecipient)); err != nil || pair.PrivateKeyPlaintext != nil {
		t.Errorf("GenerateDataKeyPair: %v", err)
	}
	random := must(keys.GenerateRandom(ctx, &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(48), Recipient: to(attest.Statement{})}))
	if random.Plaintext != nil || len(open(random.CiphertextForRecipient)) != 48 {
		t.Errorf("GenerateRandom: %+v", random)
	}
	agree := must(keys.CreateKey(ctx, &kms.CreateKeyInput{KeySpec: kmstypes.KeySpecEccNistP256, KeyUsage: kmstypes.KeyUsageTypeKeyAgreement})).KeyMetadata
	peer := must(ecdh.P256().GenerateKey(rand.Reader))
	derive := &kms.DeriveSharedSecretInput{KeyId: agree.KeyId, KeyAgreementAlgorithm: kmstypes.KeyAgreementAlgorithmSpecEcdh, PublicKey: must(x509.MarshalPKIXPublicKey(peer.Public()))}
	want := must(keys.DeriveSharedSecret(ctx, derive)).SharedSecret
	derive.Recipient = to(attest.Statement{})
	shared := must(keys.DeriveSharedSecret(ctx, derive))
	if shared.SharedSecret != nil || !bytes.Equal(open(shared.CiphertextForRecipient), want) {
		t.Errorf("DeriveSharedSecret: %+v", shared)
	}

	// What the customer's log says of it: the enclave, and not a byte of what it got.
	trail := cloudtrail.NewFromConfig(cfg)
	found := must(trail.LookupEvents(ctx, &cloudtrail.LookupEventsInput{LookupAttributes: []cttypes.LookupAttribute{{AttributeKey: cttypes.LookupAttributeKeyEventName, AttributeValue: aws.String("Decrypt")}}})).Events
	codes := map[string]int{}
	for _, e := range found {
		var r struct {
			ErrorCode           string
			RequestParameters   struct{ Recipient map[string]string } // its algorithm alone
			ResponseElements    any
			AdditionalEventData struct{ Recipient map[string]string }
		}
		if err := json.Unmarshal([]byte(*e.CloudTrailEvent), &r); err != nil {
			t.Fatal(err)
		}
		if r.ResponseElements != nil || len(r.RequestParameters.Recipient) > 1 || len(*e.CloudTrailEvent) > 5000 {
			t.Errorf("%s", *e.CloudTrailEvent)
		}
		m := r.AdditionalEventData.Recipient
		switch {
		case m == nil:
			codes["none "+r.ErrorCode]++
		case m["attestationDocumentError"] != "":
			codes[m["attestationDocumentError"]+" "+r.ErrorCode]++
		case m["attestationDocumentModuleId"] == attesttest.ModuleID && m["attestationDocumentEnclaveImageDigest"] == image:
			codes["the image "+r.ErrorCode]++
		default:
			codes["another "+r.ErrorCode]++
		}
	}
	if codes["none AccessDeniedException"] != 1 || codes["another AccessDeniedException"] != 1 || codes["stale ValidationException"] != 1 || codes["the image "] != 2 {
		t.Errorf("the log has %v", codes)
	}
}

// proofs notes what a client sent and what proof it got.
type proofs struct {
	awshttp.BuildableClient
	body, proof []byte
}

func (p *proofs) Do(r *http.Request) (*http.Response, error) {
	var b bytes.Buffer
	if _, err := b.ReadFrom(r.Body); err != nil {
		return nil, err
	}
	p.body = b.Bytes()
	send := r.Clone(r.Context())
	send.Body, send.ContentLength = http.NoBody, int64(b.Len())
	if b.Len() > 0 {
		send.Body = readCloser{bytes.NewReader(p.body)}
	}
	resp, err := http.DefaultTransport.RoundTrip(send)
	if err == nil {
		p.proof, err = base64.StdEncoding.DecodeString(resp.Header.Get("x-leadglass-answer-proof"))
	}
	return resp, err
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

func TestTheGoSDKGetsAProofOfItsAnswer(t *testing.T) {
	defer ended(t)
	p, pki := newEnclavePlane(t)
	ctx := t.Context()
	seen := &proofs{}
	cfg := sdkConfig(t, p.client(t, "customer"))
	cfg.HTTPClient = seen
	keys := kms.NewFromConfig(cfg)
	_, spki := attesttest.EnclaveKey(t)
	key := must(keys.CreateKey(ctx, &kms.CreateKeyInput{})).KeyMetadata
	doc := pki.Document(t, attest.Statement{PublicKey: spki})
	in := &kms.GenerateDataKeyInput{KeyId: key.KeyId, KeySpec: kmstypes.DataKeySpecAes256, EncryptionContext: map[string]string{"a<>": "é\u2028"},
		Recipient: &kmstypes.RecipientInfo{KeyEncryptionAlgorithm: kmstypes.KeyEncryptionMechanismRsaesOaepSha256, AttestationDocument: doc}}
	if must(keys.GenerateDataKey(ctx, in)); len(seen.proof) > 0 {
		t.Error("a proof that nobody asked for")
	}
	got := must(keys.GenerateDataKey(ctx, in, kms.WithAPIOptions(smithyhttp.AddHeaderValue("x-leadglass-answer-proof", "1"))))
	_, payload, sig, err := message.SplitSigned(seen.proof)
	var a message.Answer
	if err != nil || len(sig) != 96 || a.Parse(payload) != nil {
		t.Fatalf("%x: %v", seen.proof, err)
	}
	if a.Body != sha256.Sum256(seen.body) || a.Envelope != sha256.Sum256(got.CiphertextForRecipient) || a.Document != sha512.Sum384(doc) ||
		a.Operation != "GenerateDataKey" || a.Key != *key.Arn || time.Since(time.UnixMilli(int64(a.Time))).Abs() > time.Minute {
		t.Errorf("%+v", a)
	}
}

// The official CLI asks, and openssl, which stands for every other tool in an
// enclave, opens.
func TestTheOfficialCLIFetchesADataKeyForAnEnclave(t *testing.T) {
	cli, openssl := need(t, "aws", "--version"), need(t, "openssl", "version")
	defer ended(t)
	p, pki := newEnclavePlane(t)
	key, spki := attesttest.EnclaveKey(t)
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	run := func(args ...string) []byte {
		t.Helper()
		cmd := exec.Command(cli, append([]string{"kms"}, args...)...)
		cmd.Env = p.env("customer")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("aws kms %v: %v %s", args[0], err, stderr.Bytes())
		}
		return out
	}
	document := write("document", pki.Document(t, attest.Statement{PublicKey: spki}))
	private := write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))}))
	id := strings.TrimSpace(string(run("create-key", "--query", "KeyMetadata.KeyId", "--output", "text")))
	var made struct{ Plaintext, CiphertextForRecipient, CiphertextBlob []byte }
	if err := json.Unmarshal(run("generate-data-key", "--key-id", id, "--key-spec", "AES_256", "--recipient", "KeyEncryptionAlgorithm=RSAES_OAEP_SHA_256,AttestationDocument@=fileb://"+document, "--output", "json"), &made); err != nil || made.Plaintext != nil {
		t.Fatalf("%+v, %v", made, err)
	}
	opened := filepath.Join(dir, "opened")
	cms := write("cms", made.CiphertextForRecipient)
	if out, err := exec.Command(openssl, "cms", "-decrypt", "-inform", "DER", "-inkey", private, "-in", cms, "-out", opened).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	var plain struct{ Plaintext []byte }
	if err := json.Unmarshal(run("decrypt", "--ciphertext-blob", "fileb://"+write("blob", made.CiphertextBlob), "--output", "json"), &plain); err != nil {
		t.Fatal(err)
	}
	if got := must(os.ReadFile(opened)); !bytes.Equal(got, plain.Plaintext) || len(got) != 32 {
		t.Errorf("openssl opened %x, the key is %x", got, plain.Plaintext)
	}
}

func TestAnAttestationRootThatIsNoneIsRefusedAtTheStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "root.pem")
	for name, text := range map[string][]byte{
		"no certificate":       []byte("no"),
		"nonsense in one":      pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no")}),
		"a leaf, which is not": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: attesttest.New(t, attesttest.Options{Now: time.Now()}).Leaf}),
	} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if p, err := start(t.TempDir(), "--attestation-root", file); err == nil {
			p.stop()
			t.Errorf("%s: the plane started", name)
		} else if !strings.Contains(err.Error(), "attestation roots") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
