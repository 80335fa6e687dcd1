package gate

// Accesses notes which user or role asked for which action, for last accessed
// data (sts-and-fas section 2). *directory.Directory is one.
type Accesses interface {
	Accessed(principal, service, action, region string)
}

// note notes an authenticated request whose action is known, whatever became
// of it: AWS counts attempts. Nothing else of the request is noted.
func (x *exchange) note() {
	if x.gate.Accesses == nil || x.caller == nil || x.op == nil {
		return
	}
	x.gate.Accesses.Accessed(x.caller.Principal.ID, x.op.Info.Service.Name, x.op.Info.Name, x.call.Region)
}
