package core_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/quorum"
)

// readLog reads the whole log, or goes on where an earlier reader was, and
// returns the reader.
func readLog(t *testing.T, h *hsm, from *message.LogReader) message.LogReader {
	t.Helper()
	_, r := entries(t, h, from)
	return r
}

func entries(t *testing.T, h *hsm, from *message.LogReader) (all []message.LogEntry, r message.LogReader) {
	t.Helper()
	r = message.LogReader{Identity: h.Identity()}
	if from != nil {
		r = *from
	}
	for {
		page := h.must(message.OpCommandLog, nil, message.Params{Length: r.Size + 1}).Record
		some, head, err := r.Next(page)
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, some...); r.Size == head.Size {
			return all, r
		}
	}
}

func TestTheLogTellsWhatWasCommandedAndHowOftenWhatWasAsked(t *testing.T) {
	all := five(t)
	s := newStore()
	h := waiting(t, s)
	h.found(all, 0)
	key, spki, err := link.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	h.obeys(quorum.PlaceHost, quorum.HostArguments{Public: spki, Role: core.RoleHost}, all[0], all[1], all[2])
	if dial(t, h, key) == nil {
		t.Fatal("not let in")
	}
	refused := order(t, h.compose(quorum.RotateDomainKeys, once()), all[0])
	h.submit(refused)
	h.submit([]byte("no command"))
	token := bytes.Clone(h.newKey())
	for range 3 {
		h.must(message.OpEncrypt, token, message.Params{Data: []byte("x")})
	}
	h.doAs(authority, message.OpEncrypt, token, message.Params{Data: []byte("x")})
	h.doAs(authority, message.OpReEncrypt, token, message.Params{})
	h.now = h.now.Add(time.Minute)
	if err := h.KeepLog(); err != nil {
		t.Fatal(err)
	}
	got, reader := entries(t, h, nil)
	var kinds []uint64
	for _, e := range got {
		kinds = append(kinds, e.Kind)
	}
	if want := []uint64{message.LogStart, message.LogCommand, message.LogCommand, message.LogSession, message.LogCommand, message.LogCommand, message.LogCounters}; !slices.Equal(kinds[:len(want)], want) {
		t.Fatalf("kinds %v", kinds)
	}
	created, session, denied, garbage, counters := got[1], got[3], got[4], got[5], got[6]
	if created.Name != quorum.CreateDomain || created.Status != 0 || len(created.Signers) != 5 || created.Serial != 1 || len(created.State) != 48 || len(created.Subject) != 48 {
		t.Errorf("%+v", created)
	}
	if id := link.IDOf(spki); !bytes.Equal(session.Subject, id[:]) {
		t.Errorf("a session of %x", session.Subject)
	}
	if denied.Name != quorum.RotateDomainKeys || denied.Status != link.StatusDenied || len(denied.Signers) != 1 || denied.Signers[0] != all[0].ID {
		t.Errorf("%+v", denied)
	}
	if garbage.Name != "" || garbage.Status != link.StatusBadRequest {
		t.Errorf("%+v", garbage)
	}
	counts := make(map[[2]uint64]uint64)
	for _, c := range counters.Counters {
		counts[[2]uint64{c.Op, c.Status}] = c.N
	}
	for what, n := range map[[2]uint64]uint64{
		{message.OpEncrypt, link.StatusOK}: 3, {message.OpEncrypt, link.StatusDenied}: 1, {message.OpReEncrypt, link.StatusDenied}: 1,
		{message.OpGenerateKey, link.StatusOK}: 1, {message.OpCommand, link.StatusDenied}: 1, {message.OpCommand, link.StatusBadRequest}: 1,
	} {
		if counts[what] != n {
			t.Errorf("operation %d with status %d: %d times, want %d", what[0], what[1], counts[what], n)
		}
	}
	// It goes on after a restart, and whoever has read it goes on too.
	h = mustOpen(t, s)
	h.obeys(quorum.RotateDomainKeys, once(), all[0], all[2])
	more, _ := entries(t, h, &reader)
	if len(more) < 3 || more[0].Number != reader.Size+1 && more[0].Kind != message.LogCounters {
		t.Errorf("%d more entries", len(more))
	}
}

