package wire_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/api/cloudtrail"
	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/api/sts"
	"github.com/leadglass/leadglass/wire"
)

func signedFor(scope string) []string {
	return []string{"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261124/" + scope + "/aws4_request, SignedHeaders=host, Signature=00"}
}

const formType = "application/x-www-form-urlencoded; charset=utf-8"

func TestRoutingByEachFact(t *testing.T) {
	r := router(t)
	form := func(body string) []byte { return []byte(body) }
	for name, c := range map[string]struct {
		req  wire.Request
		want *wire.OpInfo // nil: an error
		p    wire.Protocol
		code string
	}{
		"a target": {
			wire.Request{Method: "POST", Header: http.Header{"X-Amz-Target": {"TrentService.Encrypt"}, "Authorization": signedFor("eu-central-1/kms"), "Content-Type": {"application/x-amz-json-1.1"}}},
			kms.Encrypt.OpInfo, wire.JSON11, ""},
		"awsJson 1.0 is answered in kind": {
			wire.Request{Method: "POST", Header: http.Header{"X-Amz-Target": {"TrentService.Encrypt"}, "Content-Type": {"application/x-amz-json-1.0"}}},
			kms.Encrypt.OpInfo, wire.JSON10, ""},
		"a target with dots in its prefix": {
			wire.Request{Method: "POST", Header: http.Header{"X-Amz-Target": {"com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents"}}},
			cloudtrail.LookupEvents.OpInfo, wire.JSON11, ""},
		"a short target": {
			wire.Request{Method: "POST", Header: http.Header{"X-Amz-Target": {"CloudTrail_20131101.LookupEvents"}}},
			cloudtrail.LookupEvents.OpInfo, wire.JSON11, ""},
		"an unknown target": {
			wire.Request{Method: "POST", Header: http.Header{"X-Amz-Target": {"DynamoDB_20120810.GetItem"}}}, nil, wire.JSON11, "UnknownOperationException"},
		"a target without a dot": {
			wire.Request{Method: "POST", Header: http.Header{"X-Amz-Target": {"Encrypt"}}}, nil, wire.JSON11, "UnknownOperationException"},
		"an unknown operation": {
			wire.Request{Method: "POST", Header: http.Header{"X-Amz-Target": {"TrentService.Fly"}}}, nil, wire.JSON11, "UnknownOperationException"},
		"target and scope disagree": {
			wire.Request{Method: "POST", Header: http.Header{"X-Amz-Target": {"TrentService.Encrypt"}, "Authorization": signedFor("eu-central-1/sts")}}, nil, wire.JSON11, "InvalidSignatureException"},
		"a foreign region": {
			wire.Request{Method: "POST", Header: http.Header{"X-Amz-Target": {"TrentService.Encrypt"}, "Authorization": signedFor("us-east-1/kms")}}, nil, wire.JSON11, "InvalidSignatureException"},
		"us-east-1 for a global service": {
			wire.Request{Method: "POST", Header: http.Header{"Authorization": signedFor("us-east-1/iam"), "Content-Type": {formType}}, Body: form("Action=GetUser&Version=2010-05-08")},
			iam.GetUser.OpInfo, wire.Query, ""},
		"two targets": {
			wire.Request{Method: "POST", Header: http.Header{"X-Amz-Target": {"TrentService.Encrypt", "TrentService.Decrypt"}, "Authorization": signedFor("eu-central-1/kms")}}, nil, wire.JSON11, "UnknownOperationException"},
		"a target by GET": {
			wire.Request{Method: "GET", Header: http.Header{"X-Amz-Target": {"TrentService.ListKeys"}, "Authorization": signedFor("eu-central-1/kms")}}, nil, wire.JSON11, "UnknownOperationException"},
		"a scope of a target's service without a target": {
			wire.Request{Method: "POST", Header: http.Header{"Authorization": signedFor("eu-central-1/kms")}}, nil, wire.JSON11, "UnknownOperationException"},
		"two authorizations": {
			wire.Request{Method: "POST", Header: http.Header{"Authorization": append(signedFor("eu-central-1/kms"), signedFor("eu-central-1/sts")...)}}, nil, wire.RESTXML, "NotImplemented"},
		"rpcv2Cbor": {
			wire.Request{Method: "POST", Header: http.Header{"Smithy-Protocol": {"rpc-v2-cbor"}, "Authorization": signedFor("eu-central-1/kms")}}, nil, wire.CBOR, "UnknownOperationException"},
		"a scope": {
			wire.Request{Method: "POST", Header: http.Header{"Authorization": signedFor("eu-central-1/sts"), "Content-Type": {formType}}, Body: form("Version=2011-06-15&Action=GetCallerIdentity")},
			sts.GetCallerIdentity.OpInfo, wire.Query, ""},
		"a scope of SigV4A": {
			wire.Request{Method: "POST", Header: http.Header{"Authorization": {"AWS4-ECDSA-P256-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261124/sts/aws4_request, SignedHeaders=host, Signature=00"}, "Content-Type": {formType}}, Body: form("Action=GetCallerIdentity")},
			sts.GetCallerIdentity.OpInfo, wire.Query, ""},
		"a scope of SigV4A with a region is none": {
			wire.Request{Method: "POST", Header: http.Header{"Authorization": {"AWS4-ECDSA-P256-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261124/x/sts/aws4_request, SignedHeaders=host, Signature=00"}}}, nil, wire.RESTXML, "NotImplemented"},
		"a presigned GET": {
			wire.Request{Method: "GET", RawQuery: "Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20261124%2Feu-central-1%2Fsts%2Faws4_request"},
			sts.GetCallerIdentity.OpInfo, wire.Query, ""},
		"another version": {
			wire.Request{Method: "POST", Header: http.Header{"Authorization": signedFor("eu-central-1/sts"), "Content-Type": {formType}}, Body: form("Version=2011-06-16&Action=GetCallerIdentity")}, nil, wire.Query, "NoSuchVersion"},
		"no action": {
			wire.Request{Method: "POST", Header: http.Header{"Authorization": signedFor("eu-central-1/sts"), "Content-Type": {formType}}, Body: form("Version=2011-06-15")}, nil, wire.Query, "MissingAction"},
		"an action of another service": {
			wire.Request{Method: "POST", Header: http.Header{"Authorization": signedFor("eu-central-1/sts"), "Content-Type": {formType}}, Body: form("Action=CreateUser")}, nil, wire.Query, "InvalidAction"},
		"an escaped action": {
			wire.Request{Method: "POST", Header: http.Header{"Authorization": signedFor("eu-central-1/sts"), "Content-Type": {formType}}, Body: form("Action=Get%43allerIdentity")},
			sts.GetCallerIdentity.OpInfo, wire.Query, ""},
		"a host name": {
			wire.Request{Method: "POST", Host: "STS.cloud.example:8443", Header: http.Header{"Content-Type": {formType}}, Body: form("Action=AssumeRoleWithWebIdentity")},
			sts.AssumeRoleWithWebIdentity.OpInfo, wire.Query, ""},
		"a host name with the region": {
			wire.Request{Method: "POST", Host: "sts.eu-central-1.cloud.example", Header: http.Header{"Content-Type": {formType}}, Body: form("Action=AssumeRoleWithWebIdentity")},
			sts.AssumeRoleWithWebIdentity.OpInfo, wire.Query, ""},
		"an unsigned form": {
			wire.Request{Method: "POST", Host: "localhost", Header: http.Header{"Content-Type": {formType}}, Body: form("Action=AssumeRoleWithWebIdentity&Version=2011-06-15")},
			sts.AssumeRoleWithWebIdentity.OpInfo, wire.Query, ""},
		"an unsigned form of no version": {
			wire.Request{Method: "POST", Header: http.Header{"Content-Type": {formType}}, Body: form("Action=AssumeRoleWithWebIdentity")}, nil, wire.Query, "MissingAuthenticationToken"},
		"anything else is S3": {
			wire.Request{Method: "GET", RawPath: "/bucket/key"}, nil, wire.RESTXML, "NotImplemented"},
		"a bucket's host name": {
			wire.Request{Method: "GET", RawPath: "/key", Host: "b.s3.cloud.example"}, nil, wire.RESTXML, "NotImplemented"},
		"a service that is not served": {
			wire.Request{Method: "POST", Header: http.Header{"Authorization": signedFor("eu-central-1/ec2"), "Content-Type": {formType}}, Body: form("Action=DescribeInstances&Version=2016-11-15")}, nil, wire.EC2, "InvalidAction"},
		"a REST service that is not served": {
			wire.Request{Method: "GET", RawPath: "/analyzer", Header: http.Header{"Authorization": signedFor("eu-central-1/access-analyzer")}}, nil, wire.RESTJSON, "UnknownOperationException"},
		"a service that nobody knows": {
			wire.Request{Method: "POST", Header: http.Header{"Authorization": signedFor("eu-central-1/sqs"), "Content-Type": {formType}}, Body: form("Action=X")}, nil, wire.Query, "InvalidAction"},
	} {
		t.Run(name, func(t *testing.T) {
			req := c.req
			if req.RawPath == "" {
				req.RawPath = "/"
			}
			s, p, err := r.Service(&req)
			var op *wire.OpInfo
			if err == nil {
				op, err = r.Operation(s, &req)
			}
			if p != c.p {
				t.Errorf("protocol %v, want %v", p, c.p)
			}
			if c.want != nil {
				if err != nil || op != c.want {
					t.Errorf("got %v, %v", op, err)
				}
				return
			}
			f, ok := wire.FaultOf(err)
			if !ok || f.Code != c.code {
				t.Fatalf("got %v, want %s", err, c.code)
			}
			if res := wire.EncodeError(s, p, "id", f, nil); res.Status < 400 || len(res.Body) == 0 {
				t.Errorf("no answer: %+v", res)
			}
		})
	}
}

