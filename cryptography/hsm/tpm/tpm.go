// Package tpm guards the HSM's seal with a TPM 2.0 (hsm-domain section 10): a
// key leaves the TPM only on this machine, after it started the way it had when
// the key was sealed, and for whoever has the seal key.
//
// New takes a connection to a TPM (/dev/tpmrm0, or the socket of a software
// TPM) and the seal key, from which the TPM's authorisation value is derived.
// The policy of a sealed key is PolicyPCR(0, 2, 4, 7, 11) and PolicyAuthValue:
// firmware, its drivers, boot loader, secure boot state and unified kernel
// image. An update that changes one of these makes the key stay inside; how to
// go through one is in the trust model.
//
// A counter in the TPM's non-volatile memory tells an old copy of the domain
// from the present one.
//
// What passes between this process and the TPM is encrypted to the TPM's
// storage key, so that nobody on the bus reads the key. Not done here:
// checking that the TPM is a genuine one (its endorsement certificate), and
// per-request work, for which a TPM is too slow.
package tpm

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/leadglass/leadglass/cryptography/secret"
)

// ErrRefused is returned when the TPM does not release the key: the machine
// was started in another way, the seal key is another, or it is another TPM.
var ErrRefused = errors.New("tpm: the TPM does not release the key; was the machine started in another way, or is it another one?")

// pcrs are measured: firmware (0), its drivers (2), boot loader (4), secure
// boot state (7), unified kernel image (11).
var pcrs = []uint{0, 2, 4, 7, 11}

// Guard is a TPM. It implements core.Guard and core.Counter.
type Guard struct {
	tpm transport.TPM
	// auth is the authorisation value of keys and counter: 128 bits as hex digits. Not raw, because go-tpm 0.9.8 takes
	// what follows a zero byte for trailing zeros, which authorisation values do without (TPM 2.0 Part 1, 19.6.5).
	auth [32]byte

	mu    sync.Mutex // a TPM does one thing at a time
	index uint32     // guarded by mu; of the counter; 0: not known yet
}

// firstIndex is where counters are looked for, in the owner's range of NV
// indices (TCG Registry of Reserved TPM 2.0 Handles, section 2.2).
const (
	firstIndex = 0x01804c47
	indices    = 16
)

// New returns a guard over a connection on which a write is a command and a
// read its answer. sealKey is not kept.
func New(conn io.ReadWriter, sealKey []byte) (*Guard, error) {
	if len(sealKey) == 0 {
		return nil, errors.New("tpm: no seal key")
	}
	// Wrapped, because go-tpm polls what it knows to be a file, and the HSM may not make that system call. A TPM's
	// device does not need it as long as it is not set to non-blocking: a command's write returns when it is done.
	g := &Guard{tpm: transport.FromReadWriter(struct{ io.ReadWriter }{conn})}
	b := append([]byte("leadglass tpm auth v1\x00"), sealKey...)
	sum := sha256.Sum256(b)
	hex.Encode(g.auth[:], sum[:len(g.auth)/2])
	secret.Wipe(b)
	secret.Wipe(sum[:])
	// A first command says whether there is a TPM at the other end at all.
	_, err := tpm2.GetCapability{Capability: tpm2.TPMCapTPMProperties, Property: uint32(tpm2.TPMPTManufacturer), PropertyCount: 1}.Execute(g.tpm)
	if err != nil {
		return nil, fmt.Errorf("tpm: no TPM 2.0 answers: %w", err)
	}
	return g, nil
}

// Name is "TPM 2.0".
func (g *Guard) Name() string { return "TPM 2.0" }

// storageKey makes the owner's storage primary key, which is the same each time
// on the same TPM (TCG TPM v2.0 Provisioning Guidance section 7.5.1).
func (g *Guard) storageKey() (*tpm2.CreatePrimaryResponse, func(), error) {
	r, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(g.tpm)
	if err != nil {
		return nil, nil, fmt.Errorf("tpm: storage key: %w", err)
	}
	return r, func() { _, _ = tpm2.FlushContext{FlushHandle: r.ObjectHandle}.Execute(g.tpm) }, nil
}

// salted are the options of a session whose parameters are encrypted to the
// storage key.
func salted(srk *tpm2.CreatePrimaryResponse, way func(tpm2.TPMKeyBits) tpm2.AuthOption) ([]tpm2.AuthOption, error) {
	public, err := srk.OutPublic.Contents()
	if err != nil {
		return nil, fmt.Errorf("tpm: storage key: %w", err)
	}
	return []tpm2.AuthOption{tpm2.Salted(srk.ObjectHandle, *public), way(128)}, nil
}

