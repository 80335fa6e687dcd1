package authztest

import (
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The reference reads documents with encoding/json: the generator writes no duplicate keys.

type refDoc = map[string]any

type refPrincipal struct {
	kind, arn, account, roleARN, userARN, provider string
	id, canonical                                  string
	serviceLinked, management, temporary           bool
}

type refGrant struct {
	grantee, id    string // the id, if there is one, counts instead of the ARN
	operations     []string
	subset, equals map[string]string
}

type refWorld struct {
	p                 refPrincipal
	identity, session []refDoc
	sessionPassed     bool
	boundary          refDoc
	scps, rcps        [][]refDoc
	resourcePolicy    refDoc
	endpoint          refDoc
	grants            []refGrant
	action, resource  string
	owner             string
	ownerIsManagement bool
	context, common   map[string][]string
	bound             map[string]string // principals of the resource policy that are stored by id
}

func refParse(text string) refDoc {
	var d refDoc
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		panic(err)
	}
	return d
}

func refList(v any) []any {
	switch l := v.(type) {
	case nil:
		return nil
	case []any:
		return l
	}
	return []any{v}
}

func refStrings(v any) (all []string) {
	for _, x := range refList(v) {
		switch s := x.(type) {
		case string:
			all = append(all, s)
		case bool:
			all = append(all, strconv.FormatBool(s))
		case float64:
			all = append(all, strconv.FormatFloat(s, 'f', -1, 64))
		}
	}
	return all
}

// A refRune is a character of a pattern, literal or wildcard.
type refRune struct {
	c    rune
	wild bool
}

func refGlob(p []refRune, s []rune) bool {
	if len(p) == 0 {
		return len(s) == 0
	}
	switch {
	case p[0].wild && p[0].c == '*':
		for i := 0; i <= len(s); i++ {
			if refGlob(p[1:], s[i:]) {
				return true
			}
		}
		return false
	case len(s) == 0:
		return false
	case p[0].wild && p[0].c == '?', !p[0].wild && p[0].c == s[0]:
		return refGlob(p[1:], s[1:])
	}
	return false
}

var refVariable = regexp.MustCompile(`^\$\{([^},]+)(?:, *'([^']*)')?\}`)

// refExpand turns a pattern into characters; ok is false for a variable without one value.
func (w *refWorld) refExpand(s string, vars, wilds bool) (out []refRune, ok bool) {
	for s != "" {
		if m := refVariable.FindStringSubmatch(s); vars && m != nil {
			var text string
			if values := w.values(m[1]); m[1] == "*" || m[1] == "?" || m[1] == "$" {
				text = m[1]
			} else if len(values) == 1 {
				text = values[0]
			} else if strings.Contains(m[0], "'") {
				text = m[2]
			} else {
				return nil, false
			}
			for _, c := range text {
				out = append(out, refRune{c, false})
			}
			s = s[len(m[0]):]
			continue
		}
		c := []rune(s)[0]
		out = append(out, refRune{c, wilds && (c == '*' || c == '?')})
		s = s[len(string(c)):]
	}
	return out, true
}

func refSplitPattern(p []refRune) (all [][]refRune) {
	var cur []refRune
	for _, r := range p {
		if r.c == ':' && len(all) < 5 {
			all, cur = append(all, cur), nil
			continue
		}
		cur = append(cur, r)
	}
	return append(all, cur)
}

func refMatchSegments(p []refRune, value string) bool {
	patterns, values := refSplitPattern(p), strings.SplitN(value, ":", 6)
	if len(patterns) < 6 {
		last := refRune{}
		if len(p) > 0 {
			last = p[len(p)-1]
		}
		if !last.wild || last.c != '*' {
			return false
		}
	} else if len(values) < 6 {
		return false
	}
	if len(values) < len(patterns) {
		return false
	}
	for i := range patterns {
		if !refGlob(patterns[i], []rune(values[i])) {
			return false
		}
	}
	return true
}

// spellings are the entries of the request for a key: those of the target or, without any, of the call.
func (w *refWorld) spellings(key string) (all [][]string) {
	for _, from := range []map[string][]string{w.context, w.common} {
		for name, v := range from {
			if strings.EqualFold(name, key) && len(v) > 0 {
				all = append(all, v)
			}
		}
		if all != nil {
			break
		}
	}
	return all
}

func (w *refWorld) values(key string) (all []string) {
	for _, v := range w.spellings(key) {
		all = append(all, v...)
	}
	return all
}

func (w *refWorld) rivals(key string) bool {
	return len(w.spellings(key)) > 1 && strings.Contains(strings.ToLower(key), "tag/")
}

func refAction(pattern, action string) bool {
	if pattern == "*" || pattern == "*:*" {
		return true
	}
	var p []refRune
	for _, c := range strings.ToLower(pattern) {
		p = append(p, refRune{c, c == '*' || c == '?'})
	}
	service, _, _ := strings.Cut(strings.ToLower(action), ":")
	vendor, _, _ := strings.Cut(strings.ToLower(pattern), ":")
	return service == vendor && refGlob(p, []rune(strings.ToLower(action)))
}

