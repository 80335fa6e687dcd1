package keys

import (
	"context"
	"strings"

	"github.com/leadglass/leadglass/identity/arn"
)

// A Found is what a request's key identifier led to.
type Found struct {
	Key     *Key   // nil when there is none, and then Missing says what the owner is told
	Account string // that the identifier belongs to, whether or not the key exists
	ARN     string // what was asked for: a key's ARN, or an alias's even if it leads to a key
	Alias   string // "alias/..." when the identifier is an alias
	Missing error
}

// Find resolves a key identifier as the caller of an account wrote it
// (kms-api section 2). Aliases are taken only where the operation takes them.
// An identifier that cannot be one is an error at once, since it tells
// nothing of anybody's keys; a well-formed one that leads nowhere is told by
// Found.Missing, which the service must hide from those who may not know.
func (k *Keys) Find(ctx context.Context, account, ref string, aliases bool) (Found, error) {
	f := Found{Account: account}
	name := ref
	if strings.HasPrefix(ref, "arn:") {
		a, err := arn.Parse(ref)
		if err != nil || a.Service != "kms" || a.Partition != arn.Partition || !arn.IsAccount(a.Account) {
			return Found{}, refuse(NotFound, "Invalid keyId '%s'", ref)
		}
		if a.Region != k.cfg.Region {
			return Found{}, refuse(NotFound, "Invalid arn %s", a.Region)
		}
		f.Account = a.Account
		var isKey bool
		if name, isKey = strings.CutPrefix(a.Resource, "key/"); !isKey && !strings.HasPrefix(name, "alias/") {
			return Found{}, refuse(NotFound, "Invalid keyId '%s'", ref)
		} else if isKey && !isKeyID(name) {
			return Found{}, refuse(NotFound, "Invalid keyId '%s'", ref)
		}
	}
	switch {
	case strings.HasPrefix(name, "alias/") && aliases:
		f.Alias, f.ARN = name, k.aliasARN(f.Account, name)
		a, ok := k.alias(f.Account, name)
		if !ok {
			f.Missing = refuse(NotFound, "Alias %s is not found.", f.ARN)
			return f, nil
		}
		name = a.KeyID
	case !isKeyID(name):
		return Found{}, refuse(NotFound, "Invalid keyId '%s'", ref)
	}
	key, err := k.key(ctx, name)
	switch {
	case err != nil:
		return Found{}, err
	case key != nil && key.Account == f.Account:
		f.Key = key
		if f.Alias == "" {
			f.ARN = key.ARN
		}
	case f.Alias != "":
		f.Missing = refuse(NotFound, "Alias %s is not found.", f.ARN)
	default:
		f.ARN = k.ARN(f.Account, name)
		f.Missing = missing(f.ARN)
	}
	return f, nil
}

// ByID finds the key with an id, of whatever account. Nil: there is none.
func (k *Keys) ByID(ctx context.Context, id string) (*Key, error) { return k.key(ctx, id) }

// ByCiphertext finds the key whose material made a ciphertext. The answer to
// anything that is no ciphertext of a key here is one refusal.
func (k *Keys) ByCiphertext(ctx context.Context, blob []byte) (*Key, error) {
	id, err := materialIn(blob)
	if err != nil {
		return nil, errCiphertext
	}
	v, ok := k.byMaterial.Load(id)
	if !ok {
		return nil, errCiphertext
	}
	key, err := k.live(ctx, v.(*entry))
	if err == nil && key == nil {
		err = errCiphertext
	}
	return key, err
}

func (k *Keys) key(ctx context.Context, id string) (*Key, error) {
	e, ok := k.entry(id)
	if !ok {
		return nil, nil
	}
	return k.live(ctx, e)
}

// live is the newest snapshot, or nil when the key is gone or its time is up:
// from its deletion date on a key does not exist, whether or not Run has come
// round to it.
func (k *Keys) live(ctx context.Context, e *entry) (*Key, error) {
	key := e.now.Load()
	if key != nil && key.stale {
		e.write.Lock()
		var err error
		key, err = k.fresh(ctx, e)
		e.write.Unlock()
		if err != nil {
			return nil, gone(err)
		}
	}
	if key == nil || k.over(key) {
		return nil, nil
	}
	return k.shown(key.asOf(k.cfg.Clock.Now())), nil
}

// gone makes no error of a key that turned out to be no longer there.
func gone(err error) error {
	if e, ok := err.(*Error); ok && e.Kind == NotFound {
		return nil
	}
	return err
}

func (k *Keys) over(key *Key) bool {
	return key.State == StatePendingDeletion && !k.cfg.Clock.Now().Before(key.DeletionDate)
}

// isKeyID says whether s is a lower-case UUID with dashes, or mrk- and 32
// lower-case hex digits.
func isKeyID(s string) bool {
	if hex, ok := strings.CutPrefix(s, "mrk-"); ok {
		return len(hex) == 32 && strings.Trim(hex, "0123456789abcdef") == ""
	}
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}
