package keys_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/cryptography/keys"
)

// newImporting is a world at the time of the HSM's own clock, which ends
// imported material, with a key that waits for its material.
func newImporting(t *testing.T) (*world, *keys.Key) {
	t.Helper()
	w := newWorld(t)
	w.clock.Set(time.Now().UTC().Truncate(time.Millisecond))
	return w, w.external()
}

func (w *world) external() *keys.Key {
	w.Helper()
	k, err := w.Create(w.Context(), keys.NewKey{Account: acct, Origin: "EXTERNAL"})
	w.must(err)
	return k
}

func newMaterial() []byte {
	b := make([]byte, 32)
	rand.Read(b)
	return b
}

// wrapped is an import of material into a key, for ever.
func (w *world) wrapped(k *keys.Key, material []byte) keys.Import {
	w.Helper()
	p, err := w.ImportParameters(w.Context(), k, "RSAES_OAEP_SHA_256", "RSA_2048")
	w.must(err)
	b, err := hsmtest.Wrap(p.PublicKey, "RSAES_OAEP_SHA_256", material)
	w.must(err)
	return keys.Import{Token: p.Token, Wrapped: b, ExpirationModel: keys.DoesNotExpire}
}

func (w *world) bring(k *keys.Key, material []byte, with func(in *keys.Import)) string {
	w.Helper()
	in := w.wrapped(w.now(k), material)
	if with != nil {
		with(&in)
	}
	id, err := w.ImportMaterial(w.Context(), w.now(k), in)
	w.must(err)
	return id
}

func until(at time.Time) func(in *keys.Import) {
	return func(in *keys.Import) { in.ExpirationModel, in.ValidTo = keys.Expires, at }
}

func asNew(in *keys.Import) { in.Type = keys.ImportNew }

// sealed is a ciphertext of a key, opened to see that it opens.
func (w *world) sealed(k *keys.Key, text string) []byte {
	w.Helper()
	blob, err := w.Encrypt(w.Context(), use(w.now(k)), []byte(text), nil)
	w.must(err)
	return blob
}

func (w *world) opens(k *keys.Key, blob []byte, text string) {
	w.Helper()
	got, _, err := w.Decrypt(w.Context(), use(w.now(k)), blob, nil)
	if err != nil || string(got) != text {
		w.Errorf("%q is opened to %q, %v", text, got, err)
	}
}

