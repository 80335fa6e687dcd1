package authztest

import (
	"encoding/json"
	"math/rand/v2"
	"slices"

	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/policy"
)

// A dice makes random documents and requests from small sets of names, so that they often meet.
type dice struct{ *rand.Rand }

func pick[T any](d dice, from ...T) T { return from[d.IntN(len(from))] }

func (d dice) chance(percent int) bool { return d.IntN(100) < percent }

// canonical is S3's id of the account 111111111111.
const canonical = "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"

var (
	actionNames = []string{"s3:GetObject", "s3:PutObject", "s3:PutBucketPolicy", "kms:Decrypt", "kms:Decrypt", "kms:DescribeKey",
		"sts:AssumeRole", "sts:TagSession", "STS:SetSourceIdentity", "sts:GetCallerIdentity", "iam:CreateUser", "S3:getobject", "sts:GetSessionToken", "S3:DeleteBucketPolicy"}
	actionPatterns = []string{"*", "*:*", "s3:*", "s3:Get*", "s3:getobject", "s3:*Object", "s3:*t*b*", "kms:*", "kms:?ecrypt",
		"kms:D*", "sts:*", "sts:AssumeRole", "iam:Create????", "iam:*", "s3:GetObject", "s3:PutObject", "kms:Decrypt"}
	resourceNames = []string{"arn:aws:s3:::records/alice/x", "arn:aws:s3:::records/red/é", "arn:aws:s3:::records",
		"arn:aws:kms:us-east-1:111111111111:key/k1", "arn:aws:kms:us-east-1:111111111111:alias/a", "*",
		"arn:aws:iam::111111111111:role/target", "arn:aws:logs:us-east-1:111111111111:log-group:g:s", "arn:aws:s3:::records/*"}
	resourcePatterns = []string{"*", "arn:aws:s3:::records/*", "arn:aws:s3:::records", "arn:aws:s3:::*/x", "arn:aws:s3:*",
		"arn:aws:s3:::records/${aws:username}/*", "arn:aws:s3:::records/${aws:PrincipalTag/team, 'red'}/?", "arn:*",
		"arn:aws:kms:*:111111111111:key/*", "arn:aws:kms:us-*:*:*", "arn:aws:iam::111111111111:role/t*t", "arn:aws:s3:::records/${*}",
		"arn:aws:*:*:*:*", "arn:aws:s3:::${aws:PrincipalTag/dir}/x", "arn:aws:logs:us-east-1:111111111111:log-group:?:*", "arn:aws:s3:::*r*d*/*?/?*"}
	principals = []string{"*", "111111111111", "222222222222", "arn:aws:iam::111111111111:root", "arn:aws:iam::222222222222:root",
		"arn:aws:iam::111111111111:user/alice", "arn:aws:iam::222222222222:user/bob", "arn:aws:iam::111111111111:role/app",
		"arn:aws:sts::111111111111:assumed-role/app/s1", "arn:aws:sts::111111111111:federated-user/fed"}
	owners     = []string{"111111111111", "111111111111", "111111111111", "222222222222", "333333333333"}
	stringKeys = []string{"aws:username", "aws:PrincipalTag/team", "AWS:principaltag/TEAM", "aws:PrincipalTag/dir", "aws:TagKeys", "s3:prefix",
		"aws:userid", "aws:PrincipalType", "aws:RequestedRegion", "aws:ResourceTag/team", "aws:RequestTag/team", "kms:ViaService",
		"kms:EncryptionContext:dept", "aws:SourceIdentity", "s3:delimiter", "sts:ExternalId", "kms:ResourceAliases", "aws:PrincipalOrgPaths", "aws:CalledVia"}
	numericKeys  = []string{"s3:max-keys", "aws:MultiFactorAuthAge", "svc:sizes"}
	dateKeys     = []string{"aws:CurrentTime", "aws:TokenIssueTime", "aws:EpochTime", "svc:dates"}
	boolKeys     = []string{"aws:SecureTransport", "aws:MultiFactorAuthPresent", "aws:ViaAWSService", "svc:flags"}
	addressKeys  = []string{"aws:SourceIp", "aws:VpcSourceIp", "svc:addresses"}
	arnKeys      = []string{"aws:PrincipalArn", "aws:SourceArn", "svc:arns"}
	blobKeys     = []string{"svc:blob", "svc:blobs"}
	allKeys      = slices.Concat(stringKeys, numericKeys, dateKeys, boolKeys, addressKeys, arnKeys, blobKeys)
	stringValues = []string{"alice", "red", "Red", "a*", "*", "", "x", "?", "ré", "${aws:username}", "${aws:PrincipalTag/team, 'red'}", "*e*", "${*}"}
)

