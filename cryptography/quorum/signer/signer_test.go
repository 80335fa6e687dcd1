package signer_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hpke"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh/agent"

	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/cryptography/quorum/signer"
)

var command = []byte("the bytes of a command")

func operator(kind quorum.KeyType, public []byte) quorum.Operator {
	return quorum.Operator{ID: quorum.OperatorID(kind, public), Type: kind, Public: public}
}

func TestAKeyFileSignsWhatItSignedBefore(t *testing.T) {
	for _, kind := range []quorum.KeyType{quorum.Ed25519, quorum.P256, quorum.P384} {
		key, err := signer.Generate(kind)
		if err != nil {
			t.Fatal(err)
		}
		_, public := key.Public()
		passphrases := []string{""}
		if kind == quorum.P384 { // deriving a key takes most of a second
			passphrases = append(passphrases, "correct horse")
		}
		for _, passphrase := range passphrases {
			file, err := key.Encode([]byte(passphrase))
			if err != nil {
				t.Fatal(err)
			}
			if passphrase != "" {
				for _, wrong := range []string{"", "correct house"} {
					if _, err := signer.ParseKey(file, []byte(wrong)); !errors.Is(err, signer.ErrPassphrase) {
						t.Errorf("%s with %q: %v", kind, wrong, err)
					}
				}
			}
			back, err := signer.ParseKey(file, []byte(passphrase))
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			sig, err := back.Sign(command)
			if err != nil {
				t.Fatal(err)
			}
			if err := quorum.Verify(operator(kind, public), command, sig); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
			if !bytes.Equal(back.SharePublic(), key.SharePublic()) || len(key.SharePublic()) != quorum.ShareKeyLen {
				t.Errorf("%s: its share key: %d bytes", kind, len(back.SharePublic()))
			}
		}
	}
	if _, err := signer.Generate(quorum.WebAuthnP256); !errors.Is(err, signer.ErrKey) {
		t.Errorf("a file with an authenticator's key: %v", err)
	}
}

func TestAKeyOfAnotherToolWorksAndCannotReceiveShares(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	key, err := signer.ParseKey(block, nil)
	if err != nil || key.SharePublic() != nil {
		t.Fatal(err)
	}
	if _, err := key.OpenShare(quorum.ID{}, quorum.SealedShare{}); !errors.Is(err, signer.ErrKey) {
		t.Errorf("it opens a share: %v", err)
	}
	if _, err := signer.ParseKey(append(block, block...), nil); !errors.Is(err, signer.ErrFile) {
		t.Errorf("two keys in a file: %v", err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if der, err = x509.MarshalPKCS8PrivateKey(other); err != nil {
		t.Fatal(err)
	}
	if _, err := signer.ParseKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil); !errors.Is(err, signer.ErrKey) {
		t.Errorf("an RSA key: %v", err)
	}
	if _, err := signer.ParseKey([]byte("nothing"), nil); !errors.Is(err, signer.ErrFile) {
		t.Errorf("no key: %v", err)
	}
}

func TestAShareOpensForItsHolderAndDomainOnly(t *testing.T) {
	key, err := signer.Generate(quorum.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	domain, holder := quorum.ID{1}, quorum.ID{2}
	public, err := hpke.MLKEM768X25519().NewPublicKey(key.SharePublic())
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), quorum.ShareInfo(domain, holder), []byte("share"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := key.OpenShare(domain, quorum.SealedShare{Operator: holder, Sealed: sealed}); err != nil || string(got) != "share" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := key.OpenShare(quorum.ID{9}, quorum.SealedShare{Operator: holder, Sealed: sealed}); err == nil {
		t.Error("it opens for another domain")
	}
	if _, err := key.OpenShare(domain, quorum.SealedShare{Operator: quorum.ID{9}, Sealed: sealed}); err == nil {
		t.Error("it opens as another's")
	}
}

func TestAnSSHAgentSigns(t *testing.T) {
	keyring := agent.NewKeyring()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := []any{&ed}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	for i, k := range keys {
		if err := keyring.Add(agent.AddedKey{PrivateKey: k, Comment: fmt.Sprint("key ", i)}); err != nil {
			t.Fatal(err)
		}
	}
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); _ = agent.ServeAgent(keyring, theirs) }()
	t.Cleanup(func() { _ = ours.Close(); <-done })
	found, err := signer.AgentKeys(ours)
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[quorum.KeyType]bool)
	for _, k := range found {
		kind, public := k.Public()
		kinds[kind] = true
		for range 8 { // ECDSA's numbers are sometimes a byte shorter
			sig, err := k.Sign(command)
			if err != nil {
				t.Fatal(err)
			}
			if err := quorum.Verify(operator(kind, public), command, sig); err != nil {
				t.Errorf("%s: %v", k.Comment, err)
			}
		}
	}
	if len(found) != 3 || len(kinds) != 3 {
		t.Errorf("%d keys of %v; P-521 is not for custodians", len(found), kinds)
	}
}

