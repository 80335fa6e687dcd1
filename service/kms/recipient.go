package kms

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"strconv"

	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/isolation/attest"
	"github.com/leadglass/leadglass/operation"
)

// Recipient: an attested enclave that the secret of the answer is encrypted to
// (kms-recipient-attestation). The document is verified here so that policies
// can ask what was measured; the HSM verifies it again, and it alone encrypts.

// keyTier is the one condition key of a document that is ours: how the enclave
// is isolated, 0 (simulated) to 4 (hardware).
const keyTier = "leadglass:RecipientAttestation:Tier"

// attest reads the Recipient of a request, before anything is looked up.
func (c *call) attest(ctx context.Context, in *kms.RecipientInfo) error {
	if in == nil {
		return nil
	}
	if in.KeyEncryptionAlgorithm == "" || len(in.AttestationDocument) == 0 {
		return invalid("Recipient needs both KeyEncryptionAlgorithm and AttestationDocument.")
	}
	claims, err := c.keys.Attest(ctx, in.AttestationDocument)
	if err != nil {
		if class := attest.ClassOf(err); class != "" {
			// The caller learns that it is not valid; its own log says why.
			c.Remark("recipient", []byte(`{"attestationDocumentError":"`+string(class)+`"}`))
		}
		return err
	}
	c.claims = claims
	c.recipient = &keys.Recipient{Document: in.AttestationDocument}
	if c.WantProof {
		c.recipient.Body = c.Body
	}
	c.Remark("recipient", recipientRecord(claims))
	return nil
}

// recipientRecord is additionalEventData.recipient (kms-recipient-attestation
// section 6), of the registers that say something.
func recipientRecord(claims *attest.Claims) []byte {
	m := map[string]string{"attestationDocumentModuleId": claims.ModuleID}
	for i, v := range claims.PCRs {
		switch {
		case i == 0:
			m["attestationDocumentEnclaveImageDigest"] = hex.EncodeToString(v)
		case !attest.Zero(v):
			m["attestationDocumentEnclavePCR"+strconv.Itoa(i)] = hex.EncodeToString(v)
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return []byte("null") // a map of strings does not fail
	}
	return b
}

// attested sets the condition keys of a valid document. A register of zeros
// measures nothing, and those of a simulated enclave prove nothing unless the
// key's policy says that it knows of tiers: such values let no Allow apply and
// every Deny (attestation-document section 5; kms-recipient-attestation section
// 3, step 7).
func (c *call) attested(k *operation.Keys, key *keys.Key) {
	if c.claims == nil {
		return
	}
	m := measurements{k, c.claims.Tier > attest.Simulated || key != nil && key.PolicyNames(keyTier)}
	for i, v := range c.claims.PCRs {
		m.Set("kms:RecipientAttestation:PCR"+strconv.Itoa(i), v)
		if i == 0 {
			m.Set("kms:RecipientAttestation:ImageSha384", v)
		}
	}
	k.Set("leadglass:RecipientAttestation:Tier", strconv.Itoa(int(c.claims.Tier)))
}

// measurements are the condition keys of registers.
type measurements struct {
	keys   *operation.Keys
	proven bool
}

// Set sets one, in lower-case hex.
func (m measurements) Set(name string, v []byte) {
	if text := hex.EncodeToString(v); m.proven && !attest.Zero(v) {
		m.keys.Set(name, text)
	} else {
		m.keys.SetUnproven(name, text)
	}
}

// sealed is CiphertextForRecipient of a use that has succeeded; nil without a
// recipient.
func (c *call) sealed() []byte {
	if c.recipient == nil {
		return nil
	}
	if p := c.recipient.Sealed.Proof; p != nil {
		c.Prove(p)
	}
	return c.recipient.Sealed.Envelope
}
