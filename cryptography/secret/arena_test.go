package secret_test

import (
	"errors"
	"os"
	"testing"
	"unsafe"

	"github.com/leadglass/leadglass/cryptography/secret"
)

func newArena(t *testing.T, size int) *secret.Arena {
	t.Helper()
	a, err := secret.NewArena(size)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAnArenaHandsOutSeparateWipedMemoryUntilItIsFull(t *testing.T) {
	a := newArena(t, 4096)
	var all []*secret.Bytes
	for i := range 4096 / 64 {
		s, err := a.New(33 + i%32) // two units each
		if err != nil {
			t.Fatalf("secret %d: %v", i, err)
		}
		_ = s.Use(func(b []byte) error {
			for j := range b {
				if b[j] != 0 {
					t.Fatalf("secret %d is not zero at first", i)
				}
				b[j] = byte(i + 1)
			}
			return nil
		})
		all = append(all, s)
	}
	if _, err := a.New(1); !errors.Is(err, secret.ErrFull) {
		t.Errorf("a full arena answered %v, want ErrFull", err)
	}
	for i, s := range all {
		_ = s.Use(func(b []byte) error {
			for j := range b {
				if b[j] != byte(i+1) {
					t.Fatalf("secret %d was overwritten", i)
				}
			}
			return nil
		})
	}
	all[7].Destroy()
	all[7].Destroy()
	s, err := a.New(64)
	if err != nil {
		t.Fatalf("no room after Destroy: %v", err)
	}
	_ = s.Use(func(b []byte) error {
		for _, x := range b {
			if x != 0 {
				t.Fatal("Destroy left the secret behind")
			}
		}
		return nil
	})
	if err := all[7].Use(func([]byte) error { return nil }); !errors.Is(err, secret.ErrDestroyed) {
		t.Errorf("Use after Destroy = %v", err)
	}
}

func TestMemfdSecretMemoryCannotBeReadThroughProc(t *testing.T) {
	a := newArena(t, 4096)
	if a.Kind() != secret.MemfdSecret {
		if os.Getenv("LEADGLASS_CI") != "" {
			t.Fatal("this kernel gives no memfd_secret memory")
		}
		t.Skip("this kernel gives no memfd_secret memory")
	}
	s, err := a.From([]byte("canary in secret memory"))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	ordinary := []byte("canary in ordinary memory")
	out := make([]byte, 16)
	if _, err := mem.ReadAt(out, int64(uintptr(unsafe.Pointer(&ordinary[0])))); err != nil {
		t.Fatalf("the test cannot read ordinary memory: %v", err)
	}
	_ = s.Use(func(b []byte) error {
		if _, err := mem.ReadAt(out, int64(uintptr(unsafe.Pointer(&b[0])))); err == nil {
			t.Errorf("secret memory was read: %q", out)
		}
		return nil
	})
}
