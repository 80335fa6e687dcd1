package audit_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/evidence/log/logtest"
	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/evidence/tree"
	"github.com/leadglass/leadglass/verify/audit"
)

func TestChangedBytesOfALargeExportAreFound(t *testing.T) {
	files, key, _, _ := exported(t, 600)
	rnd := rand.New(rand.NewPCG(5, 6))
	for name, data := range files {
		for range 2 {
			i, bit := rnd.IntN(len(data)), byte(1)<<rnd.IntN(8)
			data[i] ^= bit
			if r := verify(t, files, key, audit.Options{}); r.OK {
				t.Errorf("%s: a change of byte %d was not found", name, i)
			}
			data[i] ^= bit
		}
	}
	if r := verify(t, files, key, audit.Options{}); !r.OK {
		t.Fatalf("the bytes were not put back: %+v", r)
	}
}

// split takes the entries and blobs of a small export apart.
func split(t *testing.T, files map[string][]byte) (bundle, blobs string, entries, parts [][]byte) {
	t.Helper()
	for name := range files {
		if strings.HasPrefix(name, "tile/entries/000") {
			bundle = name
		}
		if strings.HasPrefix(name, "blobs/000") {
			blobs = name
		}
	}
	entries, err := tree.ParseEntries(files[bundle])
	if err != nil {
		t.Fatal(err)
	}
	for b := files[blobs]; len(b) > 0; {
		n := 4 + binary.BigEndian.Uint32(b)
		parts, b = append(parts, b[:n]), b[n:]
	}
	return bundle, blobs, entries, parts
}

// joined is the export with other entries and blobs, its tiles made anew, as
// somebody without the log's keys would do it.
func joined(files map[string][]byte, bundle, blobs string, entries, parts [][]byte) map[string][]byte {
	out := maps.Clone(files)
	delete(out, bundle)
	delete(out, blobs)
	for name := range out {
		if strings.HasPrefix(name, "tile/0/") {
			delete(out, name)
		}
	}
	t := tree.Tile{L: tree.Entries, W: len(entries)}
	var es, hs []byte
	for _, e := range entries {
		es = tree.AppendEntry(es, e)
		h := tree.LeafHash(e)
		hs = append(hs, h[:]...)
	}
	out[t.Path()] = es
	out["blobs/"+strings.TrimPrefix(t.Path(), "tile/entries/")] = bytes.Join(parts, nil)
	t.L = 0
	out[t.Path()] = hs
	return out
}

