package wire_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdkcloudtrail "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cloudtrailtypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	sdkiam "github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	sdkkms "github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	sdkorganizations "github.com/aws/aws-sdk-go-v2/service/organizations"
	sdksts "github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/google/go-cmp/cmp"

	"github.com/leadglass/leadglass/api/cloudtrail"
	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/api/organizations"
	"github.com/leadglass/leadglass/api/sts"
	"github.com/leadglass/leadglass/wire"
)

// An echo stands between an SDK client and the codec: it decodes what the
// client sends and answers with what answer makes.
type echo struct {
	t      *testing.T
	router *wire.Router
	in     any // the last decoded input
	answer func(op *wire.OpInfo) (any, error)
}

func (e *echo) Do(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	req := &wire.Request{Method: r.Method, RawPath: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery, Host: r.URL.Host, Header: r.Header}
	s, p, err := e.router.Service(req)
	req.Body = body
	if errors.Is(err, wire.ErrNeedBody) {
		s, p, err = e.router.Service(req)
	}
	if err != nil {
		return nil, err
	}
	op, err := e.router.Operation(s, req)
	if err != nil {
		return nil, err
	}
	in := reflect.New(op.Input)
	if err := wire.Decode(op, p, req, in.Interface()); err != nil {
		return nil, fmt.Errorf("%w in %s", err, body)
	}
	e.in = in.Interface()
	const id = "b0b6d4a2-0000-4000-8000-5d1f6e0c0001"
	var res wire.Response
	out, err := e.answer(op)
	if f, ok := wire.FaultOf(err); ok {
		res = wire.EncodeError(s, p, id, f, nil)
	} else if res, err = wire.EncodeOutput(op, p, id, out, nil); err != nil {
		return nil, err
	}
	h := http.Header{"X-Amzn-Requestid": {id}, "Date": {time.Now().UTC().Format(http.TimeFormat)}}
	if res.ContentType != "" {
		h.Set("Content-Type", res.ContentType)
	}
	return &http.Response{StatusCode: res.Status, Header: h, Body: io.NopCloser(bytes.NewReader(res.Body)), ContentLength: int64(len(res.Body)), Request: r}, nil
}

func newEcho(t *testing.T) *echo { return &echo{t: t, router: router(t)} }

var someone = credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "secret", "")

func (e *echo) kms() *sdkkms.Client {
	return sdkkms.New(sdkkms.Options{Region: "eu-central-1", Credentials: someone, HTTPClient: e, RetryMaxAttempts: 1, BaseEndpoint: aws.String("http://localhost")})
}

func (e *echo) iam() *sdkiam.Client {
	return sdkiam.New(sdkiam.Options{Region: "eu-central-1", Credentials: someone, HTTPClient: e, RetryMaxAttempts: 1, BaseEndpoint: aws.String("http://localhost")})
}

func (e *echo) sts() *sdksts.Client {
	return sdksts.New(sdksts.Options{Region: "eu-central-1", Credentials: someone, HTTPClient: e, RetryMaxAttempts: 1, BaseEndpoint: aws.String("http://localhost")})
}

func (e *echo) cloudtrail() *sdkcloudtrail.Client {
	return sdkcloudtrail.New(sdkcloudtrail.Options{Region: "eu-central-1", Credentials: someone, HTTPClient: e, RetryMaxAttempts: 1, BaseEndpoint: aws.String("http://localhost")})
}

func (e *echo) organizations() *sdkorganizations.Client {
	return sdkorganizations.New(sdkorganizations.Options{Region: "eu-central-1", Credentials: someone, HTTPClient: e, RetryMaxAttempts: 1, BaseEndpoint: aws.String("http://localhost")})
}

// newer are members of the pinned SDK that the models don't have yet.
var newer = map[string]bool{
	"GranteeServicePrincipal": true, "RetiringServicePrincipal": true, "SourceArn": true, // kms grants
	"MinimumSessionTokenSize":            true,                              // sts
	"OrderedOrganizationPolicyInputList": true, "PolicyExclusionList": true, // iam's simulator
}

// maximal sets every member below v. Texts hold what each encoding must
// escape.
func maximal(v reflect.Value, n *int, depth int) {
	*n++
	if depth > 12 {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		maximal(v.Elem(), n, depth)
	case reflect.String:
		v.SetString(fmt.Sprintf("t%d <&>\"' +%%é\u2028\n%s", *n, "𝄞"))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(*n) + 0.5)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(fmt.Appendf(nil, "\x00\xff blob %d", *n))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		maximal(v.Index(0), n, depth+1)
		maximal(v.Index(1), n, depth+1)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			maximal(k, n, depth+1)
			maximal(e, n, depth+1)
			v.SetMapIndex(k, e)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1700000000+int64(*n), 0).UTC()))
			return
		}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "ResultMetadata" && !newer[f.Name] {
				maximal(v.Field(i), n, depth+1)
			}
		}
	}
}

// tree turns values of our types and of the SDK's into the same form.
func tree(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return tree(v.Elem())
	case reflect.String:
		return v.String()
	case reflect.Int32, reflect.Int64:
		return v.Int()
	case reflect.Slice:
		if v.IsNil() {
			return nil
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return string(v.Bytes())
		}
		l := []any{}
		for i := range v.Len() {
			l = append(l, tree(v.Index(i)))
		}
		return l
	case reflect.Map:
		if v.IsNil() {
			return nil
		}
		m := map[string]any{}
		for it := v.MapRange(); it.Next(); {
			m[it.Key().String()] = tree(it.Value())
		}
		return m
	case reflect.Struct:
		if t, ok := v.Interface().(time.Time); ok {
			return t.Unix()
		}
		m := map[string]any{}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() || f.Name == "ResultMetadata" {
				continue
			}
			x := tree(v.Field(i))
			if x == nil || x == "" {
				continue
			}
			if s, ok := x.(string); ok && strings.Contains(f.Tag.Get("aws"), ",esc") {
				x = strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
			}
			m[f.Name] = x
		}
		return m
	}
	return v.Interface()
}

