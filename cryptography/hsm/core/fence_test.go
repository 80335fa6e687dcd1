package core_test

import (
	"bytes"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// named makes a key of its own name.
func (h *hsm) named(name string) []byte {
	h.t.Helper()
	p := newKeyParams()
	p.Name = "arn:aws:kms:us-east-1:111122223333:key/" + name
	return h.must(message.OpGenerateKey, nil, p).Token
}

// raise raises a fence and gives where it is.
func (h *hsm) raise(token []byte, epoch uint64, closed bool) (message.Fence, uint64) {
	h.t.Helper()
	p := message.Params{Epoch: epoch}
	if closed {
		p.Flags = message.FlagClosed
	}
	r, status := h.do(message.OpRaiseFence, token, p)
	var f message.Fence
	if status == link.StatusOK && f.Parse(r.Record) != nil {
		h.t.Fatal("the answer is no fence")
	}
	return f, status
}

func (h *hsm) encrypts(token []byte) uint64 {
	_, status := h.do(message.OpEncrypt, token, message.Params{Data: []byte("x")})
	return status
}

func (h *hsm) current(token []byte, epoch uint64) ([]byte, uint64) {
	r, status := h.do(message.OpRewrapEKT, token, message.Params{Flags: message.FlagCurrent, Epoch: epoch})
	return r.Token, status
}

func TestAClosedKeyRefusesEveryTokenUntilItIsOpened(t *testing.T) {
	s := newStore()
	h := mustOpen(t, s)
	token := h.named("a")
	second := h.must(message.OpGenerateKey, nil, message.Params{Spec: message.SpecSymmetric, Usage: "ENCRYPT_DECRYPT", Origin: "AWS_KMS", Name: "arn:aws:kms:us-east-1:111122223333:key/a"}).Token
	other := h.named("b")
	if f, status := h.raise(token, 1, true); status != link.StatusOK || f != (message.Fence{Epoch: 1, Closed: true}) {
		t.Fatalf("close: %v, %d", f, status)
	}
	check := func(when string) {
		t.Helper()
		for _, tok := range [][]byte{token, second} {
			if status := h.encrypts(tok); status != link.StatusFenced {
				t.Errorf("%s: a token of the closed key: %d", when, status)
			}
		}
		if status := h.encrypts(other); status != link.StatusOK {
			t.Errorf("%s: another key: %d", when, status)
		}
		// What is rewrapped for a rotation of domain keys stays closed.
		if status := h.encrypts(h.must(message.OpRewrapEKT, token, message.Params{}).Token); status != link.StatusFenced {
			t.Errorf("%s: a rewrapped token of the closed key: %d", when, status)
		}
		if _, status := h.current(token, 1); status != link.StatusFenced {
			t.Errorf("%s: a current token of the closed key: %d", when, status)
		}
	}
	check("at once")
	h2, err := open(t, s)
	if err != nil {
		t.Fatal(err)
	}
	h = h2
	check("after a restart")

	if _, status := h.raise(token, 1, false); status != link.StatusFenced {
		t.Errorf("opened by a host that does not know that it is closed: %d", status)
	}
	f, status := h.raise(token, 0, false)
	if status != link.StatusOK || f != (message.Fence{Epoch: 2}) {
		t.Fatalf("open: %v, %d", f, status)
	}
	if status := h.encrypts(token); status != link.StatusFenced {
		t.Errorf("the old token, after the key was opened: %d", status)
	}
	if _, status := h.current(token, 1); status != link.StatusFenced {
		t.Errorf("a host that takes 1 for the epoch: %d", status)
	}
	if _, status := h.current(token, 3); status != link.StatusFenced {
		t.Errorf("a host that takes 3 for the epoch: %d", status)
	}
	for _, tok := range [][]byte{token, second} {
		now, status := h.current(tok, 2)
		if status != link.StatusOK || h.encrypts(now) != link.StatusOK {
			t.Errorf("a token that was brought up to date: %d", status)
		}
	}
}

func TestAFenceOnlyMovesOn(t *testing.T) {
	h := mustOpen(t, newStore())
	token := h.named("a")
	for _, c := range []struct {
		epoch  uint64
		closed bool
		want   message.Fence
		status uint64
	}{
		{2, false, message.Fence{}, link.StatusFenced},                  // skips one: a host cannot use up the epochs
		{1, false, message.Fence{Epoch: 1}, link.StatusOK},              //
		{1, false, message.Fence{Epoch: 1}, link.StatusOK},              // again
		{0, false, message.Fence{Epoch: 2}, link.StatusOK},              // the next
		{1, false, message.Fence{}, link.StatusFenced},                  // back
		{1, true, message.Fence{Epoch: 3, Closed: true}, link.StatusOK}, // whoever closes may know less
		{3, true, message.Fence{Epoch: 3, Closed: true}, link.StatusOK}, // again
		{3, false, message.Fence{}, link.StatusFenced},                  //
		{^uint64(0), false, message.Fence{}, link.StatusFenced},         //
	} {
		f, status := h.raise(token, c.epoch, c.closed)
		if f != c.want || status != c.status {
			t.Errorf("raise(%d, %v) = %v, %d; want %v, %d", c.epoch, c.closed, f, status, c.want, c.status)
		}
	}
	for _, house := range []struct {
		op uint64
		p  message.Params
	}{{message.OpGenerateLogKey, message.Params{Name: "example.org"}}, {message.OpGenerateAuditKey, message.Params{Name: "111122223333"}}} {
		if _, status := h.raise(h.must(house.op, nil, house.p).Token, 1, true); status != link.StatusWrongToken {
			t.Errorf("a key of the house was fenced: %d", status)
		}
	}
}

func TestADestroyedKeyIsNeverOpenedAndTheStatementSaysSo(t *testing.T) {
	s := newStore()
	h := mustOpen(t, s)
	token := h.named("a")
	second := h.must(message.OpGenerateKey, nil, message.Params{Spec: message.SpecSymmetric, Usage: "ENCRYPT_DECRYPT", Origin: "AWS_KMS", Name: "arn:aws:kms:us-east-1:111122223333:key/a"})
	p := message.Params{Epoch: message.FenceForever, Flags: message.FlagClosed}
	p.Data = link.AppendBytes(link.AppendArray(nil, 1), second.Token)
	r := h.must(message.OpRaiseFence, token, p)
	hsk, err := link.ParsePublic(h.Identity())
	if err != nil {
		t.Fatal(err)
	}
	d, err := message.OpenDestruction(r.Proof, hsk)
	if err != nil || d.Key != "arn:aws:kms:us-east-1:111122223333:key/a" || len(d.Materials) != 2 || !bytes.Equal(d.Materials[1], second.Material) ||
		d.Time != uint64(h.now.UnixMilli()) || d.Member != link.IDOf(h.Identity()) {
		t.Errorf("the statement is %+v, %v", d, err)
	}
	for i := range r.Proof {
		bad := bytes.Clone(r.Proof)
		bad[i] ^= 1
		if _, err := message.OpenDestruction(bad, hsk); !errors.Is(err, message.ErrStatement) {
			t.Fatalf("a statement with byte %d changed: %v", i, err)
		}
	}
	_, foreign, err := link.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	var key *ecdsa.PublicKey
	if key, err = link.ParsePublic(foreign); err != nil {
		t.Fatal(err)
	}
	if _, err := message.OpenDestruction(r.Proof, key); err == nil {
		t.Error("another HSM's key verifies the statement")
	}
	again := h.must(message.OpRaiseFence, token, p)
	if _, err := message.OpenDestruction(again.Proof, hsk); err != nil {
		t.Errorf("asked again, because the answer was lost: %v", err)
	}
	h = mustOpen(t, s)
	for _, epoch := range []uint64{0, 1, ^uint64(0)} {
		if _, status := h.raise(token, epoch, false); status != link.StatusFenced {
			t.Errorf("a destroyed key was opened: %d", status)
		}
		if _, status := h.current(token, epoch); status != link.StatusFenced {
			t.Errorf("a destroyed key got a token: %d", status)
		}
	}
	// Nor does a statement cover a token of another key.
	p.Data = link.AppendBytes(link.AppendArray(nil, 1), h.named("b"))
	if _, status := h.do(message.OpRaiseFence, token, p); status != link.StatusWrongToken {
		t.Errorf("a statement about a foreign token: %d", status)
	}
}

func TestNewMaterialOfAKeyHasWhatIsSealedIntoTheKey(t *testing.T) {
	h := mustOpen(t, newStore())
	strict := message.Conditions{Attested: true}
	h.raise(h.named("open"), 1, false)
	h.sealed("strict", strict)
	for what, c := range map[string]struct {
		key        string
		conditions *message.Conditions
		epoch      uint64
		want       uint64
	}{
		"as it is":                       {"open", nil, 1, link.StatusOK},
		"of an earlier epoch":            {"open", nil, 0, link.StatusFenced},
		"of a later one":                 {"open", nil, 2, link.StatusFenced},
		"stricter than the key":          {"open", &strict, 1, link.StatusFenced},
		"as strict as the key":           {"strict", &strict, 1, link.StatusOK},
		"without the conditions":         {"strict", nil, 1, link.StatusFenced},
		"with others":                    {"strict", &message.Conditions{CallerProof: true}, 1, link.StatusFenced},
		"of a key that nobody fenced":    {"new", nil, 0, link.StatusOK},
		"of such a key, with conditions": {"new", &strict, 0, link.StatusFenced},
		"of such a key, with an epoch":   {"new", nil, 1, link.StatusFenced},
	} {
		p := newKeyParams()
		p.Name, p.Epoch = "arn:aws:kms:us-east-1:111122223333:key/"+c.key, c.epoch
		if c.conditions != nil {
			p.Conditions = c.conditions.Append(nil)
		}
		r, status := h.do(message.OpGenerateKey, nil, p)
		if status != c.want {
			t.Errorf("%s: %d, want %d", what, status, c.want)
		}
		if status != link.StatusOK {
			continue
		}
		_, status = h.do(message.OpGenerateDataKey, r.Token, message.Params{Length: 32})
		if want := map[bool]uint64{false: link.StatusOK, true: link.StatusDenied}[c.conditions != nil]; status != want {
			t.Errorf("%s, used: %d, want %d", what, status, want)
		}
	}
}

// What one member sealed another takes over by the token that was made.
func TestAMemberAdoptsWhatAnotherSealed(t *testing.T) {
	s := newStore()
	h := mustOpen(t, s)
	loose := h.named("a")
	bare := newStore()
	for _, name := range []string{"domain.sealed", "seal.key"} {
		bare.files[name] = s.files[name]
	}
	m := mustOpen(t, bare)
	m.raise(loose, 1, true) // closed there, which a token does not say
	h.raise(loose, 1, true)
	token, epoch, status := h.seal(loose, message.Conditions{Attested: true}, 0, nil)
	if status != link.StatusOK || epoch != 2 {
		t.Fatal(status, epoch)
	}
	adopt := func(h *hsm, token []byte) message.Fence {
		var f message.Fence
		if err := f.Parse(h.must(message.OpRaiseFence, token, message.Params{Flags: message.FlagCurrent}).Record); err != nil {
			t.Fatal(err)
		}
		return f
	}
	for _, x := range []*hsm{m, m, h} {
		if f := adopt(x, token); f != (message.Fence{Epoch: 2, Closed: true}) {
			t.Errorf("adopted %v", f)
		}
		if f := adopt(x, loose); f != (message.Fence{Epoch: 2, Closed: true}) {
			t.Errorf("an old token moved the fence to %v", f)
		}
	}
	if f, status := m.raise(token, 0, false); status != link.StatusOK || f.Epoch != 3 {
		t.Errorf("opened: %v, %d", f, status)
	}
	if _, status := m.current(loose, 3); status != link.StatusFenced {
		t.Errorf("a token from before the sealing: %d", status)
	}
}

// Whoever asks when the disk fails is told so, and the key is closed rather
// than open.
func TestAFenceThatCannotBeWrittenStaysRaisedAndIsWrittenLater(t *testing.T) {
	s := newStore()
	h := mustOpen(t, s)
	token := h.named("a")
	s.fail = errors.New("disk")
	if _, status := h.raise(token, 1, true); status != link.StatusInternal {
		t.Fatalf("status %d", status)
	}
	if status := h.encrypts(token); status != link.StatusFenced {
		t.Errorf("the key is open: %d", status)
	}
	if _, status := h.raise(token, 1, true); status != link.StatusInternal {
		t.Errorf("asked again, nothing changes, and it still is not durable: %d", status)
	}
	s.fail = nil
	if _, status := h.raise(token, 1, true); status != link.StatusOK {
		t.Errorf("asked again: %d", status)
	}
	h = mustOpen(t, s)
	if status := h.encrypts(token); status != link.StatusFenced {
		t.Errorf("after a restart the key is open: %d", status)
	}
}

func TestAChangedOrForeignFileOfFencesStopsTheHSM(t *testing.T) {
	s := newStore()
	h := mustOpen(t, s)
	for i := range 8 {
		h.raise(h.named(fmt.Sprint(i)), 1, true)
	}
	var files []string
	for name := range s.files {
		if bytes.HasPrefix([]byte(name), []byte("fences-")) {
			files = append(files, name)
		}
	}
	if len(files) < 2 {
		t.Fatal("the fences lie in one file")
	}
	good := s.files[files[0]]
	for what, bad := range map[string][]byte{"changed": append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1), "cut": good[:20], "another's": s.files[files[1]]} {
		s.files[files[0]] = bad
		if _, err := open(t, s); err == nil {
			t.Errorf("%s: the HSM started", what)
		}
	}
	s.files[files[0]] = good
	if _, err := open(t, s); err != nil {
		t.Error(err)
	}
}

