package rotation_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/hsmtest"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/state/kv/pebble"
)

// Target: 5,000 tokens a second beside callers, and none of their requests
// fails. One iteration is a rotation and the pass after it, over 20,000 keys in
// the durable store. Without callers it is how fast a pass can be.
func BenchmarkRewrap(b *testing.B) {
	const n, workers = 20_000, 4
	p := &plane{TB: b, clock: clock.NewFake(time.Now()), pool: hsm.NewPool()}
	p.pool.Add(hsmtest.OpenWith(b, b.TempDir(), message.Setup{}, p.clock.Now))
	store, err := pebble.Open(b.TempDir(), pebble.Config{})
	p.must(err)
	b.Cleanup(func() { _ = store.Close() })
	p.store = store
	p.open(0)
	held := make([]*keys.Key, n)
	blobs := make([][]byte, n)
	var group errgroup.Group
	group.SetLimit(64)
	for i := range held {
		group.Go(func() (err error) {
			if held[i], err = p.keys.Create(b.Context(), keys.NewKey{Account: account}); err == nil {
				blobs[i], err = p.keys.Encrypt(b.Context(), keys.Use{Key: held[i]}, []byte("x"), nil)
			}
			return err
		})
	}
	p.must(group.Wait())
	for _, callers := range []int{0, workers} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			var calls, failed atomic.Int64
			stop := make(chan struct{})
			var load sync.WaitGroup
			for c := range callers {
				load.Go(func() {
					for i := c; ; i = (i + 101) % n {
						select {
						case <-stop:
							return
						default:
						}
						u := keys.Use{Key: held[i]}
						_, err := p.keys.Encrypt(b.Context(), u, []byte("x"), nil)
						if err == nil {
							_, _, err = p.keys.Decrypt(b.Context(), u, blobs[i], nil)
						}
						if calls.Add(2); err != nil {
							failed.Add(1)
							b.Log(err)
						}
					}
				})
			}
			took := time.Duration(0)
			tokens := 0
			for b.Loop() {
				// By hand: a clock that jumps ends the sessions of calls under way.
				p.must(p.pool.RotateDomainKeys(b.Context()))
				began := time.Now()
				p.round()
				took += time.Since(began)
				tokens += p.State().Tokens
			}
			close(stop)
			load.Wait()
			if failed.Load() > 0 || p.State().Left > 0 || tokens < n {
				b.Fatalf("%d of %d calls failed, %d tokens left, %d moved", failed.Load(), calls.Load(), p.State().Left, tokens)
			}
			b.ReportMetric(float64(tokens)/took.Seconds(), "tokens/s")
			b.ReportMetric(float64(calls.Load())/took.Seconds(), "calls/s")
		})
	}
}
