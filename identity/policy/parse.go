package policy

import (
	"bytes"
	"strings"
)

// Parse reads and compiles a document of the given kind. It is strict: what would not
// be enforced is refused. An error is an *Error.
func Parse(k Kind, doc []byte) (*Document, error) {
	p := &parser{reader: reader{text: doc}, kind: k}
	d, err := p.document()
	if err != nil {
		return nil, err
	}
	d.text = bytes.Clone(doc)
	return d, nil
}

type parser struct {
	reader
	kind Kind
	vars bool // Version 2012-10-17
}

// rawStatement is a statement as read. It is compiled when the whole document has been
// read, because Version may stand behind it.
type rawStatement struct {
	start, end  Position
	at          int
	sid, effect *text
	principals  []principalText
	principal   *text // the element's name: Principal or NotPrincipal
	action      *text
	actions     []text
	resource    *text
	resources   []text
	conditions  []rawCondition
	everyone    bool // "Principal": "*"
}

type principalText struct {
	kind  text
	value text
}

type rawCondition struct {
	operator, key text
	values        []text
}

func (p *parser) document() (*Document, error) {
	if len(p.text) > LimitParameter {
		return nil, p.syntax(0, "longer than %d bytes", LimitParameter)
	}
	if err := p.characters(); err != nil {
		return nil, err
	}
	d := &Document{kind: p.kind}
	var raw []rawStatement
	err := p.object(func(name text) error {
		switch name.s {
		case "Version":
			v, err := p.string()
			if err != nil {
				return err
			}
			switch v.s {
			case "2012-10-17":
				d.version, p.vars = Version2012, true
			case "2008-10-17":
			default:
				return p.fail(v.at, msgVersion, "unknown version %q", clip(v.s))
			}
			return nil
		case "Id":
			if !p.kind.hasID() {
				return p.fail(name.at, "Has prohibited field Id", "Id is not allowed in this kind of policy")
			}
			id, err := p.string()
			d.id = id.s
			return err
		case "Statement":
			return p.list(func() error {
				s, err := p.statement()
				raw = append(raw, s)
				return err
			})
		}
		return p.syntax(name.at, "unknown element %q", clip(name.s))
	})
	if err != nil {
		return nil, err
	}
	if p.peek() != 0 || p.pos < len(p.text) {
		return nil, p.syntax(p.pos, "text behind the document")
	}
	if raw == nil {
		return nil, p.syntax(0, "no Statement")
	}
	d.statements = make([]Statement, len(raw))
	sids := make(map[string]bool)
	for i := range raw {
		s := &d.statements[i]
		s.Index = i
		if err := p.build(&raw[i], s); err != nil {
			return nil, err
		}
		if s.Sid != "" && sids[s.Sid] {
			return nil, p.fail(raw[i].sid.at, msgSidUnique, "the Sid %q is used twice", clip(s.Sid))
		}
		sids[s.Sid] = true
	}
	markRepeated(d.statements)
	d.index = newIndex(d.statements)
	return d, nil
}

// statement reads one statement without judging it.
func (p *parser) statement() (s rawStatement, err error) {
	p.peek()
	s.at = p.pos
	s.start = p.position(s.at)
	one := func(into **text) error {
		v, err := p.string()
		*into = &v
		return err
	}
	err = p.object(func(name text) (err error) {
		switch name.s {
		case "Sid":
			return one(&s.sid)
		case "Effect":
			return one(&s.effect)
		case "Principal", "NotPrincipal":
			if s.principal != nil {
				return p.syntax(name.at, "Principal and NotPrincipal in one statement")
			}
			s.principal = &name
			return p.principals(&s)
		case "Action", "NotAction":
			if s.action != nil {
				return p.syntax(name.at, "Action and NotAction in one statement")
			}
			s.action = &name
			s.actions, err = p.strings()
			return err
		case "Resource", "NotResource":
			if s.resource != nil {
				return p.syntax(name.at, "Resource and NotResource in one statement")
			}
			s.resource = &name
			s.resources, err = p.strings()
			return err
		case "Condition":
			return p.conditions(&s)
		}
		return p.syntax(name.at, "unknown element %q", clip(name.s))
	})
	s.end = p.position(p.pos)
	return s, err
}

func (p *parser) principals(s *rawStatement) error {
	if p.peek() == '"' {
		v, err := p.string()
		if err == nil && v.s != "*" {
			err = p.fail(v.at, "Invalid principal in policy: \""+clip(v.s)+"\"", "a principal in short form can only be *")
		}
		s.everyone = true
		s.principals = []principalText{{text{"AWS", v.at}, v}}
		return err
	}
	at := p.pos
	err := p.object(func(kind text) error {
		values, err := p.strings()
		for _, v := range values {
			s.principals = append(s.principals, principalText{kind, v})
		}
		return err
	})
	if err == nil && s.principals == nil {
		err = p.syntax(at, "an empty principal")
	}
	return err
}

func (p *parser) conditions(s *rawStatement) error {
	return p.object(func(operator text) error {
		before := len(s.conditions)
		err := p.object(func(key text) error {
			c := rawCondition{operator: operator, key: key}
			err := p.list(func() error {
				v, err := p.scalar()
				c.values = append(c.values, v)
				return err
			})
			s.conditions = append(s.conditions, c)
			return err
		})
		if err == nil && len(s.conditions) == before {
			// An operator over no key would hold for everyone; that is not what was meant.
			err = p.syntax(operator.at, "the operator %q has no key", clip(operator.s))
		}
		return err
	})
}

// What each kind of document may and must hold (§1).

