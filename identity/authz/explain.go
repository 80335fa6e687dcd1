package authz

import (
	"encoding/json"
	"strings"
)

// Explain is what DecodeAuthorizationMessage gives back for an encoded denial: the
// decision, the statements that matched and the request's context, as JSON. The trace may
// be nil. The caller encrypts it; it holds what the caller's administrators may know.
func Explain(r *Request, d Decision, t *Trace) []byte {
	m := explanation{Allowed: d.Allowed, ExplicitDeny: d.Explicit}
	m.Matched.Items, m.Failures.Items = []explainedStatement{}, []struct{}{}
	if t != nil {
		for _, s := range t.Deny {
			m.Matched.Items = append(m.Matched.Items, explainStatement(s))
		}
		for _, s := range t.Allow {
			m.Matched.Items = append(m.Matched.Items, explainStatement(s))
		}
	}
	m.Context.Principal = explainedPrincipal{ID: r.Principal.ID, Name: nameOf(r.Principal.ARN), ARN: r.Principal.ARN}
	m.Context.Action, m.Context.Resource = r.Ask.Action, r.Ask.Resource
	m.Context.Conditions = explainedConditions{Items: []explainedCondition{}}
	for _, keys := range []*Keys{&r.Ask.Context, r.Common} {
		if keys == nil {
			continue
		}
		for name, values := range keys.All() {
			if keys == r.Common {
				if _, hidden := r.Ask.Context.Get(name); hidden {
					continue
				}
			}
			m.Context.Conditions.Items = append(m.Context.Conditions.Items, explainedCondition{name, explainValues(values)})
		}
	}
	b, err := json.Marshal(&m)
	if err != nil { // only strings and booleans: Marshal does not fail
		return []byte(`{"allowed":false}`)
	}
	return b
}

type explanation struct {
	Allowed      bool `json:"allowed"`
	ExplicitDeny bool `json:"explicitDeny"`
	Matched      struct {
		Items []explainedStatement `json:"items"`
	} `json:"matchedStatements"`
	Failures struct {
		Items []struct{} `json:"items"`
	} `json:"failures"`
	Context struct {
		Principal  explainedPrincipal  `json:"principal"`
		Action     string              `json:"action"`
		Resource   string              `json:"resource"`
		Conditions explainedConditions `json:"conditions"`
	} `json:"context"`
}

type explainedPrincipal struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	ARN  string `json:"arn"`
}

type explainedConditions struct {
	Items []explainedCondition `json:"items"`
}

type explainedCondition struct {
	Key    string          `json:"key"`
	Values explainedValues `json:"values"`
}

type explainedValues struct {
	Items []explainedValue `json:"items"`
}

type explainedValue struct {
	Value string `json:"value"`
}

type explainedStatement struct {
	ID         string              `json:"statementId"`
	Effect     string              `json:"effect"`
	Principals explainedValues     `json:"principals"`
	Groups     explainedValues     `json:"principalGroups"`
	Actions    explainedValues     `json:"actions"`
	Resources  explainedValues     `json:"resources"`
	Conditions explainedConditions `json:"conditions"`
}

func explainStatement(m Matched) explainedStatement {
	s := m.Statement()
	e := explainedStatement{
		ID:         s.Sid,
		Effect:     strings.ToUpper(s.Effect.String()),
		Principals: explainValues(nil),
		Groups:     explainValues(nil),
		Actions:    explainValues(s.Actions),
		Resources:  explainValues(nil),
		Conditions: explainedConditions{Items: []explainedCondition{}},
	}
	for _, p := range s.Principals {
		e.Principals.Items = append(e.Principals.Items, explainedValue{p.Value})
	}
	for i := range s.Resources {
		e.Resources.Items = append(e.Resources.Items, explainedValue{s.Resources[i].Text()})
	}
	for i := range s.Conditions {
		c := &s.Conditions[i]
		e.Conditions.Items = append(e.Conditions.Items, explainedCondition{c.Key, explainValues(c.Values)})
	}
	return e
}

func explainValues(values []string) explainedValues {
	v := explainedValues{Items: make([]explainedValue, len(values))}
	for i := range values {
		v.Items[i].Value = values[i]
	}
	return v
}

// nameOf is the last part of an ARN: a user's, a session's name, or root.
func nameOf(arn string) string {
	if i := strings.LastIndexAny(arn, "/:"); i >= 0 {
		return arn[i+1:]
	}
	return arn
}
