package record

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/leadglass/leadglass/base/canon"
)

// Limits of section 3, in bytes of the written JSON value.
const (
	maxText       = 1 << 10   // userAgent, errorCode, errorMessage
	maxObject     = 100 << 10 // requestParameters, responseElements, serviceEventDetails
	maxAdditional = 28 << 10  // additionalEventData, the leadglass member included
	maxName       = 2 << 10   // every other single string
	maxResources  = 1000
)

// AppendJSON writes the record in one line with a fixed order of members. It
// uses no reflection: it runs once for every call that the gate answers.
func (r *Record) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"eventVersion":`...)
	dst = appendString(dst, or(r.EventVersion, Version), maxName)
	dst = append(dst, `,"userIdentity":`...)
	dst = r.UserIdentity.append(dst)
	dst = append(dst, `,"eventTime":"`...)
	dst = appendTime(dst, r.EventTime)
	dst = append(dst, '"')
	dst = member(dst, "eventSource", r.EventSource)
	dst = member(dst, "eventName", r.EventName)
	dst = member(dst, "awsRegion", r.AWSRegion)
	dst = member(dst, "sourceIPAddress", r.SourceIPAddress)
	dst = append(dst, `,"userAgent":`...)
	dst = appendString(dst, r.UserAgent, maxText)
	if r.ErrorCode != "" {
		dst = append(dst, `,"errorCode":`...)
		dst = appendString(dst, r.ErrorCode, maxText)
	}
	if r.ErrorMessage != "" {
		dst = append(dst, `,"errorMessage":`...)
		dst = appendString(dst, r.ErrorMessage, maxText)
	}
	dst = append(dst, `,"requestParameters":`...)
	dst = appendObject(dst, r.RequestParameters, maxObject)
	dst = append(dst, `,"responseElements":`...)
	dst = appendObject(dst, r.ResponseElements, maxObject)
	dst = r.appendAdditional(dst)
	dst = member(dst, "requestID", r.RequestID)
	dst = member(dst, "eventID", r.EventID)
	dst = append(dst, `,"readOnly":`...)
	dst = strconv.AppendBool(dst, r.ReadOnly)
	if len(r.Resources) > 0 {
		dst = appendResources(dst, r.Resources)
	}
	dst = member(dst, "eventType", or(r.EventType, TypeAPICall))
	dst = optional(dst, "apiVersion", r.APIVersion)
	dst = append(dst, `,"managementEvent":`...)
	dst = strconv.AppendBool(dst, r.ManagementEvent)
	dst = member(dst, "recipientAccountId", r.RecipientAccountID)
	dst = optional(dst, "sharedEventID", r.SharedEventID)
	dst = optional(dst, "vpcEndpointId", r.VPCEndpointID)
	dst = optional(dst, "vpcEndpointAccountId", r.VPCEndpointAccount)
	dst = member(dst, "eventCategory", r.Category())
	if r.ServiceEventDetails != nil {
		dst = append(dst, `,"serviceEventDetails":`...)
		dst = appendObject(dst, r.ServiceEventDetails, maxObject)
	}
	if t := r.TLS; t != nil {
		dst = append(dst, `,"tlsDetails":`...)
		at := len(dst)
		dst = optional(dst, "tlsVersion", t.Version)
		dst = optional(dst, "cipherSuite", t.CipherSuite)
		dst = optional(dst, "clientProvidedHostHeader", t.ClientHost)
		dst = optional(dst, "keyExchange", t.KeyExchange)
		dst = appendUnknown(dst, t.Unknown)
		dst = closeObject(dst, at)
	}
	if r.ConsoleCredential {
		dst = append(dst, `,"sessionCredentialFromConsole":"true"`...)
	}
	dst = appendUnknown(dst, r.Unknown)
	return append(dst, '}')
}

