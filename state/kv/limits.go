package kv

import "fmt"

// MaxDeleted is how many keys the range deletes of one commit may meet:
// every deleted key is an event for watchers. Beyond it: ErrTooLarge.
const MaxDeleted = 10000

// MaxPage is how many bytes of keys and values one Scan returns at most; a
// page that would be larger ends early, with more set.
const MaxPage = 16 << 20

// CheckCommit holds a commit against the limits. Engines call it before
// anything else, so that a refused commit has touched nothing.
func CheckCommit(conds []Cond, ops []Op) error {
	if len(conds)+len(ops) > MaxOps {
		return fmt.Errorf("%w: %d conditions and operations", ErrTooLarge, len(conds)+len(ops))
	}
	size := 0
	for _, c := range conds {
		if err := checkKey(c.Key); err != nil {
			return err
		}
		size += len(c.Key)
	}
	for _, o := range ops {
		if err := checkKey(o.Key); err != nil {
			return err
		}
		if len(o.EndKey) > MaxKey {
			return fmt.Errorf("%w: end key of %d bytes", ErrTooLarge, len(o.EndKey))
		}
		if len(o.Value) > MaxValue {
			return fmt.Errorf("%w: value of %d bytes", ErrTooLarge, len(o.Value))
		}
		size += len(o.Key) + len(o.EndKey) + len(o.Value)
	}
	if size > MaxCommit {
		return fmt.Errorf("%w: commit of %d bytes", ErrTooLarge, size)
	}
	return nil
}

func checkKey(k []byte) error {
	if len(k) == 0 || len(k) > MaxKey {
		return fmt.Errorf("%w: key of %d bytes", ErrTooLarge, len(k))
	}
	return nil
}

// PageLimit is the number of entries that a Scan asked for limit returns at most.
func PageLimit(limit int) int {
	if limit <= 0 || limit > MaxScan {
		return MaxScan
	}
	return limit
}
