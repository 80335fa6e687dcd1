package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// A home is a customer's own proxy: a process of its own, with its folder.
type home struct {
	t         *testing.T
	dir       string
	cert, key string
	listen    string
	flags     []string
	env       []string
	cmd       *exec.Cmd
	url       string
	cred      kmstypes.XksProxyAuthenticationCredentialType
}

const homePath = "/hospital/kms/xks/v1"

func newHome(t *testing.T, env []string, flags ...string) *home {
	t.Helper()
	h := &home{t: t, dir: filepath.Join(t.TempDir(), "keys"), listen: "127.0.0.1:0", flags: flags, env: env}
	h.cert, h.key = certificate(t, t.TempDir())
	var c struct {
		XksProxyUriPath                  string
		XksProxyAuthenticationCredential kmstypes.XksProxyAuthenticationCredentialType
	}
	if err := json.Unmarshal([]byte(h.run("credential", "new", "--prefix", "/hospital")), &c); err != nil || c.XksProxyUriPath != homePath {
		t.Fatal(c.XksProxyUriPath, err)
	}
	h.cred = c.XksProxyAuthenticationCredential
	t.Cleanup(h.off)
	return h
}

// run runs one of the proxy's commands and gives its output.
func (h *home) run(args ...string) string {
	h.t.Helper()
	self, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command(self, append(append([]string{"xks-proxy"}, args...), "--dir", h.dir)...)
	cmd.Env = h.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		h.t.Fatalf("%v: %v: %s", args, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

var homeURL = regexp.MustCompile(`https://(127\.0\.0\.1:\d+)`)

// on starts the proxy, at the address that it had before.
func (h *home) on() {
	h.t.Helper()
	self, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	h.cmd = exec.Command(self, append([]string{"xks-proxy", "serve", "--dir", h.dir, "--prefix", "/hospital", "--tls-cert", h.cert, "--tls-key", h.key, "--listen", h.listen}, h.flags...)...)
	h.cmd.Env = h.env
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	m := homeURL.FindStringSubmatch(line)
	if m == nil {
		h.t.Fatalf("the proxy says %q, %v", line, err)
	}
	h.url, h.listen = m[0], m[1]
}

// off kills the proxy, as a power failure does.
func (h *home) off() {
	if h.cmd == nil {
		return
	}
	h.cmd.Process.Signal(syscall.SIGKILL)
	h.cmd.Wait()
	h.cmd = nil
}

func (h *home) plane() *plane {
	h.t.Helper()
	return newPlane(h.t, filepath.Join(h.t.TempDir(), "data"), "--private-xks-proxies", "127.0.0.1", "--xks-ca", h.cert, "--xks-timeout", "5s")
}

// hospital makes and connects a store with the Go SDK, and a key in it.
func (h *home) hospital(keys *kms.Client, name string) (storeID, keyID, xksID string) {
	h.t.Helper()
	ctx := h.t.Context()
	made, err := keys.CreateCustomKeyStore(ctx, &kms.CreateCustomKeyStoreInput{
		CustomKeyStoreName: &name, CustomKeyStoreType: kmstypes.CustomKeyStoreTypeExternalKeyStore,
		XksProxyUriEndpoint: &h.url, XksProxyUriPath: aws.String(homePath), XksProxyConnectivity: kmstypes.XksProxyConnectivityTypePublicEndpoint,
		XksProxyAuthenticationCredential: &h.cred,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	storeID = *made.CustomKeyStoreId
	if _, err := keys.ConnectCustomKeyStore(ctx, &kms.ConnectCustomKeyStoreInput{CustomKeyStoreId: &storeID}); err != nil {
		h.t.Fatal(err)
	}
	h.connected(keys, storeID)
	args := []string{"key", "new"}
	if len(h.flags) > 0 {
		args = append(args, h.flags...)
	}
	xksID = h.run(args...)
	key, err := keys.CreateKey(ctx, &kms.CreateKeyInput{Origin: kmstypes.OriginTypeExternalKeyStore, CustomKeyStoreId: &storeID, XksKeyId: &xksID})
	if err != nil {
		h.t.Fatal(err)
	}
	m := key.KeyMetadata
	if m.Origin != kmstypes.OriginTypeExternalKeyStore || *m.CustomKeyStoreId != storeID || *m.XksKeyConfiguration.Id != xksID || m.KeyState != kmstypes.KeyStateEnabled {
		h.t.Errorf("metadata %+v", m)
	}
	return storeID, *m.Arn, xksID
}

func (h *home) connected(keys *kms.Client, storeID string) {
	h.t.Helper()
	for range 500 {
		d, err := keys.DescribeCustomKeyStores(h.t.Context(), &kms.DescribeCustomKeyStoresInput{CustomKeyStoreId: &storeID})
		if err != nil || len(d.CustomKeyStores) != 1 {
			h.t.Fatal(d, err)
		}
		switch s := d.CustomKeyStores[0]; s.ConnectionState {
		case kmstypes.ConnectionStateTypeConnected:
			return
		case kmstypes.ConnectionStateTypeFailed:
			h.t.Fatalf("the store failed: %s", s.ConnectionErrorCode)
		}
		time.Sleep(20 * time.Millisecond)
	}
	h.t.Fatal("the store does not connect")
}

func TestTheGoSDKKeepsAKeyAtTheHospital(t *testing.T) {
	h := newHome(t, os.Environ())
	h.on()
	p := h.plane()
	ctx := t.Context()
	cfg := sdkConfig(t, p.client(t, "customer"))
	keys := kms.NewFromConfig(cfg)
	storeID, key, xksID := h.hospital(keys, "hospital")

	pairs := map[string]string{"patient": "42"}
	sealed, err := keys.Encrypt(ctx, &kms.EncryptInput{KeyId: &key, Plaintext: []byte("x-ray"), EncryptionContext: pairs})
	if err != nil {
		t.Fatal(err)
	}
	open := func() (*kms.DecryptOutput, error) {
		return keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: pairs})
	}
	alive := func(when string) {
		t.Helper()
		if out, err := open(); err != nil || string(out.Plaintext) != "x-ray" || *out.KeyId != key {
			t.Errorf("%s: %+v %v", when, out, err)
		}
	}
	dead := func(when string) {
		t.Helper()
		_, err := open()
		refusedAs[*kmstypes.KMSInvalidStateException](t, when, err)
		if err != nil && !strings.Contains(err.Error(), storeID) {
			t.Errorf("%s: the store is not named: %v", when, err)
		}
		_, err = keys.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &key, KeySpec: kmstypes.DataKeySpecAes256})
		refusedAs[*kmstypes.KMSInvalidStateException](t, when, err)
	}
	alive("with the proxy on")
	_, err = keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
	refusedAs[*kmstypes.KMSInvalidStateException](t, "without the context", err)

	data, err := keys.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &key, KeySpec: kmstypes.DataKeySpecAes256})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: data.CiphertextBlob}); err != nil || !bytes.Equal(out.Plaintext, data.Plaintext) {
		t.Error(err)
	}
	without, err := keys.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &key, NumberOfBytes: aws.Int32(64)})
	if err != nil {
		t.Fatal(err)
	}
	ordinary := must(keys.CreateKey(ctx, &kms.CreateKeyInput{})).KeyMetadata.Arn
	moved, err := keys.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: without.CiphertextBlob, DestinationKeyId: ordinary})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := keys.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: moved.CiphertextBlob}); err != nil || len(out.Plaintext) != 64 {
		t.Error(err)
	}

	h.off()
	dead("with the proxy off")
	if d := must(keys.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &key})); d.KeyMetadata.KeyState != kmstypes.KeyStateEnabled {
		t.Errorf("state %s", d.KeyMetadata.KeyState)
	}
	h.on()
	alive("with the proxy on again")
	h.run("key", "disable", xksID)
	dead("with the external key disabled")
	h.run("key", "enable", xksID)
	alive("with the external key enabled")

	if _, err := keys.DisconnectCustomKeyStore(ctx, &kms.DisconnectCustomKeyStoreInput{CustomKeyStoreId: &storeID}); err != nil {
		t.Fatal(err)
	}
	if d := must(keys.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &key})); d.KeyMetadata.KeyState != kmstypes.KeyStateUnavailable || d.KeyMetadata.Enabled {
		t.Errorf("state %s", d.KeyMetadata.KeyState)
	}
	_, err = open()
	refusedAs[*kmstypes.KMSInvalidStateException](t, "disconnected", err)
	_, err = keys.DeleteCustomKeyStore(ctx, &kms.DeleteCustomKeyStoreInput{CustomKeyStoreId: &storeID})
	refusedAs[*kmstypes.CustomKeyStoreHasCMKsException](t, "delete", err)
	if _, err := keys.UpdateCustomKeyStore(ctx, &kms.UpdateCustomKeyStoreInput{CustomKeyStoreId: &storeID, NewCustomKeyStoreName: aws.String("clinic")}); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.ConnectCustomKeyStore(ctx, &kms.ConnectCustomKeyStoreInput{CustomKeyStoreId: &storeID}); err != nil {
		t.Fatal(err)
	}
	h.connected(keys, storeID)
	alive("connected again")

	// The credential is in no answer and in no record.
	found, err := cloudtrail.NewFromConfig(cfg).LookupEvents(ctx, &cloudtrail.LookupEventsInput{LookupAttributes: []cttypes.LookupAttribute{{AttributeKey: cttypes.LookupAttributeKeyEventName, AttributeValue: aws.String("CreateCustomKeyStore")}}})
	if err != nil || len(found.Events) != 1 {
		t.Fatal(found, err)
	}
	if record := *found.Events[0].CloudTrailEvent; strings.Contains(record, *h.cred.RawSecretAccessKey) || !strings.Contains(record, h.url) {
		t.Errorf("the record of CreateCustomKeyStore: %s", record)
	}
}