func TestAMemberTakesOverFencesButNoOlderOnes(t *testing.T) {
	s := newStore()
	h := mustOpen(t, s)
	early := make(map[uint64][]byte)
	page := func(h *hsm, shard uint64) []byte {
		return h.must(message.OpFences, nil, message.Params{Length: shard}).Record
	}
	open, shut := h.named("open"), h.named("shut")
	h.raise(open, 1, true)
	for shard := uint64(1); shard <= 64; shard++ {
		early[shard] = page(h, shard)
	}
	h.raise(open, 0, false)
	h.raise(shut, 1, true)
	// A member with the same domain and none of the fences: what a restored or new one is.
	bare := newStore()
	for _, name := range []string{"domain.sealed", "seal.key"} {
		bare.files[name] = s.files[name]
	}
	m := mustOpen(t, bare)
	if status := m.encrypts(shut); status != link.StatusOK {
		t.Fatalf("the test needs a member that does not know: %d", status)
	}
	for shard := uint64(1); shard <= 64; shard++ {
		m.must(message.OpFences, nil, message.Params{Length: shard, Blob: page(h, shard)})
		m.must(message.OpFences, nil, message.Params{Length: shard, Blob: early[shard]})
		bad := bytes.Clone(page(h, shard))
		bad[len(bad)-1] ^= 1
		if _, status := m.do(message.OpFences, nil, message.Params{Length: shard, Blob: bad}); status != link.StatusAuthFailed {
			t.Fatalf("a changed page: %d", status)
		}
		if _, status := m.do(message.OpFences, nil, message.Params{Length: shard%64 + 1, Blob: page(h, shard)}); status != link.StatusAuthFailed {
			t.Fatalf("a page of another shard: %d", status)
		}
	}
	for _, when := range []string{"at once", "after a restart"} {
		if status := m.encrypts(shut); status != link.StatusFenced {
			t.Errorf("%s: a key that is closed elsewhere: %d", when, status)
		}
		now, _ := h.current(open, 2)
		if status := m.encrypts(now); status != link.StatusOK {
			t.Errorf("%s: a key that was opened again: %d", when, status)
		}
		if status := m.encrypts(open); status != link.StatusFenced {
			t.Errorf("%s: its old token: %d", when, status)
		}
		m = mustOpen(t, bare)
	}
}

