// Package audit checks an exported audit log offline: with nothing but the
// export, the account's key file and, when witnesses are used, their policy.
//
// Start with Verify. It carries out the steps of audit-log section 10 and
// returns a Report; Options.Each receives every decrypted event, which is how
// an account reads its log without any server.
//
// What a report with OK true means: the log signed exactly these events, in
// this order, for this account; nothing was removed, altered, added or moved
// since; and, as far as receipts and earlier checkpoints were given, the log
// is the one that was promised then. What it cannot mean: that an event which
// never reached the log did not happen; and without witnesses, that nobody was
// shown another log (section 1).
//
// The package reads files through fs.FS and does nothing else: no network, no
// clock, no writing. Memory is bounded by the number of events (their ids), not
// by their size.
package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/evidence/tree"
)

// An AccountKey is what the account's principals know of their log.
type AccountKey = record.AccountKey

// An Event is a decrypted event of the log.
type Event struct {
	Index  uint64
	Kind   record.Kind
	Time   time.Time // of the leaf
	JSON   []byte
	Record *record.Record
}

// Options of a verification. The zero value checks the export alone and
// demands no witnesses.
type Options struct {
	Policy   *Policy           // witnesses that must have cosigned; nil: none
	Receipts []tree.Receipt    // that must be honoured
	Earlier  [][]byte          // signed checkpoints of this account's log or of the root log, seen before
	MaxGap   time.Duration     // between two leaves; zero: 2 h, negative: any
	Each     func(Event) error // called for every event in order; an error ends the verification
}

// A Report says what was found.
type Report struct {
	OK             bool     `json:"ok"`
	RootSize       uint64   `json:"rootSize"`
	Epoch          uint64   `json:"epoch"`
	AccountSize    uint64   `json:"accountSize"`
	VerifiedEvents uint64   `json:"verifiedEvents"`
	Missing        []string `json:"missing"`  // files and blobs that are not there
	Problems       []string `json:"problems"` // what is not as it must be
}

// maxFindings bounds a report: a log that is damaged everywhere is named so.
const maxFindings = 200

const (
	defaultGap = 2 * time.Hour
	timeSlack  = 5 * time.Second
)

// ErrKey is returned when the account key file cannot be used at all.
var ErrKey = errors.New("audit: account key file")

// Verify checks the export in fsys. An error means that it could not even
// begin, or that Options.Each ended it; everything about the export is in the
// Report.
func Verify(fsys fs.FS, key AccountKey, opt Options) (Report, error) {
	v, err := newVerification(fsys, key, opt)
	if err != nil {
		return Report{}, err
	}
	if err := v.run(); err != nil {
		return v.report, err
	}
	r := v.report
	r.OK = len(r.Missing) == 0 && len(r.Problems) == 0
	return r, nil
}

// A verification is one run of Verify.
type verification struct {
	fsys    fs.FS
	key     AccountKey
	opt     Options
	label   tree.Hash
	openers map[[16]byte]*record.Opener

	ownKeys, rootKeys []*tree.Verifier // Ed25519 and ML-DSA-44 of each log

	report   Report
	expected map[string]bool // files that were looked for

	epochs   []epochEntry
	rootTime uint64 // of the last epoch, ms
	mapRoots map[uint64]tree.Hash

	// What the account's tree must show while it is rebuilt.
	rootsAt  map[uint64][]mustRoot   // by size
	receipts map[uint64][]receiptRef // by index
}

type mustRoot struct {
	root tree.Hash
	what string
}

type receiptRef struct {
	leaf tree.Hash
	n    int
}

// An epochEntry is one entry of the epochs file.
type epochEntry struct {
	epoch, size uint64
	root        tree.Hash
	proof       tree.MapProof
}

func newVerification(fsys fs.FS, key AccountKey, opt Options) (*verification, error) {
	v := &verification{
		fsys: fsys, key: key, opt: opt, label: key.Label(),
		expected: make(map[string]bool), mapRoots: make(map[uint64]tree.Hash),
		rootsAt: make(map[uint64][]mustRoot), receipts: make(map[uint64][]receiptRef),
		report: Report{Missing: []string{}, Problems: []string{}},
	}
	var err error
	if v.openers, err = key.Openers(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	for _, s := range key.Logs {
		k, err := tree.ParseVerifier(s)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKey, err)
		}
		switch k.Name {
		case key.Origin():
			v.ownKeys = append(v.ownKeys, k)
		case key.RootOrigin():
			v.rootKeys = append(v.rootKeys, k)
		}
	}
	// Both signatures are demanded: the log always makes both, and a verifier that
	// took either would be as weak as the weaker algorithm (section 6).
	for _, keys := range [][]*tree.Verifier{v.ownKeys, v.rootKeys} {
		if len(keys) != 2 || keys[0].Type == keys[1].Type || keys[0].Type == tree.TypeCosignature || keys[1].Type == tree.TypeCosignature {
			return nil, fmt.Errorf("%w: it must name an Ed25519 and an ML-DSA-44 key of the account's log and of the root log", ErrKey)
		}
	}
	if v.opt.MaxGap == 0 {
		v.opt.MaxGap = defaultGap
	}
	return v, nil
}

