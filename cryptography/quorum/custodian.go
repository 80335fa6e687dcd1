package quorum

import "fmt"

// Custodian is what others need to know of a custodian: the operator as it is
// to stand in the domain, and the key that shares are encrypted to, if the
// custodian can hold one.
type Custodian struct {
	Operator Operator `cbor:"1,keyasint"`
	Share    []byte   `cbor:"2,keyasint,omitempty"`
}

// Encode writes the record.
func (c Custodian) Encode() ([]byte, error) { return encode(c) }

// ParseCustodian reads and checks what Encode writes.
func ParseCustodian(b []byte) (Custodian, error) {
	var c Custodian
	if len(b) > maxBlob {
		return c, fmt.Errorf("%w: a custodian's record has at most %d bytes", ErrMalformed, maxBlob)
	}
	if err := decode(b, &c); err != nil {
		return c, err
	}
	if len(c.Share) != 0 && len(c.Share) != ShareKeyLen {
		return c, fmt.Errorf("%w: share key", ErrMalformed)
	}
	return c, c.Operator.Check()
}