// condition gives an operator, a key and a list of values that the operator can compare.
func (d dice) condition() (operator, key string, values []any) {
	list := func(from ...string) (l []any) {
		for range 1 + d.IntN(3) {
			l = append(l, pick(d, from...))
		}
		return l
	}
	switch d.IntN(11) {
	case 0, 1, 2, 3:
		operator = pick(d, "StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike", "StringNotLike")
		key, values = pick(d, stringKeys...), list(stringValues...)
	case 4:
		operator = pick(d, "NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals")
		key, values = pick(d, numericKeys...), list("10", "9.50", "-1", "-2.5", "010", "0.0")
		if d.chance(20) {
			values = []any{pick(d, 10, 9.5, -1)} // a JSON number
		}
	case 5:
		operator = pick(d, "DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals")
		key, values = pick(d, dateKeys...), list("2026-11-24T12:00:00Z", "2026-11-24", "2026", "2026-11", "1795521600", "2026-11-24T13:00:00.5+01:00", "2026-11-24T12:00Z")
	case 6:
		operator, key, values = "Bool", pick(d, slices.Concat(boolKeys, []string{"aws:username", "aws:PrincipalTag/team"})...), list("true", "false", "TRUE")
		if d.chance(20) {
			values = []any{d.chance(50)} // a JSON boolean
		}
	case 7:
		operator, key, values = "Null", pick(d, allKeys...), list("true", "false", "TRUE")
	case 8:
		operator, key = pick(d, "IpAddress", "NotIpAddress"), pick(d, addressKeys...)
		values = list("10.0.0.0/8", "10.1.2.3", "2001:db8::/32", "0.0.0.0/0", "::/0", "10.1.2.4/31", "::ffff:10.1.0.0/112")
	case 9:
		operator, key = pick(d, "ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"), pick(d, arnKeys...)
		values = list("arn:aws:iam::*:user/*", "arn:aws:iam::111111111111:role/app", "arn:*", "*", "arn:aws:sns:*:111111111111:t-${aws:username}",
			"${aws:PrincipalArn}", "arn:aws:sns", "arn:aws:sns:*:*:*?-a*", "arn:aws:iam::111111111111:user/${aws:PrincipalTag/dir, 'alice'}", "arn:aws:iam::111111111111:${aws:userid, '*'}/app")
	case 10:
		operator, key, values = "BinaryEquals", pick(d, blobKeys...), list("QUJD", "QUI=", "")
	}
	if operator == "Null" {
		return operator, key, values
	}
	if d.chance(25) {
		operator = pick(d, "ForAllValues:", "ForAnyValue:") + operator
	}
	if d.chance(20) {
		operator += "IfExists"
	}
	return operator, key, values
}

// block is a condition block: mostly small, sometimes one that asks for more keys than a question remembers.
func (d dice) block() map[string]any {
	block := map[string]any{}
	put := func(operator, key string, values []any) {
		keys, _ := block[operator].(map[string]any)
		if keys == nil {
			keys = map[string]any{}
			block[operator] = keys
		}
		if keys[key] == nil {
			keys[key] = values
		}
	}
	n := 1 + d.IntN(2)
	if d.chance(15) {
		n += d.IntN(5)
	}
	if d.chance(8) {
		// Either way is right, so that evaluation goes on to the next key.
		for range 10 + d.IntN(20) {
			put("Null", pick(d, allKeys...), []any{"true", "false"})
		}
	}
	for range n {
		put(d.condition())
	}
	return block
}