func (k Kind) hasID() bool { return k == Endpoint || k == Resource || k == Trust || k == Key }

func (k Kind) hasPrincipal() bool { return k.hasID() || k == RCP || k == ManagedRCP }

// strictSid: IAM and Organizations take letters and digits only, services also spaces and more.
func (k Kind) strictSid() bool { return k != Endpoint && k != Resource && k != Key }

func (p *parser) build(raw *rawStatement, s *Statement) error {
	s.Start, s.End = raw.start, raw.end
	if raw.sid != nil {
		s.Sid = raw.sid.s
		if p.kind.strictSid() && strings.ContainsFunc(s.Sid, func(c rune) bool { return !isAlnum(c) }) {
			return p.syntax(raw.sid.at, "a Sid holds only letters and digits")
		}
	}
	if raw.effect == nil {
		return p.syntax(raw.at, "no Effect")
	}
	switch raw.effect.s {
	case "Allow":
		s.Effect = Allow
	case "Deny":
		s.Effect = Deny
	default:
		return p.syntax(raw.effect.at, "Effect is Allow or Deny")
	}
	if err := p.buildPrincipals(raw, s); err != nil {
		return err
	}
	if p.kind == RCP && s.Effect != Deny {
		return p.syntax(raw.effect.at, "a resource control policy can only deny")
	}
	if err := p.buildActions(raw, s); err != nil {
		return err
	}
	if err := p.buildResources(raw, s); err != nil {
		return err
	}
	s.anyResource = len(s.Resources) == 0 || !s.NotResource && s.Resources[0].all
	for _, c := range raw.conditions {
		condition, err := p.buildCondition(&c)
		if err != nil {
			return err
		}
		s.Conditions = append(s.Conditions, condition)
	}
	return nil
}

func (p *parser) buildPrincipals(raw *rawStatement, s *Statement) error {
	if raw.principal == nil {
		if p.kind.hasPrincipal() {
			return p.fail(raw.at, "Missing required field Principal", "no Principal")
		}
		return nil
	}
	at := raw.principal.at
	switch {
	case p.kind == Identity || p.kind == Boundary || p.kind == Session:
		return p.fail(at, msgNoPerson, "%s is not allowed in this kind of policy", raw.principal.s)
	case !p.kind.hasPrincipal():
		return p.fail(at, "Has prohibited field "+raw.principal.s, "%s is not allowed in this kind of policy", raw.principal.s)
	}
	s.NotPrincipal = raw.principal.s == "NotPrincipal"
	if s.NotPrincipal && (p.kind == Trust || p.kind == RCP || p.kind == ManagedRCP) {
		return p.fail(at, "Has prohibited field NotPrincipal", "NotPrincipal is not allowed in this kind of policy")
	}
	if s.NotPrincipal && s.Effect == Allow {
		return p.syntax(at, "NotPrincipal with Allow would allow everyone else, the anonymous included")
	}
	if (p.kind == RCP || p.kind == ManagedRCP) && !raw.everyone {
		return p.syntax(at, `the principal of a resource control policy is "*"`)
	}
	for _, r := range raw.principals {
		ref, ok := ParsePrincipal(r.kind.s, r.value.s)
		switch r.kind.s {
		case "AWS", "Service", "Federated", "CanonicalUser":
		default:
			return p.syntax(r.kind.at, "unknown kind of principal %q", clip(r.kind.s))
		}
		// An exemption of everyone makes a Deny that never applies.
		if !ok || s.NotPrincipal && ref.Form == FormEveryone {
			return p.fail(r.value.at, `Invalid principal in policy: "`+r.kind.s+`":"`+clip(r.value.s)+`"`, "not a principal")
		}
		if raw.everyone {
			ref.Type = "*"
		}
		s.Principals = append(s.Principals, ref)
	}
	return nil
}

func (p *parser) buildActions(raw *rawStatement, s *Statement) error {
	if raw.action == nil {
		return p.fail(raw.at, msgActions, "no Action")
	}
	s.NotAction = raw.action.s == "NotAction"
	for _, a := range raw.actions {
		compiled, message := compileAction(a.s)
		if message == "" && p.kind == Trust && !compiled.all && !strings.EqualFold(compiled.service, "sts") {
			message = "AssumeRole policy may only specify STS AssumeRole actions."
		}
		if message != "" {
			return p.fail(a.at, message, "not an action: %q", clip(a.s))
		}
		s.Actions = append(s.Actions, a.s)
		s.actions = append(s.actions, compiled)
	}
	return nil
}

func (p *parser) buildResources(raw *rawStatement, s *Statement) error {
	if raw.resource == nil {
		if p.kind != Trust {
			return p.fail(raw.at, msgResources, "no Resource")
		}
		return nil
	}
	if p.kind == Trust {
		return p.fail(raw.resource.at, "Has prohibited field "+raw.resource.s, "%s is not allowed in a trust policy", raw.resource.s)
	}
	s.NotResource = raw.resource.s == "NotResource"
	for _, r := range raw.resources {
		pattern, message := newResourcePattern(r.s, p.vars)
		// A pattern of fewer than six segments without a star at its end matches
		// nothing (§3). Where that makes the statement do less than its author meant
		// in the dangerous direction, it is refused.
		if message == "" && pattern.never && (s.Effect == Deny) != s.NotResource {
			message = msgLegacy
		}
		if message != "" {
			return p.fail(r.at, message, "not a resource: %q", clip(r.s))
		}
		s.Resources = append(s.Resources, pattern)
	}
	return nil
}

func isAlnum(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
