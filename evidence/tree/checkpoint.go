package tree

import (
	"fmt"
	"strconv"
	"strings"
)

// A Checkpoint is what a log commits to (C2SP tlog-checkpoint): its name, its
// size and its root. Extension lines are not used here and are refused.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   Hash
}

// Text is the note text that is signed.
func (c Checkpoint) Text() []byte {
	return fmt.Appendf(nil, "%s\n%d\n%s\n", c.Origin, c.Size, c.Root)
}

// ParseCheckpoint reads a checkpoint's text, without signatures.
func ParseCheckpoint(text []byte) (Checkpoint, error) {
	var c Checkpoint
	bad := fmt.Errorf("%w: checkpoint", ErrMalformed)
	lines := strings.Split(string(text), "\n")
	if len(lines) != 4 || lines[0] == "" || lines[3] != "" {
		return c, bad
	}
	size, err := strconv.ParseUint(lines[1], 10, 63)
	if err != nil || strconv.FormatUint(size, 10) != lines[1] {
		return c, bad
	}
	root, err := ParseHash(lines[2])
	if err != nil {
		return c, bad
	}
	if size == 0 && root != Empty {
		return c, bad
	}
	return Checkpoint{lines[0], size, root}, nil
}

// OpenCheckpoint reads a signed checkpoint. The origin must be the one that
// the caller expects: a signature of the right key on another log's checkpoint
// proves nothing.
func OpenCheckpoint(data []byte, origin string, known ...*Verifier) (Checkpoint, *Note, error) {
	n, err := OpenNote(data, known...)
	if err != nil {
		return Checkpoint{}, n, err
	}
	c, err := ParseCheckpoint(n.Text)
	if err != nil {
		return c, n, err
	}
	if c.Origin != origin {
		return c, n, fmt.Errorf("%w: checkpoint of another log", ErrProof)
	}
	return c, n, nil
}

// A ProofFile is a tlog-proof: everything that shows one entry to be in a log
// (C2SP tlog-proof@v1).
type ProofFile struct {
	Extra      []byte // optional
	Index      uint64
	Path       []Hash
	Checkpoint []byte // the signed note
}

const proofHeader = "c2sp.org/tlog-proof@v1\n"

// Append writes the file.
func (p *ProofFile) Append(dst []byte) []byte {
	dst = append(dst, proofHeader...)
	if p.Extra != nil {
		dst = fmt.Appendf(dst, "extra %s\n", base64Std(p.Extra))
	}
	dst = fmt.Appendf(dst, "index %d\n", p.Index)
	for _, h := range p.Path {
		dst = fmt.Appendf(dst, "%s\n", h)
	}
	dst = append(dst, '\n')
	return append(dst, p.Checkpoint...)
}

// ParseProofFile reads a tlog-proof.
func ParseProofFile(data []byte) (*ProofFile, error) {
	bad := fmt.Errorf("%w: tlog-proof", ErrMalformed)
	if len(data) > maxNote {
		return nil, bad
	}
	head, note, ok := strings.Cut(string(data), "\n\n")
	rest, ok2 := strings.CutPrefix(head, proofHeader)
	if !ok || !ok2 {
		return nil, bad
	}
	p := &ProofFile{Checkpoint: []byte(note)}
	lines := strings.Split(rest, "\n")
	if extra, ok := strings.CutPrefix(lines[0], "extra "); ok {
		b, err := parseBase64(extra)
		if err != nil {
			return nil, bad
		}
		p.Extra, lines = b, lines[1:]
	}
	if len(lines) == 0 || len(lines) > 65 {
		return nil, bad
	}
	index, ok := strings.CutPrefix(lines[0], "index ")
	n, err := strconv.ParseUint(index, 10, 63)
	if !ok || err != nil || strconv.FormatUint(n, 10) != index {
		return nil, bad
	}
	p.Index = n
	for _, l := range lines[1:] {
		h, err := ParseHash(l)
		if err != nil {
			return nil, bad
		}
		p.Path = append(p.Path, h)
	}
	return p, nil
}

// Verify checks that the leaf hash is in the log, and returns the checkpoint
// that says so.
func (p *ProofFile) Verify(leaf Hash, origin string, known ...*Verifier) (Checkpoint, *Note, error) {
	c, n, err := OpenCheckpoint(p.Checkpoint, origin, known...)
	if err != nil {
		return c, n, err
	}
	return c, n, VerifyInclusion(c.Root, c.Size, p.Index, leaf, p.Path)
}
