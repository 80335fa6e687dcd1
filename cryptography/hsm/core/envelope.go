package core

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"

	"github.com/leadglass/leadglass/cryptography/secret"
)

// CiphertextForRecipient is CMS EnvelopedData (RFC 5652 section 6) in BER:
// lengths are indefinite in exactly the places of kms-recipient-attestation
// section 4 and definite everywhere else, because the parsers of enclaves walk
// just this shape.

// The pieces between what differs from message to message.
var (
	// ContentInfo, [0], EnvelopedData: three constructed headers without length; version 2, which goes with a
	// recipient that is named by its subject key identifier.
	envelopeHead = []byte{
		0x30, 0x80, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03, // id-envelopedData
		0xa0, 0x80, 0x30, 0x80, 0x02, 0x01, 0x02,
	}
	// id-RSAES-OAEP with SHA-256, MGF1 with SHA-256, and no label (RFC 4055 section 4.1).
	envelopeOAEP = []byte{
		0x30, 0x3c, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07, 0x30, 0x2f,
		0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
		0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08,
		0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
	}
	// EncryptedContentInfo: id-data, aes256-CBC, and the head of its 16 bytes of IV.
	envelopeContent = []byte{
		0x30, 0x80, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01,
		0x30, 0x1d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a, 0x04, 0x10,
	}
	// [0] IMPLICIT of the content, an OCTET STRING in pieces, of which there is one.
	envelopePieces = []byte{0xa0, 0x80}
	// The ends of the five indefinite lengths.
	envelopeTail = make([]byte, 10)
)

// envelop encrypts plain to an enclave's key. spki is the key as it stands in
// the attestation document.
//
// The content key is new for every message, and so is the IV: CBC needs it to
// be unpredictable, not merely new (SP 800-38A). Nothing authenticates the
// message; the format has no place for it. Whoever opens it relies on TLS that
// ends inside the enclave, or on a signed answer (answer.go).
func envelop(key *rsa.PublicKey, spki, plain []byte) ([]byte, error) {
	var cek [32]byte
	defer secret.Wipe(cek[:])
	rand.Read(cek[:])
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, key, cek[:], nil)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(cek[:])
	if err != nil {
		return nil, err
	}
	padding := aes.BlockSize - len(plain)%aes.BlockSize // 1 to 16 bytes of that value (RFC 5652 section 6.3)

	out := make([]byte, 0, 256+len(wrapped)+len(plain)+padding)
	out = append(out, envelopeHead...)
	ski := sha256.Sum256(spki)
	info := 3 + 2 + len(ski) + len(envelopeOAEP) + derLength(len(wrapped)) + len(wrapped)
	out = appendDER(out, 0x31, derLength(info)+info) // recipientInfos
	out = appendDER(out, 0x30, info)                 // KeyTransRecipientInfo
	out = append(out, 0x02, 0x01, 0x02)              // version 2
	out = append(appendDER(out, 0x80, len(ski)), ski[:]...)
	out = append(out, envelopeOAEP...)
	out = append(appendDER(out, 0x04, len(wrapped)), wrapped...)
	out = appendRandom(append(out, envelopeContent...), aes.BlockSize)
	iv := out[len(out)-aes.BlockSize:]
	out = appendDER(append(out, envelopePieces...), 0x04, len(plain)+padding)
	start := len(out)
	out = append(out, plain...)
	for range padding {
		out = append(out, byte(padding))
	}
	// In place: the plaintext is overwritten by what becomes of it.
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(out[start:], out[start:])
	return append(out, envelopeTail...), nil
}

// appendDER writes a tag and a definite length below 65536.
func appendDER(b []byte, tag byte, n int) []byte {
	switch {
	case n < 0x80:
		return append(b, tag, byte(n))
	case n < 0x100:
		return append(b, tag, 0x81, byte(n))
	}
	return append(b, tag, 0x82, byte(n>>8), byte(n))
}

// derLength is how many bytes appendDER writes.
func derLength(n int) int {
	switch {
	case n < 0x80:
		return 2
	case n < 0x100:
		return 3
	}
	return 4
}
