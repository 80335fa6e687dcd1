package keys

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"slices"

	"github.com/leadglass/leadglass/state/kv"
)

// page reads the keys of up to limit entries below a prefix of the store, from
// after the marker on. show says whether an entry is to be shown: what memory
// has forgotten already is not.
func (k *Keys) page(ctx context.Context, prefix kv.Key, scope, marker string, limit int, show func(key []byte) bool) (found [][]byte, next string, err error) {
	start, end := prefix.Prefix()
	if marker != "" {
		last, err := openMarker(scope, marker)
		if err != nil {
			return nil, "", err
		}
		start = kv.After(append(prefix[:len(prefix):len(prefix)], last...))
	}
	for {
		es, more, _, err := k.store.Scan(ctx, start, end, limit+1-len(found), 0, true)
		if err != nil {
			return nil, "", fmt.Errorf("keys: list: %w", err)
		}
		for _, en := range es {
			if show(en.Key) {
				found = append(found, en.Key)
			}
			start = kv.After(en.Key)
		}
		if len(found) > limit {
			found = found[:limit]
			return found, makeMarker(scope, string(found[limit-1][len(prefix):])), nil
		}
		if !more {
			return found, "", nil
		}
	}
}

// lastText is the last text component of a key below a prefix.
func lastText(key []byte, prefix kv.Key) string {
	s, _, err := kv.ReadText(key[len(prefix):])
	if err != nil {
		return ""
	}
	return s
}

var errMarker = refuse(InvalidMarker, "Could not deserialize marker")

// A marker is the last place of a page with a checksum over it and the list it
// belongs to. It protects nothing: it lets a mangled marker, or one of another
// list, be told from a good one.
func makeMarker(scope, last string) string {
	sum := sha256.Sum256([]byte("leadglass marker v1\x00" + scope + "\x00" + last))
	return base64.RawURLEncoding.EncodeToString(append(sum[:6:6], last...))
}

func openMarker(scope, marker string) (last string, err error) {
	b, err := base64.RawURLEncoding.DecodeString(marker)
	if err != nil || len(b) < 6 {
		return "", errMarker
	}
	last = string(b[6:])
	if subtle.ConstantTimeCompare([]byte(makeMarker(scope, last)), []byte(marker)) != 1 {
		return "", errMarker
	}
	return last, nil
}

// pageOf is page for sorted names in memory.
func pageOf(names []string, scope, marker string, limit int) (page []string, next string, err error) {
	from := 0
	if marker != "" {
		last, err := openMarker(scope, marker)
		if err != nil {
			return nil, "", err
		}
		var found bool
		if from, found = slices.BinarySearch(names, last); found {
			from++
		}
	}
	page = names[from:min(from+limit, len(names))]
	if from+limit < len(names) {
		next = makeMarker(scope, page[len(page)-1])
	}
	return page, next, nil
}