func TestTextsOfRoutingErrors(t *testing.T) {
	r := router(t)
	req := &wire.Request{Method: "POST", Header: http.Header{"X-Amz-Target": {"TrentService.Encrypt"}, "Authorization": signedFor("eu-central-1/sts")}}
	if _, _, err := r.Service(req); err == nil || err.Error() != "InvalidSignatureException: Credential should be scoped to correct service: 'kms'." {
		t.Error(err)
	}
	req.Header["Authorization"] = signedFor("mars-1/kms")
	if _, _, err := r.Service(req); err == nil || err.Error() != "InvalidSignatureException: Credential should be scoped to a valid region." {
		t.Error(err)
	}
	known := &wire.Request{Method: "POST", Body: []byte("Action=UploadServerCertificate")}
	if _, err := r.Operation(iam.Service, known); err == nil || !strings.Contains(err.Error(), "UploadServerCertificate exists in this API but is not served here") {
		t.Error(err)
	}
}

func TestAnUnsignedFormNeedsItsBody(t *testing.T) {
	r := router(t)
	req := &wire.Request{Method: "POST", RawPath: "/", Header: http.Header{"Content-Type": {formType}}}
	if _, _, err := r.Service(req); !errors.Is(err, wire.ErrNeedBody) {
		t.Errorf("got %v", err)
	}
	// Signed, the service is known without it.
	req.Header["Authorization"] = signedFor("eu-central-1/sts")
	if s, _, err := r.Service(req); err != nil || s != sts.Service {
		t.Errorf("got %v, %v", s, err)
	}
}