func TestRemovedReorderedAndAddedLeavesAreFound(t *testing.T) {
	files, key, _, _ := exported(t, 6)
	bundle, blobs, entries, parts := split(t, files)
	if r := verify(t, joined(files, bundle, blobs, entries, parts), key, audit.Options{}); !r.OK {
		t.Fatalf("put together unchanged: %+v", r)
	}
	without := func(list [][]byte, i int) [][]byte {
		return append(append([][]byte(nil), list[:i]...), list[i+1:]...)
	}
	swapped := func(list [][]byte, i, j int) [][]byte {
		c := append([][]byte(nil), list...)
		c[i], c[j] = c[j], c[i]
		return c
	}
	for name, c := range map[string]struct{ entries, parts [][]byte }{
		"the last removed":     {entries[:6], parts[:6]},
		"one removed":          {without(entries, 3), without(parts, 3)},
		"two exchanged":        {swapped(entries, 2, 4), swapped(parts, 2, 4)},
		"blobs exchanged":      {entries, swapped(parts, 2, 4)},
		"one added":            {append(append([][]byte(nil), entries...), entries[6]), append(append([][]byte(nil), parts...), parts[6])},
		"one put in":           {append(append([][]byte(nil), entries[:3]...), entries[2:]...), append(append([][]byte(nil), parts[:3]...), parts[2:]...)},
		"one repeated instead": {append(append([][]byte(nil), entries[:6]...), entries[5]), append(append([][]byte(nil), parts[:6]...), parts[5])},
	} {
		if r := verify(t, joined(files, bundle, blobs, c.entries, c.parts), key, audit.Options{}); r.OK || len(r.Problems)+len(r.Missing) == 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	added := maps.Clone(files)
	added["tile/entries/000.p/8"] = tree.AppendEntry(files[bundle], entries[6])
	if r := verify(t, added, key, audit.Options{}); r.OK {
		t.Error("a larger bundle beside the right one is not noticed")
	}
}

func TestEveryMissingFileIsNamed(t *testing.T) {
	files, key, _, _ := exported(t, 300)
	for name := range files {
		cut := maps.Clone(files)
		delete(cut, name)
		r := verify(t, cut, key, audit.Options{})
		if r.OK || len(r.Missing) == 0 || r.Missing[0] != name {
			t.Errorf("without %s: missing %v", name, r.Missing)
		}
		if len(r.Problems) > 0 {
			t.Errorf("without %s it is said to be wrong, not incomplete: %v", name, r.Problems)
		}
	}
	if r := verify(t, nil, key, audit.Options{}); r.OK || len(r.Missing) == 0 {
		t.Errorf("an empty folder: %+v", r)
	}
}

func TestARolledBackExportIsFound(t *testing.T) {
	before, _, _, l := exported(t, 4)
	receipt := logtest.Append(t, l, logtest.Event(alice, time.Now()))
	after := logtest.Files(t, l, alice)
	key := accountKey(t, l, alice)
	if r := verify(t, before, key, audit.Options{}); !r.OK {
		t.Fatalf("the earlier export alone: %+v", r)
	}
	if r := verify(t, after, key, audit.Options{Receipts: []tree.Receipt{receipt}, Earlier: [][]byte{before["checkpoint"], before["root/checkpoint"], after["checkpoint"]}}); !r.OK {
		t.Fatalf("the later export: %+v", r)
	}
	for name, opt := range map[string]audit.Options{
		"a later receipt":                   {Receipts: []tree.Receipt{receipt}},
		"a later checkpoint of the account": {Earlier: [][]byte{after["checkpoint"]}},
		"a later checkpoint of the root":    {Earlier: [][]byte{after["root/checkpoint"]}},
		"something else as a checkpoint":    {Earlier: [][]byte{[]byte("x")}},
	} {
		if r := verify(t, before, key, opt); r.OK {
			t.Errorf("%s: the roll-back is not found", name)
		}
	}
}

// The operator of this test has even the log's keys, and shows an account
// another log than before.
func TestAForkIsFoundByWhoKeptReceiptsOrCheckpoints(t *testing.T) {
	fork := func() (map[string][]byte, audit.AccountKey, []log.Receipt) {
		files, key, receipts, _ := exported(t, 3)
		return files, key, receipts
	}
	files, key, receipts := fork()
	other, otherKey, _ := fork()
	// Both logs are valid in themselves, with the same signing keys. The salt
	// differs between the two, which the account notices at once...
	if r := verify(t, other, otherKey, audit.Options{}); !r.OK {
		t.Fatalf("%+v", r)
	}
	if r := verify(t, other, key, audit.Options{}); r.OK {
		t.Error("another log is accepted as one's own")
	}
	// ...and with what was promised before, also the rest.
	for name, opt := range map[string]audit.Options{
		"receipts":         {Receipts: receipts},
		"checkpoint":       {Earlier: [][]byte{files["checkpoint"]}},
		"root checkpoint":  {Earlier: [][]byte{files["root/checkpoint"]}},
		"others' receipts": {Receipts: []tree.Receipt{{Label: [32]byte{1}}}},
	} {
		if r := verify(t, other, otherKey, opt); r.OK {
			t.Errorf("%s: the fork is not found", name)
		}
	}
}

func TestAnEventThatContradictsItsLeafIsFound(t *testing.T) {
	now := time.Now()
	for name, e := range map[string]log.Event{
		"another time": logtest.Event(alice, now, func(r *record.Record) { r.EventTime = now.Add(-time.Hour) }),
		"another account": func() log.Event {
			e := logtest.Event(bob, now)
			e.Account = alice
			return e
		}(),
		"another id": func() log.Event {
			e := logtest.Event(alice, now)
			e.ID = id.UUID()
			return e
		}(),
		"a failure that is not flagged": func() log.Event {
			e := logtest.Event(alice, now, func(r *record.Record) { r.ErrorCode = "AccessDenied" })
			e.Flags = 0
			return e
		}(),
		"a data event that is not flagged": func() log.Event {
			e := logtest.Event(alice, now, func(r *record.Record) { r.ManagementEvent = false })
			e.Flags = 0
			return e
		}(),
		"no JSON":          {Account: alice, ID: id.UUID(), Time: now, JSON: []byte("{")},
		"an empty record":  {Account: alice, ID: id.UUID(), Time: now, JSON: []byte("{}")},
		"a missing parent": logtest.Event(alice, now, func(r *record.Record) { r.Leadglass = &record.Extension{ParentEventID: id.UUID()} }),
	} {
		l := logtest.Open(t, logtest.Config(t, t.TempDir(), clock.System), alice)
		if name == "another time" {
			e.Time = now
		}
		logtest.Append(t, l, e)
		if r := verify(t, logtest.Files(t, l, alice), accountKey(t, l, alice), audit.Options{}); r.OK || len(r.Problems) != 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestAParentMayFollowWhatItCaused(t *testing.T) {
	l := logtest.Open(t, logtest.Config(t, t.TempDir(), clock.System), alice)
	now := time.Now()
	parent := logtest.Event(alice, now)
	logtest.Append(t, l, logtest.Event(alice, now, func(r *record.Record) { r.Leadglass = &record.Extension{ParentEventID: parent.ID} }))
	logtest.Append(t, l, parent)
	logtest.Append(t, l, logtest.Event(alice, now, func(r *record.Record) {
		r.Leadglass, r.SharedEventID = &record.Extension{ParentEventID: id.UUID()}, id.UUID()
	}))
	if r := verify(t, logtest.Files(t, l, alice), accountKey(t, l, alice), audit.Options{}); !r.OK {
		t.Errorf("%+v", r)
	}
}

func TestABlobMayBeGoneOnlyWithATombstone(t *testing.T) {
	for _, tombstone := range []bool{false, true} {
		l := logtest.Open(t, logtest.Config(t, t.TempDir(), clock.System), alice)
		gone := logtest.Event(alice, time.Now())
		logtest.Append(t, l, gone)
		logtest.Append(t, l, logtest.Event(alice, time.Now()))
		if tombstone {
			e := logtest.Event(alice, time.Now(), func(r *record.Record) { r.EventID, r.EventName = gone.ID, "DeleteAuditEvent" })
			e.Kind = record.Tombstone
			logtest.Append(t, l, e)
		}
		files := logtest.Files(t, l, alice)
		bundle, blobs, entries, parts := split(t, files)
		parts[1] = make([]byte, 4)
		r := verify(t, joined(files, bundle, blobs, entries, parts), accountKey(t, l, alice), audit.Options{})
		if r.OK != tombstone || len(r.Problems) > 0 || !tombstone && len(r.Missing) != 1 {
			t.Errorf("tombstone %v: %+v", tombstone, r)
		}
	}
}

func TestReadingCanBeEndedByTheReader(t *testing.T) {
	files, key, _, _ := exported(t, 3)
	enough := errors.New("enough")
	if _, err := audit.Verify(mapFS(files), key, audit.Options{Each: func(audit.Event) error { return enough }}); !errors.Is(err, enough) {
		t.Error(err)
	}
}

func TestAKeyFileWithoutBothKeysOfBothLogsIsRefused(t *testing.T) {
	files, key, _, _ := exported(t, 1)
	for i := range key.Logs {
		k := key
		k.Logs = append(append([]string(nil), key.Logs[:i]...), key.Logs[i+1:]...)
		if _, err := audit.Verify(mapFS(files), k, audit.Options{}); !errors.Is(err, audit.ErrKey) {
			t.Errorf("without key %d: %v", i, err)
		}
	}
	k := key
	k.Keys = k.Keys[:0:0]
	k.Keys = append(k.Keys, record.DataKey{ID: strings.Repeat("00", 16), Key: make([]byte, 32)})
	if r := verify(t, files, k, audit.Options{}); r.OK || len(r.Missing) == 0 {
		t.Errorf("without the right data key: %+v", r)
	}
}

func TestTheWitnessesQuorumIsDemanded(t *testing.T) {
	files, key, _, _ := exported(t, 1)
	var lines []string
	witness := func(n byte) *tree.Verifier {
		seed := sha256.Sum256([]byte{n})
		sk := ed25519.NewKeyFromSeed(seed[:])
		v, err := tree.NewVerifier("witness.example/"+string('a'+rune(n)), tree.TypeCosignature, sk.Public().(ed25519.PublicKey))
		if err != nil {
			t.Fatal(err)
		}
		text, _, _ := bytes.Cut(files["root/checkpoint"], []byte("\n\n"))
		m, err := v.Message(append(text, '\n'), 1800000000)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, v.Line(1800000000, ed25519.Sign(sk, m)))
		return v
	}
	w := []*tree.Verifier{witness(0), witness(1), witness(2)}
	policy, err := audit.ParsePolicy([]byte("# two of three\nwitness a " + w[0].String() + " https://a.example/\nwitness b " + w[1].String() +
		"\nwitness c " + w[2].String() + "\ngroup w 2 a b c\nquorum w\n"))
	if err != nil {
		t.Fatal(err)
	}
	cosigned := func(n ...int) map[string][]byte {
		c := maps.Clone(files)
		for _, i := range n {
			c["root/checkpoint"] = append(bytes.Clone(c["root/checkpoint"]), lines[i]...)
		}
		return c
	}
	for want, list := range map[bool][][]int{false: {{}, {0}, {2}}, true: {{0, 1}, {1, 2}, {0, 1, 2}}} {
		for _, n := range list {
			if r := verify(t, cosigned(n...), key, audit.Options{Policy: policy}); r.OK != want {
				t.Errorf("cosigned by %v: %+v", n, r)
			}
			if r := verify(t, cosigned(n...), key, audit.Options{}); !r.OK {
				t.Errorf("without a policy, cosigned by %v: %+v", n, r)
			}
		}
	}
	none, err := audit.ParsePolicy([]byte("log " + key.Logs[0] + "\nquorum none\n"))
	if err != nil {
		t.Fatal(err)
	}
	if r := verify(t, files, key, audit.Options{Policy: none}); !r.OK {
		t.Errorf("%+v", r)
	}
	v := w[0].String()
	for name, text := range map[string]string{
		"no quorum":              "witness a " + v,
		"two quorums":            "witness a " + v + "\nquorum a\nquorum a",
		"an unknown quorum":      "quorum x",
		"an unknown member":      "group g any a\nquorum g",
		"a threshold too high":   "witness a " + v + "\ngroup g 2 a\nquorum g",
		"a threshold of nothing": "witness a " + v + "\ngroup g 0 a\nquorum g",
		"a member twice":         "witness a " + v + "\ngroup g 2 a a\nquorum g",
		"a name twice":           "witness a " + v + "\nwitness a " + v + "\nquorum a",
		"a log as witness":       "witness a " + key.Logs[0] + "\nquorum a",
		"another word":           "witnesses a " + v,
	} {
		if _, err := audit.ParsePolicy([]byte(text)); !errors.Is(err, audit.ErrPolicy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	l := logtest.Open(f, logtest.Config(f, f.TempDir(), clock.System), alice)
	if _, err := l.Append(context.Background(), logtest.Event(alice, time.Now())); err != nil {
		f.Fatal(err)
	}
	files, key := logtest.Files(f, l, alice), accountKey(f, l, alice)
	for _, name := range []string{"epochs", "checkpoint", "blobs/000.p/2", "tile/entries/000.p/2"} {
		f.Add(name, files[name])
	}
	f.Add("policy", []byte("group g 1 a\nquorum none"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		_, _ = audit.ParsePolicy(data)
		old, ok := files[name]
		if !ok || bytes.Equal(old, data) {
			return
		}
		changed := maps.Clone(files)
		changed[name] = data
		if r := verify(t, changed, key, audit.Options{}); r.OK {
			// Signature lines of strangers are ignored, as they must be.
			if !strings.HasSuffix(name, "checkpoint") {
				t.Errorf("%s changed is accepted", name)
			}
		}
	})
}