func (v *verification) problem(format string, args ...any) {
	if len(v.report.Problems) < maxFindings {
		v.report.Problems = append(v.report.Problems, fmt.Sprintf(format, args...))
	}
}

func (v *verification) missing(what string) {
	if len(v.report.Missing) < maxFindings {
		v.report.Missing = append(v.report.Missing, what)
	}
}

// read returns a file of the export, or nil when it is missing.
func (v *verification) read(name string) []byte {
	v.expected[name] = true
	data, err := fs.ReadFile(v.fsys, name)
	if err != nil {
		v.missing(name)
		return nil
	}
	return data
}

// run is the list of steps.
func (v *verification) run() error {
	root, ok := v.checkpoint("root/checkpoint", v.key.RootOrigin(), v.rootKeys, true)
	if !ok {
		return nil
	}
	v.report.RootSize, v.report.Epoch = root.Size, root.Size
	v.readEpochs(root.Size)
	earlierRoot := v.earlier(root.Size)
	wholeRoot := v.rootLog(root, earlierRoot)
	own, ok := v.checkpoint("checkpoint", v.key.Origin(), v.ownKeys, false)
	if !ok {
		return nil
	}
	v.checkEpochs(root, own, wholeRoot)
	v.report.AccountSize = own.Size
	v.indexReceipts(own.Size)
	if err := v.accountLog(own); err != nil {
		return err
	}
	v.unexpected(root.Size, own.Size)
	return nil
}

// checkpoint is step 1: the log's signatures, and the witnesses' on the root log.
func (v *verification) checkpoint(name, origin string, keys []*tree.Verifier, witnessed bool) (tree.Checkpoint, bool) {
	data := v.read(name)
	if data == nil {
		return tree.Checkpoint{}, false
	}
	known := slices.Clone(keys)
	if witnessed {
		known = append(known, v.opt.Policy.verifiers()...)
	}
	c, note, err := tree.OpenCheckpoint(data, origin, known...)
	if err != nil {
		v.problem("%s: %v", name, err)
		return c, false
	}
	for _, k := range keys {
		if !note.SignedBy(k) {
			v.problem("%s: no signature of type %#02x by the log", name, k.Type)
			return c, false
		}
	}
	if witnessed && !v.opt.Policy.satisfied(note) {
		v.problem("%s: the witnesses' quorum is not reached", name)
	}
	return c, true
}

// readEpochs reads the map proofs; step 3 is finished by checkEpochs when the
// root leaves are known.
func (v *verification) readEpochs(last uint64) {
	data := v.read("epochs")
	if data == nil {
		return
	}
	rest, ok := bytes.CutPrefix(data, []byte("LGM1"))
	if !ok {
		v.problem("epochs: not a file of map proofs")
		return
	}
	for len(rest) > 0 {
		const head = 8 + 8 + 32 + 2
		if len(rest) < head {
			v.problem("epochs: truncated")
			return
		}
		e := epochEntry{epoch: binary.BigEndian.Uint64(rest), size: binary.BigEndian.Uint64(rest[8:]), root: tree.Hash(rest[16:])}
		n := int(binary.BigEndian.Uint16(rest[48:]))
		if len(rest) < head+n {
			v.problem("epochs: truncated")
			return
		}
		proof, more, err := tree.ParseMapProof(rest[head : head+n])
		if err != nil || len(more) != 0 {
			v.problem("epochs: malformed proof for epoch %d", e.epoch)
			return
		}
		e.proof, rest = proof, rest[head+n:]
		if k := len(v.epochs); k > 0 && (e.epoch <= v.epochs[k-1].epoch || e.size < v.epochs[k-1].size) {
			v.problem("epochs: epoch %d with %d events comes after epoch %d with %d", e.epoch, e.size, v.epochs[k-1].epoch, v.epochs[k-1].size)
			return
		}
		v.epochs = append(v.epochs, e)
		v.mapRoots[e.epoch] = tree.Hash{}
	}
	if k := len(v.epochs); k == 0 || v.epochs[k-1].epoch != last {
		v.problem("epochs: no proof for the last epoch, %d", last)
	}
}

// checkEpochs is step 3 and the first half of step 4: every proof leads to its
// epoch's map root, and the last one to the account's own checkpoint.
func (v *verification) checkEpochs(root, own tree.Checkpoint, wholeRoot bool) {
	v.rootsAt[own.Size] = append(v.rootsAt[own.Size], mustRoot{own.Root, "the checkpoint"})
	if !wholeRoot || len(v.epochs) == 0 {
		return // what is missing is reported; nothing can be said
	}
	for _, e := range v.epochs {
		if err := e.proof.Verify(v.mapRoots[e.epoch], v.label, e.size, e.root); err != nil {
			v.problem("epochs: the map of epoch %d does not hold this account with %d events", e.epoch, e.size)
			continue
		}
		v.rootsAt[e.size] = append(v.rootsAt[e.size], mustRoot{e.root, fmt.Sprintf("epoch %d", e.epoch)})
	}
	if last := v.epochs[len(v.epochs)-1]; last.epoch != root.Size || last.size != own.Size || last.root != own.Root {
		v.problem("checkpoint: it is not what the last epoch, %d, committed to", root.Size)
	}
}

