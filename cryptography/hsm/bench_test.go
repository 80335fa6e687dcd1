package hsm_test

import (
	"testing"

	"github.com/leadglass/leadglass/cryptography/hsm"
)

// bench runs f from 64 callers at once over the one connection of an isolated
// HSM.
func bench(b *testing.B, f func(c *hsm.Client, k hsm.Key) error) {
	c := isolated(b, b.TempDir())
	k := newKey(b, c)
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := f(c, k); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

var benchContext = map[string]string{"department": "finance"}

// Target: 40,000 calls/s on two cores, both processes included.
func BenchmarkGenerateDataKey(b *testing.B) {
	bench(b, func(c *hsm.Client, k hsm.Key) error {
		_, _, err := c.GenerateDataKey(b.Context(), k.EKT, 32, benchContext, true)
		return err
	})
}

// Target: 40,000 calls/s on two cores, both processes included.
func BenchmarkEncrypt(b *testing.B) {
	plain := make([]byte, 64)
	bench(b, func(c *hsm.Client, k hsm.Key) error {
		_, err := c.Encrypt(b.Context(), k.EKT, plain, benchContext)
		return err
	})
}

// Target: below 60 µs from one caller, two context switches included.
func BenchmarkOneCaller(b *testing.B) {
	c := isolated(b, b.TempDir())
	k := newKey(b, c)
	for b.Loop() {
		if _, _, err := c.GenerateDataKey(b.Context(), k.EKT, 32, benchContext, true); err != nil {
			b.Fatal(err)
		}
	}
}

// Target: 8,000 signatures/s; the audit log needs one for each batch.
func BenchmarkSignLog(b *testing.B) {
	c := isolated(b, b.TempDir())
	ekt, _, _, err := c.GenerateLogKey(b.Context(), "example.org")
	if err != nil {
		b.Fatal(err)
	}
	receipt := append([]byte("leadglass/receipt/v1\x00"), make([]byte, 52)...)
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.SignLog(b.Context(), ekt, hsm.LogEd25519, receipt); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}
