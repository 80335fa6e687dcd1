package sigv4

import (
	"encoding/base64"
	"encoding/json"
	"strings"
)

// maxPolicy is what S3 takes of a form before the file, all fields together.
const maxPolicy = 20 << 10

// ParsePost reads the authentication data of a form upload to S3 (section 1):
// steps 1 and 2 of section 7. fields are the form's, under their names as
// sent, without the file; names are compared without regard to case.
//
// The signature covers the policy and nothing else, so a field means something
// only if the policy has a condition for it: S3 checks that for all of them.
// With SigV4A not even the key is bound to day and service, therefore here the
// fields of the signature itself must be conditions or the form is refused.
func ParsePost(fields map[string][]string) (*Parsed, error) {
	var f struct{ algorithm, credential, date, policy, signature, token, regions string }
	some, v2 := false, false
	for name, values := range fields {
		var dst *string
		switch strings.ToLower(name) {
		case "x-amz-algorithm":
			dst = &f.algorithm
		case "x-amz-credential":
			dst = &f.credential
		case "x-amz-date":
			dst = &f.date
		case "policy":
			dst = &f.policy
		case "x-amz-signature":
			dst = &f.signature
		case "x-amz-security-token":
			dst = &f.token
		case "x-amz-region-set":
			dst = &f.regions
		case "awsaccesskeyid", "signature":
			v2 = true
			continue
		default:
			continue
		}
		if len(values) != 1 || *dst != "" {
			return nil, refuse(PostMalformed, "POST requires exactly one field named '"+strings.ToLower(name)+"'.")
		}
		*dst, some = values[0], true
	}
	switch {
	case v2:
		return nil, checkAlgorithm("")
	case !some:
		return nil, refuse(NoCredentials, "Access Denied")
	}
	for _, need := range [...]struct{ name, value string }{
		{"policy", f.policy}, {"x-amz-algorithm", f.algorithm}, {"x-amz-credential", f.credential},
		{"x-amz-date", f.date}, {"x-amz-signature", f.signature},
	} {
		if need.value == "" {
			return nil, refuse(PostMalformed, "Bucket POST must contain a field named '"+need.name+"'.  If it is specified, please check the order of the fields.")
		}
	}
	if err := checkAlgorithm(f.algorithm); err != nil {
		return nil, err
	}
	p := &Parsed{Algorithm: f.algorithm, Post: true, Policy: f.policy, SessionToken: f.token}
	if !p.setCredential(f.credential) {
		return nil, refuse(PostMalformed, "Error parsing the x-amz-credential field; the Credential is mal-formed; expecting \""+credentialForm(f.algorithm)+"\".")
	}
	if p.setSignature(f.signature); p.badSignature {
		return nil, refuse(PostMalformed, signatureForm("x-amz-signature", f.algorithm))
	}
	var ok bool
	if p.Time, ok = parseTime(f.date); !ok {
		return nil, refuse(PostMalformed, "x-amz-date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
	}
	policy, ok := decodePolicy(f.policy)
	if !ok {
		return nil, refuse(PostMalformed, "Invalid Policy: Invalid Base64 encoding.")
	}
	if !p.Asymmetric() {
		return p, nil
	}
	if p.RegionSet = f.regions; f.regions == "" || len(f.regions) > maxRegionSet {
		return nil, refuse(PostMalformed, "AWS4-ECDSA-P256-SHA256 requires a valid field named 'x-amz-region-set'.")
	}
	conditions := equalities(policy)
	for name, value := range map[string]string{
		"x-amz-algorithm": f.algorithm, "x-amz-credential": f.credential, "x-amz-date": f.date, "x-amz-region-set": f.regions,
	} {
		if got, ok := conditions[name]; !ok || got != value {
			return nil, refuse(PostMalformed, "Invalid according to Policy: Policy Condition failed: [\"eq\", \"$"+name+"\"]")
		}
	}
	return p, nil
}

// decodePolicy decodes base64 that has one encoding only. The authority relies
// on the alphabet: no text in it is also a string to sign of a request.
func decodePolicy(s string) ([]byte, bool) {
	if len(s) > maxPolicy || strings.ContainsAny(s, "\r\n") { // which the decoder would skip
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return b, err == nil
}

// equalities are the conditions of a policy that demand one value of a field:
// {"name": "value"} and ["eq", "$name", "value"]. What is malformed is none.
func equalities(policy []byte) map[string]string {
	var doc struct {
		Conditions []json.RawMessage `json:"conditions"`
	}
	out := map[string]string{}
	if json.Unmarshal(policy, &doc) != nil {
		return out
	}
	for _, c := range doc.Conditions {
		var object map[string]string
		var list []string
		switch {
		case json.Unmarshal(c, &object) == nil:
			for name, value := range object {
				out[strings.ToLower(name)] = value
			}
		case json.Unmarshal(c, &list) == nil && len(list) == 3 && strings.EqualFold(list[0], "eq"):
			if name, ok := strings.CutPrefix(list[1], "$"); ok {
				out[strings.ToLower(name)] = list[2]
			}
		}
	}
	return out
}
