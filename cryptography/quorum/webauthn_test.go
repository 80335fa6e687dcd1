package quorum_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/cryptography/quorum"
)

// authenticator is WebAuthn's other end, in software.
type authenticator struct {
	key *ecdsa.PrivateKey
	rp  string
}

func (a authenticator) assert(t testing.TB, flags byte, clientData string) []byte {
	t.Helper()
	rp := sha256.Sum256([]byte(a.rp))
	data := append(rp[:], flags, 0, 0, 0, 7)
	client := sha256.Sum256([]byte(clientData))
	sum := sha256.Sum256(append(append([]byte{}, data...), client[:]...))
	sig, err := ecdsa.SignASN1(rand.Reader, a.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	b, err := quorum.Assertion{AuthenticatorData: data, ClientDataJSON: []byte(clientData), Signature: sig}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnAuthenticatorSignsACommand(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := quorum.MarshalSPKI(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public, err := quorum.WebAuthnPublic(spki, "custody.example")
	if err != nil {
		t.Fatal(err)
	}
	o := quorum.Operator{ID: quorum.OperatorID(quorum.WebAuthnP256, public), Type: quorum.WebAuthnP256, Public: public,
		Role: quorum.RoleOperator, Label: "with a fob", Organisation: "hospital"}
	if err := o.Check(); err != nil {
		t.Fatal(err)
	}
	command := encoded(t, quorum.RotateDomainKeys, nil)
	challenge := base64.RawURLEncoding.EncodeToString(quorum.Challenge(command))
	const up, uv = 1, 4
	browser := fmt.Sprintf(`{"type":"webauthn.get","challenge":"%s","origin":"https://custody.example","crossOrigin":false}`, challenge)
	own := authenticator{key, "custody.example"}
	for _, x := range []struct {
		name   string
		a      authenticator
		flags  byte
		client string
		ok     bool
	}{
		{"as browsers write it", own, up | uv, browser, true},
		{"with more in it than today's browsers write", own, up | uv, strings.Replace(browser, "{", `{ "x": [1, -2.5e3, {"y": null}], `, 1), true},
		{"with an escape that changes nothing", own, up | uv, strings.Replace(browser, "webauthn.get", `webauthn\u002eget`, 1), true},
		{"for another page", authenticator{key, "evil.example"}, up | uv, browser, false},
		{"without verifying the user", own, up, browser, false},
		{"without the user's presence", own, uv, browser, false},
		{"for making a credential", own, up | uv, strings.Replace(browser, "webauthn.get", "webauthn.create", 1), false},
		{"for another command", own, up | uv, strings.Replace(browser, challenge[:8], "AAAAAAAA", 1), false},
		{"with a padded challenge", own, up | uv, strings.Replace(browser, challenge, challenge+"=", 1), false},
		{"with two challenges", own, up | uv, strings.Replace(browser, `"origin"`, `"challenge":"x","origin"`, 1), false},
		{"with a second type hidden by an escape", own, up | uv, strings.Replace(browser, `"origin"`, `"\u0074ype":"x","origin"`, 1), false},
		{"with a type that is no text", own, up | uv, strings.Replace(browser, `"webauthn.get"`, `["webauthn.get"]`, 1), false},
		{"with something after it", own, up | uv, browser + "{}", false},
		{"without an end", own, up | uv, strings.TrimSuffix(browser, "}"), false},
		{"empty", own, up | uv, "", false},
	} {
		err := quorum.Verify(o, command, x.a.assert(t, x.flags, x.client))
		if (err == nil) != x.ok {
			t.Errorf("client data %s: %v", x.name, err)
		}
		if err != nil && !errors.Is(err, quorum.ErrSignature) {
			t.Errorf("client data %s: %v is no ErrSignature", x.name, err)
		}
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if quorum.Verify(o, command, authenticator{other, "custody.example"}.assert(t, up|uv, browser)) == nil {
		t.Error("another authenticator's signature counts")
	}
}
