package link

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leadglass/leadglass/cryptography/secret"
)

// ClientConfig is what a host needs to reach a boundary. All fields are
// required.
type ClientConfig struct {
	Host   *ecdsa.PrivateKey // signs HELLO
	Server *ecdsa.PublicKey  // the boundary's identity; no other is accepted
	Now    func() time.Time
}

// A Client is one connection to a boundary, for any number of callers.
type Client struct {
	conn io.ReadWriteCloser
	cfg  ClientConfig

	current atomic.Pointer[session] // replaced by rekey
	renew   sync.Mutex              // held during a handshake
	helloOK chan []byte             // from the reading goroutine to the handshake
	done    chan struct{}           // closed when the connection has ended
	stopped sync.WaitGroup          // the reading and the writing goroutine

	kick chan struct{} // wakes the writing goroutine

	mu      sync.Mutex
	room    sync.Cond           // signalled when spare has become empty
	out     []byte              // guarded by mu; sealed frames to be written
	spare   []byte              // guarded by mu; the other buffer, nil while it is being written
	writing bool                // guarded by mu; somebody writes or was told to
	counter uint64              // guarded by mu
	pending map[uint64]*pending // guarded by mu
	past    *session            // guarded by mu; answers to it may still come
	err     error               // guarded by mu; why the connection ended
}

// pending is a call that waits for its answer.
type pending struct {
	result func([]byte) error
	err    error // set before done is signalled
	done   chan struct{}
}

// Dial makes the handshake on conn, which the client then owns. ctx bounds the
// handshake only.
func Dial(ctx context.Context, conn io.ReadWriteCloser, cfg ClientConfig) (*Client, error) {
	c := &Client{
		conn: conn, cfg: cfg,
		helloOK: make(chan []byte, 1),
		done:    make(chan struct{}),
		kick:    make(chan struct{}, 1),
		out:     make([]byte, 0, 2*frameRoom),
		spare:   make([]byte, 0, 2*frameRoom),
		pending: make(map[uint64]*pending),
	}
	c.room.L = &c.mu
	c.stopped.Go(c.read)
	c.stopped.Go(c.write)
	if err := c.handshake(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the connection; calls under way fail with ErrClosed.
func (c *Client) Close() error {
	c.fail(ErrClosed)
	c.stopped.Wait()
	return nil
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the connection ended.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	waiting := c.pending
	c.pending = make(map[uint64]*pending)
	c.room.Broadcast()
	close(c.done)
	c.mu.Unlock()
	_ = c.conn.Close()
	for _, p := range waiting {
		p.err = err
		p.done <- struct{}{}
	}
}

// handshake makes a new session on the connection. The old one stays valid for
// answers that are still under way.
func (c *Client) handshake(ctx context.Context) error {
	o, err := newOffer(c.cfg.Host)
	if err != nil {
		return fmt.Errorf("link: handshake: %w", err)
	}
	err = c.send(func(b []byte) ([]byte, error) {
		start := len(b)
		b = append(beginFrame(b, typeHello), o.request...)
		endFrame(b, start)
		return b, nil
	})
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		// The answer would meet no offer: the connection is of no more use.
		c.fail(fmt.Errorf("%w: handshake given up", ErrClosed))
		return ctx.Err()
	case <-c.done:
		return c.Err()
	case body := <-c.helloOK:
		s, err := o.finish(body, c.cfg.Server, c.cfg.Now())
		if err != nil {
			c.fail(err)
			return fmt.Errorf("link: handshake: %w", err)
		}
		c.mu.Lock()
		c.past = c.current.Swap(s)
		c.mu.Unlock()
		return nil
	}
}

// fresh returns a session that is good for a call, and renews it when half of
// its life is over. One caller does that while the others go on.
func (c *Client) fresh(ctx context.Context) (*session, error) {
	s := c.current.Load()
	left := s.expires.Sub(c.cfg.Now())
	if left > Lifetime-renewAfter {
		return s, nil
	}
	if left > time.Minute {
		if !c.renew.TryLock() {
			return s, nil
		}
	} else {
		c.renew.Lock()
	}
	defer c.renew.Unlock()
	if now := c.current.Load(); now != s {
		return now, nil
	}
	if err := c.handshake(ctx); err != nil {
		return nil, err
	}
	return c.current.Load(), nil
}

// Call sends one request and waits for its answer. params appends the encoded
// parameters to the frame, result is handed the decrypted result, which is
// wiped when it returns: it copies what it keeps, and neither blocks nor calls
// the client. A refusal is a Status.
//
// When ctx ends first the request may have been executed.
func (c *Client) Call(ctx context.Context, op uint64, token []byte, params func([]byte) []byte, result func([]byte) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s, err := c.fresh(ctx)
	if err != nil {
		return err
	}
	p := &pending{result: result, done: make(chan struct{}, 1)}
	var counter uint64
	err = c.send(func(b []byte) ([]byte, error) {
		c.counter++
		counter = c.counter
		start := len(b)
		body := beginSealed(b, typeRequest, s.id, counter)
		full := appendRequest(body, op, token, params)
		if cap(full) != cap(b) || len(full)-len(body) > MaxBody {
			secret.Wipe(full[len(body):])
			return b, ErrTooLarge
		}
		c.pending[counter] = p
		return s.c2s.endSealed(full, start, counter), nil
	})
	if err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
	}
	c.mu.Lock()
	_, waiting := c.pending[counter]
	delete(c.pending, counter)
	c.mu.Unlock()
	if !waiting { // the answer is being read right now
		<-p.done
		return p.err
	}
	return ctx.Err()
}