func TestAnEntryCannotBeTakenOutOrChangedUnseen(t *testing.T) {
	all := five(t)
	s := newStore()
	h := waiting(t, s)
	h.found(all, 0)
	for range 5 {
		h.submit([]byte("no command"))
	}
	whole := h.must(message.OpCommandLog, nil, message.Params{}).Record
	fresh := func() *message.LogReader { return &message.LogReader{Identity: h.Identity()} }
	if _, _, err := fresh().Next(whole); err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 1
		if _, _, err := fresh().Next(bad); err == nil {
			t.Fatalf("byte %d of a page was changed unseen", i)
		}
	}
	var p message.LogPage
	if err := p.Parse(whole); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*message.LogPage){
		"an entry is missing":       func(p *message.LogPage) { p.Entries = slices.Delete(p.Entries, 2, 3) },
		"the last entry is missing": func(p *message.LogPage) { p.Entries = p.Entries[:0] },
		"two entries are swapped":   func(p *message.LogPage) { p.Entries[2], p.Entries[3] = p.Entries[3], p.Entries[2] },
		"the beginning is missing":  func(p *message.LogPage) { p.Entries, p.First = p.Entries[2:], 3 },
	} {
		q := p
		q.Entries = slices.Clone(p.Entries)
		change(&q)
		if _, _, err := fresh().Next(q.Append(nil)); err == nil {
			t.Errorf("%s, unseen", name)
		}
	}
	other := waiting(t, newStore())
	if _, _, err := (&message.LogReader{Identity: other.Identity()}).Next(whole); !errors.Is(err, message.ErrLogHead) {
		t.Errorf("the log of another HSM: %v", err)
	}
	// The store is put back to an earlier day, and history goes another way.
	earlier := s.clone()
	h.submit([]byte("what must not be known"))
	reader := readLog(t, h, nil)
	back := mustOpen(t, earlier)
	for range 20 {
		back.submit([]byte("something else"))
	}
	page := back.must(message.OpCommandLog, nil, message.Params{Length: reader.Size + 1}).Record
	if _, _, err := reader.Next(page); !errors.Is(err, message.ErrLogFork) {
		t.Errorf("a fork: %v", err)
	}
	back = mustOpen(t, s.clone())
	shorter := message.LogReader{Identity: h.Identity(), Size: reader.Size + 100}
	page = back.must(message.OpCommandLog, nil, message.Params{Length: shorter.Size + 1}).Record
	if _, _, err := shorter.Next(page); !errors.Is(err, message.ErrLogFork) {
		t.Errorf("a log that became shorter: %v", err)
	}
}

func TestWhatIsNotTheHSMsOwnIsNoPartOfItsLog(t *testing.T) {
	s := newStore()
	h := mustOpen(t, s)
	h.must(message.OpCommandLog, nil, message.Params{})
	for name, change := range map[string]func(*store){
		"a byte changed": func(s *store) { s.files["commands.00"][60] ^= 1 },
		"cut off":        func(s *store) { s.files["commands.00"] = s.files["commands.00"][:40] },
		"another place":  func(s *store) { s.files["commands.05"] = s.files["commands.00"] },
		"another HSM's": func(s *store) {
			foreign := newStore()
			mustOpen(t, foreign)
			s.files["commands.00"] = foreign.files["commands.00"]
		},
	} {
		changed := s.clone()
		for k, v := range changed.files {
			changed.files[k] = bytes.Clone(v)
		}
		change(changed)
		got, _ := entries(t, mustOpen(t, changed), nil)
		if !slices.ContainsFunc(got, func(e message.LogEntry) bool { return e.Kind == message.LogLost }) {
			t.Errorf("%s: the log does not say so", name)
		}
	}
}

func TestTheLogIsBoundedAndItsEndSurvives(t *testing.T) {
	s := newStore()
	h := mustOpen(t, s)
	many := make([][16]byte, 400)
	write := func() {
		if err := h.AddToLog(message.LogEntry{Kind: message.LogCommand, Signers: many}); err != nil {
			t.Fatal(err)
		}
	}
	early := readLog(t, h, nil)
	for range 700 { // of 7 KB each: more than the ring holds
		write()
	}
	size := 0
	for name, b := range maps.All(s.files) {
		if size += len(b); len(b) > 64<<10 {
			t.Errorf("%s has %d bytes", name, len(b))
		}
	}
	if size > 4<<20 {
		t.Errorf("the store holds %d bytes", size)
	}
	got, reader := entries(t, h, nil)
	if got[0].Number == 1 || got[len(got)-1].Number != reader.Size || reader.Size < 700 {
		t.Errorf("entries %d to %d of %d", got[0].Number, got[len(got)-1].Number, reader.Size)
	}
	page := h.must(message.OpCommandLog, nil, message.Params{Length: early.Size + 1}).Record
	if _, _, err := early.Next(page); !errors.Is(err, message.ErrLogGap) {
		t.Errorf("who has read too little: %v", err)
	}
	h = mustOpen(t, s)
	write()
	if more, _ := entries(t, h, &reader); len(more) < 2 {
		t.Errorf("%d entries after a restart", len(more))
	}
}

