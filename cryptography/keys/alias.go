package keys

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/leadglass/leadglass/state/kv"
)

// An Alias is a second name of a key, unique in its account.
type Alias struct {
	Name, ARN        string
	KeyID            string
	Created, Updated time.Time
}

type alias struct {
	KeyID            string
	Created, Updated time.Time
}

type aliasKey struct{ account, name string }

func decodeAlias(name string, value []byte) (*alias, error) {
	var r aliasRecord
	if err := cbor.Unmarshal(value, &r); err != nil {
		return nil, fmt.Errorf("alias record %s: %w", name, err)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("alias record %s: unknown version %d", name, r.Version)
	}
	return &alias{r.KeyID, time.UnixMilli(r.Created).UTC(), time.UnixMilli(r.Updated).UTC()}, nil
}

func (a *alias) encode() ([]byte, error) {
	return marshal(&aliasRecord{recordVersion, a.KeyID, a.Created.UnixMilli(), a.Updated.UnixMilli()})
}

func (k *Keys) alias(account, name string) (*alias, bool) {
	v, ok := k.aliases.Load(aliasKey{account, name})
	if !ok {
		return nil, false
	}
	return v.(*alias), true
}

// AliasARN checks an alias name of an account and gives its ARN, whether or
// not there is such an alias.
func (k *Keys) AliasARN(account, name string) (string, error) {
	rest, ok := strings.CutPrefix(name, "alias/")
	if !ok {
		return "", refuse(Validation, `Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html`)
	}
	// The API model allows a colon, the documented pattern of the name after the prefix does not.
	if rest == "" || strings.Contains(rest, ":") {
		return "", refuse(InvalidAliasName, "The alias name %s is not valid.", name)
	}
	return k.aliasARN(account, name), nil
}

// AliasTarget is the key that an alias of an account leads to.
func (k *Keys) AliasTarget(ctx context.Context, account, name string) (*Key, error) {
	a, ok := k.alias(account, name)
	if !ok {
		return nil, refuse(NotFound, "Alias %s is not found.", k.aliasARN(account, name))
	}
	key, err := k.key(ctx, a.KeyID)
	if err == nil && key == nil {
		return nil, refuse(NotFound, "Alias %s is not found.", k.aliasARN(account, name))
	}
	return key, err
}

// changeable refuses the names that only the house itself may give.
func changeable(name string) error {
	if strings.HasPrefix(name, "alias/aws/") {
		return &Error{Kind: NotAuthorized}
	}
	return nil
}

// CreateAlias gives a key of the same account a further name.
func (k *Keys) CreateAlias(ctx context.Context, key *Key, name string) error {
	aliasARN, err := k.AliasARN(key.Account, name)
	if err != nil {
		return err
	}
	if err := changeable(name); err != nil {
		return err
	}
	k.aliasWrite.Lock()
	defer k.aliasWrite.Unlock()
	e := key.entry
	e.write.Lock()
	defer e.write.Unlock()
	if _, ok := k.alias(key.Account, name); ok {
		return refuse(AlreadyExists, "An alias with the name %s already exists", aliasARN)
	}
	now := k.now()
	a := &alias{KeyID: key.ID, Created: now, Updated: now}
	return k.setAlias(ctx, nil, e, name, a, []kv.Cond{{Key: aliasKV(key.Account, name)}}, "CreateAlias")
}

// UpdateAlias leads an alias of the key was to another key of the same account
// and the same type and usage.
func (k *Keys) UpdateAlias(ctx context.Context, was, key *Key, name string) error {
	aliasARN, err := k.AliasARN(key.Account, name)
	if err != nil {
		return err
	}
	if err := changeable(name); err != nil {
		return err
	}
	k.aliasWrite.Lock()
	defer k.aliasWrite.Unlock()
	old, ok := k.alias(key.Account, name)
	if !ok {
		return refuse(NotFound, "Alias %s is not found.", aliasARN)
	}
	if old.KeyID != was.ID {
		return refuse(Unavailable, "Alias %s was changed during the call.", aliasARN)
	}
	a := &alias{KeyID: key.ID, Created: old.Created, Updated: k.now()}
	conds := []kv.Cond{{Key: aliasKV(key.Account, name), Not: true}}
	from, to := was.entry, key.entry
	if from == to {
		to.write.Lock()
		defer to.write.Unlock()
		return k.setAlias(ctx, nil, to, name, a, conds, "UpdateAlias")
	}
	// Two keys are locked in the order of their ids, here and nowhere else.
	first, second := from, to
	if second.id < first.id {
		first, second = second, first
	}
	first.write.Lock()
	defer first.write.Unlock()
	second.write.Lock()
	defer second.write.Unlock()
	if was, err = k.fresh(ctx, from); err != nil {
		return err
	}
	if kindOf(was.Spec) != kindOf(key.Spec) || was.Usage != key.Usage {
		return refuse(Validation, "Alias %s cannot be changed to a key of another type or with another key usage.", aliasARN)
	}
	return k.setAlias(ctx, from, to, name, a, conds, "UpdateAlias")
}