// context is what a request says; the keys of the target hide those of the call.
func (d dice) context() (target, common map[string][]string) {
	target, common = map[string][]string{}, map[string][]string{}
	place := func(key string, values []string) {
		switch {
		case d.chance(50):
			target[key] = values
		case d.chance(80):
			common[key] = values
		default:
			target[key], common[key] = values, []string{"hidden"}
		}
	}
	set := func(percent int, key string, from ...string) {
		if d.chance(percent) {
			values := []string{pick(d, from...)}
			if d.chance(6) { // a second value, where one was expected
				values = append(values, pick(d, from...))
			}
			place(key, values)
		}
	}
	several := func(percent int, key string, from ...string) {
		if d.chance(percent) {
			values := []string{}
			for range d.IntN(4) {
				values = append(values, pick(d, from...))
			}
			place(key, values)
		}
	}
	numbers := []string{"10", "9.5", "-1", "-2.50", "x", "1e1", "0", "-0.0"}
	dates := []string{"2026-11-24T12:00:00Z", "2026-11-24T00:00:00Z", "1795521600", "noon", "2026-11-24T12:00:00.500Z"}
	flags := []string{"true", "false", "True", "yes"}
	addresses := []string{"10.1.2.3", "2001:db8::1", "::ffff:10.1.2.3", "10.1.2.5", "somewhere"}
	arns := []string{"arn:aws:iam::111111111111:user/alice", "arn:aws:iam::111111111111:role/app", "arn:aws:sns:eu-west-1:111111111111:t-alice", "arn:aws:sns:x", "arn:aws:sns:::"}
	blobs := []string{"QUJD", "QUI=", "QUI", "QU\nJD"}
	set(60, "aws:username", "alice", "bob", "*")
	set(50, "aws:PrincipalTag/team", "red", "Red", "", "a*", "ré")
	set(8, "aws:principalTag/Team", "red", "blue")
	set(30, "aws:PrincipalTag/dir", "records", "*", "records/alice")
	set(30, "aws:ResourceTag/team", "red", "Red", "x")
	set(30, "aws:RequestTag/team", "red", "Red", "x")
	set(30, "s3:prefix", "", "a", "alice", "xx")
	set(20, "s3:delimiter", "", "x")
	set(40, "aws:userid", "alice", "role", "x")
	set(40, "aws:PrincipalType", "red", "x")
	set(40, "aws:RequestedRegion", "red", "a", "*")
	set(20, "kms:ViaService", "red", "x")
	set(20, "aws:SourceIdentity", "alice", "*")
	set(20, "sts:ExternalId", "x", "")
	set(40, "s3:max-keys", numbers...)
	set(20, "aws:MultiFactorAuthAge", numbers...)
	set(40, "aws:CurrentTime", dates...)
	set(40, "aws:EpochTime", dates...)
	set(20, "aws:TokenIssueTime", dates...)
	set(50, "aws:SecureTransport", flags...)
	set(40, "aws:MultiFactorAuthPresent", flags...)
	set(40, "aws:ViaAWSService", flags...)
	set(50, "aws:SourceIp", addresses...)
	set(20, "aws:VpcSourceIp", addresses...)
	set(50, "aws:PrincipalArn", arns[:2]...)
	set(50, "aws:SourceArn", arns...)
	set(30, "svc:blob", blobs...)
	several(30, "svc:blobs", blobs...)
	several(30, "svc:arns", arns...)
	several(30, "svc:addresses", addresses...)
	several(30, "svc:flags", flags...)
	several(30, "svc:dates", dates...)
	several(30, "svc:sizes", numbers...)
	several(30, "kms:ResourceAliases", "alice", "a", "x")
	several(30, "aws:PrincipalOrgPaths", "red", "x", "ré")
	several(30, "aws:CalledVia", "a", "x")
	if d.chance(50) {
		place("aws:TagKeys", [][]string{{}, {"red"}, {"red", "x"}, {"red", "alice", "red"}}[d.IntN(4)])
	}
	// An encryption context is the target's.
	own := func(percent int, key string, from ...string) {
		if d.chance(percent) {
			target[key] = []string{pick(d, from...)}
		}
	}
	own(50, "kms:EncryptionContext:dept", "a", "b")
	own(15, "kms:encryptioncontext:Dept", "a")
	own(10, "kms:EncryptionContext:n", "1")
	return target, common
}

