package link

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/leadglass/leadglass/cryptography/secret"
)

// A Peer is a host as the boundary knows it.
type Peer struct {
	ID    HostID
	Key   *ecdsa.PublicKey
	Roles []string
}

// Has reports whether the host has a role.
func (p *Peer) Has(role string) bool { return slices.Contains(p.Roles, role) }

// ServerConfig is what a boundary needs to answer hosts. All fields are
// required.
type ServerConfig struct {
	Identity  []byte                              // SPKI of HSK
	Sign      func(digest []byte) ([]byte, error) // signs HELLO_OK with HSK; ASN.1
	Serial    func() uint64                       // of the domain state
	Host      func(HostID) *Peer                  // nil for an unknown host
	SealToken func(plain []byte) ([]byte, error)  // session tokens
	Now       func() time.Time                    // for the expiry of sessions
	Handler   Handler
}

// A Request is one call, as it lies decrypted in the frame: nothing of it may
// be kept after Handle returned.
type Request struct {
	Host   *Peer
	Op     uint64
	Token  []byte // the key token that the operation works with
	Params []byte
}

// A Handler does the work of a boundary.
type Handler interface {
	// Handle appends the result to dst, at most MaxResult bytes, and returns
	// it with the status. A result with another status than 0 is not sent.
	Handle(r *Request, dst []byte) (out []byte, status uint64)
	// Slow says that a request takes so long (a signature rather than a
	// cipher) that others should not wait behind it. Then Handle is called
	// from a goroutine of its own.
	Slow(r *Request) bool
}

// A Waiter is a Handler some of whose operations are answered when something
// has happened rather than at once: a poll. They neither stand in the way of
// other operations nor take the place of slow ones.
type Waiter interface {
	Handler
	// Waits says that an operation is one of them.
	Waits(op uint64) bool
	// Wait returns when the operation is to be answered, at the latest when
	// ended is closed, which says that the connection is gone. Then Handle is
	// called. Wait runs in a goroutine of its own and may be called for several
	// requests at once.
	Wait(r *Request, ended <-chan struct{})
}

const (
	// MaxResult is how long a result may be.
	MaxResult = MaxBody - 8

	maxSessions = 4  // per connection; the oldest is forgotten
	maxSlow     = 32 // slow operations at once per connection
	maxWaiting  = 64 // waiting operations at once per connection; one more is answered StatusBusy
	frameRoom   = 4 + MaxFrame
)

// server is one connection.
type server struct {
	cfg  *ServerConfig
	conn io.ReadWriter
	slow chan struct{}
	busy sync.WaitGroup

	waiter  Waiter        // the handler, if it is one
	waiting chan struct{} // room for waiting operations
	ended   chan struct{} // closed when no more requests are read

	results sync.Pool // of *[MaxResult]byte, for slow operations; wiped

	sessions []*session // owned by the reading goroutine
	window   window     // owned by the reading goroutine

	mu  sync.Mutex
	out []byte // guarded by mu; sealed frames to be written
	err error  // guarded by mu; first error of a write
}

// Serve answers one host until the connection ends, which is no error. It
// returns after the last operation that it started.
func Serve(conn io.ReadWriter, cfg *ServerConfig) error {
	s := &server{
		cfg: cfg, conn: conn, slow: make(chan struct{}, maxSlow), out: make([]byte, 0, 2*frameRoom),
		waiting: make(chan struct{}, maxWaiting), ended: make(chan struct{}),
	}
	s.waiter, _ = cfg.Handler.(Waiter)
	defer s.busy.Wait()
	defer close(s.ended)
	in := newFrameReader(conn)
	for {
		frame, err := in.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("link: read: %w", err)
		}
		if err := s.frame(frame); err != nil {
			return err
		}
		// Answers go out together when nothing more waits to be answered.
		if !in.buffered() {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
}

func (s *server) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flushLocked()
}

func (s *server) flushLocked() error {
	if len(s.out) > 0 && s.err == nil {
		if _, err := s.conn.Write(s.out); err != nil {
			s.err = fmt.Errorf("link: write: %w", err)
		}
		s.out = s.out[:0]
	}
	return s.err
}

// room makes place for one more frame. An answer must never make the buffer
// grow: the bytes left behind in the old one would be plaintext.
func (s *server) room() {
	if cap(s.out)-len(s.out) < frameRoom {
		_ = s.flushLocked() // the error stays in s.err
		s.out = s.out[:0]
	}
}

func (s *server) frame(frame []byte) error {
	switch frame[0] {
	case typeHello:
		body, sess, err := s.cfg.answer(frame[1:])
		if err != nil {
			return err
		}
		if len(s.sessions) == maxSessions {
			s.sessions = slices.Delete(s.sessions, 0, 1)
		}
		s.sessions = append(s.sessions, sess)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.room()
		start := len(s.out)
		s.out = append(beginFrame(s.out, typeHelloOK), body...)
		endFrame(s.out, start)
		return nil
	case typeRequest:
		return s.request(frame)
	}
	return fmt.Errorf("%w: frame type %d", ErrProtocol, frame[0])
}

func (s *server) session(id [16]byte) *session {
	for _, sess := range s.sessions {
		if sess.id == id && s.cfg.Now().Before(sess.expires) {
			return sess
		}
	}
	return nil
}