func TestCustomKeyStoresAreRefusedByName(t *testing.T) {
	h := newHome(t, os.Environ())
	h.on()
	p := h.plane()
	ctx := t.Context()
	keys := kms.NewFromConfig(sdkConfig(t, p.client(t, "customer")))
	storeID, _, xksID := h.hospital(keys, "hospital")
	second := newHome(t, os.Environ())
	second.cert, second.key = h.cert, h.key
	second.on()

	good := func() *kms.CreateCustomKeyStoreInput {
		return &kms.CreateCustomKeyStoreInput{
			CustomKeyStoreName: aws.String("second"), CustomKeyStoreType: kmstypes.CustomKeyStoreTypeExternalKeyStore,
			XksProxyUriEndpoint: &second.url, XksProxyUriPath: aws.String(homePath),
			XksProxyConnectivity: kmstypes.XksProxyConnectivityTypePublicEndpoint, XksProxyAuthenticationCredential: &second.cred,
		}
	}
	wrong := kmstypes.XksProxyAuthenticationCredentialType{AccessKeyId: second.cred.AccessKeyId, RawSecretAccessKey: aws.String(strings.Repeat("x", 43))}
	for code, change := range map[string]func(in *kms.CreateCustomKeyStoreInput){
		"CustomKeyStoreNameInUseException":                   func(in *kms.CreateCustomKeyStoreInput) { in.CustomKeyStoreName = aws.String("hospital") },
		"XksProxyUriInUseException":                          func(in *kms.CreateCustomKeyStoreInput) { in.XksProxyUriEndpoint = &h.url },
		"XksProxyInvalidConfigurationException":              func(in *kms.CreateCustomKeyStoreInput) { in.XksProxyUriPath = aws.String("/ward/kms/xks/v1") },
		"XksProxyIncorrectAuthenticationCredentialException": func(in *kms.CreateCustomKeyStoreInput) { in.XksProxyAuthenticationCredential = &wrong },
		// A host that the operator has not named, at a private address.
		"XksProxyUriUnreachableException": func(in *kms.CreateCustomKeyStoreInput) { in.XksProxyUriEndpoint = aws.String("https://localhost") },
		"XksProxyVpcEndpointServiceNotFoundException": func(in *kms.CreateCustomKeyStoreInput) {
			in.XksProxyConnectivity, in.XksProxyVpcEndpointServiceName = kmstypes.XksProxyConnectivityTypeVpcEndpointService, aws.String("com.amazonaws.vpce.us-east-1.vpce-svc-1")
		},
		"CloudHsmClusterNotFoundException": func(in *kms.CreateCustomKeyStoreInput) {
			*in = kms.CreateCustomKeyStoreInput{CustomKeyStoreName: aws.String("hsm"), CloudHsmClusterId: aws.String("cluster-2a23b4cdefg"), KeyStorePassword: aws.String("password"), TrustAnchorCertificate: aws.String("PEM")}
		},
		"ValidationException": func(in *kms.CreateCustomKeyStoreInput) { in.XksProxyConnectivity = "" },
	} {
		in := good()
		change(in)
		_, err := keys.CreateCustomKeyStore(ctx, in)
		refusedWith(t, code, err, code)
	}
	refused := func(what string, err error, code string) { t.Helper(); refusedWith(t, what, err, code) }
	_, err := keys.CreateKey(ctx, &kms.CreateKeyInput{Origin: kmstypes.OriginTypeExternalKeyStore, CustomKeyStoreId: &storeID, XksKeyId: &xksID})
	refused("the same external key", err, "XksKeyAlreadyInUseException")
	_, err = keys.CreateKey(ctx, &kms.CreateKeyInput{Origin: kmstypes.OriginTypeExternalKeyStore, CustomKeyStoreId: &storeID, XksKeyId: aws.String("nothing")})
	refused("no external key", err, "XksKeyNotFoundException")
	_, err = keys.CreateKey(ctx, &kms.CreateKeyInput{Origin: kmstypes.OriginTypeExternalKeyStore, CustomKeyStoreId: &storeID, XksKeyId: aws.String(h.run("key", "new", "--usage", "ENCRYPT"))})
	refused("an external key that only encrypts", err, "XksKeyInvalidConfigurationException")
	_, err = keys.CreateKey(ctx, &kms.CreateKeyInput{Origin: kmstypes.OriginTypeExternalKeyStore, CustomKeyStoreId: aws.String("cks-0"), XksKeyId: &xksID})
	refused("no store", err, "CustomKeyStoreNotFoundException")
	_, err = keys.GenerateRandom(ctx, &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(8), CustomKeyStoreId: &storeID})
	refused("random numbers", err, "UnsupportedOperationException")
	_, err = keys.DeleteCustomKeyStore(ctx, &kms.DeleteCustomKeyStoreInput{CustomKeyStoreId: &storeID})
	refused("delete", err, "CustomKeyStoreInvalidStateException")
	_, err = keys.UpdateCustomKeyStore(ctx, &kms.UpdateCustomKeyStoreInput{CustomKeyStoreId: &storeID, XksProxyUriEndpoint: aws.String("https://keys.example")})
	refused("update", err, "CustomKeyStoreInvalidStateException")
	_, err = keys.DescribeCustomKeyStores(ctx, &kms.DescribeCustomKeyStoresInput{CustomKeyStoreName: aws.String("nothing")})
	refused("describe", err, "CustomKeyStoreNotFoundException")
	for _, call := range []func() error{
		func() error {
			_, err := keys.ConnectCustomKeyStore(ctx, &kms.ConnectCustomKeyStoreInput{CustomKeyStoreId: aws.String("cks-0")})
			return err
		},
		func() error {
			_, err := keys.DisconnectCustomKeyStore(ctx, &kms.DisconnectCustomKeyStoreInput{CustomKeyStoreId: aws.String("cks-0")})
			return err
		},
		func() error {
			_, err := keys.DeleteCustomKeyStore(ctx, &kms.DeleteCustomKeyStoreInput{CustomKeyStoreId: aws.String("cks-0")})
			return err
		},
	} {
		refused("no store", call(), "CustomKeyStoreNotFoundException")
	}
}