func (w *refWorld) refResource(s map[string]any, vars bool) bool {
	deny := s["Effect"] == "Deny"
	match := func(pattern string) (matched, resolved bool) {
		p, ok := w.refExpand(pattern, vars, true)
		return ok && (pattern == "*" || refMatchSegments(p, w.resource)), ok
	}
	if not, ok := s["NotResource"]; ok {
		any := false
		for _, r := range refStrings(not) {
			matched, resolved := match(r)
			if !resolved {
				return deny
			}
			any = any || matched
		}
		return !any
	}
	if s["Resource"] == nil {
		return true
	}
	for _, r := range refStrings(s["Resource"]) {
		if matched, _ := match(r); matched {
			return true
		}
	}
	return false
}

func (w *refWorld) refConditions(s map[string]any, vars bool) bool {
	block, _ := s["Condition"].(map[string]any)
	for operator, keys := range block {
		for key, listed := range keys.(map[string]any) {
			if !w.refCondition(operator, key, refStrings(listed), s["Effect"] == "Deny", vars) {
				return false
			}
		}
	}
	return true
}

func (w *refWorld) refCondition(operator, key string, listed []string, deny, vars bool) bool {
	op, all := strings.CutPrefix(operator, "ForAllValues:")
	op, anyOf := strings.CutPrefix(op, "ForAnyValue:")
	op, ifExists := strings.CutSuffix(op, "IfExists")
	values := w.values(key)
	if w.rivals(key) {
		return deny
	}
	if op == "Null" {
		for _, v := range listed {
			if (strings.ToLower(v) == "true") == (len(values) == 0) {
				return true
			}
		}
		return false
	}
	negated := strings.Contains(op, "Not")
	if len(values) == 0 {
		return all || ifExists || !anyOf && negated
	}
	if !all && !anyOf && len(values) > 1 {
		return deny
	}
	satisfied := 0
	for _, v := range values {
		matched := false
		for _, l := range listed {
			matched = matched || w.refCompare(strings.Replace(op, "Not", "", 1), l, v, vars)
		}
		if matched != negated {
			satisfied++
		}
	}
	if all {
		return satisfied == len(values)
	}
	return satisfied > 0
}

func refInstant(s string) (*big.Rat, bool) {
	for _, layout := range []string{"2006", "2006-01", "2006-01-02", "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05.999999999Z07:00"} {
		if t, err := time.Parse(layout, s); err == nil {
			return new(big.Rat).Add(big.NewRat(t.Unix(), 1), big.NewRat(int64(t.Nanosecond()), 1e9)), true
		}
	}
	return new(big.Rat).SetString(s)
}

var refDecimal = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)

func (w *refWorld) refCompare(op, listed, v string, vars bool) bool {
	order := func(a, b *big.Rat) bool {
		c := a.Cmp(b)
		switch {
		case strings.HasSuffix(op, "LessThan"):
			return c < 0
		case strings.HasSuffix(op, "LessThanEquals"):
			return c <= 0
		case strings.HasSuffix(op, "GreaterThan"):
			return c > 0
		case strings.HasSuffix(op, "GreaterThanEquals"):
			return c >= 0
		}
		return c == 0
	}
	switch op {
	case "StringEquals", "StringLike", "StringEqualsIgnoreCase":
		p, ok := w.refExpand(listed, vars, op == "StringLike")
		if op == "StringEqualsIgnoreCase" {
			var b strings.Builder
			for _, r := range p {
				b.WriteRune(r.c)
			}
			return ok && strings.EqualFold(b.String(), v)
		}
		return ok && refGlob(p, []rune(v))
	case "ArnEquals", "ArnLike":
		p, ok := w.refExpand(listed, vars, true)
		return ok && strings.Count(v, ":") >= 5 && refMatchSegments(p, v)
	case "Bool":
		l := strings.ToLower(listed)
		return (l == "true" || l == "false") && l == strings.ToLower(v)
	case "BinaryEquals":
		a, errA := base64.StdEncoding.DecodeString(listed)
		b, errB := base64.StdEncoding.DecodeString(v)
		return errA == nil && errB == nil && string(a) == string(b)
	case "IpAddress":
		ip := net.ParseIP(v)
		if ip == nil {
			return false
		}
		if !strings.Contains(listed, "/") {
			other := net.ParseIP(listed)
			return (ip.To4() == nil) == (other.To4() == nil) && ip.Equal(other)
		}
		_, block, err := net.ParseCIDR(listed)
		return err == nil && (ip.To4() == nil) == (block.IP.To4() == nil) && block.Contains(ip)
	}
	if strings.HasPrefix(op, "Numeric") {
		if !refDecimal.MatchString(v) || !refDecimal.MatchString(listed) {
			return false
		}
		a, _ := new(big.Rat).SetString(v)
		b, _ := new(big.Rat).SetString(listed)
		return order(a, b)
	}
	a, okA := refInstant(v)
	b, okB := refInstant(listed)
	return okA && okB && order(a, b)
}