func in(bits tpm2.TPMKeyBits) tpm2.AuthOption {
	return tpm2.AESEncryption(bits, tpm2.EncryptIn)
}

func out(bits tpm2.TPMKeyBits) tpm2.AuthOption {
	return tpm2.AESEncryption(bits, tpm2.EncryptOut)
}

func selection() tpm2.TPMLPCRSelection {
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{
		Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(pcrs...),
	}}}
}

// bind runs the two parts of the policy on a policy session.
func bind(t transport.TPM, session tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
	if _, err := (tpm2.PolicyPCR{PolicySession: session, Pcrs: selection()}).Execute(t); err != nil {
		return err
	}
	_, err := tpm2.PolicyAuthValue{PolicySession: session}.Execute(t)
	return err
}

// policy is the digest of the policy as the machine is now.
func (g *Guard) policy() (tpm2.TPM2BDigest, error) {
	session, end, err := tpm2.PolicySession(g.tpm, tpm2.TPMAlgSHA256, 16, tpm2.Trial())
	if err != nil {
		return tpm2.TPM2BDigest{}, fmt.Errorf("tpm: policy: %w", err)
	}
	defer func() { _ = end() }()
	if err := bind(g.tpm, session.Handle(), tpm2.TPM2BNonce{}); err != nil {
		return tpm2.TPM2BDigest{}, fmt.Errorf("tpm: policy: %w", err)
	}
	digest, err := tpm2.PolicyGetDigest{PolicySession: session.Handle()}.Execute(g.tpm)
	if err != nil {
		return tpm2.TPM2BDigest{}, fmt.Errorf("tpm: policy: %w", err)
	}
	return digest.PolicyDigest, nil
}

// Protect seals a key and makes the counter that goes with it:
//
//	u32 NV index ‖ u16 n ‖ TPM2B_PUBLIC[n] ‖ TPM2B_PRIVATE
func (g *Guard) Protect(key []byte) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	srk, flush, err := g.storageKey()
	if err != nil {
		return nil, err
	}
	defer flush()
	policy, err := g.policy()
	if err != nil {
		return nil, err
	}
	options, err := salted(srk, in)
	if err != nil {
		return nil, err
	}
	made, err := tpm2.Create{
		ParentHandle: tpm2.AuthHandle{Handle: srk.ObjectHandle, Name: srk.Name, Auth: tpm2.HMAC(tpm2.TPMAlgSHA256, 16, options...)},
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			UserAuth: tpm2.TPM2BAuth{Buffer: g.auth[:]},
			Data:     tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: key}),
		}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
			// Not UserWithAuth: the policy is the only way. NoDA: an authorisation value of 128 bits needs no
			// lock-out, which would only let strangers lock the machine out.
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, NoDA: true},
			AuthPolicy:       policy,
		}),
	}.Execute(g.tpm)
	if err != nil {
		return nil, fmt.Errorf("tpm: seal: %w", err)
	}
	if err := g.defineCounter(); err != nil {
		return nil, err
	}
	public, private := tpm2.Marshal(made.OutPublic), tpm2.Marshal(made.OutPrivate)
	b := binary.BigEndian.AppendUint32(nil, g.index)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(public))), public...)
	return append(b, private...), nil
}

