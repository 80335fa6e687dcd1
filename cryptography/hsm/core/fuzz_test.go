package core_test

import (
	"bytes"
	"testing"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
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

// What a host can bring to the domain: none of it is obeyed, opens, or panics,
// unless it is what was really signed.
func FuzzCommands(f *testing.F) {
	all := five(f)
	h := waiting(f, newStore())
	h.found(all, 2)
	record := waiting(f, newStore()).must(message.OpMember, nil, message.Params{}).Record
	add := order(f, h.compose(quorum.AddMember, quorum.AddArguments{Record: record}), all[0], all[1], all[2])
	token := h.obeys(quorum.ExportDomain, nil, all[0], all[2]).Token
	state := h.state()
	install := order(f, h.composeFor(state.ID, state.Serial, quorum.InstallDomain, quorum.InstallArguments{Token: token}), all[0], all[2])
	signed := map[string]bool{string(add): true, string(install): true}
	f.Add(add)
	f.Add(install)
	f.Add(token)
	f.Add(order(f, h.compose(quorum.SelfDestruct, quorum.MemberArguments{Member: h.status().Member})))
	f.Add([]byte{0xa2, 1, 0x40, 2, 0x80})
	before := h.status()
	f.Fuzz(func(t *testing.T, b []byte) {
		if signed[string(b)] {
			return
		}
		for _, op := range []uint64{message.OpCommand, message.OpRotateDomainKeys} {
			p := message.Params{Command: b}
			if len(b) == 0 {
				continue
			}
			if _, status := h.Handle(&link.Request{Host: h.supervisor, Op: op, Params: p.Append(nil)}, nil); status == link.StatusOK || status == link.StatusInternal {
				t.Errorf("operation %d: status %d for %x", op, status, b)
			}
		}
		seen := *h
		seen.t = t
		if after := seen.status(); after.Serial != before.Serial || after.ActiveKey != before.ActiveKey || after.Members != before.Members {
			t.Errorf("the domain changed for %x", b)
		}
	})
}

// The files that an HSM reads at its start, and the pages that others read.
func FuzzDomainFiles(f *testing.F) {
	s := newStore()
	h := mustOpen(f, s)
	f.Add(s.files["commands.00"])
	f.Add(s.files["domain.sealed"])
	f.Add(h.must(message.OpCommandLog, nil, message.Params{}).Record)
	setup := message.Setup{Supervisor: h.Identity(), Await: true, Label: "x"}
	f.Add(setup.Append(nil))
	f.Add(core.EncodedShare([]byte("y")))
	f.Fuzz(func(t *testing.T, b []byte) {
		core.ParseCustody(b)
		core.ParseSegment(b)
		core.ParseShare(b)
		core.ParseSecrets(b)
		var e message.LogEntry
		if e.Parse(b) == nil && !bytes.Equal(e.Append(nil), b) {
			t.Errorf("an entry can be written in two ways: %x", b)
		}
		var p message.LogPage
		if p.Parse(b) == nil && !bytes.Equal(p.Append(nil), b) {
			t.Errorf("a page can be written in two ways: %x", b)
		}
		var head message.LogHead
		if head.Parse(b) == nil && !bytes.Equal(head.Append(nil), b) {
			t.Errorf("a head can be written in two ways: %x", b)
		}
		r := message.LogReader{Identity: h.Identity()}
		_, _, _ = r.Next(b)
		var setup message.Setup
		_ = setup.Parse(b)
	})
}