func TestEveryOperationRoundTripsWithTheGoSDK(t *testing.T) {
	e := newEcho(t)
	for _, c := range []struct {
		client any
		ops    []*wire.OpInfo
	}{{e.kms(), kms.Operations()}, {e.iam(), iam.Operations()}, {e.sts(), sts.Operations()}, {e.cloudtrail(), cloudtrail.Operations()}, {e.organizations(), organizations.Operations()}} {
		for _, op := range c.ops {
			t.Run(op.Service.Name+"/"+op.Name, func(t *testing.T) {
				method := reflect.ValueOf(c.client).MethodByName(op.Name)
				if !method.IsValid() {
					t.Skip("the pinned SDK does not have this operation")
				}
				n := 0
				in := reflect.New(method.Type().In(1).Elem())
				maximal(in.Elem(), &n, 0)
				out := reflect.New(op.Output)
				maximal(out.Elem(), &n, 0)
				e.answer = func(got *wire.OpInfo) (any, error) {
					if got != op {
						t.Errorf("routed to %s", got.Name)
					}
					return out.Interface(), nil
				}
				res := method.Call([]reflect.Value{reflect.ValueOf(t.Context()), in})
				if err, _ := res[1].Interface().(error); err != nil {
					t.Fatal(err)
				}
				got := reflect.ValueOf(e.in).Elem()
				want := tree(in)
				if d := cmp.Diff(want, plain(tree(got), got)); d != "" {
					t.Errorf("input (-sent +decoded):\n%s", d)
				}
				if d := cmp.Diff(tree(out), tree(res[0])); d != "" {
					t.Errorf("output (-encoded +received):\n%s", d)
				}
			})
		}
	}
}

// plain takes back the percent-encoding that tree expects of answers: inputs
// have none.
func plain(x any, v reflect.Value) any {
	m, ok := x.(map[string]any)
	if !ok || v.Kind() != reflect.Struct {
		return x
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.IsExported() && f.Type.Kind() == reflect.String && strings.Contains(f.Tag.Get("aws"), ",esc") {
			m[f.Name] = v.Field(i).String()
		}
	}
	return m
}

func TestErrorsArriveAsTheSDKsTypes(t *testing.T) {
	e := newEcho(t)
	fail := func(err error) { e.answer = func(*wire.OpInfo) (any, error) { return nil, err } }

	fail(&kms.NotFoundException{Message: "Key 'x' does not exist"})
	_, err := e.kms().DescribeKey(t.Context(), &sdkkms.DescribeKeyInput{KeyId: aws.String("x")})
	if x, ok := errors.AsType[*kmstypes.NotFoundException](err); !ok || x.ErrorMessage() != "Key 'x' does not exist" {
		t.Errorf("kms: %v", err)
	}
	fail(&kms.InvalidCiphertextException{})
	_, err = e.kms().Decrypt(t.Context(), &sdkkms.DecryptInput{CiphertextBlob: []byte("x")})
	if x, ok := errors.AsType[*kmstypes.InvalidCiphertextException](err); !ok || x.ErrorMessage() != "" {
		t.Errorf("kms without a text: %v", err)
	}
	fail(fmt.Errorf("wrapped: %w", &iam.NoSuchEntityException{Message: "The user with name a<b cannot be found."}))
	_, err = e.iam().GetUser(t.Context(), &sdkiam.GetUserInput{UserName: aws.String("a<b")})
	if x, ok := errors.AsType[*iamtypes.NoSuchEntityException](err); !ok || x.ErrorMessage() != "The user with name a<b cannot be found." {
		t.Errorf("iam: %v", err)
	}
	fail(&sts.ExpiredTokenException{Message: "late"})
	_, err = e.sts().AssumeRoleWithWebIdentity(t.Context(), &sdksts.AssumeRoleWithWebIdentityInput{RoleArn: aws.String("r"), RoleSessionName: aws.String("s"), WebIdentityToken: aws.String("t")})
	if _, ok := errors.AsType[*ststypes.ExpiredTokenException](err); !ok {
		t.Errorf("sts: %v", err)
	}
	fail(&cloudtrail.InvalidMaxResultsException{Message: "51"})
	_, err = e.cloudtrail().LookupEvents(t.Context(), &sdkcloudtrail.LookupEventsInput{})
	if x, ok := errors.AsType[*cloudtrailtypes.InvalidMaxResultsException](err); !ok || x.ErrorMessage() != "51" {
		t.Errorf("cloudtrail: %v", err)
	}
}

func TestAPresignedGetCallerIdentityIsRoutedAndDecoded(t *testing.T) {
	signed, err := sdksts.NewPresignClient(newEcho(t).sts()).PresignGetCallerIdentity(context.Background(), &sdksts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(signed.URL)
	if err != nil {
		t.Fatal(err)
	}
	req := &wire.Request{Method: "GET", RawPath: u.EscapedPath(), RawQuery: u.RawQuery, Host: u.Host}
	r := router(t)
	s, p, err := r.Service(req)
	if err != nil || s != sts.Service || p != wire.Query {
		t.Fatalf("routed to %v %v: %v", s, p, err)
	}
	op, err := r.Operation(s, req)
	if err != nil || op != sts.GetCallerIdentity.OpInfo {
		t.Fatalf("routed to %v: %v", op, err)
	}
	if err := wire.Decode(op, p, req, &sts.GetCallerIdentityInput{}); err != nil {
		t.Error(err)
	}
}
