package signer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"

	"github.com/leadglass/leadglass/cryptography/quorum"
)

// Credential is what a custodian keeps of an authenticator's key: what
// Challenge needs to ask for a signature. None of it is secret.
type Credential struct {
	RelyingParty string `json:"rpId"`
	ID           []byte `json:"id"` // of the credential
	SPKI         []byte `json:"publicKey"`
}

// Public is the key as in an operator's record.
func (c Credential) Public() (quorum.KeyType, []byte, error) {
	public, err := quorum.WebAuthnPublic(c.SPKI, c.RelyingParty)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return quorum.WebAuthnP256, public, nil
}

// ParseCredential reads what making a credential gave: a browser's
// PublicKeyCredential.toJSON() of navigator.credentials.create (WebAuthn Level
// 3, section 5.1), or, from `fido2-cred -V`, the credential id in base64 on a
// line and the public key in PEM.
func ParseCredential(b []byte, relyingParty string) (Credential, error) {
	c := Credential{RelyingParty: relyingParty}
	if relyingParty == "" {
		return c, fmt.Errorf("%w: the relying party must be named", ErrKey)
	}
	if trimmed := bytes.TrimSpace(b); len(trimmed) > 0 && trimmed[0] == '{' {
		var created struct {
			RawID    string `json:"rawId"`
			Response struct {
				PublicKey string `json:"publicKey"`
			} `json:"response"`
		}
		if err := json.Unmarshal(b, &created); err != nil {
			return c, fmt.Errorf("%w: not a credential in JSON", ErrFile)
		}
		var err, err2 error
		c.ID, err = base64.RawURLEncoding.DecodeString(created.RawID)
		c.SPKI, err2 = base64.RawURLEncoding.DecodeString(created.Response.PublicKey)
		if err != nil || err2 != nil || len(c.ID) == 0 || len(c.SPKI) == 0 {
			return c, fmt.Errorf("%w: it names no credential id and public key", ErrFile)
		}
	} else {
		line, rest, _ := bytes.Cut(trimmed, []byte("\n"))
		block, _ := pem.Decode(rest)
		id, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(line)))
		if err != nil || len(id) == 0 || block == nil || block.Type != "PUBLIC KEY" {
			return c, fmt.Errorf("%w: not a credential id and a public key", ErrFile)
		}
		c.ID, c.SPKI = id, block.Bytes
	}
	key, err := x509.ParsePKIXPublicKey(c.SPKI)
	if err != nil {
		return c, fmt.Errorf("%w: not a public key", ErrKey)
	}
	if k, ok := key.(*ecdsa.PublicKey); !ok || k.Curve != elliptic.P256() {
		return c, fmt.Errorf("%w: authenticators sign with ES256 here", ErrKey)
	}
	_, _, err = c.Public()
	return c, err
}

// Options is the argument of navigator.credentials.get for a command, in JSON
// (PublicKeyCredentialRequestOptionsJSON, which
// PublicKeyCredential.parseRequestOptionsFromJSON takes).
func (c Credential) Options(command []byte) ([]byte, error) {
	type descriptor struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	}
	return json.MarshalIndent(struct {
		Challenge        string       `json:"challenge"`
		RPID             string       `json:"rpId"`
		AllowCredentials []descriptor `json:"allowCredentials"`
		UserVerification string       `json:"userVerification"`
	}{
		base64.RawURLEncoding.EncodeToString(quorum.Challenge(command)), c.RelyingParty,
		[]descriptor{{"public-key", base64.RawURLEncoding.EncodeToString(c.ID)}}, "required",
	}, "", "  ")
}

// clientData is what a browser would sign, for tools that sign without one.
func (c Credential) clientData(command []byte) []byte {
	origin, _ := json.Marshal("https://" + c.RelyingParty) // a string always encodes
	return fmt.Appendf(nil, `{"type":"webauthn.get","challenge":"%s","origin":%s,"crossOrigin":false}`,
		base64.RawURLEncoding.EncodeToString(quorum.Challenge(command)), origin)
}

// FIDO2 is the input of `fido2-assert -G -v` for a command: hash of the client
// data, relying party and credential, each on a line.
func (c Credential) FIDO2(command []byte) []byte {
	sum := sha256.Sum256(c.clientData(command))
	return fmt.Appendf(nil, "%s\n%s\n%s\n", base64.StdEncoding.EncodeToString(sum[:]), c.RelyingParty,
		base64.StdEncoding.EncodeToString(c.ID))
}

// ParseAssertion makes the signature over a command of the answer to Options
// (the credential's toJSON()) or to FIDO2 (the tool's output).
func (c Credential) ParseAssertion(command, answer []byte) ([]byte, error) {
	if trimmed := bytes.TrimSpace(answer); len(trimmed) > 0 && trimmed[0] == '{' {
		var got struct {
			Response struct {
				AuthenticatorData string `json:"authenticatorData"`
				ClientDataJSON    string `json:"clientDataJSON"`
				Signature         string `json:"signature"`
			} `json:"response"`
		}
		if err := json.Unmarshal(answer, &got); err != nil {
			return nil, fmt.Errorf("%w: not an assertion in JSON", ErrFile)
		}
		var a quorum.Assertion
		for _, part := range []struct {
			dst *[]byte
			src string
		}{{&a.AuthenticatorData, got.Response.AuthenticatorData}, {&a.ClientDataJSON, got.Response.ClientDataJSON}, {&a.Signature, got.Response.Signature}} {
			b, err := base64.RawURLEncoding.DecodeString(part.src)
			if err != nil || len(b) == 0 {
				return nil, fmt.Errorf("%w: an assertion without one of its parts", ErrFile)
			}
			*part.dst = b
		}
		return a.Encode()
	}
	// Hash of the client data, relying party, authenticator data as a CBOR byte
	// string, signature; each on a line, in base64 but for the second.
	lines := strings.Fields(string(answer))
	if len(lines) < 4 {
		return nil, fmt.Errorf("%w: not the output of fido2-assert", ErrFile)
	}
	data, err := base64.StdEncoding.DecodeString(lines[2])
	sig, err2 := base64.StdEncoding.DecodeString(lines[3])
	if err != nil || err2 != nil {
		return nil, fmt.Errorf("%w: not the output of fido2-assert", ErrFile)
	}
	in := cryptobyte.String(data)
	var head, length uint8
	// Authenticator data have 37 bytes or more: the head of the byte string is
	// 0x58 and one byte of length (RFC 8949 section 3).
	if !in.ReadUint8(&head) || !in.ReadUint8(&length) || head != 0x58 || len(in) != int(length) {
		return nil, fmt.Errorf("%w: authenticator data", ErrFile)
	}
	return quorum.Assertion{AuthenticatorData: in, ClientDataJSON: c.clientData(command), Signature: sig}.Encode()
}
