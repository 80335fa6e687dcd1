package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority/message"
)

// Errors of a call.
var (
	ErrBadRequest  = errors.New("authority: bad request")
	ErrSignature   = errors.New("authority: the signature does not match")
	ErrToken       = errors.New("authority: the security token is invalid")
	ErrExpired     = errors.New("authority: expired")
	ErrRevoked     = errors.New("authority: revoked")
	ErrTooLarge    = errors.New("authority: the session's policies and tags do not fit into a token")
	ErrDenied      = errors.New("authority: denied")
	ErrInternal    = errors.New("authority: internal error")
	ErrUnavailable = errors.New("authority: unavailable")
)

// Claims are what a session token says.
type Claims = message.Claims

// Types of sessions.
const (
	AssumedRole  = message.AssumedRole
	SessionToken = message.SessionToken
	Federated    = message.Federated
	RootTask     = message.RootTask
)

// A Revocation ends sessions before they expire. Exactly one of its first four
// fields is set. All but a session's own are cut at an instant: what was
// issued later is not touched.
type Revocation = message.Revocation

// Status is what the authority says of itself.
type Status = message.Status

// Request is one signed request to be witnessed.
type Request struct {
	AccessKeyID     string
	Sealed          []byte   // the credential's sealed record; nil for a session or an unknown id
	StringToSign    []byte   // exact bytes
	Signature       [32]byte // HMAC-SHA256, of a V4 request
	ECDSA           []byte   // ASN.1 DER, of a SigV4A request; then Signature is not looked at
	CanonicalDigest [32]byte // SHA-256 of the canonical request, the last line of StringToSign
	SessionToken    string   // empty for a long-term credential
}

// SigningKey is what key mode hands out.
type SigningKey struct {
	Key      *secret.Bytes // kSigning of one day, region and service; 32 bytes
	Claims   *Claims       // nil for a long-term credential
	NotAfter time.Time
}

// A Client asks one authority. It is safe for concurrent use; calls are
// pipelined over one connection.
type Client struct {
	link       *link.Client
	arena      *secret.Arena // may be nil
	asymmetric chan struct{} // a place for each SigV4A request that is being witnessed

	mu      sync.Mutex
	watches []*Watch // guarded by mu; told at once what this client revokes
}

// NewClient returns a client over an established link.
func NewClient(l *link.Client) *Client {
	// Without an arena every secret has pages of its own, as with one that is full.
	arena, err := secret.NewArena(arenaSize)
	if err != nil {
		arena = nil
	}
	return &Client{link: l, arena: arena, asymmetric: make(chan struct{}, maxAsymmetric)}
}

// maxAsymmetric is how many SigV4A requests are witnessed at once: half of what
// the link does beside its quick operations. A guess by SigV4A costs a
// derivation and a verification on P-256, several times what one by V4 costs,
// and its sender next to nothing; those that come in floods wait here for each
// other, and nobody who signs by V4 waits behind them.
const maxAsymmetric = 16

// arenaSize is room for the secrets of some thousand answers that are under
// way. Pages for each would cost as much as the rest of such an answer.
const arenaSize = 64 << 10

// call sends one operation and lets take copy out of the result, whose memory
// is wiped when take returns.
func (c *Client) call(ctx context.Context, op uint64, p *message.Params, take func(*message.Result) error) error {
	err := c.link.Call(ctx, op, nil, p.Append, func(body []byte) error {
		var r message.Result
		if err := r.Parse(body); err != nil {
			return err
		}
		if take == nil {
			return nil
		}
		return take(&r)
	})
	return translate(err)
}

