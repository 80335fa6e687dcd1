package signer

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/pem"
	"fmt"

	"golang.org/x/crypto/scrypt"
)

// An encrypted key file is one PEM block: "LGC1" ‖ log2 of scrypt's N (1 byte)
// ‖ salt (16) ‖ IV ‖ AES-256-GCM of the plain file, whose AAD is what stands
// before the IV; key = scrypt(passphrase, salt, N, r = 8, p = 1) (RFC 7914).
const (
	encMagic = "LGC1"
	saltLen  = 16
	headLen  = len(encMagic) + 1 + saltLen

	// 2^18 takes 256 MiB and most of a second, which a person does not mind
	// and somebody who guesses does. Files of up to 2^20 are read: more would
	// let a file that is none exhaust the memory.
	scryptLog    = 18
	scryptLogMax = 20
)

func passphraseAEAD(head, passphrase []byte) (cipher.AEAD, error) {
	n := head[len(encMagic)]
	key, err := scrypt.Key(passphrase, head[len(encMagic)+1:headLen], 1<<n, 8, 1, 32)
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	// The salt makes a key that no other file has, so a random IV is safe.
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	return aead, nil
}

func encrypt(plain, passphrase []byte) ([]byte, error) {
	head := append([]byte(encMagic), scryptLog)
	head = append(head, make([]byte, saltLen)...)
	rand.Read(head[headLen-saltLen:])
	aead, err := passphraseAEAD(head, passphrase)
	if err != nil {
		return nil, err
	}
	sealed := aead.Seal(bytes.Clone(head), nil, plain, head)
	return pem.EncodeToMemory(&pem.Block{Type: pemEncrypted, Bytes: sealed}), nil
}

func decrypt(b, passphrase []byte) ([]byte, error) {
	if len(b) < headLen || string(b[:len(encMagic)]) != encMagic || b[len(encMagic)] == 0 || b[len(encMagic)] > scryptLogMax {
		return nil, ErrFile
	}
	if len(passphrase) == 0 {
		return nil, ErrPassphrase
	}
	aead, err := passphraseAEAD(b[:headLen], passphrase)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, b[headLen:], b[:headLen])
	if err != nil {
		return nil, ErrPassphrase
	}
	return plain, nil
}
