package core

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// The proof of a caller's request (hsm-domain section 7): for a key whose
// conditions ask for it, the HSM acts only on a request that it sees signed by
// a credential of the key's own account, and only does what that says. Against
// a front under somebody else's control this leaves one thing, to send the
// same request again within proofSkew; whoever minds asks for a Recipient.

// proof is a request whose signature was verified, once for each call.
type proof struct {
	read   bool
	status uint64
	target string    // KMS operation
	body   jsonValue // points into the parameters
	key    message.CallerKey
	region string // of the signed region set, still a list
}

const (
	proofSkew = 5 * time.Minute
	proofAlg  = "AWS4-ECDSA-P256-SHA256"
	proofTime = "20060102T150405Z"
	kmsTarget = "TrentService."
	maxDER    = 72 // SEQUENCE{r, s} of P-256
)

// signed verifies the proof that came with the call.
func (c *call) signed() *proof {
	p := &c.proof
	if !p.read {
		p.read = true
		if p.status = link.StatusOK; !c.verifyProof(p) {
			p.status = link.StatusDenied
		}
	}
	return p
}

func (c *call) verifyProof(p *proof) bool {
	var m message.Proof
	if m.Parse(c.params.Proof) != nil || len(m.Signature) == 0 || len(m.Signature) > maxDER {
		return false
	}
	now := c.h.cfg.Now()
	if !c.h.callerKey(m.CallerKey, now, &p.key) {
		return false
	}
	if !p.checkTexts(&m, now) {
		return false
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), p.key.Public)
	if err != nil {
		return false
	}
	digest := sha256.Sum256(m.StringToSign)
	if !ecdsa.VerifyASN1(public, digest[:], m.Signature) {
		return false
	}
	var ok bool
	p.body, ok = parseJSON(m.Body)
	return ok && p.body.kind == jsonObject
}

// callerKey checks a record of a public key: signed by the authority that was
// placed at this HSM before Ready.
func (h *HSM) callerKey(signed []byte, now time.Time, k *message.CallerKey) bool {
	record, sig, err := message.SplitCallerKey(signed)
	if err != nil || k.Parse(record) != nil || uint64(now.UnixMilli()) > k.NotAfter {
		return false
	}
	digest := message.CallerKeyDigest(record)
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, host := range h.hosts {
		if host.Has(RoleAuthority) && ecdsa.VerifyASN1(host.Key, digest, sig) {
			return true
		}
	}
	return false
}

// checkTexts checks that string to sign, canonical request and body belong
// together (sigv4 sections 2 and 3), and reads what they say.
func (p *proof) checkTexts(m *message.Proof, now time.Time) bool {
	lines := strings.Split(string(m.StringToSign), "\n")
	if len(lines) != 4 || lines[0] != proofAlg {
		return false
	}
	stamp, err := time.Parse(proofTime, lines[1])
	if err != nil || now.Sub(stamp) > proofSkew || stamp.Sub(now) > proofSkew {
		return false
	}
	if lines[2] != lines[1][:8]+"/kms/aws4_request" {
		return false
	}
	sum := sha256.Sum256(m.Canonical)
	if lines[3] != hex.EncodeToString(sum[:]) {
		return false
	}
	// METHOD, path, query, headers, an empty line, their names, hash of the body.
	text := strings.Split(string(m.Canonical), "\n")
	if len(text) < 7 || text[0] != "POST" || text[1] != "/" || text[2] != "" || text[len(text)-3] != "" {
		return false
	}
	body := sha256.Sum256(m.Body)
	if text[len(text)-1] != hex.EncodeToString(body[:]) {
		return false
	}
	var names []string
	headers := make(map[string]string)
	for _, line := range text[3 : len(text)-3] {
		name, value, found := strings.Cut(line, ":")
		if !found || len(names) > 0 && names[len(names)-1] >= name {
			return false
		}
		names = append(names, name)
		headers[name] = value
	}
	target, isKMS := strings.CutPrefix(headers["x-amz-target"], kmsTarget)
	if strings.Join(names, ";") != text[len(text)-2] || !isKMS || headers["host"] == "" || headers["x-amz-date"] != lines[1] {
		return false
	}
	p.target, p.region = target, headers["x-amz-region-set"]
	return true
}