// The proxy's own keys can lie under a key of a plane that the customer runs:
// then that one key ends them all.
func TestAProxyOpensItsKeysAtTheCustomersOwnPlane(t *testing.T) {
	mine := sharedPlane(t)
	own := kms.NewFromConfig(sdkConfig(t, mine.client(t, "customer")))
	wrapping := must(own.CreateKey(t.Context(), &kms.CreateKeyInput{})).KeyMetadata.Arn
	h := newHome(t, mine.env("customer"), "--backend", "kms:"+*wrapping)
	h.on()
	keys := kms.NewFromConfig(sdkConfig(t, h.plane().client(t, "customer")))
	_, key, _ := h.hospital(keys, "hospital")
	sealed, err := keys.Encrypt(t.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte("x-ray")})
	if err != nil {
		t.Fatal(err)
	}
	open := func() error {
		_, err := keys.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
		return err
	}
	if err := open(); err != nil {
		t.Error(err)
	}
	must(own.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: wrapping}))
	refusedAs[*kmstypes.KMSInvalidStateException](t, "with the wrapping key disabled", open())
	must(own.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: wrapping}))
	if err := open(); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(h.dir, "keys.json")); err != nil || strings.Contains(string(b), `"material"`) {
		t.Errorf("the folder holds material in the clear: %v", err)
	}
}

