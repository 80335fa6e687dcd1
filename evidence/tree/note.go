package tree

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"

	"filippo.io/mldsa"
)

// Signature types of C2SP signed-note and tlog-cosignature.
const (
	TypeEd25519     byte = 0x01 // the log's own, over the note's text
	TypeCosignature byte = 0x04 // Ed25519 with a timestamp
	TypeMLDSA44     byte = 0x06 // ML-DSA-44 with a timestamp, over the checkpoint as a subtree
)

const (
	maxNote       = 1 << 20
	maxSignatures = 64 // the rule is to accept at least 16
	sigPrefix     = "\u2014 "
)

// A Verifier is a public key that may sign notes, with its name.
type Verifier struct {
	Name string
	Type byte
	Key  []byte // 32 bytes, or 1312 for ML-DSA-44
	id   uint32
}

// NewVerifier checks the parts of a verifier.
func NewVerifier(name string, typ byte, key []byte) (*Verifier, error) {
	if name == "" || !utf8.ValidString(name) || strings.ContainsAny(name, " +\n\t\r\u2028\u2029") || len(name) > 255 {
		return nil, fmt.Errorf("%w: name of a key", ErrMalformed)
	}
	switch {
	case (typ == TypeEd25519 || typ == TypeCosignature) && len(key) == ed25519.PublicKeySize:
	case typ == TypeMLDSA44 && len(key) == mldsa.MLDSA44PublicKeySize:
	default:
		return nil, fmt.Errorf("%w: key type %#x with %d bytes", ErrMalformed, typ, len(key))
	}
	return &Verifier{name, typ, key, keyID(name, typ, key)}, nil
}

// keyID is the first four bytes of SHA-256(name || 0x0A || type || key).
func keyID(name string, typ byte, key []byte) uint32 {
	h := sha256.New()
	h.Write([]byte(name))
	h.Write([]byte{'\n', typ})
	h.Write(key)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// ParseVerifier reads a vkey: name+hex id+base64(type || key).
func ParseVerifier(vkey string) (*Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3) // base64 may contain a plus
	if len(parts) != 3 {
		return nil, fmt.Errorf("%w: vkey", ErrMalformed)
	}
	key, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(key) < 1 {
		return nil, fmt.Errorf("%w: vkey", ErrMalformed)
	}
	v, err := NewVerifier(parts[0], key[0], key[1:])
	if err != nil {
		return nil, err
	}
	if v.String() != vkey {
		return nil, fmt.Errorf("%w: vkey with another key id", ErrMalformed)
	}
	return v, nil
}

// String is the vkey.
func (v *Verifier) String() string {
	var id [4]byte
	binary.BigEndian.PutUint32(id[:], v.id)
	return v.Name + "+" + hex.EncodeToString(id[:]) + "+" + base64.StdEncoding.EncodeToString(append([]byte{v.Type}, v.Key...))
}

// Line is the signature line for a signature that was made over Message; time
// (seconds since 1970) is left out for TypeEd25519.
func (v *Verifier) Line(time uint64, sig []byte) string {
	b := binary.BigEndian.AppendUint32(nil, v.id)
	if v.Type != TypeEd25519 {
		b = binary.BigEndian.AppendUint64(b, time)
	}
	return sigPrefix + v.Name + " " + base64.StdEncoding.EncodeToString(append(b, sig...)) + "\n"
}

// Message is what a signer with this key signs for a note with this text.
func (v *Verifier) Message(text []byte, time uint64) ([]byte, error) {
	switch v.Type {
	case TypeEd25519:
		return text, nil
	case TypeCosignature:
		return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", time), text...), nil
	}
	c, err := ParseCheckpoint(text)
	if err != nil {
		return nil, err
	}
	return SubtreeMessage(v.Name, time, c.Origin, 0, c.Size, c.Root)
}

