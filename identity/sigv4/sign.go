package sigv4

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Signer signs requests for one service and region: the client's side. It
// is what our own tools use; tests check it against the AWS SDK's.
type Signer struct {
	AccessKeyID     string
	SecretAccessKey []byte // the caller's; it is read, never kept
	SessionToken    string
	Region, Service string
	// RegionSet chooses SigV4A, and is what the request is good for: regions
	// separated by commas, "*" as a whole or at the end of one. Region then
	// plays no part.
	RegionSet string
}

// Sign adds to r.Header what makes r authentic: X-Amz-Date, the session
// token, for S3 the body's hash, and Authorization. It covers every header in
// r.Header but those that proxies and HTTP libraries change on the way.
// If X-Amz-Content-Sha256 is set already, it is covered as it stands.
func (s *Signer) Sign(r *Request, body []byte, now time.Time) error {
	if r.Header == nil {
		return errors.New("sigv4: sign: the request has no header map")
	}
	delete(r.Header, "Authorization")
	r.Header["X-Amz-Date"] = []string{formatTime(now)}
	if s.SessionToken != "" {
		r.Header["X-Amz-Security-Token"] = []string{s.SessionToken}
	}
	if s.RegionSet != "" {
		r.Header["X-Amz-Region-Set"] = []string{s.RegionSet}
	}
	sum := sha256.Sum256(body)
	early := &sum
	if pathIsKey(s.Service) && len(r.Header["X-Amz-Content-Sha256"]) == 0 {
		r.Header["X-Amz-Content-Sha256"] = []string{hex.EncodeToString(sum[:])}
	}
	p := s.parsed(r, now)
	p.PayloadHash = only(r.Header["X-Amz-Content-Sha256"])
	if p.Streaming() {
		early = nil // body is what the chunks will carry
	}
	sig, err := s.signature(p, r, early)
	if err != nil {
		return err
	}
	r.Header["Authorization"] = []string{p.Algorithm + " Credential=" + s.AccessKeyID + "/" + p.Scope() +
		", SignedHeaders=" + p.SignedHeaders + ", Signature=" + sig}
	return nil
}

// Presign returns r's target with the authentication in its query, valid from
// now for the given time. S3 leaves the body open; other services cover body.
func (s *Signer) Presign(r *Request, body []byte, expires time.Duration, now time.Time) (target string, err error) {
	p := s.parsed(r, now)
	p.Presigned = true
	t := []byte(r.Target)
	sep := byte('?')
	if strings.Contains(r.Target, "?") {
		sep = '&'
	}
	add := func(name, value string) {
		t = append(append(append(t, sep), name...), '=')
		t = appendEncoded(t, value, false)
		sep = '&'
	}
	add("X-Amz-Algorithm", p.Algorithm)
	add("X-Amz-Credential", s.AccessKeyID+"/"+p.Scope())
	add("X-Amz-Date", formatTime(now))
	add("X-Amz-Expires", strconv.FormatInt(int64(expires/time.Second), 10))
	if s.RegionSet != "" {
		add("X-Amz-Region-Set", s.RegionSet)
	}
	add("X-Amz-SignedHeaders", p.SignedHeaders)
	if s.SessionToken != "" {
		add("X-Amz-Security-Token", s.SessionToken)
	}
	signed := *r
	signed.Target = string(t)
	p.PayloadHash = only(r.Header["X-Amz-Content-Sha256"])
	sum := sha256.Sum256(body)
	sig, err := s.signature(p, &signed, &sum)
	if err != nil {
		return "", err
	}
	add("X-Amz-Signature", sig)
	return string(t), nil
}

// Post returns the fields that make a form upload to S3 authentic, beside the
// policy's own: algorithm, credential, date, token, policy and signature. The
// policy, JSON, must have a condition for each of them but the last two;
// PostConditions has them.
func (s *Signer) Post(policy []byte, now time.Time) (map[string]string, error) {
	p := s.parsed(nil, now)
	fields := s.postFields(p)
	fields["policy"] = base64.StdEncoding.EncodeToString(policy)
	sig, err := s.sign(p, []byte(fields["policy"]))
	if err != nil {
		return nil, err
	}
	fields["x-amz-signature"] = sig
	return fields, nil
}

// PostConditions are the conditions that the policy of Post must have.
func (s *Signer) PostConditions(now time.Time) map[string]string {
	return s.postFields(s.parsed(nil, now))
}

func (s *Signer) postFields(p *Parsed) map[string]string {
	fields := map[string]string{
		"x-amz-algorithm":  p.Algorithm,
		"x-amz-credential": s.AccessKeyID + "/" + p.Scope(),
		"x-amz-date":       formatTime(p.Time),
	}
	if s.SessionToken != "" {
		fields["x-amz-security-token"] = s.SessionToken
	}
	if s.RegionSet != "" {
		fields["x-amz-region-set"] = s.RegionSet
	}
	return fields
}

// parsed is the scope of a signature; a nil r has no headers to cover.
func (s *Signer) parsed(r *Request, now time.Time) *Parsed {
	now = now.UTC().Truncate(time.Second)
	p := &Parsed{
		Algorithm: Algorithm, AccessKeyID: s.AccessKeyID, Time: now,
		Date: formatTime(now)[:8], Region: s.Region, Service: s.Service, Terminator: terminator,
		SessionToken: s.SessionToken,
	}
	if s.RegionSet != "" {
		p.Algorithm, p.Region, p.RegionSet = AlgorithmV4A, "", s.RegionSet
	}
	if r != nil {
		p.SignedHeaders = signable(r)
	}
	return p
}

func (s *Signer) signature(p *Parsed, r *Request, sum *[32]byte) (string, error) {
	sts, _, err := p.StringToSign(r, sum, nil)
	if err != nil {
		return "", err
	}
	return s.sign(p, sts)
}

func (s *Signer) sign(p *Parsed, sts []byte) (string, error) {
	if p.Asymmetric() {
		pair, err := KeyPair(s.AccessKeyID, s.SecretAccessKey)
		if err != nil {
			return "", err
		}
		der, err := SignV4A(pair, sts)
		if err != nil {
			return "", fmt.Errorf("sigv4: sign: %w", err)
		}
		return hex.EncodeToString(der), nil
	}
	key := SigningKey(s.SecretAccessKey, p.Date, p.Region, p.Service)
	mac := MAC(&key, sts)
	clear(key[:])
	return hex.EncodeToString(mac[:]), nil
}

// signable lists the headers that a client covers (section 2, "Clients never sign").
func signable(r *Request) string {
	names := []string{"host"}
	for name := range r.Header {
		switch n := strings.ToLower(name); n {
		case "host", "authorization", "connection", "expect", "user-agent", "x-amzn-trace-id", "transfer-encoding",
			"keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer", "upgrade", "accept-encoding":
		default:
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ";")
}
