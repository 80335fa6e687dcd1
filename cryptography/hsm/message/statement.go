package message

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha512"
	"errors"
	"math/big"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
)

// DestructionType is the content type of a Destruction under its signature.
const DestructionType = "application/leadglass-destruction+cbor"

// A Destruction is what an HSM states of a key that it will never open again
// (hsm-domain section 9).
type Destruction struct {
	Key       string      // 1: ARN
	Materials [][]byte    // 2: ids of the materials whose tokens the HSM has seen
	Time      uint64      // 3: ms since 1970
	Domain    []byte      // 4
	Member    link.HostID // 5: whose HSK signed
}

// Append appends the encoded statement.
func (s *Destruction) Append(b []byte) []byte {
	b = link.AppendText(link.AppendUint(link.AppendMap(b, 5), 1), s.Key)
	b = link.AppendArray(link.AppendUint(b, 2), len(s.Materials))
	for _, m := range s.Materials {
		b = link.AppendBytes(b, m)
	}
	b = link.AppendUint(link.AppendUint(b, 3), s.Time)
	b = link.AppendBytes(link.AppendUint(b, 4), s.Domain)
	return link.AppendBytes(link.AppendUint(b, 5), s.Member[:])
}

// ErrStatement is returned for what is no statement, or is not signed by the
// key that it should be.
var ErrStatement = errors.New("message: not a signed statement of this HSM")

// OpenDestruction verifies a statement with the HSM's identity key.
func OpenDestruction(signed []byte, hsk *ecdsa.PublicKey) (s Destruction, err error) {
	header, payload, sig, err := SplitSigned(signed)
	if err != nil || len(sig) != 96 {
		return s, ErrStatement
	}
	// RFC 9052 section 4.4; ES384 is r and s of 48 bytes each.
	digest := sha512.Sum384(AnswerInput(header, payload))
	if !ecdsa.Verify(hsk, digest[:], new(big.Int).SetBytes(sig[:48]), new(big.Int).SetBytes(sig[48:])) {
		return s, ErrStatement
	}
	r := link.NewReader(payload)
	if r.Map() != 5 || r.Key(0) != 1 {
		r.Fail()
	}
	s.Key = r.Text()
	r.Key(1)
	for n := r.Array(); n > 0 && !r.Failed(); n-- {
		s.Materials = append(s.Materials, bytes.Clone(r.Bytes()))
	}
	r.Key(2)
	s.Time = r.Uint()
	r.Key(3)
	s.Domain = bytes.Clone(r.Bytes())
	if r.Key(4) != 5 || copy(s.Member[:], r.Bytes()) != len(s.Member) || r.Done() != nil ||
		!bytes.Equal(header, DestructionHeader(s.Member[:])) {
		return Destruction{}, ErrStatement
	}
	return s, nil
}

// DestructionHeader is the protected header of a statement: {1: -35 (ES384),
// 3: DestructionType, 4: member id}. The type is what keeps a statement of one
// kind from passing for one of another.
func DestructionHeader(member []byte) []byte {
	b := append(link.AppendMap(nil, 3), 0x01, 0x38, 34)
	b = link.AppendText(link.AppendUint(b, 3), DestructionType)
	return link.AppendBytes(link.AppendUint(b, 4), member)
}
