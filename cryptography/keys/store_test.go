package keys_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/cryptography/xks"
	"github.com/leadglass/leadglass/cryptography/xks/proxy"
)

const xksPath = "/hospital/kms/xks/v1"

// A hospital runs a real proxy in front of its external keys, and can switch
// it off.
type hospital struct {
	*world
	folder *proxy.Folder
	cred   proxy.Credential
	server *httptest.Server
	off    atomic.Bool
	seen   atomic.Pointer[func(*http.Request)]
	stop   func()
}

func newHospital(t *testing.T) *hospital {
	t.Helper()
	h := &hospital{world: newWorld(t)}
	var err error
	if h.folder, err = proxy.OpenFolder(proxy.FolderConfig{Dir: t.TempDir() + "/keys", Clock: h.clock}); err != nil {
		t.Fatal(err)
	}
	if h.cred, err = h.folder.NewCredential(); err != nil {
		t.Fatal(err)
	}
	p, err := proxy.New(proxy.Config{Folder: h.folder, Path: xksPath, Clock: h.clock, Model: "test"})
	if err != nil {
		t.Fatal(err)
	}
	h.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := h.seen.Load(); f != nil {
			(*f)(r)
		}
		if h.off.Load() {
			panic(http.ErrAbortHandler) // the connection breaks, as of a process that was killed
		}
		p.ServeHTTP(w, r)
	}))
	t.Cleanup(h.server.Close)
	if h.xks, err = xks.NewDialer(xks.DialerConfig{
		Clock: h.clock, Roots: []*x509.Certificate{h.server.Certificate()}, PrivateProxies: []string{"127.0.0.1"}, Timeout: 5 * time.Second,
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.xks.Close)
	h.stop = func() {}
	h.restart()
	t.Cleanup(func() { h.stop() })
	return h
}

// restart is a restart of the process, with its workers.
func (h *hospital) restart() {
	h.Helper()
	h.stop()
	h.reopen()
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { h.RunStores(ctx) })
	h.stop = func() { cancel(); work.Wait() }
}

func (h *hospital) description() keys.NewStore {
	return keys.NewStore{Account: acct, Name: "hospital", Endpoint: h.server.URL, Path: xksPath, AccessKeyID: h.cred.AccessKeyID, Secret: []byte(h.cred.RawSecretAccessKey), Request: "r"}
}

// store makes a store and connects it.
func (h *hospital) connected() string {
	h.Helper()
	s, err := h.CreateStore(h.Context(), h.description())
	h.must(err)
	if s.State != keys.Disconnected || !strings.HasPrefix(s.ID, "cks-") || len(s.ID) != 21 {
		h.Fatalf("%+v", s)
	}
	h.connect(s.ID)
	return s.ID
}

func (h *hospital) connect(storeID string) {
	h.Helper()
	h.must(h.ConnectStore(h.Context(), acct, storeID))
	if s := h.settled(storeID); s.State != keys.Connected {
		h.Fatalf("%s %s", s.State, s.ErrorCode)
	}
}

// settled waits until a store is not CONNECTING any more.
func (h *hospital) settled(storeID string) *keys.Store {
	h.Helper()
	for range 2000 {
		s, err := h.StoreOf(acct, storeID)
		h.must(err)
		if s.State != keys.Connecting {
			return s
		}
		h.clock.Advance(time.Second)
		time.Sleep(5 * time.Millisecond)
	}
	h.Fatal("the store does not connect")
	return nil
}

func (h *hospital) external(storeID string) (key *keys.Key, xksID string) {
	h.Helper()
	xksID, err := h.folder.NewKey(h.Context(), "", nil, proxy.Limits{})
	h.must(err)
	key, err = h.Create(h.Context(), keys.NewKey{Account: acct, Origin: keys.OriginStore, CustomKeyStoreID: storeID, XksKeyID: xksID, Principal: alice, Request: "r"})
	h.must(err)
	return key, xksID
}

func kindOf(err error) keys.Kind {
	if e, ok := errors.AsType[*keys.Error](err); ok {
		return e.Kind
	}
	return 0
}

