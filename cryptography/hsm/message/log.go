package message

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha512"
	"errors"
	"fmt"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
)

// The command log of an HSM (hsm-domain section 4, tamper evidence): a chain
// of entries, h(n) = SHA-384(h(n-1) || entry n), h(0) = 48 zero bytes, whose
// head the HSM signs.

// Kinds of entries.
const (
	LogStart    = 1 // the HSM was started
	LogCommand  = 2 // a quorum command was obeyed or refused
	LogSession  = 3 // a host connected
	LogCounters = 4 // what was answered since the entry of this kind before
	LogRotation = 5 // the domain key was rotated, or such a rotation was taken over, without a command of its own
	LogLost     = 6 // what the store held of the log before was not this HSM's: it begins anew
)

// ChainLen is the length of a hash of the chain.
const ChainLen = sha512.Size384

// A Count says how often operations were answered with a status.
type Count struct{ Op, Status, N uint64 }

// LogEntry is one entry. Which fields are set depends on its kind.
type LogEntry struct {
	Number   uint64     // 1: from 1, without gaps
	Time     uint64     // 2: ms since 1970
	Kind     uint64     // 3
	Name     string     // 4: name of the command; empty if it could not be read
	Status   uint64     // 5: with which it was answered; 0 is done
	Subject  []byte     // 6: SHA-384 of the signed command, or id of the host
	Serial   uint64     // 7: of the domain state afterwards
	State    []byte     // 8: SHA-384 of the domain state afterwards
	Signers  [][16]byte // 9: operators whose signatures held
	Counters []Count    // 10
}

// Append appends the encoded entry to b.
func (e *LogEntry) Append(b []byte) []byte {
	b = link.AppendMap(b, count(3, e.Name != "", e.Status > 0, len(e.Subject) > 0, e.Serial > 0, len(e.State) > 0,
		len(e.Signers) > 0, len(e.Counters) > 0))
	b = link.AppendUint(link.AppendUint(b, 1), e.Number)
	b = link.AppendUint(link.AppendUint(b, 2), e.Time)
	b = link.AppendUint(link.AppendUint(b, 3), e.Kind)
	b = link.AppendTextField(b, 4, e.Name)
	b = link.AppendUintField(b, 5, e.Status)
	b = link.AppendBytesField(b, 6, e.Subject)
	b = link.AppendUintField(b, 7, e.Serial)
	b = link.AppendBytesField(b, 8, e.State)
	if len(e.Signers) > 0 {
		b = link.AppendArray(link.AppendUint(b, 9), len(e.Signers))
		for _, id := range e.Signers {
			b = link.AppendBytes(b, id[:])
		}
	}
	if len(e.Counters) > 0 {
		b = link.AppendArray(link.AppendUint(b, 10), len(e.Counters))
		for _, c := range e.Counters {
			b = link.AppendUint(link.AppendUint(link.AppendUint(link.AppendArray(b, 3), c.Op), c.Status), c.N)
		}
	}
	return b
}

// Parse reads an entry.
func (e *LogEntry) Parse(b []byte) error {
	*e = LogEntry{}
	r := link.NewReader(b)
	last := uint64(0)
	for n := r.Map(); n > 0 && !r.Failed(); n-- {
		last = r.Key(last)
		switch last {
		case 1:
			e.Number = r.Uint()
		case 2:
			e.Time = r.Uint()
		case 3:
			e.Kind = r.Uint()
		case 4:
			e.Name = r.Text()
		case 5:
			e.Status = r.Uint()
		case 6:
			e.Subject = bytes.Clone(r.Bytes())
		case 7:
			e.Serial = r.Uint()
		case 8:
			e.State = bytes.Clone(r.Bytes())
		case 9:
			for m := r.Array(); m > 0 && !r.Failed(); m-- {
				var id [16]byte
				if copy(id[:], r.Bytes()) != len(id) {
					r.Fail()
				}
				e.Signers = append(e.Signers, id)
			}
		case 10:
			for m := r.Array(); m > 0 && !r.Failed(); m-- {
				if r.Array() != 3 {
					r.Fail()
				}
				e.Counters = append(e.Counters, Count{Op: r.Uint(), Status: r.Uint(), N: r.Uint()})
			}
		default:
			r.Fail()
		}
	}
	if e.Number == 0 || e.Kind == 0 {
		r.Fail()
	}
	return r.Done()
}

// LogHead is the signed end of the chain.
type LogHead struct {
	Member    [16]byte       // 1: member id
	Size      uint64         // 2: number of the last entry
	Hash      [ChainLen]byte // 3: of the chain up to it
	Time      uint64         // 4: ms since 1970
	Signature []byte         // 5: by HSK
}

const logContext = "leadglass hsm log\x00"

func (h *LogHead) fields(b []byte, n int) []byte {
	b = link.AppendMap(b, n)
	b = link.AppendBytes(link.AppendUint(b, 1), h.Member[:])
	b = link.AppendUint(link.AppendUint(b, 2), h.Size)
	b = link.AppendBytes(link.AppendUint(b, 3), h.Hash[:])
	return link.AppendUint(link.AppendUint(b, 4), h.Time)
}

// Digest is what HSK signs: SHA-384("leadglass hsm log\0" || SHA-384(fields 1
// to 4)).
func (h *LogHead) Digest() []byte {
	inner := sha512.Sum384(h.fields(nil, 4))
	sum := sha512.Sum384(append([]byte(logContext), inner[:]...))
	return sum[:]
}

// Append appends the encoded head to b.
func (h *LogHead) Append(b []byte) []byte {
	return link.AppendBytes(link.AppendUint(h.fields(b, 5), 5), h.Signature)
}

