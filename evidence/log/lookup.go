package log

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/evidence/tree"
)

const (
	lookback = 90 * 24 * time.Hour
	maxPage  = 50
	// maxScan bounds the work of one page: a filter that matches nothing ends
	// with an empty page and a token, as CloudTrail's own answers may.
	maxScan = 50_000
	// slack is how far a leaf's time may lie from its event's (section 10.6).
	slack = 5 * time.Second
)

// Lookup finds management events of one account, newest first, among those of
// the last 90 days. An event whose Append returned before the call is found.
// Every data key that is needed is opened through the KeyStore.
func (l *Log) Lookup(ctx context.Context, name string, q Query) (Page, error) {
	a, err := l.account(name)
	if err != nil {
		return Page{}, err
	}
	if q.Attribute != "" && !slices.Contains(LookupAttributes[:], q.Attribute) {
		return Page{}, fmt.Errorf("%w: attribute", ErrBadQuery)
	}
	if q.Max == 0 {
		q.Max = maxPage
	}
	if q.Max < 1 || q.Max > maxPage {
		return Page{}, fmt.Errorf("%w: page size", ErrBadQuery)
	}
	if !q.Start.IsZero() && !q.End.IsZero() && q.End.Before(q.Start) {
		return Page{}, fmt.Errorf("%w: time range", ErrBadQuery)
	}
	before := uint64(1<<63 - 1)
	if q.Token != "" {
		if before, err = a.parseToken(q); err != nil {
			return Page{}, err
		}
	}
	// What callers were told is durable must be visible: wait for the integrator.
	if err := l.run(ctx, func() error { return nil }); err != nil {
		return Page{}, err
	}
	s := scan{log: l, account: a, query: q, ctx: ctx, blobs: blobs{log: l}}
	defer s.close()
	return s.page(min(before, a.integrated.Load()))
}

// A scan is one Lookup at work.
type scan struct {
	log     *Log
	account *account
	query   Query
	ctx     context.Context
	blobs   blobs
	keys    map[[16]byte]uint64 // where key records are
	openers map[[16]byte]*record.Opener
}

func (s *scan) close() { s.blobs.close() }

// page reads the leaves below before, from the newest on.
func (s *scan) page(before uint64) (Page, error) {
	var p Page
	earliest := s.log.cfg.Clock.Now().Add(-lookback)
	if s.query.Start.After(earliest) {
		earliest = s.query.Start
	}
	scanned := 0
	for before > 0 {
		if err := s.ctx.Err(); err != nil {
			return Page{}, fmt.Errorf("log: lookup: %w", err)
		}
		n := min(before, tree.TileWidth)
		leaves, err := s.account.readLeaves(before-n, int(n))
		if err != nil {
			return Page{}, fmt.Errorf("log: lookup: %w", err)
		}
		for i := int(n) - 1; i >= 0; i-- {
			entry := leaves[i*leafEntry:][:leafEntry]
			leaf, err := record.ParseLeaf(entry[:record.LeafSize])
			if err != nil {
				return Page{}, fmt.Errorf("log: lookup: %w", err)
			}
			index := before - n + uint64(i)
			if leaf.When().Before(earliest.Add(-slack)) {
				return p, nil // leaves are in the order of time
			}
			found, ok, err := s.match(&leaf, index, placeOf(entry), earliest)
			if err != nil {
				return Page{}, err
			}
			if ok {
				p.Events = append(p.Events, found)
			}
			if scanned++; index > 0 && (len(p.Events) == s.query.Max || scanned == maxScan) {
				p.Next = s.account.token(s.query, index)
				return p, nil
			}
		}
		before -= n
	}
	return p, nil
}

// match opens the event of a leaf when it can be one that the query wants.
func (s *scan) match(leaf *record.Leaf, index uint64, at place, earliest time.Time) (Found, bool, error) {
	q := &s.query
	var none Found
	switch leaf.Kind {
	case record.APIEvent, record.Contingent, record.Operator:
	default:
		return none, false, nil
	}
	if leaf.Flags&record.DataEvent != 0 || q.Attribute == "EventId" && leaf.ID() != q.Value {
		return none, false, nil
	}
	if !q.End.IsZero() && leaf.When().After(q.End.Add(time.Second+slack)) {
		return none, false, nil
	}
	json, err := s.open(leaf, at)
	if err != nil {
		return none, false, err
	}
	if !mayContain(json, q) {
		return none, false, nil
	}
	r, err := record.Parse(json)
	if err != nil {
		return none, false, fmt.Errorf("log: lookup: event %d: %w", index, err)
	}
	if r.Category() != record.CategoryManagement || r.EventTime.Before(earliest.Truncate(time.Second)) ||
		!q.End.IsZero() && r.EventTime.After(q.End) || !matches(r, q.Attribute, q.Value) {
		return none, false, nil
	}
	return Found{index, leaf.When(), json, r}, true, nil
}

