package core

import (
	"crypto/subtle"

	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// The ciphertext blob of hsm-domain section 6:
//
//	01 ‖ 02 ‖ material id[32] ‖ N[16] ‖ key check[8] ‖ IV[12] ‖ ciphertext ‖ tag[16]
//
// key = KDF(HBK, "leadglass kms v1", N), key check = first 8 bytes of
// KDF(HBK, "leadglass commit v1", N). A blob with 03 in place of 02 holds the
// private key of a data key pair and is otherwise the same; the type is part
// of the AAD. The check commits to the key: GCM alone
// would let somebody make a blob that opens under two keys.
const (
	blobNonce  = 34
	blobCheck  = blobNonce + kdfNonce
	blobHeader = blobCheck + 8 // the AAD ends here, the IV begins
	aadPrefix  = "leadglass kms aad v1\x00"
)

// emptyContext is the serialisation of no pairs.
var emptyContext = [4]byte{}

// aad appends the AAD of a blob: prefix, header, context.
func aad(b, header, context []byte) []byte {
	b = append(b, aadPrefix...)
	b = append(b, header...)
	if len(context) == 0 {
		return append(b, emptyContext[:]...)
	}
	return append(b, context...)
}

// blobKeys derives the two values of a nonce.
func blobKeys(hbk, nonce []byte, key, check *[32]byte) {
	kdf.Derive(key, hbk, "leadglass kms v1", nonce)
	kdf.Derive(check, hbk, "leadglass commit v1", nonce)
}

// encryptBlob appends the blob of plaintext to b.
func encryptBlob(b []byte, kind byte, hbk []byte, material *[32]byte, plaintext, context []byte) ([]byte, uint64) {
	if message.CheckContext(context) != nil && len(context) > 0 {
		return b, link.StatusBadRequest
	}
	start := len(b)
	b = append(b, message.BlobVersion, kind)
	b = append(b, material[:]...)
	b = appendRandom(b, kdfNonce)
	var key, check [32]byte
	defer secret.Wipe(key[:])
	blobKeys(hbk, b[start+blobNonce:], &key, &check)
	b = append(b, check[:8]...)
	aead, err := newGCM(key[:])
	if err != nil {
		return b[:start], link.StatusInternal
	}
	var space [1024]byte // most contexts are short
	return aead.Seal(b, nil, plaintext, aad(space[:0], b[start:], context)), link.StatusOK
}

// decryptBlob appends the plaintext of a blob to b, or answers that it does
// not authenticate, for whatever reason.
func decryptBlob(b, hbk []byte, material *[32]byte, blob, context []byte) ([]byte, uint64) {
	id, err := message.MaterialOf(blob)
	if err != nil || message.CheckContext(context) != nil && len(context) > 0 {
		return b, link.StatusAuthFailed
	}
	var key, check [32]byte
	defer secret.Wipe(key[:])
	blobKeys(hbk, blob[blobNonce:blobCheck], &key, &check)
	if subtle.ConstantTimeCompare(check[:8], blob[blobCheck:blobHeader]) != 1 || id != *material {
		return b, link.StatusAuthFailed
	}
	aead, err := newGCM(key[:])
	if err != nil {
		return b, link.StatusInternal
	}
	var space [1024]byte
	out, err := aead.Open(b, nil, blob[blobHeader:], aad(space[:0], blob[:blobHeader], context))
	if err != nil {
		return b, link.StatusAuthFailed
	}
	return out, link.StatusOK
}