func TestAKeyInAnExternalStoreIsEncryptedTwice(t *testing.T) {
	h := newHospital(t)
	storeID := h.connected()
	key, xksID := h.external(storeID)
	if key.CustomKeyStoreID != storeID || key.XksKeyID != xksID || key.Origin != "EXTERNAL_KEY_STORE" || key.State != keys.StateEnabled {
		t.Errorf("%+v", key)
	}
	ctx, u, pairs := t.Context(), use(key), map[string]string{"ward": "3"}
	u.Principal, u.Request = alice, "request"
	var bodies []string
	f := func(r *http.Request) {
		b := new(bytes.Buffer)
		b.ReadFrom(r.Body)
		bodies = append(bodies, b.String())
		r.Body = readCloser{b}
		b2 := b.Bytes()
		r.Body = readCloser{bytes.NewBuffer(b2)}
	}
	h.seen.Store(&f)
	plain := []byte("the patient's name")
	blob, err := h.Encrypt(ctx, u, plain, pairs)
	h.must(err)
	if blob[0] != 1 || blob[1] != 4 {
		t.Errorf("blob begins with %x", blob[:2])
	}
	out, _, err := h.Decrypt(ctx, u, blob, pairs)
	h.must(err)
	if !bytes.Equal(out, plain) {
		t.Errorf("%q", out)
	}
	for _, b := range bodies {
		if strings.Contains(b, "dGhlIHBhdGllbnQncyBuYW1l") || strings.Contains(b, "ward") {
			t.Errorf("the proxy was told: %s", b)
		}
		if !strings.Contains(b, alice) || !strings.Contains(b, key.ARN) || !strings.Contains(b, `"kmsRequestId":"request"`) {
			t.Errorf("the proxy was not told who: %s", b)
		}
	}
	if len(bodies) != 2 {
		t.Errorf("%d requests", len(bodies))
	}
	data, wrapped, _, err := h.GenerateDataKey(ctx, u, 32, pairs, true)
	h.must(err)
	if out, _, err = h.Decrypt(ctx, u, wrapped, pairs); err != nil || !bytes.Equal(out, data) {
		t.Errorf("%x %v", out, err)
	}
	_, wrapped, _, err = h.GenerateDataKey(ctx, u, 32, pairs, false)
	h.must(err)
	found, err := h.ByCiphertext(ctx, wrapped)
	if err != nil || found.ID != key.ID {
		t.Errorf("%v %v", found, err)
	}
	// Into the store, out of it, and from one external key to another.
	ordinary, second := h.create(acct), (*keys.Key)(nil)
	second, _ = h.external(storeID)
	inside, err := h.Encrypt(ctx, use(ordinary), plain, nil)
	h.must(err)
	signed := u
	signed.For = &keys.Recipient{Document: []byte("x"), Body: []byte("{}")}
	if _, _, err := h.Decrypt(ctx, signed, blob, pairs); kindOf(err) != keys.Unsupported {
		t.Errorf("a signed answer: %v", err)
	}
	if _, err := h.GenerateDataKeyPair(ctx, u, "ECC_NIST_P256", nil, true); kindOf(err) != keys.Unsupported {
		t.Errorf("a data key pair: %v", err)
	}
	for _, step := range []struct{ from, to *keys.Key }{{ordinary, key}, {key, second}, {second, ordinary}} {
		if inside, _, _, err = h.ReEncrypt(ctx, use(step.from), use(step.to), inside, nil, nil); err != nil {
			t.Fatalf("%s to %s: %v", step.from.Origin, step.to.Origin, err)
		}
		if out, _, err := h.Decrypt(ctx, use(step.to), inside, nil); err != nil || !bytes.Equal(out, plain) {
			t.Errorf("%q %v", out, err)
		}
	}
	// And with an RSA key on the other side.
	rsa, err := h.Create(ctx, keys.NewKey{Account: acct, Spec: "RSA_2048", Usage: "ENCRYPT_DECRYPT"})
	h.must(err)
	const oaep, gcm = "RSAES_OAEP_SHA_256", "SYMMETRIC_DEFAULT"
	sealed, err := h.EncryptWith(ctx, use(rsa), oaep, plain)
	h.must(err)
	into, _, _, err := h.ReEncryptWith(ctx, keys.Side{Use: use(rsa), Algorithm: oaep}, keys.Side{Use: u, Algorithm: gcm, Context: pairs}, sealed)
	h.must(err)
	if out, _, err := h.Decrypt(ctx, u, into, pairs); err != nil || !bytes.Equal(out, plain) {
		t.Errorf("%q %v", out, err)
	}
	back, _, _, err := h.ReEncryptWith(ctx, keys.Side{Use: u, Algorithm: gcm, Context: pairs}, keys.Side{Use: use(rsa), Algorithm: oaep}, into)
	h.must(err)
	if out, err := h.DecryptWith(ctx, use(rsa), oaep, back); err != nil || !bytes.Equal(out, plain) {
		t.Errorf("%q %v", out, err)
	}
}

