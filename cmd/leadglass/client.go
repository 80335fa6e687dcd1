package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/leadglass/leadglass/identity/sigv4"
)

// A client calls a plane as the ordinary SDKs do: signed requests over HTTP,
// nothing that they could not send too.
type client struct {
	profile
	http *http.Client
}

func newClient(p profile) *client {
	return &client{p, &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		MaxIdleConnsPerHost: 64, DisableCompression: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots()},
	}}}
}

// roots are the certificates of AWS_CA_BUNDLE, as for every AWS tool, or nil
// for the system's.
func roots() *x509.CertPool {
	path := os.Getenv("AWS_CA_BUNDLE")
	if path == "" {
		return nil
	}
	pool := x509.NewCertPool()
	if b, err := os.ReadFile(path); err == nil {
		pool.AppendCertsFromPEM(b)
	}
	return pool // empty when the file cannot be read: then nobody is trusted
}

// An apiError is a refusal in the form that every protocol shares.
type apiError struct {
	Code, Message, RequestID string
	Status                   int
}

func (e *apiError) Error() string {
	if e.Message == "" {
		return e.Code
	}
	return e.Code + ": " + e.Message
}

// codeOf is the error code of a refusal, or "".
func codeOf(err error) string {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e.Code
	}
	return ""
}

// targets are the X-Amz-Target prefixes of the JSON services.
var targets = map[string]string{
	"kms":           "TrentService",
	"cloudtrail":    "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101",
	"leadglass":     "Leadglass_20261101",
	"organizations": "AWSOrganizationsV20161128",
}

// json calls an operation of a JSON service. in and out are anything that
// encoding/json takes; out may be nil. It returns the request id.
func (c *client) json(ctx context.Context, service, op string, in, out any) (requestID string, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return "", err
	}
	header := http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {targets[service] + "." + op}}
	status, requestID, answer, err := c.send(ctx, service, header, body)
	if err != nil {
		return requestID, err
	}
	if status != http.StatusOK {
		var e struct {
			Type     string `json:"__type"`
			Message  string `json:"message"`
			Message2 string `json:"Message"`
		}
		if err := json.Unmarshal(answer, &e); err != nil || e.Type == "" {
			return requestID, fmt.Errorf("%s.%s: HTTP %d and a body that is no error", service, op, status)
		}
		if e.Message == "" {
			e.Message = e.Message2
		}
		return requestID, &apiError{e.Type, e.Message, requestID, status}
	}
	if out == nil || len(answer) == 0 {
		return requestID, nil
	}
	return requestID, json.Unmarshal(answer, out)
}

// query calls an operation of a query service (IAM, STS). out is filled by
// encoding/xml from the whole answer.
func (c *client) query(ctx context.Context, service, version, op string, in url.Values, out any) (requestID string, err error) {
	form := url.Values{"Action": {op}, "Version": {version}}
	for k, v := range in {
		form[k] = v
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}
	status, requestID, answer, err := c.send(ctx, service, header, []byte(form.Encode()))
	if err != nil {
		return requestID, err
	}
	if status != http.StatusOK {
		var e struct {
			Error struct{ Code, Message string }
		}
		if err := xml.Unmarshal(answer, &e); err != nil || e.Error.Code == "" {
			return requestID, fmt.Errorf("%s.%s: HTTP %d and a body that is no error", service, op, status)
		}
		return requestID, &apiError{e.Error.Code, e.Error.Message, requestID, status}
	}
	if out == nil {
		return requestID, nil
	}
	return requestID, xml.Unmarshal(answer, out)
}

// send signs and sends one request. Without an access key it goes unsigned.
func (c *client) send(ctx context.Context, service string, header http.Header, body []byte) (status int, requestID string, answer []byte, err error) {
	endpoint, err := url.Parse(c.Endpoint)
	if err != nil || endpoint.Host == "" {
		return 0, "", nil, fmt.Errorf("%q is no endpoint", c.Endpoint)
	}
	if c.AccessKeyID != "" {
		signer := sigv4.Signer{AccessKeyID: c.AccessKeyID, SecretAccessKey: []byte(c.SecretAccessKey), SessionToken: c.Session, Region: c.Region, Service: service}
		r := sigv4.Request{Method: "POST", Target: "/", Host: endpoint.Host, Header: header, ContentLength: int64(len(body))}
		if err := signer.Sign(&r, body, time.Now()); err != nil {
			return 0, "", nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, "POST", strings.TrimSuffix(c.Endpoint, "/")+"/", bytes.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	req.Header = header
	req.Header.Set("User-Agent", "leadglass/"+version())
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, "", nil, fmt.Errorf("cannot reach the plane: %w", err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	return resp.StatusCode, resp.Header.Get("X-Amzn-Requestid"), answer, err
}
