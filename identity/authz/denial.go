package authz

import (
	"strconv"
	"unicode/utf8"

	"github.com/leadglass/leadglass/base/canon"
	"github.com/leadglass/leadglass/identity/policy"
)

// Bounds of what the record of a denial says beside its reason, so that a record stays small whatever
// the policies are.
const (
	nearest        = 4       // statements
	nearConditions = 4       // of a statement
	nearValues     = 3       // of a condition
	nearValue      = 100     // bytes of a value
	nearText       = 500     // bytes of a statement's text
	nearBytes      = 4 << 10 // after which no further statement begins
)

// AppendDenial writes the audit record's policyDecision of a denial: what AppendJSON writes, what was
// asked, and the statements nearest to the answer, so that a reader can tell what stood in the way and
// what would have to change. Of an explicit denial these are the statements that deny, with the
// conditions that made them apply; of an implicit one the statements of the type that failed to
// allow which name the action, with what of them did not match.
//
// Policies of organizations are named and not shown: the account's principals cannot read them. Values
// of the request appear only for keys whose row in ConditionKeys says so. The caller must not record it where the
// resource is another account's (I-7). It is not on the way of any allowed request.
func (t *Trace) AppendDenial(dst []byte, r *Request, d Decision) []byte {
	dst = t.AppendJSON(dst, d)
	if d.Allowed || r == nil || r.Principal == nil || r.Ask == nil || len(dst) == 0 {
		return dst
	}
	dst = append(dst[:len(dst)-1], `,"action":`...)
	dst = canon.AppendString(dst, r.Ask.Action)
	dst = append(dst, `,"resource":`...)
	dst = canon.AppendString(dst, r.Ask.Resource)
	if d.Policy != "" {
		dst = append(dst, `,"policy":`...)
		dst = canon.AppendString(dst, d.Policy)
	}
	e := evaluation{p: r.Principal, a: r.Ask, policies: r.Policies}
	if e.policies == nil {
		e.policies = &none
	}
	if !e.q.Reset(r.Ask.Action, r.Ask.Resource, r.Common, &r.Ask.Context, nil) {
		return append(dst, '}')
	}
	dst = append(dst, `,"statements":[`...)
	shown, more, start := 0, int64(0), len(dst)
	for m := range e.nearTo(d, t) {
		if shown == nearest || len(dst)-start > nearBytes {
			more++
			continue
		}
		if shown++; shown > 1 {
			dst = append(dst, ',')
		}
		dst = e.appendNear(dst, m)
	}
	dst = append(dst, ']')
	if more > 0 {
		dst = append(dst, `,"more":`...)
		dst = strconv.AppendInt(dst, more, 10)
	}
	return append(dst, '}')
}

// nearTo gives the statements to show for a denial.
func (e *evaluation) nearTo(d Decision, t *Trace) func(yield func(Matched) bool) {
	return func(yield func(Matched) bool) {
		if d.Explicit {
			for _, m := range t.Deny {
				if m.By == d.By && m.By != BySCP && m.By != ByRCP && !yield(m) {
					return
				}
			}
			return
		}
		var docs []*policy.Document
		switch d.By {
		case ByIdentity:
			docs = e.policies.Identity
		case ByBoundary:
			docs = []*policy.Document{e.policies.Boundary}
		case BySession:
			docs = e.policies.Session
		case ByResource:
			docs = []*policy.Document{e.a.Policy}
		case ByEndpoint:
			docs = []*policy.Document{e.a.Endpoint}
		}
		for _, doc := range docs {
			if doc == nil {
				continue
			}
			all := doc.Statements()
			for i := range all {
				if s := &all[i]; s.Effect == policy.Allow && s.SpeaksOfAction(&e.q) && !yield(Matched{d.By, doc, i}) {
					return
				}
			}
		}
	}
}

// appendNear writes one statement, and what of it matched: for a denial all conditions, they made it
// apply; for an allow those that did not hold.
func (e *evaluation) appendNear(dst []byte, m Matched) []byte {
	s := m.Statement()
	dst = append(dst, `{"by":"`...)
	dst = append(dst, m.By.String()...)
	dst = append(dst, `","policy":`...)
	dst = canon.AppendString(dst, m.Document.Label())
	if s.Sid != "" {
		dst = append(dst, `,"sid":`...)
		dst = canon.AppendString(dst, clipTo(s.Sid, nearValue))
	}
	dst = append(dst, `,"index":`...)
	dst = strconv.AppendInt(dst, int64(m.Index), 10)
	dst = append(dst, `,"line":`...)
	dst = strconv.AppendInt(dst, int64(s.Start.Line), 10)
	dst = append(dst, `,"column":`...)
	dst = strconv.AppendInt(dst, int64(s.Start.Column), 10)
	dst = append(dst, `,"effect":"`...)
	dst = append(dst, s.Effect.String()...)
	dst = append(dst, `","text":`...)
	dst = canon.AppendString(dst, clipTo(string(m.Document.StatementText(m.Index)), nearText))
	if len(s.Principals) > 0 && e.speaksOf(s) == 0 {
		dst = append(dst, `,"principal":false`...)
	}
	if !s.SpeaksOfResource(&e.q) {
		dst = append(dst, `,"resource":false`...)
	}
	n := 0
	for i := range s.Conditions {
		c := &s.Conditions[i]
		holds := c.Holds(&e.q, s.Effect)
		if holds && s.Effect == policy.Allow {
			continue
		}
		if n++; n > nearConditions {
			continue
		}
		if n == 1 {
			dst = append(dst, `,"conditions":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = e.appendCondition(dst, c)
	}
	if n > 0 {
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

func (e *evaluation) appendCondition(dst []byte, c *policy.Condition) []byte {
	dst = append(dst, `{"operator":"`...)
	dst = append(dst, c.Operator.String()...)
	dst = append(dst, `","key":`...)
	dst = canon.AppendString(dst, clipTo(c.Key, nearValue))
	dst = append(dst, `,"wants":`...)
	dst = appendValues(dst, c.Values)
	dst = appendFound(dst, c.Key, c.Found(&e.q))
	if c.Unproven(&e.q) {
		dst = append(dst, `,"unproven":true`...)
	}
	// What the policy wants may itself be a key of the request.
	variables := c.Variables(&e.q)
	for i, v := range variables[:min(len(variables), nearValues)] {
		if i == 0 {
			dst = append(dst, `,"variables":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"key":`...)
		dst = canon.AppendString(dst, clipTo(v.Key, nearValue))
		dst = append(appendFound(dst, v.Key, v.Found), '}')
	}
	if len(variables) > 0 {
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// appendFound says what the request has for a key, as far as a record may hold it.
func appendFound(dst []byte, key string, found []string) []byte {
	switch {
	case len(found) == 0:
		return append(dst, `,"absent":true`...)
	case recorded(key):
		return appendValues(append(dst, `,"found":`...), found)
	}
	return append(dst, `,"hidden":true`...)
}

func appendValues(dst []byte, values []string) []byte {
	dst = append(dst, '[')
	for i, v := range values {
		switch {
		case i == nearValues:
			dst = append(dst, `,"..."`...)
		case i < nearValues:
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = canon.AppendString(dst, clipTo(v, nearValue))
		}
	}
	return append(dst, ']')
}

// clipTo cuts text at a character, and marks that it did.
func clipTo(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "..."
}
