package wire

import (
	"errors"
	"fmt"
	"mime"
	"net"
	"slices"
	"strings"
)

// ErrNeedBody says that an unsigned form names its service only in its body:
// read the body and ask [Router.Service] again.
var ErrNeedBody = errors.New("wire: the service can be told only from the body")

// A RouterConfig says where the router stands.
type RouterConfig struct {
	// Regions are those that the deployment owns; a credential scope must
	// name one of them, or us-east-1 for a global service. Empty: no check.
	Regions []string
	// Domains are host names below which each service has a name of its own,
	// "kms.DOMAIN" and "kms.REGION.DOMAIN".
	Domains []string
	// Operations are those that are served.
	Operations []*OpInfo
}

// A Router answers which operation a request means (section 4). It is
// immutable and safe for use by many goroutines.
type Router struct {
	regions  []string
	targets  map[string]*Service // prefix of X-Amz-Target
	scopes   map[string]*Service // signing name
	versions map[string]*Service // of unsigned forms
	hosts    map[string]*Service // lower-case host name
	ops      map[*Service]map[string]*OpInfo
	trees    map[*Service]*pathNode
	s3       *Service
}

// NewRouter makes a router. It compiles all their plans,
// so that a mistake in a type shows at start and not at the first request.
func NewRouter(cfg RouterConfig) (*Router, error) {
	r := &Router{
		regions: slices.Clone(cfg.Regions), targets: map[string]*Service{}, scopes: map[string]*Service{},
		versions: map[string]*Service{}, hosts: map[string]*Service{}, ops: map[*Service]map[string]*OpInfo{}, trees: map[*Service]*pathNode{},
	}
	for _, op := range cfg.Operations {
		if _, err := op.input(); err != nil {
			return nil, err
		}
		if _, err := op.output(); err != nil {
			return nil, err
		}
		s := op.Service
		if r.ops[s] == nil {
			if other := r.scopes[s.SigningName]; other != nil {
				return nil, fmt.Errorf("wire: two services with the signing name %s", s.SigningName)
			}
			r.add(s, cfg)
		}
		if r.ops[s][op.Name] != nil {
			return nil, fmt.Errorf("wire: two operations %s %s", s.Name, op.Name)
		}
		r.ops[s][op.Name] = op
		if s.Protocol == RESTJSON || s.Protocol == RESTXML {
			if err := r.trees[s].add(op); err != nil {
				return nil, err
			}
		}
	}
	for _, s := range unserved() {
		if r.scopes[s.SigningName] == nil {
			r.add(s, cfg)
		}
	}
	r.s3 = r.scopes["s3"]
	return r, nil
}

func (r *Router) add(s *Service, cfg RouterConfig) {
	r.ops[s] = map[string]*OpInfo{}
	r.trees[s] = &pathNode{keepSlash: s.Name == "s3"}
	r.scopes[s.SigningName] = s
	if s.TargetPrefix != "" {
		r.targets[s.TargetPrefix] = s
	}
	for _, p := range s.TargetAliases {
		r.targets[p] = s
	}
	if s.Protocol == Query || s.Protocol == EC2 {
		r.versions[s.Version] = s
	}
	for _, d := range cfg.Domains {
		d = strings.ToLower(d)
		r.hosts[s.SigningName+"."+d] = s
		for _, region := range cfg.Regions {
			r.hosts[s.SigningName+"."+region+"."+d] = s
		}
	}
}

// unserved lists services of AWS that clients may try and that aren't built
// yet: the refusal must come in the protocol that the client reads. A service
// that is served takes the place of its entry.
func unserved() []*Service {
	return []*Service{
		{Name: "s3", SigningName: "s3", EventSource: "s3.amazonaws.com", Protocol: RESTXML, Version: "2006-03-01", Namespace: "http://s3.amazonaws.com/doc/2006-03-01/", BareErrors: true},
		{Name: "ec2", SigningName: "ec2", EventSource: "ec2.amazonaws.com", Protocol: EC2, Version: "2016-11-15", Namespace: "http://ec2.amazonaws.com/doc/2016-11-15"},
		{Name: "ebs", SigningName: "ebs", EventSource: "ebs.amazonaws.com", Protocol: RESTJSON, Version: "2019-11-02"},
		{Name: "accessanalyzer", SigningName: "access-analyzer", EventSource: "access-analyzer.amazonaws.com", Protocol: RESTJSON, Version: "2019-11-01"},
		{Name: "organizations", SigningName: "organizations", EventSource: "organizations.amazonaws.com", Protocol: JSON11, Version: "2016-11-28", TargetPrefix: "AWSOrganizationsV20161128", Global: true},
		{Name: "kms", SigningName: "kms", EventSource: "kms.amazonaws.com", Protocol: JSON11, Version: "2014-11-01", TargetPrefix: "TrentService"},
		{Name: "cloudtrail", SigningName: "cloudtrail", EventSource: "cloudtrail.amazonaws.com", Protocol: JSON11, Version: "2013-11-01", TargetPrefix: "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101", TargetAliases: []string{"CloudTrail_20131101"}},
		{Name: "iam", SigningName: "iam", EventSource: "iam.amazonaws.com", Protocol: Query, Version: "2010-05-08", Namespace: "https://iam.amazonaws.com/doc/2010-05-08/", Global: true},
		{Name: "sts", SigningName: "sts", EventSource: "sts.amazonaws.com", Protocol: Query, Version: "2011-06-15", Namespace: "https://sts.amazonaws.com/doc/2011-06-15/", Global: true},
	}
}

