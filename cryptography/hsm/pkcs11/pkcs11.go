// Package pkcs11 guards the HSM's seal with a PKCS#11 token (hsm-domain
// section 10).
//
// A PKCS#11 module is foreign code that needs system calls of its own, so it
// runs in a third process: Serve is what that process does, and Guard is how
// the HSM asks it, over a socket. The token's AES key never leaves the token.
// The process sees the key that it wraps; alone that opens nothing, since the
// domain is sealed in software beneath it. It is ended when the HSM is ready:
// nothing is asked of the token after that.
//
// Not done here: customers' keys inside the token. A binary that is built
// without cgo has no Serve.
package pkcs11

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// ErrToken is returned for whatever the token, or its process, does not do.
var ErrToken = errors.New("pkcs11: the token does not serve")

// Requests: u8 operation ‖ u32 length ‖ body. Answers: u8 status ‖ u32 length ‖
// body, which is the result or a text that says what went wrong.
const (
	opProtect = 1
	opRecover = 2

	statusOK     = 0
	statusFailed = 1

	maxBody = 8192
)

// Options say which token to use.
type Options struct {
	Module string // path of the shared library
	Token  string // label of the token
	Key    string // label of its AES key; made if absent
	// NoGCM passes over CKM_AES_GCM, for tokens whose implementation of it is broken.
	NoGCM bool
}

// Guard asks the token's process. It implements core.Guard.
type Guard struct {
	mu   sync.Mutex
	conn io.ReadWriter // guarded by mu
}

// New returns a guard over the socket of a process that serves.
func New(conn io.ReadWriter) *Guard { return &Guard{conn: conn} }

// Name is "PKCS#11".
func (g *Guard) Name() string { return "PKCS#11" }

// Protect lets the token wrap a key.
func (g *Guard) Protect(key []byte) ([]byte, error) { return g.ask(opProtect, key) }

// Recover lets the token unwrap a key.
func (g *Guard) Recover(wrapped []byte) ([]byte, error) { return g.ask(opRecover, wrapped) }

func (g *Guard) ask(op byte, body []byte) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := writeMessage(g.conn, op, body); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	status, answer, err := readMessage(g.conn)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if status != statusOK {
		return nil, fmt.Errorf("%w: %s", ErrToken, answer)
	}
	return answer, nil
}

func writeMessage(w io.Writer, kind byte, body []byte) error {
	if len(body) > maxBody {
		return errors.New("message too long")
	}
	b := make([]byte, 0, 5+len(body)) // of its final size: growing would leave keys behind
	b = binary.BigEndian.AppendUint32(append(b, kind), uint32(len(body)))
	b = append(b, body...)
	_, err := w.Write(b)
	clear(b)
	return err
}

func readMessage(r io.Reader) (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxBody {
		return 0, nil, errors.New("message too long")
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r, body)
	return head[0], body, err
}

// token wraps and unwraps.
type token interface {
	protect(key []byte) ([]byte, error)
	recover(wrapped []byte) ([]byte, error)
}

// serve answers until the other side has gone.
func serve(conn io.ReadWriter, t token) error {
	for {
		op, body, err := readMessage(conn)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("pkcs11: %w", err)
		}
		var answer []byte
		switch op {
		case opProtect:
			answer, err = t.protect(body)
		case opRecover:
			answer, err = t.recover(body)
		default:
			err = errors.New("unknown request")
		}
		clear(body)
		status := byte(statusOK)
		if err != nil {
			status, answer = statusFailed, []byte(err.Error())
		}
		err = writeMessage(conn, status, answer)
		clear(answer)
		if err != nil {
			return fmt.Errorf("pkcs11: %w", err)
		}
	}
}
