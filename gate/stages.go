package gate

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"strconv"

	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/sessions"
	"github.com/leadglass/leadglass/identity/sigv4"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/wire"
)

// route is stage 2: which service and protocol the request means, from its
// headers and its query alone. Only an unsigned form names its service in its
// body; then the body is read first.
func (x *exchange) route() (err error) {
	x.service, x.protocol, err = x.gate.Router.Service(&x.request)
	if !errors.Is(err, wire.ErrNeedBody) {
		return err
	}
	if err := x.read(); err != nil {
		return err
	}
	x.service, x.protocol, err = x.gate.Router.Service(&x.request)
	return err
}

// read is stage 3: the whole body, up to the protocol's limit.
func (x *exchange) read() error {
	if x.request.Body != nil {
		return nil
	}
	limit := x.protocol.BodyLimit()
	if x.r.ContentLength > limit {
		// What follows on this connection is the rest of a body that nobody will read.
		x.w.Header().Set("Connection", "close")
		return x.commonFault(wire.TooLarge, "")
	}
	if !x.hold(limit) {
		x.w.Header().Set("Connection", "close")
		return x.commonFault(wire.Unavailable, "")
	}
	body := []byte{}
	if n := x.r.ContentLength; n > 0 {
		body = make([]byte, n)
		if _, err := io.ReadFull(x.r.Body, body); err != nil {
			return x.commonFault(wire.Unreadable, "The request body is incomplete.")
		}
	} else if n < 0 {
		var err error
		if body, err = io.ReadAll(io.LimitReader(x.r.Body, limit+1)); err != nil {
			return x.commonFault(wire.Unreadable, "The request body is incomplete.")
		}
		if int64(len(body)) > limit {
			x.w.Header().Set("Connection", "close")
			return x.commonFault(wire.TooLarge, "")
		}
	}
	x.request.Body = body
	return nil
}

// hold makes room for the body among those of all requests. One whose length is
// not known counts as the longest possible.
func (x *exchange) hold(limit int64) bool {
	n := x.r.ContentLength
	if n < 0 {
		n = limit
	}
	if n <= smallBody {
		return true
	}
	x.held = n
	return x.gate.bodies.Add(n) <= MaxBodies
}

// authenticate is stage 4: the signature, and whose it is. Only an operation
// that its table marks unsigned goes on without one.
func (x *exchange) authenticate() error {
	g := x.gate
	r := x.signed()
	if sigv4.Unauthenticated(r) {
		// The routing facts may be looked at before there is a signature (section 3.1), the rest of the body not.
		if info, err := g.Router.Operation(x.service, &x.request); err == nil {
			if op := g.table[info]; op != nil && op.Unsigned {
				return nil
			}
		}
		return sigv4.Refuse(sigv4.NoCredentials)
	}
	p, err := sigv4.Parse(r)
	if err != nil {
		return err
	}
	x.asymmetric = p.Asymmetric()
	if err := p.CheckScope(x.call.Time, x.scopes(), x.service.SigningName); err != nil {
		return err
	}
	if err := x.setRegion(p); err != nil {
		return err
	}
	body := sha256.Sum256(x.request.Body)
	var room [1024]byte
	stringToSign, digest, err := p.StringToSign(r, &body, room[:0])
	if err != nil {
		return err
	}
	caller, err := g.Authenticator.Authenticate(x.ctx, p, stringToSign, digest)
	if err != nil {
		return err
	}
	x.offer(p, &body)
	return x.setCaller(caller)
}

// offer lets a service have the request as it was signed. It costs nothing
// until it is asked for.
func (x *exchange) offer(p *sigv4.Parsed, body *[32]byte) {
	if !p.Asymmetric() || p.Presigned {
		return
	}
	x.call.Signed = func(ctx context.Context) (s operation.SignedRequest, err error) {
		r := x.signed()
		if s.Canonical, err = p.Canonical(r, body); err != nil {
			return s, err
		}
		if s.StringToSign, _, err = p.StringToSign(r, body, nil); err != nil {
			return s, err
		}
		s.Signature, s.Body = p.ECDSA, x.request.Body
		s.CallerKey, err = x.gate.Authenticator.CallerKey(ctx, p)
		return s, err
	}
}

// scopes are the regions that a credential scope may name. Global services
// take us-east-1 wherever the deployment is.
func (x *exchange) scopes() []string {
	if regions := x.gate.regions; x.service.Global && !slices.Contains(regions, "us-east-1") {
		return append(regions[:len(regions):len(regions)], "us-east-1")
	}
	return x.gate.regions
}

// setRegion notes for which region the request was signed: that is where its
// resources are. Global services are in the home region whoever asks.
func (x *exchange) setRegion(p *sigv4.Parsed) error {
	if x.service.Global {
		return nil
	}
	if p.Ambiguous(x.gate.regions) {
		return &sigv4.Error{Kind: sigv4.WrongScope, Query: p.Presigned,
			Message: "Credential should be scoped to a valid region. The region set matches several regions of this deployment: name one."}
	}
	x.call.Region = p.Region
	return nil
}

