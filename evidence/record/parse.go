package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrMalformed is wrapped by every error of Parse and of the parsers of the
// byte formats.
var ErrMalformed = errors.New("record: malformed")

// maxJSON is the longest record that Parse reads: the sum of all limits fits
// in half of it.
const maxJSON = 1 << 20

// Parse reads one record. It is tolerant as readers must be: members that it
// does not know are kept in Unknown, members may be missing, and null counts
// as missing. Validate says whether the record has what section 3 requires.
func Parse(data []byte) (*Record, error) {
	if len(data) > maxJSON {
		return nil, fmt.Errorf("%w: %d bytes are too long", ErrMalformed, len(data))
	}
	members, err := objectMembers(data)
	if err != nil {
		return nil, err
	}
	r := new(Record)
	d := decoder{}
	var category, eventType, version string
	for _, m := range members {
		switch m.Name {
		case "eventVersion":
			d.text(m, &version)
		case "userIdentity":
			d.identity(m, &r.UserIdentity)
		case "eventTime":
			d.time(m, &r.EventTime)
		case "eventSource":
			d.text(m, &r.EventSource)
		case "eventName":
			d.text(m, &r.EventName)
		case "awsRegion":
			d.text(m, &r.AWSRegion)
		case "sourceIPAddress":
			d.text(m, &r.SourceIPAddress)
		case "userAgent":
			d.text(m, &r.UserAgent)
		case "errorCode":
			d.text(m, &r.ErrorCode)
		case "errorMessage":
			d.text(m, &r.ErrorMessage)
		case "requestParameters":
			d.raw(m, &r.RequestParameters)
		case "responseElements":
			d.raw(m, &r.ResponseElements)
		case "additionalEventData":
			d.additional(m, r)
		case "requestID":
			d.text(m, &r.RequestID)
		case "eventID":
			d.text(m, &r.EventID)
		case "readOnly":
			d.flag(m, &r.ReadOnly)
		case "resources":
			d.resources(m, &r.Resources)
		case "eventType":
			d.text(m, &eventType)
		case "apiVersion":
			d.text(m, &r.APIVersion)
		case "managementEvent":
			d.flag(m, &r.ManagementEvent)
		case "recipientAccountId":
			d.text(m, &r.RecipientAccountID)
		case "sharedEventID":
			d.text(m, &r.SharedEventID)
		case "vpcEndpointId":
			d.text(m, &r.VPCEndpointID)
		case "vpcEndpointAccountId":
			d.text(m, &r.VPCEndpointAccount)
		case "eventCategory":
			d.text(m, &category)
		case "serviceEventDetails":
			d.raw(m, &r.ServiceEventDetails)
		case "tlsDetails":
			d.tls(m, r)
		case "sessionCredentialFromConsole":
			// CloudTrail writes the string "true".
			r.ConsoleCredential = strings.Trim(string(m.Value), `"`) == "true"
		default:
			r.Unknown = append(r.Unknown, m)
		}
	}
	if d.err != nil {
		return nil, d.err
	}
	r.EventVersion, r.EventType, r.EventCategory = version, eventType, category
	return r, nil
}

// Validate says what of section 3 a record does not keep: required members
// and the values of the enumerated ones.
func (r *Record) Validate() error {
	var missing []string
	for _, f := range []struct {
		name, value string
	}{
		{"eventVersion", r.EventVersion}, {"userIdentity.type", r.UserIdentity.Type}, {"eventSource", r.EventSource},
		{"eventName", r.EventName}, {"awsRegion", r.AWSRegion}, {"sourceIPAddress", r.SourceIPAddress},
		{"requestID", r.RequestID}, {"eventID", r.EventID}, {"eventType", r.EventType},
		{"recipientAccountId", r.RecipientAccountID}, {"eventCategory", r.EventCategory},
	} {
		if f.value == "" {
			missing = append(missing, f.name)
		}
	}
	if r.EventTime.IsZero() {
		missing = append(missing, "eventTime")
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: no %s", ErrMalformed, strings.Join(missing, ", "))
	}
	if _, err := ParseUUID(r.EventID); err != nil {
		return fmt.Errorf("%w: eventID is no UUID", ErrMalformed)
	}
	switch r.UserIdentity.Type {
	case Root, IAMUser, AssumedRole, FederatedUser, AWSAccount, AWSService, WebIdentityUser, SAMLUser, IdentityCenterUser, UnknownIdentity:
	default:
		return fmt.Errorf("%w: userIdentity.type", ErrMalformed)
	}
	switch r.EventCategory {
	case CategoryManagement, CategoryData, CategoryNetwork:
	default:
		return fmt.Errorf("%w: eventCategory", ErrMalformed)
	}
	return nil
}

// decoder keeps the first error, so that the caller checks once.
type decoder struct{ err error }

