package gate

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/wire"
)

// recorded says whether the exchange leaves a record: everything does that got
// as far as naming a service, refusals among them.
func (x *exchange) recorded() bool { return x.service != nil }

// record is stage 10. The record is made from the typed input, so a member
// without a tag cannot leak by being new (I-9); it goes to the caller's
// account, and a copy to every account that owns a resource when a call across
// accounts succeeded. A refused one stays with the caller: the other account
// must not be flooded by strangers' attempts (audit-log section 3.1).
func (x *exchange) record() error {
	r := x.build()
	owners := x.foreignOwners()
	if len(owners) > 0 {
		r.SharedEventID = id.UUID()
	}
	own := x.event(r, 0)
	// The client may be gone; what was done is recorded all the same.
	ctx := context.WithoutCancel(x.ctx)
	var receipt log.Receipt
	if len(owners) == 0 {
		var err error
		if receipt, err = x.gate.Recorder.Append(ctx, own); err != nil {
			return err
		}
	} else {
		all := []log.Event{own}
		for _, owner := range owners {
			all = append(all, x.event(r.OwnerCopy(owner, id.UUID(), r.SharedEventID), record.CrossAccount))
		}
		receipts, err := x.gate.Recorder.AppendAll(ctx, all)
		if err != nil {
			return err
		}
		receipt = receipts[0]
	}
	x.receipt = receipt.String()
	return nil
}

// event is the record as the log takes it.
func (x *exchange) event(r *record.Record, flags record.Flags) log.Event {
	if r.Failed() {
		flags |= record.Failure
	}
	// Both copies of an event may be in the buffer, one behind the other; the log keeps neither.
	at := len(x.json)
	x.json = r.AppendJSON(x.json)
	json := x.json[at:len(x.json):len(x.json)]
	kind := record.APIEvent
	if x.op != nil && x.op.Operator {
		kind = record.Operator
	}
	return log.Event{Account: r.RecipientAccountID, Kind: kind, Flags: flags, ID: r.EventID, Time: r.EventTime, JSON: json}
}

// foreignOwners are the accounts, other than the caller's, whose resources a
// successful call used.
func (x *exchange) foreignOwners() (owners []string) {
	if x.fault != nil || x.caller == nil {
		return nil
	}
	own := x.caller.Principal.Account
	for i := range x.asks {
		if o := x.asks[i].Owner; o != "" && o != own && !slices.Contains(owners, o) {
			owners = append(owners, o)
		}
	}
	for _, o := range x.call.Concerned() {
		if o != own && !slices.Contains(owners, o) {
			owners = append(owners, o)
		}
	}
	// An enrolment code that was redeemed with a signed call concerns the account that it opened as well.
	if o := x.call.Account; o != own && !slices.Contains(owners, o) {
		owners = append(owners, o)
	}
	return owners
}

func (x *exchange) build() *record.Record {
	call := x.call
	r := &record.Record{
		UserIdentity:    x.identity(),
		EventTime:       x.gate.Clock.Now(),
		EventSource:     x.service.EventSource,
		EventName:       x.eventName(),
		AWSRegion:       call.Region,
		SourceIPAddress: call.SourceIP,
		UserAgent:       call.UserAgent,
		RequestID:       call.RequestID,
		EventID:         call.EventID,
		EventType:       record.TypeAPICall,
		APIVersion:      x.service.Version,
		ManagementEvent: true,
		EventCategory:   record.CategoryManagement,
		TLS:             tlsDetails(x.r.TLS, x.r.Host),
	}
	r.RecipientAccountID = call.Account
	if x.caller != nil {
		r.RecipientAccountID = x.caller.Principal.Account
	}
	if r.RecipientAccountID == "" {
		r.RecipientAccountID = x.gate.Operator
	}
	if x.op != nil {
		r.ReadOnly = x.op.Info.ReadOnly
		// Of a call whose input did not show who calls, nothing is recorded: the record goes to the operator, and the
		// names in it are a customer's.
		if x.valid && (x.caller != nil || !x.op.Identified) {
			// Only what was decoded and validated is recorded; a body that was not is nobody's parameters.
			r.RequestParameters = wire.Parameters(x.op.Info, x.in, nil)
		}
		// Reads answer too much to record; but who was given which credentials must be known (AssumeRole is a read to CloudTrail).
		if x.fault == nil && x.out != nil && (!r.ReadOnly || x.call.Reveals()) {
			r.ResponseElements = wire.Parameters(x.op.Info, x.out, nil)
		}
	}
	if x.fault != nil {
		r.ErrorCode, r.ErrorMessage = x.fault.Code, x.fault.Message
		if x.caller == nil && x.op != nil && x.op.Identified {
			r.ErrorMessage = "" // it may repeat what is left out of the parameters above, and why
		}
	}
	r.AdditionalEventData = x.additional()
	r.Resources = x.resources()
	if x.decided != nil && x.decided.Owner == call.Account {
		// Which statements decided, and why, so that a refusal can be explained later. Those of another account's
		// policies, and whether there are any, are not the caller's to read (I-7).
		r.Leadglass = &record.Extension{Decision: x.policyDecision()}
	}
	return r
}

// additional is additionalEventData beside the extension; nil if there is nothing to say.
func (x *exchange) additional() []byte {
	var b []byte
	if x.asymmetric {
		// As S3's events name it; all the others are signed with V4.
		b = append(b, `,"SignatureVersion":"SigV4A"`...)
	}
	if x.unrecorded > 0 {
		b = strconv.AppendInt(append(b, `,"RefusalsNotRecorded":`...), int64(x.unrecorded), 10)
	}
	for _, r := range x.call.Remarks() {
		b = append(strconv.AppendQuote(append(b, ','), r.Name), ':')
		b = append(b, r.JSON...)
	}
	if b == nil {
		return nil
	}
	b[0] = '{'
	return append(b, '}')
}

