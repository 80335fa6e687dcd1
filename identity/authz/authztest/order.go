package authztest

import (
	"slices"
	"strings"
)

// refKinds are the match kinds of §2, as words.
func (w *refWorld) refKinds(s map[string]any, bound bool) []string {
	p := w.p
	listed := func(element string) (all [][2]string) {
		switch v := s[element].(type) {
		case string:
			all = append(all, [2]string{"AWS", v})
		case map[string]any:
			for kind, values := range v {
				for _, x := range refStrings(values) {
					all = append(all, [2]string{kind, x})
				}
			}
		}
		return all
	}
	var kinds []string
	// by says whether a listed user or role is the caller: by the id, where the name is stored as one.
	by := func(v, arn string) bool {
		if id, ok := w.bound[v]; ok && bound {
			return id != "" && id == p.id
		}
		return arn != "" && v == arn
	}
	one := func(kind, v string) {
		root := "arn:aws:iam::" + p.account + ":root"
		switch {
		case kind == "AWS" && v == "*":
			kinds = append(kinds, "any")
		case kind == "AWS" && p.account != "" && (v == p.account || v == root):
			if p.kind == "root" {
				kinds = append(kinds, "direct")
			} else {
				kinds = append(kinds, "account")
			}
		case kind == "CanonicalUser" && p.canonical != "" && v == p.canonical:
			if p.kind == "root" {
				kinds = append(kinds, "direct")
			} else {
				kinds = append(kinds, "account")
			}
		case kind == "AWS" && strings.Contains(v, ":user/"):
			switch {
			case p.kind == "user" && by(v, p.arn):
				kinds = append(kinds, "direct")
			case p.kind == "federated-user" && by(v, p.userARN):
				kinds = append(kinds, "role")
			}
		case kind == "AWS" && strings.Contains(v, ":role/"):
			if p.kind == "assumed-role" && by(v, p.roleARN) {
				kinds = append(kinds, "role")
			}
		case kind == "AWS" && v == p.arn && (p.kind == "assumed-role" || p.kind == "federated-user"):
			kinds = append(kinds, "direct")
		case kind == "Service" && p.kind == "service" && v == p.arn:
			kinds = append(kinds, "direct")
		case kind == "Federated" && p.kind == "web-identity" && v == p.provider:
			kinds = append(kinds, "direct")
		}
	}
	if s["NotPrincipal"] != nil {
		if p.kind == "anonymous" || w.boundary != nil {
			return []string{"any"}
		}
		for _, l := range listed("NotPrincipal") {
			one(l[0], l[1])
		}
		exempt := slices.Contains(kinds, "direct")
		if p.kind == "assumed-role" {
			exempt = exempt && slices.Contains(kinds, "role")
		}
		if p.account != "" && p.kind != "root" {
			exempt = exempt && slices.Contains(kinds, "account")
		}
		if exempt {
			return nil
		}
		return []string{"any"}
	}
	if s["Principal"] == nil {
		return []string{"direct"}
	}
	for _, l := range listed("Principal") {
		one(l[0], l[1])
	}
	return kinds
}

// refSays gives the kinds of the matching statements of an effect.
func (w *refWorld) refSays(d refDoc, effect string) (kinds []string) {
	if d == nil {
		return nil
	}
	vars := d["Version"] == "2012-10-17"
	for _, x := range refList(d["Statement"]) {
		s := x.(map[string]any)
		if s["Effect"] != effect {
			continue
		}
		matched := false
		for _, a := range refStrings(s["Action"]) {
			matched = matched || refAction(a, w.action)
		}
		if s["NotAction"] != nil {
			matched = true
			for _, a := range refStrings(s["NotAction"]) {
				matched = matched && !refAction(a, w.action)
			}
		}
		if matched && w.refResource(s, vars) && w.refConditions(s, vars) {
			kinds = append(kinds, w.refKinds(s, d["bound"] == true)...)
		}
	}
	return kinds
}

func (w *refWorld) refAny(docs []refDoc, effect string) bool {
	for _, d := range docs {
		if len(w.refSays(d, effect)) > 0 {
			return true
		}
	}
	return false
}

func (w *refWorld) refGrant() (granted, delegated bool) {
	operation, isKMS := strings.CutPrefix(strings.ToLower(w.action), "kms:")
	for _, g := range w.grants {
		named := false
		for _, o := range g.operations {
			named = named || strings.ToLower(o) == operation
		}
		if !isKMS || !named || !w.refConstraints(g, operation) {
			continue
		}
		switch {
		case g.id != "":
			granted = granted || g.id == w.p.id
		case g.grantee == w.p.arn, w.p.kind == "assumed-role" && g.grantee == w.p.roleARN,
			w.p.kind == "federated-user" && g.grantee == w.p.userARN:
			granted = true
		case g.grantee == "arn:aws:iam::"+w.p.account+":root":
			delegated = true
		}
	}
	return granted, delegated
}

func (w *refWorld) refConstraints(g refGrant, operation string) bool {
	if operation == "describekey" || operation == "retiregrant" || operation == "getpublickey" {
		return true
	}
	context := map[string][]string{}
	for name, v := range w.context {
		if key, ok := strings.CutPrefix(strings.ToLower(name), "kms:encryptioncontext:"); ok {
			context[key] = append(context[key], v...)
		}
	}
	holds := func(pairs map[string]string) bool {
		for k, v := range pairs {
			if got := context[strings.ToLower(k)]; len(got) != 1 || got[0] != v {
				return false
			}
		}
		return true
	}
	if !holds(g.subset) || !holds(g.equals) {
		return false
	}
	return g.equals == nil || len(context) == len(g.equals)
}

