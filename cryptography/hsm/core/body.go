package core

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// The body of a client's request, which the HSM reads itself where it speaks
// of the request to others: the front's word would not do. The reader takes
// JSON (RFC 8259) of one object, no member twice on any level that it looks
// at, and refuses whatever two readers could take for different things.

const algSymmetric = "SYMMETRIC_DEFAULT"

// executes says whether the parameters of this call are those that the body of
// a request asks for. The name of the key is not compared: it may be an alias,
// which the HSM does not know; the answer names the key that was used.
func (c *call) executes(body []byte) bool {
	r, ok := parseRequest(body)
	if !ok || r.dryRun {
		return false
	}
	p := &c.params
	context, err := message.AppendContext(nil, r.context)
	if err != nil {
		return false
	}
	switch {
	case !bytes.Equal(r.document, p.Recipient):
		return false
	case len(p.Recipient) > 0 && r.encryption != "RSAES_OAEP_SHA_256":
		return false
	case len(p.Context) > 0 && !bytes.Equal(p.Context, context), len(p.Context) == 0 && len(r.context) > 0:
		return false
	}
	algorithm := r.algorithm
	if algorithm == algSymmetric {
		algorithm = ""
	}
	switch recipients[c.op] {
	case "Decrypt":
		return bytes.Equal(r.blob, p.Blob) && algorithm == p.Alg
	case "GenerateDataKey":
		switch r.spec {
		case "AES_128":
			r.length += 16
		case "AES_256":
			r.length += 32
		}
		return r.length == p.Length
	case "GenerateDataKeyPair":
		return r.pairSpec == p.Spec
	case "GenerateRandom":
		return r.length == p.Length
	case "DeriveSharedSecret":
		return r.agreement == p.Alg && bytes.Equal(r.public, p.Public)
	}
	return false
}

// request is what executes looks at.
type request struct {
	blob, document, public                           []byte
	algorithm, encryption, agreement, spec, pairSpec string
	length                                           uint64
	context                                          map[string]string
	dryRun                                           bool
}

func parseRequest(body []byte) (*request, bool) {
	in := &jsonReader{b: body}
	r := &request{}
	in.object(func(name string) {
		if in.null() {
			return // the same as absent
		}
		switch name {
		case "CiphertextBlob":
			r.blob = in.base64()
		case "PublicKey":
			r.public = in.base64()
		case "EncryptionAlgorithm":
			r.algorithm = in.text()
		case "KeyAgreementAlgorithm":
			r.agreement = in.text()
		case "KeySpec":
			r.spec = in.text()
		case "KeyPairSpec":
			r.pairSpec = in.text()
		case "NumberOfBytes":
			r.length = in.number()
		case "DryRun":
			r.dryRun = in.boolean()
		case "EncryptionContext":
			r.context = make(map[string]string)
			in.object(func(name string) { r.context[name] = in.text() })
		case "Recipient":
			in.object(func(name string) {
				switch name {
				case "KeyEncryptionAlgorithm":
					r.encryption = in.text()
				case "AttestationDocument":
					r.document = in.base64()
				default:
					in.skip(maxNesting)
				}
			})
		default:
			in.skip(maxNesting)
		}
	})
	in.space()
	return r, !in.bad && len(in.b) == 0
}

const maxNesting = 4 // of members that are not looked at

// A jsonReader takes values off the front of b. Once something is wrong, bad
// stays set.
type jsonReader struct {
	b   []byte
	bad bool
}

func (r *jsonReader) fail() { r.bad, r.b = true, nil }

func (r *jsonReader) space() { r.b = bytes.TrimLeft(r.b, " \t\r\n") }

// is takes one character, if it comes next.
func (r *jsonReader) is(c byte) bool {
	r.space()
	if len(r.b) == 0 || r.b[0] != c {
		return false
	}
	r.b = r.b[1:]
	return true
}

func (r *jsonReader) want(c byte) {
	if !r.is(c) {
		r.fail()
	}
}

// word takes a literal, if it comes next.
func (r *jsonReader) word(w string) bool {
	r.space()
	rest, ok := bytes.CutPrefix(r.b, []byte(w))
	if ok {
		r.b = rest
	}
	return ok
}

func (r *jsonReader) null() bool { return r.word("null") }

func (r *jsonReader) boolean() bool {
	if r.word("true") {
		return true
	}
	if !r.word("false") {
		r.fail()
	}
	return false
}

