package wire

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

var errXML = errors.New("the body is not valid XML")

// A tokenKind tells what a token is.
type tokenKind uint8

const (
	tokenEnd   tokenKind = iota // of an element
	tokenStart                  // of an element
	tokenText
	tokenEOF
)

// A token is a piece of an XML document. Names come without their prefix:
// clients of S3 send the namespace, another prefix, or none.
type token struct {
	kind  tokenKind
	name  string
	attrs []pair
	text  string
}

// An xmlScanner splits a document into tokens. It knows no document type, no
// entities beyond the five and no processing instructions beyond the
// declaration (section 16): what it doesn't know, it refuses. The text is
// known to be UTF-8.
type xmlScanner struct {
	buf   string
	pos   int
	open  []string // names of the open elements, with their prefixes
	empty bool     // the last start was <a/>: its end is due
	root  bool     // the root element has begun
}

func newXMLScanner(body []byte) (*xmlScanner, error) {
	body = bytes.TrimPrefix(body, []byte("\xEF\xBB\xBF"))
	if !utf8.Valid(body) {
		return nil, errUTF8
	}
	return &xmlScanner{buf: string(body)}, nil
}

// next returns the next start, end or text. Texts of white space are
// returned too, comments are not.
func (s *xmlScanner) next() (token, error) {
	for {
		if s.empty {
			s.empty = false
			return s.closing(s.open[len(s.open)-1])
		}
		if s.pos == len(s.buf) {
			if !s.root || len(s.open) > 0 {
				return token{}, errXML
			}
			return token{kind: tokenEOF}, nil
		}
		if s.buf[s.pos] != '<' {
			t, err := s.text()
			if err != nil || len(s.open) > 0 {
				return t, err
			}
			if strings.Trim(t.text, " \t\r\n") != "" {
				return token{}, errXML // text beside the root element
			}
			continue
		}
		rest := s.buf[s.pos:]
		switch {
		case strings.HasPrefix(rest, "<!--"):
			body, _, ok := strings.Cut(rest[4:], "-->")
			if !ok || strings.Contains(body, "--") {
				return token{}, errXML
			}
			s.pos += 4 + len(body) + 3
		case strings.HasPrefix(rest, "<![CDATA["):
			body, _, ok := strings.Cut(rest[9:], "]]>")
			if !ok || len(s.open) == 0 || !validXMLText(body) {
				return token{}, errXML
			}
			s.pos += 9 + len(body) + 3
			return token{kind: tokenText, text: body}, nil
		case strings.HasPrefix(rest, "<?xml ") && s.pos == 0:
			_, _, ok := strings.Cut(rest, "?>")
			if !ok {
				return token{}, errXML
			}
			s.pos = strings.Index(rest, "?>") + 2
		case strings.HasPrefix(rest, "</"):
			name, _, ok := strings.Cut(rest[2:], ">")
			if !ok {
				return token{}, errXML
			}
			s.pos += 2 + len(name) + 1
			return s.closing(strings.TrimRight(name, " \t\r\n"))
		case strings.HasPrefix(rest, "<!"), strings.HasPrefix(rest, "<?"):
			return token{}, errXML // no document types, no instructions
		default:
			return s.start()
		}
	}
}

func (s *xmlScanner) closing(name string) (token, error) {
	if len(s.open) == 0 || s.open[len(s.open)-1] != name {
		return token{}, errXML
	}
	s.open = s.open[:len(s.open)-1]
	return token{kind: tokenEnd, name: local(name)}, nil
}

// local cuts the prefix off.
func local(name string) string {
	if i := strings.IndexByte(name, ':'); i >= 0 {
		return name[i+1:]
	}
	return name
}

func (s *xmlScanner) space() {
	for s.pos < len(s.buf) && strings.IndexByte(" \t\r\n", s.buf[s.pos]) >= 0 {
		s.pos++
	}
}

