package keys_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/cryptography/xks"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/memory"
)

const (
	acct  = "111122223333"
	other = "444455556666"
	alice = "arn:aws:iam::111122223333:user/alice"
	bob   = "arn:aws:iam::444455556666:user/bob"
)

// A world is everything around one set of keys.
type world struct {
	testing.TB
	*keys.Keys
	store *faulty
	clock *clock.Fake
	hsm   *chip
	xks   *xks.Dialer // nil: no external key stores
	more  []string    // Regions beside us-east-1

	stated func(context.Context, *keys.Key, []byte) error

	mu  sync.Mutex
	ids map[string]string // guarded by mu; ARN -> unique id
}

// A faulty store is the memory store whose next commit can go wrong.
type faulty struct {
	kv.Store
	mu     sync.Mutex
	before error // guarded by mu; commits answer it and write nothing
	after  error // guarded by mu; commits write and answer it all the same
	gets   error // guarded by mu; reads answer it
	blind  bool  // guarded by mu; from the next failing commit on reads fail too
	good   int   // guarded by mu; when positive, how many more commits succeed before they fail, less one
}

var errStore = errors.New("the wire to the store is cut")

func (f *faulty) set(before, after, gets error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after, f.gets = before, after, gets
}

// failAfter lets n more commits succeed, and none after them.
func (f *faulty) failAfter(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.good = n + 1
}

func (f *faulty) Commit(ctx context.Context, conds []kv.Cond, ops []kv.Op) (kv.Rev, error) {
	f.mu.Lock()
	if f.good > 0 {
		if f.good--; f.good == 0 {
			f.before = errStore
		}
	}
	before, after := f.before, f.after
	if f.blind && (before != nil || after != nil) {
		f.gets, f.blind = errStore, false
	}
	f.mu.Unlock()
	if before != nil {
		return 0, before
	}
	rev, err := f.Store.Commit(ctx, conds, ops)
	if err == nil && after != nil {
		return 0, after
	}
	return rev, err
}

func (f *faulty) Get(ctx context.Context, key []byte) (kv.Entry, error) {
	f.mu.Lock()
	gets := f.gets
	f.mu.Unlock()
	if gets != nil {
		return kv.Entry{}, gets
	}
	return f.Store.Get(ctx, key)
}

func newWorld(t *testing.T) *world { return newWorldIn(t) }

func newWorldIn(t testing.TB) *world {
	t.Helper()
	w := &world{
		TB: t, store: &faulty{Store: memory.Open()}, clock: clock.NewFake(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)), hsm: newChip(t),
		ids: map[string]string{
			alice: "AIDAALICE", bob: "AIDABOB", arn.Root(acct): "", arn.Root(other): "",
			"arn:aws:iam::111122223333:role/app":             "AROAAPP",
			"arn:aws:sts::111122223333:assumed-role/app/one": "",
		},
	}
	t.Cleanup(func() { w.store.Close() })
	w.reopen()
	return w
}

// reopen is a restart of the process on the same store.
func (w *world) reopen() {
	w.Helper()
	k, err := keys.Open(w.Context(), w.store, keys.Config{
		Boundary: w.hsm, Clock: w.clock, Region: "us-east-1", AdditionalRegions: w.more, Proxies: w.xks, Principals: w.principal, Destroyed: w.stated,
	})
	if err != nil {
		w.Fatal(err)
	}
	w.Keys = k
}

func (w *world) principal(a string) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id, ok := w.ids[a]
	return id, ok
}

func (w *world) rename(a, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if id == "" {
		delete(w.ids, a)
	} else {
		w.ids[a] = id
	}
}

func (w *world) create(account string) *keys.Key {
	w.Helper()
	k, err := w.Create(w.Context(), keys.NewKey{Account: account})
	if err != nil {
		w.Fatal(err)
	}
	return k
}

// now is the newest snapshot of a key.
func (w *world) now(k *keys.Key) *keys.Key {
	w.Helper()
	n, err := w.ByID(w.Context(), k.ID)
	if err != nil {
		w.Fatal(err)
	}
	if n == nil {
		w.Fatalf("key %s is gone", k.ID)
	}
	return n
}