// send lets add append one frame, and sees to it that it is written.
func (c *Client) send(add func([]byte) ([]byte, error)) error {
	c.mu.Lock()
	// A frame must never make the buffer grow: the bytes left behind in the old
	// one would be plaintext.
	for c.err == nil && cap(c.out)-len(c.out) < frameRoom {
		c.room.Wait()
	}
	if c.err != nil {
		defer c.mu.Unlock()
		return c.err
	}
	b, err := add(c.out)
	if err != nil {
		c.mu.Unlock()
		return err
	}
	c.out = b
	if c.writing {
		c.mu.Unlock()
		return nil
	}
	c.writing = true
	c.mu.Unlock()
	// Callers that are ready to run add their frames first, so that one system
	// call carries many: this is most of the throughput.
	runtime.Gosched()
	if more := c.writeOnce(); more {
		// Under load the rest is the writing goroutine's, else this caller
		// would write for all others and never see its own answer.
		c.kick <- struct{}{}
	}
	return nil
}

// writeOnce writes what has gathered. When nothing more has gathered since, it
// gives up the right to write and returns false.
func (c *Client) writeOnce() (more bool) {
	c.mu.Lock()
	b := c.out
	c.out, c.spare = c.spare[:0], nil
	c.mu.Unlock()
	_, err := c.conn.Write(b)
	c.mu.Lock()
	c.spare = b
	c.room.Broadcast()
	more = len(c.out) > 0 && err == nil && c.err == nil
	c.writing = more
	c.mu.Unlock()
	if err != nil {
		c.fail(fmt.Errorf("%w: write: %w", ErrClosed, err))
	}
	return more
}

func (c *Client) write() {
	for {
		select {
		case <-c.done:
			return
		case <-c.kick:
			for c.writeOnce() {
				runtime.Gosched()
			}
		}
	}
}

func (c *Client) read() {
	in := newFrameReader(c.conn)
	for {
		frame, err := in.next()
		if errors.Is(err, io.EOF) {
			err = ErrClosed
		}
		if err == nil {
			err = c.frame(frame)
		}
		if err != nil {
			if !errors.Is(err, ErrClosed) {
				err = fmt.Errorf("%w: read: %w", ErrClosed, err)
			}
			c.fail(err)
			return
		}
	}
}

func (c *Client) frame(frame []byte) error {
	if frame[0] == typeHelloOK {
		select {
		case c.helloOK <- append([]byte(nil), frame[1:]...):
			return nil
		default:
			return fmt.Errorf("%w: unasked HELLO_OK", ErrProtocol)
		}
	}
	if frame[0] == typeNeedToken && len(frame) == headerLen {
		frame = append(frame[:headerLen:headerLen], make([]byte, tagLen)...)
	}
	id, counter, ok := splitSealed(frame)
	if !ok || frame[0] != typeResponse && frame[0] != typeNeedToken {
		return fmt.Errorf("%w: frame type %d", ErrProtocol, frame[0])
	}
	c.mu.Lock()
	s := c.current.Load()
	if s == nil || s.id != id {
		s = c.past
	}
	p := c.pending[counter]
	delete(c.pending, counter)
	c.mu.Unlock()
	if s == nil || s.id != id {
		if p != nil { // fail no longer knows it
			p.err = ErrClosed
			p.done <- struct{}{}
		}
		return fmt.Errorf("%w: answer for an unknown session", ErrProtocol)
	}
	if p == nil {
		return nil // its caller has gone
	}
	err := answer(s, p, frame, counter)
	p.done <- struct{}{}
	return err
}

// answer opens one answer and hands it to its call. The error is for the
// connection: one that does not authenticate ends it.
func answer(s *session, p *pending, frame []byte, counter uint64) error {
	if frame[0] == typeNeedToken {
		p.err = Status(StatusStale) // sent in the clear, so it can only refuse
		return nil
	}
	body, err := s.s2c.open(frame, counter)
	if err != nil {
		p.err = ErrClosed
		return fmt.Errorf("%w: answer does not authenticate", ErrProtocol)
	}
	defer secret.Wipe(body)
	status, result, err := parseAnswer(body)
	switch {
	case err != nil:
		p.err = err
	case status != StatusOK:
		p.err = Status(status)
	case p.result != nil:
		p.err = p.result(result)
	}
	return nil
}
