package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A vault is hospital A's own external key store proxy: leadglass xks-proxy, a
// process that is not the operator's.
type vault struct {
	dir, cert, key string
	listen         string
	cmd            *exec.Cmd
}

// prepareVault makes the proxy's certificate and returns the flags with which a
// plane may reach it.
func (t *tour) prepareVault() ([]string, error) {
	t.vault = &vault{dir: filepath.Join(t.dir, "vault"), cert: filepath.Join(t.dir, "vault.pem"), key: filepath.Join(t.dir, "vault.key"), listen: "127.0.0.1:0"}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "keys of hospital A"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(
		os.WriteFile(t.vault.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(t.vault.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600),
	); err != nil {
		return nil, err
	}
	return []string{"--xks-ca", t.vault.cert, "--private-xks-proxies", "127.0.0.1", "--xks-timeout", "2s"}, nil
}

// on switches the proxy on, at the address that it had before.
func (v *vault) on(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "xks-proxy", "serve", "--dir", v.dir, "--prefix", "/hospital", "--tls-cert", v.cert, "--tls-key", v.key, "--listen", v.listen, "--log-level", "error")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	v.cmd = cmd
	line, err := bufio.NewReader(out).ReadString('\n')
	_, at, ok := strings.Cut(line, "https://")
	if v.listen, _, _ = strings.Cut(at, "/"); !ok || err != nil {
		v.off()
		return fmt.Errorf("the external key store proxy says %q: %w", line, err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the process
	return nil
}

// off takes its power away.
func (v *vault) off() {
	if v.cmd != nil {
		_ = v.cmd.Process.Kill()
		_ = v.cmd.Wait()
		v.cmd = nil
	}
}

// keepAtHome keeps a key of hospital A in the hospital, and switches it off.
func (t *tour) keepAtHome(ctx context.Context) error {
	var credential struct {
		XksProxyUriPath                  string
		XksProxyAuthenticationCredential map[string]string
	}
	out, err := t.program(ctx, t.dir, nil, "xks-proxy", "credential", "new", "--dir", t.vault.dir, "--prefix", "/hospital")
	if err == nil {
		err = json.Unmarshal([]byte(out), &credential)
	}
	if err != nil {
		return err
	}
	id, err := t.program(ctx, t.dir, nil, "xks-proxy", "key", "new", "--dir", t.vault.dir)
	if err != nil {
		return err
	}
	if err := t.vault.on(ctx); err != nil {
		return err
	}
	defer t.vault.off()
	call := func(op string, in map[string]any, out any) {
		if err == nil {
			if _, err = t.a.json(ctx, "kms", op, in, out); err != nil {
				err = fmt.Errorf("kms:%s: %w", op, err)
			}
		}
	}
	var made struct{ CustomKeyStoreId string }
	call("CreateCustomKeyStore", map[string]any{
		"CustomKeyStoreName": "in the hospital", "CustomKeyStoreType": "EXTERNAL_KEY_STORE", "XksProxyConnectivity": "PUBLIC_ENDPOINT",
		"XksProxyUriEndpoint": "https://" + t.vault.listen, "XksProxyUriPath": credential.XksProxyUriPath,
		"XksProxyAuthenticationCredential": credential.XksProxyAuthenticationCredential,
	}, &made)
	call("ConnectCustomKeyStore", map[string]any{"CustomKeyStoreId": made.CustomKeyStoreId}, nil)
	if err != nil {
		return err
	}
	if err := t.connected(ctx, made.CustomKeyStoreId); err != nil {
		return err
	}
	var key struct{ KeyMetadata struct{ Arn string } }
	call("CreateKey", map[string]any{"Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": made.CustomKeyStoreId, "XksKeyId": strings.TrimSpace(id), "Description": "records that never leave us"}, &key)
	var sealed struct{ CiphertextBlob []byte }
	line := bytes.SplitN(records, []byte("\n"), 3)[1]
	call("Encrypt", map[string]any{"KeyId": key.KeyMetadata.Arn, "Plaintext": line, "EncryptionContext": recordsContext}, &sealed)
	if err != nil {
		return err
	}
	open := func() error {
		text, _, err := t.decrypt(ctx, t.a, sealed.CiphertextBlob, recordsContext)
		if err == nil && !bytes.Equal(text, line) {
			return errors.New("another text")
		}
		return err
	}
	before := open()
	began := time.Now()
	t.vault.off()
	dead := open()
	took := time.Since(began)
	_, encrypts := t.a.json(ctx, "kms", "Encrypt", map[string]any{"KeyId": key.KeyMetadata.Arn, "Plaintext": line}, nil)
	_, _, others := t.open(ctx, t.a)
	began = time.Now()
	if err := t.vault.on(ctx); err != nil {
		return err
	}
	again := open()
	back := time.Since(began)
	t.add(claim{
		Promise:  "a key that stays in the customer's house",
		Claim:    "Hospital A switches its own key store off and its keys in it are dead at once; on again, they are alive",
		By:       "hospital A, with leadglass xks-proxy in its own cellar",
		Tried:    "open a record; take the proxy's power away; the next kms:Decrypt and kms:Encrypt; power on; kms:Decrypt",
		Happened: fmt.Sprintf("before: opens: %v; the next call, answered %.0f ms after the switch: %s; Encrypt: %s; keys that are elsewhere go on: %v; %.0f ms after power on: opens: %v", before == nil, took.Seconds()*1000, codeOf(dead), codeOf(encrypts), others == nil, back.Seconds()*1000, again == nil),
		Evidence: "what the plane stores is encrypted by both: neither the plane's HSM nor the hospital's key alone opens it",
		Holds:    before == nil && codeOf(dead) == "KMSInvalidStateException" && codeOf(encrypts) == "KMSInvalidStateException" && others == nil && again == nil,
	})
	return nil
}

// connected waits until a store is connected.
func (t *tour) connected(ctx context.Context, store string) error {
	for range 200 {
		var d struct {
			CustomKeyStores []struct{ ConnectionState, ConnectionErrorCode string }
		}
		if _, err := t.a.json(ctx, "kms", "DescribeCustomKeyStores", map[string]any{"CustomKeyStoreId": store}, &d); err != nil {
			return err
		}
		switch s := first(d.CustomKeyStores); s.ConnectionState {
		case "CONNECTED":
			return nil
		case "FAILED":
			return fmt.Errorf("the external key store does not connect: %s", s.ConnectionErrorCode)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return errors.New("the external key store does not connect within 4 s")
}