// use is a use that is allowed whatever happens to the key.
func use(k *keys.Key) keys.Use {
	return keys.Use{Key: k, Again: func(*keys.Key) error { return nil }, Principal: alice, Request: "r"}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// refused checks kind and text of a refusal.
func (w *world) refused(err error, kind keys.Kind, text string) {
	w.Helper()
	var e *keys.Error
	if !errors.As(err, &e) || e.Kind != kind || e.Message != text {
		w.Errorf("got %#v\nwant kind %d, %q", err, kind, text)
	}
}

func TestStateTable(t *testing.T) {
	// kms-api section 5, for the operations that are served: a column per state, "+" allowed, otherwise the note.
	states := []keys.State{
		keys.StateEnabled, keys.StateDisabled, keys.StatePendingDeletion, keys.StatePendingImport, keys.StateUnavailable,
		keys.StateCreating, keys.StateUpdating,
	}
	table := map[string]string{
		"CancelKeyDeletion":               "4 4 + 4 4 4 4",
		"CreateAlias":                     "+ + 3 + + + +",
		"CreateGrant":                     "+ 1 3 5 + 14 +",
		"Encrypt":                         "+ 1 3 5 11 14 +",
		"Decrypt":                         "+ 1 3 5 11 14 +",
		"ReEncrypt":                       "+ 1 3 5 11 14 +",
		"GenerateDataKey":                 "+ 1 3 5 11 14 +",
		"GenerateDataKeyWithoutPlaintext": "+ 1 3 5 11 14 +",
		"DeleteAlias":                     "+ + + + + + +",
		"DescribeKey":                     "+ + + + + + +",
		"GetKeyPolicy":                    "+ + + + + + +",
		"PutKeyPolicy":                    "+ + + + + + +",
		"ListAliases":                     "+ + + + + + +",
		"ListGrants":                      "+ + + + + + +",
		"ListKeyPolicies":                 "+ + + + + + +",
		"ListResourceTags":                "+ + + + + + +",
		"RetireGrant":                     "+ + + + + + +",
		"RevokeGrant":                     "+ + + + + + +",
		"GetKeyLastUsage":                 "+ + + + + + +",
		"UpdateAlias":                     "+ + 3 + + + +",
		"DisableKey":                      "+ + 3 5 + 14 15",
		"EnableKey":                       "+ + 3 5 + 14 15",
		"ScheduleKeyDeletion":             "+ + 3 + + + 15",
		"TagResource":                     "+ + 3 + + + +",
		"UntagResource":                   "+ + 3 + + + +",
		"UpdateKeyDescription":            "+ + 3 + + + +",
		// Where a note depends on what the key is (6, 7 and 9), this package asks that first; of a key that passes:
		"DeleteImportedKeyMaterial": "+ + + + 11 14 15",
		"EnableKeyRotation":         "+ 1 3 + + 14 +",
		"DisableKeyRotation":        "+ 1 3 + + 14 +",
		"GetKeyRotationStatus":      "+ + + + + + +",
		"ListKeyRotations":          "+ + + + + + +",
		"RotateKeyOnDemand":         "+ 1 3 5 + 14 15",
		"GetParametersForImport":    "+ + 3 + 11 14 15",
		"ImportKeyMaterial":         "+ + 3 + 11 14 +",
		"Sign":                      "+ 1 3 5 11 14 +",
		"Verify":                    "+ 1 3 5 11 14 +",
		"GenerateMac":               "+ 1 3 5 11 14 +",
		"VerifyMac":                 "+ 1 3 5 11 14 +",
		"GetPublicKey":              "+ 1 3 5 11 14 +",
		"DeriveSharedSecret":        "+ 1 3 5 11 14 +",
		"GenerateDataKeyPair":       "+ 1 3 5 11 14 +",
		"ReplicateKey":              "+ 1 3 5 11 14 15",
		"UpdatePrimaryRegion":       "+ 1 3 5 11 14 +",

		"GenerateDataKeyPairWithoutPlaintext": "+ 1 3 5 11 14 +",
	}
	notes := map[string]struct {
		kind keys.Kind
		text string
	}{
		"1": {keys.Disabled, "K is disabled."}, "3": {keys.InvalidState, "K is pending deletion."},
		"4": {keys.InvalidState, "K is not pending deletion."}, "5": {keys.InvalidState, "K is pending import."},
		"11": {keys.InvalidState, "K is unavailable."}, "14": {keys.InvalidState, "K is creating."},
		"15": {keys.InvalidState, "K is updating."},
	}
	for op, row := range table {
		for i, cell := range strings.Fields(row) {
			err := states[i].Permits(op, "K")
			if cell == "+" {
				if err != nil {
					t.Errorf("%s of a key in state %s: %v", op, states[i], err)
				}
				continue
			}
			var e *keys.Error
			if want := notes[cell]; !errors.As(err, &e) || e.Kind != want.kind || e.Message != want.text {
				t.Errorf("%s of a key in state %s: got %v, want %s", op, states[i], err, want.text)
			}
		}
	}
	if err := keys.StatePendingReplicaDeletion.Permits("Encrypt", "K"); err == nil || !strings.Contains(err.Error(), "is pending replica deletion.") {
		t.Errorf("a primary that waits for its replicas: %v", err)
	}
	for _, s := range append(states, "Nonsense", "") {
		if s.Permits("NoSuchOperation", "K") == nil {
			t.Errorf("an unknown operation is allowed in state %q", s)
		}
	}
	if keys.State("Nonsense").Permits("DescribeKey", "K") == nil {
		t.Error("an unknown state allows something")
	}
}

func TestLifeOfAKey(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k, err := w.Create(ctx, keys.NewKey{Account: acct, Description: "for the ward", Tags: []keys.Tag{{"z", "1"}, {"a", "2"}}})
	w.must(err)
	if k.ARN != "arn:aws:kms:us-east-1:"+acct+":key/"+k.ID || !k.Enabled() || len(k.MaterialID) != 64 ||
		k.Spec != "SYMMETRIC_DEFAULT" || k.Usage != "ENCRYPT_DECRYPT" || k.Origin != "AWS_KMS" {
		t.Fatalf("new key: %+v", k)
	}
	if k.PolicyText() != keys.DefaultPolicy(acct) {
		t.Errorf("policy %s", k.PolicyText())
	}
	w.must(w.Enable(ctx, k))
	w.must(w.Disable(ctx, k))
	w.refused(w.CancelDeletion(ctx, k), keys.InvalidState, k.ARN+" is not pending deletion.")
	if k.State != keys.StateEnabled || w.now(k).State != keys.StateDisabled {
		t.Error("a snapshot changed, or the newest did not")
	}
	_, err = w.ScheduleDeletion(ctx, k, 6)
	w.refused(err, keys.Validation, "PendingWindowInDays must be between 7 and 30 (inclusive).")
	at, err := w.ScheduleDeletion(ctx, k, 7)
	w.must(err)
	if want := w.clock.Now().AddDate(0, 0, 7); !at.Equal(want) {
		t.Errorf("deletion at %v, want %v", at, want)
	}
	w.refused(w.Enable(ctx, k), keys.InvalidState, k.ARN+" is pending deletion.")
	w.refused(w.SetDescription(ctx, k, "x"), keys.InvalidState, k.ARN+" is pending deletion.")
	w.reopen()
	if n := w.now(k); n.State != keys.StatePendingDeletion || !n.DeletionDate.Equal(at) {
		t.Errorf("after a restart: %+v", n)
	}
	w.must(w.CancelDeletion(ctx, w.now(k)))
	if n := w.now(k); n.State != keys.StateDisabled || !n.DeletionDate.IsZero() {
		t.Errorf("a saved key is disabled: %+v", n)
	}
	w.must(w.Enable(ctx, w.now(k)))
	w.must(w.SetDescription(ctx, w.now(k), "new"))
	w.reopen()
	n := w.now(k)
	if n.Description != "new" || !slices.Equal(n.Tags, []keys.Tag{{"a", "2"}, {"z", "1"}}) || n.MaterialID != k.MaterialID ||
		!n.Created.Equal(k.Created) || n.PolicyText() != k.PolicyText() || n.Policy() == nil {
		t.Errorf("after a restart: %+v", n)
	}
}

func TestWhatIsNotServedIsRefusedAtCreation(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		n    keys.NewKey
		kind keys.Kind
		text string
	}{
		"no usage for an RSA key":    {keys.NewKey{Spec: "RSA_2048"}, keys.Validation, "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."},
		"a usage that does not fit":  {keys.NewKey{Spec: "RSA_2048", Usage: "KEY_AGREEMENT"}, keys.Validation, "KeyUsage KEY_AGREEMENT is not compatible with KeySpec RSA_2048"},
		"signing with a data key":    {keys.NewKey{Usage: "SIGN_VERIFY"}, keys.Validation, "KeyUsage SIGN_VERIFY is not compatible with KeySpec SYMMETRIC_DEFAULT"},
		"an SM2 key":                 {keys.NewKey{Spec: "SM2", Usage: "SIGN_VERIFY"}, keys.Unsupported, "KeySpec SM2 is not supported."},
		"imported ML-DSA":            {keys.NewKey{Spec: "ML_DSA_44", Usage: "SIGN_VERIFY", Origin: "EXTERNAL"}, keys.Unsupported, "Origin EXTERNAL is not supported with KeySpec ML_DSA_44."},
		"a key of no store":          {keys.NewKey{Origin: "EXTERNAL_KEY_STORE", XksKeyID: "x"}, keys.Validation, "CustomKeyStoreId is required for KMS keys with an Origin of EXTERNAL_KEY_STORE."},
		"an external key without it": {keys.NewKey{XksKeyID: "x"}, keys.Validation, "XksKeyId is valid only for KMS keys with an Origin of EXTERNAL_KEY_STORE."},
		"a store for any key":        {keys.NewKey{CustomKeyStoreID: "cks-1"}, keys.Validation, "CustomKeyStoreId is valid only for KMS keys with an Origin of AWS_CLOUDHSM or EXTERNAL_KEY_STORE."},
		"tags of the system":         {keys.NewKey{Tags: []keys.Tag{{"AWS:x", ""}}}, keys.Tagging, "Tags beginning with aws: are reserved"},
		"a tag twice":                {keys.NewKey{Tags: []keys.Tag{{"x", ""}, {"x", ""}}}, keys.Tagging, "Duplicate tag keys"},
		"no JSON as policy":          {keys.NewKey{Policy: "{"}, keys.MalformedPolicy, "Syntax errors in policy."},
		"an unknown principal":       {keys.NewKey{Policy: policyFor("arn:aws:iam::111122223333:user/nobody")}, keys.MalformedPolicy, "Policy contains a statement with one or more invalid principals."},
		"a policy without end":       {keys.NewKey{Policy: strings.Repeat(" ", keys.MaxPolicy) + policyFor(alice)}, keys.LimitExceeded, "The key policy exceeds the limit of 32768 bytes."},
	} {
		t.Run(name, func(t *testing.T) {
			c.n.Account = acct
			_, err := w.Create(t.Context(), c.n)
			w.TB = t
			w.refused(err, c.kind, c.text)
		})
	}
	w.TB = t
	if ids, _, err := w.List(t.Context(), acct, "", 10); err != nil || len(ids) != 0 {
		t.Errorf("refused keys are there: %v %v", ids, err)
	}
}

