package message

import (
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Types of sessions.
const (
	AssumedRole  = "assumed-role"
	SessionToken = "session-token"
	Federated    = "federated"
	RootTask     = "root-task"
)

// Claims are what a session token says: everything that is known of a session
// besides its secret, which is derived from SessionID and the access key id.
// None of it is secret.
type Claims struct {
	SessionID      [16]byte          // random; set by the authority
	Type           string            // AssumedRole, SessionToken, Federated or RootTask
	Account        string            // 12 digits; the access key id carries it too
	PrincipalID    string            // unique id of the role or user
	ARN            string            // of the session
	RoleARN        string            // of the role, for AssumedRole
	SessionName    string            // of RootTask: the account of who has it
	Issued         time.Time         // set by the authority; ms precision
	Expires        time.Time         // at most 36 h after Issued
	MFA            *time.Time        // when the second factor was shown
	Policies       []string          // session policies, their text
	PolicyARNs     []string          //
	Tags           map[string]string // session tags
	TransitiveTags []string          // their keys
	SourceIdentity string            //
	Provider       string            // federation provider's ARN or URL
	CredentialID   string            // access key id that asked for the session
	Depth          int               // of role chaining
}

// wireClaims is the encoded form: integer keys, times in ms since 1970.
type wireClaims struct {
	SessionID      []byte            `cbor:"1,keyasint"`
	Type           string            `cbor:"2,keyasint"`
	Account        string            `cbor:"3,keyasint"`
	PrincipalID    string            `cbor:"4,keyasint,omitempty"`
	ARN            string            `cbor:"5,keyasint,omitempty"`
	RoleARN        string            `cbor:"6,keyasint,omitempty"`
	SessionName    string            `cbor:"7,keyasint,omitempty"`
	Issued         int64             `cbor:"8,keyasint"`
	Expires        int64             `cbor:"9,keyasint"`
	MFA            *int64            `cbor:"10,keyasint,omitempty"`
	Policies       []string          `cbor:"11,keyasint,omitempty"`
	PolicyARNs     []string          `cbor:"12,keyasint,omitempty"`
	Tags           map[string]string `cbor:"13,keyasint,omitempty"`
	TransitiveTags []string          `cbor:"14,keyasint,omitempty"`
	SourceIdentity string            `cbor:"15,keyasint,omitempty"`
	Provider       string            `cbor:"16,keyasint,omitempty"`
	CredentialID   string            `cbor:"17,keyasint,omitempty"`
	Depth          uint16            `cbor:"18,keyasint,omitempty"`
}

// wireRevocation is the encoded form of a Revocation.
type wireRevocation struct {
	SessionID    []byte `cbor:"1,keyasint,omitempty"`
	PrincipalID  string `cbor:"2,keyasint,omitempty"`
	CredentialID string `cbor:"3,keyasint,omitempty"`
	Account      string `cbor:"4,keyasint,omitempty"`
	IssuedBefore int64  `cbor:"5,keyasint,omitempty"`
	Epoch        uint64 `cbor:"6,keyasint,omitempty"`
	AccessKeyID  string `cbor:"7,keyasint,omitempty"`
	By           string `cbor:"8,keyasint,omitempty"`
}

// A Revocation ends sessions before they expire (sts-and-fas section 4).
// Exactly one of the first five fields is set. All but the two that name one
// session are cut at an instant: what was issued later is not touched.
type Revocation struct {
	SessionID    [16]byte
	AccessKeyID  string // the session of this temporary access key id
	PrincipalID  string // sessions of this role or user; the account for those of its root
	CredentialID string // sessions that were made with this access key, in whatever account
	Account      string // sessions of this account's principals, and those that its access keys made elsewhere

	By           string    // the account that it counts against (see core); it ends what it names either way
	IssuedBefore time.Time // zero: the authority's present
	Epoch        uint64    // given by the authority
}

// Status is what an authority says of itself.
type Status struct {
	Memory      string `cbor:"1,keyasint"` // where secrets lie
	Open        bool   `cbor:"2,keyasint"` // has its sealing key
	Epoch       uint64 `cbor:"3,keyasint"` // of the revocation log
	Revocations uint64 `cbor:"4,keyasint"` // in force
	Operations  uint64 `cbor:"5,keyasint"` // answered since start
	CachedKeys  uint64 `cbor:"6,keyasint"`
	TokenKeys   uint64 `cbor:"7,keyasint"`
	KeysIssued  uint64 `cbor:"8,keyasint"` // by key mode, since start
}

var errMessage = errors.New("message: malformed")

// Codec of the parts that are no secret and too rich to be written by hand.
// Both modes come from constant options, so that they cannot fail.
var (
	encoding = must(cbor.CoreDetEncOptions().EncMode())
	decoding = must(cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		MaxNestedLevels: 4, MaxArrayElements: 1 << 20, MaxMapPairs: 1024, ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic("message: " + err.Error())
	}
	return v
}

// Encode returns the deterministic CBOR of the claims.
func (c *Claims) Encode() ([]byte, error) {
	if c.Depth < 0 || c.Depth > 1<<15 {
		return nil, errMessage
	}
	w := wireClaims{
		SessionID: c.SessionID[:], Type: c.Type, Account: c.Account, PrincipalID: c.PrincipalID, ARN: c.ARN,
		RoleARN: c.RoleARN, SessionName: c.SessionName, Issued: ms(c.Issued), Expires: ms(c.Expires),
		Policies: c.Policies, PolicyARNs: c.PolicyARNs, Tags: c.Tags, TransitiveTags: c.TransitiveTags,
		SourceIdentity: c.SourceIdentity, Provider: c.Provider, CredentialID: c.CredentialID, Depth: uint16(c.Depth),
	}
	if c.MFA != nil {
		w.MFA = new(ms(*c.MFA))
	}
	return encoding.Marshal(&w)
}

// Decode reads claims; it copies everything.
func (c *Claims) Decode(b []byte) error {
	var w wireClaims
	if err := decoding.Unmarshal(b, &w); err != nil {
		return fmt.Errorf("%w: claims", errMessage)
	}
	if len(w.SessionID) != len(c.SessionID) {
		return fmt.Errorf("%w: session id", errMessage)
	}
	*c = Claims{
		Type: w.Type, Account: w.Account, PrincipalID: w.PrincipalID, ARN: w.ARN, RoleARN: w.RoleARN,
		SessionName: w.SessionName, Issued: instant(w.Issued), Expires: instant(w.Expires), Policies: w.Policies,
		PolicyARNs: w.PolicyARNs, Tags: w.Tags, TransitiveTags: w.TransitiveTags, SourceIdentity: w.SourceIdentity,
		Provider: w.Provider, CredentialID: w.CredentialID, Depth: int(w.Depth),
	}
	copy(c.SessionID[:], w.SessionID)
	if w.MFA != nil {
		c.MFA = new(instant(*w.MFA))
	}
	return nil
}

// ms and instant keep the zero time zero.
func ms(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func (r *Revocation) wire() wireRevocation {
	w := wireRevocation{
		PrincipalID: r.PrincipalID, CredentialID: r.CredentialID, Account: r.Account,
		IssuedBefore: ms(r.IssuedBefore), Epoch: r.Epoch, AccessKeyID: r.AccessKeyID, By: r.By,
	}
	if r.SessionID != [16]byte{} {
		w.SessionID = r.SessionID[:]
	}
	return w
}

func (w *wireRevocation) plain() (r Revocation, err error) {
	set := 0
	for _, present := range []bool{len(w.SessionID) > 0, w.AccessKeyID != "", w.PrincipalID != "", w.CredentialID != "", w.Account != ""} {
		if present {
			set++
		}
	}
	if set != 1 || len(w.SessionID) > 0 && copy(r.SessionID[:], w.SessionID) != len(r.SessionID) {
		return r, fmt.Errorf("%w: revocation", errMessage)
	}
	r.AccessKeyID, r.PrincipalID, r.CredentialID, r.Account = w.AccessKeyID, w.PrincipalID, w.CredentialID, w.Account
	r.By = w.By
	r.IssuedBefore, r.Epoch = instant(w.IssuedBefore), w.Epoch
	return r, nil
}

// Single says that the revocation is of one session rather than of all that
// were issued until an instant.
func (r *Revocation) Single() bool { return r.SessionID != [16]byte{} || r.AccessKeyID != "" }

// Ends says whether the revocation ends the session of these claims, whose
// access key id is akid and which an access key of the account origin has made.
// A session of the very millisecond of the revocation counts as issued before it.
func (r *Revocation) Ends(akid, origin string, c *Claims) bool {
	if r.Single() {
		return r.SessionID != [16]byte{} && r.SessionID == c.SessionID || r.AccessKeyID != "" && r.AccessKeyID == akid
	}
	if c.Issued.After(r.IssuedBefore) {
		return false
	}
	root, holder := c.RootTask()
	return r.PrincipalID != "" && (r.PrincipalID == c.PrincipalID || r.PrincipalID == root) ||
		r.CredentialID != "" && r.CredentialID == c.CredentialID ||
		r.Account != "" && (r.Account == c.Account || r.Account == origin || r.Account == holder)
}

// RootTask says, of a root session, which root it is (whose unique id is its
// account's) and which account the user or role that has it is of. Such a
// session belongs to both: to PrincipalID, who has it, and to the root that is
// used. Of other sessions both are "".
func (c *Claims) RootTask() (root, holder string) {
	if c.Type != RootTask {
		return "", ""
	}
	return c.Account, c.SessionName
}

// EncodeRevocations returns the encoded list.
func EncodeRevocations(list []Revocation) ([]byte, error) {
	w := make([]wireRevocation, len(list))
	for i := range list {
		w[i] = list[i].wire()
	}
	return encoding.Marshal(w)
}

// DecodeRevocations reads a list.
func DecodeRevocations(b []byte) ([]Revocation, error) {
	var w []wireRevocation
	if err := decoding.Unmarshal(b, &w); err != nil {
		return nil, fmt.Errorf("%w: revocations", errMessage)
	}
	list := make([]Revocation, len(w))
	for i := range w {
		var err error
		if list[i], err = w[i].plain(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Encode returns the encoded status.
func (s *Status) Encode() ([]byte, error) { return encoding.Marshal(s) }

// Decode reads a status.
func (s *Status) Decode(b []byte) error { return decoding.Unmarshal(b, s) }
