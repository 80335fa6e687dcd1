package record

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
)

// ErrOpen is returned when a blob was not sealed under the key at hand, for
// this account and kind, or was changed since.
var ErrOpen = errors.New("record: sealed event does not open")

// MaxEvents is how many events one data key seals before a new one is due.
const MaxEvents = 1 << 20

// MaxEvent is the longest JSON that can be sealed.
const MaxEvent = 512 << 10

const (
	sealHeader = 4 + 16 + 12 // magic, key id, nonce
	blindSize  = 32
	tagSize    = 16
)

// A Sealer encrypts the events of one account under one data key (section 4).
// It is safe for concurrent use.
type Sealer struct {
	keyID   [16]byte
	account string
	aead    cipher.AEAD
	prefix  [4]byte       // writer_random of the nonce
	used    atomic.Uint64 // counter of the nonce
}

// NewSealer returns a sealer for a fresh 32-byte data key that no other sealer
// has: the nonce is a random prefix and a counter, unique because the key
// lives in one writer only.
func NewSealer(account string, keyID [16]byte, dek []byte) (*Sealer, error) {
	aead, err := newAEAD(dek)
	if err != nil {
		return nil, err
	}
	s := &Sealer{keyID: keyID, account: account, aead: aead}
	rand.Read(s.prefix[:])
	return s, nil
}

// KeyID names the data key.
func (s *Sealer) KeyID() [16]byte { return s.keyID }

// Used is the number of events sealed so far.
func (s *Sealer) Used() uint64 { return s.used.Load() }

// Seal appends the sealed blob of json to dst and returns it together with the
// commitment and the hash of the blob, which the leaf carries.
func (s *Sealer) Seal(dst []byte, kind Kind, json []byte) (blob []byte, commitment, hash [32]byte, err error) {
	if len(json) > MaxEvent {
		return dst, commitment, hash, fmt.Errorf("%w: event of %d bytes", ErrMalformed, len(json))
	}
	counter := s.used.Add(1)
	if counter > 2*MaxEvents {
		// The writer changes keys at MaxEvents; concurrent callers may pass it a little.
		return dst, commitment, hash, errors.New("record: the data key is used up")
	}
	at := len(dst)
	size := sizeClass(blindSize + 4 + len(json))
	dst = append(dst, "LGS1"...)
	dst = append(dst, s.keyID[:]...)
	dst = append(dst, s.prefix[:]...)
	dst = binary.BigEndian.AppendUint64(dst, counter)
	// The account and the kind are bound although the header does not carry them:
	// a blob moved to another log, or replayed as another kind, does not open.
	var aad [sealHeader + 12 + 1]byte
	copy(aad[:], dst[at:])
	copy(aad[sealHeader:], s.account)
	aad[len(aad)-1] = byte(kind)

	plain := at + sealHeader
	dst = grow(dst, size+tagSize)
	p := dst[plain : plain+size]
	var blind [32]byte
	rand.Read(blind[:])
	copy(p, blind[:])
	binary.BigEndian.PutUint32(p[blindSize:], uint32(len(json)))
	n := copy(p[blindSize+4:], json)
	clear(p[blindSize+4+n:]) // dst may be a used buffer
	commitment = Commit(&blind, json)
	s.aead.Seal(p[:0], dst[at+20:plain], p, aad[:])
	dst = dst[:plain+size+tagSize]
	return dst, commitment, sha256.Sum256(dst[at:]), nil
}

// sizeClass hides the length of an event: 512 to 8192 by doubling, then
// multiples of 8192.
func sizeClass(n int) int {
	for c := 512; c <= 8192; c *= 2 {
		if n <= c {
			return c
		}
	}
	return (n + 8191) / 8192 * 8192
}

func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b[:len(b)+n]
	}
	return append(b, make([]byte, n)...)
}

func newAEAD(dek []byte) (cipher.AEAD, error) {
	if len(dek) != 32 {
		return nil, errors.New("record: a data key has 32 bytes")
	}
	block, err := aes.NewCipher(dek)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// An Opener decrypts the events that one data key sealed.
type Opener struct {
	keyID   [16]byte
	account string
	aead    cipher.AEAD
}

// NewOpener returns the opener for an account's data key.
func NewOpener(account string, keyID [16]byte, dek []byte) (*Opener, error) {
	aead, err := newAEAD(dek)
	if err != nil {
		return nil, err
	}
	return &Opener{keyID, account, aead}, nil
}

// Open decrypts a blob and returns the event's JSON and its blind.
func (o *Opener) Open(kind Kind, blob []byte) (json []byte, blind [32]byte, err error) {
	id, err := BlobKey(blob)
	if err != nil {
		return nil, blind, err
	}
	if id != o.keyID {
		return nil, blind, ErrOpen
	}
	var aad [sealHeader + 12 + 1]byte
	copy(aad[:], blob[:sealHeader])
	copy(aad[sealHeader:], o.account)
	aad[len(aad)-1] = byte(kind)
	p, err := o.aead.Open(nil, blob[20:sealHeader], blob[sealHeader:], aad[:])
	if err != nil {
		return nil, blind, ErrOpen
	}
	n := int(binary.BigEndian.Uint32(p[blindSize:]))
	if n > len(p)-blindSize-4 || sizeClass(blindSize+4+n) != len(p) {
		return nil, blind, fmt.Errorf("%w: length inside a sealed event", ErrMalformed)
	}
	copy(blind[:], p)
	return p[blindSize+4 : blindSize+4+n], blind, nil
}

// BlobKey reads the id of the data key from a sealed blob.
func BlobKey(blob []byte) (id [16]byte, err error) {
	n := len(blob) - sealHeader - tagSize
	if n < 512 || string(blob[:4]) != "LGS1" || sizeClass(n) != n {
		return id, fmt.Errorf("%w: no sealed event", ErrMalformed)
	}
	return [16]byte(blob[4:]), nil
}