// setAlias writes an alias and shows it in the snapshots of the keys that it
// leaves (nil: none) and reaches. The caller holds aliasWrite and the write
// locks of both.
func (k *Keys) setAlias(ctx context.Context, from, to *entry, name string, a *alias, conds []kv.Cond, operation string) error {
	target, err := k.fresh(ctx, to)
	if err != nil {
		return err
	}
	if k.over(target) {
		return missing(target.ARN)
	}
	if err := target.State.Permits(operation, target.ARN); err != nil {
		return err
	}
	next := *target
	if i, has := slices.BinarySearch(next.Aliases, name); !has {
		if len(next.Aliases) >= MaxAliases {
			return refuse(LimitExceeded, "The key %s has reached its limit of %d aliases.", target.ARN, MaxAliases)
		}
		next.Aliases = slices.Insert(slices.Clone(next.Aliases), i, name)
	}
	value, err := a.encode()
	if err != nil {
		return fmt.Errorf("keys: encode %s: %w", name, err)
	}
	concerned := []*entry{to}
	if from != nil {
		concerned = append(concerned, from)
	}
	// The target must be the key that was looked at: not destroyed, not changed by anybody else.
	conds = append(conds, kv.Cond{Key: keyKey(to.account, to.id), Mod: to.mod})
	if _, err := k.commit(ctx, concerned, conds, []kv.Op{{Key: aliasKV(to.account, name), Value: value}}); err != nil {
		return err
	}
	k.aliases.Store(aliasKey{to.account, name}, a)
	to.now.Store(&next)
	if from != nil {
		from.dropAlias(name)
	}
	return nil
}

// DeleteAlias takes a name away from a key.
func (k *Keys) DeleteAlias(ctx context.Context, key *Key, name string) error {
	aliasARN, err := k.AliasARN(key.Account, name)
	if err != nil {
		return err
	}
	if err := changeable(name); err != nil {
		return err
	}
	k.aliasWrite.Lock()
	defer k.aliasWrite.Unlock()
	a, ok := k.alias(key.Account, name)
	if !ok {
		return refuse(NotFound, "Alias %s is not found.", aliasARN)
	}
	if a.KeyID != key.ID {
		return refuse(Unavailable, "Alias %s was changed during the call.", aliasARN)
	}
	e := key.entry
	e.write.Lock()
	defer e.write.Unlock()
	if _, err := k.fresh(ctx, e); err != nil {
		return err
	}
	at := aliasKV(key.Account, name)
	if _, err := k.commit(ctx, []*entry{e}, []kv.Cond{{Key: at, Not: true}}, []kv.Op{{Key: at, Delete: true}}); err != nil {
		return err
	}
	k.aliases.Delete(aliasKey{key.Account, name})
	e.dropAlias(name)
	return nil
}

// dropAlias shows a snapshot without the name. The caller holds e.write.
func (e *entry) dropAlias(name string) {
	cur := e.now.Load()
	if cur == nil {
		return
	}
	next := *cur
	next.Aliases = slices.DeleteFunc(slices.Clone(next.Aliases), func(n string) bool { return n == name })
	e.now.Store(&next)
}

// ListAliases gives an account's aliases in order, or those of one of its
// keys, from after the marker on.
func (k *Keys) ListAliases(ctx context.Context, account string, of *Key, marker string, limit int) (as []Alias, next string, err error) {
	var names []string
	if of != nil {
		names, next, err = pageOf(of.Aliases, "aliases/"+of.ID, marker, limit)
	} else {
		prefix := kv.Table('K').Text(account).Text("alias")
		var found [][]byte
		found, next, err = k.page(ctx, prefix, "aliases/"+account, marker, limit, func(key []byte) bool {
			_, ok := k.alias(account, lastText(key, prefix))
			return ok
		})
		for _, key := range found {
			names = append(names, lastText(key, prefix))
		}
	}
	if err != nil {
		return nil, "", err
	}
	for _, name := range names {
		if a, ok := k.alias(account, name); ok { // else deleted since
			as = append(as, Alias{Name: name, ARN: k.aliasARN(account, name), KeyID: a.KeyID, Created: a.Created, Updated: a.Updated})
		}
	}
	return as, next, nil
}