// policyFor lets one principal do everything.
func policyFor(principal string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":"kms:*","Resource":"*"}]}`
}

func TestWrongMissingOrExtraContextNeverDecrypts(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	words := []string{"", "a", "A", "b", "ward", "Ward", "ab", "ba", "\x00", "é"}
	random := func(seed int) map[string]string {
		m := map[string]string{}
		for i := range seed % 4 {
			m[words[(seed/4+i*7)%len(words)]] = words[(seed/40+i*3)%len(words)]
		}
		return m
	}
	for seed := range 400 {
		made := random(seed)
		blob, err := w.Encrypt(ctx, use(k), []byte("secret"), made)
		w.must(err)
		for tried := range 60 {
			given := random(seed*31 + tried*17)
			p, id, err := w.Decrypt(ctx, use(k), blob, given)
			if maps.Equal(made, given) {
				if err != nil || string(p) != "secret" || id != k.MaterialID {
					t.Fatalf("the right context %v: %v", given, err)
				}
				continue
			}
			if p != nil || err == nil {
				t.Fatalf("made with %v, opened with %v", made, given)
			}
			w.refused(err, keys.InvalidCiphertext, "")
		}
	}
	big := map[string]string{"k": strings.Repeat("x", keys.MaxContext)}
	_, err := w.Encrypt(ctx, use(k), []byte("x"), big)
	w.refused(err, keys.Validation, "The encryption context exceeds the limit of 8192 bytes.")
}