func (d dice) statement(k policy.Kind) map[string]any {
	s := map[string]any{"Effect": "Allow"}
	denies := 25
	if k == policy.SCP || k == policy.ManagedRCP {
		denies = 10 // there are many of them
	}
	if d.chance(denies) {
		s["Effect"] = "Deny"
	}
	deny := s["Effect"] == "Deny"
	list := func(from []string) any {
		if d.chance(40) {
			return pick(d, from...)
		}
		l := []any{}
		for range 1 + d.IntN(3) {
			l = append(l, pick(d, from...))
		}
		return l
	}
	action := "Action"
	if d.chance(10) {
		action = "NotAction"
	}
	s[action] = list(actionPatterns)
	if k == policy.Trust {
		s[action] = list([]string{"*", "sts:AssumeRole", "sts:*", "sts:Assume*"})
	} else if d.chance(10) {
		s["NotResource"] = list(resourcePatterns)
	} else if s["Resource"] = list(resourcePatterns); !deny && d.chance(5) {
		s["Resource"] = "arn:aws:s3"
	}
	switch k {
	case policy.ManagedRCP:
		s["Principal"] = "*"
	case policy.Resource, policy.Trust, policy.Key, policy.Endpoint:
		switch {
		case deny && k != policy.Trust && d.chance(30):
			exempt := list(principals[1:])
			if d.chance(30) { // whole, for a session
				exempt = []any{"111111111111", "arn:aws:sts::111111111111:assumed-role/app/s1", "arn:aws:iam::111111111111:role/app"}[:2+d.IntN(2)]
			}
			s["NotPrincipal"] = map[string]any{"AWS": exempt, "Service": "s3.amazonaws.com"}
		case d.chance(20):
			s["Principal"] = "*"
		case d.chance(20):
			s["Principal"] = map[string]any{"Service": list([]string{"s3.amazonaws.com", "ec2.amazonaws.com"}), "Federated": "arn:aws:iam::111111111111:oidc-provider/id.example.org"}
		case d.chance(10):
			s["Principal"] = map[string]any{"CanonicalUser": canonical, "AWS": list(principals)}
		default:
			s["Principal"] = map[string]any{"AWS": list(principals)}
		}
	}
	if d.chance(60) {
		s["Condition"] = d.block()
	}
	return s
}

func (d dice) document(k policy.Kind) (refDoc, *policy.Document) {
	m := map[string]any{}
	if d.chance(85) {
		m["Version"] = "2012-10-17"
	}
	var statements []any
	broad := 25
	if k == policy.SCP || k == policy.ManagedRCP {
		broad = 90
	}
	if d.chance(broad) { // something broad, or most requests would end in implicit denials
		all := map[string]any{"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": "*"}
		switch k {
		case policy.Identity, policy.Boundary, policy.Session, policy.SCP:
			delete(all, "Principal")
		case policy.Trust:
			delete(all, "Resource")
		case policy.Key, policy.Resource:
			all["Principal"] = map[string]any{"AWS": "111111111111"}
		}
		statements = append(statements, all)
	}
	n := 1 + d.IntN(3)
	if d.chance(3) {
		n = 10 + d.IntN(20)
	}
	if len(statements) == 1 && d.chance(20) {
		n = 0 // FullAWSAccess and its like
	}
	for range n {
		statements = append(statements, d.statement(k))
	}
	m["Statement"] = statements
	text, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	parsed, err := policy.Parse(k, text)
	if err != nil {
		panic(string(text) + ": " + err.Error())
	}
	return refParse(string(text)), parsed
}

func (d dice) documents(k policy.Kind, n int) (refs []refDoc, parsed []*policy.Document) {
	for range n {
		r, p := d.document(k)
		refs, parsed = append(refs, r), append(parsed, p)
	}
	return refs, parsed
}

func (d dice) levels(k policy.Kind) (refs [][]refDoc, parsed [][]*policy.Document) {
	if d.chance(55) {
		return nil, nil
	}
	for range 1 + d.IntN(5) {
		r, p := d.documents(k, 1+d.IntN(2))
		refs, parsed = append(refs, r), append(parsed, p)
	}
	return refs, parsed
}