func TestAKeyWaitsForTheMaterialOfItsOwner(t *testing.T) {
	w, k := newImporting(t)
	ctx := w.Context()
	pending := k.ARN + " is pending import."
	if k.State != keys.StatePendingImport || k.MaterialID != "" || k.Enabled() {
		t.Errorf("a new key: %+v", k)
	}
	w.reopen()
	k = w.now(k)
	for name, f := range map[string]func() error{
		"Encrypt":         func() error { _, err := w.Encrypt(ctx, use(k), []byte("x"), nil); return err },
		"Encrypt dry":     func() error { u := use(k); u.DryRun = true; _, err := w.Encrypt(ctx, u, []byte("x"), nil); return err },
		"Decrypt":         func() error { _, _, err := w.Decrypt(ctx, use(k), []byte("x"), nil); return err },
		"GenerateDataKey": func() error { _, _, _, err := w.GenerateDataKey(ctx, use(k), 32, nil, true); return err },
		"Enable":          func() error { return w.Enable(ctx, k) },
		"Rotate":          func() error { return w.RotateOnDemand(ctx, k) },
	} {
		w.TB = t
		t.Run(name, func(t *testing.T) { w.TB = t; w.refused(f(), keys.InvalidState, pending) })
	}
	w.TB = t
	if id, err := w.DeleteMaterial(ctx, k, ""); err != nil || id != "" {
		t.Errorf("nothing to delete: %q, %v", id, err)
	}
	material := newMaterial()
	id := w.bring(k, material, nil)
	now := w.now(k)
	if !now.Enabled() || now.MaterialID != id || len(id) != 64 {
		t.Errorf("after the import: %+v", now)
	}
	if model, at := now.Expiration(); model != keys.DoesNotExpire || !at.IsZero() {
		t.Errorf("it ends %s %v", model, at)
	}
	blob := w.sealed(k, "ward 7")
	w.reopen()
	w.opens(k, blob, "ward 7")
	now = w.now(k)

	// Deleted, it comes back and opens what it has encrypted.
	got, err := w.DeleteMaterial(ctx, w.now(k), "")
	w.must(err)
	if got != id {
		t.Errorf("deleted %s", got)
	}
	_, _, err = w.Decrypt(ctx, use(now), blob, nil)
	w.refused(err, keys.InvalidState, pending)
	w.reopen()
	if s := w.now(k).State; s != keys.StatePendingImport {
		t.Errorf("state %s", s)
	}
	_, err = w.ImportMaterial(ctx, w.now(k), w.wrapped(w.now(k), newMaterial()))
	w.refused(err, keys.IncorrectKeyMaterial, "The key material in the request is not what is expected for this KMS key.")
	if again := w.bring(k, material, nil); again != id {
		t.Errorf("the same material is %s and then %s", id, again)
	}
	w.opens(k, blob, "ward 7")

	// The state that its owner chose stays while the material is exchanged for itself.
	w.must(w.Disable(ctx, w.now(k)))
	w.bring(k, material, until(w.clock.Now().Add(time.Hour)))
	if now := w.now(k); now.State != keys.StateDisabled {
		t.Errorf("state %s", now.State)
	}
	// And it comes back with the material, and with its fence.
	w.must(discard(w.DeleteMaterial(ctx, w.now(k), "")))
	w.refused(w.Enable(ctx, w.now(k)), keys.InvalidState, pending)
	w.reopen()
	w.bring(k, material, until(w.clock.Now().Add(time.Hour)))
	_, _, err = w.Decrypt(ctx, use(w.now(k)), blob, nil)
	w.refused(err, keys.Disabled, k.ARN+" is disabled.")
	w.must(w.Enable(ctx, w.now(k)))
	w.opens(k, blob, "ward 7")
	w.must(w.Disable(ctx, w.now(k)))
	_, err = w.ScheduleDeletion(ctx, w.now(k), 7)
	w.must(err)
	_, err = w.ImportParameters(ctx, w.now(k), "RSAES_OAEP_SHA_1", "RSA_2048")
	w.refused(err, keys.InvalidState, k.ARN+" is pending deletion.")
	if _, err := w.DeleteMaterial(ctx, w.now(k), id); err != nil {
		t.Error(err)
	}
	w.must(w.CancelDeletion(ctx, w.now(k)))
	if now := w.now(k); now.State != keys.StatePendingImport {
		t.Errorf("a key without its material is saved as %s", now.State)
	}
}

func TestImportedMaterialIsGoneWhenItsTimeIsOver(t *testing.T) {
	for _, running := range []bool{false, true} {
		w, k := newImporting(t)
		ctx := w.Context()
		material, end := newMaterial(), w.clock.Now().Add(40*24*time.Hour)
		w.bring(k, material, until(end))
		if model, at := w.now(k).Expiration(); model != keys.Expires || !at.Equal(end) {
			t.Errorf("it ends %s %v", model, at)
		}
		blob := w.sealed(k, "x")
		w.reopen()
		old := w.now(k)
		w.clock.Set(end.Add(-time.Millisecond))
		w.opens(k, blob, "x")
		w.clock.Set(end)
		if running {
			w.untilDurable(k, func(k *keys.Key) bool { _, at := k.Expiration(); return at.IsZero() })
		}
		for _, k := range []*keys.Key{old, w.now(k)} {
			_, _, err := w.Decrypt(ctx, use(k), blob, nil)
			w.refused(err, keys.InvalidState, k.ARN+" is pending import.")
		}
		w.refused(w.Disable(ctx, old), keys.InvalidState, k.ARN+" is pending import.")
		now := w.now(k)
		if model, at := now.Expiration(); now.State != keys.StatePendingImport || model != "" || !at.IsZero() {
			t.Errorf("after its end: %s, ends %s %v", now.State, model, at)
		}
		w.bring(k, material, until(w.clock.Now().Add(time.Hour)))
		w.opens(k, blob, "x")
	}
}

// untilDurable lets Run work until a restart would see what is wanted.
func (w *world) untilDurable(k *keys.Key, want func(k *keys.Key) bool) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	running := w.Keys
	go func() { done <- running.Run(ctx) }()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		w.reopen()
		if want(w.now(k)) {
			break
		}
		if time.Now().After(deadline) {
			w.Fatal("Run has not done it")
		}
	}
	cancel()
	if err := <-done; err != nil {
		w.Fatal(err)
	}
	w.reopen() // a snapshot shows the end of a material before the store has it
}

