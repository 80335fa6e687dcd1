package policy

import (
	"strings"

	"github.com/leadglass/leadglass/identity/arn"
)

// A Form is what a principal of a statement names (§2).
type Form uint8

// The forms of principals.
const (
	FormEveryone      Form = iota + 1 // *
	FormAccount                       // account number or root ARN
	FormUser                          // user ARN
	FormRole                          // role ARN: every session of the role
	FormRoleSession                   // arn:aws:sts::acct:assumed-role/name/session
	FormFederatedUser                 // arn:aws:sts::acct:federated-user/name
	FormService                       // s3.amazonaws.com
	FormProvider                      // OIDC or SAML provider
	FormCanonicalUser                 // an account by S3's canonical id
)

// A PrincipalRef is one principal that a statement names.
type PrincipalRef struct {
	Type    string // "AWS", "Service", "Federated", "CanonicalUser"; "*" for the bare star
	Value   string // as written
	Form    Form
	Account string // of AWS forms but the star
	ID      string // unique id, when Bound
	Bound   bool   // the id matches instead of the ARN; see Document.Bind
}

// ParsePrincipal reads one principal of a kind ("AWS", "Service", "Federated",
// "CanonicalUser"), false if it is none of §2's forms. No form has wildcards inside.
func ParsePrincipal(kind, value string) (PrincipalRef, bool) {
	p := PrincipalRef{Type: kind, Value: value}
	switch kind {
	case "AWS":
		return p, p.aws()
	case "Service":
		p.Form = FormService
		return p, isHost(value)
	case "Federated":
		p.Form = FormProvider
		if a, err := arn.Parse(value); err == nil {
			p.Account = a.Account
			kind, name := a.Split()
			return p, a.Service == "iam" && a.Region == "" && arn.IsAccount(a.Account) &&
				(kind == "oidc-provider" || kind == "saml-provider") && name != "" && !wild(value)
		}
		return p, isHost(value)
	case "CanonicalUser":
		p.Form = FormCanonicalUser
		return p, isCanonicalID(value)
	}
	return p, false
}

func (p *PrincipalRef) aws() bool {
	if p.Value == "*" {
		p.Form = FormEveryone
		return true
	}
	if arn.IsAccount(p.Value) {
		p.Form, p.Account = FormAccount, p.Value
		return true
	}
	a, err := arn.Parse(p.Value)
	if err != nil || wild(p.Value) || a.Region != "" || !arn.IsAccount(a.Account) || !isPartition(a.Partition) {
		return false
	}
	p.Account = a.Account
	kind, name := a.Split()
	switch {
	case a.Service == "iam" && a.Resource == "root":
		p.Form = FormAccount
		return true
	case a.Service == "iam" && kind == "user":
		p.Form = FormUser
	case a.Service == "iam" && kind == "role":
		p.Form = FormRole
	case a.Service == "sts" && kind == "assumed-role":
		p.Form = FormRoleSession
		role, session, _ := strings.Cut(name, "/")
		return role != "" && session != "" && !strings.Contains(session, "/")
	case a.Service == "sts" && kind == "federated-user":
		p.Form = FormFederatedUser
	default:
		return false
	}
	return name != "" && !strings.HasSuffix(name, "/")
}

func wild(s string) bool { return strings.ContainsAny(s, "*?$") }

func isPartition(s string) bool {
	return s == "aws" || s == "aws-cn" || s == "aws-us-gov" || strings.HasPrefix(s, "aws-iso")
}

// isHost accepts the names of services and of public identity providers: dotted, lower-case.
func isHost(s string) bool {
	dots := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.':
			if i == 0 || i == len(s)-1 || s[i-1] == '.' {
				return false
			}
			dots++
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-':
		default:
			return false
		}
	}
	return dots > 0
}

func isCanonicalID(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return false
		}
	}
	return true
}