func TestWhatCannotBeWrittenIntoTheLogIsNotDone(t *testing.T) {
	all := five(t)
	s := newStore()
	h := waiting(t, s)
	h.found(all, 0)
	key, spki, err := link.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	h.obeys(quorum.PlaceHost, quorum.HostArguments{Public: spki, Role: core.RoleHost}, all[0], all[1], all[2])
	before := h.status()
	signed := order(t, h.compose(quorum.RotateDomainKeys, once()), all[0], all[2])
	s.fail = errors.New("no space")
	if _, status := h.submit(signed); status != link.StatusInternal {
		t.Errorf("a command: %d", status)
	}
	if dial(t, h, key) != nil {
		t.Error("a session began")
	}
	if after := h.status(); after.Serial != before.Serial {
		t.Error("the domain changed")
	}
	s.fail = nil
	if _, status := h.submit(signed); status != link.StatusOK {
		t.Errorf("the same command once there is space: %d", status)
	}
}

// The promise of the protocol, for all that a domain does: nothing that leaves
// an HSM, as an answer or into its store, holds a secret in the clear.
func TestNoCommandOutputsKeyMaterial(t *testing.T) {
	all := five(t)
	var answers [][]byte
	stores := []*store{newStore(), newStore(), newStore()}
	var members []*hsm
	for _, s := range stores {
		h := waiting(t, s)
		h.answers = &answers
		members = append(members, h)
	}
	first, second, third := members[0], members[1], members[2]
	var secrets [][]byte
	note := func() {
		for _, m := range members {
			secrets = append(secrets, m.DomainSecrets()...)
		}
	}
	created := first.found(all, 2)
	second.join(all, first)
	note()
	secrets = append(secrets, first.Material(first.newKey()))
	token := bytes.Clone(first.obeys(quorum.RotateDomainKeys, once(), all[0], all[2]).Token)
	first.install(token, all[0], all[2])
	second.install(token, all[0], all[2])
	exported := first.obeys(quorum.ExportDomain, nil, all[0], all[2])
	first.obeys(quorum.ExportAudit, nil, all[0], all[2])
	opened := map[*custodian][]byte{}
	var points []byte
	for _, c := range all[:2] {
		at := slices.IndexFunc(created.Shares, func(s quorum.SealedShare) bool { return s.Operator == c.ID })
		opened[c] = openShare(t, c, first.state().ID, created.Shares[at])
		secrets = append(secrets, opened[c][len(opened[c])-32:])
		points = append(points, opened[c]...)
	}
	if len(points) < 200 {
		t.Fatal("the test does not see the shares")
	}
	if status := third.recover(exported.Token, send(t, third, exported.Token, opened), all[0], all[1], all[2]); status != link.StatusOK {
		t.Fatal(status)
	}
	note()
	for _, m := range members {
		m.must(message.OpCommandLog, nil, message.Params{})
		m.must(message.OpDomainState, nil, message.Params{})
		m.must(message.OpMember, nil, message.Params{})
	}
	for _, s := range stores {
		for name, b := range s.files {
			if name != "seal.key" {
				answers = append(answers, b)
			}
		}
	}
	if len(secrets) < 20 || len(answers) < 30 {
		t.Fatalf("%d secrets, %d answers: the test says nothing", len(secrets), len(answers))
	}
	for _, out := range answers {
		for _, s := range secrets {
			if bytes.Contains(out, s) || bytes.Contains(out, []byte(hex.EncodeToString(s))) || bytes.Contains(out, []byte(base64.StdEncoding.EncodeToString(s)[:40])) {
				t.Fatal("key material was put out")
			}
		}
	}
}
