package core

import "sync"

// cache keeps what was used lately: two generations, of which the older is
// dropped when the younger is full. What is used moves to the younger, so that
// only what rested for a whole generation goes. It needs no list to be kept in
// order, and holds at most twice its limit.
type cache[V any] struct {
	limit int // set once

	mu         sync.Mutex
	young, old map[[32]byte]V // guarded by mu
}

func (c *cache[V]) get(key [32]byte) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok = c.young[key]; ok {
		return v, true
	}
	if v, ok = c.old[key]; ok {
		c.add(key, v)
	}
	return v, ok
}

func (c *cache[V]) put(key [32]byte, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(key, v)
}

func (c *cache[V]) add(key [32]byte, v V) { // c.mu is held
	if c.young == nil || len(c.young) >= c.limit {
		c.old, c.young = c.young, make(map[[32]byte]V)
	}
	c.young[key] = v
}

// len counts entries, some of them twice.
func (c *cache[V]) len() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return uint64(len(c.young) + len(c.old))
}