func TestCiphertexts(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k, second, foreign := w.create(acct), w.create(acct), w.create(other)
	blob, err := w.Encrypt(ctx, use(k), []byte("secret"), nil)
	w.must(err)
	if f, err := w.ByCiphertext(ctx, blob); err != nil || f.ID != k.ID {
		t.Fatalf("the ciphertext leads to %v, %v", f, err)
	}
	_, _, err = w.Decrypt(ctx, use(second), blob, nil)
	w.refused(err, keys.IncorrectKey, "The key ID in the request does not identify a CMK that can perform this operation.")
	_, _, err = w.Decrypt(ctx, use(foreign), blob, nil)
	w.refused(err, keys.InvalidCiphertext, "") // says nothing of the other account's key
	for i := range blob {
		bad := slices.Clone(blob)
		bad[i] ^= 1
		_, _, err := w.Decrypt(ctx, use(k), bad, nil)
		w.refused(err, keys.InvalidCiphertext, "")
	}
	for n := range blob {
		_, _, err := w.Decrypt(ctx, use(k), blob[:n], nil)
		w.refused(err, keys.InvalidCiphertext, "")
	}
	_, err = w.ByCiphertext(ctx, nil)
	w.refused(err, keys.InvalidCiphertext, "")

	moved, from, to, err := w.ReEncrypt(ctx, use(k), use(second), blob, nil, map[string]string{"a": "b"})
	w.must(err)
	if from != k.MaterialID || to != second.MaterialID {
		t.Errorf("materials %s, %s", from, to)
	}
	if p, _, err := w.Decrypt(ctx, use(second), moved, map[string]string{"a": "b"}); err != nil || string(p) != "secret" {
		t.Errorf("re-encrypted: %q, %v", p, err)
	}
	plain, sealed, _, err := w.GenerateDataKey(ctx, use(k), 32, nil, true)
	w.must(err)
	if p, _, err := w.Decrypt(ctx, use(k), sealed, nil); err != nil || !slices.Equal(p, plain) || len(p) != 32 {
		t.Errorf("data key: %v", err)
	}
	if plain, sealed, _, err := w.GenerateDataKey(ctx, use(k), 16, nil, false); err != nil || plain != nil || len(sealed) != 16+86 {
		t.Errorf("data key without plaintext: %v %d %v", plain, len(sealed), err)
	}
}

