// Package log is the audit log: one sealed, append-only transparency log for
// each account, and the root log that commits to all of them.
//
// Start with Open and Append. Append seals an event for its account and
// returns once the event is durable in the write-ahead log; the Receipt it
// returns is a signed promise with the event's place in its account's log. A
// caller releases the result of a call only after Append has returned without
// an error (audit-log section 8): when Append fails, or takes longer than two
// seconds, the call fails too.
//
// Behind Append one goroutine orders and writes (sequence.go), and another
// derives everything else from what is durable (integrate.go): the Merkle tree
// of each account, and every second in which a log grew one epoch of the root
// log (epoch.go). Lookup reads events back for LookupEvents, Export hands an
// account all that it needs to check its log offline (verify/audit).
//
// Not done here: making records (evidence/record), Merkle arithmetic
// (evidence/tree), holding private keys (Signer and KeyStore are the HSM
// process), permission to read (service/cloudtrail and the gate), witnesses.
//
// Promises: nothing is acknowledged before fdatasync; after a failed write or
// fdatasync the log never acknowledges again (Failed) because what the disk
// holds is then unknown; a torn tail is cut off at start, any other damage
// refuses to start. The file formats are described in docs/formats/audit.md.
package log

import (
	"context"
	"errors"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/evidence/tree"
)

// Errors of this package; all are wrapped with context.
var (
	ErrNoAccount     = errors.New("log: no such account")
	ErrAccountExists = errors.New("log: account exists")
	ErrTimeout       = errors.New("log: append took too long")      // the event may or may not become durable
	ErrStopped       = errors.New("log: stopped")                   // closed, or failed for good
	ErrUnavailable   = errors.New("log: signer or key unavailable") // the next append may succeed
	ErrTooLarge      = errors.New("log: event too large")
	ErrBadToken      = errors.New("log: next token is not for this query")
	ErrBadQuery      = errors.New("log: query")
	ErrCorrupt       = errors.New("log: corrupt") // refuses to start
	ErrNoFile        = errors.New("log: no such file in the export")
)

// Alg is a signature algorithm of the Signer.
type Alg uint8

// The algorithms with which a deployment's logs sign (section 6).
const (
	Ed25519 Alg = iota + 1
	MLDSA44
)

// A Signer holds the log's private keys. It is the HSM process in a running
// plane. Each message is the text of a receipt, a checkpoint or a subtree.
type Signer interface {
	Sign(ctx context.Context, alg Alg, message []byte) ([]byte, error)
}

// A KeyStore holds the accounts' private audit keys, again the HSM process.
// Handles are opaque to this package and kept with the account.
type KeyStore interface {
	NewAccountKey(ctx context.Context, account string) (handle, public []byte, err error)
	OpenDEK(ctx context.Context, account string, handle, enc, ct, info []byte) (dek []byte, err error)
}

// Config is what a log needs; every field without a stated zero value is required.
type Config struct {
	Dir           string // the log's own directory; made when it does not exist
	Domain        string // audit domain: origins are <domain>/root and <domain>/a/<label>
	Clock         clock.Clock
	Signer        Signer
	Ed25519       []byte // public keys of the signer: 32 bytes
	MLDSA44       []byte // and 1312 bytes
	Keys          KeyStore
	Measurement   [20]byte      // hash of the signer's measurement, in every root leaf; zero: none
	SegmentSize   int64         // of a file of the write-ahead log; zero: 256 MiB
	AppendTimeout time.Duration // zero: 2 s
	EpochInterval time.Duration // zero: 1 s
	Check         bool          // Open reads and checks the whole log, not only what is new since it was closed

	disk func(path string, size int64) (segmentFile, error) // tests put failing files here
}

// An Event is what the caller wants to have on record. JSON is a record as
// record.AppendJSON writes it, whose eventID is ID.
type Event struct {
	Account string
	Kind    record.Kind // zero: record.APIEvent
	Flags   record.Flags
	ID      string // UUID
	Time    time.Time
	JSON    []byte // not kept after Append returns
}

// A Receipt is the signed promise that an event is in the log. String is the
// value of the header x-leadglass-audit-receipt.
type Receipt = tree.Receipt

// Configuration is what an account's principals may know of their log.
type Configuration struct {
	Account   string
	Label     [32]byte
	Salt      []byte
	Origin    string
	Verifiers []string // vkeys of the account log and of the root log
	PublicKey []byte   // the account's audit key, HPKE MLKEM768-X25519
}

// A Query selects events for LookupEvents. The zero value selects everything
// of the last 90 days.
type Query struct {
	Attribute  string // "", or one of the names of LookupAttributes
	Value      string
	Start, End time.Time // inclusive; zero: open
	Max        int       // zero: 50
	Token      string    // Next of the page before, for the same query
}

// LookupAttributes are the attributes that a Query may filter by.
var LookupAttributes = [...]string{"EventId", "EventName", "ReadOnly", "Username", "ResourceType", "ResourceName", "EventSource", "AccessKeyId"}

// A Found is one event that Lookup found.
type Found struct {
	Index  uint64 // in the account's log
	Time   time.Time
	JSON   []byte
	Record *record.Record
}

// A Page is one answer of Lookup, newest event first.
type Page struct {
	Events []Found
	Next   string // empty on the last page
}

// A File of an export. Names are slash-separated paths; a name's bytes never change.
type File struct {
	Name string
	Size int64
}

// An Export is a consistent set of files: everything up to one epoch.
type Export struct {
	ID          string
	Epoch       uint64
	AccountSize uint64
	Files       []File
}