// policyDecision is what the record says of the decision. Of a refusal it says what stood in the way.
func (x *exchange) policyDecision() []byte {
	if !x.refused {
		return x.trace.AppendJSON(nil, x.decision)
	}
	request := authz.Request{Principal: &x.principal, Policies: &x.policies, Ask: x.decided, Common: &x.common}
	return x.trace.AppendDenial(nil, &request, x.decision)
}

func (x *exchange) eventName() string {
	if x.op != nil {
		return x.op.Info.Name
	}
	if info, err := x.gate.Router.Operation(x.service, &x.request); err == nil {
		return info.Name
	}
	return "Unknown"
}

// identity is the userIdentity element (audit-log section 3.1).
func (x *exchange) identity() record.UserIdentity {
	c := x.caller
	if c == nil {
		return record.UserIdentity{Type: record.UnknownIdentity}
	}
	u := record.UserIdentity{PrincipalID: c.PrincipalID, ARN: c.Principal.ARN, AccountID: c.Principal.Account, AccessKeyID: c.AccessKeyID, UserName: c.UserName}
	switch c.Principal.Type {
	case authz.User:
		u.Type = record.IAMUser
	case authz.AssumedRole:
		u.Type = record.AssumedRole
	case authz.FederatedUser:
		u.Type = record.FederatedUser
	case authz.Root:
		u.Type = record.Root
	case authz.WebIdentity:
		u.Type = record.WebIdentityUser
	case authz.Service:
		u.Type = record.AWSService
	default:
		u.Type = record.UnknownIdentity
	}
	if c.Principal.Type == authz.WebIdentity {
		// CloudTrail's form: the provider's own names, and no ARN of ours.
		u.ARN, u.AccountID, u.IdentityProvider = "", "", c.Provider
	}
	if !c.Issued.IsZero() {
		u.Session = &record.SessionContext{CreationDate: c.Issued, MFAAuthenticated: c.MFA, SourceIdentity: c.SourceIdentity}
		if i := c.Issuer; i != nil {
			if c.Provider != "" {
				u.Session.WebIDFederationData = webIdentityData(c.Provider)
			}
			u.Session.Issuer = &record.SessionIssuer{Type: i.Type, PrincipalID: i.PrincipalID, ARN: i.ARN, AccountID: i.AccountID, UserName: i.UserName}
		}
	}
	return u
}

// webIdentityData is CloudTrail's webIdFederationData. A provider's ARN holds
// nothing that JSON would escape.
func webIdentityData(provider string) json.RawMessage {
	return json.RawMessage(`{"federatedProvider":"` + provider + `","attributes":{}}`)
}

func (x *exchange) resources() []record.Resource {
	var out []record.Resource
	add := func(account, kind, name string) {
		for i := range out {
			if out[i].ARN == name {
				return
			}
		}
		out = append(out, record.Resource{AccountID: account, Type: kind, ARN: name})
	}
	for i := range x.asks {
		// A listing is asked on a pattern or a path; those name no resource.
		a := &x.asks[i]
		if strings.HasPrefix(a.Resource, "arn:") && !strings.ContainsAny(a.Resource, "*?") && !strings.HasSuffix(a.Resource, "/") {
			add(a.Owner, resourceType(a.Resource), a.Resource)
		}
	}
	for _, t := range x.call.Touched() {
		add(t.Account, t.Type, t.ARN)
	}
	return out
}

// resourceType is the CloudFormation name of what an ARN names.
func resourceType(a string) string {
	p := strings.SplitN(a, ":", 6)
	if len(p) < 6 {
		return ""
	}
	kind, _, _ := strings.Cut(p[5], "/")
	switch p[2] + ":" + kind {
	case "kms:key":
		return "AWS::KMS::Key"
	case "kms:alias":
		return "AWS::KMS::Alias"
	case "iam:user":
		return "AWS::IAM::User"
	case "iam:role":
		return "AWS::IAM::Role"
	case "iam:group":
		return "AWS::IAM::Group"
	case "iam:oidc-provider":
		return "AWS::IAM::OIDCProvider"
	case "iam:policy":
		return "AWS::IAM::ManagedPolicy"
	case "organizations:account":
		return "AWS::Organizations::Account"
	case "organizations:organization":
		return "AWS::Organizations::Organization"
	case "organizations:ou":
		return "AWS::Organizations::OrganizationalUnit"
	case "organizations:policy":
		return "AWS::Organizations::Policy"
	case "organizations:resourcepolicy":
		return "AWS::Organizations::ResourcePolicy"
	case "iam:instance-profile":
		return "AWS::IAM::InstanceProfile"
	case "leadglass:account":
		return "Leadglass::Account"
	case "leadglass:audit-log":
		return "Leadglass::AuditLog"
	}
	return ""
}

func tlsDetails(s *tls.ConnectionState, host string) *record.TLSDetails {
	if s == nil {
		return nil
	}
	d := &record.TLSDetails{CipherSuite: tls.CipherSuiteName(s.CipherSuite), ClientHost: host, KeyExchange: s.CurveID.String()}
	switch s.Version {
	case tls.VersionTLS13:
		d.Version = "TLSv1.3"
	case tls.VersionTLS12:
		d.Version = "TLSv1.2"
	}
	return d
}
