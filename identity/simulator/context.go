package simulator

import (
	"encoding/base64"
	"net/netip"
	"strings"

	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/policy"
)

// An Entry is one condition key that the simulation gives: ContextEntry.
type Entry struct {
	Key    string
	Values []string
	Type   string // string, numeric, boolean, ip, binary, date, or one of these with List; "": stringList
}

// keys are the condition keys of the call. Those that follow from the caller come first, entries win
// over them: who simulates may try another user name or tag.
func (s *Simulation) keys() (*authz.Keys, error) {
	k := new(authz.Keys)
	p := &s.Caller
	set := func(name, value string) {
		if value != "" {
			k.Set(name, value)
		}
	}
	set("aws:PrincipalAccount", p.Account)
	set("aws:userid", s.UserID)
	k.Set("aws:PrincipalIsAWSService", "false")
	k.Set("aws:ViaAWSService", "false")
	if p.ARN != "" {
		switch p.Type {
		case authz.AssumedRole:
			k.Set("aws:PrincipalType", "AssumedRole")
			k.Set("aws:PrincipalArn", p.RoleARN)
		case authz.User:
			k.Set("aws:PrincipalType", "User")
			k.Set("aws:PrincipalArn", p.ARN)
			if a, err := arn.Parse(p.ARN); err == nil {
				_, name := a.Split()
				set("aws:username", name[strings.LastIndexByte(name, '/')+1:])
			}
		}
	}
	for key, value := range s.Tags {
		k.Set("aws:PrincipalTag/"+key, value)
	}
	if l := &s.Limits; l.Organization != "" {
		k.Set("aws:PrincipalOrgID", l.Organization)
		k.Set("aws:PrincipalOrgPaths", l.Path)
	}
	seen := make(map[string]bool, len(s.Context))
	for i, e := range s.Context {
		if err := e.check(i + 1); err != nil {
			return nil, err
		}
		if seen[strings.ToLower(e.Key)] {
			return nil, refuse("ContextEntries.%d: the context key %s is given twice.", i+1, clip(e.Key))
		}
		seen[strings.ToLower(e.Key)] = true
		replace(k, e)
	}
	return k, nil
}

// override puts entries in the place of what follows from the resource.
func (s *Simulation) override(k *authz.Keys) error {
	for _, e := range s.Context {
		if _, ok := k.Get(e.Key); ok {
			replace(k, e)
		}
	}
	return nil
}

// replace sets a key, whatever the spelling under which it stood before: two spellings of a tag would
// be a conflict, not a replacement.
func replace(k *authz.Keys, e Entry) {
	for name := range k.All() {
		if strings.EqualFold(name, e.Key) {
			k.Set(name, e.Values...)
			return
		}
	}
	k.Set(e.Key, e.Values...)
}

// check refuses values that are not of the type they are said to be: the answer would be one
// about another request than its author means.
func (e Entry) check(n int) error {
	if vendor, name, ok := strings.Cut(e.Key, ":"); !ok || vendor == "" || name == "" {
		return refuse("ContextEntries.%d: %s is not a valid context key name.", n, clip(e.Key))
	}
	kind, list := strings.CutSuffix(e.Type, "List")
	if e.Type == "" {
		kind, list = "string", true
	}
	if !list && len(e.Values) != 1 {
		return refuse("ContextEntries.%d: the context key type %s takes one value.", n, e.Type)
	}
	var ok func(string) bool
	switch kind {
	case "string":
		return nil
	case "numeric":
		ok = func(v string) bool { return parses("NumericEquals", v) }
	case "date":
		ok = func(v string) bool { return parses("DateEquals", v) }
	case "boolean":
		ok = func(v string) bool { return strings.EqualFold(v, "true") || strings.EqualFold(v, "false") }
	case "ip":
		ok = func(v string) bool { _, err := netip.ParseAddr(v); return err == nil }
	case "binary":
		ok = func(v string) bool { _, err := base64.StdEncoding.DecodeString(v); return err == nil }
	default:
		return refuse("ContextEntries.%d: %s is not a valid context key type.", n, clip(e.Type))
	}
	for _, v := range e.Values {
		if !ok(v) {
			return refuse("ContextEntries.%d: %s is not a valid value of type %s.", n, clip(v), kind)
		}
	}
	return nil
}

// parses asks the policy language itself whether an operator can compare a value.
func parses(operator, value string) bool {
	return policy.Comparable(operator, value)
}

// Scenarios of EC2: the resources that a launch needs, by the first word of the ARN's resource
// (https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulateCustomPolicy.html).
var scenarios = map[string][]string{
	"EC2-Classic-InstanceStore":    {"instance", "image", "security-group"},
	"EC2-Classic-EBS":              {"instance", "image", "security-group", "volume"},
	"EC2-VPC-InstanceStore":        {"instance", "image", "security-group", "network-interface"},
	"EC2-VPC-InstanceStore-Subnet": {"instance", "image", "security-group", "network-interface", "subnet"},
	"EC2-VPC-EBS":                  {"instance", "image", "security-group", "network-interface", "volume"},
	"EC2-VPC-EBS-Subnet":           {"instance", "image", "security-group", "network-interface", "subnet", "volume"},
}

// scenario checks that all resources are there that the scenario needs: all of them must be
// allowed, so a missing one would make the answer too good.
func (s *Simulation) scenario() error {
	if s.Scenario == "" {
		return nil
	}
	needed, ok := scenarios[s.Scenario]
	if !ok {
		return refuse("%s is not a valid resource handling option.", clip(s.Scenario))
	}
	for _, kind := range needed {
		found := false
		for _, r := range s.Resources {
			a, err := arn.Parse(r)
			word, _ := a.Split()
			found = found || err == nil && a.Service == "ec2" && word == kind
		}
		if !found {
			return refuse("The resource handling option %s needs a resource of type %s.", s.Scenario, kind)
		}
	}
	return nil
}
