package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/mldsa"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/leadglass/leadglass/cryptography/secret"
)

const toolsPromise = "7: existing tools and practices work unchanged"

// sealFile encrypts a file on the hospital's own machine.
func (t *tour) sealFile(ctx context.Context) error {
	dir := filepath.Join(t.dir, "ward")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "heart4.csv"), records, 0o600); err != nil {
		return err
	}
	if _, err := t.program(ctx, dir, t.a.environment(), "seal", "heart4.csv", "--key", t.keyARN, "--context", "hospital=A"); err != nil {
		return err
	}
	sealed, err := os.ReadFile(filepath.Join(dir, "heart4.csv.sealed"))
	if err != nil {
		return err
	}
	line := bytes.SplitN(records, []byte("\n"), 3)[1]
	_, stranger := t.program(ctx, dir, t.b.environment(), "open", "heart4.csv.sealed", "--key", t.keyARN, "-o", "stolen.csv")
	if _, err := t.program(ctx, dir, t.a.environment(), "open", "heart4.csv.sealed", "--key", t.keyARN, "--context", "hospital=A", "-o", "opened.csv"); err != nil {
		return err
	}
	opened, err := os.ReadFile(filepath.Join(dir, "opened.csv"))
	if err != nil {
		return err
	}
	_, stolen := os.Stat(filepath.Join(dir, "stolen.csv"))
	t.add(claim{
		Promise:  toolsPromise,
		Claim:    "A file is sealed on hospital A's machine, in the format of the AWS Encryption SDK, and the plane never sees it",
		By:       "hospital A; then hospital B with the sealed file",
		Tried:    "leadglass seal; leadglass open as B; leadglass open as A",
		Happened: fmt.Sprintf("%d bytes became %d; B: %s; A: %d bytes, the same: %v", len(records), len(sealed), errorOf(stranger), len(opened), bytes.Equal(opened, records)),
		Evidence: fmt.Sprintf("a line of the records is in the sealed file: %v", bytes.Contains(sealed, line)),
		Holds:    stranger != nil && errors.Is(stolen, os.ErrNotExist) && bytes.Equal(opened, records) && !bytes.Contains(sealed, line),
	})
	return nil
}

// errorOf is what a program of ours said last, without how it was called.
func errorOf(err error) string {
	if err == nil {
		return "DONE"
	}
	_, text, ok := strings.Cut(err.Error(), ": leadglass: ")
	if !ok {
		return err.Error()
	}
	return text
}

// signRecords signs in the HSM and checks without the plane.
func (t *tour) signRecords(ctx context.Context) error {
	digest := sha256.Sum256(records)
	altered := digest
	altered[0] ^= 1
	holds, lines := true, []string{}
	for _, s := range []struct {
		spec, algorithm, form string
		verify                func(public, digest, sig []byte) bool
	}{
		{"ECC_NIST_P256", "ECDSA_SHA_256", "DIGEST", verifyECDSA},
		{"ML_DSA_65", "ML_DSA_SHAKE_256", "RAW", verifyMLDSA},
	} {
		var key struct{ KeyMetadata struct{ KeyId string } }
		if _, err := t.a.json(ctx, "kms", "CreateKey", map[string]any{"KeySpec": s.spec, "KeyUsage": "SIGN_VERIFY"}, &key); err != nil {
			return err
		}
		var sig struct{ Signature []byte }
		if _, err := t.a.json(ctx, "kms", "Sign", map[string]any{"KeyId": key.KeyMetadata.KeyId, "Message": digest[:], "MessageType": s.form, "SigningAlgorithm": s.algorithm}, &sig); err != nil {
			return err
		}
		var public struct{ PublicKey []byte }
		if _, err := t.a.json(ctx, "kms", "GetPublicKey", map[string]any{"KeyId": key.KeyMetadata.KeyId}, &public); err != nil {
			return err
		}
		good, bad := s.verify(public.PublicKey, digest[:], sig.Signature), s.verify(public.PublicKey, altered[:], sig.Signature)
		holds = holds && good && !bad
		lines = append(lines, fmt.Sprintf("%s: %d bytes, good: %v, for altered records: %v", s.algorithm, len(sig.Signature), good, bad))
	}
	t.add(claim{
		Promise:  toolsPromise,
		Claim:    "A signature of a key that never leaves the HSM is checked by anybody, offline; also one that quantum computers do not break",
		By:       "hospital A signs; somebody with the public key checks",
		Tried:    "kms:CreateKey, kms:Sign, kms:GetPublicKey; verification by Go's crypto/ecdsa and filippo.io/mldsa, without the plane",
		Happened: strings.Join(lines, "; "),
		Evidence: fmt.Sprintf("SHA-256 of the records %x…", digest[:8]),
		Holds:    holds,
	})
	return nil
}

func verifyECDSA(public, digest, sig []byte) bool {
	key, err := x509.ParsePKIXPublicKey(public)
	ec, ok := key.(*ecdsa.PublicKey)
	return err == nil && ok && ecdsa.VerifyASN1(ec, digest, sig)
}

// verifyMLDSA takes the key out of its SubjectPublicKeyInfo (RFC 9881), which
// crypto/x509 does not know yet.
func verifyMLDSA(public, message, sig []byte) bool {
	var info, algorithm cryptobyte.String
	var key []byte
	s := cryptobyte.String(public)
	if !s.ReadASN1(&info, asn1.SEQUENCE) || !info.ReadASN1(&algorithm, asn1.SEQUENCE) || !info.ReadASN1BitStringAsBytes(&key) {
		return false
	}
	k, err := mldsa.NewPublicKey(mldsa.MLDSA65(), key)
	return err == nil && mldsa.Verify(k, message, sig, nil) == nil
}

