package directory

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"sort"
	"strings"
)

// pageOf cuts one page out of n items in order. key is the unique sort key of
// item i; wanted, if not nil, leaves items out.
func pageOf[T any](list List, n int, key func(i int) string, item func(i int) (T, bool)) (Page[T], error) {
	limit := list.MaxItems
	if limit == 0 {
		limit = 100
	}
	if limit < 1 || limit > 1000 {
		return Page[T]{}, refuse(ValidationError, "1 validation error detected: Value '%d' at 'maxItems' failed to satisfy constraint: Member must have value between 1 and 1000", list.MaxItems)
	}
	start := 0
	if list.Marker != "" {
		var ok bool
		if start, ok = seek(list.Marker, n, key); !ok {
			return Page[T]{}, refuse(ValidationError, "Invalid Marker.")
		}
	}
	var page Page[T]
	last := ""
	for i := start; i < n; i++ {
		it, ok := item(i)
		if !ok {
			continue
		}
		if len(page.Items) == limit {
			page.Marker = markerOf(last)
			break
		}
		page.Items = append(page.Items, it)
		last = key(i)
	}
	return page, nil
}

// maxMarked is the longest sort key that stands in a marker itself: IAM's model
// takes markers of up to 320 characters.
const maxMarked = 200

// markMark begins what a marker says, so that a text that merely decodes is no
// place in a listing: its page would leave out what is before it.
const markMark = "after:"

// markerOf says where a page ended. Keys that are too long (of tags) are named
// by their hash.
func markerOf(key string) string {
	if len(key) > maxMarked {
		h := sha256.Sum256([]byte(key))
		return "~" + hex.EncodeToString(h[:])
	}
	return base64.RawURLEncoding.EncodeToString([]byte(markMark + key))
}

// seek finds the first of n items behind a marker.
func seek(marker string, n int, key func(i int) string) (start int, ok bool) {
	if strings.HasPrefix(marker, "~") {
		for i := range n {
			if k := key(i); len(k) > maxMarked && markerOf(k) == marker {
				return i + 1, true
			}
		}
		return 0, false // it was deleted meanwhile, and its place is not known
	}
	text, err := base64.RawURLEncoding.DecodeString(marker)
	after, ok := strings.CutPrefix(string(text), markMark)
	if err != nil || !ok {
		return 0, false
	}
	return sort.Search(n, func(i int) bool { return key(i) > after }), true
}

// checkPrefix returns the path prefix to be compared.
func checkPrefix(prefix string) (string, error) {
	if prefix == "" {
		return "/", nil
	}
	if len(prefix) > maxPath || prefix[0] != '/' || strings.ContainsFunc(prefix, func(c rune) bool { return c < 0x21 || c > 0x7e }) {
		return "", refuse(ValidationError, "The specified value for pathPrefix is invalid. It must begin with / and contain only alphanumeric characters and/or / characters.")
	}
	return prefix, nil
}

// pageOfNames is pageOf for a short list that is not in order yet.
func pageOfNames[T any](list List, items []T, name func(T) string) (Page[T], error) {
	sorted := slices.Clone(items)
	slices.SortFunc(sorted, func(a, b T) int { return strings.Compare(name(a), name(b)) })
	return pageOf(list, len(sorted), func(i int) string { return name(sorted[i]) }, func(i int) (T, bool) { return sorted[i], true })
}
