package core

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority/message"
)

// The sealed record of a long-term secret:
//
//	"LGR1" ‖ root id[4] ‖ KDF nonce[16] ‖ IV[12] ‖ secret[40] ‖ tag[16]
//
// key = KDF(record key, "leadglass record v1", KDF nonce), AAD = bytes 0..23 ‖
// "lg-secret-v1" ‖ access key id. The id carries the account, so the record
// opens for one credential of one account and no other.
const (
	recordMagic  = "LGR1"
	recordHeader = len(recordMagic) + 4 + kdfNonce
	recordLen    = recordHeader + gcmOverhead + message.SecretLen
	recordAAD    = "lg-secret-v1"
	recordLabel  = "leadglass record v1"
)

// dummyID is the access key id of the dummy record; no account makes it.
const dummyID = "AKIAAAAAAAAAAAAAAAAA"

func sealRecord(r *root, akid string, plain []byte) ([]byte, error) {
	out := make([]byte, 0, recordLen)
	out = append(out, recordMagic...)
	out = append(out, r.id[:]...)
	out = appendRandom(out, kdfNonce)
	err := derived(r.record, recordLabel, out[recordHeader-kdfNonce:], func(aead cipher.AEAD) error {
		out = aead.Seal(out, nil, plain, recordBound(out, akid))
		return nil
	})
	return out, err
}

func recordBound(header []byte, akid string) []byte {
	b := make([]byte, 0, recordHeader+len(recordAAD)+len(akid))
	return append(append(append(b, header[:recordHeader]...), recordAAD...), akid...)
}

// openRecord opens a record into dst. What does not open is a state that the
// directory cannot have been given, so it fails like a wrong signature.
func openRecord(r *root, akid string, sealed []byte, dst *[message.SecretLen]byte) error {
	if len(sealed) != recordLen || !bytes.HasPrefix(sealed, []byte(recordMagic)) || [4]byte(sealed[len(recordMagic):]) != r.id {
		return failure(message.StatusSignature)
	}
	return derived(r.record, recordLabel, sealed[recordHeader-kdfNonce:recordHeader], func(aead cipher.AEAD) error {
		if _, err := aead.Open(dst[:0], nil, sealed[recordHeader:], recordBound(sealed, akid)); err != nil {
			return failure(message.StatusSignature)
		}
		return nil
	})
}

// newSecret makes the secret of a new access key: 30 random bytes in base64.
func (a *authority) newSecret(p *message.Params, r *result) error {
	if account, err := id.AccessKeyAccount(p.AccessKeyID); err != nil || account != p.Account {
		return failure(link.StatusBadRequest)
	}
	var raw [30]byte
	defer secret.Wipe(raw[:])
	rand.Read(raw[:])
	base64.StdEncoding.Encode(r.secret[:], raw[:])
	sealed, err := sealRecord(a.root.Load(), p.AccessKeyID, r.secret[:])
	if err != nil {
		return err
	}
	r.Sealed, r.Secret = sealed, r.secret[:]
	return nil
}
