package daemon

import (
	"net"
	"net/http"
	"sync"
)

// A resumption gives connections back to the server that an answer with a
// secret had taken over (gate.writeRevealed). To the server it is a second
// listener, on which those connections arrive: a client then keeps its
// connection, and with TLS its handshake, over any number of such answers.
type resumption struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex
	quiet map[net.Conn]struct{} // guarded by mu; given back, and not heard of since
}

func newResumption(addr net.Addr) *resumption {
	return &resumption{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{}), quiet: make(map[net.Conn]struct{})}
}

// take gives a connection back, and says whether the server took it.
func (r *resumption) take(c net.Conn) bool {
	r.mu.Lock()
	r.quiet[c] = struct{}{}
	r.mu.Unlock()
	select {
	case r.conns <- c:
		return true
	case <-r.closed:
		r.state(c, http.StateClosed)
		return false
	}
}

// state is the server's ConnState hook.
func (r *resumption) state(c net.Conn, s http.ConnState) {
	if s == http.StateNew {
		return
	}
	r.mu.Lock()
	delete(r.quiet, c)
	r.mu.Unlock()
}

// hangUp closes the connections that wait for a next request. The server
// takes them for new ones, and would wait five seconds for each when it stops.
func (r *resumption) hangUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.quiet {
		c.Close()
	}
}

// Accept, Close and Addr make it a net.Listener.
func (r *resumption) Accept() (net.Conn, error) {
	select {
	case c := <-r.conns:
		return c, nil
	case <-r.closed:
		return nil, net.ErrClosed
	}
}

func (r *resumption) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}

func (r *resumption) Addr() net.Addr { return r.addr }
