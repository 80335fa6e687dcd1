package kms_test

import (
	"crypto/x509"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/cryptography/xks"
	"github.com/leadglass/leadglass/cryptography/xks/proxy"
	"github.com/leadglass/leadglass/service/kms"
	"github.com/leadglass/leadglass/state/kv/memory"
)

// withProxy is a desk with an external key store behind a real proxy, and the
// members of CreateCustomKeyStore for it.
func withProxy(t *testing.T) (d *desk, folder *proxy.Folder, create string) {
	t.Helper()
	d = newDesk(t)
	folder, err := proxy.OpenFolder(proxy.FolderConfig{Dir: t.TempDir() + "/keys", Clock: d.clock})
	if err != nil {
		t.Fatal(err)
	}
	cred, err := folder.NewCredential()
	if err != nil {
		t.Fatal(err)
	}
	p, err := proxy.New(proxy.Config{Folder: folder, Path: "/kms/xks/v1", Clock: d.clock, Model: "test"})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewTLSServer(p)
	t.Cleanup(s.Close)
	dialer, err := xks.NewDialer(xks.DialerConfig{
		Clock: d.clock, Roots: []*x509.Certificate{s.Certificate()}, PrivateProxies: []string{"127.0.0.1"}, Timeout: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dialer.Close)
	store := memory.Open()
	t.Cleanup(func() { store.Close() })
	k, err := keys.Open(t.Context(), store, keys.Config{
		Boundary: hsmtest.Open(t, t.TempDir()), Clock: d.clock, Region: region, Proxies: dialer,
		Principals: func(a string) (string, bool) { id, ok := d.ids[a]; return id, ok },
	})
	if err != nil {
		t.Fatal(err)
	}
	d.keys = k
	for _, op := range kms.New(k).Operations() {
		d.table[op.Info.Name] = op
	}
	done := make(chan struct{})
	go func() { defer close(done); k.RunStores(t.Context()) }()
	t.Cleanup(func() { <-done })
	return d, folder, obj("CustomKeyStoreName", "hospital", "CustomKeyStoreType", "EXTERNAL_KEY_STORE", "XksProxyUriEndpoint", s.URL,
		"XksProxyUriPath", "/kms/xks/v1", "XksProxyConnectivity", "PUBLIC_ENDPOINT",
		"XksProxyAuthenticationCredential", map[string]string{"AccessKeyId": cred.AccessKeyID, "RawSecretAccessKey": cred.RawSecretAccessKey})
}

func TestCustomKeyStoresNeedTheirOwnPermissions(t *testing.T) {
	d, _, create := withProxy(t)
	id := d.ok(d.admin, "CreateCustomKeyStore", create).str("CustomKeyStoreId")
	one := obj("CustomKeyStoreId", id)
	for op, body := range map[string]string{
		"CreateCustomKeyStore": create, "DescribeCustomKeyStores": `{}`, "UpdateCustomKeyStore": obj("CustomKeyStoreId", id, "NewCustomKeyStoreName", "x"),
		"DeleteCustomKeyStore": one, "ConnectCustomKeyStore": one, "DisconnectCustomKeyStore": one,
	} {
		if a := d.do(d.nobody, op, body); a.code() != "AccessDeniedException" {
			t.Errorf("%s by nobody: %s", op, a.raw)
		}
		allowed := d.user(acct, "only-"+op, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:`+op+`","Resource":"*","Condition":{"StringEquals":{"kms:CallerAccount":"`+acct+`"}}}]}`)
		if a := d.do(allowed, op, body); a.code() == "AccessDeniedException" {
			t.Errorf("%s by one who may: %s", op, a.raw)
		}
	}
	// The last of them may have deleted it, in whatever order they came; another account never sees it.
	if a := d.do(d.stranger, "ConnectCustomKeyStore", one); a.code() != "CustomKeyStoreNotFoundException" {
		t.Errorf("a stranger: %s", a.raw)
	}
	if a := d.do(d.stranger, "DescribeCustomKeyStores", `{}`); strings.Contains(a.raw, "cks-") {
		t.Errorf("a stranger: %s", a.raw)
	}
}

func TestAPolicyTellsExternalKeysFromOthers(t *testing.T) {
	d, folder, create := withProxy(t)
	id := d.ok(d.admin, "CreateCustomKeyStore", create).str("CustomKeyStoreId")
	d.ok(d.admin, "ConnectCustomKeyStore", obj("CustomKeyStoreId", id))
	for i := 0; !strings.Contains(d.ok(d.admin, "DescribeCustomKeyStores", `{}`).raw, `"CONNECTED"`); i++ {
		if i > 1000 {
			t.Fatal("the store does not connect")
		}
		time.Sleep(5 * time.Millisecond)
	}
	external := func() string {
		x, err := folder.NewKey(t.Context(), "", nil, proxy.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return obj("Origin", "EXTERNAL_KEY_STORE", "CustomKeyStoreId", id, "XksKeyId", x)
	}
	home := d.user(acct, "home", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"kms:KeyOrigin":"EXTERNAL_KEY_STORE"}}}]}`)
	key := d.ok(home, "CreateKey", external()).str("KeyMetadata", "Arn")
	if a := d.do(home, "CreateKey", `{}`); a.code() != "AccessDeniedException" {
		t.Errorf("an ordinary key: %s", a.raw)
	}
	ordinary := d.ok(d.admin, "CreateKey", `{}`).str("KeyMetadata", "Arn")
	blob := d.ok(home, "Encrypt", obj("KeyId", key, "Plaintext", "AAAA")).str("CiphertextBlob")
	if a := d.do(home, "Encrypt", obj("KeyId", ordinary, "Plaintext", "AAAA")); a.code() != "AccessDeniedException" {
		t.Errorf("an ordinary key: %s", a.raw)
	}
	if got := d.ok(home, "Decrypt", obj("CiphertextBlob", blob)).str("Plaintext"); got != "AAAA" {
		t.Errorf("decrypted %s", got)
	}
	// Another account's ciphertext is refused like any other's.
	if a := d.do(d.stranger, "Decrypt", obj("CiphertextBlob", blob)); a.code() != "AccessDeniedException" {
		t.Errorf("a stranger: %s", a.raw)
	}
	for op, body := range map[string]string{
		"GetKeyRotationStatus": obj("KeyId", key), "EnableKeyRotation": obj("KeyId", key), "RotateKeyOnDemand": obj("KeyId", key), "ListKeyRotations": obj("KeyId", key),
		"GetParametersForImport": obj("KeyId", key, "WrappingAlgorithm", "RSAES_OAEP_SHA_256", "WrappingKeySpec", "RSA_2048"),
		"GenerateDataKeyPair":    obj("KeyId", key, "KeyPairSpec", "ECC_NIST_P256"), "GetPublicKey": obj("KeyId", key),
	} {
		if a := d.do(d.admin, op, body); a.code() != "UnsupportedOperationException" {
			t.Errorf("%s: %s", op, a.raw)
		}
	}
	d.ok(d.admin, "DisconnectCustomKeyStore", obj("CustomKeyStoreId", id))
	for op, body := range map[string]string{
		"Encrypt": obj("KeyId", key, "Plaintext", "AAAA"), "Decrypt": obj("CiphertextBlob", blob), "GenerateDataKey": obj("KeyId", key, "KeySpec", "AES_256"),
		"ReEncrypt": obj("CiphertextBlob", blob, "DestinationKeyId", ordinary), "GenerateDataKeyWithoutPlaintext": obj("KeyId", key, "KeySpec", "AES_256"),
	} {
		if a := d.do(d.admin, op, body); a.code() != "KMSInvalidStateException" || !strings.HasPrefix(a.text(), key+" is unavailable") {
			t.Errorf("%s: %s", op, a.raw)
		}
	}
	if s := d.ok(d.admin, "DescribeKey", obj("KeyId", key)).str("KeyMetadata", "KeyState"); s != "Unavailable" {
		t.Errorf("state %s", s)
	}
}