// proves says whether the call brought a request for one operation on the key
// with these attributes, by a credential of the key's own account.
func (c *call) proves(a *attributes, target string) uint64 {
	p := c.signed()
	if p.status != link.StatusOK {
		return p.status
	}
	parts := strings.SplitN(a.name, ":", 6)
	if len(parts) != 6 || parts[2] != "kms" || parts[4] != p.key.Account || p.target != target || p.body.member("DryRun").kind == jsonTrue {
		return link.StatusDenied
	}
	if !inRegionSet(p.region, parts[3]) {
		return link.StatusDenied
	}
	return link.StatusOK
}

// inRegionSet: a list of regions, with "*" alone or at the end of one (sigv4
// section 4).
func inRegionSet(set, region string) bool {
	for one := range strings.SplitSeq(set, ",") {
		one = strings.TrimSpace(one)
		if prefix, wild := strings.CutSuffix(one, "*"); wild && strings.HasPrefix(region, prefix) || one == region && region != "" {
			return true
		}
	}
	return false
}

// means says whether a key identifier of the request means the key: its ARN,
// or in it its id. What an alias means only the front knows, so it proves
// nothing.
func (v *jsonValue) means(a *attributes) bool {
	if v.kind != jsonString {
		return false
	}
	_, id, _ := strings.Cut(a.name, ":key/")
	return string(v.text) == a.name || id != "" && string(v.text) == id
}

// provesCall checks that the parameters of this call, all of them, are what
// the caller's request says. a is of the key that asks for the proof.
func (c *call) provesCall(a *attributes) uint64 {
	plan, known := plans[c.op]
	if !known {
		return link.StatusDenied
	}
	target := plan.target
	if plan.without && c.params.Flags&message.FlagNoPlaintext != 0 {
		target += "WithoutPlaintext"
	}
	if status := c.proves(a, target); status != link.StatusOK {
		return status
	}
	body := &c.proof.body
	key := plan.key
	if c.op == message.OpReEncrypt && len(c.used) == 2 {
		key = "DestinationKeyId" // this is about the second key
	}
	// Decrypt need not name the key: the ciphertext does, and it is compared.
	if v := body.member(key); !v.means(a) && (v.kind != jsonOther || !plan.unnamed || key == "DestinationKeyId") {
		return link.StatusDenied
	}
	if !c.sameAs(body, plan) {
		return link.StatusDenied
	}
	return link.StatusOK
}

// plan says which members of an operation's request become which parameters.
// A parameter that no member stands for must be empty.
type plan struct {
	target                        string
	key                           string
	unnamed                       bool // the key member may be absent
	without                       bool // has a form without plaintext
	data, blob, signature, public string
	context, toContext            string
	alg, toAlg, messageType, spec string
	length, recipient             bool
}

var plans = map[uint64]plan{
	message.OpEncrypt: {target: "Encrypt", key: "KeyId", data: "Plaintext", context: "EncryptionContext", alg: "EncryptionAlgorithm"},
	message.OpDecrypt: {target: "Decrypt", key: "KeyId", unnamed: true, blob: "CiphertextBlob", context: "EncryptionContext",
		alg: "EncryptionAlgorithm", recipient: true},
	message.OpReEncrypt: {target: "ReEncrypt", key: "SourceKeyId", unnamed: true, blob: "CiphertextBlob",
		context: "SourceEncryptionContext", toContext: "DestinationEncryptionContext",
		alg: "SourceEncryptionAlgorithm", toAlg: "DestinationEncryptionAlgorithm"},
	message.OpGenerateDataKey: {target: "GenerateDataKey", key: "KeyId", without: true, context: "EncryptionContext", length: true, recipient: true},
	message.OpGenerateDataKeyPair: {target: "GenerateDataKeyPair", key: "KeyId", without: true, context: "EncryptionContext",
		spec: "KeyPairSpec", recipient: true},
	message.OpSign: {target: "Sign", key: "KeyId", data: "Message", alg: "SigningAlgorithm", messageType: "MessageType"},
	message.OpVerify: {target: "Verify", key: "KeyId", data: "Message", alg: "SigningAlgorithm", messageType: "MessageType",
		signature: "Signature"},
	message.OpGenerateMac: {target: "GenerateMac", key: "KeyId", data: "Message", alg: "MacAlgorithm"},
	message.OpVerifyMac:   {target: "VerifyMac", key: "KeyId", data: "Message", alg: "MacAlgorithm", signature: "Mac"},
	message.OpRandom:      {target: "GenerateRandom", length: true, recipient: true},
	message.OpDeriveSharedSecret: {target: "DeriveSharedSecret", key: "KeyId", alg: "KeyAgreementAlgorithm", public: "PublicKey",
		recipient: true},
}