func (u *UserIdentity) append(dst []byte) []byte {
	dst = append(dst, `{"type":`...)
	dst = appendString(dst, or(u.Type, UnknownIdentity), maxName)
	dst = optional(dst, "principalId", u.PrincipalID)
	dst = optional(dst, "arn", u.ARN)
	dst = optional(dst, "accountId", u.AccountID)
	dst = optional(dst, "accessKeyId", u.AccessKeyID)
	dst = optional(dst, "userName", u.UserName)
	if s := u.Session; s != nil {
		dst = append(dst, `,"sessionContext":`...)
		dst = s.append(dst)
	}
	dst = optional(dst, "invokedBy", u.InvokedBy)
	if u.InScopeOf != nil {
		dst = append(dst, `,"inScopeOf":`...)
		dst = appendObject(dst, u.InScopeOf, maxAdditional)
	}
	dst = optional(dst, "identityProvider", u.IdentityProvider)
	dst = appendUnknown(dst, u.Unknown)
	return append(dst, '}')
}

func (s *SessionContext) append(dst []byte) []byte {
	at := len(dst)
	if i := s.Issuer; i != nil {
		dst = append(dst, `,"sessionIssuer":`...)
		inner := len(dst)
		dst = optional(dst, "type", i.Type)
		dst = optional(dst, "principalId", i.PrincipalID)
		dst = optional(dst, "arn", i.ARN)
		dst = optional(dst, "accountId", i.AccountID)
		dst = optional(dst, "userName", i.UserName)
		dst = appendUnknown(dst, i.Unknown)
		dst = closeObject(dst, inner)
	}
	if s.WebIDFederationData != nil {
		dst = append(dst, `,"webIdFederationData":`...)
		dst = appendObject(dst, s.WebIDFederationData, maxAdditional)
	}
	if !s.CreationDate.IsZero() {
		dst = append(dst, `,"attributes":{"creationDate":"`...)
		dst = appendTime(dst, s.CreationDate)
		dst = append(dst, `","mfaAuthenticated":"`...)
		dst = strconv.AppendBool(dst, s.MFAAuthenticated)
		dst = append(dst, '"')
		dst = appendUnknown(dst, s.OtherAttributes)
		dst = append(dst, '}')
	}
	dst = optional(dst, "sourceIdentity", s.SourceIdentity)
	dst = optional(dst, "ec2RoleDelivery", s.EC2RoleDelivery)
	dst = appendUnknown(dst, s.Unknown)
	return closeObject(dst, at)
}

func appendResources(dst []byte, list []Resource) []byte {
	dst = append(dst, `,"resources":[`...)
	for i := range list[:min(len(list), maxResources)] {
		if i > 0 {
			dst = append(dst, ',')
		}
		at := len(dst)
		dst = optional(dst, "accountId", list[i].AccountID)
		dst = optional(dst, "type", list[i].Type)
		dst = optional(dst, "ARN", list[i].ARN)
		dst = appendUnknown(dst, list[i].Unknown)
		dst = closeObject(dst, at)
	}
	return append(dst, ']')
}

// appendAdditional writes additionalEventData: first the extension, which must
// survive a cut, then as many of the service's own members as fit beside it.
func (r *Record) appendAdditional(dst []byte) []byte {
	if r.Leadglass == nil {
		if r.AdditionalEventData == nil {
			return dst
		}
		dst = append(dst, `,"additionalEventData":`...)
		return appendObject(dst, r.AdditionalEventData, maxAdditional)
	}
	dst = append(dst, `,"additionalEventData":{"leadglass":`...)
	at := len(dst)
	if dst = r.Leadglass.append(dst); len(dst)-at > maxAdditional/2 {
		dst = appendObject(dst[:at], slices.Clone(dst[at:]), maxAdditional/2)
	}
	rest := maxAdditional - (len(dst) - at) - len(`{"leadglass":,}`)
	if len(r.AdditionalEventData) < 2 || r.AdditionalEventData[0] != '{' {
		return append(dst, '}')
	}
	at = len(dst)
	dst = appendObject(dst, r.AdditionalEventData, rest)
	if len(bytes.TrimSpace(dst[at+1:])) == 1 {
		return append(dst[:at], '}') // an empty object
	}
	dst[at] = ',' // for its opening brace
	return dst
}

