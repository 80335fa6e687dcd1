package core_test

import (
	"testing"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// Whatever a host sends, it gets an answer, and a token that it made up opens
// nothing.
func FuzzHandle(f *testing.F) {
	h := mustOpen(f, newStore())
	key := append([]byte(nil), h.newKey()...)
	p := newKeyParams()
	f.Add(uint64(message.OpGenerateKey), []byte(nil), p.Append(nil))
	p = message.Params{Data: []byte("x"), Context: context("a", "b")}
	f.Add(uint64(message.OpEncrypt), key, p.Append(nil))
	p = message.Params{Length: 5}
	f.Add(uint64(message.OpGenerateDataKey), key[:60], p.Append(nil))
	p = message.Params{Data: []byte("x"), Alg: "ECDSA_SHA_256", MessageType: "RAW"}
	f.Add(uint64(message.OpSign), append([]byte(nil), h.newKeyOf("ECC_NIST_P256", "SIGN_VERIFY").Token...), p.Append(nil))
	imports := h.must(message.OpImportBegin, nil, beginning(256, message.WrapAES1, "HMAC_256", "GENERATE_VERIFY_MAC"))
	p = importing("HMAC_256", "GENERATE_VERIFY_MAC", wrap(f, imports.Public, message.WrapAES1, make([]byte, 32)))
	f.Add(uint64(message.OpImportKey), append([]byte(nil), imports.Token...), p.Append(nil))
	f.Add(uint64(message.OpSignLog), key, []byte{0xa2, 1, 0x41, 'x', 12, 1})
	f.Fuzz(func(t *testing.T, op uint64, token, params []byte) {
		out, status := h.Handle(&link.Request{Host: authority, Op: op, Token: token, Params: params}, nil)
		if status != link.StatusOK && len(out) > 0 {
			t.Errorf("status %d with %d bytes", status, len(out))
		}
		out, status = h.Handle(&link.Request{Host: h.supervisor, Op: op, Token: token, Params: params}, nil)
		if status == link.StatusInternal && op != message.OpRotateDomainKeys { // which at last fills the arena
			t.Errorf("operation %d: internal error for parameters %x", op, params)
		}
		if status == link.StatusOK && op == message.OpEncrypt && string(token) != string(key) {
			t.Errorf("a made-up token encrypted to %x", out)
		}
	})
}

func FuzzParsers(f *testing.F) {
	f.Add([]byte("LGE1 8 bytes\x00\x01\xa0"))
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 1, 'a', 0, 0, 0, 0})
	h := mustOpen(f, newStore())
	for _, spec := range []string{"ECC_NIST_P256", "ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519"} {
		pair := h.must(message.OpGenerateDataKeyPair, h.newKey(), message.Params{Spec: spec})
		f.Add(pair.Data)
		f.Add(pair.Public)
	}
	f.Add([]byte("example.org\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		core.ParseToken(b)
		core.Signable(message.LogEd25519, b)
		core.Signable(message.LogMLDSA44, b)
		_ = message.CheckContext(b)
		_ = message.Asymmetric(b)
		for _, spec := range []string{"ECC_NIST_P256", "ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519", "RSA_2048", "HMAC_224"} {
			core.ParsePoint(spec, b)
			if out, _, ok := core.ParseMaterial(spec, b); ok {
				if again, _, ok := core.ParseMaterial(spec, out); !ok || string(again) != string(out) {
					t.Errorf("%s: the canonical form %x is read as %x", spec, out, again)
				}
			}
		}
		_, _ = message.MaterialOf(b)
		var p message.Params
		if p.Parse(b) == nil && len(b) > 0 && string(p.Append(nil)) == "" {
			t.Error("parameters vanished")
		}
		var r message.Result
		_ = r.Parse(b)
		var s message.Status
		_ = s.Parse(b)
	})
}
