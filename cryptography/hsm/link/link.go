// Package link is the wire between a host and a boundary process: frames over
// a stream socket, a mutually authenticated handshake, and requests and
// answers under a session cipher (hsm-domain section 5).
//
// A host calls Dial and then Client.Call, from any number of goroutines at
// once; a boundary calls Serve with a Handler. The same protocol serves the
// HSM and the identity authority: operation numbers and parameters are theirs,
// this package only carries them.
//
// The handshake is ECDH on P-384 together with ML-KEM-768, both ephemeral,
// signed by the host's key and by the boundary's key. A recorded connection
// stays closed when either of the two problems is broken, and also when the
// identity keys are stolen later.
//
// Secrets in messages are handled in place: an encoder writes into the frame
// that is then encrypted where it lies, a decoder is handed the decrypted
// frame and copies out what it keeps, and every decrypted byte is overwritten
// before the buffer is used again. The session keys themselves live on the Go
// heap of both processes for as long as the connection; they protect the wire,
// not what rests.
//
// Not here: what an operation means, who may do it, retries, reconnecting.
package link

import "errors"

// Frame types of hsm-domain section 5. The length counts type and body.
const (
	typeHello     = 1
	typeHelloOK   = 2
	typeRequest   = 3
	typeResponse  = 4
	typeNeedToken = 5
	typeToken     = 6
)

const (
	// MaxFrame is the longest frame, type and body together.
	MaxFrame = 65536
	// MaxBody is what an encoded request or answer may take inside a frame:
	// type, token id, counter and tag are subtracted.
	MaxBody = MaxFrame - headerLen - tagLen

	headerLen = 1 + 16 + 8 // type, token id, counter; this is also the AAD
	tagLen    = 16
)

// Statuses of an answer (hsm-domain section 5). The authority uses the same
// numbers and adds its own above 31.
const (
	StatusOK          = 0
	StatusBadRequest  = 1
	StatusWrongToken  = 2
	StatusDenied      = 3
	StatusAuthFailed  = 4
	StatusAttestation = 5
	StatusStale       = 6
	StatusFenced      = 7
	StatusInternal    = 8
	StatusBusy        = 9
	StatusMaterial    = 10 // imported key material is no key of the spec that it is for
)

var (
	// ErrClosed is returned when the connection has ended, for whatever reason:
	// no answer will come, and whether the request was executed is unknown.
	ErrClosed = errors.New("link: the connection is closed")
	// ErrProtocol is returned for a frame that the other side may not send.
	ErrProtocol = errors.New("link: protocol violation")
	// ErrAuthentication is returned when the handshake does not prove who the
	// other side is.
	ErrAuthentication = errors.New("link: the other side is not who it should be")
	// ErrTooLarge is returned for a request that does not fit into a frame.
	ErrTooLarge = errors.New("link: the message does not fit into a frame")
)

// HostID is the first 16 bytes of SHA-256 over a host's SPKI.
type HostID [16]byte

// A Status is the error of a call that the boundary answered with a status
// other than 0.
type Status uint64

func (s Status) Error() string {
	switch s {
	case StatusBadRequest:
		return "link: bad request"
	case StatusWrongToken:
		return "link: wrong token"
	case StatusDenied:
		return "link: denied"
	case StatusAuthFailed:
		return "link: authentication failed"
	case StatusAttestation:
		return "link: attestation rejected"
	case StatusStale:
		return "link: stale domain"
	case StatusFenced:
		return "link: fenced"
	case StatusInternal:
		return "link: internal error in the boundary"
	case StatusBusy:
		return "link: busy"
	case StatusMaterial:
		return "link: unfit key material"
	}
	return "link: refused"
}
