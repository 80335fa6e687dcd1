package keys

import (
	"context"
	"slices"
	"strings"

	"github.com/leadglass/leadglass/state/kv"
)

var errReserved = refuse(Tagging, "Tags beginning with aws: are reserved")

// checkTags refuses a list of tags that no key may have.
func checkTags(tags []Tag) error {
	seen := make(map[string]bool, len(tags))
	for _, t := range tags {
		if seen[t.Key] {
			return refuse(Tagging, "Duplicate tag keys")
		}
		seen[t.Key] = true
		if reserved(t.Key) {
			return errReserved
		}
	}
	if len(tags) > MaxTags {
		return refuse(Tagging, "Too many tags")
	}
	return nil
}

// reserved ignores case, so that nobody can dress a tag up as one of the system's.
func reserved(key string) bool { return len(key) >= 4 && strings.EqualFold(key[:4], "aws:") }

// Tag adds tags and replaces the values of those that are there.
func (k *Keys) Tag(ctx context.Context, key *Key, tags []Tag) error {
	if err := key.State.Permits("TagResource", key.ARN); err != nil {
		return err
	}
	if err := checkTags(tags); err != nil {
		return err
	}
	_, err := k.change(ctx, key.entry, func(next *Key) ([]kv.Op, error) {
		if err := next.State.Permits("TagResource", next.ARN); err != nil {
			return nil, err
		}
		all := slices.Clone(next.Tags)
		for _, t := range tags {
			if i := slices.IndexFunc(all, func(o Tag) bool { return o.Key == t.Key }); i >= 0 {
				all[i].Value = t.Value
			} else {
				all = append(all, t)
			}
		}
		if len(all) > MaxTags {
			return nil, refuse(Tagging, "Too many tags")
		}
		next.Tags = sortTags(all)
		return nil, nil
	})
	return err
}

// Untag removes tags. Names that the key does not have are no error.
func (k *Keys) Untag(ctx context.Context, key *Key, names []string) error {
	if err := key.State.Permits("UntagResource", key.ARN); err != nil {
		return err
	}
	if slices.ContainsFunc(names, reserved) {
		return errReserved
	}
	_, err := k.change(ctx, key.entry, func(next *Key) ([]kv.Op, error) {
		if err := next.State.Permits("UntagResource", next.ARN); err != nil {
			return nil, err
		}
		next.Tags = slices.DeleteFunc(slices.Clone(next.Tags), func(t Tag) bool { return slices.Contains(names, t.Key) })
		return nil, nil
	})
	return err
}

// ListTags gives a key's tags in order, from after the marker on.
func (k *Keys) ListTags(key *Key, marker string, limit int) (tags []Tag, next string, err error) {
	scope := "tags/" + key.ID
	from := 0
	if marker != "" {
		last, err := openMarker(scope, marker)
		if err != nil {
			return nil, "", err
		}
		from, _ = slices.BinarySearchFunc(key.Tags, last, func(t Tag, name string) int { return strings.Compare(t.Key, name) })
		if from < len(key.Tags) && key.Tags[from].Key == last {
			from++
		}
	}
	tags = key.Tags[from:min(from+limit, len(key.Tags))]
	if from+limit < len(key.Tags) {
		next = makeMarker(scope, tags[len(tags)-1].Key)
	}
	return tags, next, nil
}
