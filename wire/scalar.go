package wire

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Errors of decoding carry what was expected, never the text that was found:
// it may be a secret.
var (
	errBase64  = errors.New("a blob is not base64 with padding")
	errUTF8    = errors.New("text is not UTF-8")
	errDepth   = errors.New("nested too deeply")
	errEntries = errors.New("lists and maps have too many entries")
	errTime    = errors.New("a timestamp cannot be read")
	errNumber  = errors.New("a number cannot be read or is out of range")
	errBool    = errors.New("a truth value is neither true nor false")
)

// base64Strict refuses set trailing bits: one blob, one text.
var base64Strict = base64.StdEncoding.Strict()

// decodeBase64 never returns nil for a text that is there: an empty text is a
// present, empty blob.
func decodeBase64(s []byte) ([]byte, error) {
	// Package base64 skips line ends; the protocols know none.
	for _, c := range s {
		if c == '\n' || c == '\r' {
			return nil, errBase64
		}
	}
	b := make([]byte, base64Strict.DecodedLen(len(s)))
	n, err := base64Strict.Decode(b, s)
	if err != nil {
		return nil, errBase64
	}
	return b[:n], nil
}

// parseInt reads digits; 1.0 and 1e3 are integers too.
func parseInt(s string, bits int) (int64, error) {
	n, err := strconv.ParseInt(s, 10, bits)
	if err == nil {
		return n, nil
	}
	if !strings.ContainsAny(s, ".eE") {
		return 0, errNumber
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, errNumber
	}
	if n = int64(f); bits < 64 && n != n<<(64-bits)>>(64-bits) {
		return 0, errNumber
	}
	return n, nil
}

// parseFloat reads a decimal number or one of the three names.
func parseFloat(s string, bits int) (float64, error) {
	switch s {
	case "NaN":
		return math.NaN(), nil
	case "Infinity":
		return math.Inf(1), nil
	case "-Infinity":
		return math.Inf(-1), nil
	}
	// ParseFloat also knows "inf", hexadecimal and underscores; we don't.
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return 0, errNumber
		}
	}
	f, err := strconv.ParseFloat(s, bits)
	if err != nil {
		return 0, errNumber
	}
	return f, nil
}

func parseBool(s string) (bool, error) {
	switch s {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, errBool
}

// Seconds of the years 0001 and 9999: beyond, times don't print.
const (
	minUnix = -62135596800
	maxUnix = 253402300799
)

// parseUnix reads epoch seconds with a fraction, without the rounding of a
// float.
func parseUnix(s string) (time.Time, error) {
	whole, frac, _ := strings.Cut(s, ".")
	if strings.ContainsAny(s, "eE") {
		f, err := parseFloat(s, 64)
		if err != nil || !(f >= minUnix && f <= maxUnix) {
			return time.Time{}, errTime
		}
		sec, fr := math.Modf(f)
		return time.Unix(int64(sec), int64(math.Round(fr*1e3))*1e6).UTC(), nil
	}
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || sec < minUnix || sec > maxUnix {
		return time.Time{}, errTime
	}
	var nano int64
	if frac != "" {
		for i, scale := 0, int64(1e8); i < len(frac); i, scale = i+1, scale/10 {
			if frac[i] < '0' || frac[i] > '9' {
				return time.Time{}, errTime
			}
			nano += int64(frac[i]-'0') * scale
		}
		if strings.HasPrefix(whole, "-") {
			nano = -nano
		}
	}
	return time.Unix(sec, nano).UTC(), nil
}

// parseTime reads any of the three forms: what a client sends doesn't depend
// on the model as much as what it reads (section 5).
func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, errTime
	}
	if c := s[0]; c >= 'A' && c <= 'Z' {
		t, err := http.ParseTime(s)
		if err != nil {
			// IMF-fixdate with a fraction of a second.
			if t, err = time.Parse("Mon, 02 Jan 2006 15:04:05.999999999 GMT", s); err != nil {
				return time.Time{}, errTime
			}
		}
		return t.UTC(), nil
	}
	if len(s) > 10 && s[4] == '-' {
		t, err := time.Parse(time.RFC3339Nano, strings.ToUpper(s))
		if err != nil || t.Unix() < minUnix || t.Unix() > maxUnix {
			return time.Time{}, errTime
		}
		return t.UTC(), nil
	}
	return parseUnix(s)
}

// appendTime writes a time in one of the forms.
func appendTime(dst []byte, t time.Time, format timeFormat) []byte {
	t = t.UTC()
	switch format {
	case timeHTTP:
		return t.AppendFormat(dst, http.TimeFormat)
	case timeUnix:
		return appendUnix(dst, t)
	case timeMillis:
		return t.AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	}
	return t.AppendFormat(dst, "2006-01-02T15:04:05Z")
}

// appendUnix writes seconds with at most three decimals.
func appendUnix(dst []byte, t time.Time) []byte {
	ms := t.UnixMilli()
	if ms < 0 {
		dst, ms = append(dst, '-'), -ms
	}
	dst = strconv.AppendInt(dst, ms/1000, 10)
	if ms %= 1000; ms != 0 {
		dst = append(dst, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
		for dst[len(dst)-1] == '0' {
			dst = dst[:len(dst)-1]
		}
	}
	return dst
}

// appendFloat writes the shortest form; special values as their names, and
// with quotes where the caller says so.
func appendFloat(dst []byte, f float64, bits int, quote string) []byte {
	switch {
	case math.IsNaN(f):
		return append(append(append(dst, quote...), "NaN"...), quote...)
	case math.IsInf(f, 1):
		return append(append(append(dst, quote...), "Infinity"...), quote...)
	case math.IsInf(f, -1):
		return append(append(append(dst, quote...), "-Infinity"...), quote...)
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, bits)
}

// unreadable wraps a decoding error for the member where it happened.
func unreadable(f *field, err error) error {
	if f == nil {
		return err
	}
	return fmt.Errorf("%s: %w", f.member, err)
}
