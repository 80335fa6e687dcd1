package qr_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"image/png"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/identity/authority/qr"
)

// The images whose hashes stand here were read back by an independent reader
// (zxing), and their modules compared with an independent writer's (rsc.io/qr),
// as were those of every length from 1 to 997 when the package was written.
func TestTheImagesAreThoseThatOtherReadersRead(t *testing.T) {
	for _, c := range []struct {
		name, text, hash string
		side             int
	}{
		{"one character, version 1", "x", "b350d53802fd911d30b0722a46b3e192d2d41c45a6e554db30f6094723fce31d", 116},
		{"a device, with version information", "otpauth://totp/alice@111122223333?secret=" + strings.Repeat("ABCDEFGHIJ234567", 4) + "&issuer=Leadglass", "47fa09d638bf8a77ab5c0185339c9a93b81994e8836828d0cfdf59bb2256c796", 212},
		{"the longest, version 25", strings.Repeat("z", 997), "af0d096c687e529612961012450922f07925b13d8fc4cfbf795da342d65383ae", 500},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := qr.PNG([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			img, err := png.Decode(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if s := img.Bounds().Dx(); s != c.side || img.Bounds().Dy() != s {
				t.Errorf("side %d, want %d", s, c.side)
			}
			sum := sha256.Sum256(b)
			if got := hex.EncodeToString(sum[:]); got != c.hash {
				t.Errorf("hash %s, want %s", got, c.hash)
			}
		})
	}
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	if _, err := qr.PNG(make([]byte, 998)); !errors.Is(err, qr.ErrTooLong) {
		t.Errorf("got %v", err)
	}
}

func FuzzPNG(f *testing.F) {
	f.Add([]byte("x"))
	f.Add(make([]byte, 998))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := qr.PNG(text)
		if err != nil {
			return
		}
		if _, err := png.Decode(bytes.NewReader(b)); err != nil {
			t.Error(err)
		}
	})
}
