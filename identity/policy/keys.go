package policy

import (
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"
	"unique"
)

// Keys are the condition keys of a request: names without regard to case, each
// with one value or several. The zero value is empty and ready. Reset keeps the
// memory for the next request, so a pooled Keys costs no allocation.
//
// A Keys is filled by one goroutine; after that any number may read it. A copy
// shares memory with its origin: fill before copying, and do not Reset while a
// copy is in use.
type Keys struct {
	entries []entry
	values  []string
	table   []uint32 // open addressing over entries; 0 is free, else index+1
}

type entry struct {
	hash     uint64
	name     string
	off, n   int  // values[off:off+n]
	deadlock bool // a tag that was set in two spellings, or a value that proves nothing: no operator of an Allow is satisfied, every one of a Deny is
}

// Set replaces the values of a key; no values removes it (a key without values
// counts as absent). Setting one key in two spellings is what a caller with tags
// Team and team causes: the values then stand side by side, and of a tag key
// no operator is satisfied (§3: neither matches).
func (k *Keys) Set(name string, values ...string) { k.put(name, values, false) }

// Add appends values to a key.
func (k *Keys) Add(name string, values ...string) { k.put(name, values, true) }

// SetUnproven sets a key whose value is known and proves nothing, such as a
// register of an enclave in which nothing was measured: no condition on it lets
// an Allow apply, whatever its operator and values, and each lets a Deny apply.
func (k *Keys) SetUnproven(name, value string) {
	k.put(name, []string{value}, false)
	k.find(fold(name), name).deadlock = true
}

func (k *Keys) put(name string, values []string, keep bool) {
	h := fold(name)
	e := k.find(h, name)
	if e == nil {
		k.insert(entry{hash: h, name: name, off: len(k.values), n: len(values)})
		k.values = append(k.values, values...)
		return
	}
	if e.name != name && e.n > 0 {
		keep = true
		e.deadlock = isTag(name)
	}
	if !keep && len(values) <= e.n {
		e.n = copy(k.values[e.off:], values)
		e.deadlock = false
		return
	}
	// The grown list moves to the end, so that no other key's values shift.
	off := len(k.values)
	if keep {
		k.values = append(k.values, k.values[e.off:e.off+e.n]...)
	}
	k.values = append(k.values, values...)
	e.off, e.n = off, len(k.values)-off
}

// Get gives the values of a key.
func (k *Keys) Get(name string) ([]string, bool) {
	e := k.find(fold(name), name)
	if e == nil || e.n == 0 {
		return nil, false
	}
	return k.of(e), true
}

func (k *Keys) of(e *entry) []string { return k.values[e.off : e.off+e.n : e.off+e.n] }

// All gives every key that has a value, in the order they were first set.
func (k *Keys) All() iter.Seq2[string, []string] {
	return func(yield func(string, []string) bool) {
		for i := range k.entries {
			e := &k.entries[i]
			if e.n > 0 && !yield(e.name, k.of(e)) {
				return
			}
		}
	}
}

// Len is the number of keys that have been set.
func (k *Keys) Len() int { return len(k.entries) }

// Reset empties the keys and keeps their memory.
func (k *Keys) Reset() {
	clear(k.entries)
	clear(k.values)
	clear(k.table)
	k.entries, k.values = k.entries[:0], k.values[:0]
}

func (k *Keys) find(h uint64, name string) *entry {
	if len(k.entries) == 0 {
		return nil
	}
	mask := uint64(len(k.table) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		at := k.table[i]
		if at == 0 {
			return nil
		}
		if e := &k.entries[at-1]; e.hash == h && (e.name == name || strings.EqualFold(e.name, name)) {
			return e
		}
	}
}

func (k *Keys) insert(e entry) {
	if 2*(len(k.entries)+1) > len(k.table) {
		k.table = make([]uint32, max(64, 2*len(k.table)))
		for i := range k.entries {
			k.place(k.entries[i].hash, i)
		}
	}
	k.entries = append(k.entries, e)
	k.place(e.hash, len(k.entries)-1)
}

func (k *Keys) place(h uint64, at int) {
	mask := uint64(len(k.table) - 1)
	i := h & mask
	for k.table[i] != 0 {
		i = (i + 1) & mask
	}
	k.table[i] = uint32(at + 1)
}

// isTag says whether a key's second half is the name of a tag: aws:PrincipalTag/x.
func isTag(name string) bool {
	kind, _, ok := strings.Cut(name, "/")
	return ok && len(kind) >= 3 && strings.EqualFold(kind[len(kind)-3:], "tag")
}

// A keyRef is a key's name as a document holds it, hashed once. Equal names of all
// documents have one handle, so that a question knows again what it has looked up.
type keyRef struct {
	handle unique.Handle[string]
	hash   uint64
	name   string
}

func refer(name string) keyRef {
	h := unique.Make(name)
	return keyRef{h, fold(name), h.Value()}
}

// fold hashes a name so that names equal under simple case folding hash
// alike. It is no defence: a table that an attacker fills with colliding names
// still answers rightly, and the number of tags in a request is bounded.
func fold(s string) uint64 {
	const (
		lower = 0x2020202020202020
		mul   = 0x9E3779B97F4A7C15
		high  = 0x8080808080808080
	)
	h, seen := uint64(len(s))*mul, uint64(0)
	i := 0
	for ; i+8 <= len(s); i += 8 {
		w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		seen |= w
		h = (h ^ w | lower) * mul
		h ^= h >> 29
	}
	var w uint64
	for ; i < len(s); i++ {
		w = w<<8 | uint64(s[i])
	}
	seen |= w
	h = (h ^ (w | lower)) * mul
	if seen&high != 0 {
		return foldRunes(s)
	}
	return h ^ h>>32
}

// foldRunes hashes names outside of ASCII by the smallest rune of each folding
// orbit, which for a name that folds to ASCII is the ASCII name itself.
func foldRunes(s string) uint64 {
	b := make([]byte, 0, 64)
	for _, r := range s {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		b = utf8.AppendRune(b, least)
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			h := uint64(14695981039346656037)
			for _, c := range b {
				h = (h ^ uint64(c)) * 1099511628211
			}
			return h ^ h>>32
		}
	}
	return fold(string(b))
}
