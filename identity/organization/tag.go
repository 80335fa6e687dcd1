package organization

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/leadglass/leadglass/identity/directory"
)

// A Tag is a key with a value. Keys are unique without regard to case, as
// condition keys have none.
type Tag = directory.Tag

var tagText = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

func checkTags(tags []Tag) error {
	if len(tags) > MaxTags {
		return violates("MAX_TAG_LIMIT_EXCEEDED", "You have exceeded the allowed number of tags for a resource: %d.", MaxTags)
	}
	for i, t := range tags {
		switch n := utf8.RuneCountInString(t.Key); {
		case n < 1 || n > 128 || utf8.RuneCountInString(t.Value) > 256 || !tagText.MatchString(t.Key) || !tagText.MatchString(t.Value):
			return invalid("INVALID_PATTERN", "You provided a value that doesn't match the required pattern of a tag.")
		case len(t.Key) >= 4 && strings.EqualFold(t.Key[:4], "aws:"):
			return invalid("INVALID_SYSTEM_TAGS_PARAMETER", "You specified a tag key that is a system tag. You can't add, edit, or delete system tag keys because they're reserved for AWS use.")
		case slices.ContainsFunc(tags[:i], func(u Tag) bool { return strings.EqualFold(u.Key, t.Key) }):
			return invalid("DUPLICATE_TAG_KEY", "Tag keys must be unique among the tags attached to the same entity.")
		}
	}
	return nil
}

func tagRecords(tags []Tag) (records []tagRecord) {
	for _, t := range tags {
		records = append(records, tagRecord{Key: t.Key, Value: t.Value})
	}
	return records
}

func tagsOf(records []tagRecord) (tags []Tag) {
	for _, t := range records {
		tags = append(tags, Tag{Key: t.Key, Value: t.Value})
	}
	return tags
}

// tags are those of a root, unit, account, policy or the resource policy.
// Caller holds mu or write.
func (o *Organizations) tags(org, id string) ([]tagRecord, bool) {
	h, ok := o.st.orgs[org]
	if !ok {
		return nil, false
	}
	if id == h.rec.Root {
		return h.rec.Tags, true
	}
	if d := h.rec.Delegation; d != nil && d.ID == id {
		return d.Tags, true
	}
	if u, ok := o.st.units[org][id]; ok {
		return u.rec.Tags, true
	}
	if m, ok := o.st.members[id]; ok && m.rec.Org == org {
		return m.rec.Tags, true
	}
	if p, ok := o.st.policies[org][id]; ok {
		return p.rec.Tags, true
	}
	return nil, false
}

// Tags are the tags of a root, unit, account, policy or the resource policy.
// The policies of the installation have none.
func (o *Organizations) Tags(org, id string) ([]Tag, error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if _, m := o.managed(id); m != nil {
		return nil, nil
	}
	tags, ok := o.tags(org, id)
	if !ok {
		return nil, errTarget
	}
	return tagsOf(tags), nil
}

// Tag adds tags; a key that is there already, in any case, is replaced.
func (o *Organizations) Tag(ctx context.Context, org, id string, tags []Tag) error {
	if err := checkTags(tags); err != nil {
		return err
	}
	return o.editTags(ctx, org, id, func(have []tagRecord) []tagRecord {
		have = slices.DeleteFunc(slices.Clone(have), func(h tagRecord) bool {
			return slices.ContainsFunc(tags, func(t Tag) bool { return strings.EqualFold(t.Key, h.Key) })
		})
		return append(have, tagRecords(tags)...)
	})
}

// Untag removes tags; keys that are not there are no error.
func (o *Organizations) Untag(ctx context.Context, org, id string, keys []string) error {
	return o.editTags(ctx, org, id, func(have []tagRecord) []tagRecord {
		return slices.DeleteFunc(slices.Clone(have), func(h tagRecord) bool {
			return slices.ContainsFunc(keys, func(k string) bool { return strings.EqualFold(k, h.Key) })
		})
	})
}

func (o *Organizations) editTags(ctx context.Context, org, id string, edit func([]tagRecord) []tagRecord) error {
	return o.change(ctx, func(t *tx) error {
		if _, m := o.managed(id); m != nil {
			return invalid("IMMUTABLE_POLICY", "You can't modify a policy that is managed by AWS.")
		}
		have, ok := o.tags(org, id)
		if !ok {
			return errTarget
		}
		tags := edit(have)
		if err := checkTags(tagsOf(tags)); err != nil {
			return err
		}
		h := o.st.orgs[org]
		switch {
		case id == h.rec.Root:
			t.org(org, h, func(rec *orgRecord) { rec.Tags = tags })
			return nil
		case h.rec.Delegation != nil && h.rec.Delegation.ID == id:
			d := *h.rec.Delegation
			d.Tags = tags
			t.org(org, h, func(rec *orgRecord) { rec.Delegation = &d })
			return nil
		}
		t.org(org, h, nil)
		if u, ok := o.st.units[org][id]; ok {
			rec := clone(u)
			rec.Tags = tags
			t.put(keyIn(sectionUnit, org, id), rec, u.mod)
		} else if m, ok := o.st.members[id]; ok {
			rec := clone(m)
			rec.Tags = tags
			t.put(key(sectionMember, id), rec, m.mod)
		} else if p, ok := o.st.policies[org][id]; ok {
			rec := clone(p)
			rec.Tags = tags
			t.put(keyIn(sectionPolicy, org, id), rec, p.mod)
		} else {
			return errors.New("organization: what has tags is not there")
		}
		return nil
	})
}