func translate(err error) error {
	if err == nil {
		return nil
	}
	if s, ok := errors.AsType[link.Status](err); ok {
		switch s {
		case link.StatusBadRequest:
			return ErrBadRequest
		case link.StatusDenied:
			return ErrDenied
		case link.StatusBusy, link.StatusStale:
			return ErrUnavailable
		case message.StatusSignature:
			return ErrSignature
		case message.StatusToken:
			return ErrToken
		case message.StatusExpired:
			return ErrExpired
		case message.StatusRevoked:
			return ErrRevoked
		case message.StatusTooLarge:
			return ErrTooLarge
		}
		return ErrInternal
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, link.ErrTooLarge) {
		return ErrBadRequest
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// keep copies a secret out of an answer into memory that is not paged or
// dumped. The answer itself is wiped by the link.
func (c *Client) keep(b []byte) (*secret.Bytes, error) {
	s, err := c.room(len(b))
	if err != nil {
		return nil, err
	}
	return s, s.Use(func(own []byte) error { copy(own, b); return nil })
}

func (c *Client) room(n int) (*secret.Bytes, error) {
	if c.arena != nil {
		if s, err := c.arena.New(n); err == nil {
			return s, nil
		}
	}
	return secret.New(n)
}

// NewSecret makes the secret of a new long-term access key. sealed is the
// record that the directory keeps; sec, 40 characters, is for the customer
// and is shown once. The id must carry the account (base/id).
func (c *Client) NewSecret(ctx context.Context, account, akid string) (sealed []byte, sec *secret.Bytes, err error) {
	p := message.Params{AccessKeyID: akid, Account: account}
	err = c.call(ctx, message.OpNewSecret, &p, func(r *message.Result) error {
		sealed = append([]byte(nil), r.Sealed...)
		var err error
		sec, err = c.keep(r.Secret)
		return err
	})
	return sealed, sec, err
}

// Witness checks a signature. It answers nil claims for a long-term
// credential and the claims of the token for a session. ErrSignature says no
// more than that id, key and signature do not belong together: an unknown id
// (no Sealed, no SessionToken) fails so after the same work.
func (c *Client) Witness(ctx context.Context, q Request) (claims *Claims, err error) {
	p := q.params()
	op := uint64(message.OpWitness)
	if len(q.ECDSA) > 0 {
		op, p.Signature = message.OpWitnessV4A, q.ECDSA
		select {
		case c.asymmetric <- struct{}{}:
			defer func() { <-c.asymmetric }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return c.witness(ctx, op, &p)
}

func (c *Client) witness(ctx context.Context, op uint64, p *message.Params) (claims *Claims, err error) {
	err = c.call(ctx, op, p, func(r *message.Result) error {
		if len(p.Token) == 0 {
			return nil
		}
		claims = new(Claims)
		return claims.Decode(r.Claims)
	})
	if err != nil {
		return nil, err
	}
	return claims, nil
}

// SigningKey is key mode: it hands out the key that signs for one day, region
// and service. Each issue is an event for the audit log, which the caller
// writes. Exactly one of sealed and token is given.
func (c *Client) SigningKey(ctx context.Context, akid string, sealed []byte, token, date, region, service string) (k SigningKey, err error) {
	p := message.Params{AccessKeyID: akid, Sealed: sealed, Token: []byte(token), Date: date, Region: region, Service: service}
	err = c.call(ctx, message.OpSigningKey, &p, func(r *message.Result) error { return c.take(&k, r, token != "") })
	if err != nil {
		return SigningKey{}, err
	}
	return k, nil
}

// IssueSession makes session credentials. The authority sets the session id
// and the time of issue. The token has at most 4096 characters, else it is
// ErrTooLarge.
func (c *Client) IssueSession(ctx context.Context, claims Claims) (akid string, sec *secret.Bytes, token string, err error) {
	encoded, err := claims.Encode()
	if err != nil {
		return "", nil, "", ErrBadRequest
	}
	err = c.call(ctx, message.OpIssueSession, &message.Params{Claims: encoded}, func(r *message.Result) error {
		akid, token = string(r.AccessKeyID), string(r.Token)
		var err error
		sec, err = c.keep(r.Secret)
		return err
	})
	if err != nil {
		return "", nil, "", err
	}
	return akid, sec, token, nil
}

// SealMessage seals the details of a refusal for DecodeAuthorizationMessage.
func (c *Client) SealMessage(ctx context.Context, account string, plain []byte) (sealed string, err error) {
	p := message.Params{Account: account, Message: plain}
	err = c.call(ctx, message.OpSealMessage, &p, func(r *message.Result) error { sealed = string(r.Message); return nil })
	return sealed, err
}

// OpenMessage opens what SealMessage sealed for the same account less than 24
// hours ago; ErrToken if there is no such thing, ErrExpired if it is older.
func (c *Client) OpenMessage(ctx context.Context, account, sealed string) (plain []byte, err error) {
	p := message.Params{Account: account, Message: []byte(sealed)}
	err = c.call(ctx, message.OpOpenMessage, &p, func(r *message.Result) error {
		plain = append([]byte(nil), r.Message...)
		return nil
	})
	return plain, err
}

// Resolve is Witness for a host that may check later requests of the same day,
// region and service itself (key mode, sigv4 section 9): when the signature is
// right it also hands out the key that made it. Otherwise it answers as Witness
// does, and hands out nothing; for a day that is not today, within the skew of
// requests, it answers ErrDenied, and Witness has to be asked. Each issue is an
// event for the audit log, which the caller writes.
func (c *Client) Resolve(ctx context.Context, q Request) (k SigningKey, err error) {
	p := q.params()
	err = c.call(ctx, message.OpResolve, &p, func(r *message.Result) error { return c.take(&k, r, q.SessionToken != "") })
	if err != nil {
		return SigningKey{}, err
	}
	return k, nil
}

// take reads an answer that holds a key.
func (c *Client) take(k *SigningKey, r *message.Result, session bool) (err error) {
	if session {
		k.Claims = new(Claims)
		if err := k.Claims.Decode(r.Claims); err != nil {
			return err
		}
	}
	k.NotAfter = time.UnixMilli(int64(r.NotAfter)).UTC()
	k.Key, err = c.keep(r.Key)
	return err
}

func (q *Request) params() message.Params {
	return message.Params{
		AccessKeyID: q.AccessKeyID, Sealed: q.Sealed, StringToSign: q.StringToSign, Signature: q.Signature[:],
		Digest: q.CanonicalDigest[:], Token: []byte(q.SessionToken),
	}
}

// Revoke ends sessions. When it returns, the revocation is durable, no later
// Witness accepts what it names, and every Watch of this client has applied it.
func (c *Client) Revoke(ctx context.Context, r Revocation) (epoch uint64, err error) {
	encoded, err := message.EncodeRevocations([]Revocation{r})
	if err != nil {
		return 0, ErrBadRequest
	}
	err = c.call(ctx, message.OpRevoke, &message.Params{Revocation: encoded}, func(r *message.Result) error {
		epoch = r.Epoch
		return nil
	})
	if err != nil {
		// Nobody knows whether it came to be: what is cached is given up, which costs a question at the most.
		c.tell(r)
		return 0, err
	}
	r.Epoch = epoch
	c.tell(r)
	return epoch, nil
}

func (c *Client) tell(r Revocation) {
	if r.IssuedBefore.IsZero() || r.Single() {
		// The authority's present, which this side cannot know: what is cached of it has been issued by now.
		r.IssuedBefore = forever
	}
	c.mu.Lock()
	watches := slices.Clone(c.watches)
	c.mu.Unlock()
	for _, w := range watches {
		w.take(r)
	}
}

// forever is after every session.
var forever = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// Revocations lists the revocations in force with an epoch above since, in
// order, as far as one answer holds, and the newest epoch of all.
func (c *Client) Revocations(ctx context.Context, since uint64) (list []Revocation, epoch uint64, err error) {
	return c.revocations(ctx, &message.Params{Since: since})
}

func (c *Client) revocations(ctx context.Context, p *message.Params) (list []Revocation, epoch uint64, err error) {
	err = c.call(ctx, message.OpRevocations, p, func(r *message.Result) error {
		epoch = r.Epoch
		var err error
		list, err = message.DecodeRevocations(r.Revocations)
		return err
	})
	return list, epoch, err
}

// Status asks the authority about itself.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	err = c.call(ctx, message.OpStatus, &message.Params{}, func(r *message.Result) error { return s.Decode(r.Status) })
	return s, err
}
