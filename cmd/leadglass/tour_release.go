package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/isolation/attest/exampleenclave"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/pebble"
)

// A releasedKey is a key that is sealed to one program, and what it seals.
type releasedKey struct {
	key            string // id
	blob, text     []byte
	program, other *exampleenclave.Enclave
}

const releasePromise = "5: a key is released to a program, not to a person"

// environment is that of a customer's terminal.
func (c *client) environment() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + c.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey, "AWS_SESSION_TOKEN=" + c.Session,
		"AWS_REGION=" + c.Region, "AWS_DEFAULT_REGION=" + c.Region, "AWS_ENDPOINT_URL=" + c.Endpoint, "AWS_PROFILE=",
	}
}

// sealToProgram seals a key to a program, and asks for what it protects as the
// program, as another one, and as a person.
func (t *tour) sealToProgram(ctx context.Context) (err error) {
	r := &t.release
	now := time.Now()
	if r.program, err = t.enclaves.Enclave([]byte("risk score, version 1"), now); err != nil {
		return err
	}
	if r.other, err = t.enclaves.Enclave([]byte("risk score, and a copy to somebody else"), now); err != nil {
		return err
	}
	var key struct{ KeyMetadata struct{ KeyId string } }
	if _, err := t.a.json(ctx, "kms", "CreateKey", map[string]any{"Description": "for the risk score alone"}, &key); err != nil {
		return err
	}
	r.key = key.KeyMetadata.KeyId
	if _, err := t.program(ctx, t.dir, t.a.environment(), "key", "seal", r.key, "--attested", "pcr0="+hex.EncodeToString(r.program.Image())); err != nil {
		return err
	}
	r.text = bytes.SplitN(records, []byte("\n"), 3)[1]
	var sealed struct{ CiphertextBlob []byte }
	if _, err := t.a.json(ctx, "kms", "Encrypt", map[string]any{"KeyId": r.key, "Plaintext": r.text}, &sealed); err != nil {
		return err
	}
	r.blob = sealed.CiphertextBlob

	_, _, person := t.decrypt(ctx, t.a, r.blob, nil)
	_, other := t.decryptFor(ctx, r.other)
	envelope, err := t.decryptFor(ctx, r.program)
	if err != nil {
		return fmt.Errorf("the program that the key is sealed to: %w", err)
	}
	text, opens := r.program.Open(envelope)
	_, stolen := r.other.Open(envelope)
	t.add(claim{
		Promise:  releasePromise,
		Claim:    "A key that is sealed to a program is good for that program alone, not even for its owner's administrator",
		By:       "hospital A's administrator, who may do everything, and two programs with attestation documents",
		Tried:    "leadglass key seal --attested pcr0=…; kms:Decrypt as a person, for a changed program, for the program",
		Happened: fmt.Sprintf("the person: %s; the changed program: %s; the program: CiphertextForRecipient of %d bytes, which it opens: %v, and the other: %v", codeOf(person), codeOf(other), len(envelope), opens == nil && bytes.Equal(text, r.text), stolen == nil),
		Evidence: "simulated enclaves: the documents are real in form and their chain ends in a root that the custodians trust, but the tour itself is that authority (tier 1) and no hardware measured anything",
		Holds:    strings.HasPrefix(codeOf(person), "AccessDenied") && strings.HasPrefix(codeOf(other), "AccessDenied") && opens == nil && bytes.Equal(text, r.text) && stolen != nil,
	})
	return nil
}

// decryptFor asks for the sealed text on behalf of an enclave.
func (t *tour) decryptFor(ctx context.Context, e *exampleenclave.Enclave) ([]byte, error) {
	doc, err := e.Document(time.Now())
	if err != nil {
		return nil, err
	}
	var out struct{ Plaintext, CiphertextForRecipient []byte }
	_, err = t.a.json(ctx, "kms", "Decrypt", map[string]any{
		"CiphertextBlob": t.release.blob, "Recipient": map[string]any{"AttestationDocument": doc, "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256"},
	}, &out)
	if err == nil && len(out.Plaintext) > 0 {
		return nil, errors.New("the answer has the plaintext")
	}
	return out.CiphertextForRecipient, err
}