// refDecide is the algorithm of §5.
func (w *refWorld) refDecide() (decision, by string) {
	p := w.p
	callerHasAccount := p.kind != "anonymous" && p.kind != "service" && p.kind != "web-identity"
	same := p.account != "" && p.account == w.owner
	lower := strings.ToLower(w.action)

	if lower == "sts:getcalleridentity" && p.kind != "anonymous" {
		if w.endpoint != nil && len(w.refSays(w.endpoint, "Deny")) > 0 {
			return "explicit_deny", "vpce"
		}
		if w.endpoint != nil && len(w.refSays(w.endpoint, "Allow")) == 0 {
			return "implicit_deny", "vpce"
		}
		if p.kind == "root" {
			return "allow", "root"
		}
		return "allow", "identity"
	}

	scps, rcps := w.scps, w.rcps
	if !callerHasAccount || p.management || p.serviceLinked {
		scps = nil
	}
	if w.ownerIsManagement || p.serviceLinked {
		rcps = nil
	}
	for _, level := range scps {
		if w.refAny(level, "Deny") {
			return "explicit_deny", "scp"
		}
	}
	for _, level := range rcps {
		if w.refAny(level, "Deny") {
			return "explicit_deny", "rcp"
		}
	}
	if w.refAny([]refDoc{w.endpoint}, "Deny") {
		return "explicit_deny", "vpce"
	}
	repair := p.kind == "root" && same && (lower == "s3:getbucketpolicy" || lower == "s3:putbucketpolicy" || lower == "s3:deletebucketpolicy")
	if !repair && w.refAny([]refDoc{w.resourcePolicy}, "Deny") {
		return "explicit_deny", "resource"
	}
	if w.refAny(w.identity, "Deny") {
		return "explicit_deny", "identity"
	}
	if w.refAny([]refDoc{w.boundary}, "Deny") {
		return "explicit_deny", "boundary"
	}
	if w.refAny(w.session, "Deny") {
		return "explicit_deny", "session"
	}
	for _, level := range rcps {
		if !w.refAny(level, "Allow") {
			return "implicit_deny", "rcp"
		}
	}
	for _, level := range scps {
		if !w.refAny(level, "Allow") {
			return "implicit_deny", "scp"
		}
	}
	if w.endpoint != nil && !w.refAny([]refDoc{w.endpoint}, "Allow") {
		return "implicit_deny", "vpce"
	}
	k := w.refSays(w.resourcePolicy, "Allow")
	if !callerHasAccount {
		if len(k) > 0 {
			return "allow", "resource"
		}
		return "implicit_deny", "resource"
	}
	// What assuming a role with tags or a source identity asks for beside it.
	besides := lower == "sts:tagsession" || lower == "sts:setsourceidentity"
	if p.temporary {
		mfa := w.values("aws:MultiFactorAuthPresent")
		withMFA := len(mfa) == 1 && strings.ToLower(mfa[0]) == "true"
		if strings.HasPrefix(lower, "sts:") && lower != "sts:assumerole" && !besides || strings.HasPrefix(lower, "iam:") && !withMFA {
			return "implicit_deny", "session"
		}
	}
	i := w.refAny(w.identity, "Allow")
	b := w.boundary == nil || w.refAny([]refDoc{w.boundary}, "Allow")
	s := !w.sessionPassed && p.kind != "federated-user" || w.refAny(w.session, "Allow")
	if p.kind == "root" {
		i, b = true, true
	}
	granted, delegated := w.refGrant()
	if delegated {
		k = append(k, "account")
	}
	limits := func(by string) (string, string) {
		switch {
		case !b:
			return "implicit_deny", "boundary"
		case !s:
			return "implicit_deny", "session"
		}
		return "allow", by
	}
	if !same {
		switch {
		case len(k) == 0 && !granted:
			return "implicit_deny", "resource"
		case !i:
			return "implicit_deny", "identity"
		case len(k) == 0:
			return limits("grant")
		}
		return limits("identity+resource")
	}
	isKey := strings.Count(w.resource, ":") >= 5 && strings.HasPrefix(strings.SplitN(w.resource, ":", 6)[5], "key/")
	strict := strings.HasPrefix(lower, "sts:assumerole") || besides && w.resourcePolicy != nil ||
		strings.HasPrefix(lower, "kms:") && (isKey || w.resourcePolicy != nil || len(w.grants) > 0)
	switch {
	case p.kind == "root" && !s: // a session for a task, limited whatever names the root
		return "implicit_deny", "session"
	case slices.Contains(k, "direct") || slices.Contains(k, "any"):
		return "allow", "resource"
	case p.kind == "root" && (!strict || slices.Contains(k, "account")):
		return "allow", "root"
	case granted:
		return limits("grant")
	case slices.Contains(k, "role"):
		return limits("resource")
	case strict && !slices.Contains(k, "account"):
		return "implicit_deny", "resource"
	case !i:
		return "implicit_deny", "identity"
	}
	return limits("identity")
}