type readCloser struct{ *bytes.Buffer }

func (readCloser) Close() error { return nil }

func TestAnExternalCiphertextOpensWithItsOwnKeyContextAndBytesAlone(t *testing.T) {
	h := newHospital(t)
	storeID := h.connected()
	key, _ := h.external(storeID)
	other, _ := h.external(storeID)
	ctx := t.Context()
	if err := h.PutConditions(ctx, use(key), keys.Conditions{CallerProof: true}, nil); kindOf(err) != keys.Unsupported {
		t.Errorf("a condition that no ciphertext of the key could meet: %v", err)
	}
	blob, err := h.Encrypt(ctx, use(key), []byte("plain"), map[string]string{"a": "b"})
	h.must(err)
	for name, pairs := range map[string]map[string]string{"none": nil, "another": {"a": "c"}, "more": {"a": "b", "c": "d"}} {
		if out, _, err := h.Decrypt(ctx, use(key), blob, pairs); kindOf(err) != keys.InvalidState {
			t.Errorf("%s: %q %v", name, out, err)
		}
	}
	if _, _, err := h.Decrypt(ctx, use(other), blob, map[string]string{"a": "b"}); kindOf(err) != keys.IncorrectKey {
		t.Errorf("another key: %v", err)
	}
	for i := range blob {
		altered := bytes.Clone(blob)
		altered[i] ^= 1
		if out, _, err := h.Decrypt(ctx, use(key), altered, map[string]string{"a": "b"}); err == nil {
			t.Errorf("byte %d altered: %q", i, out)
		}
	}
	// A blob of the plane's own is none of a key in a store, nor the other way round.
	ordinary := h.create(acct)
	own, err := h.Encrypt(ctx, use(ordinary), []byte("plain"), nil)
	h.must(err)
	own = append([]byte(nil), own...)
	copy(own[2:34], blob[2:34])
	if _, _, err := h.Decrypt(ctx, use(key), own, nil); kindOf(err) != keys.InvalidCiphertext {
		t.Errorf("a blob of type 02: %v", err)
	}
	foreign := bytes.Clone(blob)
	m, err := h.Encrypt(ctx, use(ordinary), []byte("plain"), nil)
	h.must(err)
	copy(foreign[2:34], m[2:34])
	if _, _, err := h.Decrypt(ctx, use(ordinary), foreign, nil); kindOf(err) != keys.InvalidCiphertext {
		t.Errorf("a blob of type 04: %v", err)
	}
}

