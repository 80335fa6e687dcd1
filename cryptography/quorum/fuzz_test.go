package quorum_test

import (
	"bytes"
	"testing"

	"github.com/leadglass/leadglass/cryptography/quorum"
)

// FuzzFormats: no decoder panics, and what one accepts is what it would write.
func FuzzFormats(f *testing.F) {
	a := newHSM(f, "a")
	c := crew(f, 3, "hospital", "platform")
	s := newState(c, a)
	state, err := s.Encode()
	if err != nil {
		f.Fatal(err)
	}
	token := newToken(f, s, []byte("x"), a)
	custodian, err := quorum.Custodian{Operator: c[0].Operator, Share: c[0].key.SharePublic()}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	result, err := quorum.CommandResult{Serial: 1, Hash: []byte{1}, Token: token}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{
		state, token, a.record(f), custodian, result,
		sign(f, encoded(f, quorum.RotateDomainKeys, nil), c...),
		sign(f, encoded(f, quorum.InstallDomain, quorum.InstallArguments{Token: token}), c[0]),
		{0xa0}, {},
	} {
		f.Add(seed)
	}
	own := s.Quorum()
	f.Fuzz(func(t *testing.T, b []byte) {
		same := func(kind string, again []byte, err error) {
			if err != nil || !bytes.Equal(again, b) {
				t.Errorf("a %s is written otherwise than it is read: %v", kind, err)
			}
		}
		if x, err := quorum.DecodeState(b); err == nil {
			again, err := x.Encode()
			same("state", again, err)
		}
		if x, err := quorum.ParseToken(b); err == nil {
			if _, err := x.SignedBy(s.Members); err == nil && !bytes.Equal(b, token) {
				again, err := quorum.ParseToken(token)
				if err != nil || !bytes.Equal(again.Payload, x.Payload) {
					t.Error("another token counts as signed")
				}
			}
		}
		if x, err := quorum.ParseMemberRecord(b); err == nil {
			again, err := x.Encode()
			same("member record", again, err)
		}
		if x, err := quorum.ParseCustodian(b); err == nil {
			again, err := x.Encode()
			same("custodian", again, err)
		}
		if x, err := quorum.ParseResult(b); err == nil {
			again, err := x.Encode()
			same("result", again, err)
		}
		if x, _, err := quorum.Parse(b); err == nil {
			again, err := x.Encode()
			same("command", again, err)
		}
		if _, signers, err := quorum.Authorize(own, b, start, unseen); err == nil && len(signers) < 2 {
			t.Error("a command is authorized by fewer than two")
		}
	})
}

// FuzzAssertion: nothing makes the verification panic, and no input that the
// fuzzer finds is an assertion over a command.
func FuzzAssertion(f *testing.F) {
	spki := newCustodian(f, quorum.P256, quorum.RoleOperator, "x", "y").Public
	public, err := quorum.WebAuthnPublic(spki, "custody.example")
	if err != nil {
		f.Fatal(err)
	}
	o := quorum.Operator{Type: quorum.WebAuthnP256, Public: public}
	f.Add([]byte{1}, []byte(`{"type":"webauthn.get","challenge":"AA","x":[{"y":-1.5e+3},null,"\u0041\n"]}`), []byte{0x30})
	f.Add(make([]byte, 37), []byte(`{"a":{"b":[[[]]]}}`), []byte{})
	f.Fuzz(func(t *testing.T, data, client, sig []byte) {
		if len(data) >= 33 {
			copy(data, public[len(public)-32:]) // past the check of the relying party
			data[32] |= 5
		}
		b, err := quorum.Assertion{AuthenticatorData: data, ClientDataJSON: client, Signature: sig}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if quorum.Verify(o, []byte("command"), b) == nil {
			t.Error("forged")
		}
	})
}
