package main

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/leadglass/leadglass/daemon"
)

// Whole requests over keep-alive HTTP, everything on, with the front and 16
// callers in this process, so that a profile shows both; the HSM and the
// authority are processes of their own as always. Targets on two cores:
// GetCallerIdentity 10,000/s, Encrypt 5,000/s; `leadglass bench` is the figure
// that counts, because there the callers are another process.
func BenchmarkGetCallerIdentity(b *testing.B) { benchmarkRequests(b, "GetCallerIdentity") }
func BenchmarkEncrypt(b *testing.B)           { benchmarkRequests(b, "Encrypt") }
func BenchmarkDecrypt(b *testing.B)           { benchmarkRequests(b, "Decrypt") }

func benchmarkRequests(b *testing.B, operation string) {
	data := filepath.Join(b.TempDir(), "data")
	d, err := daemon.Start(context.Background(), daemon.Config{DataDir: data, Listen: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Stop(context.Background())
	credentials, config := clientFiles(data)
	p, err := readProfile("customer", credentials, config)
	if err != nil {
		b.Fatal(err)
	}
	m := &bench{client: newClient(p), connections: 16, duration: 3 * time.Second, warmUp: 500 * time.Millisecond}
	for b.Loop() {
		r, err := m.run(context.Background(), []string{operation})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(r[0].PerSecond, "requests/s")
		b.ReportMetric(r[0].P50, "p50-ms")
		b.ReportMetric(r[0].P99, "p99-ms")
	}
}