// exactly reads the next key of a map, which must be this one: a page that
// could be written in two ways could be changed unseen.
func exactly(r *link.Reader, key uint64) {
	if r.Key(key-1) != key {
		r.Fail()
	}
}

// Parse reads a head.
func (h *LogHead) Parse(b []byte) error {
	*h = LogHead{}
	r := link.NewReader(b)
	fixed := func(key uint64, dst []byte) {
		exactly(r, key)
		if v := r.Bytes(); len(v) != len(dst) || copy(dst, v) != len(dst) {
			r.Fail()
		}
	}
	if r.Map() != 5 {
		r.Fail()
	}
	fixed(1, h.Member[:])
	exactly(r, 2)
	h.Size = r.Uint()
	fixed(3, h.Hash[:])
	exactly(r, 4)
	h.Time = r.Uint()
	exactly(r, 5)
	h.Signature = bytes.Clone(r.Bytes())
	return r.Done()
}

// Verify checks that the HSM with this identity signed the head.
func (h *LogHead) Verify(identity []byte) error {
	key, err := link.ParsePublic(identity)
	if err != nil {
		return fmt.Errorf("message: %w", err)
	}
	if h.Member != link.IDOf(identity) || !ecdsa.VerifyASN1(key, h.Digest(), h.Signature) {
		return ErrLogHead
	}
	return nil
}

// LogPage is a piece of the log: entries without a gap, what the chain was
// before them, and the head of the whole log at the time.
type LogPage struct {
	Before  [ChainLen]byte // 1: h(first-1)
	First   uint64         // 2: number of the first entry; of the one to come if there is none
	Entries [][]byte       // 3: encoded
	Head    []byte         // 4: encoded LogHead
}

// Append appends the encoded page to b.
func (p *LogPage) Append(b []byte) []byte {
	b = link.AppendMap(b, 4)
	b = link.AppendBytes(link.AppendUint(b, 1), p.Before[:])
	b = link.AppendUint(link.AppendUint(b, 2), p.First)
	b = link.AppendArray(link.AppendUint(b, 3), len(p.Entries))
	for _, e := range p.Entries {
		b = link.AppendBytes(b, e)
	}
	return link.AppendBytes(link.AppendUint(b, 4), p.Head)
}

// Parse reads a page; its fields point into b.
func (p *LogPage) Parse(b []byte) error {
	*p = LogPage{}
	r := link.NewReader(b)
	if r.Map() != 4 {
		r.Fail()
	}
	exactly(r, 1)
	if v := r.Bytes(); len(v) != ChainLen || copy(p.Before[:], v) != ChainLen {
		r.Fail()
	}
	exactly(r, 2)
	p.First = r.Uint()
	exactly(r, 3)
	for n := r.Array(); n > 0 && !r.Failed(); n-- {
		p.Entries = append(p.Entries, r.Bytes())
	}
	exactly(r, 4)
	p.Head = r.Bytes()
	return r.Done()
}

// Chain is the hash after one more entry.
func Chain(before [ChainLen]byte, entry []byte) (next [ChainLen]byte) {
	return sha512.Sum384(append(before[:], entry...))
}

// Refusals of a LogReader.
var (
	ErrLogMalformed = errors.New("message: not a page of a command log")
	ErrLogHead      = errors.New("message: the head of the command log is not signed by this HSM")
	ErrLogGap       = errors.New("message: entries of the command log are missing")
	ErrLogFork      = errors.New("message: the command log is not the one that was read before")
)

// A LogReader follows the command log of one HSM. Whoever keeps the head that
// it has come to (Size and Hash) can go on from there another day, and finds
// out if the log has another past by then. The zero Size begins with whatever
// the HSM has kept.
type LogReader struct {
	Identity []byte // SPKI of HSK
	Size     uint64
	Hash     [ChainLen]byte
}

// Next checks one page that was asked for from entry Size+1 on, and returns
// its entries and the head that the HSM signed. It is at the end when the head's size is
// the reader's.
func (r *LogReader) Next(page []byte) ([]LogEntry, LogHead, error) {
	var p LogPage
	var head LogHead
	if p.Parse(page) != nil || head.Parse(p.Head) != nil {
		return nil, head, ErrLogMalformed
	}
	if err := head.Verify(r.Identity); err != nil {
		return nil, head, err
	}
	switch {
	case head.Size < r.Size || head.Size == r.Size && r.Size > 0 && head.Hash != r.Hash:
		return nil, head, ErrLogFork
	case p.First == 0:
		return nil, head, ErrLogMalformed
	case r.Size > 0 && p.First != r.Size+1:
		return nil, head, ErrLogGap
	case r.Size > 0 && p.Before != r.Hash:
		return nil, head, ErrLogFork
	case p.First == 1 && p.Before != [ChainLen]byte{}:
		return nil, head, ErrLogMalformed
	}
	hash := p.Before
	entries := make([]LogEntry, len(p.Entries))
	for i, encoded := range p.Entries {
		if entries[i].Parse(encoded) != nil {
			return nil, head, ErrLogMalformed
		}
		if entries[i].Number != p.First+uint64(i) {
			return nil, head, ErrLogGap
		}
		hash = Chain(hash, encoded)
	}
	size := p.First - 1 + uint64(len(p.Entries))
	switch {
	case size > head.Size || len(entries) == 0 && size < head.Size:
		return nil, head, ErrLogGap
	case size == head.Size && hash != head.Hash:
		return nil, head, ErrLogFork
	}
	r.Size, r.Hash = size, hash
	return entries, head, nil
}
