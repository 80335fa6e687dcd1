package kvtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/state/kv"
)

// Model runs one random history against two empty stores and compares every
// answer: values, revisions, conflicts, scans, snapshots, and in the end what a
// watcher of everything saw. reopen, if not nil, closes and opens again the
// store that is checked. The clock must be that of both; it moves by less
// than the engines' housekeeping interval, so that revisions stay comparable.
func Model(t *testing.T, seed uint64, steps int, c *clock.Fake, model, checked kv.Store, reopen func(kv.Store) kv.Store) {
	r := rand.New(rand.NewPCG(seed, 1))
	m := &modelRun{t: t, r: r, clock: c, model: model, checked: checked, mods: map[string]kv.Rev{}}
	for i := range steps {
		if m.step = i; reopen != nil && i%500 == 499 {
			m.checked, m.pages = reopen(m.checked), nil
		}
		switch n := r.IntN(10); {
		case n < 6:
			m.commit()
		case n < 8:
			m.get()
		default:
			m.scan()
		}
		if r.IntN(4) == 0 {
			c.Advance(time.Duration(r.IntN(3)) * time.Millisecond)
		}
		if t.Failed() {
			t.Fatalf("seed %d, step %d", seed, i)
		}
	}
	a, rev := dump(t, m.model, 0)
	b, rev2 := dump(t, m.checked, 0)
	if a != b || rev != rev2 {
		t.Errorf("seed %d: the stores differ at the end:\n%s\n(%d) and\n%s\n(%d)", seed, a, rev, b, rev2)
	}
	if a, b := watchAll(t, m.model, rev), watchAll(t, m.checked, rev); a != b {
		t.Errorf("seed %d: the watchers saw\n%s\nand\n%s", seed, a, b)
	}
}

type modelRun struct {
	t              *testing.T
	r              *rand.Rand
	clock          *clock.Fake
	model, checked kv.Store
	step           int
	mods           map[string]kv.Rev // what conditions guess from
	pages          []kv.Rev          // revisions of scans that had more
}

func (m *modelRun) key() string { return strings.Repeat("k", 1+m.r.IntN(3)) + fmt.Sprint(m.r.IntN(12)) }

func (m *modelRun) commit() {
	var conds []kv.Cond
	var ops []kv.Op
	for range m.r.IntN(3) {
		k := m.key()
		c := kv.Cond{Key: []byte(k), Mod: m.mods[k]}
		switch m.r.IntN(6) {
		case 0:
			c.Mod = 0
		case 1:
			c.Not = true
		}
		conds = append(conds, c)
	}
	for range m.r.IntN(5) {
		switch n := m.r.IntN(10); {
		case n < 6:
			o := put(m.key(), fmt.Sprint(m.step))
			if m.r.IntN(4) == 0 {
				o.Expire = m.clock.Now().Add(time.Duration(m.r.IntN(40)) * time.Millisecond)
			}
			ops = append(ops, o)
		case n < 9:
			ops = append(ops, del(m.key()))
		default:
			ops = append(ops, delRange(m.key(), m.key()))
		}
	}
	rev, err := m.model.Commit(m.t.Context(), conds, ops)
	rev2, err2 := m.checked.Commit(m.t.Context(), conds, ops)
	if rev != rev2 || fmt.Sprint(err) != fmt.Sprint(err2) {
		m.t.Errorf("commit %+v %+v: %d, %v and %d, %v", conds, ops, rev, err, rev2, err2)
	}
	if conflict, ok := errors.AsType[*kv.ConflictError](err); ok {
		m.mods[string(conflict.Key)] = conflict.Have
	} else {
		for _, o := range ops {
			m.mods[string(o.Key)] = rev
		}
	}
}

func (m *modelRun) get() {
	k := []byte(m.key())
	a, err := m.model.Get(m.t.Context(), k)
	b, err2 := m.checked.Get(m.t.Context(), k)
	if fmt.Sprintf("%+v %v", a, err) != fmt.Sprintf("%+v %v", b, err2) {
		m.t.Errorf("get %q: %+v, %v and %+v, %v", k, a, err, b, err2)
	}
	m.mods[string(k)] = a.Mod
}

func (m *modelRun) scan() {
	from, to := []byte(m.key()), []byte(m.key())
	if m.r.IntN(2) == 0 {
		from, to = nil, nil
	}
	at, limit := kv.Rev(0), 1+m.r.IntN(20)
	if n := len(m.pages); n > 0 && m.r.IntN(2) == 0 {
		at = m.pages[max(0, n-1-m.r.IntN(10))]
	}
	es, more, rev, err := m.model.Scan(m.t.Context(), from, to, limit, at, false)
	es2, more2, rev2, err2 := m.checked.Scan(m.t.Context(), from, to, limit, at, false)
	if a, b := fmt.Sprintf("%+v %v %d %v", es, more, rev, err), fmt.Sprintf("%+v %v %d %v", es2, more2, rev2, err2); a != b {
		m.t.Errorf("scan [%q, %q) at %d: %s and %s", from, to, at, a, b)
	}
	if more {
		m.pages = append(m.pages, rev)
	}
}

// watchAll is the whole history up to rev as a watcher sees it.
func watchAll(t *testing.T, s kv.Store, rev kv.Rev) string {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if rev > 0 {
		// A last commit ends the stream, whatever the ones before it touched.
		if _, err := s.Commit(ctx, nil, []kv.Op{put("end", "")}); err != nil {
			t.Fatal(err)
		}
	}
	ch, err := s.Watch(ctx, nil, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for batch := range ch {
		if batch.Progress {
			continue
		}
		fmt.Fprintf(&b, "%+v\n", batch)
		if batch.Rev > rev {
			return b.String()
		}
	}
	t.Fatal("the watch ended early")
	return ""
}
