package esdk

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Header is the open part of a message. Before the message's keys are known
// it is only what somebody wrote; a Reader returns it authenticated.
type Header struct {
	Suite       Suite
	MessageID   []byte
	Context     map[string]string // with aws-crypto-public-key, if the suite signs
	Keys        []EncryptedKey
	Framed      bool
	FrameLength uint32 // 0: not framed
	commitment  []byte
}

// maxHeader bounds a header (client-side-encryption section 2, ours).
const maxHeader = 1 << 20

// appendContext appends a context as the AAD of raw keyrings has it: u16
// count, then pairs sorted by the bytes of the key. An empty one is nothing.
func appendContext(b []byte, context map[string]string) ([]byte, error) {
	if len(context) == 0 {
		return b, nil
	}
	if len(context) > 0xffff {
		return nil, fmt.Errorf("%w: %d pairs", ErrContext, len(context))
	}
	start := len(b)
	b = binary.BigEndian.AppendUint16(b, uint16(len(context)))
	for _, k := range slices.Sorted(maps.Keys(context)) {
		for _, s := range []string{k, context[k]} {
			if len(s) > 0xffff || !utf8.ValidString(s) {
				return nil, fmt.Errorf("%w: a name or value of %d bytes", ErrContext, len(s))
			}
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
		}
	}
	if len(b)-start > 0xffff {
		return nil, fmt.Errorf("%w: %d bytes", ErrContext, len(b)-start)
	}
	return b, nil
}

// encode is the header's body: all that its authentication covers.
func (h *Header) encode() ([]byte, error) {
	p, ok := h.Suite.properties()
	if !ok || len(h.MessageID) != p.idLen() {
		return nil, fmt.Errorf("esdk: no suite %s", h.Suite)
	}
	b := []byte{p.version}
	if p.version == 1 {
		b = append(b, 0x80) // the only type of message there is
	}
	b = binary.BigEndian.AppendUint16(b, uint16(h.Suite))
	b = append(b, h.MessageID...)
	context, err := appendContext(nil, h.Context)
	if err != nil {
		return nil, err
	}
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(context))), context...)
	if len(h.Keys) == 0 || len(h.Keys) > 0xffff {
		return nil, fmt.Errorf("esdk: %d encrypted data keys", len(h.Keys))
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.Keys)))
	for _, k := range h.Keys {
		for _, f := range [][]byte{[]byte(k.Provider), k.Info, k.Ciphertext} {
			if len(f) > 0xffff {
				return nil, fmt.Errorf("esdk: a field of %d bytes in an encrypted data key", len(f))
			}
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(f))), f...)
		}
	}
	content := contentUnframed
	if h.Framed {
		content = contentFramed
	}
	b = append(b, content)
	if p.version == 1 {
		b = append(b, 0, 0, 0, 0, ivLen)
	}
	b = binary.BigEndian.AppendUint32(b, h.FrameLength)
	return append(b, h.commitment...), nil
}

// A scanner reads the parts of a header and keeps what it read.
type scanner struct {
	r    io.Reader
	read []byte
	err  error
}

func (s *scanner) bytes(n int) []byte {
	if s.err != nil {
		return nil
	}
	if len(s.read)+n > maxHeader {
		s.err = fmt.Errorf("%w: a header of more than %d bytes", ErrLimit, maxHeader)
		return nil
	}
	start := len(s.read)
	s.read = append(s.read, make([]byte, n)...)
	if _, err := io.ReadFull(s.r, s.read[start:]); err != nil {
		s.err = ended(err)
		return nil
	}
	return s.read[start:]
}

func (s *scanner) u8() byte {
	if b := s.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (s *scanner) u16() int {
	if b := s.bytes(2); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (s *scanner) u32() uint32 {
	if b := s.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (s *scanner) fail(what string) {
	if s.err == nil {
		s.err = fmt.Errorf("%w: %s", ErrMessage, what)
	}
}

// ended makes the end of a stream inside a message what it is.
func ended(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrTruncated
	}
	return fmt.Errorf("esdk: %w", err)
}

// readHeader reads the header's body and returns it with its bytes.
func readHeader(r io.Reader, maxKeys int) (*Header, []byte, error) {
	s := &scanner{r: r}
	version := s.u8()
	if s.err == nil && version != 1 && version != 2 {
		s.fail("unknown version")
	}
	if version == 1 && s.u8() != 0x80 {
		s.fail("unknown type")
	}
	h := &Header{Suite: Suite(s.u16())}
	p, known := h.Suite.properties()
	if !known || p.version != version {
		s.fail("unknown algorithm suite")
	}
	if s.err != nil {
		return nil, nil, s.err
	}
	h.MessageID = slices.Clone(s.bytes(p.idLen()))
	h.Context = s.context(s.u16())
	count := s.u16()
	switch {
	case s.err != nil:
	case count == 0:
		s.fail("no encrypted data key")
	case count > maxKeys:
		s.err = fmt.Errorf("%w: %d encrypted data keys; at most %d are looked at", ErrLimit, count, maxKeys)
	}
	for range count {
		if s.err != nil {
			break
		}
		var k EncryptedKey
		provider := s.bytes(s.u16())
		if !utf8.Valid(provider) {
			s.fail("provider id")
		}
		k.Provider = string(provider)
		k.Info = slices.Clone(s.bytes(s.u16()))
		k.Ciphertext = slices.Clone(s.bytes(s.u16()))
		h.Keys = append(h.Keys, k)
	}
	switch s.u8() {
	case contentUnframed:
	case contentFramed:
		h.Framed = true
	default:
		s.fail("unknown content type")
	}
	if version == 1 {
		if s.u32() != 0 {
			s.fail("a reserved field is set")
		}
		if s.u8() != ivLen {
			s.fail("length of the IV")
		}
	}
	h.FrameLength = s.u32()
	if h.Framed == (h.FrameLength == 0) {
		s.fail("frame length")
	}
	if p.commits {
		h.commitment = slices.Clone(s.bytes(commitmentLen))
	}
	if s.err != nil {
		return nil, nil, s.err
	}
	return h, s.read, nil
}

// context reads n bytes of pairs, sorted and each name once: a second form of
// one context would be a second AAD.
func (s *scanner) context(n int) map[string]string {
	context := map[string]string{}
	b := s.bytes(n)
	if len(b) == 0 {
		return context
	}
	if len(b) < 2 {
		s.fail("encryption context")
		return context
	}
	count, b := int(binary.BigEndian.Uint16(b)), b[2:]
	if count == 0 {
		s.fail("an empty encryption context with a count")
	}
	last, first := "", true
	for range count {
		var pair [2]string
		for i := range pair {
			if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
				s.fail("encryption context")
				return context
			}
			end := 2 + int(binary.BigEndian.Uint16(b))
			pair[i], b = string(b[2:end]), b[end:]
			if !utf8.ValidString(pair[i]) {
				s.fail("encryption context")
			}
		}
		if !first && pair[0] <= last {
			s.fail("the encryption context is not sorted")
		}
		last, first = pair[0], false
		context[pair[0]] = pair[1]
	}
	if len(b) != 0 {
		s.fail("encryption context")
	}
	return context
}

// checkOwn refuses names that belong to the format.
func checkOwn(context map[string]string) error {
	for k := range context {
		if strings.HasPrefix(k, reserved) {
			return fmt.Errorf("%w: names that begin with %q belong to the format", ErrContext, reserved)
		}
	}
	return nil
}
