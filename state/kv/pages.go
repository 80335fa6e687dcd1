package kv

import (
	"context"
	"iter"
)

// Pages gives every entry under a prefix, as of one revision, in pages of at
// most size entries (up to MaxScan). After an error it ends.
func Pages(ctx context.Context, s Store, prefix Key, size int) iter.Seq2[[]Entry, error] {
	return func(yield func([]Entry, error) bool) {
		start, end := prefix.Prefix()
		var at Rev
		for {
			entries, more, rev, err := s.Scan(ctx, start, end, size, at, false)
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(entries, nil) || !more || len(entries) == 0 {
				return
			}
			at, start = rev, After(entries[len(entries)-1].Key)
		}
	}
}