func TestAKeyIsDeadWhileItsProxyIsOffAndAliveAgainAfterwards(t *testing.T) {
	h := newHospital(t)
	storeID := h.connected()
	key, xksID := h.external(storeID)
	ctx := t.Context()
	blob, err := h.Encrypt(ctx, use(key), []byte("plain"), nil)
	h.must(err)
	dead := func(why string) {
		t.Helper()
		_, _, err := h.Decrypt(ctx, use(key), blob, nil)
		_, err2 := h.Encrypt(ctx, use(key), []byte("x"), nil)
		plain, _, _, err3 := h.GenerateDataKey(ctx, use(key), 32, nil, true)
		_, _, _, err4 := h.ReEncrypt(ctx, use(key), use(key), blob, nil, nil)
		for i, err := range []error{err, err2, err3, err4} {
			if e, ok := errors.AsType[*keys.Error](err); !ok || e.Kind != keys.InvalidState || !strings.Contains(e.Message, storeID) {
				t.Errorf("%s, %d: %v", why, i, err)
			}
		}
		if plain != nil {
			t.Errorf("%s: a data key in the clear", why)
		}
	}
	alive := func(why string) {
		t.Helper()
		if out, _, err := h.Decrypt(ctx, use(h.now(key)), blob, nil); err != nil || string(out) != "plain" {
			t.Errorf("%s: %q %v", why, out, err)
		}
	}
	alive("at first")
	h.off.Store(true)
	dead("the proxy is off")
	h.off.Store(false)
	alive("the proxy is on")
	h.must(h.folder.SetEnabled(xksID, false))
	dead("the external key is disabled")
	h.must(h.folder.SetEnabled(xksID, true))
	alive("the external key is enabled")
	h.must(h.folder.DeleteCredential(h.cred.AccessKeyID))
	dead("the credential is deleted")
	next, err := h.folder.NewCredential()
	h.must(err)
	h.must(h.UpdateStore(ctx, acct, storeID, keys.StoreChange{AccessKeyID: next.AccessKeyID, Secret: []byte(next.RawSecretAccessKey), Request: "r"}))
	alive("with a new credential, connected all the time")

	h.must(h.DisconnectStore(ctx, acct, storeID))
	dead("disconnected")
	if now := h.now(key); now.State != keys.StateUnavailable || now.Enabled() {
		t.Errorf("state %s", now.State)
	}
	// What does not need the external key goes on, and counts when it is back.
	h.must(h.Disable(ctx, h.now(key)))
	if now := h.now(key); now.State != keys.StateUnavailable {
		t.Errorf("state %s", now.State)
	}
	h.connect(storeID)
	if now := h.now(key); now.State != keys.StateDisabled {
		t.Errorf("state %s", now.State)
	}
	h.must(h.Enable(ctx, h.now(key)))
	alive("connected")
	h.restart()
	key = h.now(key)
	alive("after a restart, without anybody connecting it")
}

// I-5: nothing succeeds after DisconnectStore returned.
func TestNoUseOutlivesTheDisconnection(t *testing.T) {
	h := newHospital(t)
	storeID := h.connected()
	key, _ := h.external(storeID)
	ctx := t.Context()
	blob, err := h.Encrypt(ctx, use(key), []byte("plain"), nil)
	h.must(err)
	var gone atomic.Bool
	var after, before atomic.Int64
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for range 50 {
				late := gone.Load()
				_, _, err := h.Decrypt(ctx, use(key), blob, nil)
				if err == nil {
					before.Add(1)
				}
				if err == nil && late {
					after.Add(1)
				}
			}
		})
	}
	for before.Load() < 10 {
		time.Sleep(time.Millisecond)
	}
	h.must(h.DisconnectStore(ctx, acct, storeID))
	gone.Store(true)
	work.Wait()
	if after.Load() != 0 {
		t.Errorf("%d uses after the end", after.Load())
	}
	// One that is under way when the store is disconnected fails too.
	h.connect(storeID)
	f := func(*http.Request) {
		h.seen.Store(nil)
		if err := h.DisconnectStore(ctx, acct, storeID); err != nil {
			t.Error(err)
		}
	}
	h.seen.Store(&f)
	if out, _, err := h.Decrypt(ctx, use(key), blob, nil); kindOf(err) != keys.InvalidState {
		t.Errorf("%q %v", out, err)
	}
}

