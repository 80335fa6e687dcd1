package sessions

import (
	"maps"
	"slices"
	"strings"

	"github.com/leadglass/leadglass/identity/directory"
)

// A Tag is a key with a value.
type Tag = directory.Tag

// sortedTags turns a token's tags into a list.
func sortedTags(m map[string]string) []directory.Tag {
	var tags []directory.Tag
	for _, k := range slices.Sorted(maps.Keys(m)) {
		tags = append(tags, directory.Tag{Key: k, Value: m[k]})
	}
	return tags
}

// overlay puts session tags over role tags of the same key, without regard to case.
func overlay(role, session []directory.Tag) []directory.Tag {
	if len(session) == 0 {
		return role
	}
	var out []directory.Tag
	for _, t := range role {
		if find(session, t.Key) < 0 {
			out = append(out, t)
		}
	}
	return append(out, session...)
}

func find(tags []directory.Tag, key string) int {
	return slices.IndexFunc(tags, func(t directory.Tag) bool { return strings.EqualFold(t.Key, key) })
}

func contains(keys []string, key string) bool {
	return slices.ContainsFunc(keys, func(k string) bool { return strings.EqualFold(k, key) })
}
