package directory

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/leadglass/leadglass/identity/policy"
)

// checkTrust refuses a trust policy that the language refuses, that is too
// large, or that names somebody who does not exist, and returns the unique ids
// of the users and roles that it names.
func (d *Directory) checkTrust(text string) (bound map[string]string, err error) {
	doc, err := d.checkDocument(policy.Trust, text)
	if err != nil {
		return nil, err
	}
	if policy.Size([]byte(text)) > d.quotas.TrustPolicy {
		return nil, refuse(LimitExceeded, "Cannot exceed quota for ACLSizePerRole: %d", d.quotas.TrustPolicy)
	}
	return d.BindPrincipals(doc)
}

// BindPrincipals finds the unique ids of the users and roles that a resource
// or trust policy names, for policy.Document.Bind, and refuses a document that
// names an AWS principal that does not exist: it could come to mean somebody
// whom its author never knew.
func (d *Directory) BindPrincipals(doc *policy.Document) (map[string]string, error) {
	bound := make(map[string]string)
	for _, p := range doc.Principals() {
		if p.Type != "AWS" || p.Form == policy.FormEveryone {
			continue
		}
		id, ok := d.ResolvePrincipal(p.Value)
		if !ok {
			return nil, refuse(MalformedPolicyDocument, "Invalid principal in policy: %q:%q", p.Type, p.Value)
		}
		if id != "" {
			bound[p.Value] = id
		}
	}
	return bound, nil
}

// showTrust puts into the trust policy what its bound principals are called
// now: their present ARN, or the bare unique id of one that was deleted.
func (d *Directory) showTrust(role *Role) {
	role.TrustPolicy = d.ShowPrincipals(role.TrustPolicy, role.bound)
	role.bound = nil
}

// ShowPrincipals is the text of a resource or trust policy as it is shown:
// principals that were bound to a unique id appear by the ARN that the id has
// now, or as the bare id when it belongs to nobody any more.
func (d *Directory) ShowPrincipals(text string, bound map[string]string) string {
	renamed := make(map[string]string)
	for was, id := range bound {
		now, ok := d.PrincipalARN(id)
		if !ok {
			now = id
		}
		if now != was {
			renamed[was] = now
		}
	}
	if len(renamed) == 0 {
		return text
	}
	return replacePrincipals(text, renamed)
}

// replacePrincipals replaces strings inside the Principal and NotPrincipal
// elements of a policy and leaves every other byte alone: conditions may hold
// the same ARN as plain text, which means something else.
func replacePrincipals(text string, renamed map[string]string) string {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var out bytes.Buffer
	var path []string // names of the objects' members that lead here; "" for array elements
	type level struct {
		object, value bool // in an object; the next string is a member's value
	}
	var levels []level
	copied := 0
	for {
		before := int(dec.InputOffset())
		tok, err := dec.Token()
		if err != nil {
			break // the end: the document was parsed before it was stored
		}
		top := len(levels) - 1
		switch v := tok.(type) {
		case json.Delim:
			if v == '{' || v == '[' {
				levels = append(levels, level{object: v == '{'})
				path = append(path, "")
				continue
			}
			levels, path = levels[:top], path[:top]
		case string:
			if top >= 0 && levels[top].object && !levels[top].value {
				path[top], levels[top].value = v, true
				continue
			}
			if now, ok := renamed[v]; ok && inPrincipal(path) {
				// The token ends at InputOffset; its start follows blanks, a colon or a comma.
				end := int(dec.InputOffset())
				start := before + strings.IndexByte(text[before:end], '"')
				out.WriteString(text[copied:start])
				quoted, _ := json.Marshal(now) // an ARN or id: always encodes
				out.Write(quoted)
				copied = end
			}
		}
		if top = len(levels) - 1; top >= 0 {
			levels[top].value = false
		}
	}
	out.WriteString(text[copied:])
	return out.String()
}

// inPrincipal says whether path leads into Statement.Principal.
func inPrincipal(path []string) bool {
	members := slices.DeleteFunc(slices.Clone(path), func(s string) bool { return s == "" })
	return len(members) >= 2 && members[0] == "Statement" && (members[1] == "Principal" || members[1] == "NotPrincipal")
}
