package core

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"filippo.io/mldsa"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// The keys of the audit log: one that signs receipts and checkpoints, and per
// account one that its events are sealed to (audit-log sections 4, 6 and 8).

const usageLog, usageAudit = "SIGN_LOG", "OPEN_AUDIT"

// generateLogKey makes 64 bytes of material: an Ed25519 seed and an ML-DSA-44
// seed.
func (c *call) generateLogKey() uint64 {
	seeds := c.material[:64]
	rand.Read(seeds)
	ed := ed25519.NewKeyFromSeed(seeds[:32])
	defer secret.Wipe(ed)
	pq, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seeds[32:])
	if err != nil {
		return link.StatusInternal
	}
	c.result.Public = bytes.Clone(ed[32:])
	c.result.Public2 = pq.PublicKey().Bytes()
	return c.make(message.SpecLog, usageLog, "AWS_KMS", seeds)
}

func (c *call) signLog() uint64 {
	if !signable(c.params.Algorithm, c.params.Data) {
		return link.StatusBadRequest
	}
	seeds, status := c.open()
	if status != link.StatusOK {
		return status
	}
	if c.attrs.spec != message.SpecLog || len(seeds) != 64 {
		return link.StatusWrongToken
	}
	if c.params.Algorithm == message.LogEd25519 {
		key := ed25519.NewKeyFromSeed(seeds[:32])
		defer secret.Wipe(key)
		c.result.Data = ed25519.Sign(key, c.params.Data)
		return link.StatusOK
	}
	key, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seeds[32:])
	if err != nil {
		return link.StatusInternal
	}
	sig, err := key.Sign(nil, c.params.Data, &mldsa.Options{})
	if err != nil {
		return link.StatusInternal
	}
	c.result.Data = sig
	return link.StatusOK
}

const (
	receiptPrefix     = "leadglass/receipt/v1\x00"
	receiptLen        = len(receiptPrefix) + 8 + 8 + 4 + 32
	cosignaturePrefix = "cosignature/v1\ntime "
	subtreePrefix     = "subtree/v1\n\x00"
	maxNote           = 1024
)

// signable says whether a message is one of those that the log signs. Whoever
// gets at the log's handle can thus make it say something about the log, but
// not sign a statement of another kind.
func signable(alg uint64, m []byte) bool {
	switch alg {
	case message.LogEd25519:
		if bytes.HasPrefix(m, []byte(receiptPrefix)) {
			return len(m) == receiptLen
		}
		if rest, ok := bytes.CutPrefix(m, []byte(cosignaturePrefix)); ok {
			time, note, ok := bytes.Cut(rest, []byte("\n"))
			return ok && decimal(time) && checkpoint(note)
		}
		return checkpoint(m)
	case message.LogMLDSA44:
		return subtree(m)
	}
	return false
}

// checkpoint is three lines: origin, size, root (C2SP tlog-checkpoint, without
// extension lines).
func checkpoint(m []byte) bool {
	lines := bytes.Split(m, []byte("\n"))
	if len(m) > maxNote || len(lines) != 4 || len(lines[3]) != 0 || !name(lines[0]) || !decimal(lines[1]) {
		return false
	}
	root, err := base64.StdEncoding.Strict().DecodeString(string(lines[2]))
	return err == nil && len(root) == 32
}

// subtree is the text of an ML-DSA-44 cosignature: prefix, u8 length and
// cosigner, u64 time, u8 length and origin, u64 start, u64 end, hash.
func subtree(m []byte) bool {
	rest, ok := bytes.CutPrefix(m, []byte(subtreePrefix))
	if !ok {
		return false
	}
	cosigner, rest, ok := cutName(rest)
	if !ok || len(rest) < 8 || !name(cosigner) {
		return false
	}
	origin, rest, ok := cutName(rest[8:])
	return ok && name(origin) && len(rest) == 8+8+32
}

func cutName(b []byte) (name, rest []byte, ok bool) {
	if len(b) < 1 || len(b) < 1+int(b[0]) {
		return nil, nil, false
	}
	return b[1 : 1+b[0]], b[1+b[0]:], true
}

// name is an origin or a cosigner: not empty, printable, no spaces or pluses
// (C2SP signed-note).
func name(b []byte) bool {
	if len(b) == 0 || len(b) > 255 || !utf8.Valid(b) {
		return false
	}
	for _, c := range b {
		if c <= ' ' || c == 0x7f || c == '+' {
			return false
		}
	}
	return true
}

func decimal(b []byte) bool {
	n, err := strconv.ParseUint(string(b), 10, 63)
	return err == nil && strconv.FormatUint(n, 10) == string(b)
}

// auditSuite is the suite of audit-log section 4: HKDF-SHA256 and AES-256-GCM
// under MLKEM768-X25519.
func auditSuite() (hpke.KEM, hpke.KDF, hpke.AEAD) {
	return hpke.MLKEM768X25519(), hpke.HKDFSHA256(), hpke.AES256GCM()
}

func (c *call) generateAuditKey() uint64 {
	if !account(c.params.Name) {
		return link.StatusBadRequest
	}
	kem, _, _ := auditSuite()
	key, err := kem.GenerateKey()
	if err != nil {
		return link.StatusInternal
	}
	seed, err := key.Bytes()
	if err != nil || len(seed) > len(c.material) {
		return link.StatusInternal
	}
	defer secret.Wipe(seed)
	c.result.Public = key.PublicKey().Bytes()
	return c.make(message.SpecAudit, usageAudit, "AWS_KMS", c.material[:copy(c.material[:], seed)])
}

// auditInfo is "leadglass/audit/dek/v1" ‖ account ‖ key id[16].
const auditInfo = "leadglass/audit/dek/v1"

func (c *call) openAuditKey() uint64 {
	p := &c.params
	seed, status := c.open()
	if status != link.StatusOK {
		return status
	}
	if c.attrs.spec != message.SpecAudit {
		return link.StatusWrongToken
	}
	// The key of one account opens nothing that was sealed for another.
	if len(p.Info) != len(auditInfo)+12+16 || string(p.Info[:len(auditInfo)+12]) != auditInfo+c.attrs.name {
		return link.StatusDenied
	}
	kem, derivation, aead := auditSuite()
	key, err := kem.NewPrivateKey(seed)
	if err != nil {
		return link.StatusInternal
	}
	recipient, err := hpke.NewRecipient(p.Enc, key, derivation, aead, p.Info)
	if err != nil {
		return link.StatusAuthFailed
	}
	dek, err := recipient.Open(nil, p.Blob)
	if err != nil || len(dek) > len(c.plain) {
		return link.StatusAuthFailed
	}
	defer secret.Wipe(dek)
	c.result.Data = c.plain[:copy(c.plain[:], dek)]
	return link.StatusOK
}

func account(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(s) == 12
}
