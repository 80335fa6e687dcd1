package directory

import (
	"encoding/base64"
	"slices"
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
		after, err := base64.RawURLEncoding.DecodeString(list.Marker)
		if err != nil {
			return Page[T]{}, refuse(ValidationError, "Invalid Marker.")
		}
		for start < n && key(start) <= string(after) {
			start++
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
			page.Marker = base64.RawURLEncoding.EncodeToString([]byte(last))
			break
		}
		page.Items = append(page.Items, it)
		last = key(i)
	}
	return page, nil
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
