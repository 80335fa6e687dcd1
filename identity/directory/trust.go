package directory

import (
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
	return policy.RenamePrincipals(text, renamed)
}