// A restService is like access-analyzer: pairs that differ by method, literals
// beside labels, an ARN as one label.
var restService = &wire.Service{Name: "rest", SigningName: "rest", Protocol: wire.RESTJSON}

func restOp(name, method, path string) *wire.OpInfo {
	return wire.NewOp[struct{}, struct{}](&wire.OpInfo{Service: restService, Name: name, Method: method, Path: path}).OpInfo
}

func TestPathsOfRESTServices(t *testing.T) {
	ops := []*wire.OpInfo{
		restOp("ListFindings", "POST", "/finding"), restOp("UpdateFindings", "PUT", "/finding"), restOp("GetFinding", "GET", "/finding/{id}"),
		restOp("GetAnalyzer", "GET", "/analyzer/{analyzerName}"), restOp("GetStatistics", "GET", "/analyzer/findings/statistics"),
		restOp("GetRule", "GET", "/analyzer/{analyzerName}/archive-rule/{ruleName}"),
		restOp("TagResource", "POST", "/tags/{resourceArn}"), restOp("GetObject", "GET", "/object/{Key+}"), restOp("GetACL", "GET", "/object/{Key+}?acl"),
		restOp("Tail", "GET", "/tail/{Key+}/end"), restOp("List2", "GET", "/object?list-type=2"),
	}
	r, err := wire.NewRouter(wire.RouterConfig{Operations: ops})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ method, target, want string }{
		{"POST", "/finding", "ListFindings"},
		{"POST", "/finding/", "ListFindings"},
		{"POST", "/find%69ng", "ListFindings"},
		{"POST", "/find%zzng", ""},
		{"PUT", "/finding", "UpdateFindings"},
		{"GET", "/finding", ""},
		{"GET", "/finding/x%2Fy%20z", "GetFinding"},
		{"GET", "/finding/a/b", ""},
		{"GET", "/finding//", ""},
		{"GET", "/analyzer/findings", "GetAnalyzer"},
		{"GET", "/analyzer/findings/statistics", "GetStatistics"},
		{"GET", "/analyzer/findings/archive-rule/r", "GetRule"},
		{"GET", "/analyzer/a/archive-rule/", ""},
		{"POST", "/tags/arn%3Aaws%3Akms%3Aeu%3A1%3Akey%2F2", "TagResource"},
		{"GET", "/object/a/b/c", "GetObject"},
		{"GET", "/object/a//c", "GetObject"},
		{"GET", "/object/a?acl", "GetACL"},
		{"GET", "/object/a?acl=", "GetACL"},
		{"GET", "/object/a?aclx", "GetObject"},
		{"GET", "/object?list-type=2", "List2"},
		{"GET", "/object?list-type=1", ""},
		{"GET", "/tail/a/b/end", "Tail"},
		{"GET", "/tail/end", ""},
		{"GET", "/", ""},
		{"GET", "", ""},
		{"GET", "//", ""},
		{"GET", strings.Repeat("/a", 4000), ""},
	} {
		path, query, _ := strings.Cut(c.target, "?")
		op, err := r.Operation(restService, &wire.Request{Method: c.method, RawPath: path, RawQuery: query})
		got := ""
		if err == nil {
			got = op.Name
		} else if f, ok := wire.FaultOf(err); !ok || f.Status != 404 {
			t.Errorf("%s %s: %v", c.method, c.target, err)
		}
		if got != c.want {
			t.Errorf("%s %s is %q, want %q", c.method, c.target, got, c.want)
		}
	}
}

func TestMistakesInOperationsShowAtStart(t *testing.T) {
	type noTag struct{ A string }
	type badKind struct {
		A chan int `aws:"A"`
	}
	for name, ops := range map[string][]*wire.OpInfo{
		"twice":          {kms.Encrypt.OpInfo, kms.Encrypt.OpInfo},
		"no tag":         {wire.NewOp[noTag, struct{}](&wire.OpInfo{Service: restService, Name: "A"}).OpInfo},
		"a bad kind":     {wire.NewOp[struct{}, badKind](&wire.OpInfo{Service: restService, Name: "A"}).OpInfo},
		"half a segment": {restOp("A", "GET", "/x-{y}")},
	} {
		if _, err := wire.NewRouter(wire.RouterConfig{Operations: ops}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
