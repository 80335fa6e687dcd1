//go:build cgo

package pkcs11

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/miekg/pkcs11"
)

// Serve logs in to the token and answers the HSM until it is gone. It wipes the
// PIN when the token has it.
func Serve(conn io.ReadWriter, o Options, pin []byte) error {
	m := pkcs11.New(o.Module)
	if m == nil {
		return fmt.Errorf("pkcs11: %s is no PKCS#11 module", o.Module)
	}
	defer m.Destroy()
	if err := m.Initialize(); err != nil {
		return fmt.Errorf("pkcs11: %s: %w", o.Module, err)
	}
	defer func() { _ = m.Finalize() }()
	t := &session{module: m, options: o, pin: string(pin)}
	clear(pin)
	if err := t.open(); err != nil {
		return err
	}
	return serve(conn, t)
}

// A session is one login to the token.
type session struct {
	module  *pkcs11.Ctx
	options Options
	pin     string // kept: a token that was away wants it again
	handle  pkcs11.SessionHandle
	key     pkcs11.ObjectHandle
}

// Ways to wrap: the first byte of what protect returns.
const (
	wayGCM = 1 // IV[12] ‖ ciphertext ‖ tag[16], CKM_AES_GCM
	wayKWP = 2 // CKM_AES_KEY_WRAP_KWP, RFC 5649
	wayPad = 3 // CKM_AES_KEY_WRAP_PAD, its name before PKCS#11 3.0
)

// ckmAESKeyWrapKWP is missing from the module's constants (PKCS#11 3.0 section 6.13.3).
const ckmAESKeyWrapKWP = 0x210b

// open finds the token, logs in, and finds or makes the key.
func (t *session) open() error {
	slots, err := t.module.GetSlotList(true)
	if err != nil {
		return fmt.Errorf("pkcs11: slots: %w", err)
	}
	for _, slot := range slots {
		info, err := t.module.GetTokenInfo(slot)
		if err != nil || info.Label != t.options.Token {
			continue
		}
		if t.handle, err = t.module.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION); err != nil {
			return fmt.Errorf("pkcs11: session: %w", err)
		}
		err = t.module.Login(t.handle, pkcs11.CKU_USER, t.pin)
		if err != nil && !errors.Is(err, pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN)) {
			return fmt.Errorf("pkcs11: login: %w", err)
		}
		return t.findKey(slot)
	}
	return fmt.Errorf("pkcs11: no token is labelled %q", t.options.Token)
}

func (t *session) findKey(slot uint) error {
	err := t.module.FindObjectsInit(t.handle, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, t.options.Key),
	})
	if err != nil {
		return fmt.Errorf("pkcs11: key: %w", err)
	}
	found, _, err := t.module.FindObjects(t.handle, 2)
	if err := errors.Join(err, t.module.FindObjectsFinal(t.handle)); err != nil {
		return fmt.Errorf("pkcs11: key: %w", err)
	}
	switch len(found) {
	case 0:
		return t.makeKey()
	case 1:
		t.key = found[0]
	default:
		return fmt.Errorf("pkcs11: several keys are labelled %q", t.options.Key)
	}
	// A key that could leave the token would guard nothing.
	attributes, err := t.module.GetAttributeValue(t.handle, t.key, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, nil), pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, nil),
	})
	if err != nil {
		return fmt.Errorf("pkcs11: key: %w", err)
	}
	extractable, sensitive := attributes[0].Value, attributes[1].Value
	if len(extractable) != 1 || extractable[0] != 0 || len(sensitive) != 1 || sensitive[0] == 0 {
		return fmt.Errorf("pkcs11: the key %q can leave the token; it must be sensitive and not extractable", t.options.Key)
	}
	return nil
}

func (t *session) makeKey() error {
	key, err := t.module.GenerateKey(t.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_GEN, nil)}, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, t.options.Key),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, true),
		pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, true),
		pkcs11.NewAttribute(pkcs11.CKA_WRAP, true),
		pkcs11.NewAttribute(pkcs11.CKA_UNWRAP, true),
	})
	if err != nil {
		return fmt.Errorf("pkcs11: make key: %w", err)
	}
	t.key = key
	return nil
}