// earlier sorts the checkpoints seen before: what they promised must still be
// a prefix. Those of the root log are returned by size.
func (v *verification) earlier(rootSize uint64) map[uint64][]tree.Hash {
	roots := make(map[uint64][]tree.Hash)
	for i, data := range v.opt.Earlier {
		if c, n, err := tree.OpenCheckpoint(data, v.key.RootOrigin(), v.rootKeys...); err == nil && n.SignedBy(v.rootKeys[0]) && n.SignedBy(v.rootKeys[1]) {
			if c.Size > rootSize {
				v.problem("earlier checkpoint %d: the root log had %d epochs then and has %d now: it was rolled back", i+1, c.Size, rootSize)
				continue
			}
			roots[c.Size] = append(roots[c.Size], c.Root)
			continue
		}
		c, n, err := tree.OpenCheckpoint(data, v.key.Origin(), v.ownKeys...)
		if err != nil || !n.SignedBy(v.ownKeys[0]) || !n.SignedBy(v.ownKeys[1]) {
			v.problem("earlier checkpoint %d: not a checkpoint of this account's log or of the root log", i+1)
			continue
		}
		v.rootsAt[c.Size] = append(v.rootsAt[c.Size], mustRoot{c.Root, fmt.Sprintf("earlier checkpoint %d", i+1)})
	}
	return roots
}

// rootLog is step 2: the tree is rebuilt from the leaves, epochs are
// consecutive and each names the hash of the one before.
func (v *verification) rootLog(c tree.Checkpoint, earlier map[uint64][]tree.Hash) (whole bool) {
	r := rebuild{v: v, prefix: "root/", size: c.Size}
	var previous tree.Hash
	check := func() {
		for _, want := range earlier[r.tree.Size()] {
			if r.tree.Root() != want {
				v.problem("root log: it is not the one that was signed earlier with %d epochs", r.tree.Size())
			}
		}
	}
	check()
	whole = r.bundles(func(_ tree.Tile, entries [][]byte) {
		for _, entry := range entries {
			epoch := r.tree.Size() + 1
			leaf, err := tree.ParseRootLeaf(entry)
			hash := tree.LeafHash(entry)
			switch {
			case err != nil:
				v.problem("root log: leaf of epoch %d is malformed", epoch)
			case leaf.Epoch != epoch:
				v.problem("root log: leaf %d is of epoch %d", epoch-1, leaf.Epoch)
			case leaf.Previous != previous:
				v.problem("root log: epoch %d does not follow the one before", epoch)
			case leaf.Time < v.rootTime:
				v.problem("root log: epoch %d lies before the one before", epoch)
			}
			if _, ok := v.mapRoots[epoch]; ok {
				v.mapRoots[epoch] = leaf.Map
			}
			previous, v.rootTime = hash, leaf.Time
			r.add(hash)
			check()
		}
	})
	if whole {
		r.finish(c.Root, "root/checkpoint")
	}
	return whole
}

// indexReceipts is step 8, as far as the receipts alone can show it.
func (v *verification) indexReceipts(size uint64) {
	var key ed25519.PublicKey
	for _, k := range v.ownKeys {
		if k.Type == tree.TypeEd25519 {
			key = k.Key
		}
	}
	for i := range v.opt.Receipts {
		r := &v.opt.Receipts[i]
		switch {
		case r.Label != v.label:
			v.problem("receipt %d: of another account", i+1)
		case r.Verify(key) != nil:
			v.problem("receipt %d: not signed by the log", i+1)
		case r.Index >= size:
			v.problem("receipt %d: promised event %d, the log has %d: the receipt is not honoured", i+1, r.Index, size)
		default:
			v.receipts[r.Index] = append(v.receipts[r.Index], receiptRef{r.Leaf, i + 1})
		}
	}
}

// unexpected reports files among those of the log that belong to no tile: an
// added leaf would lie in one.
func (v *verification) unexpected(epochs, events uint64) {
	for t := range tree.Tiles(epochs) {
		v.expected["root/"+t.Path()] = true
	}
	for t := range tree.Tiles(events) {
		v.expected[t.Path()], v.expected[blobName(t)] = true, true
	}
	err := fs.WalkDir(v.fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || v.expected[path] {
			return err
		}
		top, _, inside := strings.Cut(path, "/")
		if inside && (top == "tile" || top == "blobs" || top == "root") {
			v.problem("%s: not part of a log of this size", path)
		}
		return nil
	})
	if err != nil {
		v.problem("the export cannot be listed: %v", err)
	}
}
