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
	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// mask hides what is searched for, so that the search does not find itself.
const mask = 0x55

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
			k[i] ^= mask
		}
		fmt.Println(hex.EncodeToString(k))
	}
	return nil
}

// contains is bytes.Contains for a masked needle. It looks for the first byte
// and compares from there, which is fast enough for the whole of a process.
func contains(b, needle []byte) bool {
	for {
		i := bytes.IndexByte(b, needle[0]^mask)
		if i < 0 || len(b)-i < len(needle) {
			return false
		}
		same := 0
		for same < len(needle) && b[i+same]^mask == needle[same] {
			same++
		}
		if same == len(needle) {
			return true
		}
		b = b[i+1:]
	}
}

// holds searches the readable memory of a process for a masked needle.
func holds(t *testing.T, pid int, needle []byte) bool {
	t.Helper()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Skipf("may not read the process's memory: %v", err) // not root
	}
	defer mem.Close()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	buf, read := make([]byte, 1<<20), 0
	defer clear(buf) // what is found must not be found again
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); n != 3 || mode[0] != 'r' || strings.Contains(line, "[v") {
			continue
		}
		for at := from; at < to; at += int64(len(buf)) - 64 { // overlapping
			n, _ := mem.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
			read += n
			if contains(buf[:n], needle) {
				return true
			}
		}
	}
	if read < 1<<20 {
		t.Errorf("only %d bytes could be read: the search says nothing", read)
	}
	return false
}

func TestKeysLieInNoReadableMemory(t *testing.T) {
	dir := t.TempDir()
	p := process(t, hsm.Config{StateDir: dir})
	if p.Lockdown().Memory != secret.MemfdSecret {
		t.Skip("this kernel gives no memfd_secret memory")
	}
	c := p.Client()
	k := newKey(t, c)
	plain := []byte("canary plaintext of a customer ")
	plain = append(plain, fmt.Sprint(os.Getpid(), p.PID())...) // so that it is no constant of the binary
	needle := bytes.Clone(plain)
	for i := range needle {
		needle[i] ^= mask
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
	if !holds(t, os.Getpid(), needle) {
		t.Error("the search does not find what is there")
	}
	if holds(t, p.PID(), needle) {
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
		if holds(t, p.PID(), needle) {
			t.Errorf("the %s lies in readable memory of the HSM", name)
		}
		if holds(t, os.Getpid(), needle) {
			t.Errorf("the %s lies in the host's memory", name)
		}
	}
}
