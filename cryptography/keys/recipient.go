package keys

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/isolation/attest"
)

// A Recipient is an attested enclave that the secret of a use is for (Use.For).
// The boundary verifies the document again and encrypts to the key in it: what
// this process thinks of the document decides who may ask, never who can read.
type Recipient struct {
	Document []byte // attestation document
	Body     []byte // the request's body, if the answer is to be signed; see hsm.Recipient

	// Sealed is what a successful use leaves here, in the place of the secret, which the operation then returns as nil.
	Sealed hsm.Sealed
}

// errAttestation tells nothing of what is wrong with a document, least of all
// which measurement differs (kms-recipient-attestation section 3).
func errAttestation(err error) error {
	return &Error{Kind: Validation, Message: "The attestation document is not valid.", Err: err}
}

// Attest verifies an attestation document as the boundary will: under the
// roots that it names. The class of a refusal (attest.ClassOf) is for the audit
// log alone.
func (k *Keys) Attest(ctx context.Context, document []byte) (*attest.Claims, error) {
	trusted, err := k.cfg.Boundary.AttestationRoots(ctx)
	if err != nil {
		return nil, fmt.Errorf("keys: attestation roots: %w", err)
	}
	roots := make([]attest.Root, 0, len(trusted))
	for _, r := range trusted {
		roots = append(roots, attest.Root{DER: r.DER, Name: r.Name, Tier: attest.Tier(r.Tier), Hosts: r.Hosts})
	}
	claims, err := attest.Verify(document, attest.Options{Roots: roots, Now: k.cfg.Clock.Now(), Debug: true, Key: true, Chains: &k.chains})
	if err != nil {
		return nil, errAttestation(err)
	}
	return claims, nil
}

// PolicyNames says whether a condition of the key's policy asks for a key.
func (k *Key) PolicyNames(conditionKey string) bool {
	for _, s := range k.Policy().Statements() {
		for i := range s.Conditions {
			if strings.EqualFold(s.Conditions[i].Key, conditionKey) {
				return true
			}
		}
	}
	return false
}

// RandomFor is Random for a recipient.
func (k *Keys) RandomFor(ctx context.Context, n int, to *Recipient) (err error) {
	to.Sealed, err = k.cfg.Boundary.RandomFor(ctx, n, to.boundary())
	if errors.Is(err, hsm.ErrAttestation) {
		return errAttestation(err)
	}
	if err != nil {
		return fmt.Errorf("keys: random: %w", err)
	}
	return nil
}

func (r *Recipient) boundary() hsm.Recipient {
	return hsm.Recipient{Document: r.Document, Body: r.Body}
}

// boundary is what a use asks: for a recipient, one whose answers hold no
// secret.
func (k *Keys) boundary(u Use) Boundary {
	if u.For == nil {
		return k.cfg.Boundary
	}
	return forRecipient{k.cfg.Boundary, u.For}
}

// forRecipient asks in the name of a recipient, and leaves what is sealed to it
// there.
type forRecipient struct {
	Boundary
	to *Recipient
}

func (b forRecipient) Decrypt(ctx context.Context, ekt, blob []byte, encCtx map[string]string) (none []byte, err error) {
	b.to.Sealed, err = b.Boundary.DecryptFor(ctx, ekt, blob, "", encCtx, b.to.boundary())
	return nil, err
}

func (b forRecipient) DecryptWith(ctx context.Context, ekt []byte, alg string, ciphertext []byte) (none []byte, err error) {
	b.to.Sealed, err = b.Boundary.DecryptFor(ctx, ekt, ciphertext, alg, nil, b.to.boundary())
	return nil, err
}

func (b forRecipient) GenerateDataKey(ctx context.Context, ekt []byte, n int, encCtx map[string]string, withPlaintext bool) (none, blob []byte, err error) {
	if !withPlaintext {
		return nil, nil, hsm.ErrBadRequest // there is nothing to seal
	}
	b.to.Sealed, blob, err = b.Boundary.GenerateDataKeyFor(ctx, ekt, n, encCtx, b.to.boundary())
	return nil, blob, err
}

func (b forRecipient) GenerateDataKeyPair(ctx context.Context, ekt []byte, spec string, encCtx map[string]string, withPlaintext bool) (pair hsm.KeyPair, err error) {
	if !withPlaintext {
		return hsm.KeyPair{}, hsm.ErrBadRequest
	}
	b.to.Sealed, pair, err = b.Boundary.GenerateDataKeyPairFor(ctx, ekt, spec, encCtx, b.to.boundary())
	return pair, err
}

func (b forRecipient) DeriveSharedSecret(ctx context.Context, ekt []byte, alg string, peer []byte) (none []byte, err error) {
	b.to.Sealed, err = b.Boundary.DeriveSharedSecretFor(ctx, ekt, alg, peer, b.to.boundary())
	return nil, err
}

// errUnsealed stops a use for a recipient that left it out: what it returned
// would be the secret itself.
var errUnsealed = errors.New("keys: an operation left its recipient out")
