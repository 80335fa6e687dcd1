package link_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/boundary"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
)

// echo answers with what it got; some operations behave otherwise.
type echo struct {
	release chan struct{} // slow calls wait for it
	news    chan struct{} // waiting calls wait for it
	waiting atomic.Int64  // how many do
}

const (
	opEcho   = 1
	opRefuse = 2
	opSlow   = 3
	opHuge   = 4
	opEmpty  = 5
	opWait   = 6
)

func (e *echo) Slow(r *link.Request) bool { return r.Op == opSlow }

func (e *echo) Waits(op uint64) bool { return op == opWait }

func (e *echo) Wait(_ *link.Request, ended <-chan struct{}) {
	e.waiting.Add(1)
	defer e.waiting.Add(-1)
	select {
	case <-e.news:
	case <-ended:
	}
}

func (e *echo) Handle(r *link.Request, dst []byte) ([]byte, uint64) {
	in := link.NewReader(r.Params)
	payload := in.Bytes()
	if in.Done() != nil {
		return dst, link.StatusBadRequest
	}
	switch r.Op {
	case opRefuse:
		return link.AppendBytes(dst, payload), link.StatusDenied // the result must not be sent
	case opSlow:
		<-e.release
	case opHuge:
		return append(dst, make([]byte, link.MaxFrame)...), link.StatusOK
	case opEmpty:
		return dst, link.StatusOK
	}
	return link.AppendBytes(dst, append(bytes.Clone(r.Token), payload...)), link.StatusOK
}

func newKey(t testing.TB) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, spki, err := link.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key, spki
}

// pair is both ends of one connection.
type pair struct {
	handler  *echo
	server   link.ServerConfig
	client   link.ClientConfig
	now      atomic.Int64
	conn     io.ReadWriteCloser // the client's end
	serverIO io.ReadWriter
	ended    chan error // of Serve
}

func newPair(t testing.TB) *pair {
	t.Helper()
	p := &pair{handler: &echo{release: make(chan struct{}), news: make(chan struct{})}, ended: make(chan error, 1)}
	p.now.Store(time.Now().UnixMilli())
	now := func() time.Time { return time.UnixMilli(p.now.Load()) }
	hsk, hskSPKI := newKey(t)
	host, hostSPKI := newKey(t)
	peer := &link.Peer{ID: link.IDOf(hostSPKI), Key: &host.PublicKey, Roles: []string{"host"}}
	p.server = link.ServerConfig{
		Identity: hskSPKI,
		Sign:     func(digest []byte) ([]byte, error) { return ecdsa.SignASN1(rand.Reader, hsk, digest) },
		Serial:   func() uint64 { return 7 },
		Host: func(id link.HostID) *link.Peer {
			if id != peer.ID {
				return nil
			}
			return peer
		},
		SealToken: func([]byte) ([]byte, error) { b := make([]byte, 64); rand.Read(b); return b, nil },
		Now:       now,
		Handler:   p.handler,
	}
	p.client = link.ClientConfig{Host: host, Server: &hsk.PublicKey, Now: now}
	ours, theirs, err := boundary.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
	p.conn, p.serverIO = ours, theirs
	return p
}

// serve starts the server's end; it closes the connection when it ends, as the
// end of a process does.
func (p *pair) serve() {
	go func() {
		err := link.Serve(p.serverIO, &p.server)
		_ = p.serverIO.(*os.File).Close()
		p.ended <- err
	}()
}