// mayContain saves parsing: a plain value that is wanted must occur in the text.
func mayContain(json []byte, q *Query) bool {
	if q.Attribute == "" || q.Attribute == "ReadOnly" || q.Attribute == "Username" || strings.ContainsAny(q.Value, "\"\\<>&") {
		return true
	}
	for _, c := range []byte(q.Value) {
		if c < ' ' || c > '~' {
			return true
		}
	}
	return bytes.Contains(json, []byte(q.Value))
}

// matches says whether a record has an attribute's value. A resource's name is
// its ARN or the last part of it, as users type either.
func matches(r *record.Record, attribute, value string) bool {
	switch attribute {
	case "":
		return true
	case "EventId":
		return r.EventID == value
	case "EventName":
		return r.EventName == value
	case "ReadOnly":
		return strconv.FormatBool(r.ReadOnly) == value
	case "Username":
		return r.UserIdentity.Name() == value
	case "EventSource":
		return r.EventSource == value
	case "AccessKeyId":
		return r.UserIdentity.AccessKeyID == value
	case "ResourceType":
		return slices.ContainsFunc(r.Resources, func(x record.Resource) bool { return x.Type == value })
	case "ResourceName":
		return slices.ContainsFunc(r.Resources, func(x record.Resource) bool {
			return x.ARN == value || x.ARN[strings.LastIndexAny(x.ARN, ":/")+1:] == value
		})
	}
	return false
}

// open decrypts an event.
func (s *scan) open(leaf *record.Leaf, at place) ([]byte, error) {
	o := s.openers[leaf.KeyID]
	if o == nil {
		if s.keys == nil {
			var err error
			if s.keys, err = s.account.keyIndex(); err != nil {
				return nil, err
			}
			s.openers = make(map[[16]byte]*record.Opener)
		}
		dek, err := s.dek(leaf.KeyID)
		if err != nil {
			return nil, err
		}
		o, err = record.NewOpener(s.account.Account, leaf.KeyID, dek)
		secret.Wipe(dek)
		if err != nil {
			return nil, err
		}
		s.openers[leaf.KeyID] = o
	}
	blob, err := s.blobs.read(at)
	if err != nil {
		return nil, err
	}
	if hashOf(blob) != leaf.Blob {
		return nil, fmt.Errorf("%w: blob of event %s", ErrCorrupt, leaf.ID())
	}
	json, _, err := o.Open(leaf.Kind, blob)
	return json, err
}

// dek opens a data key with the account's audit key.
func (s *scan) dek(keyID [16]byte) ([]byte, error) {
	index, ok := s.keys[keyID]
	if !ok {
		return nil, fmt.Errorf("%w: no record of a data key of account %s", ErrCorrupt, s.account.Account)
	}
	entry, err := s.account.readLeaves(index, 1)
	if err != nil {
		return nil, err
	}
	blob, err := s.blobs.read(placeOf(entry))
	if err != nil {
		return nil, err
	}
	k, err := record.ParseKeyRecord(blob)
	if err != nil {
		return nil, err
	}
	dek, err := s.log.cfg.Keys.OpenDEK(s.ctx, s.account.Account, s.account.handle(), k.Enc, k.CT, record.KeyInfo(s.account.Account, keyID))
	if err != nil {
		return nil, fmt.Errorf("%w: audit key: %w", ErrUnavailable, err)
	}
	return dek, nil
}

// token is where the next page begins, bound to the account and the query by a
// MAC under the account's salt: another account, or another query, cannot use it.
func (a *account) token(q Query, before uint64) string {
	b := binary.BigEndian.AppendUint64(nil, before)
	return base64.RawURLEncoding.EncodeToString(append(b, a.tokenTag(q, b)...))
}

func (a *account) tokenTag(q Query, position []byte) []byte {
	m := hmac.New(sha256.New, a.Salt)
	fmt.Fprintf(m, "leadglass/lookup/v1\x00%s\x00%s\x00%d\x00%s\x00%d\x00%d\x00",
		a.Account, q.Attribute, len(q.Value), q.Value, millis(q.Start), millis(q.End))
	m.Write(position)
	return m.Sum(nil)[:16]
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	return t.UnixMilli()
}

func (a *account) parseToken(q Query) (uint64, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(q.Token)
	if err != nil || len(b) != 24 || !hmac.Equal(b[8:], a.tokenTag(q, b[:8])) {
		return 0, ErrBadToken
	}
	return binary.BigEndian.Uint64(b), nil
}
