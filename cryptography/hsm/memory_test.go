package hsm_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/cryptography/boundary"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// unmask is a process of its own: with the seal key it computes the active
// domain key and the key in a token, and prints both masked.
func unmask(dir, token string) error {
	state, err := boundary.OpenDir(dir)
	if err != nil {
		return err
	}
	memory, err := secret.NewArena(1 << 12)
	if err != nil {
		return err
	}
	seal, err := core.OpenSoftwareSeal(state, nil, memory)
	if err != nil {
		return err
	}
	sealed, _, err := state.Load("domain.sealed")
	if err != nil {
		return err
	}
	bundle, err := seal.Unseal(sealed)
	if err != nil {
		return err
	}
	r := link.NewReader(bundle)
	r.Map()
	for range 4 {
		r.Uint()
		r.Raw()
	}
	r.Uint()
	r.Array()
	dk := r.Bytes()
	if err := r.Done(); err != nil || len(dk) != 32 {
		return fmt.Errorf("bundle: %v", err)
	}
	ekt, err := hex.DecodeString(token)
	if err != nil {
		return err
	}
	nonce := len(ekt) - 32 - 28 - 16
	var key [32]byte
	kdf.Derive(&key, dk, "leadglass ekt v1", ekt[nonce:nonce+16])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return err
	}
	hbk, err := aead.Open(nil, nil, ekt[nonce+16:], ekt[:nonce+16])
	if err != nil {
		return err
	}
	for _, k := range [][]byte{dk, hbk} {
		for i := range k {
			k[i] ^= hsmtest.Mask
		}
		fmt.Println(hex.EncodeToString(k))
	}
	return nil
}

func TestKeysLieInNoReadableMemory(t *testing.T) {
	dir := t.TempDir()
	p := hsmtest.Start(t, hsm.Config{StateDir: dir})
	if p.Lockdown().Memory != secret.MemfdSecret {
		if os.Getenv("LEADGLASS_CI") != "" {
			t.Fatal("no memfd_secret memory here")
		}
		t.Skip("this kernel gives no memfd_secret memory")
	}
	c := p.Client()
	k := newKey(t, c)
	plain := []byte("canary plaintext of a customer ")
	plain = append(plain, fmt.Sprint(os.Getpid(), p.PID())...) // so that it is no constant of the binary
	needle := bytes.Clone(plain)
	for i := range needle {
		needle[i] ^= hsmtest.Mask
	}
	for range 500 {
		blob, err := c.Encrypt(t.Context(), k.EKT, plain, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Decrypt(t.Context(), k.EKT, blob, nil)
		if err != nil {
			t.Fatal(err)
		}
		secret.Wipe(got)
		if _, _, err := c.GenerateDataKey(t.Context(), k.EKT, 32, nil, true); err != nil {
			t.Fatal(err)
		}
	}
	if !hsmtest.Holds(t, os.Getpid(), needle) {
		t.Error("the search does not find what is there")
	}
	if hsmtest.Holds(t, p.PID(), needle) {
		t.Error("the plaintext of a customer stayed in the HSM")
	}
	secret.Wipe(plain)
	out, err := exec.Command("/proc/self/exe", "unmask", dir, hex.EncodeToString(k.EKT)).Output()
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Fields(string(out)) {
		needle, err := hex.DecodeString(line)
		if err != nil || len(needle) != 32 {
			t.Fatal(err)
		}
		name := []string{"domain key", "key of the token"}[i]
		if hsmtest.Holds(t, p.PID(), needle) {
			t.Errorf("the %s lies in readable memory of the HSM", name)
		}
		if hsmtest.Holds(t, os.Getpid(), needle) {
			t.Errorf("the %s lies in the host's memory", name)
		}
	}
}