// Service answers which service a request means and in which protocol it
// speaks, from its headers and query string alone, except for [ErrNeedBody].
// An error other than that is a *[Fault]; service and protocol then still say
// how to answer it, where they are known (the service may be nil).
func (r *Router) Service(req *Request) (*Service, Protocol, error) {
	scope := credentialScope(req)
	// 1. The target. Emulators that trust it, or the scope, alone can be led
	// to check one service's signature and run another's operation.
	if target := first(req, "X-Amz-Target"); target != "" && req.Method == "POST" {
		p := jsonVersion(req)
		i := strings.LastIndexByte(target, '.')
		s := r.targets[target[:max(i, 0)]]
		if s == nil {
			return nil, p, CommonFault(UnknownOperation, nil, p, "The target prefix is unknown.")
		}
		return s, p, r.agree(s, p, scope)
	}
	// 2. rpcv2Cbor is nobody's protocol here (section 11).
	if first(req, "Smithy-Protocol") != "" {
		return nil, CBOR, &Fault{Code: "UnknownOperationException", Message: "No service here speaks this protocol.", Status: 404}
	}
	// 3. The credential scope.
	if scope.service != "" {
		s := r.scopes[scope.service]
		if s == nil {
			// Which error a client of an unknown service can read is a guess:
			// JSON for what posts JSON, else the form protocols' XML.
			p := JSON11
			if isForm(req) {
				p = Query
			}
			return nil, p, CommonFault(UnknownOperation, nil, p, "The service of the credential scope is not known here.")
		}
		return s, s.Protocol, r.agree(s, s.Protocol, scope)
	}
	// 4. The host, when unsigned.
	if s := r.host(req.Host); s != nil {
		return s, s.Protocol, nil
	}
	// 5. An unsigned form names itself by its version.
	if isForm(req) && req.Method == "POST" {
		if req.Body == nil {
			return nil, Query, ErrNeedBody
		}
		return r.byVersion(string(req.Body))
	}
	if strings.Contains(req.RawQuery, "Action=") {
		return r.byVersion(req.RawQuery)
	}
	// 6. Everything else is anonymous S3.
	return r.s3, r.s3.Protocol, nil
}

func (r *Router) byVersion(form string) (*Service, Protocol, error) {
	version, err := formValue(form, "Version")
	if err != nil {
		return nil, Query, CommonFault(Unreadable, nil, Query, "The request could not be read: "+err.Error())
	}
	s := r.versions[version]
	if s == nil {
		return nil, Query, CommonFault(NoCredentials, nil, Query, "")
	}
	return s, s.Protocol, nil
}

// agree checks the credential scope against what the target says, and its
// region. A scope that can't be read is the signature stage's to refuse.
func (r *Router) agree(s *Service, p Protocol, scope scope) error {
	if scope.service != "" && scope.service != s.SigningName {
		return CommonFault(WrongScope, s, p, "Credential should be scoped to correct service: '"+s.SigningName+"'.")
	}
	if scope.region == "" || len(r.regions) == 0 || slices.Contains(r.regions, scope.region) || s.Global && scope.region == "us-east-1" {
		return nil
	}
	return CommonFault(WrongScope, s, p, "Credential should be scoped to a valid region.")
}

