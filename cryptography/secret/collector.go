package secret

import "runtime"

// A Collector bounds how long that lives which Do leaves on the heap: it is
// erased when the garbage collector finds it, and that may be long after the
// last operation. The zero value is ready. Its ticks are one goroutine's, one a second (hsm-domain section 1).
type Collector struct{ seen uint64 }

// Tick collects garbage if there were operations since it last did, and says
// whether. operations is how many have ended so far: what one that is under
// way leaves behind is for a later tick. It costs nothing in an idle process,
// and where Do does not erase.
func (c *Collector) Tick(operations uint64) bool {
	if !Erasing || operations == c.seen {
		return false
	}
	c.seen = operations
	runtime.GC()
	return true
}
