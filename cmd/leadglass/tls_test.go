package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http/httptrace"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate writes a self-signed certificate for 127.0.0.1.
func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// keptConnections counts the connections that calls open.
func keptConnections(t *testing.T, opened *int) context.Context {
	return httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if !i.Reused {
			*opened++
		}
	}})
}

func TestAConnectionOutlivesAnswersWithSecrets(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	for name, flags := range map[string][]string{"plain": nil, "TLS": {"--tls-cert", cert, "--tls-key", key}} {
		t.Run(name, func(t *testing.T) {
			if name == "TLS" {
				t.Setenv("AWS_CA_BUNDLE", cert)
			}
			p := newPlane(t, filepath.Join(dir, name), flags...)
			c := p.client(t, "customer")
			opened := 0
			ctx := keptConnections(t, &opened)
			for range 3 {
				if _, err := c.query(ctx, "sts", "2011-06-15", "GetSessionToken", nil, nil); err != nil {
					t.Fatal(err)
				}
				if _, err := c.json(ctx, "kms", "ListKeys", map[string]any{}, nil); err != nil {
					t.Fatal(err)
				}
			}
			if opened != 1 {
				t.Errorf("six calls, three of them with secrets, took %d connections", opened)
			}
			began := time.Now()
			p.stop()
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("stopping took %v: it waited for the connection that was given back", took)
			}
		})
	}
}

func TestAPlaneServesTLSAndSaysSoInItsRecords(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	t.Setenv("AWS_CA_BUNDLE", cert)
	p := newPlane(t, filepath.Join(dir, "data"), "--tls-cert", cert, "--tls-key", key)
	if !strings.HasPrefix(p.url, "https://") {
		t.Fatalf("serves at %s", p.url)
	}
	c := p.client(t, "customer")
	// An answer with a secret goes out over a connection that was taken over.
	var made struct {
		ID     string `xml:"CreateAccessKeyResult>AccessKey>AccessKeyId"`
		Secret string `xml:"CreateAccessKeyResult>AccessKey>SecretAccessKey"`
	}
	if _, err := c.query(t.Context(), "iam", "2010-05-08", "CreateAccessKey", url.Values{"UserName": {"administrator"}}, &made); err != nil {
		t.Fatal(err)
	}
	c.AccessKeyID, c.SecretAccessKey = made.ID, made.Secret
	var events struct {
		Events []struct{ CloudTrailEvent string }
	}
	if _, err := c.json(t.Context(), "cloudtrail", "LookupEvents", map[string]any{"LookupAttributes": []map[string]string{{"AttributeKey": "EventName", "AttributeValue": "CreateAccessKey"}}}, &events); err != nil {
		t.Fatal(err)
	}
	if len(events.Events) != 1 {
		t.Fatalf("%d events", len(events.Events))
	}
	var r struct {
		TLSDetails struct{ TLSVersion, CipherSuite, KeyExchange string }
	}
	if err := json.Unmarshal([]byte(events.Events[0].CloudTrailEvent), &r); err != nil {
		t.Fatal(err)
	}
	if r.TLSDetails.TLSVersion != "TLSv1.3" || r.TLSDetails.KeyExchange != "X25519MLKEM768" || r.TLSDetails.CipherSuite == "" {
		t.Errorf("recorded %+v", r.TLSDetails)
	}

	host := strings.TrimPrefix(p.url, "https://")
	if conn, err := tls.Dial("tcp", host, &tls.Config{RootCAs: roots(), MaxVersion: tls.VersionTLS12}); err == nil {
		conn.Close()
		t.Error("TLS 1.2 was accepted")
	}
}