func (r *Router) host(host string) *Service {
	if len(r.hosts) == 0 {
		return nil
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(host)
	if s := r.hosts[host]; s != nil {
		return s
	}
	// A bucket's name before the name of S3.
	for h := host; h != ""; {
		_, h, _ = strings.Cut(h, ".")
		if s := r.hosts[h]; s != nil && s.Name == "s3" {
			return s
		}
	}
	return nil
}

// Operation answers which operation of the service a request means. For the
// form protocols the body must have been read.
func (r *Router) Operation(s *Service, req *Request) (*OpInfo, error) {
	var name string
	p := s.Protocol
	if p == JSON10 || p == JSON11 {
		p = jsonVersion(req)
	}
	switch p {
	case JSON10, JSON11:
		// A service that came from the scope or host has not seen the target.
		target := first(req, "X-Amz-Target")
		i := strings.LastIndexByte(target, '.')
		if req.Method != "POST" || i < 0 || !s.isTarget(target[:i]) {
			return nil, CommonFault(UnknownOperation, s, p, "The request has no target of this service.")
		}
		name = target[i+1:]
	case Query, EC2:
		form := req.form()
		version, err := formValue(form, "Version")
		if err == nil && version != "" && version != s.Version {
			return nil, CommonFault(NoSuchVersion, s, p, "")
		}
		if err == nil {
			name, err = formValue(form, "Action")
		}
		if err != nil {
			return nil, CommonFault(Unreadable, s, p, "The request could not be read: "+err.Error())
		}
		if name == "" {
			return nil, &Fault{Code: "MissingAction", Message: "The request is missing an action.", Status: 400}
		}
	case RESTJSON, RESTXML:
		if op := r.trees[s].find(req); op != nil {
			return op, nil
		}
		if len(r.ops[s]) == 0 {
			return nil, notServed(s, p)
		}
		return nil, CommonFault(UnknownOperation, s, p, "No operation has this method and path.")
	}
	if op := r.ops[s][name]; op != nil {
		return op, nil
	}
	switch {
	case len(r.ops[s]) == 0:
		return nil, notServed(s, p)
	case slices.Contains(s.Known, name):
		// The name is one of the API's, so it may be repeated.
		return nil, CommonFault(UnknownOperation, s, p, "The operation "+name+" exists in this API but is not served here.")
	}
	return nil, CommonFault(UnknownOperation, s, p, "")
}

func (s *Service) isTarget(prefix string) bool {
	return prefix != "" && (prefix == s.TargetPrefix || slices.Contains(s.TargetAliases, prefix))
}

func notServed(s *Service, p Protocol) error {
	return CommonFault(UnknownOperation, s, p, "The service "+s.SigningName+" is not served here.")
}

// jsonVersion tells awsJson 1.0 from 1.1; anything but 1.0 is 1.1.
func jsonVersion(req *Request) Protocol {
	if strings.HasPrefix(first(req, "Content-Type"), typeJSON10) {
		return JSON10
	}
	return JSON11
}

func isForm(req *Request) bool {
	t, _, err := mime.ParseMediaType(first(req, "Content-Type"))
	return err == nil && t == "application/x-www-form-urlencoded"
}

// first returns a header's value. The name must be canonical. A header that
// comes twice has none: which of the two another party looks at is anyone's
// guess.
func first(req *Request, name string) string {
	if v := req.Header[name]; len(v) == 1 {
		return v[0]
	}
	return ""
}

// A scope is what the router needs of a credential scope.
type scope struct{ region, service string }

// credentialScope reads the scope of a signed or presigned request. A request
// that has none, or one that can't be read, gives the zero scope.
func credentialScope(req *Request) scope {
	if auth := first(req, "Authorization"); auth != "" {
		_, credential, ok := strings.Cut(auth, "Credential=")
		if !ok || !strings.HasPrefix(auth, "AWS4-") {
			return scope{}
		}
		if i := strings.IndexByte(credential, ','); i >= 0 {
			credential = credential[:i]
		}
		credential, _, _ = strings.Cut(credential, " ")
		return splitScope(credential, strings.HasPrefix(auth, "AWS4-ECDSA-"))
	}
	if !strings.Contains(req.RawQuery, "X-Amz-Credential=") {
		return scope{}
	}
	credential, err := formValue(req.RawQuery, "X-Amz-Credential")
	if err != nil {
		return scope{}
	}
	algorithm, err := formValue(req.RawQuery, "X-Amz-Algorithm")
	if err != nil {
		return scope{}
	}
	return splitScope(credential, strings.HasPrefix(algorithm, "AWS4-ECDSA-"))
}

// splitScope splits from the right: AKID/date/region/service/aws4_request,
// without the region for SigV4A.
func splitScope(credential string, asymmetric bool) scope {
	rest, ok := strings.CutSuffix(credential, "/aws4_request")
	if !ok {
		return scope{}
	}
	var s scope
	if rest, s.service, ok = cutLast(rest); ok && !asymmetric {
		rest, s.region, ok = cutLast(rest)
	}
	if ok {
		rest, _, ok = cutLast(rest) // the date; what is left is the access key id
	}
	if !ok || strings.IndexByte(rest, '/') >= 0 {
		return scope{}
	}
	return s
}

func cutLast(s string) (before, last string, ok bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// formValue returns the last value of a key, without reading the rest of the
// form. The key must need no escapes.
func formValue(form, key string) (string, error) {
	value := ""
	for part := range strings.SplitSeq(form, "&") {
		k, v, _ := strings.Cut(part, "=")
		if k == key {
			value = v
		}
	}
	return unescape(value, true)
}
