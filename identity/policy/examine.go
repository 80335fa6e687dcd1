package policy

import (
	"cmp"
	"slices"
	"strings"
)

// What explains a decision after it was made, or before: which keys documents ask for, and
// what of a statement speaks of a question and what does not. None of it is on the way of a decision.

// ContextKeys are the condition keys that the documents ask for, in conditions and as
// variables: each once, as it is first spelled, in the order of their names without regard to case.
func ContextKeys(docs ...*Document) []string {
	seen := make(map[string]bool)
	var all []string
	add := func(key string) {
		if f := strings.ToLower(key); !seen[f] {
			seen[f] = true
			all = append(all, key)
		}
	}
	variables := func(patterns []Pattern) {
		for i := range patterns {
			for _, p := range patterns[i].Parts() {
				if p.Kind == Variable {
					add(p.Text)
				}
			}
		}
	}
	for _, d := range docs {
		for i := range d.statements {
			s := &d.statements[i]
			variables(s.Resources)
			for j := range s.Conditions {
				add(s.Conditions[j].Key)
				variables(s.Conditions[j].patterns)
			}
		}
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return all
}

// SpeaksOfAction says whether the statement's Action or NotAction matches the question.
func (s *Statement) SpeaksOfAction(q *Question) bool { return s.matchesAction(q) }

// SpeaksOfResource says whether the statement's Resource or NotResource matches the question.
func (s *Statement) SpeaksOfResource(q *Question) bool { return s.anyResource || s.matchesResource(q) }

// Holds says whether the condition holds for the question, in a statement of the effect.
func (c *Condition) Holds(q *Question, effect Effect) bool { return c.holds(q, effect) }

// Found is what the question says about the condition's key: no values if it is absent.
func (c *Condition) Found(q *Question) []string { return q.lookup(&c.key).values }

// Unproven says whether the question has a value for the condition's key that proves nothing: see Keys.SetUnproven.
func (c *Condition) Unproven(q *Question) bool { return q.lookup(&c.key).deadlock }

// A Value is a condition key, and what a question says about it: no values if it is absent.
type Value struct {
	Key   string
	Found []string
}

// Variables are the variables in the condition's values, each once, with what the question says of them.
func (c *Condition) Variables(q *Question) []Value {
	var all []Value
	for i := range c.patterns {
		for _, p := range c.patterns[i].Parts() {
			if p.Kind != Variable || slices.ContainsFunc(all, func(v Value) bool { return strings.EqualFold(v.Key, p.Text) }) {
				continue
			}
			key := refer(p.Text)
			all = append(all, Value{p.Text, q.lookup(&key).values})
		}
	}
	return all
}

// StatementText is the text of a statement as it stands in the document.
func (d *Document) StatementText(index int) []byte {
	s := &d.statements[index]
	return d.text[s.Start.Offset:s.End.Offset]
}

// Comparable says whether an operator can compare a value: whether "noon" is a date to DateEquals.
// Values of other than the Numeric, Date, Bool, IpAddress and BinaryEquals operators are text and always
// can. An unknown operator can compare nothing.
func Comparable(operator, value string) bool {
	o, ok := parseOperator(operator)
	c := Condition{Operator: o}
	return ok && c.add(value, false)
}