// Whatever is under way when a key is closed: no answer is a success of a use
// that began after the raise returned.
func TestNoUseSucceedsAfterTheFence(t *testing.T) {
	h := mustOpen(t, newStore())
	for round := range 20 {
		token := h.named(fmt.Sprint("k", round))
		var stopped, done atomic.Bool
		var successes, late atomic.Int64
		var wg sync.WaitGroup
		p := message.Params{Data: []byte("x")}
		request := link.Request{Host: h.supervisor, Op: message.OpEncrypt, Token: token, Params: p.Append(nil)}
		for range 4 {
			wg.Go(func() {
				for !done.Load() {
					after := stopped.Load()
					r := request
					if _, status := h.Handle(&r, nil); status == link.StatusOK {
						successes.Add(1)
						if after {
							late.Add(1)
						}
					}
				}
			})
		}
		for successes.Load() < 50 {
		}
		_, status := h.raise(token, uint64(1), round%2 == 0)
		stopped.Store(true)
		for range 200 {
			if h.encrypts(token) == link.StatusOK {
				late.Add(1)
			}
		}
		done.Store(true)
		wg.Wait()
		if status != link.StatusOK || late.Load() > 0 {
			t.Fatalf("status %d, %d uses succeeded after the fence was up", status, late.Load())
		}
	}
}

func FuzzFences(f *testing.F) {
	f.Add([]byte{})
	f.Add(append(make([]byte, 23), append([]byte{1, 1}, make([]byte, 16)...)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, ok := core.DecodeFences(b); n > 0 && !ok {
			t.Error("fences that are not written as they are read")
		}
	})
}

// Target: 50 µs and one write of a small file, whatever the number of keys.
func BenchmarkRaiseFence(b *testing.B) {
	h := mustOpen(b, newStore())
	for i := range 10_000 {
		h.raise(h.named(fmt.Sprint("other", i)), 1, true)
	}
	token := h.named("a")
	for b.Loop() {
		if _, status := h.raise(token, 0, false); status != link.StatusOK {
			b.Fatal(status)
		}
	}
}