func (d *decoder) fail(name string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s has the wrong type", ErrMalformed, name)
	}
}

func isNull(v json.RawMessage) bool { return string(v) == "null" }

func (d *decoder) text(m Field, out *string) {
	if isNull(m.Value) {
		return
	}
	s, err := unquote(m.Value)
	if err != nil {
		d.fail(m.Name)
	}
	*out = s
}

func (d *decoder) flag(m Field, out *bool) {
	switch string(m.Value) {
	case "true":
		*out = true
	case "false", "null":
	default:
		d.fail(m.Name)
	}
}

func (d *decoder) raw(m Field, out *json.RawMessage) {
	if !isNull(m.Value) {
		*out = m.Value
	}
}

func (d *decoder) time(m Field, out *time.Time) {
	var s string
	d.text(m, &s)
	if s == "" {
		return
	}
	t, err := time.Parse("2006-01-02T15:04:05Z", s)
	if err != nil {
		d.fail(m.Name)
		return
	}
	*out = t
}

func (d *decoder) members(m Field) []Field {
	if isNull(m.Value) {
		return nil
	}
	list, err := splitObject(m.Value)
	if err != nil {
		d.fail(m.Name)
	}
	return list
}

func (d *decoder) identity(m Field, u *UserIdentity) {
	for _, f := range d.members(m) {
		switch f.Name {
		case "type":
			d.text(f, &u.Type)
		case "principalId":
			d.text(f, &u.PrincipalID)
		case "arn":
			d.text(f, &u.ARN)
		case "accountId":
			d.text(f, &u.AccountID)
		case "accessKeyId":
			d.text(f, &u.AccessKeyID)
		case "userName":
			d.text(f, &u.UserName)
		case "sessionContext":
			d.session(f, u)
		case "invokedBy":
			d.text(f, &u.InvokedBy)
		case "inScopeOf":
			d.raw(f, &u.InScopeOf)
		case "identityProvider":
			d.text(f, &u.IdentityProvider)
		default:
			u.Unknown = append(u.Unknown, f)
		}
	}
}

func (d *decoder) session(m Field, u *UserIdentity) {
	if isNull(m.Value) {
		return
	}
	s := new(SessionContext)
	u.Session = s
	for _, f := range d.members(m) {
		switch f.Name {
		case "sessionIssuer":
			s.Issuer = new(SessionIssuer)
			for _, g := range d.members(f) {
				switch g.Name {
				case "type":
					d.text(g, &s.Issuer.Type)
				case "principalId":
					d.text(g, &s.Issuer.PrincipalID)
				case "arn":
					d.text(g, &s.Issuer.ARN)
				case "accountId":
					d.text(g, &s.Issuer.AccountID)
				case "userName":
					d.text(g, &s.Issuer.UserName)
				default:
					s.Issuer.Unknown = append(s.Issuer.Unknown, g)
				}
			}
		case "webIdFederationData":
			d.raw(f, &s.WebIDFederationData)
		case "attributes":
			for _, g := range d.members(f) {
				switch g.Name {
				case "creationDate":
					d.time(g, &s.CreationDate)
				case "mfaAuthenticated":
					s.MFAAuthenticated = strings.Trim(string(g.Value), `"`) == "true"
				default:
					s.OtherAttributes = append(s.OtherAttributes, g)
				}
			}
		case "sourceIdentity":
			d.text(f, &s.SourceIdentity)
		case "ec2RoleDelivery":
			d.text(f, &s.EC2RoleDelivery)
		default:
			s.Unknown = append(s.Unknown, f)
		}
	}
}

func (d *decoder) resources(m Field, out *[]Resource) {
	if isNull(m.Value) {
		return
	}
	list, err := splitArray(m.Value)
	if err != nil {
		d.fail(m.Name)
		return
	}
	for _, v := range list {
		var r Resource
		for _, f := range d.members(Field{m.Name, v}) {
			switch f.Name {
			case "accountId":
				d.text(f, &r.AccountID)
			case "type":
				d.text(f, &r.Type)
			case "ARN":
				d.text(f, &r.ARN)
			default:
				r.Unknown = append(r.Unknown, f)
			}
		}
		*out = append(*out, r)
	}
}

func (d *decoder) tls(m Field, r *Record) {
	if isNull(m.Value) {
		return
	}
	r.TLS = new(TLSDetails)
	for _, f := range d.members(m) {
		switch f.Name {
		case "tlsVersion":
			d.text(f, &r.TLS.Version)
		case "cipherSuite":
			d.text(f, &r.TLS.CipherSuite)
		case "clientProvidedHostHeader":
			d.text(f, &r.TLS.ClientHost)
		case "keyExchange":
			d.text(f, &r.TLS.KeyExchange)
		default:
			r.TLS.Unknown = append(r.TLS.Unknown, f)
		}
	}
}

