package kdf_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
)

func TestHMACAgreesWithTheStandardLibrary(t *testing.T) {
	for n := range kdf.MaxMessage + 1 {
		key := make([]byte, n%(kdf.MaxKey+1))
		message := make([]byte, n)
		rand.Read(key)
		rand.Read(message)
		h := hmac.New(sha256.New, key)
		h.Write(message)
		var got [32]byte
		kdf.HMAC(&got, key, message)
		if want := h.Sum(nil); !bytes.Equal(got[:], want) {
			t.Fatalf("message of %d, key of %d bytes: %x, want %x", n, len(key), got, want)
		}
	}
}

func TestLongHMACAgreesWithTheStandardLibrary(t *testing.T) {
	for _, n := range []int{0, 1, 63, 64, 65, kdf.MaxMessage, kdf.MaxMessage + 1, 20 << 10} {
		key, message := make([]byte, n%(kdf.MaxKey+1)), make([]byte, n)
		rand.Read(key)
		rand.Read(message)
		h := hmac.New(sha256.New, key)
		h.Write(message)
		var got [32]byte
		kdf.LongHMAC(&got, key, message)
		if want := h.Sum(nil); !bytes.Equal(got[:], want) {
			t.Errorf("message of %d bytes: %x, want %x", n, got, want)
		}
	}
}

// RFC 4231, test case 2.
func TestHMACGivesTheKnownAnswer(t *testing.T) {
	var got [32]byte
	kdf.HMAC(&got, []byte("Jefe"), []byte("what do ya want for nothing?"))
	if hex.EncodeToString(got[:]) != "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" {
		t.Errorf("%x", got)
	}
}

func TestDeriveIsTheCounterModeOfSP800108(t *testing.T) {
	key, context := []byte("0123456789abcdef0123456789abcdef"), []byte("sixteen bytes...")
	h := hmac.New(sha256.New, key)
	in := binary.BigEndian.AppendUint32(nil, 1)
	in = append(in, "leadglass kms v1\x00"...)
	in = append(in, context...)
	h.Write(binary.BigEndian.AppendUint32(in, 256))
	var got [32]byte
	kdf.Derive(&got, key, "leadglass kms v1", context)
	if want := h.Sum(nil); !bytes.Equal(got[:], want) {
		t.Errorf("%x, want %x", got, want)
	}
}

// Target: below 500 ns without an allocation.
func BenchmarkDerive(b *testing.B) {
	key, nonce := make([]byte, 32), make([]byte, 16)
	var out [32]byte
	b.ReportAllocs()
	for b.Loop() {
		kdf.Derive(&out, key, "leadglass kms v1", nonce)
	}
}