// shred brings a key of the hospital's own and takes it away again.
func (t *tour) shred(ctx context.Context) error {
	material := make([]byte, 32)
	rand.Read(material)
	defer secret.Wipe(material)
	var key struct{ KeyMetadata struct{ KeyId string } }
	if _, err := t.a.json(ctx, "kms", "CreateKey", map[string]any{"Origin": "EXTERNAL", "Description": "a key of our own"}, &key); err != nil {
		return err
	}
	id := key.KeyMetadata.KeyId
	bring := func() error {
		var p struct{ ImportToken, PublicKey []byte }
		if _, err := t.a.json(ctx, "kms", "GetParametersForImport", map[string]any{"KeyId": id, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}, &p); err != nil {
			return err
		}
		parsed, err := x509.ParsePKIXPublicKey(p.PublicKey)
		public, ok := parsed.(*rsa.PublicKey)
		if err != nil || !ok {
			return fmt.Errorf("the wrapping key is no RSA key: %w", err)
		}
		wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, material, nil)
		if err != nil {
			return err
		}
		_, err = t.a.json(ctx, "kms", "ImportKeyMaterial", map[string]any{"KeyId": id, "ImportToken": p.ImportToken, "EncryptedKeyMaterial": wrapped, "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}, nil)
		return err
	}
	if err := bring(); err != nil {
		return err
	}
	line := bytes.SplitN(records, []byte("\n"), 3)[1]
	var sealed struct{ CiphertextBlob []byte }
	if _, err := t.a.json(ctx, "kms", "Encrypt", map[string]any{"KeyId": id, "Plaintext": line}, &sealed); err != nil {
		return err
	}
	text, _, before := t.decrypt(ctx, t.a, sealed.CiphertextBlob, nil)
	if _, err := t.a.json(ctx, "kms", "DeleteImportedKeyMaterial", map[string]any{"KeyId": id}, nil); err != nil {
		return err
	}
	_, request, gone := t.decrypt(ctx, t.a, sealed.CiphertextBlob, nil)
	if err := bring(); err != nil {
		return err
	}
	again, _, after := t.decrypt(ctx, t.a, sealed.CiphertextBlob, nil)
	t.kept = append(t.kept, kept{what: "hospital A's imported key", by: t.a, sealed: sealed.CiphertextBlob, text: line})
	t.add(claim{
		Promise:  toolsPromise,
		Claim:    "Hospital A brings a key of its own and takes it away: what was under it is shredded, until the hospital brings the key again",
		By:       "hospital A, with the only other copy of the key",
		Tried:    "kms:GetParametersForImport, wrap, kms:ImportKeyMaterial; kms:Encrypt; kms:DeleteImportedKeyMaterial; kms:Decrypt; import the same once more",
		Happened: fmt.Sprintf("imported: opens: %v; deleted, no waiting period: %s; imported again: opens: %v", before == nil && bytes.Equal(text, line), codeOf(gone), after == nil && bytes.Equal(again, line)),
		Evidence: "request " + request,
		Holds:    before == nil && bytes.Equal(text, line) && codeOf(gone) == "KMSInvalidStateException" && after == nil && bytes.Equal(again, line),
	})
	return nil
}

// rotate gives the key of the records new material.
func (t *tour) rotate(ctx context.Context) error {
	material := func() (id string, blob []byte, err error) {
		var out struct {
			KeyMaterialId  string
			CiphertextBlob []byte
		}
		_, err = t.a.json(ctx, "kms", "GenerateDataKeyWithoutPlaintext", map[string]any{"KeyId": t.keyARN, "KeySpec": "AES_256"}, &out)
		return out.KeyMaterialId, out.CiphertextBlob, err
	}
	old, _, err := material()
	if err != nil {
		return err
	}
	if _, err := t.a.json(ctx, "kms", "RotateKeyOnDemand", map[string]any{"KeyId": t.keyARN}, nil); err != nil {
		return err
	}
	fresh, blob, err := material()
	if err != nil {
		return err
	}
	opened, _, before := t.open(ctx, t.a)
	_, _, after := t.decrypt(ctx, t.a, blob, nil)
	var rotations struct {
		Rotations []struct{ RotationType string }
	}
	if _, err := t.a.json(ctx, "kms", "ListKeyRotations", map[string]any{"KeyId": t.keyARN}, &rotations); err != nil {
		return err
	}
	t.add(claim{
		Promise:  toolsPromise,
		Claim:    "A key is rotated on demand: new material for what is new, and everything old still opens",
		By:       "hospital A",
		Tried:    "kms:RotateKeyOnDemand of the key of the records; a new data key; the records of before",
		Happened: fmt.Sprintf("material %.8s…, then %.8s…; the records of before: %d bytes, the same: %v; what is new opens: %v", old, fresh, len(opened), bytes.Equal(opened, records), after == nil),
		Evidence: fmt.Sprintf("kms:ListKeyRotations: %d, %s", len(rotations.Rotations), first(rotations.Rotations).RotationType),
		Holds:    old != "" && fresh != "" && old != fresh && before == nil && bytes.Equal(opened, records) && after == nil && first(rotations.Rotations).RotationType == "ON_DEMAND",
	})
	return t.keep(ctx, t.a, "hospital A's rotated key", t.keyARN, []byte("after the rotation"))
}
