package quorum

import (
	"bytes"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// encode writes deterministic CBOR.
func encode(v any) ([]byte, error) {
	opts := cbor.CoreDetEncOptions()
	opts.NilContainers = cbor.NilContainerAsEmpty // one form of "nothing", and it is no null
	mode, err := opts.EncMode()
	if err != nil {
		return nil, fmt.Errorf("quorum: %w", err)
	}
	b, err := mode.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("quorum: %w", err)
	}
	return b, nil
}

// decode reads exactly what encode writes. Besides what the decoder refuses it
// compares with the encoding of what was read: that catches numbers that are
// not in the shortest form, unsorted maps, ids of a wrong length and absent
// fields alike, without a rule for each.
func decode(b []byte, v any) error {
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, MaxArrayElements: 4096, MaxMapPairs: 256, MaxNestedLevels: 16,
		UTF8: cbor.UTF8RejectInvalid,
	}.DecMode()
	if err != nil {
		return fmt.Errorf("quorum: %w", err)
	}
	// The decoder's own words would repeat parts of the input.
	if mode.Unmarshal(b, v) != nil {
		return ErrMalformed
	}
	again, err := encode(v)
	if err != nil || !bytes.Equal(again, b) {
		return fmt.Errorf("%w: not in the deterministic form", ErrMalformed)
	}
	return nil
}
