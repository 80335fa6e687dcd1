package redteam_test

import (
	"bytes"
	"fmt"
	"maps"
	"testing"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// A path is one way to make a ciphertext under a context, and one to read it
// again: open answers what was read, or the status.
type path struct {
	seal func(context []byte) (blob []byte)
	open func(blob, context []byte) ([]byte, uint64)
}

// A wrong, missing or further encryption context decrypts nothing, on any path
// that a ciphertext has. (The front's own paths, external key stores among
// them, are the same operations of the HSM.)
func TestNoOtherEncryptionContextDecryptsOnAnyPath(t *testing.T) {
	w := newWorld(t)
	key := w.newKey("k")
	encrypt := func(token []byte) func([]byte) []byte {
		return func(c []byte) []byte {
			return w.must(message.OpEncrypt, token, message.Params{Data: []byte(canary), Context: c}).Blob
		}
	}
	decrypt := func(token []byte) func(blob, c []byte) ([]byte, uint64) {
		return func(blob, c []byte) ([]byte, uint64) {
			r, status := w.do(message.OpDecrypt, token, message.Params{Blob: blob, Context: c})
			return r.Data, status
		}
	}
	other := w.newKey("other")
	material := bytes.Repeat([]byte{5}, 32)
	first, status := w.imported("external", material, nil, 0, nil)
	if status != link.StatusOK {
		t.Fatal(status)
	}
	again, status := w.imported("external", material, nil, 0, nil)
	if status != link.StatusOK {
		t.Fatal(status)
	}
	replicated := w.must(message.OpGenerateKey, nil, message.Params{Spec: message.SpecSymmetric, Usage: message.UsageEncrypt, Origin: "AWS_KMS", Name: account + "/mrk-1"}).Token
	attested := w.seal(w.newKey("attested"), message.Conditions{Measurements: []message.Measurement{measured(1)}})
	old := w.newKey("rotated")
	w.must(message.OpCommand, nil, message.Params{Command: w.command("RotateDomainKeys", struct{}{}, w.people[0], w.people[2])})
	paths := map[string]path{
		"Encrypt, Decrypt":                           {encrypt(key), decrypt(key)},
		"after a rotation and a rewrap":              {encrypt(old), decrypt(w.must(message.OpRewrapEKT, old, message.Params{}).Token)},
		"after the same material was imported again": {encrypt(first.Token), decrypt(again.Token)},
		"a multi-Region key":                         {encrypt(replicated), decrypt(replicated)},
		"GenerateDataKey": {func(c []byte) []byte {
			return w.must(message.OpGenerateDataKey, key, message.Params{Length: 32, Context: c}).Blob
		}, decrypt(key)},
		"the private key of GenerateDataKeyPair": {func(c []byte) []byte {
			return w.must(message.OpGenerateDataKeyPair, key, message.Params{Spec: message.SpecP256, Context: c, Flags: message.FlagNoPlaintext}).Blob
		}, decrypt(key)},
		"the source of ReEncrypt": {encrypt(key), func(blob, c []byte) ([]byte, uint64) {
			r, status := w.do(message.OpReEncrypt, key, message.Params{Blob: blob, Context: c, ToToken: other})
			return r.Blob, status
		}},
		"the destination of ReEncrypt": {func(c []byte) []byte {
			return w.must(message.OpReEncrypt, key, message.Params{Blob: encrypt(key)(nil), ToToken: other, ToContext: c}).Blob
		}, decrypt(other)},
		"for a recipient": {encrypt(attested), func(blob, c []byte) ([]byte, uint64) {
			r, status := w.do(message.OpDecrypt, attested, message.Params{Blob: blob, Context: c, Recipient: w.document()})
			return r.Envelope, status
		}},
	}
	contexts := []map[string]string{nil, {"a": "b"}, {"a": "b", "c": "d"}, {"a": "", "ab": "c"}, {"": "a"}}
	for name, p := range paths {
		for _, right := range contexts {
			blob := p.seal(encoded(t, right))
			if out, status := p.open(blob, encoded(t, right)); status != link.StatusOK || len(out) == 0 {
				t.Fatalf("%s: with its own context %v: status %d", name, right, status)
			}
			for _, wrong := range others(right) {
				if out, status := p.open(blob, encoded(t, wrong)); status != link.StatusAuthFailed || len(out) > 0 {
					t.Errorf("%s: made with %v, opened with %v: status %d", name, right, wrong, status)
				}
			}
			// The same pairs in other bytes are no second way to say it.
			if len(right) == 2 {
				c := encoded(t, right)
				half := 4 + (len(c)-4)/2
				swapped := append(append(bytes.Clone(c[:4]), c[half:]...), c[4:half]...)
				if _, status := p.open(blob, swapped); status == link.StatusOK {
					t.Errorf("%s: opened with the pairs in another order", name)
				}
				if _, status := p.open(blob, append(bytes.Clone(c), 0)); status == link.StatusOK {
					t.Errorf("%s: opened with a byte behind the context", name)
				}
			}
		}
	}
}

func encoded(t testing.TB, m map[string]string) []byte {
	t.Helper()
	b, err := message.AppendContext(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// others are contexts that are nearly m.
func others(m map[string]string) (out []map[string]string) {
	with := func(f func(map[string]string)) {
		c := maps.Clone(m)
		if c == nil {
			c = make(map[string]string)
		}
		if f(c); !maps.Equal(c, m) {
			out = append(out, c)
		}
	}
	with(func(c map[string]string) { clear(c) })
	with(func(c map[string]string) { c["z"] = "" })
	with(func(c map[string]string) { c["A"] = "b" })
	for k, v := range m {
		with(func(c map[string]string) { delete(c, k) })
		with(func(c map[string]string) { c[k] = v + " " })
		with(func(c map[string]string) { delete(c, k); c[k+v] = "" })
		with(func(c map[string]string) { delete(c, k); c[v] = k })
		with(func(c map[string]string) { delete(c, k); c[fmt.Sprint(k, "x")] = v })
	}
	return out
}