func (p *pair) dial(t testing.TB) *link.Client {
	t.Helper()
	p.serve()
	c, err := link.Dial(t.Context(), p.conn, p.client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func call(ctx context.Context, c *link.Client, op uint64, token, payload []byte) (out []byte, err error) {
	err = c.Call(ctx, op, token, func(b []byte) []byte { return link.AppendBytes(b, payload) }, func(b []byte) error {
		r := link.NewReader(b)
		out = bytes.Clone(r.Bytes())
		return r.Done()
	})
	return out, err
}

func TestACallReturnsWhatTheHandlerAnswered(t *testing.T) {
	c := newPair(t).dial(t)
	for _, n := range []int{0, 1, 1000, 60000} {
		payload := make([]byte, n)
		rand.Read(payload)
		out, err := call(t.Context(), c, opEcho, []byte("token "), payload)
		if err != nil || !bytes.Equal(out, append([]byte("token "), payload...)) {
			t.Fatalf("%d bytes: %d bytes back, %v", n, len(out), err)
		}
	}
	if _, err := call(t.Context(), c, opRefuse, nil, nil); !errors.Is(err, link.Status(link.StatusDenied)) {
		t.Errorf("a refusal is %v", err)
	}
	if _, err := call(t.Context(), c, opEcho, nil, make([]byte, link.MaxFrame)); !errors.Is(err, link.ErrTooLarge) {
		t.Errorf("a request that is too large is %v", err)
	}
	if _, err := call(t.Context(), c, opHuge, nil, nil); !errors.Is(err, link.Status(link.StatusInternal)) {
		t.Errorf("an answer that is too large is %v", err)
	}
	if err := c.Call(t.Context(), opEmpty, nil, func(b []byte) []byte { return link.AppendBytes(b, nil) }, nil); err != nil {
		t.Errorf("an empty answer is %v", err)
	}
	if out, err := call(t.Context(), c, opEcho, nil, []byte("still")); err != nil || string(out) != "still" {
		t.Errorf("after the refusals: %q, %v", out, err)
	}
}

func TestManyCallersShareOneConnection(t *testing.T) {
	c := newPair(t).dial(t)
	var wait sync.WaitGroup
	for i := range 64 {
		wait.Go(func() {
			payload := bytes.Repeat([]byte{byte(i)}, 1+i*997%5000)
			for range 200 {
				out, err := call(t.Context(), c, opEcho, nil, payload)
				if err != nil || !bytes.Equal(out, payload) {
					t.Errorf("caller %d: %d bytes back, %v", i, len(out), err)
					return
				}
			}
		})
	}
	wait.Wait()
}

func TestASlowCallDoesNotHoldUpOthers(t *testing.T) {
	p := newPair(t)
	c := p.dial(t)
	slow := make(chan error, 1)
	go func() { _, err := call(context.Background(), c, opSlow, nil, []byte("slow")); slow <- err }()
	for range 100 {
		if _, err := call(t.Context(), c, opEcho, nil, []byte("fast")); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-slow:
		t.Fatalf("the slow call ended early: %v", err)
	default:
	}
	close(p.handler.release)
	if err := <-slow; err != nil {
		t.Error(err)
	}
}

// With every place taken, the end of any one slow call lets the others go on:
// the reader never does slow work itself.
func TestOneEndOfManySlowCallsIsEnoughForTheOthers(t *testing.T) {
	p := newPair(t)
	c := p.dial(t)
	const calls = 33 // one more than there are places
	ended := make(chan error, calls)
	for range calls {
		go func() { _, err := call(context.Background(), c, opSlow, nil, []byte("slow")); ended <- err }()
	}
	time.Sleep(20 * time.Millisecond) // for them to be under way; if they are not, the test is easier
	p.handler.release <- struct{}{}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := call(ctx, c, opEcho, nil, []byte("fast")); err != nil {
		t.Errorf("a call behind them: %v", err)
	}
	close(p.handler.release)
	for range calls - 1 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestACallThatIsGivenUpLeavesTheConnectionUsable(t *testing.T) {
	p := newPair(t)
	c := p.dial(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := call(ctx, c, opSlow, nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the call ended with %v", err)
	}
	close(p.handler.release) // its answer comes now, for nobody
	for range 10 {
		if _, err := call(t.Context(), c, opEcho, nil, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASessionIsRenewedBeforeItEnds(t *testing.T) {
	p := newPair(t)
	c := p.dial(t)
	hour := link.Lifetime.Milliseconds()
	for _, step := range []int64{hour / 4, hour/2 + 1, hour * 10, hour / 3, hour / 3} {
		p.now.Add(step)
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				if out, err := call(t.Context(), c, opEcho, nil, []byte("x")); err != nil || string(out) != "x" {
					t.Errorf("after %d ms: %q, %v", step, out, err)
				}
			})
		}
		wait.Wait()
	}
}

func TestTheEndOfTheBoundaryFailsAllCalls(t *testing.T) {
	p := newPair(t)
	c := p.dial(t)
	failed := make(chan error, 10)
	for range cap(failed) {
		go func() { _, err := call(context.Background(), c, opSlow, nil, nil); failed <- err }()
	}
	time.Sleep(10 * time.Millisecond)
	_ = p.serverIO.(*os.File).Close()
	for range cap(failed) {
		if err := <-failed; !errors.Is(err, link.ErrClosed) {
			t.Errorf("a call under way ended with %v", err)
		}
	}
	if _, err := call(t.Context(), c, opEcho, nil, nil); !errors.Is(err, link.ErrClosed) {
		t.Errorf("a later call ended with %v", err)
	}
	close(p.handler.release)
}

func TestAHandshakeNeedsTheRightKeysOnBothSides(t *testing.T) {
	stranger, _ := newKey(t)
	t.Run("a host that was not placed", func(t *testing.T) {
		p := newPair(t)
		p.client.Host = stranger
		p.serve()
		if _, err := link.Dial(t.Context(), p.conn, p.client); err == nil {
			t.Error("it was let in")
		}
		if err := <-p.ended; !errors.Is(err, link.ErrAuthentication) {
			t.Errorf("the server ended with %v", err)
		}
	})
	t.Run("a boundary that is another", func(t *testing.T) {
		p := newPair(t)
		p.client.Server = &stranger.PublicKey
		p.serve()
		if _, err := link.Dial(t.Context(), p.conn, p.client); !errors.Is(err, link.ErrAuthentication) {
			t.Errorf("Dial = %v", err)
		}
	})
	t.Run("a boundary with the name of another", func(t *testing.T) {
		p := newPair(t)
		p.server.Sign = func(digest []byte) ([]byte, error) { return ecdsa.SignASN1(rand.Reader, stranger, digest) }
		p.serve()
		if _, err := link.Dial(t.Context(), p.conn, p.client); !errors.Is(err, link.ErrAuthentication) {
			t.Errorf("Dial = %v", err)
		}
	})
}

// tamper changes bytes on the way to the server, and records them.
type tamper struct {
	io.ReadWriteCloser
	change func([]byte) []byte
}

func (w *tamper) Write(b []byte) (int, error) {
	if w.change != nil {
		if _, err := w.ReadWriteCloser.Write(w.change(bytes.Clone(b))); err != nil {
			return 0, err
		}
		return len(b), nil
	}
	return w.ReadWriteCloser.Write(b)
}

func TestAChangedOrReplayedRequestEndsTheConnection(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"a changed byte":            func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"a changed counter":         func(b []byte) []byte { b[4+24] ^= 2; return b },
		"the same request twice":    func(b []byte) []byte { return append(b, b...) },
		"an unknown kind":           func(b []byte) []byte { b[4] = 9; return b },
		"an empty frame":            func([]byte) []byte { return make([]byte, 4) },
		"a frame that is too large": func([]byte) []byte { return []byte{0, 1, 0, 1, 3} },
		"a HELLO of nonsense":       func([]byte) []byte { return []byte{0, 0, 0, 2, 1, 0xa0} },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			w := &tamper{ReadWriteCloser: p.conn}
			p.conn = w
			c := p.dial(t)
			w.change = change
			_, _ = call(t.Context(), c, opEcho, nil, []byte("x"))
			if err := <-p.ended; err == nil {
				t.Error("the server took it")
			}
			if _, err := call(t.Context(), c, opEcho, nil, []byte("x")); err == nil {
				t.Error("the connection goes on")
			}
		})
	}
}

func TestTheWindowAcceptsEveryCounterOnce(t *testing.T) {
	var w link.Window
	for _, step := range []struct {
		counter uint64
		want    bool
	}{
		{0, false}, {1, true}, {1, false}, {3, true}, {2, true}, {2, false}, {1000, true}, {4, true}, {4, false},
		{1027, true}, {3, false}, {4, false}, {5, true}, {100000, true}, {98976, false}, {98977, true}, {98977, false}, {1027, false},
	} {
		if got := w.Accept(step.counter); got != step.want {
			t.Errorf("counter %d: %v, want %v", step.counter, got, step.want)
		}
	}
}

// Target: 40,000 calls/s between two processes on two cores; here both ends
// share one process.
func BenchmarkLinkCall(b *testing.B) {
	c := newPair(b).dial(b)
	payload, token := make([]byte, 100), make([]byte, 300)
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := call(b.Context(), c, opEcho, token, payload); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

func TestCallsThatWaitStandInNobodysWay(t *testing.T) {
	p := newPair(t)
	c := p.dial(t)
	const room = 64
	var calls sync.WaitGroup
	answered := make(chan error, room)
	for i := range room {
		calls.Go(func() {
			out, err := call(context.Background(), c, opWait, nil, []byte{byte(i)})
			if err == nil && !bytes.Equal(out, []byte{byte(i)}) {
				err = errors.New("another's answer")
			}
			answered <- err
		})
	}
	for p.handler.waiting.Load() < room {
		time.Sleep(time.Millisecond)
	}
	// All that may wait do; one more is told so, and everything else goes on, slow calls included.
	if _, err := call(t.Context(), c, opWait, nil, nil); !errors.Is(err, link.Status(link.StatusBusy)) {
		t.Errorf("one too many: %v", err)
	}
	if _, err := call(t.Context(), c, opEcho, nil, []byte("x")); err != nil {
		t.Error(err)
	}
	close(p.handler.release)
	if _, err := call(t.Context(), c, opSlow, nil, []byte("x")); err != nil {
		t.Error(err)
	}
	close(p.handler.news)
	calls.Wait()
	for range room {
		if err := <-answered; err != nil {
			t.Error(err)
		}
	}
}

func TestCallsThatWaitEndWithTheConnection(t *testing.T) {
	p := newPair(t)
	c := p.dial(t)
	done := make(chan error, 1)
	go func() { _, err := call(context.Background(), c, opWait, nil, nil); done <- err }()
	for p.handler.waiting.Load() < 1 {
		time.Sleep(time.Millisecond)
	}
	_ = c.Close()
	if err := <-done; !errors.Is(err, link.ErrClosed) {
		t.Errorf("the call ended with %v", err)
	}
	select {
	case err := <-p.ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the server waits on for a connection that is gone")
	}
}
