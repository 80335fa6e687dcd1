package policy

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"time"
)

// A number is an exact decimal: sign, digits before and behind the point without
// superfluous zeros. Floating point would call 0.1 and 0.10000000000000001 equal.
type number struct {
	negative bool
	whole    string
	fraction string
}

// parseNumber takes -?digits(.digits)?.
func parseNumber(s string) (n number, ok bool) {
	if s != "" && s[0] == '-' {
		n.negative, s = true, s[1:]
	}
	whole, fraction, point := strings.Cut(s, ".")
	if !isDigits(whole) || point && !isDigits(fraction) {
		return number{}, false
	}
	n.whole = strings.TrimLeft(whole, "0")
	n.fraction = strings.TrimRight(fraction, "0")
	if n.whole == "" && n.fraction == "" {
		n.negative = false // -0 is 0
	}
	return n, true
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func (n *number) compare(m *number) int {
	if n.negative != m.negative {
		if n.negative {
			return -1
		}
		return 1
	}
	c := len(n.whole) - len(m.whole)
	if c == 0 {
		c = strings.Compare(n.whole, m.whole)
	}
	if c == 0 {
		// Digits behind the point compare like text: trailing zeros are gone.
		c = strings.Compare(n.fraction, m.fraction)
	}
	if n.negative {
		return -c
	}
	return c
}

// An instant is seconds since 1970 and nanoseconds.
type instant struct {
	seconds int64
	nanos   int64
}

func (a instant) compare(b instant) int {
	switch {
	case a.seconds != b.seconds && a.seconds < b.seconds, a.seconds == b.seconds && a.nanos < b.nanos:
		return -1
	case a == b:
		return 0
	}
	return 1
}

// parseInstant takes ISO 8601 in the W3C profile (a year, a month, a day, or a day
// with time and zone) or seconds since 1970. Four digits are a year.
func parseInstant(s string) (instant, bool) {
	whole, fraction, point := strings.Cut(s, ".")
	if isDigits(whole) && (len(whole) != 4 || point) {
		if len(whole) > 15 {
			return instant{}, false
		}
		nanos, ok := int64(0), true
		if point {
			nanos, ok = parseNanos(fraction)
		}
		return instant{digits(whole), nanos}, ok
	}
	month, day := int64(1), int64(1)
	rest, ok := s, true
	year, rest, ok := field(rest, 4, ok)
	if ok && rest != "" {
		month, rest, ok = separated(rest, '-')
	}
	if ok && rest != "" {
		day, rest, ok = separated(rest, '-')
	}
	if !ok || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return instant{}, false
	}
	at := instant{seconds: time.Date(int(year), time.Month(month), int(day), 0, 0, 0, 0, time.UTC).Unix()}
	if rest == "" {
		return at, true
	}
	if rest[0] != 'T' || len(s)-len(rest) != len("2006-01-02") {
		return instant{}, false
	}
	hour, rest, ok := field(rest[1:], 2, true)
	minute, second := int64(0), int64(0)
	if ok {
		minute, rest, ok = separated(rest, ':')
	}
	if ok && rest != "" && rest[0] == ':' {
		second, rest, ok = separated(rest, ':')
		if ok && rest != "" && rest[0] == '.' {
			n := 1
			for n < len(rest) && '0' <= rest[n] && rest[n] <= '9' {
				n++
			}
			at.nanos, ok = parseNanos(rest[1:n])
			rest = rest[n:]
		}
	}
	offset, zoned := parseZone(rest)
	if !ok || !zoned || hour > 23 || minute > 59 || second > 59 {
		return instant{}, false
	}
	at.seconds += hour*3600 + minute*60 + second - offset
	return at, true
}

// parseZone takes Z or an offset from UTC; a time without zone is no instant.
func parseZone(s string) (seconds int64, ok bool) {
	if s == "Z" {
		return 0, true
	}
	if s == "" || s[0] != '+' && s[0] != '-' {
		return 0, false
	}
	hours, rest, ok := field(s[1:], 2, true)
	minutes := int64(0)
	if ok {
		minutes, rest, ok = field(strings.TrimPrefix(rest, ":"), 2, true)
	}
	if !ok || rest != "" || hours > 23 || minutes > 59 {
		return 0, false
	}
	seconds = hours*3600 + minutes*60
	if s[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

// field reads n digits.
func field(s string, n int, ok bool) (v int64, rest string, _ bool) {
	if !ok || len(s) < n || !isDigits(s[:n]) {
		return 0, "", false
	}
	return digits(s[:n]), s[n:], true
}

// separated reads a separator and two digits.
func separated(s string, separator byte) (v int64, rest string, ok bool) {
	if s == "" || s[0] != separator {
		return 0, "", false
	}
	return field(s[1:], 2, true)
}

func digits(s string) (v int64) {
	for i := range len(s) {
		v = v*10 + int64(s[i]-'0')
	}
	return v
}

// parseNanos takes up to nine digits of a fraction of a second.
func parseNanos(s string) (int64, bool) {
	if !isDigits(s) || len(s) > 9 {
		return 0, false
	}
	v := digits(s)
	for range 9 - len(s) {
		v *= 10
	}
	return v, true
}

func daysIn(year, month int64) int64 {
	return int64(time.Date(int(year), time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day())
}

// A blob is a value of BinaryEquals.
type blob struct {
	bytes     string
	canonical string
}

func parseBlob(s string) (blob, bool) {
	b, err := base64.StdEncoding.DecodeString(s)
	return blob{string(b), base64.StdEncoding.EncodeToString(b)}, err == nil
}

// equal decodes s only if it is not in canonical form, so that the usual
// comparison allocates nothing.
func (b *blob) equal(s string) bool {
	if s == b.canonical {
		return true
	}
	if len(s) < len(b.canonical) {
		return false
	}
	d, err := base64.StdEncoding.DecodeString(s)
	return err == nil && string(d) == b.bytes
}

// parsePrefix takes a CIDR block or an address. Addresses of IPv4 written as IPv6
// become IPv4 (§3).
func parsePrefix(s string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, ok := parseAddr(s)
		return netip.PrefixFrom(a, a.BitLen()), ok
	}
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, false // half inside, half outside of IPv4
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

func parseAddr(s string) (netip.Addr, bool) {
	// A zone would make the parser allocate, and no rule can name one.
	if strings.IndexByte(s, '%') >= 0 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap(), err == nil
}
