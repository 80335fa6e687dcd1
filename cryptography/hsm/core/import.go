package core

import (
	"crypto"
	"crypto/rsa"

	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// Import of key material (kms-api section 10, hsm-domain section 6). The
// import token is the EKT of an RSA private key that wraps for one target:
//
//	spec     of the wrapping key
//	usage    "IMPORT" and, after blanks, spec and usage of the target
//	origin   the wrapping algorithm
//	name     of the target
//	notAfter a day later
//
// Its usage is none that a customer's key can have, so that no other operation
// takes it; and the host cannot turn a key that its owner imports to sign into
// one that decrypts.

// importUsage binds an import token to what it is for.
func importUsage(spec, usage string) string { return importPrefix + spec + " " + usage }

const importPrefix = "IMPORT "

// wrapping is an algorithm by which material is wrapped: RSAES-OAEP (RFC 8017
// section 7.1) of the material, or, as CKM_RSA_AES_KEY_WRAP of PKCS #11, of an
// AES-256 key under which it is wrapped by RFC 5649.
func wrapping(alg string) (h crypto.Hash, aes, ok bool) {
	switch alg {
	case message.WrapOAEP1:
		return crypto.SHA1, false, true
	case message.WrapOAEP256:
		return crypto.SHA256, false, true
	case message.WrapAES1:
		return crypto.SHA1, true, true
	case message.WrapAES256:
		return crypto.SHA256, true, true
	}
	return 0, false, false
}

// wrappingSpec is the spec of a wrapping key, whose length is asked for in
// bytes.
func wrappingSpec(length uint64) string {
	for _, spec := range []string{message.SpecRSA2048, message.SpecRSA3072, message.SpecRSA4096} {
		if uint64(rsaBits(spec)/8) == length {
			return spec
		}
	}
	return ""
}

// importable says whether a key can be imported: all but ML-DSA.
func importable(spec, usage string) bool {
	return fits(spec, usage) && (spec == message.SpecSymmetric || hmacLen(spec) > 0 || pkcs8Spec(spec))
}

func (c *call) importBegin() uint64 {
	p := &c.params
	_, _, known := wrapping(p.Alg)
	spec := wrappingSpec(p.Length)
	if !known || spec == "" || !importable(p.Spec, p.Usage) || len(p.Name) > maxName {
		return link.StatusBadRequest
	}
	private, status := c.generatePrivate(c.material[:0], spec)
	if status != link.StatusOK {
		return status
	}
	now := c.h.cfg.Now()
	a := attributes{
		spec: spec, usage: importUsage(p.Spec, p.Usage), origin: p.Alg, name: p.Name, material: materialID(p.Name, private),
		created: uint64(now.UnixMilli()), notAfter: uint64(now.Add(message.ImportLifetime).UnixMilli()),
	}
	token, err := c.d.wrap(&a, private)
	if err != nil {
		return link.StatusInternal
	}
	c.result.Token = token
	return link.StatusOK
}

// importKey opens what was wrapped and makes a key of it. Whatever can be
// wrong with the wrapping has one status, so that it is no oracle for the
// padding; whether what was in it fits the key has another, which only one who
// knows the material can come by.
func (c *call) importKey() uint64 {
	p := &c.params
	if !importable(p.Spec, p.Usage) || p.Origin != message.OriginExternal || p.Flags&^message.FlagCurrent != 0 {
		return link.StatusBadRequest
	}
	// Not open: the token of a wrapping key is no use of the key that it wraps for, and has no fence or conditions.
	private, status := c.d.unseal(c.token, &c.attrs, c.material[:])
	if status == link.StatusOK {
		status = c.attrs.admits(c.host, c.h.cfg.Now())
	}
	if status != link.StatusOK {
		return status
	}
	if c.attrs.usage != importUsage(p.Spec, p.Usage) || c.attrs.name != p.Name {
		return link.StatusWrongToken
	}
	h, aes, known := wrapping(c.attrs.origin)
	k, ok := parsePrivate(c.attrs.spec, private)
	if !known || !ok || k.rsa == nil {
		return link.StatusInternal
	}
	plain, ok := c.unwrapMaterial(k.rsa, h, aes)
	if !ok {
		return link.StatusAuthFailed
	}
	// The wrapping key has done its work; its place is taken by what it wrapped.
	if !pkcs8Spec(p.Spec) && len(plain) > kdf.MaxKey {
		return link.StatusMaterial // longer than any raw key, and than its place
	}
	material, public, ok := canonical(c.material[:0], p.Spec, plain)
	if !ok {
		return link.StatusMaterial
	}
	c.result.Public = public
	if p.Flags == message.FlagCurrent {
		// The owner brings the material anew, which says as much as EnableKey. What is sealed into the key must be right
		// all the same (inherit), and a closed key stays closed.
		p.Epoch = c.h.fences.get(fenceOf(p.Name)).Epoch
		c.result.Record = message.Fence{Epoch: p.Epoch}.Append(nil)
	}
	if status := c.make(p.Spec, p.Usage, p.Origin, material); status != link.StatusOK {
		return status
	}
	return c.provesImport()
}

// provesImport: who could put material that he knows into a key would read all
// that is encrypted under it from then on. So the owner of a key that asks for
// caller proof has to sign the import, and just this material. make has found
// that the conditions are the key's.
func (c *call) provesImport() uint64 {
	p := &c.params
	a := attributes{name: p.Name}
	if len(p.Conditions) == 0 {
		return link.StatusOK
	}
	if a.sealed.Parse(p.Conditions) != nil {
		return link.StatusBadRequest
	}
	if !a.sealed.CallerProof {
		return link.StatusOK
	}
	if status := c.proves(&a, "ImportKeyMaterial"); status != link.StatusOK {
		return status
	}
	body := &c.proof.body
	if !body.member("KeyId").means(&a) || !sameBlob(body, "EncryptedKeyMaterial", p.Blob) {
		return link.StatusDenied
	}
	return link.StatusOK
}

// unwrapMaterial decrypts the call's blob into the call's memory.
func (c *call) unwrapMaterial(k *rsa.PrivateKey, h crypto.Hash, aes bool) ([]byte, bool) {
	blob, wrapped := c.params.Blob, []byte(nil)
	if aes {
		if len(blob) < k.Size() {
			return nil, false
		}
		blob, wrapped = blob[:k.Size()], blob[k.Size():]
	}
	var inner []byte
	var err error
	c.private(func() { inner, err = rsa.DecryptOAEP(h.New(), nil, k, blob, nil) })
	if err != nil {
		return nil, false
	}
	defer secret.Wipe(inner)
	if !aes {
		return c.plain[:copy(c.plain[:], inner)], true
	}
	if len(inner) != 32 { // the key under which the material is wrapped is one of AES-256
		return nil, false
	}
	return unwrapPadded(c.plain[:0], inner, wrapped)
}