func TestDryRunChecksAndDoesNothing(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	const text = "The request would have succeeded, but the DryRun option is set."
	blob, err := w.Encrypt(ctx, use(k), []byte("x"), nil)
	w.must(err)
	before, _ := w.LastUsage(w.now(k))
	dry := use(k)
	dry.DryRun = true
	_, err = w.Encrypt(ctx, dry, []byte("x"), nil)
	w.refused(err, keys.DryRun, text)
	_, _, err = w.Decrypt(ctx, dry, blob, nil)
	w.refused(err, keys.DryRun, text)
	_, _, err = w.Decrypt(ctx, dry, blob, map[string]string{"a": "b"})
	w.refused(err, keys.InvalidCiphertext, "") // step 6 comes before step 7
	_, _, err = w.Decrypt(ctx, dry, nil, nil)
	w.refused(err, keys.DryRun, text)
	_, _, _, err = w.GenerateDataKey(ctx, dry, 32, nil, true)
	w.refused(err, keys.DryRun, text)
	_, _, _, err = w.ReEncrypt(ctx, dry, dry, blob, nil, nil)
	w.refused(err, keys.DryRun, text)
	_, _, err = w.CreateGrant(ctx, dry, keys.NewGrant{Grantee: bob, Issuer: acct, Operations: []string{"Decrypt"}})
	w.refused(err, keys.DryRun, text)
	if gs, _, err := w.ListGrants(ctx, k, "", "", "", 10); err != nil || len(gs) != 0 {
		t.Errorf("a dry run made a grant: %v %v", gs, err)
	}
	g, _, err := w.CreateGrant(ctx, use(k), keys.NewGrant{Grantee: bob, Issuer: acct, Operations: []string{"Decrypt"}})
	w.must(err)
	w.refused(w.RevokeGrant(ctx, dry, g.ID), keys.DryRun, text)
	if _, ok := w.now(k).Grant(g.ID); !ok {
		t.Error("a dry run revoked a grant")
	}
	if after, _ := w.LastUsage(w.now(k)); after != before {
		t.Error("a dry run counts as a use")
	}
	w.must(w.Disable(ctx, w.now(k)))
	_, err = w.Encrypt(ctx, dry, []byte("x"), nil)
	w.refused(err, keys.Disabled, k.ARN+" is disabled.")
}