// world makes all policies; ask then gives a caller and a request to them.
func (d dice) world() (*refWorld, *authz.Request) {
	w, r := &refWorld{}, &authz.Request{Policies: &authz.Policies{}, Ask: &authz.Ask{}}
	a := r.Ask
	w.identity, r.Policies.Identity = d.documents(policy.Identity, d.IntN(3))
	if d.chance(30) {
		w.boundary, r.Policies.Boundary = d.document(policy.Boundary)
	}
	if d.chance(30) {
		w.sessionPassed, r.Policies.SessionPassed = true, true
		w.session, r.Policies.Session = d.documents(policy.Session, d.IntN(3))
	}
	w.scps, r.Policies.SCPs = d.levels(policy.SCP)
	w.rcps, a.RCPs = d.levels(policy.ManagedRCP)
	if d.chance(15) {
		w.endpoint, a.Endpoint = d.document(policy.Endpoint)
	}
	if d.chance(70) {
		w.resourcePolicy, a.Policy = d.document(pick(d, policy.Resource, policy.Key, policy.Trust))
		if d.chance(40) {
			// As stored: tied to the ids of those who had the names. One was deleted, one renamed since.
			w.bound = map[string]string{principals[5]: "AIDAALICE", principals[6]: pick(d, "AIDABOB", "", "AIDAALICE"), principals[7]: pick(d, "AROAAPP", "")}
			a.Policy = a.Policy.Bind(w.bound)
			w.resourcePolicy["bound"] = true
		}
	}
	for range d.IntN(3) {
		g := refGrant{grantee: pick(d, principals[3:]...), operations: []string{pick(d, "Decrypt", "Decrypt", "DescribeKey")}}
		if d.chance(40) {
			g.subset = map[string]string{pick(d, "dept", "Dept"): pick(d, "a", "b")}
		}
		if d.chance(20) {
			g.equals = map[string]string{pick(d, "dept", "DEPT"): "a"}
		}
		if d.chance(30) {
			g.id = pick(d, "AIDAALICE", "AIDABOB", "AROAAPP", "AROAOLD")
		}
		w.grants = append(w.grants, g)
		a.Grants = append(a.Grants, authz.Grant{Grantee: g.grantee, GranteeID: g.id, Operations: g.operations, Subset: g.subset, Equals: g.equals})
	}
	return w, r
}

func (d dice) ask(w *refWorld, r *authz.Request) {
	callers := []struct {
		ref  refPrincipal
		real authz.Principal
	}{
		{refPrincipal{kind: "anonymous"}, authz.Principal{Type: authz.Anonymous}},
		{refPrincipal{kind: "user", arn: principals[5], account: "111111111111", id: pick(d, "AIDAALICE", "AIDAALICE", "AIDANEW")}, authz.Principal{Type: authz.User}},
		{refPrincipal{kind: "user", arn: principals[6], account: "222222222222", id: "AIDABOB"}, authz.Principal{Type: authz.User}},
		{refPrincipal{kind: "assumed-role", arn: principals[8], roleARN: principals[7], account: "111111111111", id: pick(d, "AROAAPP", "AROAAPP", "AROANEW")}, authz.Principal{Type: authz.AssumedRole}},
		{refPrincipal{kind: "federated-user", arn: principals[9], userARN: principals[5], account: "111111111111", id: "AIDAALICE"}, authz.Principal{Type: authz.FederatedUser}},
		{refPrincipal{kind: "root", arn: principals[3], account: "111111111111"}, authz.Principal{Type: authz.Root}},
		{refPrincipal{kind: "root", arn: principals[4], account: "222222222222"}, authz.Principal{Type: authz.Root}},
		{refPrincipal{kind: "service", arn: "s3.amazonaws.com"}, authz.Principal{Type: authz.Service}},
		{refPrincipal{kind: "web-identity", provider: "arn:aws:iam::111111111111:oidc-provider/id.example.org"}, authz.Principal{Type: authz.WebIdentity}},
	}
	c := pick(d, callers...)
	c.ref.serviceLinked, c.ref.management = c.ref.kind == "assumed-role" && d.chance(10), d.chance(10)
	c.ref.temporary = c.ref.kind == "user" && d.chance(30)
	if c.ref.account == "111111111111" && d.chance(50) {
		c.ref.canonical = canonical
	}
	p := c.real
	p.ARN, p.Account, p.RoleARN, p.UserARN, p.Provider, p.ID = c.ref.arn, c.ref.account, c.ref.roleARN, c.ref.userARN, c.ref.provider, c.ref.id
	p.ServiceLinked, p.ManagementAccount, p.TemporaryUser, p.CanonicalUser = c.ref.serviceLinked, c.ref.management, c.ref.temporary, c.ref.canonical
	w.p, r.Principal = c.ref, &p
	w.action, w.resource = pick(d, actionNames...), pick(d, resourceNames...)
	w.owner, w.ownerIsManagement = pick(d, owners...), d.chance(10)
	r.Ask.Action, r.Ask.Resource, r.Ask.Owner, r.Ask.OwnerManagement = w.action, w.resource, w.owner, w.ownerIsManagement
	w.context, w.common = d.context()
	r.Ask.Context.Reset()
	for name, v := range w.context {
		r.Ask.Context.Set(name, v...)
	}
	r.Common = new(authz.Keys)
	for name, v := range w.common {
		r.Common.Set(name, v...)
	}
}
