package record

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/leadglass/leadglass/base/id"
)

// Kind says what a leaf stands for (section 5).
type Kind uint8

// The kinds of leaves.
const (
	APIEvent   Kind = 1
	Completion Kind = 2 // of a streaming call
	Contingent Kind = 3 // contingent authorization
	Heartbeat  Kind = 4
	KeyRecords Kind = 5 // a data key, wrapped for the account
	Tombstone  Kind = 6 // a blob was deleted by legal order
	Operator   Kind = 7 // operator operation
)

// Sealed says whether a leaf of this kind has a sealed event as its blob.
func (k Kind) Sealed() bool {
	return k == APIEvent || k == Completion || k == Contingent || k == Operator || k == Tombstone
}

// Flags of a leaf.
type Flags uint8

// The flags; the other bits are zero.
const (
	Failure      Flags = 1 << 0
	DataEvent    Flags = 1 << 1
	CrossAccount Flags = 1 << 2 // the owner's copy of another account's call
)

// LeafSize is the length of every entry of an account's log.
const LeafSize = 128

// A Leaf is one entry of an account's log. It says nothing of what happened:
// the commitment hides the event until its account discloses it.
type Leaf struct {
	Kind       Kind
	Flags      Flags
	Time       uint64 // ms since 1970, never decreasing within a log
	EventID    [16]byte
	Commitment [32]byte
	Blob       [32]byte // SHA-256 of the blob; zero for a heartbeat
	KeyID      [16]byte
}

// Append writes the 128 bytes of section 5.
func (l *Leaf) Append(dst []byte) []byte {
	dst = append(dst, 'L', 'G', 'A', '1', byte(l.Kind), byte(l.Flags), 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, l.Time)
	dst = append(dst, l.EventID[:]...)
	dst = append(dst, l.Commitment[:]...)
	dst = append(dst, l.Blob[:]...)
	dst = append(dst, l.KeyID[:]...)
	return append(dst, make([]byte, 16)...)
}

// ParseLeaf reads a leaf. Whatever Append would not write is refused, so that
// a leaf has one form only.
func ParseLeaf(b []byte) (Leaf, error) {
	var l Leaf
	if len(b) != LeafSize || string(b[:4]) != "LGA1" {
		return l, fmt.Errorf("%w: no leaf", ErrMalformed)
	}
	l.Kind, l.Flags = Kind(b[4]), Flags(b[5])
	l.Time = binary.BigEndian.Uint64(b[8:])
	copy(l.EventID[:], b[16:])
	copy(l.Commitment[:], b[32:])
	copy(l.Blob[:], b[64:])
	copy(l.KeyID[:], b[96:])
	if l.Kind < APIEvent || l.Kind > Operator || l.Flags > 7 || b[6]|b[7] != 0 || [16]byte(b[112:]) != [16]byte{} {
		return l, fmt.Errorf("%w: leaf with unknown kind or flags", ErrMalformed)
	}
	return l, nil
}

// When is the leaf's time.
func (l *Leaf) When() time.Time { return time.UnixMilli(int64(l.Time)).UTC() }

// ID is the event's id as the UUID that its JSON carries.
func (l *Leaf) ID() string { return id.FormatUUID(l.EventID) }

// Commit is the commitment to an event: HMAC-SHA-256 under its own fresh
// random blind, so that equal events cannot be recognised and an account can
// disclose one event (JSON, blind, inclusion proof) without giving a key.
func Commit(blind *[32]byte, json []byte) (c [32]byte) {
	m := hmac.New(sha256.New, blind[:])
	m.Write([]byte("leadglass/audit/event/v1"))
	m.Write(json)
	m.Sum(c[:0])
	return c
}

// ParseUUID is the inverse of id.FormatUUID.
func ParseUUID(s string) (u [16]byte, err error) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, fmt.Errorf("%w: no UUID", ErrMalformed)
	}
	var text [32]byte
	n := 0
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
		case '0' <= c && c <= '9' || 'a' <= c && c <= 'f':
			text[n] = c
			n++
		default:
			return u, fmt.Errorf("%w: no UUID", ErrMalformed)
		}
	}
	_, err = hex.Decode(u[:], text[:n])
	return u, err
}
