package keys

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// A Use is the authorised use of a key: the snapshot on which the decision was
// made, and how to make it again.
type Use struct {
	Key *Key
	// Again decides once more whether the caller may, on a newer snapshot of the same key. It is asked only when
	// the key was changed since Key was taken. Nil: a changed key is refused.
	Again func(now *Key) error
	// DryRun checks everything and does nothing. A call that would have succeeded is answered by a DryRun refusal.
	DryRun bool
	// Event and Request are remembered for GetKeyLastUsage.
	Event, Request string
	// Principal is the ARN of the caller: an external key store is told.
	Principal string
	// For is whom the secret is for, of the operations that give one; nil: the caller.
	For *Recipient
}

var (
	errDryRun     = refuse(DryRun, "The request would have succeeded, but the DryRun option is set.")
	errCiphertext = &Error{Kind: InvalidCiphertext} // without a text, and so without a reason (kms-api section 1)
	errIncorrect  = refuse(IncorrectKey, "The key ID in the request does not identify a CMK that can perform this operation.")
)

// check decides whether a use may go on with the snapshot cur: the state of
// cur, and, if cur is not what the caller was authorised on, the caller's
// right to it.
func (k *Keys) check(u Use, cur *Key, operation string) (*Key, error) {
	if cur == nil || k.over(cur) {
		return nil, missing(u.Key.ARN)
	}
	if cur.stale {
		return nil, &Error{Kind: Unavailable, Message: cur.ARN + " is unavailable."}
	}
	if !cur.expires.IsZero() {
		cur = cur.asOf(k.cfg.Clock.Now())
	}
	if cur != u.Key && cur.meaning() != u.Key.meaning() {
		if u.Again == nil {
			return nil, &Error{Kind: Unavailable, Message: cur.ARN + " was changed during the call."}
		}
		if err := u.Again(cur); err != nil {
			return nil, err
		}
	}
	if err := cur.State.Permits(operation, cur.ARN); err != nil {
		return nil, err
	}
	return cur, k.reachable(cur)
}

// hold lets f use the key as it is now, and gives f's result out only if
// nothing happened meanwhile that forbids it. So a use that overlaps a
// revocation either was decided before it returned, or fails: revocation must
// win races. f may have worked in vain; what it made is wiped by the caller.
func (k *Keys) hold(u Use, operation string, f func(now *Key) error) error {
	now, err := k.check(u, u.Key.entry.now.Load(), operation)
	if err != nil {
		return err
	}
	err = f(now)
	for range maxRefence {
		// The key's tokens were replaced under way, because somebody else lost a grant: once more with the new ones.
		if !errors.Is(err, hsm.ErrFenced) || !k.moved(u.Key.entry, now) {
			break
		}
		if now, err = k.check(u, u.Key.entry.now.Load(), operation); err != nil {
			return err
		}
		err = f(now)
	}
	if err != nil {
		return err
	}
	if after := u.Key.entry.now.Load(); after != now {
		if _, err := k.check(u, after, operation); err != nil {
			return err
		}
	}
	return k.reachable(now)
}

// maxRefence is how many moves of a key's fence one use goes along with.
const maxRefence = 8

// with is hold and what follows a success: the answer to a dry run, or the
// note that the key was used.
func (k *Keys) with(u Use, operation string, f func(now *Key) error) error {
	if err := k.hold(u, operation, f); err != nil {
		return err
	}
	if u.DryRun {
		return errDryRun
	}
	if u.For != nil && len(u.For.Sealed.Envelope) == 0 {
		return errUnsealed
	}
	k.note(u, operation)
	return nil
}

// CheckContext refuses an encryption context that is larger than the boundary
// takes.
func CheckContext(encCtx map[string]string) error {
	n := 0
	for name, value := range encCtx {
		n += len(name) + len(value)
	}
	if n > MaxContext {
		return refuse(Validation, "The encryption context exceeds the limit of %d bytes.", MaxContext)
	}
	return nil
}

// Encrypt encrypts up to 4096 bytes under the current material.
func (k *Keys) Encrypt(ctx context.Context, u Use, plaintext []byte, encCtx map[string]string) (blob []byte, err error) {
	if err := CheckContext(encCtx); err != nil {
		return nil, err
	}
	err = k.with(u, "Encrypt", func(now *Key) error {
		if u.DryRun {
			return nil
		}
		b, err := k.cfg.Boundary.Encrypt(ctx, now.current().EKT, plaintext, encCtx)
		if err == nil {
			blob, err = k.outward(ctx, u, now, "Encrypt", b, encCtx)
		}
		return k.boundaryError("encrypt", now, err)
	})
	if err != nil {
		return nil, err
	}
	return blob, nil
}

// Decrypt opens a ciphertext that one of the key's materials made, with
// exactly the encryption context that it was made with. The caller owns the
// plaintext and wipes it. An empty blob with DryRun checks everything else.
func (k *Keys) Decrypt(ctx context.Context, u Use, blob []byte, encCtx map[string]string) (plaintext []byte, materialID string, err error) {
	if err := CheckContext(encCtx); err != nil {
		return nil, "", err
	}
	err = k.with(u, "Decrypt", func(now *Key) error {
		if u.DryRun && len(blob) == 0 {
			return nil
		}
		m, err := k.materialOf(now, blob)
		if err != nil {
			return err
		}
		materialID = hex.EncodeToString(m.ID)
		inner, err := k.inward(ctx, u, now, "Decrypt", blob, encCtx)
		if err != nil {
			return err
		}
		plaintext, err = k.boundary(u).Decrypt(ctx, m.EKT, inner, encCtx)
		return k.ciphertextError("decrypt", now, err)
	})
	if err != nil {
		secret.Wipe(plaintext)
		return nil, "", err
	}
	return plaintext, materialID, nil
}