// name takes a name. Which letters beyond ASCII are allowed doesn't matter:
// no name of ours has one.
func (s *xmlScanner) name() (string, error) {
	start := s.pos
	for s.pos < len(s.buf) {
		c := s.buf[s.pos]
		if c <= ' ' || strings.IndexByte("<>/=\"'&", c) >= 0 {
			break
		}
		s.pos++
	}
	if s.pos == start {
		return "", errXML
	}
	return s.buf[start:s.pos], nil
}

func (s *xmlScanner) start() (token, error) {
	if s.root && len(s.open) == 0 {
		return token{}, errXML // a second root
	}
	if len(s.open) >= 2*MaxDepth {
		// Lists and maps take two or three elements a level; the decoders
		// count the levels themselves. This bounds what is skipped.
		return token{}, errDepth
	}
	s.pos++
	name, err := s.name()
	if err != nil {
		return token{}, err
	}
	t := token{kind: tokenStart, name: local(name)}
	s.root = true
	for {
		before := s.pos
		s.space()
		rest := s.buf[s.pos:]
		switch {
		case strings.HasPrefix(rest, ">"):
			s.pos++
			s.open = append(s.open, name)
			return t, nil
		case strings.HasPrefix(rest, "/>"):
			s.pos += 2
			s.open = append(s.open, name)
			s.empty = true
			return t, nil
		case s.pos == before || len(t.attrs) >= MaxDepth:
			return token{}, errXML
		}
		key, err := s.name()
		if err != nil {
			return token{}, err
		}
		s.space()
		if !strings.HasPrefix(s.buf[s.pos:], "=") {
			return token{}, errXML
		}
		s.pos++
		s.space()
		if s.pos == len(s.buf) || s.buf[s.pos] != '"' && s.buf[s.pos] != '\'' {
			return token{}, errXML
		}
		value, _, ok := strings.Cut(s.buf[s.pos+1:], s.buf[s.pos:s.pos+1])
		if !ok || strings.Contains(value, "<") {
			return token{}, errXML
		}
		s.pos += len(value) + 2
		if value, err = entities(value); err != nil {
			return token{}, err
		}
		if key == "xmlns" || strings.HasPrefix(key, "xmlns:") {
			continue
		}
		// An attribute keeps its prefix: xsi:type is not type.
		t.attrs = append(t.attrs, pair{key, value})
	}
}

func (s *xmlScanner) text() (token, error) {
	raw, _, _ := strings.Cut(s.buf[s.pos:], "<")
	if strings.Contains(raw, "]]>") {
		return token{}, errXML
	}
	text, err := entities(raw)
	s.pos += len(raw)
	return token{kind: tokenText, text: text}, err
}

// entities replaces the five entities and character references.
func entities(s string) (string, error) {
	if !validXMLText(s) {
		return "", errXML
	}
	if strings.Contains(s, "\r") {
		s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	}
	if !strings.Contains(s, "&") {
		return s, nil
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "&")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, rest, ok := strings.Cut(after, ";")
		if !ok {
			return "", errXML
		}
		s = rest
		switch name {
		case "lt":
			b.WriteByte('<')
		case "gt":
			b.WriteByte('>')
		case "amp":
			b.WriteByte('&')
		case "apos":
			b.WriteByte('\'')
		case "quot":
			b.WriteByte('"')
		default:
			digits, isRef := strings.CutPrefix(name, "#")
			base := 10
			if hex, ok := strings.CutPrefix(digits, "x"); ok {
				digits, base = hex, 16
			}
			n, err := strconv.ParseUint(digits, base, 32)
			if !isRef || err != nil || !validXMLRune(rune(n)) || n > utf8.MaxRune {
				return "", errXML
			}
			b.WriteRune(rune(n))
		}
	}
}

// validXMLRune says whether a character may be in a document.
func validXMLRune(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= ' ' && r < 0xD800 || r > 0xDFFF && r < 0xFFFE || r > 0xFFFF
}

func validXMLText(s string) bool {
	for _, r := range s {
		if !validXMLRune(r) {
			return false
		}
	}
	return true
}
