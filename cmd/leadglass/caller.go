package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/leadglass/leadglass/identity/sigv4"
)

func jsonWork(op string, in any) work {
	body, err := json.Marshal(in)
	if err != nil {
		panic(err) // maps of strings and bytes always marshal
	}
	return work{name: op, service: "kms", body: body, header: map[string]string{
		"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": targets["kms"] + "." + op,
	}}
}

func formWork(op, service, version string, in url.Values) work {
	form := url.Values{"Action": {op}, "Version": {version}}
	maps.Copy(form, in)
	return work{name: op, service: service, body: []byte(form.Encode()), header: map[string]string{
		"Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
	}}
}

// A caller sends one operation again and again over a connection of its own.
// It writes requests and reads answers itself, so that the load generator
// takes as little of the measured machine as it can; every request is signed
// anew.
type caller struct {
	work
	conn   net.Conn
	host   string
	signer sigv4.Signer
	out    []byte // the request
	in     []byte // the answer, as far as it is here
	share
}

// A share is what one caller measured.
type share struct {
	began  time.Time // of the call under way
	times  []time.Duration
	errors int
	calls  int // those of the warm-up too
	first  error
}

func newCaller(p profile, w work) (*caller, error) {
	u, err := url.Parse(p.Endpoint)
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	if u.Scheme == "https" {
		conn, err = tls.Dial("tcp", u.Host, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots()})
	} else {
		conn, err = net.Dial("tcp", u.Host)
	}
	if err != nil {
		return nil, err
	}
	return &caller{work: w, conn: conn, host: u.Host, signer: sigv4.Signer{
		AccessKeyID: p.AccessKeyID, SecretAccessKey: []byte(p.SecretAccessKey), SessionToken: p.Session, Region: p.Region, Service: w.service,
	}}, nil
}

func (c *caller) close() { c.conn.Close() }

// request makes the next request.
func (c *caller) request() ([]byte, error) {
	header := make(http.Header, 8)
	for k, v := range c.header {
		header[k] = []string{v}
	}
	r := sigv4.Request{Method: "POST", Target: "/", Host: c.host, Header: header, ContentLength: int64(len(c.body))}
	if err := c.signer.Sign(&r, c.body, c.began); err != nil {
		return nil, err
	}
	b := append(c.out[:0], "POST / HTTP/1.1\r\nHost: "...)
	b = append(append(b, c.host...), "\r\nContent-Length: "...)
	b = append(strconv.AppendInt(b, int64(len(c.body)), 10), "\r\n"...)
	for k, v := range header {
		b = append(append(append(append(b, k...), ": "...), v[0]...), "\r\n"...)
	}
	b = append(append(b, "\r\n"...), c.body...)
	c.out = b
	return b, nil
}

// answered says whether the whole answer is here, and whether it is a good
// one. The plane answers every operation that is measured with a
// Content-Length.
func (c *caller) answered() (bool, error) {
	head, body, ok := bytes.Cut(c.in, []byte("\r\n\r\n"))
	if !ok {
		if len(c.in) > 64<<10 {
			return false, errors.New("the answer's header does not end")
		}
		return false, nil
	}
	_, field, ok := bytes.Cut(head, []byte("\r\nContent-Length: "))
	field, _, _ = bytes.Cut(field, []byte("\r\n"))
	length, err := strconv.Atoi(string(field))
	if !ok || err != nil || length > 1<<20 {
		return false, errors.New("the answer has no length")
	}
	if len(body) < length {
		return false, nil
	}
	status, _, _ := bytes.Cut(head, []byte("\r\n"))
	c.in = c.in[:0]
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		return true, fmt.Errorf("%s: %s", status, body[:min(len(body), 512)])
	}
	return true, nil
}

// count takes one finished call into the share.
func (s *share) count(now, start time.Time, err error) {
	s.calls++
	if err != nil && s.first == nil {
		s.first = err
	}
	switch {
	case s.began.Before(start): // warm-up
	case err != nil:
		s.errors++
	default:
		s.times = append(s.times, now.Sub(s.began))
	}
}

// run keeps the connection busy until end.
func (c *caller) run(ctx context.Context, start, end time.Time) {
	for ctx.Err() == nil {
		if c.began = time.Now(); c.began.After(end) {
			return
		}
		err := c.call()
		c.count(time.Now(), start, err)
		if err != nil {
			return
		}
	}
}

// call sends one request and reads the whole answer.
func (c *caller) call() error {
	b, err := c.request()
	if err != nil {
		return err
	}
	if _, err := c.conn.Write(b); err != nil {
		return err
	}
	for {
		c.in = slices.Grow(c.in, 4096)
		n, err := c.conn.Read(c.in[len(c.in):cap(c.in)])
		c.in = c.in[:len(c.in)+n]
		if done, bad := c.answered(); done || bad != nil {
			return bad
		}
		if err != nil {
			return err
		}
	}
}