// SubtreeMessage is what an ML-DSA-44 cosigner signs (tlog-cosignature,
// subtree/v1): the hash of the leaves start to end of a log.
func SubtreeMessage(cosigner string, time uint64, origin string, start, end uint64, hash Hash) ([]byte, error) {
	if len(cosigner) > 255 || len(origin) > 255 {
		return nil, fmt.Errorf("%w: name longer than 255 bytes", ErrMalformed)
	}
	m := append([]byte("subtree/v1\n\x00"), byte(len(cosigner)))
	m = append(m, cosigner...)
	m = binary.BigEndian.AppendUint64(m, time)
	m = append(m, byte(len(origin)))
	m = append(m, origin...)
	m = binary.BigEndian.AppendUint64(m, start)
	m = binary.BigEndian.AppendUint64(m, end)
	return append(m, hash[:]...), nil
}

// check verifies the decoded signature of a line, key id included.
func (v *Verifier) check(text, sig []byte) (time uint64, ok bool) {
	sig = sig[4:]
	if v.Type != TypeEd25519 {
		if len(sig) < 8 {
			return 0, false
		}
		time, sig = binary.BigEndian.Uint64(sig), sig[8:]
	}
	msg, err := v.Message(text, time)
	if err != nil {
		return 0, false
	}
	if v.Type != TypeMLDSA44 {
		return time, len(sig) == ed25519.SignatureSize && ed25519.Verify(v.Key, msg, sig)
	}
	pk, err := mldsa.NewPublicKey(mldsa.MLDSA44(), v.Key)
	return time, err == nil && mldsa.Verify(pk, msg, sig, nil) == nil
}

// A Signature is a line of a note that was verified.
type Signature struct {
	By   *Verifier
	Time uint64 // seconds since 1970; zero for TypeEd25519
}

// A Note is a signed text.
type Note struct {
	Text     []byte // ends with a newline
	Verified []Signature
}

// OpenNote reads a signed note (C2SP signed-note). Lines by unknown keys are
// ignored; a line whose name and id is known must verify, and at least one
// must be there.
func OpenNote(data []byte, known ...*Verifier) (*Note, error) {
	bad := fmt.Errorf("%w: signed note", ErrMalformed)
	if len(data) > maxNote || !utf8.Valid(data) {
		return nil, bad
	}
	for _, c := range data {
		if c < ' ' && c != '\n' || c == 0x7f {
			return nil, bad
		}
	}
	s := string(data)
	at := strings.LastIndex(s, "\n\n")
	if at < 0 || !strings.HasSuffix(s, "\n") {
		return nil, bad
	}
	n := &Note{Text: data[:at+1]}
	lines := strings.Split(strings.TrimSuffix(s[at+2:], "\n"), "\n")
	if len(lines) > maxSignatures {
		return nil, bad
	}
	seen := make(map[*Verifier]bool)
	for _, line := range lines {
		rest, ok := strings.CutPrefix(line, sigPrefix)
		name, b64, ok2 := strings.Cut(rest, " ")
		sig, err := base64.StdEncoding.Strict().DecodeString(b64)
		if !ok || !ok2 || err != nil || len(sig) < 5 || name == "" || strings.ContainsAny(name, "+ ") {
			return nil, bad
		}
		for _, v := range known {
			if v.Name != name || v.id != binary.BigEndian.Uint32(sig) {
				continue
			}
			time, ok := v.check(n.Text, sig)
			if !ok || seen[v] {
				return nil, fmt.Errorf("%w: signature of %s", ErrProof, name)
			}
			seen[v] = true
			n.Verified = append(n.Verified, Signature{v, time})
		}
	}
	if len(n.Verified) == 0 {
		return n, fmt.Errorf("%w: no signature by a known key", ErrProof)
	}
	return n, nil
}

// SignedBy says whether the verifier's signature was found and is good.
func (n *Note) SignedBy(v *Verifier) bool {
	for _, s := range n.Verified {
		if s.By == v {
			return true
		}
	}
	return false
}
