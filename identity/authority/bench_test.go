package authority_test

import (
	"testing"
	"time"

	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/authority/authoritytest"
)

// Target: 40,000 calls/s on two cores, both processes included; 64 callers
// over the one connection of an isolated authority.
func BenchmarkWitness(b *testing.B) {
	c := authoritytest.Start(b, b.TempDir()).Client()
	akid, sealed, sec := newKey(b, c)
	sessionID, sessionSecret, token, err := c.IssueSession(b.Context(), claimsFor(time.Hour))
	if err != nil {
		b.Fatal(err)
	}
	run := func(b *testing.B, q authority.Request) {
		b.SetParallelism(32)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := c.Witness(b.Context(), q); err != nil {
					b.Error(err)
					return
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	}
	longTerm, session := sign(akid, sec, "", sealed), sign(sessionID, reveal(sessionSecret), token, nil)
	b.Run("a long-term key", func(b *testing.B) { run(b, longTerm) })
	b.Run("a session", func(b *testing.B) { run(b, session) })
}

// Target: 2 ms, most of it compression.
func BenchmarkIssueSession(b *testing.B) {
	c := authoritytest.Start(b, b.TempDir()).Client()
	for b.Loop() {
		_, s, _, err := c.IssueSession(b.Context(), claimsFor(time.Hour))
		if err != nil {
			b.Fatal(err)
		}
		s.Destroy()
	}
}