func TestASecondMaterialWaitsForARotation(t *testing.T) {
	w, k := newImporting(t)
	ctx := w.Context()
	first, second, third := newMaterial(), newMaterial(), newMaterial()
	one := w.bring(k, first, func(in *keys.Import) { in.Description = "first" })
	blob := w.sealed(k, "one")
	w.refused(w.RotateOnDemand(ctx, w.now(k)), keys.InvalidState, "No available key material pending rotation for the key: "+k.ARN+".")
	in := w.wrapped(k, first)
	in.Type = keys.ImportNew
	_, err := w.ImportMaterial(ctx, w.now(k), in)
	w.refused(err, keys.IncorrectKeyMaterial, "The key material in the request is not what is expected for this KMS key.")

	two := w.bring(k, second, asNew)
	if now := w.now(k); now.MaterialID != one || !now.Enabled() {
		t.Errorf("the pending material is in use: %+v", now)
	}
	// A third one has to wait; the pending one may be brought again.
	in = w.wrapped(k, third)
	in.Type = keys.ImportNew
	_, err = w.ImportMaterial(ctx, w.now(k), in)
	var e *keys.Error
	if !errors.As(err, &e) || e.Kind != keys.InvalidState || !strings.HasPrefix(e.Message, "New key material (id: ") ||
		!strings.HasSuffix(e.Message, ") cannot be imported into KMS key "+k.ID+", because another key material (id: "+two+") is pending rotation.") {
		t.Errorf("a third material: %v", err)
	}
	w.bring(k, second, asNew)
	w.bring(k, second, until(w.clock.Now().Add(time.Hour)))
	w.reopen()

	// A pending material that ends, or is deleted, leaves the key as it was and no trace.
	w.clock.Advance(time.Hour)
	w.opens(k, blob, "one")
	if rs, _, err := w.ListRotations(w.now(k), true, "", 10); err != nil || len(rs) != 1 {
		t.Errorf("after the end of the pending one: %+v, %v", rs, err)
	}
	w.bring(k, third, asNew)
	if _, err := w.DeleteMaterial(ctx, w.now(k), one+"00"); !errors.Is(err, &keys.Error{Kind: keys.NotFound}) {
		t.Errorf("an unknown material: %v", err)
	}
	rs, _, err := w.ListRotations(w.now(k), true, "", 10)
	w.must(err)
	w.must(discard(w.DeleteMaterial(ctx, w.now(k), rs[1].MaterialID)))
	w.opens(k, blob, "one")

	w.bring(k, second, func(in *keys.Import) { asNew(in); in.Description = "second" })
	w.must(w.RotateOnDemand(ctx, w.now(k)))
	if now := w.now(k); now.MaterialID != two {
		t.Errorf("after the rotation: %s", now.MaterialID)
	}
	newer := w.sealed(k, "two")
	w.reopen()
	w.opens(k, blob, "one")
	w.opens(k, newer, "two")

	// Without one of them the key can not open all that it has encrypted: it waits.
	w.must(discard(w.DeleteMaterial(ctx, w.now(k), one)))
	_, _, err = w.Decrypt(ctx, use(w.now(k)), newer, nil)
	w.refused(err, keys.InvalidState, k.ARN+" is pending import.")
	rs, _, err = w.ListRotations(w.now(k), true, "", 10)
	w.must(err)
	want := []keys.Rotation{
		{MaterialID: one, State: keys.MaterialOld, ImportState: keys.MaterialAwaited, Description: "first"},
		{MaterialID: two, State: keys.MaterialCurrent, ImportState: keys.MaterialImported, Description: "second", Type: keys.RotationOnDemand, Date: w.clock.Now(), ExpirationModel: keys.DoesNotExpire},
	}
	if len(rs) != 2 || rs[0] != want[0] || rs[1] != want[1] {
		t.Errorf("got  %+v\nwant %+v", rs, want)
	}
	in = w.wrapped(k, first)
	in.MaterialID = two
	_, err = w.ImportMaterial(ctx, w.now(k), in)
	w.refused(err, keys.IncorrectKeyMaterial, "The key material in the request is not what is expected for this KMS key.")
	w.bring(k, first, func(in *keys.Import) { in.MaterialID = one })
	w.opens(k, blob, "one")
}

func discard(_ string, err error) error { return err }

