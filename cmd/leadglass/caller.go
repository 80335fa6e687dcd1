package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
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

func formWork(op, service, version string) work {
	return work{name: op, service: service, body: []byte(url.Values{"Action": {op}, "Version": {version}}.Encode()), header: map[string]string{
		"Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
	}}
}

// A caller sends one operation again and again over a connection of its own.
// It writes requests itself, so that the load generator takes as little of the
// measured machine as it can; every request is signed anew.
type caller struct {
	work
	conn   net.Conn
	r      *bufio.Reader
	host   string
	signer sigv4.Signer
	out    []byte
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
	return &caller{work: w, conn: conn, r: bufio.NewReader(conn), host: u.Host, signer: sigv4.Signer{
		AccessKeyID: p.AccessKeyID, SecretAccessKey: []byte(p.SecretAccessKey), SessionToken: p.Session, Region: p.Region, Service: w.service,
	}}, nil
}

func (c *caller) close() { c.conn.Close() }

// call sends one request and reads the whole answer.
func (c *caller) call(now time.Time) error {
	header := make(http.Header, 8)
	for k, v := range c.header {
		header[k] = []string{v}
	}
	r := sigv4.Request{Method: "POST", Target: "/", Host: c.host, Header: header, ContentLength: int64(len(c.body))}
	if err := c.signer.Sign(&r, c.body, now); err != nil {
		return err
	}
	b := append(c.out[:0], "POST / HTTP/1.1\r\nHost: "...)
	b = append(append(b, c.host...), "\r\nContent-Length: "...)
	b = append(strconv.AppendInt(b, int64(len(c.body)), 10), "\r\n"...)
	for k, v := range header {
		b = append(append(append(append(b, k...), ": "...), v[0]...), "\r\n"...)
	}
	b = append(append(b, "\r\n"...), c.body...)
	c.out = b
	if _, err := c.conn.Write(b); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		return fmt.Errorf("HTTP %d: %s", resp.StatusCode, text)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