func TestKeyPolicies(t *testing.T) {
	w := newWorld(t)
	ctx := w.Context()
	k := w.create(acct)
	never := func(*keys.Key) bool { return false }
	w.refused(w.PutPolicy(ctx, k, policyFor(alice), never), keys.MalformedPolicy, "The new key policy will not allow you to update the key policy in the future.")
	if w.now(k).PolicyText() != keys.DefaultPolicy(acct) {
		t.Error("a refused policy was stored")
	}
	w.must(w.PutPolicy(ctx, k, policyFor(alice), func(p *keys.Key) bool { return p.Policy() != nil && p.PolicyText() == policyFor(alice) }))
	w.reopen()
	if got := w.ShownPolicy(w.now(k)); got != policyFor(alice) {
		t.Errorf("shown: %s", got)
	}
	// Alice goes, and another Alice comes: the policy means the one who is gone.
	text := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["` + alice + `","` + bob + `"]},"Action":"kms:*","Resource":"*","Condition":{"ArnEquals":{"aws:PrincipalArn":"` + alice + `"}}},` +
		`{"Effect":"Deny","Principal":"*","Action":"kms:ScheduleKeyDeletion","Resource":"*"}]}`
	w.must(w.PutPolicy(ctx, w.now(k), text, nil))
	w.rename(alice, "AIDAOTHERALICE")
	want := strings.Replace(text, `["`+alice+`"`, `["AIDAALICE"`, 1)
	if got := w.ShownPolicy(w.now(k)); got != want {
		t.Errorf("shown: %s\nwant:  %s", got, want)
	}
	w.rename(alice, "")
	if got := w.ShownPolicy(w.now(k)); got != want {
		t.Errorf("shown: %s\nwant:  %s", got, want)
	}
	w.refused(w.PutPolicy(ctx, w.now(k), policyFor(alice), nil), keys.MalformedPolicy, "Policy contains a statement with one or more invalid principals.")
}

func TestBoundaryFailures(t *testing.T) {
	w := newWorld(t)
	k := w.create(acct)
	w.hsm.set(hsm.ErrUnavailable)
	_, err := w.Encrypt(w.Context(), use(k), []byte("x"), nil)
	if !errors.Is(err, &keys.Error{Kind: keys.Unavailable}) {
		t.Errorf("an absent boundary: %v", err)
	}
	if _, err := w.Create(w.Context(), keys.NewKey{Account: acct}); err == nil {
		t.Error("a key without material was made")
	}
	w.hsm.set(hsm.ErrInternal)
	var e *keys.Error
	if _, err := w.Encrypt(w.Context(), use(k), []byte("x"), nil); err == nil || errors.As(err, &e) {
		t.Errorf("a broken boundary is the caller's fault: %v", err)
	}
	if last, _ := w.LastUsage(w.now(k)); last != nil {
		t.Error("a failed use counts")
	}
}