func TestImportsThatAreRefused(t *testing.T) {
	w, k := newImporting(t)
	ctx := w.Context()
	now := w.clock.Now()
	inner := w.create(acct)
	material := newMaterial()
	good := w.wrapped(k, material)
	external := k.ARN + " origin is EXTERNAL which is not valid for this operation."
	mine := inner.ARN + " origin is AWS_KMS which is not valid for this operation."
	for name, c := range map[string]struct {
		key  *keys.Key
		with func(in *keys.Import)
		kind keys.Kind
		text string
	}{
		"no end where there must be one":  {k, func(in *keys.Import) { in.ExpirationModel = "" }, keys.Validation, "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES"},
		"an end where there must be none": {k, func(in *keys.Import) { in.ValidTo = now.Add(time.Hour) }, keys.Validation, "A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE"},
		"an end that is past":             {k, until(now), keys.Validation, "The validTo date must be in the future"},
		"an end after more than a year":   {k, until(now.Add(365*24*time.Hour + time.Millisecond)), keys.Validation, "The validTo date must not be more than 365 days in the future"},
		"new material that has an id":     {k, func(in *keys.Import) { in.Type, in.MaterialID = keys.ImportNew, strings.Repeat("a", 64) }, keys.Validation, "KeyMaterialId cannot be specified when ImportType is NEW_KEY_MATERIAL"},
		"existing material of a new key":  {k, func(in *keys.Import) { in.Type = keys.ImportExisting }, keys.IncorrectKeyMaterial, "The key material in the request is not what is expected for this KMS key."},
		"another id":                      {k, func(in *keys.Import) { in.MaterialID = strings.Repeat("a", 64) }, keys.IncorrectKeyMaterial, "The key material in the request is not what is expected for this KMS key."},
		"a key of the boundary":           {inner, nil, keys.Unsupported, mine},
		"the token of another key":        {w.external(), nil, keys.InvalidImportToken, "The import token is not valid for this KMS key."},
		"a token that is none":            {k, func(in *keys.Import) { in.Token = []byte("token") }, keys.InvalidImportToken, "The import token is not valid for this KMS key."},
		"a ciphertext of another token":   {k, func(in *keys.Import) { in.Wrapped = w.wrapped(k, material).Wrapped }, keys.InvalidCiphertext, ""},
		"a ciphertext that is none":       {k, func(in *keys.Import) { in.Wrapped = bytes.Repeat([]byte{1}, 256) }, keys.InvalidCiphertext, ""},
		"material of another length":      {k, func(in *keys.Import) { in.Token, in.Wrapped = w.pair(k, material[:31]) }, keys.IncorrectKeyMaterial, "The key material in the request is not what is expected for this KMS key."},
		"the token of another domain":     {k, func(in *keys.Import) { w.hsm = newChip(t); w.reopen() }, keys.InvalidImportToken, "The import token is not valid for this KMS key."},
	} {
		t.Run(name, func(t *testing.T) {
			w.TB = t
			was := w.hsm
			in := good
			if c.with != nil {
				c.with(&in)
			}
			_, err := w.ImportMaterial(ctx, c.key, in)
			w.refused(err, c.kind, c.text)
			if w.hsm != was {
				w.hsm = was
				w.reopen()
			}
		})
	}
	w.TB = t
	for name, c := range map[string]struct {
		key       *keys.Key
		alg, spec string
		text      string
	}{
		"a key of the boundary": {inner, "RSAES_OAEP_SHA_1", "RSA_2048", mine},
		"PKCS#1":                {k, "RSAES_PKCS1_V1_5", "RSA_2048", "WrappingAlgorithm RSAES_PKCS1_V1_5 is not supported."},
		"SM2":                   {k, "SM2PKE", "SM2", "WrappingAlgorithm SM2PKE is not supported."},
		"an SM2 key":            {k, "RSAES_OAEP_SHA_1", "SM2", "WrappingKeySpec SM2 is not supported."},
	} {
		_, err := w.ImportParameters(ctx, c.key, c.alg, c.spec)
		t.Run(name, func(t *testing.T) { w.TB = t; w.refused(err, keys.Unsupported, c.text) })
	}
	w.TB = t
	_, err := w.DeleteMaterial(ctx, inner, "")
	w.refused(err, keys.Unsupported, mine)
	w.refused(w.EnableRotation(ctx, k, 90), keys.Unsupported, external)
	w.refused(w.DisableRotation(ctx, k), keys.Unsupported, external)
	if id, err := w.ImportMaterial(ctx, k, good); err != nil || len(id) != 64 {
		t.Errorf("the good one: %v", err)
	}
}

// pair is the token and the ciphertext of an import.
func (w *world) pair(k *keys.Key, material []byte) (token, wrapped []byte) {
	in := w.wrapped(k, material)
	return in.Token, in.Wrapped
}
