package policy

import (
	"strings"
	"unicode/utf8"
)

// In a compiled pattern the wildcards are two bytes that no UTF-8 text holds, so
// that every other byte is itself: a star that came out of a variable's value or
// of ${*} stays a star.
const (
	anyRun  = 0xFF // *
	anyRune = 0xFE // ?
)

// glob matches a compiled pattern against a whole string. One backtrack point
// suffices because a later star makes every earlier one's choice final: O(n*m).
// Stars and question marks step over whole characters, never half of one.
func glob[P string | []byte](p P, s string) bool {
	return globFold(p, s, false)
}

// globFold is glob; with ascii it takes capital letters in s as small ones.
func globFold[P string | []byte](p P, s string, ascii bool) bool {
	i, j := 0, 0
	star, mark := -1, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == anyRun:
			i++
			if i == len(p) {
				return true
			}
			star, mark = i, j
		case i < len(p) && p[i] == anyRune:
			i++
			j += width(s, j)
		case i < len(p) && (p[i] == s[j] || ascii && p[i] == small(s[j])):
			i++
			j++
		case star >= 0:
			mark += width(s, mark)
			i, j = star, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == anyRun {
		i++
	}
	return i == len(p)
}

func small(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func width(s string, i int) int {
	if s[i] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRuneInString(s[i:])
	return n
}

// A shape is the class of a compiled pattern; most are compared without glob.
type shape uint8

const (
	shapeExact shape = iota
	shapeAll         // *
	shapePrefix
	shapeSuffix
	shapeGlob
)

// A matcher is one classified pattern without variables.
type matcher struct {
	shape shape
	text  string // the fixed part, or the compiled pattern of shapeGlob
}

func newMatcher(compiled string) matcher {
	stars := strings.Count(compiled, string([]byte{anyRun}))
	switch {
	case strings.IndexByte(compiled, anyRune) >= 0:
	case stars == 0:
		return matcher{shapeExact, compiled}
	case compiled == string([]byte{anyRun}):
		return matcher{shapeAll, ""}
	case stars == 1 && compiled[len(compiled)-1] == anyRun:
		return matcher{shapePrefix, compiled[:len(compiled)-1]}
	case stars == 1 && compiled[0] == anyRun:
		return matcher{shapeSuffix, compiled[1:]}
	}
	return matcher{shapeGlob, compiled}
}

func (m *matcher) match(s string) bool {
	switch m.shape {
	case shapeExact:
		return m.text == s
	case shapeAll:
		return true
	case shapePrefix:
		return strings.HasPrefix(s, m.text)
	case shapeSuffix:
		return strings.HasSuffix(s, m.text)
	default:
		return glob(m.text, s)
	}
}

// matchFold matches a pattern in lower case against s without regard to the case of ASCII letters.
func (m *matcher) matchFold(s string) bool {
	n := len(m.text)
	switch m.shape {
	case shapeExact:
		return len(s) == n && equalFold(m.text, s)
	case shapeAll:
		return true
	case shapePrefix:
		return len(s) >= n && equalFold(m.text, s[:n])
	case shapeSuffix:
		return len(s) >= n && equalFold(m.text, s[len(s)-n:])
	default:
		return globFold(m.text, s, true)
	}
}

// equalFold compares lower-case text with s of the same length.
func equalFold(lower, s string) bool {
	for i := range len(lower) {
		if lower[i] != small(s[i]) {
			return false
		}
	}
	return true
}