func (x *exchange) setCaller(c *sessions.Caller) error {
	if err := x.limit(c); err != nil {
		return err
	}
	x.caller = c
	call := x.call
	call.Account, call.Principal, call.PrincipalID = c.Principal.Account, x.principal, c.PrincipalID
	call.AccessKeyID, call.UserName, call.SessionName = c.AccessKeyID, c.UserName, c.SessionName
	call.Issued, call.Depth, call.MFA = c.Issued, c.Depth, c.MFA
	call.Session = c
	x.commonKeys()
	call.Evaluate = func(a operation.Ask) operation.Decision {
		if !x.govern(&a) {
			return operation.Decision{}
		}
		return authz.Decide(&authz.Request{Principal: &x.principal, Policies: &x.policies, Ask: &a, Common: &x.common}, nil)
	}
	return nil
}

// commonKeys sets the condition keys of the call (policy-evaluation section
// 7) beside those of the caller.
func (x *exchange) commonKeys() {
	k, call := &x.common, x.call
	k.Reset()
	for name, values := range x.caller.Keys.All() {
		k.Set(name, values...)
	}
	k.Set("aws:CurrentTime", call.Time.Format("2006-01-02T15:04:05Z"))
	k.Set("aws:EpochTime", strconv.FormatInt(call.Time.Unix(), 10))
	k.Set("aws:RequestedRegion", call.Region)
	k.Set("aws:SecureTransport", strconv.FormatBool(call.Secure))
	k.Set("aws:SourceIp", call.SourceIP)
	k.Set("aws:UserAgent", call.UserAgent)
	k.Set("aws:ViaAWSService", "false")
	x.organizationKeys()
}

// decode is stage 5: the operation, and its input. It comes after the
// signature: nothing of a stranger's body is decoded (I-8).
func (x *exchange) decode() error {
	info, err := x.gate.Router.Operation(x.service, &x.request)
	if err != nil {
		return err
	}
	x.op = x.gate.table[info]
	if x.op == nil {
		return x.commonFault(wire.UnknownOperation, "The operation "+info.Name+" is not served by this deployment.")
	}
	x.in = x.op.NewInput()
	x.call.Body = x.request.Body
	return wire.Decode(info, x.protocol, &x.request, x.in)
}

// validate is stage 6: the shape of the input.
func (x *exchange) validate() error {
	err := wire.Validate(x.op.Info, &x.request, x.in)
	x.valid = err == nil
	return err
}

// target is stage 7: the service says which questions must be answered.
func (x *exchange) target() error {
	if x.op.Operator && x.call.Account != x.gate.Operator {
		// Answered as any refusal: a customer learns nothing of the operator's operations (I-13).
		return &operation.Denied{Ask: operation.Ask{Action: x.op.Info.Action(), Resource: "*", Owner: x.gate.Operator}}
	}
	if x.op.Target == nil {
		return nil
	}
	if x.op.Identified {
		// A signature that came along is not what counts here; who signed is nobody's business.
		x.caller = nil
		x.call.Account, x.call.Principal, x.call.Session = "", operation.Principal{}, nil
	}
	asks, err := x.op.Target(x.ctx, x.in)
	if c, ok := x.call.Session.(*sessions.Caller); ok && x.op.Identified {
		x.setCaller(c) // also of a refused call, so that it is recorded where it belongs
	}
	if err != nil {
		return err
	}
	if len(asks) == 0 {
		return errors.New("gate: target asked nothing")
	}
	if x.op.Identified && x.caller == nil {
		return sigv4.Refuse(sigv4.NoCredentials) // and the names in the asks are nobody's to record
	}
	x.asks = asks
	return nil
}

// authorize is stage 8: every ask must be allowed (I-1).
func (x *exchange) authorize() error {
	if x.op.Free {
		return nil
	}
	if x.caller == nil {
		return sigv4.Refuse(sigv4.NoCredentials)
	}
	for i := range x.asks {
		a := &x.asks[i]
		x.decided = a
		if why := x.caller.Restricted(a.Action); why != "" {
			return &operation.Denied{Ask: *a}
		}
		x.trace.Reset()
		if !x.govern(a) {
			return &operation.Denied{Ask: *a}
		}
		x.decision = authz.Decide(&authz.Request{Principal: &x.principal, Policies: &x.policies, Ask: a, Common: &x.common}, &x.trace)
		if !x.decision.Allowed {
			x.refused = true
			return refused{}
		}
	}
	return nil
}

// refused is authorize's error; what was refused is in the exchange.
type refused struct{}

func (refused) Error() string { return "gate: not authorized" }

// serve is stage 9: the handler.
func (x *exchange) serve() error {
	out, err := x.op.Serve(x.ctx, x.in)
	if err != nil {
		return err
	}
	x.out = out
	return nil
}