func (s *server) request(frame []byte) error {
	id, counter, ok := splitSealed(frame)
	if !ok {
		return fmt.Errorf("%w: short request", ErrProtocol)
	}
	sess := s.session(id)
	if sess == nil {
		// Not authenticated, and so not entered into the replay window.
		s.mu.Lock()
		defer s.mu.Unlock()
		s.room()
		start := len(s.out)
		s.out = beginSealed(s.out, typeNeedToken, id, counter)
		endFrame(s.out, start)
		return nil
	}
	body, err := sess.c2s.open(frame, counter)
	if err != nil {
		return fmt.Errorf("%w: request does not authenticate", ErrProtocol)
	}
	// Only what authenticates may move the window.
	if !s.window.accept(counter) {
		secret.Wipe(body)
		return fmt.Errorf("%w: counter replayed", ErrProtocol)
	}
	r := Request{Host: sess.host}
	if err := r.parse(body); err != nil {
		secret.Wipe(body)
		return s.answer(sess, counter, func(b []byte) ([]byte, uint64) { return b, StatusBadRequest })
	}
	if s.waiter != nil && s.waiter.Waits(r.Op) {
		select {
		case s.waiting <- struct{}{}:
			own := slices.Clone(body)
			secret.Wipe(body)
			s.busy.Go(func() {
				defer func() { <-s.waiting }()
				s.answerLater(sess, counter, own)
			})
			return nil
		default:
			secret.Wipe(body)
			return s.answer(sess, counter, func(b []byte) ([]byte, uint64) { return b, StatusBusy })
		}
	}
	if s.cfg.Handler.Slow(&r) {
		select {
		case s.slow <- struct{}{}:
		default:
			// So many at once that waiting is the fair thing. To do the work here would not be: one RSA key can take
			// seconds, while the first of all those under way ends soon.
			if err := s.flush(); err != nil {
				return err
			}
			s.slow <- struct{}{}
		}
		own := slices.Clone(body)
		secret.Wipe(body)
		s.busy.Go(func() {
			defer func() { <-s.slow }()
			s.answerSlow(sess, counter, own)
		})
		return nil
	}
	err = s.answer(sess, counter, func(b []byte) ([]byte, uint64) { return s.cfg.Handler.Handle(&r, b) })
	secret.Wipe(body)
	return err
}

// answerLater waits for what a request waits for. The room of its answer is
// taken only then: many may wait.
func (s *server) answerLater(sess *session, counter uint64, body []byte) {
	r := Request{Host: sess.host}
	if err := r.parse(body); err != nil {
		return // cannot happen: the same bytes parsed before
	}
	s.waiter.Wait(&r, s.ended)
	s.answerSlow(sess, counter, body)
}

func (s *server) answerSlow(sess *session, counter uint64, body []byte) {
	defer secret.Wipe(body)
	r := Request{Host: sess.host}
	if err := r.parse(body); err != nil {
		return // cannot happen: the same bytes parsed before
	}
	buf, _ := s.results.Get().(*[MaxResult]byte)
	if buf == nil {
		buf = new([MaxResult]byte)
	}
	result, status := s.cfg.Handler.Handle(&r, buf[:0])
	defer func() {
		secret.Wipe(result) // no more than this was written
		s.results.Put(buf)
	}()
	if s.answer(sess, counter, func(b []byte) ([]byte, uint64) { return append(b, result...), status }) == nil {
		_ = s.flush() // the reading goroutine sees s.err
	}
}

// answer appends one answer: {1: status, 2: result} (hsm-domain section 5).
func (s *server) answer(sess *session, counter uint64, do func([]byte) ([]byte, uint64)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room()
	if s.err != nil {
		return s.err
	}
	start := len(s.out)
	b := beginSealed(s.out, typeResponse, sess.id, counter)
	head := len(b)
	b = append(b, 0xa2, 1, 0, 2) // a map of two: 1 is the status, set below, and 2 the result
	grown, status := do(b)
	if cap(grown) != cap(s.out) || len(grown)-len(b) > MaxResult {
		secret.Wipe(grown[len(b):])
		grown, status = b, StatusInternal
	}
	if status > 255 {
		status = StatusInternal
	}
	if status != StatusOK || len(grown) == len(b) {
		secret.Wipe(grown[head:])
		grown = AppendUint(append(grown[:head], 0xa1, 1), status)
	} else {
		grown[head+2] = byte(status)
	}
	s.out = sess.s2c.endSealed(grown, start, counter)
	return nil
}

// parse reads the body of a REQ: {1: op, 2: token, 3: parameters}, the second
// only if there is one.
func (r *Request) parse(b []byte) error {
	in := NewReader(b)
	n := in.Map()
	r.Op = number(in, 1)
	if n == 3 {
		r.Token = variable(in, 2, MaxBody)
	} else if n != 2 {
		in.Fail()
	}
	if in.Key(2) != 3 {
		in.Fail()
	}
	r.Params = in.Raw()
	return in.Done()
}

func appendRequest(b []byte, op uint64, token []byte, params func([]byte) []byte) []byte {
	if len(token) > 0 {
		b = AppendMap(b, 3)
		b = AppendUint(AppendUint(b, 1), op)
		b = AppendBytes(AppendUint(b, 2), token)
	} else {
		b = AppendMap(b, 2)
		b = AppendUint(AppendUint(b, 1), op)
	}
	return params(AppendUint(b, 3))
}

// parseAnswer reads the body of a RES.
func parseAnswer(b []byte) (status uint64, result []byte, err error) {
	in := NewReader(b)
	n := in.Map()
	status = number(in, 1)
	if n == 2 {
		if in.Key(1) != 2 {
			in.Fail()
		}
		result = in.Raw()
	} else if n != 1 {
		in.Fail()
	}
	return status, result, in.Done()
}
