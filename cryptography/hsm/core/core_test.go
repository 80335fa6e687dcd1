package core_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// store keeps files in memory; it can fail, always or from some write on.
type store struct {
	files map[string][]byte
	fail  error

	dying, durable bool
	left           int // writes until it dies
}

func (s *store) Load(name string) ([]byte, bool, error) {
	b, ok := s.files[name]
	return bytes.Clone(b), ok, nil
}

func (s *store) Save(name string, b []byte) error {
	if s.fail != nil {
		return s.fail
	}
	if s.dying {
		if s.left--; s.left < 0 {
			if s.fail = errPower; s.durable {
				s.files[name] = bytes.Clone(b)
			}
			return s.fail
		}
	}
	s.files[name] = bytes.Clone(b)
	return nil
}

func newStore() *store { return &store{files: make(map[string][]byte)} }

// hsm is one HSM, called without a link in between.
type hsm struct {
	*core.HSM
	t          testing.TB
	supervisor *link.Peer
	now        time.Time
	answers    *[][]byte // all results, if a test wants to see them
}

func open(t testing.TB, s *store) (*hsm, error) {
	t.Helper()
	return openWith(t, s, nil)
}

func mustOpen(t testing.TB, s *store) *hsm {
	t.Helper()
	h, err := open(t, s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// do calls one operation as the supervisor; doAs as another host.
func (h *hsm) do(op uint64, token []byte, p message.Params) (message.Result, uint64) {
	return h.doAs(h.supervisor, op, token, p)
}

func (h *hsm) doAs(host *link.Peer, op uint64, token []byte, p message.Params) (r message.Result, status uint64) {
	out, status := h.Handle(&link.Request{Host: host, Op: op, Token: token, Params: p.Append(nil)}, nil)
	if h.answers != nil {
		*h.answers = append(*h.answers, out)
	}
	if status == link.StatusOK {
		if err := r.Parse(out); err != nil {
			h.t.Fatal(err)
		}
	} else if len(out) > 0 {
		h.t.Errorf("operation %d: a refusal with a result of %d bytes", op, len(out))
	}
	return r, status
}

func (h *hsm) must(op uint64, token []byte, p message.Params) message.Result {
	h.t.Helper()
	r, status := h.do(op, token, p)
	if status != link.StatusOK {
		h.t.Fatalf("operation %d: status %d", op, status)
	}
	return r
}

func (h *hsm) newKey() []byte {
	h.t.Helper()
	return h.must(message.OpGenerateKey, nil, newKeyParams()).Token
}

// newKeyOf makes a key of any spec.
func (h *hsm) newKeyOf(spec, usage string) message.Result {
	h.t.Helper()
	p := newKeyParams()
	p.Spec, p.Usage = spec, usage
	return h.must(message.OpGenerateKey, nil, p)
}

func newKeyParams() message.Params {
	return message.Params{Spec: message.SpecSymmetric, Usage: "ENCRYPT_DECRYPT", Origin: "AWS_KMS", Name: "arn:aws:kms:us-east-1:111122223333:key/x"}
}

func context(pairs ...string) []byte {
	m := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	b, err := message.AppendContext(nil, m)
	if err != nil {
		panic(err)
	}
	return b
}

var authority = &link.Peer{Roles: []string{core.RoleAuthority}}

// The promise of the protocol: whatever is asked, no answer holds key material
// in the clear. Every operation of the table is called with parameters that
// make it succeed, and then with those of all others.
func TestNoOperationOutputsKeyMaterial(t *testing.T) {
	h := mustOpen(t, newStore())
	key, other := h.newKey(), h.newKey()
	logKey := h.must(message.OpGenerateLogKey, nil, message.Params{Name: "example.org"}).Token
	auditKey := h.must(message.OpGenerateAuditKey, nil, message.Params{Name: "111122223333"}).Token
	blob := h.must(message.OpEncrypt, key, message.Params{Data: []byte("x"), Context: context("a", "b")}).Blob
	secrets := h.DomainSecrets()
	signer, rsaKey, mac := h.newKeyOf("ECC_NIST_P384", "SIGN_VERIFY").Token, h.newKeyOf("RSA_2048", "ENCRYPT_DECRYPT"), h.newKeyOf("HMAC_512", "GENERATE_VERIFY_MAC").Token
	agrees := h.newKeyOf("ECC_NIST_P384", "KEY_AGREEMENT")
	sig := h.must(message.OpSign, signer, message.Params{Data: []byte("x"), Alg: "ECDSA_SHA_384", MessageType: "RAW"}).Data
	sum := h.must(message.OpGenerateMac, mac, message.Params{Data: []byte("x"), Alg: "HMAC_SHA_512"}).Data
	imports := h.must(message.OpImportBegin, nil, beginning(256, message.WrapOAEP1, "HMAC_384", "GENERATE_VERIFY_MAC"))
	brings := importing("HMAC_384", "GENERATE_VERIFY_MAC", wrap(t, imports.Public, message.WrapOAEP1, h.Material(h.newKeyOf("HMAC_384", "GENERATE_VERIFY_MAC").Token)))
	for _, ekt := range [][]byte{key, other, logKey, auditKey, signer, rsaKey.Token, mac, agrees.Token, imports.Token, h.must(message.OpImportKey, imports.Token, brings).Token} {
		m := h.Material(ekt)
		if len(m) < 32 {
			t.Fatal("the test does not see the key material")
		}
		for ; len(m) >= 32; m = m[min(32, len(m)):] {
			secrets = append(secrets, m[:32])
		}
	}
	params := []message.Params{
		newKeyParams(),
		{Data: []byte("x"), Context: context("a", "b")},
		{Blob: blob, Context: context("a", "b")},
		{Blob: blob, Context: context("a", "b"), ToToken: other},
		{Length: 32, Context: context("a", "b")},
		{Name: "example.org"},
		{Data: []byte("example.org/log\n1\n" + strings.Repeat("A", 43) + "=\n"), Algorithm: message.LogEd25519},
		{Name: "111122223333"},
		{Enc: make([]byte, 1120), Blob: make([]byte, 48), Info: []byte("leadglass/audit/dek/v1111122223333" + strings.Repeat("k", 16))},
		{},
		{Spec: "ECC_SECG_P256K1", Context: context("a", "b")},
		{Data: []byte("x"), Alg: "ECDSA_SHA_384", MessageType: "RAW", Signature: sig},
		{Data: []byte("x"), Alg: "HMAC_SHA_512", Signature: sum},
		{Data: []byte("x"), Alg: "RSAES_OAEP_SHA_1", Public: agrees.Public},
		{Alg: "ECDH", Public: agrees.Public},
		beginning(256, message.WrapAES256, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
		brings,
		{Alg: "ECDH", Public: h.newKeyOf("ECC_NIST_P384", "KEY_AGREEMENT").Public},
	}
	var seal message.Conditions
	params = append(params, message.Params{Conditions: seal.Append(nil)}, message.Params{Epoch: 1})
	// What closes keys comes last.
	last := []uint64{message.OpSealConditions, message.OpRaiseFence}
	table := core.Operations()
	order := slices.DeleteFunc(slices.Sorted(maps.Keys(table)), func(op uint64) bool { return slices.Contains(last, op) })
	succeeded := make(map[uint64]bool)
	for _, op := range append(order, last...) {
		name := table[op]
		for _, p := range params {
			for _, token := range [][]byte{nil, key, logKey, auditKey, signer, rsaKey.Token, mac, agrees.Token, imports.Token} {
				for _, host := range []*link.Peer{h.supervisor, authority} {
					out, status := h.Handle(&link.Request{Host: host, Op: op, Token: token, Params: p.Append(nil)}, nil)
					succeeded[op] = succeeded[op] || status == link.StatusOK
					for _, s := range append(secrets, h.DomainSecrets()...) {
						if bytes.Contains(out, s) || bytes.Contains(out, []byte(hex.EncodeToString(s))) ||
							bytes.Contains(out, []byte(base64.StdEncoding.EncodeToString(s)[:40])) {
							t.Fatalf("%s put out key material", name)
						}
					}
				}
			}
		}
		// PlaceHost needs a key of a host, OpenAuditKey a real ciphertext, Command
		// a quorum, TrustRoots roots: they have tests of their own.
		if !succeeded[op] && op != message.OpPlaceHost && op != message.OpOpenAuditKey && op != message.OpCommand && op != message.OpTrustRoots {
			t.Errorf("%s never succeeded: the test says nothing of it", name)
		}
	}
	for op := range uint64(300) {
		if _, known := core.Operations()[op]; !known {
			if _, status := h.do(op, key, message.Params{}); status != link.StatusBadRequest {
				t.Errorf("operation %d does not exist and answered %d", op, status)
			}
		}
	}
}

func TestATokenOpensOnlyUnchanged(t *testing.T) {
	h := mustOpen(t, newStore())
	key := h.newKey()
	for i := range key {
		for _, bit := range []byte{1, 0x80} {
			bad := bytes.Clone(key)
			bad[i] ^= bit
			if _, status := h.do(message.OpEncrypt, bad, message.Params{Data: []byte("x")}); status == link.StatusOK {
				t.Fatalf("a token with byte %d changed opened", i)
			}
		}
	}
	for n := range key {
		if _, status := h.do(message.OpEncrypt, key[:n], message.Params{Data: []byte("x")}); status == link.StatusOK {
			t.Fatalf("%d bytes of a token opened", n)
		}
	}
	if _, status := h.do(message.OpEncrypt, append(key, 0), message.Params{Data: []byte("x")}); status != link.StatusWrongToken {
		t.Errorf("a token with a byte too many: %d", status)
	}
}

func TestABlobOpensOnlyUnchangedAndUnderItsKey(t *testing.T) {
	h := mustOpen(t, newStore())
	key, other := h.newKey(), h.newKey()
	blob := h.must(message.OpEncrypt, key, message.Params{Data: []byte("plain"), Context: context("a", "b")}).Blob
	open := func(token, blob []byte) uint64 {
		_, status := h.do(message.OpDecrypt, token, message.Params{Blob: blob, Context: context("a", "b")})
		return status
	}
	if open(key, blob) != link.StatusOK {
		t.Fatal("the blob does not open at all")
	}
	for i := range blob {
		bad := bytes.Clone(blob)
		bad[i] ^= 4
		if status := open(key, bad); status != link.StatusAuthFailed {
			t.Errorf("byte %d changed: status %d", i, status)
		}
	}
	for n := range blob {
		if status := open(key, blob[:n]); status != link.StatusAuthFailed {
			t.Errorf("%d bytes: status %d", n, status)
		}
	}
	if status := open(other, blob); status != link.StatusAuthFailed {
		t.Errorf("another key: status %d", status)
	}
	// The same material id but another key: what a forged token would be.
	stolen := bytes.Clone(blob)
	id, _ := message.MaterialOf(h.must(message.OpEncrypt, other, message.Params{Data: []byte("x")}).Blob)
	copy(stolen[2:], id[:])
	if status := open(other, stolen); status != link.StatusAuthFailed {
		t.Errorf("another key with its id in the blob: status %d", status)
	}
}

func TestOnlyTheExactContextOpens(t *testing.T) {
	h := mustOpen(t, newStore())
	key := h.newKey()
	contexts := [][]byte{
		context(), context("a", "b"), context("a", "c"), context("b", "b"), context("A", "b"), context("a", "b", "c", "d"),
		context("a", ""), context("", "b"), context("", ""), context("ab", ""), context("a", "b", "", ""), context("a", "b", "c", ""),
		context("a", strings.Repeat("b", 5000)),
	}
	for i, made := range contexts {
		blob := h.must(message.OpEncrypt, key, message.Params{Data: []byte("plain"), Context: made}).Blob
		for j, asked := range contexts {
			r, status := h.do(message.OpDecrypt, key, message.Params{Blob: blob, Context: asked})
			if want := i == j; (status == link.StatusOK) != want || want && string(r.Data) != "plain" {
				t.Errorf("made with %q, opened with %q: status %d", made, asked, status)
			}
		}
	}
	// Absent is the same as empty, on both sides.
	blob := h.must(message.OpEncrypt, key, message.Params{Data: []byte("plain")}).Blob
	if _, status := h.do(message.OpDecrypt, key, message.Params{Blob: blob, Context: context()}); status != link.StatusOK {
		t.Errorf("absent is not empty: %d", status)
	}
	for name, bad := range map[string][]byte{
		"unsorted":        {0, 0, 0, 2, 0, 0, 0, 1, 'b', 0, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 0, 0},
		"a key twice":     {0, 0, 0, 2, 0, 0, 0, 1, 'a', 0, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 0, 0},
		"too short":       {0, 0, 0, 1, 0, 0, 0, 9, 'a'},
		"bytes after it":  {0, 0, 0, 0, 0},
		"no count":        {0},
		"too many":        {0xff, 0xff, 0xff, 0xff},
		"larger than 8 K": append([]byte{0, 0, 0, 1, 0, 0, 0x20, 1}, make([]byte, 0x2001+4)...),
	} {
		if _, status := h.do(message.OpEncrypt, key, message.Params{Data: []byte("x"), Context: bad}); status != link.StatusBadRequest {
			t.Errorf("a context that is %s: status %d", name, status)
		}
	}
}

func TestParametersOutOfRangeAreRefused(t *testing.T) {
	h := mustOpen(t, newStore())
	key := h.newKey()
	logKey := h.must(message.OpGenerateLogKey, nil, message.Params{Name: "example.org"}).Token
	for name, c := range map[string]struct {
		op     uint64
		token  []byte
		params message.Params
		want   uint64
	}{
		"a plaintext of 4097 bytes":         {message.OpEncrypt, key, message.Params{Data: make([]byte, 4097)}, link.StatusBadRequest},
		"no token":                          {message.OpEncrypt, nil, message.Params{Data: []byte("x")}, link.StatusWrongToken},
		"a token of another kind":           {message.OpEncrypt, logKey, message.Params{Data: []byte("x")}, link.StatusWrongToken},
		"a data key of no bytes":            {message.OpGenerateDataKey, key, message.Params{}, link.StatusBadRequest},
		"a data key of 1025 bytes":          {message.OpGenerateDataKey, key, message.Params{Length: 1025}, link.StatusBadRequest},
		"an unknown flag":                   {message.OpGenerateDataKey, key, message.Params{Length: 1, Flags: 2}, link.StatusBadRequest},
		"1025 random bytes":                 {message.OpRandom, nil, message.Params{Length: 1025}, link.StatusBadRequest},
		"an RSA key that agrees":            {message.OpGenerateKey, nil, message.Params{Spec: "RSA_2048", Usage: "KEY_AGREEMENT", Origin: "AWS_KMS"}, link.StatusBadRequest},
		"imported material":                 {message.OpGenerateKey, nil, message.Params{Spec: message.SpecSymmetric, Usage: "ENCRYPT_DECRYPT", Origin: "EXTERNAL"}, link.StatusBadRequest},
		"a key for a role that is no role":  {message.OpGenerateKey, nil, func() message.Params { p := newKeyParams(); p.Role = "operator"; return p }(), link.StatusBadRequest},
		"a key for the authority":           {message.OpGenerateKey, nil, func() message.Params { p := newKeyParams(); p.Role = core.RoleAuthority; return p }(), link.StatusDenied},
		"an audit key of no account":        {message.OpGenerateAuditKey, nil, message.Params{Name: "11112222333x"}, link.StatusBadRequest},
		"signing with a customer's key":     {message.OpSignLog, key, message.Params{Data: []byte("example.org/log\n1\n" + strings.Repeat("A", 43) + "=\n"), Algorithm: 1}, link.StatusWrongToken},
		"re-encrypting to a log key":        {message.OpReEncrypt, key, message.Params{Blob: h.must(message.OpEncrypt, key, message.Params{Data: []byte("x")}).Blob, ToToken: logKey}, link.StatusWrongToken},
		"a token of a domain key never met": {message.OpEncrypt, append([]byte("LGE1unknown!"), key[12:]...), message.Params{Data: []byte("x")}, link.StatusStale},
	} {
		if _, status := h.do(c.op, c.token, c.params); status != c.want {
			t.Errorf("%s: status %d, want %d", name, status, c.want)
		}
	}
}

func TestAKeyOfTheAuthorityIsClosedToOtherHosts(t *testing.T) {
	h := mustOpen(t, newStore())
	p := newKeyParams()
	p.Role = core.RoleAuthority
	made, status := h.doAs(authority, message.OpGenerateKey, nil, p)
	if status != link.StatusOK {
		t.Fatal(status)
	}
	key := bytes.Clone(made.Token)
	dataKey, status := h.doAs(authority, message.OpGenerateDataKey, key, message.Params{Length: 32})
	if status != link.StatusOK {
		t.Fatal(status)
	}
	blob := bytes.Clone(dataKey.Blob)
	if _, status := h.doAs(authority, message.OpDecrypt, key, message.Params{Blob: blob}); status != link.StatusOK {
		t.Errorf("the authority cannot open its own: %d", status)
	}
	customer := h.newKey()
	for op, name := range core.Operations() {
		if _, status := h.do(op, key, message.Params{Blob: blob, Data: []byte("x"), Length: 32}); status == link.StatusOK {
			switch op { // these do not look at the token
			case message.OpRandom, message.OpStatus, message.OpReady, message.OpRotateDomainKeys, message.OpGenerateLogKey,
				message.OpMember, message.OpDomainState, message.OpCommandLog, message.OpAttestationRoots:
			default:
				t.Errorf("%s worked for a host without the role", name)
			}
		}
		if _, status := h.doAs(authority, op, customer, message.Params{Blob: blob, Data: []byte("x"), Length: 32}); status == link.StatusOK {
			switch op {
			case message.OpRandom, message.OpStatus:
			default:
				t.Errorf("%s with a customer's key worked for the authority", name)
			}
		}
	}
	// Neither does re-encrypting under one's own key open it.
	own := h.newKey()
	if _, status := h.do(message.OpReEncrypt, key, message.Params{Blob: blob, ToToken: own}); status != link.StatusDenied {
		t.Errorf("ReEncrypt from the authority's key: %d", status)
	}
	mine := h.must(message.OpEncrypt, own, message.Params{Data: []byte("x")}).Blob
	if _, status := h.do(message.OpReEncrypt, own, message.Params{Blob: mine, ToToken: key}); status != link.StatusDenied {
		t.Errorf("ReEncrypt to the authority's key: %d", status)
	}
}

func TestWhatIsSealedIntoATokenIsEnforced(t *testing.T) {
	h := mustOpen(t, newStore())
	material := make([]byte, 32)
	until := uint64(h.now.Add(time.Hour).UnixMilli())
	expiring := h.WrapForeign(material, until, false)
	if _, status := h.do(message.OpEncrypt, expiring, message.Params{Data: []byte("x")}); status != link.StatusOK {
		t.Errorf("before its expiry: %d", status)
	}
	h.now = h.now.Add(time.Hour + time.Second)
	if _, status := h.do(message.OpEncrypt, expiring, message.Params{Data: []byte("x")}); status != link.StatusDenied {
		t.Errorf("after its expiry: %d", status)
	}
	conditioned := h.WrapForeign(material, 0, true)
	for _, op := range []uint64{message.OpEncrypt, message.OpDecrypt, message.OpRewrapEKT, message.OpGenerateDataKey} {
		if _, status := h.do(op, conditioned, message.Params{Data: []byte("x"), Length: 8}); status != link.StatusDenied {
			t.Errorf("operation %d with a condition that cannot be enforced: %d", op, status)
		}
	}
}

func TestHostsArePlacedBySupervisorUntilReady(t *testing.T) {
	h := mustOpen(t, newStore())
	spki := func() []byte {
		_, b, err := link.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := spki()
	for name, c := range map[string]struct {
		host *link.Peer
		p    message.Params
	}{
		"another host":      {authority, message.Params{Public: spki(), Role: core.RoleHost}},
		"a second boss":     {h.supervisor, message.Params{Public: spki(), Role: core.RoleSupervisor}},
		"no role":           {h.supervisor, message.Params{Public: spki()}},
		"a key that is not": {h.supervisor, message.Params{Public: []byte("x"), Role: core.RoleHost}},
	} {
		if _, status := h.doAs(c.host, message.OpPlaceHost, nil, c.p); status != link.StatusDenied {
			t.Errorf("%s: status %d", name, status)
		}
	}
	h.must(message.OpPlaceHost, nil, message.Params{Public: first, Role: core.RoleAuthority})
	if _, status := h.do(message.OpPlaceHost, nil, message.Params{Public: first, Role: core.RoleHost}); status != link.StatusDenied {
		t.Errorf("a host got a second role: %d", status)
	}
	h.must(message.OpReady, nil, message.Params{})
	if _, status := h.do(message.OpPlaceHost, nil, message.Params{Public: spki(), Role: core.RoleHost}); status != link.StatusDenied {
		t.Errorf("a host was placed after Ready: %d", status)
	}
}

func TestADomainSurvivesARestartAndRotations(t *testing.T) {
	s := newStore()
	h := mustOpen(t, s)
	key := bytes.Clone(h.newKey())
	blob := bytes.Clone(h.must(message.OpEncrypt, key, message.Params{Data: []byte("plain")}).Blob)
	identity := bytes.Clone(h.Identity())
	for range 3 {
		h.must(message.OpRotateDomainKeys, nil, message.Params{})
	}
	h = mustOpen(t, s)
	if !bytes.Equal(h.Identity(), identity) {
		t.Error("the identity changed")
	}
	var status message.Status
	if err := status.Parse(h.must(message.OpStatus, nil, message.Params{}).Status); err != nil || status.DomainKeys != 4 || status.Serial != 3 {
		t.Errorf("status %+v, %v", status, err)
	}
	if r := h.must(message.OpDecrypt, key, message.Params{Blob: blob}); string(r.Data) != "plain" {
		t.Error("the old token opens to something else")
	}
	moved := h.must(message.OpRewrapEKT, key, message.Params{}).Token
	if bytes.Equal(moved[4:12], key[4:12]) || !bytes.Equal(moved[4:12], status.ActiveKey[:]) {
		t.Error("RewrapEKT did not move the token to the active key")
	}
	if r := h.must(message.OpDecrypt, moved, message.Params{Blob: blob}); string(r.Data) != "plain" {
		t.Error("the new token opens to something else")
	}
}

func TestARotationThatIsNotDurableDoesNotHappen(t *testing.T) {
	s := newStore()
	h := mustOpen(t, s)
	s.fail = errors.New("no space")
	if _, status := h.do(message.OpRotateDomainKeys, nil, message.Params{}); status != link.StatusInternal {
		t.Errorf("status %d", status)
	}
	s.fail = nil
	key := h.newKey() // under the old key, which the restart knows
	h = mustOpen(t, s)
	h.must(message.OpEncrypt, key, message.Params{Data: []byte("x")})
}

func TestADomainUnsealsOnlyUnchangedAndWithItsKey(t *testing.T) {
	s := newStore()
	mustOpen(t, s)
	sealed := s.files["domain.sealed"]
	for _, i := range []int{0, 4, 10, 30, 60, len(sealed) - 1} {
		s.files["domain.sealed"] = bytes.Clone(sealed)
		s.files["domain.sealed"][i] ^= 1
		if _, err := open(t, s); !errors.Is(err, core.ErrSealed) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	s.files["domain.sealed"] = sealed
	s.files["seal.key"][0] ^= 1
	if _, err := open(t, s); !errors.Is(err, core.ErrSealed) {
		t.Errorf("another seal key: %v", err)
	}
	delete(s.files, "seal.key")
	if _, err := open(t, s); !errors.Is(err, core.ErrSealed) {
		t.Errorf("no seal key: %v", err)
	}
	if _, made := s.files["seal.key"]; made {
		t.Error("a new seal key was made for a domain that has another")
	}
	s.files["seal.key"] = []byte("short")
	if _, err := open(t, s); err == nil {
		t.Error("a seal key of 5 bytes was accepted")
	}
}

func TestTheSealKeyCanLieElsewhere(t *testing.T) {
	s := newStore()
	memory, err := secret.NewArena(4096)
	if err != nil {
		t.Fatal(err)
	}
	file := &bytes.Buffer{}
	first, err := core.OpenSoftwareSeal(s, file, memory)
	if err != nil {
		t.Fatal(err)
	}
	if file.Len() != 32 || len(s.files) != 0 {
		t.Errorf("the file has %d bytes, the store %d files", file.Len(), len(s.files))
	}
	sealed, err := first.Seal([]byte("bundle"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := core.OpenSoftwareSeal(s, bytes.NewBuffer(bytes.Clone(file.Bytes())), memory)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := second.Unseal(sealed); err != nil || string(plain) != "bundle" {
		t.Errorf("%q, %v", plain, err)
	}
}

func TestTheLogSignsOnlyItsOwnTexts(t *testing.T) {
	root := base64.StdEncoding.EncodeToString(make([]byte, 32))
	subtree := "subtree/v1\n\x00\x04name12345678\x06origin" + strings.Repeat("\x00", 48)
	for text, alg := range map[string]uint64{
		"leadglass/receipt/v1\x00" + strings.Repeat("x", 52):              1,
		"example.org/root\n0\n" + root + "\n":                             1,
		"example.org/a/00ff\n12345\n" + root + "\n":                       1,
		"cosignature/v1\ntime 1700000000\nexample.org\n5\n" + root + "\n": 1,
		subtree: 2,
	} {
		if !core.Signable(alg, []byte(text)) {
			t.Errorf("refused: %q", text)
		}
		if core.Signable(3-alg, []byte(text)) || core.Signable(0, []byte(text)) {
			t.Errorf("signed with the other algorithm: %q", text)
		}
	}
	for _, text := range []string{
		"", "hello", "leadglass/receipt/v1\x00", "leadglass/receipt/v1\x00" + strings.Repeat("x", 53),
		"leadglass/receipt/v2\x00" + strings.Repeat("x", 52),
		"example.org\n01\n" + root + "\n", "example.org\n-1\n" + root + "\n", "example.org\n1\n" + root, "\n1\n" + root + "\n",
		"example.org\n1\n" + root + "\nextension\n", "example.org\n1\n" + root[:40] + "\n", "example org\n1\n" + root + "\n",
		"example+org\n1\n" + root + "\n", "cosignature/v1\ntime x\nexample.org\n5\n" + root + "\n",
		"leadglass quorum\x00" + strings.Repeat("x", 48), "leadglass hsm hello\x00" + strings.Repeat("x", 48),
		subtree + "x", subtree[:40], "subtree/v1\n\x00\x00" + subtree[17:],
	} {
		if core.Signable(1, []byte(text)) || core.Signable(2, []byte(text)) {
			t.Errorf("signed: %q", text)
		}
	}
}