func TestTheAWSCLIKeepsAKeyAtTheHospital(t *testing.T) {
	cli := need(t, "aws", "--version")
	h := newHome(t, os.Environ())
	h.on()
	p := h.plane()
	aws := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(cli, append([]string{"kms"}, args...)...)
		cmd.Env = p.env("customer")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	in, err := json.Marshal(map[string]any{
		"CustomKeyStoreName": "hospital", "CustomKeyStoreType": "EXTERNAL_KEY_STORE", "XksProxyUriEndpoint": h.url, "XksProxyUriPath": homePath,
		"XksProxyConnectivity":             "PUBLIC_ENDPOINT",
		"XksProxyAuthenticationCredential": map[string]string{"AccessKeyId": *h.cred.AccessKeyId, "RawSecretAccessKey": *h.cred.RawSecretAccessKey},
	})
	if err != nil {
		t.Fatal(err)
	}
	// As JSON: the first version of the tool fetches parameters that look like URLs.
	storeID := aws("create-custom-key-store", "--cli-input-json", string(in), "--query", "CustomKeyStoreId", "--output", "text")
	aws("connect-custom-key-store", "--custom-key-store-id", storeID)
	for i := 0; ; i++ {
		state := aws("describe-custom-key-stores", "--custom-key-store-id", storeID, "--query", "CustomKeyStores[0].ConnectionState", "--output", "text")
		if state == "CONNECTED" {
			break
		}
		if state != "CONNECTING" || i > 20 {
			t.Fatal(state)
		}
	}
	key := aws("create-key", "--origin", "EXTERNAL_KEY_STORE", "--custom-key-store-id", storeID, "--xks-key-id", h.run("key", "new"), "--query", "KeyMetadata.Arn", "--output", "text")
	dir := t.TempDir()
	plain, sealed := filepath.Join(dir, "plain"), filepath.Join(dir, "sealed")
	if err := os.WriteFile(plain, []byte("x-ray"), 0o600); err != nil {
		t.Fatal(err)
	}
	blob, err := base64.StdEncoding.DecodeString(aws("encrypt", "--key-id", key, "--plaintext", "fileb://"+plain, "--query", "CiphertextBlob", "--output", "text"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sealed, blob, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := aws("decrypt", "--ciphertext-blob", "fileb://"+sealed, "--query", "Plaintext", "--output", "text"); out != "eC1yYXk=" {
		t.Error(out)
	}
	h.off()
	cmd := exec.Command(cli, "kms", "decrypt", "--ciphertext-blob", "fileb://"+sealed)
	cmd.Env = p.env("customer")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "KMSInvalidStateException") || !strings.Contains(string(out), storeID) {
		t.Errorf("%v: %s", err, out)
	}
}