// forgeFront is a front process of an attacker's: it has the machine, the
// store and a link to the HSM, and asks nobody's policy. The plane is stopped.
func (t *tour) forgeFront(ctx context.Context) error {
	token, err := t.stolenToken(ctx)
	if err != nil {
		return err
	}
	// The HSM that survived; the attacker starts it and is its only host.
	p, err := hsm.Start(ctx, hsm.Config{StateDir: filepath.Join(t.plane.data, "hsm-2"), Await: true, Insecure: t.unlocked})
	if err != nil {
		return fmt.Errorf("an HSM for the forged front: %w", err)
	}
	defer p.Stop()
	if err := p.Ready(ctx); err != nil {
		return err
	}
	r, front := &t.release, p.Client()
	_, plain := front.Decrypt(ctx, token, r.blob, nil)
	decryptFor := func(e *exampleenclave.Enclave) ([]byte, error) {
		doc, err := e.Document(time.Now())
		if err != nil {
			return nil, err
		}
		s, err := front.DecryptFor(ctx, token, r.blob, "", nil, hsm.Recipient{Document: doc})
		return s.Envelope, err
	}
	_, other := decryptFor(r.other)
	stranger, err := exampleenclave.New(time.Now())
	if err != nil {
		return err
	}
	impostor, err := stranger.Enclave([]byte("risk score, version 1"), time.Now())
	if err != nil {
		return err
	}
	_, forged := decryptFor(impostor)
	envelope, right := decryptFor(r.program)
	if right != nil {
		return fmt.Errorf("the forged front, for the right program: %w", right)
	}
	text, err := r.program.Open(envelope)
	t.add(claim{
		Promise:  releasePromise,
		Claim:    "The HSM itself refuses, also to a forged front that asks no policy",
		By:       "somebody with the machine, the whole store and a front process of their own",
		Tried:    "at the HSM, with the key's token from the store: Decrypt; for the changed program; for the right image under a root of their own; for the right program",
		Happened: fmt.Sprintf("%s; %s; %s; for the right program an envelope that only it opens: %v", said(plain), said(other), said(forged), err == nil && bytes.Equal(text, r.text)),
		Evidence: "the condition stands in the key's token, which only the HSM can open or change",
		Holds:    errors.Is(plain, hsm.ErrDenied) && errors.Is(other, hsm.ErrDenied) && errors.Is(forged, hsm.ErrAttestation) && err == nil && bytes.Equal(text, r.text),
	})
	return nil
}

// said is an error, or that there was none.
func said(err error) string {
	if err == nil {
		return "OPENED"
	}
	return err.Error()
}

// stolenToken takes the key's newest token out of the store of a stopped plane.
func (t *tour) stolenToken(ctx context.Context) ([]byte, error) {
	store, err := pebble.Open(filepath.Join(t.plane.data, "state"), pebble.Config{})
	if err != nil {
		return nil, err
	}
	defer store.Close()
	e, err := store.Get(ctx, kv.Table('K').Text(t.accountA).Text("key").Text(t.release.key))
	if err != nil {
		return nil, err
	}
	var record any
	if err := cbor.Unmarshal(e.Value, &record); err != nil {
		return nil, err
	}
	if token := findToken(record); token != nil {
		return token, nil
	}
	return nil, errors.New("the store has no token of the key")
}

// findToken finds a key token (docs/formats/hsm.md) in a record.
func findToken(v any) []byte {
	switch v := v.(type) {
	case []byte:
		if bytes.HasPrefix(v, []byte("LGE1")) {
			return v
		}
	case []any:
		for _, v := range v {
			if token := findToken(v); token != nil {
				return token
			}
		}
	case map[any]any:
		for _, v := range v {
			if token := findToken(v); token != nil {
				return token
			}
		}
	}
	return nil
}