// materialOf finds the material that a ciphertext names, which must be one of
// the key's.
func (k *Keys) materialOf(key *Key, blob []byte) (*material, error) {
	id, err := materialIn(blob)
	if err != nil {
		return nil, errCiphertext
	}
	if m := key.material(id); m != nil {
		return m, nil
	}
	v, ok := k.byMaterial.Load(id)
	if ok && v.(*entry) == key.entry {
		// All related keys rotate in one commit, but are shown one after the other, under their locks: what one has
		// encrypted already may come here before this one is. That it may be used is checked again (hold).
		key.entry.write.Lock()
		now := key.entry.now.Load()
		key.entry.write.Unlock()
		if now != nil {
			if m := now.material(id); m != nil {
				return m, nil
			}
		}
	}
	// That the ciphertext belongs to another key is said only within one account: nobody learns which material
	// exists elsewhere.
	if ok && v.(*entry).account == key.Account {
		return nil, errIncorrect
	}
	return nil, errCiphertext
}

// ReEncrypt opens a ciphertext under one key and makes one under another,
// inside the boundary. An empty blob with DryRun checks everything else.
func (k *Keys) ReEncrypt(ctx context.Context, from, to Use, blob []byte, fromCtx, toCtx map[string]string) (newBlob []byte, fromMaterial, toMaterial string, err error) {
	for _, c := range []map[string]string{fromCtx, toCtx} {
		if err := CheckContext(c); err != nil {
			return nil, "", "", err
		}
	}
	err = k.with(from, "ReEncrypt", func(src *Key) error {
		return k.hold(to, "ReEncrypt", func(dst *Key) error {
			if from.DryRun && len(blob) == 0 {
				return nil
			}
			m, err := k.materialOf(src, blob)
			if err != nil {
				return err
			}
			fromMaterial, toMaterial = hex.EncodeToString(m.ID), dst.MaterialID
			inner, err := k.inward(ctx, from, src, "ReEncrypt", blob, fromCtx)
			if err != nil {
				return err
			}
			newBlob, err = k.cfg.Boundary.ReEncrypt(ctx, m.EKT, inner, fromCtx, dst.current().EKT, toCtx)
			if err == nil {
				newBlob, err = k.outward(ctx, to, dst, "ReEncrypt", newBlob, toCtx)
			}
			return k.ciphertextError("re-encrypt", src, err)
		})
	})
	if err != nil {
		return nil, "", "", err
	}
	k.note(to, "ReEncrypt")
	return newBlob, fromMaterial, toMaterial, nil
}

// GenerateDataKey makes n random bytes inside the boundary and gives them
// encrypted, and also in the clear if withPlaintext; the caller wipes these.
func (k *Keys) GenerateDataKey(ctx context.Context, u Use, n int, encCtx map[string]string, withPlaintext bool) (plaintext, blob []byte, materialID string, err error) {
	if err := CheckContext(encCtx); err != nil {
		return nil, nil, "", err
	}
	operation := "GenerateDataKeyWithoutPlaintext"
	if withPlaintext {
		operation = "GenerateDataKey"
	}
	err = k.with(u, operation, func(now *Key) error {
		if u.DryRun {
			return nil
		}
		materialID = now.MaterialID
		var err error
		plaintext, blob, err = k.boundary(u).GenerateDataKey(ctx, now.current().EKT, n, encCtx, withPlaintext)
		if err == nil {
			blob, err = k.outward(ctx, u, now, operation, blob, encCtx)
		}
		return k.boundaryError("generate a data key", now, err)
	})
	if err != nil {
		secret.Wipe(plaintext)
		return nil, nil, "", err
	}
	return plaintext, blob, materialID, nil
}

// Random gives n random bytes of the boundary.
func (k *Keys) Random(ctx context.Context, n int) ([]byte, error) {
	b, err := k.cfg.Boundary.Random(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("keys: random: %w", err)
	}
	return b, nil
}

// clockSkew is how far the boundary's clock may be ahead of ours. It refuses
// expired material by its own, and the answer is the same as a moment later.
const clockSkew = time.Minute

// boundaryError is what a failure of the boundary means to a caller.
func (k *Keys) boundaryError(what string, key *Key, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, hsm.ErrDenied) && key.expired(k.cfg.Clock.Now().Add(clockSkew)):
		return refuse(InvalidState, "%s is pending import.", key.ARN)
	case errors.Is(err, hsm.ErrAttestation):
		return errAttestation(err)
	case errors.Is(err, hsm.ErrDenied):
		return &Error{Kind: Sealed, Message: "The conditions that are sealed into " + key.ARN + " do not allow this request.", Err: err}
	case errors.Is(err, hsm.ErrBusy):
		return &Error{Kind: Throttling, Message: "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.", Err: err}
	case errors.Is(err, hsm.ErrUnavailable), errors.Is(err, hsm.ErrStale), errors.Is(err, hsm.ErrFenced):
		return &Error{Kind: Unavailable, Message: key.ARN + " is unavailable.", Err: err}
	}
	return fmt.Errorf("keys: %s with %s: %w", what, key.ID, err)
}

// ciphertextError is boundaryError where a ciphertext came in: whatever is
// wrong with that gets one answer, so that there is no oracle.
func (k *Keys) ciphertextError(what string, key *Key, err error) error {
	if errors.Is(err, hsm.ErrAuthFailed) || errors.Is(err, hsm.ErrBadRequest) {
		return errCiphertext
	}
	return k.boundaryError(what, key, err)
}
