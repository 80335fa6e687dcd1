package directory

import (
	"context"
	"slices"
)

// Tag adds tags to a user, role or instance profile (by name) or a managed policy (by ARN); a
// key that is there already, in any case, is replaced.
func (d *Directory) Tag(ctx context.Context, account string, kind Kind, name string, tags []Tag) error {
	if err := checkTags(tags); err != nil {
		return err
	}
	return d.editTags(ctx, account, kind, name, func(have []tagRecord) ([]tagRecord, error) {
		have = slices.Clone(have)
		for _, t := range tags {
			rec := tagRecord{Key: t.Key, Value: t.Value}
			if i := tagIndex(have, t.Key); i >= 0 {
				have[i] = rec
			} else {
				have = append(have, rec)
			}
		}
		return have, checkTags(tagsOf(have))
	})
}

// Untag removes tags; keys that are not there are no error.
func (d *Directory) Untag(ctx context.Context, account string, kind Kind, name string, keys []string) error {
	return d.editTags(ctx, account, kind, name, func(have []tagRecord) ([]tagRecord, error) {
		return slices.DeleteFunc(slices.Clone(have), func(t tagRecord) bool {
			return slices.ContainsFunc(keys, func(k string) bool { return foldKey(k) == foldKey(t.Key) })
		}), nil
	})
}

// ListTags lists the tags of a user, role or instance profile (by name) or a managed policy (by ARN).
func (d *Directory) ListTags(account string, kind Kind, name string, list List) (Page[Tag], error) {
	var tags []Tag
	if kind == PolicyKind {
		p, err := d.GetPolicy(account, name)
		if err != nil {
			return Page[Tag]{}, err
		}
		tags = p.Tags
	} else {
		var err error
		tags, err = view(d, account, kind, name, func(e *entity) ([]Tag, error) { return tagsOf(e.rec.Tags), nil })
		if err != nil {
			return Page[Tag]{}, err
		}
	}
	return pageOfNames(list, tags, func(t Tag) string { return foldKey(t.Key) })
}

func (d *Directory) editTags(ctx context.Context, account string, kind Kind, name string, edit func([]tagRecord) ([]tagRecord, error)) error {
	if kind == PolicyKind {
		return d.alterPolicy(ctx, account, name, func(_ *tx, _ *realm, rec *policyRecord) (err error) {
			rec.Tags, err = edit(rec.Tags)
			return err
		})
	}
	return d.alterAny(ctx, account, kind, name, func(_ *tx, _ *entity, rec *entityRecord) (err error) {
		rec.Tags, err = edit(rec.Tags)
		return err
	})
}

func tagIndex(tags []tagRecord, key string) int {
	return slices.IndexFunc(tags, func(t tagRecord) bool { return foldKey(t.Key) == foldKey(key) })
}