func TestAKeyIsMadeOnlyWithAnExternalKeyThatIsRight(t *testing.T) {
	h := newHospital(t)
	storeID := h.connected()
	_, taken := h.external(storeID)
	ctx := t.Context()
	newXks := func(usage ...string) string {
		id, err := h.folder.NewKey(ctx, "", usage, proxy.Limits{})
		h.must(err)
		return id
	}
	off := newXks()
	h.must(h.folder.SetEnabled(off, false))
	for name, test := range map[string]struct {
		n    keys.NewKey
		kind keys.Kind
	}{
		"no such external key":      {keys.NewKey{XksKeyID: "nothing"}, keys.XksKeyNotFound},
		"one that is disabled":      {keys.NewKey{XksKeyID: off}, keys.XksKeyInvalid},
		"one that only encrypts":    {keys.NewKey{XksKeyID: newXks("ENCRYPT")}, keys.XksKeyInvalid},
		"one that another key uses": {keys.NewKey{XksKeyID: taken}, keys.XksKeyInUse},
		"no external key":           {keys.NewKey{}, keys.Validation},
		"a step in the path":        {keys.NewKey{XksKeyID: ".."}, keys.Validation},
		"a multi-Region key":        {keys.NewKey{XksKeyID: newXks(), MultiRegion: true}, keys.Unsupported},
		"an HMAC key":               {keys.NewKey{XksKeyID: newXks(), Spec: "HMAC_256", Usage: "GENERATE_VERIFY_MAC"}, keys.Unsupported},
		"a store of another":        {keys.NewKey{XksKeyID: newXks(), Account: other}, keys.StoreNotFound},
		"no store":                  {keys.NewKey{XksKeyID: newXks(), CustomKeyStoreID: "cks-0"}, keys.StoreNotFound},
		"a key of hardware":         {keys.NewKey{Origin: "AWS_CLOUDHSM"}, keys.Unsupported},
	} {
		n := test.n
		if n.Account == "" {
			n.Account = acct
		}
		if n.CustomKeyStoreID == "" {
			n.CustomKeyStoreID = storeID
		}
		if n.Origin == "" {
			n.Origin = keys.OriginStore
		}
		n.Principal, n.Request = alice, "r"
		if _, err := h.Create(ctx, n); kindOf(err) != test.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A place that was refused is free again.
	h.must(h.folder.SetEnabled(off, true))
	_, err := h.Create(ctx, keys.NewKey{Account: acct, Origin: keys.OriginStore, CustomKeyStoreID: storeID, XksKeyID: off, Principal: alice, Request: "r"})
	h.must(err)
	h.off.Store(true)
	_, err = h.Create(ctx, keys.NewKey{Account: acct, Origin: keys.OriginStore, CustomKeyStoreID: storeID, XksKeyID: "x", Principal: alice, Request: "r"})
	if kindOf(err) != keys.StoreInvalidState {
		t.Errorf("proxy off: %v", err)
	}
	h.must(h.DisconnectStore(ctx, acct, storeID))
	_, err = h.Create(ctx, keys.NewKey{Account: acct, Origin: keys.OriginStore, CustomKeyStoreID: storeID, XksKeyID: "x", Principal: alice, Request: "r"})
	if kindOf(err) != keys.StoreInvalidState {
		t.Errorf("disconnected: %v", err)
	}
	h.restart()
	_, err = h.Create(ctx, keys.NewKey{Account: acct, Origin: keys.OriginStore, CustomKeyStoreID: storeID, XksKeyID: taken, Principal: alice, Request: "r"})
	if kindOf(err) != keys.StoreInvalidState {
		t.Errorf("still disconnected: %v", err)
	}
	h.off.Store(false)
	h.connect(storeID)
	_, err = h.Create(ctx, keys.NewKey{Account: acct, Origin: keys.OriginStore, CustomKeyStoreID: storeID, XksKeyID: taken, Principal: alice, Request: "r"})
	if kindOf(err) != keys.XksKeyInUse {
		t.Errorf("taken, after a restart: %v", err)
	}
}

func TestAStoreIsMadeOnlyWithAProxyThatAnswers(t *testing.T) {
	h := newHospital(t)
	ctx := t.Context()
	for name, test := range map[string]struct {
		change func(n *keys.NewStore)
		kind   keys.Kind
	}{
		"a wrong path":        {func(n *keys.NewStore) { n.Path = "/ward/kms/xks/v1" }, keys.ProxyInvalidConfiguration},
		"an unknown key id":   {func(n *keys.NewStore) { n.AccessKeyID = "AKIAI2SFODNN7EXAMPLE" }, keys.ProxyBadCredential},
		"a wrong secret":      {func(n *keys.NewStore) { n.Secret = bytes.Repeat([]byte("x"), 43) }, keys.ProxyBadCredential},
		"nobody there":        {func(n *keys.NewStore) { n.Endpoint = "https://127.0.0.1:1" }, keys.ProxyUnreachable},
		"a private address":   {func(n *keys.NewStore) { n.Endpoint = strings.Replace(n.Endpoint, "127.0.0.1", "localhost", 1) }, keys.ProxyUnreachable},
		"plain HTTP":          {func(n *keys.NewStore) { n.Endpoint = "http://127.0.0.1" }, keys.Validation},
		"a path that is none": {func(n *keys.NewStore) { n.Path = "/kms/xks/v2" }, keys.Validation},
		"a short secret":      {func(n *keys.NewStore) { n.Secret = []byte("x") }, keys.Validation},
	} {
		n := h.description()
		test.change(&n)
		if _, err := h.CreateStore(ctx, n); kindOf(err) != test.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	if page, _, err := h.Stores(acct, "", "", "", 10); err != nil || len(page) != 0 {
		t.Errorf("%v %v", page, err)
	}
	s, err := h.CreateStore(ctx, h.description())
	h.must(err)
	n := h.description()
	if _, err := h.CreateStore(ctx, n); kindOf(err) != keys.StoreNameInUse {
		t.Error(err)
	}
	n = h.description()
	n.Name = "second"
	if _, err := h.CreateStore(ctx, n); kindOf(err) != keys.ProxyURIInUse {
		t.Error(err)
	}
	n = h.description()
	n.Account = other // names and URIs are an account's own
	if _, err := h.CreateStore(ctx, n); err != nil {
		t.Error(err)
	}
	if _, err := h.StoreOf(other, s.ID); kindOf(err) != keys.StoreNotFound {
		t.Errorf("another account sees it: %v", err)
	}
	for _, err := range []error{h.DeleteStore(ctx, other, s.ID), h.ConnectStore(ctx, other, s.ID), h.DisconnectStore(ctx, other, s.ID), h.UpdateStore(ctx, other, s.ID, keys.StoreChange{Name: "x"})} {
		if kindOf(err) != keys.StoreNotFound {
			t.Errorf("another account: %v", err)
		}
	}
}

func TestTheStatesOfAStore(t *testing.T) {
	h := newHospital(t)
	ctx := t.Context()
	storeID := h.connected()
	key, _ := h.external(storeID)
	is := func(err error, kind keys.Kind) {
		t.Helper()
		if kindOf(err) != kind {
			t.Errorf("%v", err)
		}
	}
	is(h.ConnectStore(ctx, acct, storeID), 0) // connected already
	is(h.DeleteStore(ctx, acct, storeID), keys.StoreInvalidState)
	is(h.UpdateStore(ctx, acct, storeID, keys.StoreChange{Endpoint: "https://127.0.0.1:2"}), keys.StoreInvalidState)
	h.must(h.UpdateStore(ctx, acct, storeID, keys.StoreChange{Name: "clinic"}))
	h.must(h.DisconnectStore(ctx, acct, storeID))
	is(h.DisconnectStore(ctx, acct, storeID), keys.StoreInvalidState)
	is(h.DeleteStore(ctx, acct, storeID), keys.StoreHasKeys)

	h.off.Store(true)
	h.must(h.ConnectStore(ctx, acct, storeID))
	if s := h.settled(storeID); s.State != keys.Failed || s.ErrorCode != "XKS_PROXY_NOT_REACHABLE" {
		t.Errorf("%s %s", s.State, s.ErrorCode)
	}
	is(h.ConnectStore(ctx, acct, storeID), keys.StoreInvalidState)
	is(h.UpdateStore(ctx, acct, storeID, keys.StoreChange{Name: "x"}), keys.StoreInvalidState)
	h.must(h.DisconnectStore(ctx, acct, storeID))
	h.off.Store(false)

	_, err := h.ScheduleDeletion(ctx, h.now(key), 7)
	h.must(err)
	if s := h.now(key).State; s != keys.StatePendingDeletion {
		t.Errorf("state %s", s)
	}
	is(h.DeleteStore(ctx, acct, storeID), keys.StoreHasKeys)
	run, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); h.Run(run) }()
	h.clock.Advance(8 * 24 * time.Hour)
	for i := 0; kindOf(h.DeleteStore(ctx, acct, storeID)) == keys.StoreHasKeys; i++ {
		if i > 1000 {
			t.Fatal("the key does not end")
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	<-done
	h.restart()
	if page, _, err := h.Stores(acct, "", "", "", 10); err != nil || len(page) != 0 {
		t.Errorf("%v %v", page, err)
	}
}

// A store whose process ended while it was connecting is connected by the next.
func TestAConnectionThatACrashInterruptedGoesOn(t *testing.T) {
	h := newHospital(t)
	s, err := h.CreateStore(t.Context(), h.description())
	h.must(err)
	h.stop() // nobody connects it
	h.stop = func() {}
	h.must(h.ConnectStore(t.Context(), acct, s.ID))
	h.restart()
	if s := h.settled(s.ID); s.State != keys.Connected {
		t.Errorf("%s %s", s.State, s.ErrorCode)
	}
}

// I-12 and fail closed: a commit whose outcome is unknown makes the store
// unusable until it has been read again.
func TestAStoreWhoseRecordIsNotKnownIsClosed(t *testing.T) {
	h := newHospital(t)
	storeID := h.connected()
	key, _ := h.external(storeID)
	blob, err := h.Encrypt(t.Context(), use(key), []byte("plain"), nil)
	h.must(err)
	h.store.set(nil, errStore, errStore)
	if err := h.DisconnectStore(t.Context(), acct, storeID); !errors.Is(err, errStore) {
		t.Error(err)
	}
	h.store.set(nil, nil, nil)
	if _, _, err := h.Decrypt(t.Context(), use(key), blob, nil); kindOf(err) != keys.InvalidState {
		t.Error(err)
	}
	// It was written: the store is disconnected.
	if err := h.DisconnectStore(t.Context(), acct, storeID); kindOf(err) != keys.StoreInvalidState {
		t.Error(err)
	}
	h.connect(storeID)
	if _, _, err := h.Decrypt(t.Context(), use(key), blob, nil); err != nil {
		t.Error(err)
	}
}

func TestAStoreOutlivesTheDomainKeyThatItWasMadeUnder(t *testing.T) {
	h := newHospital(t)
	storeID := h.connected()
	key, _ := h.external(storeID)
	blob, err := h.Encrypt(t.Context(), use(key), []byte("plain"), nil)
	h.must(err)
	h.must(h.RewrapStores(t.Context(), h.hsm.Rewrap))
	if _, _, err := h.Decrypt(t.Context(), use(key), blob, nil); err != nil {
		t.Error(err)
	}
	h.restart() // the credential is opened with the new token
	if _, _, err := h.Decrypt(t.Context(), use(h.now(key)), blob, nil); err != nil {
		t.Error(err)
	}
}

func TestTheStoresCredentialIsNowhereInTheStore(t *testing.T) {
	h := newHospital(t)
	storeID := h.connected()
	h.external(storeID)
	en, _, _, err := h.store.Scan(t.Context(), nil, bytes.Repeat([]byte{0xff}, 8), 1000, 0, false)
	h.must(err)
	if len(en) < 2 {
		t.Fatalf("%d entries", len(en))
	}
	for _, e := range en {
		if bytes.Contains(e.Value, []byte(h.cred.RawSecretAccessKey)) {
			t.Error("the credential lies in the store in the clear")
		}
	}
	s, err := h.StoreOf(acct, storeID)
	h.must(err)
	if strings.Contains(fmt.Sprintf("%+v", s), h.cred.RawSecretAccessKey) {
		t.Error("the credential is in the snapshot")
	}
}

func TestAnAccountHasTenStoresAndTheyAreListedInPages(t *testing.T) {
	h := newHospital(t)
	for i := range keys.MaxStores + 1 {
		n := h.description()
		n.Name = fmt.Sprintf("store %d", i)
		if i > 0 { // the proxy has one path; the others have one each that answers by another name of the host
			_, port, err := net.SplitHostPort(strings.TrimPrefix(h.server.URL, "https://"))
			h.must(err)
			n.Endpoint = fmt.Sprintf("https://127.0.0.1:%0*s", i+len(port), port)
		}
		_, err := h.CreateStore(t.Context(), n)
		if i < keys.MaxStores && err != nil || i == keys.MaxStores && kindOf(err) != keys.LimitExceeded {
			t.Fatalf("%d: %v", i, err)
		}
	}
	var all []string
	for marker := ""; ; {
		page, next, err := h.Stores(acct, "", "", marker, 3)
		h.must(err)
		for _, s := range page {
			all = append(all, s.Name)
		}
		if marker = next; next == "" {
			break
		}
	}
	if len(all) != keys.MaxStores {
		t.Errorf("%d stores: %v", len(all), all)
	}
	one, _, err := h.Stores(acct, "", "store 3", "", 10)
	if err != nil || len(one) != 1 || one[0].Name != "store 3" {
		t.Errorf("%v %v", one, err)
	}
	if _, _, err := h.Stores(acct, "", "store 77", "", 10); kindOf(err) != keys.StoreNotFound {
		t.Error(err)
	}
}
