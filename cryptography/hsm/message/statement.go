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
	payload, err := openSign1(signed, hsk, DestructionType)
	if err != nil {
		return s, err
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
	if r.Key(4) != 5 || copy(s.Member[:], r.Bytes()) != len(s.Member) || r.Done() != nil {
		return Destruction{}, ErrStatement
	}
	return s, nil
}

// ES384 is the algorithm -35 of RFC 9053 as CBOR has it.
const ES384 = "\x38\x22"

// Sign1Input is the Sig_structure of RFC 9052 section 4.4.
func Sign1Input(protected, payload []byte) []byte {
	b := link.AppendText(link.AppendArray(nil, 4), "Signature1")
	return link.AppendBytes(link.AppendBytes(link.AppendBytes(b, protected), nil), payload)
}

// AppendSign1 appends COSE_Sign1 with its tag.
func AppendSign1(b, protected, payload, sig []byte) []byte {
	b = link.AppendBytes(link.AppendArray(append(b, 0xd2), 4), protected)
	b = link.AppendMap(b, 0)
	return link.AppendBytes(link.AppendBytes(b, payload), sig)
}

func openSign1(signed []byte, hsk *ecdsa.PublicKey, contentType string) (payload []byte, err error) {
	if len(signed) == 0 || signed[0] != 0xd2 {
		return nil, ErrStatement
	}
	r := link.NewReader(signed[1:])
	if r.Array() != 4 {
		r.Fail()
	}
	protected := r.Bytes()
	if r.Map() != 0 {
		r.Fail()
	}
	payload, sig := r.Bytes(), r.Bytes()
	if r.Done() != nil || len(sig) != 96 {
		return nil, ErrStatement
	}
	head, found := bytes.CutPrefix(protected, append(append([]byte{0xa3, 1}, ES384...), 3))
	if h := link.NewReader(head); !found || h.Text() != contentType {
		return nil, ErrStatement
	}
	digest := sha512.Sum384(Sign1Input(protected, payload))
	if !ecdsa.Verify(hsk, digest[:], new(big.Int).SetBytes(sig[:48]), new(big.Int).SetBytes(sig[48:])) {
		return nil, ErrStatement
	}
	return payload, nil
}