// additional takes the leadglass member out of additionalEventData and keeps
// the rest as it was.
func (d *decoder) additional(m Field, r *Record) {
	rest := []byte(nil)
	for _, f := range d.members(m) {
		if f.Name != "leadglass" {
			rest = appendUnknown(rest, []Field{f})
			continue
		}
		r.Leadglass = new(Extension)
		d.extension(f, r.Leadglass)
	}
	if rest != nil {
		r.AdditionalEventData = closeObject(rest, 0)
	} else if !isNull(m.Value) && r.Leadglass == nil {
		r.AdditionalEventData = json.RawMessage("{}")
	}
}

func (d *decoder) extension(m Field, e *Extension) {
	for _, f := range d.members(m) {
		switch f.Name {
		case "contingentAuthorizationId":
			d.text(f, &e.ContingentAuthorizationID)
		case "parentEventId":
			d.text(f, &e.ParentEventID)
		case "fasChain":
			if !isNull(f.Value) && json.Unmarshal(f.Value, &e.FASChain) != nil {
				d.fail(f.Name)
			}
		case "fasDigest":
			d.text(f, &e.FASDigest)
		case "custody":
			d.raw(f, &e.Custody)
		case "enclave":
			e.Enclave = new(Enclave)
			for _, g := range d.members(f) {
				switch g.Name {
				case "pcr0":
					d.text(g, &e.Enclave.PCR0)
				case "moduleId":
					d.text(g, &e.Enclave.ModuleID)
				}
			}
		case "policyDecision":
			d.raw(f, &e.Decision)
		default:
			e.Unknown = append(e.Unknown, f)
		}
	}
}

// objectMembers splits a JSON object into its members in their order. The
// whole text is checked first, so that the split may trust its shape.
func objectMembers(data []byte) ([]Field, error) {
	if !json.Valid(data) {
		return nil, fmt.Errorf("%w: no JSON", ErrMalformed)
	}
	return splitObject(data)
}

// splitObject splits an object within JSON that is known to be valid; values
// point into it. A reader of many events spends its time here, so it does not
// go through encoding/json's tokens.
func splitObject(data []byte) ([]Field, error) {
	i := space(data, 0)
	if data[i] != '{' {
		return nil, fmt.Errorf("%w: no JSON object", ErrMalformed)
	}
	list := make([]Field, 0, 16)
	var seen map[string]bool // of large objects; small ones are searched
	for i = space(data, i+1); data[i] != '}'; {
		end := value(data, i)
		name, err := unquote(data[i:end])
		if err != nil {
			return nil, err
		}
		// Two members of one name would be read differently by different readers.
		if len(list) == 32 {
			seen = make(map[string]bool, 64)
			for _, f := range list {
				seen[f.Name] = true
			}
		}
		twice := seen[name]
		if seen == nil {
			twice = slices.ContainsFunc(list, func(f Field) bool { return f.Name == name })
		} else {
			seen[name] = true
		}
		if twice {
			return nil, fmt.Errorf("%w: a member occurs twice", ErrMalformed)
		}
		i = space(data, space(data, end)+1) // behind the colon
		end = value(data, i)
		list = append(list, Field{name, json.RawMessage(data[i:end:end])})
		if i = space(data, end); data[i] == ',' {
			i = space(data, i+1)
		}
	}
	return list, nil
}

// splitArray splits an array within valid JSON.
func splitArray(data []byte) ([]json.RawMessage, error) {
	i := space(data, 0)
	if data[i] != '[' {
		return nil, fmt.Errorf("%w: no JSON array", ErrMalformed)
	}
	var list []json.RawMessage
	for i = space(data, i+1); data[i] != ']'; {
		end := value(data, i)
		list = append(list, json.RawMessage(data[i:end:end]))
		if i = space(data, end); data[i] == ',' {
			i = space(data, i+1)
		}
	}
	return list, nil
}

// space is the first index from i on that is no white space.
func space(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\t' || data[i] == '\n' || data[i] == '\r') {
		i++
	}
	return i
}

// value is the index behind the value that begins at i, in valid JSON.
func value(data []byte, i int) int {
	depth := 0
	for ; i < len(data); i++ {
		switch data[i] {
		case '"':
			for i++; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
			if depth < 0 {
				return i // a number or word that ends with its container
			}
		case ',', ':', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
		}
	}
	return i
}

// unquote reads a JSON string; most need no decoding.
func unquote(v []byte) (string, error) {
	if len(v) < 2 || v[0] != '"' {
		return "", fmt.Errorf("%w: no text", ErrMalformed)
	}
	if inner := v[1 : len(v)-1]; bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner), nil
	}
	var s string
	if err := json.Unmarshal(v, &s); err != nil {
		return "", fmt.Errorf("%w: text", ErrMalformed)
	}
	return s, nil
}
