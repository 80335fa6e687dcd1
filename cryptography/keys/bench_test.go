package keys_test

import (
	"fmt"
	"testing"

	"github.com/leadglass/leadglass/cryptography/keys"
)

// Target: below 1 µs and 1 allocation, whatever number of grants the key has.
func BenchmarkGrantLookup(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("grants=%d", n), func(b *testing.B) {
			w := newWorldIn(b)
			k := w.create(acct)
			for i := range n - 1 {
				arn := fmt.Sprintf("arn:aws:iam::111122223333:user/u%d", i)
				w.rename(arn, fmt.Sprintf("AIDA%d", i))
				w.grant(k, decryptFor(arn))
			}
			w.grant(k, decryptFor(bob))
			who := []string{"AIDABOB", bob, "", "", "arn:aws:iam::444455556666:root"}
			b.ReportAllocs()
			for b.Loop() {
				if len(k.Grants(who, "Decrypt", nil)) != 1 {
					b.Fatal("no grant")
				}
			}
		})
	}
}

// Target: what package keys adds to the boundary's own time is below 1 µs.
func BenchmarkEncrypt(b *testing.B) {
	w := newWorldIn(b)
	k := w.create(acct)
	encCtx := map[string]string{"ward": "3", "patient": "12"}
	plaintext := make([]byte, 32)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Encrypt(b.Context(), keys.Use{Key: k}, plaintext, encCtx); err != nil {
			b.Fatal(err)
		}
	}
}
