package sessions

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/leadglass/leadglass/identity/authority"
)

// packedLimit is how many bytes session policies, their ARNs and tags may take
// deflated. A token of 4096 characters holds 3072 bytes, 34 of which are frame;
// the other claims, with the longest role path and names, deflate to less than
// 1000.
const packedLimit = 2000

// packedSize is the percentage of packedLimit that is used; -1 when there is
// nothing to pack.
func packedSize(c *authority.Claims) (int, error) {
	if len(c.Policies)+len(c.PolicyARNs)+len(c.Tags) == 0 {
		return -1, nil
	}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		return 0, fmt.Errorf("sessions: pack: %w", err)
	}
	write := func(text string) {
		// A bytes.Buffer takes everything; Close reports what might go wrong.
		_, _ = w.Write([]byte(text))
		_, _ = w.Write([]byte{0})
	}
	for _, p := range slices.Concat(c.Policies, c.PolicyARNs) {
		write(p)
	}
	for _, k := range slices.Sorted(maps.Keys(c.Tags)) {
		write(k)
		write(c.Tags[k])
	}
	if err := w.Close(); err != nil {
		return 0, fmt.Errorf("sessions: pack: %w", err)
	}
	percent := (100*packed.Len() + packedLimit - 1) / packedLimit
	if percent > 100 {
		return 0, refuse(PackedPolicyTooLarge, "Packed policy consumes %d%% of allotted space, please use smaller policy.", percent)
	}
	return percent, nil
}

// SealMessage makes the encoded authorization message of a refusal for an account.
func (s *Sessions) SealMessage(ctx context.Context, account string, plain []byte) (string, error) {
	message, err := s.authority.SealMessage(ctx, account, plain)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return message, nil
}

// OpenMessage is DecodeAuthorizationMessage: it opens what was sealed for the
// same account not longer than a day ago.
func (s *Sessions) OpenMessage(ctx context.Context, account, message string) ([]byte, error) {
	plain, err := s.authority.OpenMessage(ctx, account, message)
	switch {
	case err == nil:
		return plain, nil
	case errors.Is(err, authority.ErrExpired):
		return nil, refuse(InvalidAuthorizationMessage, "Message is expired")
	case isRefusal(err):
		return nil, refuse(InvalidAuthorizationMessage, "Message is not valid")
	}
	return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
}