// sameAs compares the call's parameters with the request.
func (c *call) sameAs(body *jsonValue, l plan) bool {
	p := &c.params
	for _, f := range [...]struct {
		param  []byte
		member string
	}{{p.Data, l.data}, {p.Blob, l.blob}, {p.Signature, l.signature}, {p.Public, l.public}} {
		if !sameBlob(body, f.member, f.param) {
			return false
		}
	}
	for _, f := range [...]struct {
		param         string
		member, empty string
	}{{p.Alg, l.alg, message.SpecSymmetric}, {p.ToAlg, l.toAlg, message.SpecSymmetric}, {p.MessageType, l.messageType, "RAW"}, {p.Spec, l.spec, ""}} {
		if !sameText(body, f.member, f.param, f.empty) {
			return false
		}
	}
	if !sameContext(body, l.context, p.Context) || !sameContext(body, l.toContext, p.ToContext) {
		return false
	}
	if (l.length || p.Length != 0) && !(l.length && sameLength(body, p.Length)) {
		return false
	}
	return sameRecipient(body, l.recipient, p.Recipient) && len(p.Enc) == 0 && len(p.Info) == 0
}

// at is the member of a request, or none where the plan has none.
func (v *jsonValue) at(member string) *jsonValue {
	if member == "" {
		return &jsonValue{}
	}
	return v.member(member)
}

func sameBlob(body *jsonValue, member string, param []byte) bool {
	v := body.at(member)
	if v.kind != jsonString {
		return v.kind == jsonOther && len(param) == 0
	}
	// It may be a plaintext: nothing of it stays.
	b := make([]byte, base64.StdEncoding.DecodedLen(len(v.text)))
	defer secret.Wipe(b)
	n, err := base64.StdEncoding.Decode(b, v.text)
	return err == nil && subtle.ConstantTimeCompare(b[:n], param) == 1
}

// sameText takes the default for the same as nothing, on both sides.
func sameText(body *jsonValue, member, param, byDefault string) bool {
	v := body.at(member)
	if v.kind != jsonString && v.kind != jsonOther {
		return false
	}
	asked := string(v.text)
	if asked == "" {
		asked = byDefault
	}
	if param == "" {
		param = byDefault
	}
	return asked == param
}

func sameContext(body *jsonValue, member string, param []byte) bool {
	v := body.at(member)
	pairs := make(map[string]string, len(v.items))
	switch v.kind {
	case jsonOther:
	case jsonObject:
		for i, name := range v.names {
			if v.items[i].kind != jsonString {
				return false
			}
			pairs[string(name)] = string(v.items[i].text)
		}
	default:
		return false
	}
	if len(param) == 0 {
		return len(pairs) == 0
	}
	want, err := message.AppendContext(nil, pairs)
	return err == nil && bytes.Equal(want, param)
}

// sameLength: NumberOfBytes, or else the KeySpec of a data key.
func sameLength(body *jsonValue, n uint64) bool {
	number, spec := body.member("NumberOfBytes"), body.member("KeySpec")
	if number.kind != jsonOther {
		asked, ok := number.uint()
		return ok && asked == n && spec.kind == jsonOther
	}
	switch string(spec.text) {
	case "AES_128":
		return n == 16
	case "AES_256":
		return n == 32
	}
	return false
}

// sameRecipient: an answer in the clear to a request for an encrypted one
// would be as wrong as the reverse.
func sameRecipient(body *jsonValue, may bool, document []byte) bool {
	v := body.member("Recipient")
	if !may || v.kind == jsonOther {
		return len(document) == 0
	}
	return v.kind == jsonObject && len(document) > 0 && sameBlob(v, "AttestationDocument", document) &&
		string(v.member("KeyEncryptionAlgorithm").text) == "RSAES_OAEP_SHA_256"
}

// executes says whether a body that a host shows is what this call executes.
// Nobody's signature over it is asked for: it is for answers that the HSM
// signs, so that what it signs does not rest on the host's word.
func (c *call) executes(body []byte) bool {
	v, ok := parseJSON(body)
	plan, known := plans[c.op]
	return ok && known && plan.recipient && v.kind == jsonObject && v.member("DryRun").kind != jsonTrue && c.sameAs(&v, plan)
}