// again does f, and once more in a new session if the token was away.
func (t *session) again(f func() ([]byte, error)) ([]byte, error) {
	out, err := f()
	for _, lost := range []uint{pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_SESSION_CLOSED, pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_USER_NOT_LOGGED_IN} {
		if errors.Is(err, pkcs11.Error(lost)) {
			if err := t.open(); err != nil {
				return nil, err
			}
			return f()
		}
	}
	return out, err
}

func (t *session) protect(key []byte) ([]byte, error) {
	return t.again(func() ([]byte, error) {
		if !t.options.NoGCM {
			out, err := t.seal(key)
			if err == nil || !unsupported(err) {
				return out, err
			}
		}
		out, err := t.wrap(wayKWP, key)
		if err != nil && unsupported(err) {
			out, err = t.wrap(wayPad, key)
		}
		return out, err
	})
}

func unsupported(err error) bool {
	return errors.Is(err, pkcs11.Error(pkcs11.CKR_MECHANISM_INVALID)) || errors.Is(err, pkcs11.Error(pkcs11.CKR_FUNCTION_NOT_SUPPORTED)) ||
		errors.Is(err, pkcs11.Error(pkcs11.CKR_MECHANISM_PARAM_INVALID))
}

// seal encrypts with AES-GCM. A random 96-bit IV suffices for a key that seals
// one other key per domain (SP 800-38D section 8.2.2). A token that makes its
// own IV leaves it in the parameters.
func (t *session) seal(key []byte) ([]byte, error) {
	iv := make([]byte, 12)
	rand.Read(iv)
	params := pkcs11.NewGCMParams(iv, nil, 128)
	defer params.Free()
	if err := t.module.EncryptInit(t.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, t.key); err != nil {
		return nil, err
	}
	ct, err := t.module.Encrypt(t.handle, key)
	if err != nil {
		return nil, err
	}
	if used := params.IV(); len(used) == len(iv) {
		iv = used
	}
	return append(append([]byte{wayGCM}, iv...), ct...), nil
}

// mechanism is the token's name of a way to wrap.
func mechanism(way byte) uint {
	if way == wayKWP {
		return ckmAESKeyWrapKWP
	}
	return pkcs11.CKM_AES_KEY_WRAP_PAD
}

// wrap takes the key into the token as an object of the session and wraps that.
func (t *session) wrap(way byte, key []byte) ([]byte, error) {
	object, err := t.module.CreateObject(t.handle, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_GENERIC_SECRET),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, false),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, false),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE, key),
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = t.module.DestroyObject(t.handle, object) }()
	out, err := t.module.WrapKey(t.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism(way), nil)}, t.key, object)
	if err != nil {
		return nil, err
	}
	return append([]byte{way}, out...), nil
}

func (t *session) recover(wrapped []byte) ([]byte, error) {
	return t.again(func() ([]byte, error) {
		if len(wrapped) < 1 {
			return nil, errors.New("malformed wrapped key")
		}
		switch way := wrapped[0]; way {
		case wayGCM:
			return t.unseal(wrapped[1:])
		case wayKWP, wayPad:
			return t.unwrap(way, wrapped[1:])
		}
		return nil, errors.New("malformed wrapped key")
	})
}

func (t *session) unseal(b []byte) ([]byte, error) {
	if len(b) < 12+16 {
		return nil, errors.New("malformed wrapped key")
	}
	params := pkcs11.NewGCMParams(b[:12], nil, 128)
	defer params.Free()
	if err := t.module.DecryptInit(t.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, t.key); err != nil {
		return nil, err
	}
	return t.module.Decrypt(t.handle, b[12:])
}

func (t *session) unwrap(way byte, b []byte) ([]byte, error) {
	if len(b) < 16 || len(b)%8 != 0 { // RFC 5649 has no other lengths, and the module's binding panics on none at all
		return nil, errors.New("malformed wrapped key")
	}
	object, err := t.module.UnwrapKey(t.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism(way), nil)}, t.key, b, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_GENERIC_SECRET),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, false),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, false),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true),
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = t.module.DestroyObject(t.handle, object) }()
	value, err := t.module.GetAttributeValue(t.handle, object, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_VALUE, nil)})
	if err != nil {
		return nil, err
	}
	return value[0].Value, nil
}