// fob is an authenticator in software.
type fob struct {
	key *ecdsa.PrivateKey
	id  []byte
}

func newFob(t *testing.T) fob {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return fob{key, []byte("credential")}
}

func (f fob) spki(t *testing.T) []byte {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(&f.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return spki
}

// get is what an authenticator does: it signs its data and the hash.
func (f fob) get(t *testing.T, rp string, clientHash []byte) (data, sig []byte) {
	t.Helper()
	hash := sha256.Sum256([]byte(rp))
	data = append(hash[:], 5, 0, 0, 0, 1)
	sum := sha256.Sum256(append(bytes.Clone(data), clientHash...))
	sig, err := ecdsa.SignASN1(rand.Reader, f.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return data, sig
}

func TestAnAuthenticatorSignsInABrowser(t *testing.T) {
	f := newFob(t)
	b64 := base64.RawURLEncoding
	created := fmt.Sprintf(`{"id":"%s","rawId":"%[1]s","type":"public-key","response":{"publicKey":"%s","publicKeyAlgorithm":-7}}`,
		b64.EncodeToString(f.id), b64.EncodeToString(f.spki(t)))
	c, err := signer.ParseCredential([]byte(created), "custody.example")
	if err != nil {
		t.Fatal(err)
	}
	options, err := c.Options(command)
	if err != nil {
		t.Fatal(err)
	}
	var asked struct{ Challenge, RPID, UserVerification string }
	if err := json.Unmarshal(options, &asked); err != nil {
		t.Fatal(err)
	}
	if asked.UserVerification != "required" {
		t.Errorf("user verification %q", asked.UserVerification)
	}
	client := fmt.Appendf(nil, `{"type":"webauthn.get","challenge":"%s","origin":"https://custody.example"}`, asked.Challenge)
	hash := sha256.Sum256(client)
	data, sig := f.get(t, asked.RPID, hash[:])
	answer := fmt.Appendf(nil, `{"id":"x","response":{"authenticatorData":"%s","clientDataJSON":"%s","signature":"%s"}}`,
		b64.EncodeToString(data), b64.EncodeToString(client), b64.EncodeToString(sig))
	assertion, err := c.ParseAssertion(command, answer)
	if err != nil {
		t.Fatal(err)
	}
	kind, public, err := c.Public()
	if err != nil {
		t.Fatal(err)
	}
	if err := quorum.Verify(operator(kind, public), command, assertion); err != nil {
		t.Error(err)
	}
	if err := quorum.Verify(operator(kind, public), []byte("another command"), assertion); !errors.Is(err, quorum.ErrSignature) {
		t.Errorf("for another command: %v", err)
	}
}

func TestAnAuthenticatorSignsWithoutABrowser(t *testing.T) {
	f := newFob(t)
	made := base64.StdEncoding.EncodeToString(f.id) + "\n" + string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: f.spki(t)}))
	c, err := signer.ParseCredential([]byte(made), "custody.example")
	if err != nil {
		t.Fatal(err)
	}
	asked := strings.Fields(string(c.FIDO2(command)))
	if len(asked) != 3 {
		t.Fatalf("%q", asked)
	}
	hash, err := base64.StdEncoding.DecodeString(asked[0])
	if err != nil {
		t.Fatal(err)
	}
	data, sig := f.get(t, asked[1], hash)
	answer := strings.Join([]string{asked[0], asked[1], base64.StdEncoding.EncodeToString(append([]byte{0x58, byte(len(data))}, data...)),
		base64.StdEncoding.EncodeToString(sig)}, "\n")
	assertion, err := c.ParseAssertion(command, []byte(answer))
	if err != nil {
		t.Fatal(err)
	}
	kind, public, err := c.Public()
	if err != nil {
		t.Fatal(err)
	}
	if err := quorum.Verify(operator(kind, public), command, assertion); err != nil {
		t.Error(err)
	}
}

// FuzzFiles: nothing that a custodian is handed makes a parser panic.
func FuzzFiles(f *testing.F) {
	key, err := signer.Generate(quorum.P256)
	if err != nil {
		f.Fatal(err)
	}
	file, err := key.Encode(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte(`{"rawId":"AA","response":{"publicKey":"AA","authenticatorData":"AA","clientDataJSON":"AA","signature":"AA"}}`))
	f.Add([]byte("AA==\nexample.org\nWAEA\nAA==\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if !bytes.Contains(b, []byte("ENCRYPTED")) { // scrypt is too slow for a fuzzer
			_, _ = signer.ParseKey(b, nil)
		}
		_, _ = signer.ParseCredential(b, "example.org")
		_, _ = signer.Credential{RelyingParty: "example.org"}.ParseAssertion(command, b)
	})
}