// Recover releases a key that Protect sealed.
func (g *Guard) Recover(wrapped []byte) ([]byte, error) {
	if len(wrapped) < 6 || len(wrapped) < 6+int(binary.BigEndian.Uint16(wrapped[4:])) {
		return nil, errors.New("tpm: malformed sealed key")
	}
	index, n := binary.BigEndian.Uint32(wrapped), int(binary.BigEndian.Uint16(wrapped[4:]))
	public, err := tpm2.Unmarshal[tpm2.TPM2BPublic](wrapped[6 : 6+n])
	if err != nil {
		return nil, errors.New("tpm: malformed sealed key")
	}
	private, err := tpm2.Unmarshal[tpm2.TPM2BPrivate](wrapped[6+n:])
	if err != nil {
		return nil, errors.New("tpm: malformed sealed key")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	srk, flush, err := g.storageKey()
	if err != nil {
		return nil, err
	}
	defer flush()
	loaded, err := tpm2.Load{
		ParentHandle: tpm2.AuthHandle{Handle: srk.ObjectHandle, Name: srk.Name, Auth: tpm2.PasswordAuth(nil)},
		InPrivate:    *private, InPublic: *public,
	}.Execute(g.tpm)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrRefused, err)
	}
	defer func() { _, _ = tpm2.FlushContext{FlushHandle: loaded.ObjectHandle}.Execute(g.tpm) }()
	options, err := salted(srk, out)
	if err != nil {
		return nil, err
	}
	options = append(options, tpm2.Auth(g.auth[:]))
	released, err := tpm2.Unseal{
		ItemHandle: tpm2.AuthHandle{
			Handle: loaded.ObjectHandle, Name: loaded.Name,
			Auth: tpm2.Policy(tpm2.TPMAlgSHA256, 16, bind, options...),
		},
	}.Execute(g.tpm)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrRefused, err)
	}
	g.index = index
	key := slices.Clone(released.OutData.Buffer)
	secret.Wipe(released.OutData.Buffer)
	return key, nil
}

// defineCounter makes a counter at the first index that is free. A counter that
// is made anew starts no lower than any that the TPM ever had (TPM 2.0 Part 3,
// NV_Increment), so nothing is gained by deleting one.
func (g *Guard) defineCounter() error {
	for i := range uint32(indices) {
		index := tpm2.TPMHandle(firstIndex + i)
		if _, err := (tpm2.NVReadPublic{NVIndex: index}).Execute(g.tpm); err == nil {
			continue // somebody else's
		}
		_, err := tpm2.NVDefineSpace{
			AuthHandle: tpm2.TPMRHOwner,
			Auth:       tpm2.TPM2BAuth{Buffer: g.auth[:]},
			PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
				NVIndex: index, NameAlg: tpm2.TPMAlgSHA256, DataSize: 8,
				Attributes: tpm2.TPMANV{NT: tpm2.TPMNTCounter, AuthRead: true, AuthWrite: true, NoDA: true},
			}),
		}.Execute(g.tpm)
		if err != nil {
			return fmt.Errorf("tpm: counter: %w", err)
		}
		g.index = uint32(index)
		return g.advance() // a counter cannot be read before its first step
	}
	return fmt.Errorf("tpm: all %d indices for counters are taken; the TPM's owner can free those of domains that are gone", indices)
}

// counter is the handle of the counter with its authorisation.
func (g *Guard) counter() (tpm2.AuthHandle, tpm2.TPM2BName, error) {
	if g.index == 0 {
		return tpm2.AuthHandle{}, tpm2.TPM2BName{}, errors.New("tpm: no counter")
	}
	public, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(g.index)}.Execute(g.tpm)
	if err != nil {
		return tpm2.AuthHandle{}, tpm2.TPM2BName{}, fmt.Errorf("tpm: the counter is gone: %w", err)
	}
	return tpm2.AuthHandle{
		Handle: tpm2.TPMHandle(g.index), Name: public.NVName, Auth: tpm2.HMAC(tpm2.TPMAlgSHA256, 16, tpm2.Auth(g.auth[:])),
	}, public.NVName, nil
}

// Count is where the counter stands.
func (g *Guard) Count() (uint64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	handle, name, err := g.counter()
	if err != nil {
		return 0, err
	}
	r, err := tpm2.NVRead{AuthHandle: handle, NVIndex: tpm2.NamedHandle{Handle: tpm2.TPMHandle(g.index), Name: name}, Size: 8}.Execute(g.tpm)
	if err != nil {
		return 0, fmt.Errorf("tpm: counter: %w", err)
	}
	if len(r.Data.Buffer) != 8 {
		return 0, errors.New("tpm: counter: malformed")
	}
	return binary.BigEndian.Uint64(r.Data.Buffer), nil
}

// Advance adds one.
func (g *Guard) Advance() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.advance()
}

func (g *Guard) advance() error {
	handle, name, err := g.counter()
	if err != nil {
		return err
	}
	_, err = tpm2.NVIncrement{AuthHandle: handle, NVIndex: tpm2.NamedHandle{Handle: tpm2.TPMHandle(g.index), Name: name}}.Execute(g.tpm)
	if err != nil {
		return fmt.Errorf("tpm: counter: %w", err)
	}
	return nil
}