func (e *Extension) append(dst []byte) []byte {
	at := len(dst)
	dst = optional(dst, "contingentAuthorizationId", e.ContingentAuthorizationID)
	dst = optional(dst, "parentEventId", e.ParentEventID)
	if len(e.FASChain) > 0 {
		dst = append(dst, `,"fasChain":`...)
		dst = appendStrings(dst, e.FASChain)
	}
	dst = optional(dst, "fasDigest", e.FASDigest)
	if e.Custody != nil {
		dst = append(dst, `,"custody":`...)
		dst = appendObject(dst, e.Custody, maxAdditional/4)
	}
	if c := e.Enclave; c != nil {
		dst = append(dst, `,"enclave":`...)
		inner := len(dst)
		dst = optional(dst, "pcr0", c.PCR0)
		dst = optional(dst, "moduleId", c.ModuleID)
		dst = closeObject(dst, inner)
	}
	if e.Decision != nil {
		dst = append(dst, `,"policyDecision":`...)
		dst = appendObject(dst, e.Decision, maxAdditional/4)
	}
	dst = appendUnknown(dst, e.Unknown)
	return closeObject(dst, at)
}

// member writes ,"name":"value". Names are constants that need no escaping.
func member(dst []byte, name, value string) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	dst = append(dst, '"', ':')
	return appendString(dst, value, maxName)
}

// optional is member, or nothing for an empty value.
func optional(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return member(dst, name, value)
}

// closeObject ends an object whose members were written from at on, each with
// a leading comma: the first comma becomes the opening brace.
func closeObject(dst []byte, at int) []byte {
	if len(dst) == at {
		return append(dst, '{', '}')
	}
	dst[at] = '{'
	return append(dst, '}')
}

func appendStrings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, s, maxName)
	}
	return append(dst, ']')
}

func appendUnknown(dst []byte, fields []Field) []byte {
	for _, f := range fields {
		dst = append(dst, ',')
		dst = appendString(dst, f.Name, maxName)
		dst = append(dst, ':')
		dst = append(dst, f.Value...)
	}
	return dst
}

// appendString writes s as a JSON string of at most limit bytes of text, cut
// between characters.
func appendString(dst []byte, s string, limit int) []byte {
	if len(s) > limit {
		for limit > 0 && !utf8.RuneStart(s[limit]) {
			limit--
		}
		s = s[:limit]
	}
	return canon.AppendString(dst, s)
}

// appendTime writes YYYY-MM-DDThh:mm:ssZ.
func appendTime(dst []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(dst, "2006-01-02T15:04:05Z")
}

// appendObject writes raw when it fits into limit bytes. Otherwise it writes
// {"omitted":true} with as many of raw's members, in their order, as fit
// (section 3); a value that is no readable object is then omitted whole.
func appendObject(dst []byte, raw json.RawMessage, limit int) []byte {
	if raw == nil {
		return append(dst, "null"...)
	}
	if len(raw) <= limit {
		return append(dst, raw...)
	}
	start := len(dst)
	dst = append(dst, `{"omitted":true`...)
	members, err := objectMembers(raw)
	if err != nil {
		return append(dst, '}')
	}
	for _, m := range members {
		if m.Name == "omitted" || m.Name == "leadglass" {
			continue // names that are ours in the place where this text goes
		}
		at := len(dst)
		if dst = appendUnknown(dst, []Field{m}); len(dst)-start >= limit {
			dst = dst[:at]
		}
	}
	return append(dst, '}')
}

func or(s, empty string) string {
	if s == "" {
		return empty
	}
	return s
}
