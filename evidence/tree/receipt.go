package tree

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"
)

// A Receipt is the log's signed promise that one event has its place in its
// account's log (audit-log section 8). One signature serves all events of a
// batch: it is over the root of a small tree, and Path leads from this
// event's entry to that root.
type Receipt struct {
	Label    [32]byte
	Index    uint64
	Leaf     Hash
	Batch    uint64
	Time     uint64 // ms since 1970
	Count    uint32 // events in the batch
	Position uint32 // of this one
	Path     []Hash
	Sig      [ed25519.SignatureSize]byte
}

// MaxBatch is the most events that one receipt signature covers.
const MaxBatch = 4096

// BatchEntry is the leaf hash of one event in its batch's tree: of
// label || index || leaf hash.
func BatchEntry(label [32]byte, index uint64, leaf Hash) Hash {
	var e [72]byte
	copy(e[:], label[:])
	binary.BigEndian.PutUint64(e[32:], index)
	copy(e[40:], leaf[:])
	return LeafHash(e[:])
}

// ReceiptMessage is what the log signs for a batch.
func ReceiptMessage(batch, ms uint64, count uint32, root Hash) []byte {
	m := append(make([]byte, 0, 80), "leadglass/receipt/v1\x00"...)
	m = binary.BigEndian.AppendUint64(m, batch)
	m = binary.BigEndian.AppendUint64(m, ms)
	m = binary.BigEndian.AppendUint32(m, count)
	return append(m, root[:]...)
}

// Append writes the receipt's bytes.
func (r *Receipt) Append(dst []byte) []byte {
	dst = append(dst, "LGP1"...)
	dst = append(dst, r.Label[:]...)
	dst = binary.BigEndian.AppendUint64(dst, r.Index)
	dst = append(dst, r.Leaf[:]...)
	dst = binary.BigEndian.AppendUint64(dst, r.Batch)
	dst = binary.BigEndian.AppendUint64(dst, r.Time)
	dst = binary.BigEndian.AppendUint32(dst, r.Count)
	dst = binary.BigEndian.AppendUint32(dst, r.Position)
	dst = append(dst, byte(len(r.Path)))
	for i := range r.Path {
		dst = append(dst, r.Path[i][:]...)
	}
	return append(dst, r.Sig[:]...)
}

// String is the receipt in unpadded base64url, the value of the header
// x-leadglass-audit-receipt.
func (r *Receipt) String() string {
	return base64.RawURLEncoding.EncodeToString(r.Append(make([]byte, 0, 165+len(r.Path)*HashSize)))
}

// ParseReceipt reads a receipt's bytes.
func ParseReceipt(b []byte) (Receipt, error) {
	var r Receipt
	const head = 4 + 32 + 8 + 32 + 8 + 8 + 4 + 4 + 1
	if len(b) < head+len(r.Sig) || string(b[:4]) != "LGP1" {
		return r, fmt.Errorf("%w: no receipt", ErrMalformed)
	}
	copy(r.Label[:], b[4:])
	r.Index = binary.BigEndian.Uint64(b[36:])
	copy(r.Leaf[:], b[44:])
	r.Batch = binary.BigEndian.Uint64(b[76:])
	r.Time = binary.BigEndian.Uint64(b[84:])
	r.Count = binary.BigEndian.Uint32(b[92:])
	r.Position = binary.BigEndian.Uint32(b[96:])
	n := int(b[100])
	if len(b) != head+n*HashSize+len(r.Sig) || n > 64 {
		return Receipt{}, fmt.Errorf("%w: receipt's length", ErrMalformed)
	}
	for i := range n {
		r.Path = append(r.Path, Hash(b[head+i*HashSize:]))
	}
	copy(r.Sig[:], b[head+n*HashSize:])
	return r, nil
}

// ParseReceiptString reads the value of the header; white space around it is
// ignored.
func ParseReceiptString(s string) (Receipt, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return Receipt{}, fmt.Errorf("%w: receipt is no base64url", ErrMalformed)
	}
	return ParseReceipt(b)
}

// When is the time of the promise.
func (r *Receipt) When() time.Time { return time.UnixMilli(int64(r.Time)).UTC() }

// Verify checks the promise itself: the path and the log's signature. That it
// is kept, the log's tree must show.
func (r *Receipt) Verify(key ed25519.PublicKey) error {
	if len(key) != ed25519.PublicKeySize {
		return fmt.Errorf("%w: public key", ErrMalformed)
	}
	root, err := inclusionRoot(uint64(r.Count), uint64(r.Position), BatchEntry(r.Label, r.Index, r.Leaf), r.Path)
	if err != nil {
		return err
	}
	if !ed25519.Verify(key, ReceiptMessage(r.Batch, r.Time, r.Count, root), r.Sig[:]) {
		return fmt.Errorf("%w: signature of a receipt", ErrProof)
	}
	return nil
}

// A Batch is the tree over the events of one write, from which all receipts
// take their paths. Hashes of one level lie behind those of the level below; a
// node without a right neighbour rises unchanged, which is RFC 6962's tree.
type Batch struct {
	hashes []Hash
	levels []int // where each level begins
}

// Reset builds the tree over the entries, reusing b's memory.
func (b *Batch) Reset(entries []Hash) {
	b.hashes = append(b.hashes[:0], entries...)
	b.levels = append(b.levels[:0], 0)
	for at, n := 0, len(entries); n > 1; {
		next := len(b.hashes)
		for i := 0; i+1 < n; i += 2 {
			b.hashes = append(b.hashes, NodeHash(b.hashes[at+i], b.hashes[at+i+1]))
		}
		if n%2 == 1 {
			b.hashes = append(b.hashes, b.hashes[at+n-1])
		}
		b.levels = append(b.levels, next)
		at, n = next, len(b.hashes)-next
	}
}

// Root is the root of the batch.
func (b *Batch) Root() Hash {
	if len(b.hashes) == 0 {
		return Empty
	}
	return b.hashes[len(b.hashes)-1]
}

// Path is the inclusion path of the i-th entry, leaf to root.
func (b *Batch) Path(i int) []Hash {
	if len(b.levels) < 2 {
		return nil
	}
	path := make([]Hash, 0, len(b.levels)-1)
	for l := 0; l+1 < len(b.levels); l++ {
		at, n := b.levels[l], b.levels[l+1]-b.levels[l]
		if sib := i ^ 1; sib < n {
			path = append(path, b.hashes[at+sib])
		}
		i >>= 1
	}
	return path
}