// object calls member for the value of each member, which it must take.
func (r *jsonReader) object(member func(name string)) {
	r.want('{')
	var seen []string
	for first := true; !r.bad && !r.is('}'); first = false {
		if !first {
			r.want(',')
		}
		name := r.text()
		if slices.Contains(seen, name) || len(seen) > 1024 {
			r.fail()
			return
		}
		seen = append(seen, name)
		r.want(':')
		member(name)
	}
}

// number takes a count; a sign, a fraction or an exponent is none.
func (r *jsonReader) number() uint64 {
	r.space()
	n := 0
	for n < len(r.b) && r.b[n] >= '0' && r.b[n] <= '9' {
		n++
	}
	v, err := strconv.ParseUint(string(r.b[:n]), 10, 32)
	if err != nil || n > 1 && r.b[0] == '0' || n < len(r.b) && bytes.IndexByte([]byte(".eE+-"), r.b[n]) >= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *jsonReader) base64() []byte {
	v, err := base64.StdEncoding.Strict().DecodeString(r.text())
	if err != nil {
		r.fail()
	}
	return v
}

// text takes a string (RFC 8259 section 7). Bytes that are not UTF-8 and
// halves of surrogate pairs are refused: readers make different things of them.
func (r *jsonReader) text() string {
	r.want('"')
	var out []byte
	for !r.bad {
		n := bytes.IndexAny(r.b, "\"\\")
		if n < 0 {
			break
		}
		for _, c := range r.b[:n] {
			if c < 0x20 {
				r.fail()
				return ""
			}
		}
		out = append(out, r.b[:n]...)
		end := r.b[n] == '"'
		r.b = r.b[n+1:]
		if end {
			if !utf8.Valid(out) {
				break
			}
			return string(out)
		}
		out = r.escape(out)
	}
	r.fail()
	return ""
}

func (r *jsonReader) escape(out []byte) []byte {
	if len(r.b) == 0 {
		r.fail()
		return nil
	}
	c := r.b[0]
	r.b = r.b[1:]
	switch c {
	case '"', '\\', '/':
		return append(out, c)
	case 'b':
		return append(out, '\b')
	case 'f':
		return append(out, '\f')
	case 'n':
		return append(out, '\n')
	case 'r':
		return append(out, '\r')
	case 't':
		return append(out, '\t')
	case 'u':
		u := r.hex()
		if u >= 0xd800 && u < 0xe000 { // the first half of a pair (RFC 2781 section 2.2), or one that is lost
			rest, ok := bytes.CutPrefix(r.b, []byte(`\u`))
			r.b = rest
			low := r.hex()
			if !ok || u >= 0xdc00 || low < 0xdc00 || low >= 0xe000 {
				r.fail()
				return nil
			}
			u = 0x10000 + (u-0xd800)<<10 + (low - 0xdc00)
		}
		return utf8.AppendRune(out, u)
	}
	r.fail()
	return nil
}

func (r *jsonReader) hex() rune {
	if len(r.b) < 4 {
		r.fail()
		return 0
	}
	v, err := strconv.ParseUint(string(r.b[:4]), 16, 16)
	if err != nil || r.b[0] == '+' || r.b[0] == '_' {
		r.fail()
		return 0
	}
	r.b = r.b[4:]
	return rune(v)
}

// skip passes over a value of any kind.
func (r *jsonReader) skip(depth int) {
	r.space()
	if depth == 0 || len(r.b) == 0 {
		r.fail()
		return
	}
	switch c := r.b[0]; {
	case c == '"':
		r.text()
	case c == '{':
		r.object(func(string) { r.skip(depth - 1) })
	case c == '[':
		r.want('[')
		for first := true; !r.bad && !r.is(']'); first = false {
			if !first {
				r.want(',')
			}
			r.skip(depth - 1)
		}
	case c == '-' || c >= '0' && c <= '9':
		n := 0
		for n < len(r.b) && bytes.IndexByte([]byte("0123456789+-.eE"), r.b[n]) >= 0 {
			n++
		}
		if _, err := strconv.ParseFloat(string(r.b[:n]), 64); err != nil {
			r.fail()
			return
		}
		r.b = r.b[n:]
	default:
		if !r.null() && !r.word("true") {
			r.boolean()
		}
	}
}
