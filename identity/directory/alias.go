package directory

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/state/kv"
)

func aliasKey(alias string) kv.Key { return kv.Table('A').Text("alias").Text(alias) }

// validAlias leaves length to checkAlias: hyphens neither at an end nor twice.
var validAlias = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func checkAlias(alias string) error {
	if len(alias) < 3 || len(alias) > 63 || !validAlias.MatchString(alias) || arn.IsAccount(alias) {
		return refuse(ValidationError, "The specified value for accountAlias is invalid. It must have 3 to 63 lower-case letters, digits and hyphens, must not begin or end with a hyphen, must not have two hyphens in a row, and must not be an account number.")
	}
	return nil
}

// CreateAccountAlias gives the account a name that no other account has; an
// earlier one of its own is given up. As with AWS, that a name is taken is told,
// and nothing about who took it.
func (d *Directory) CreateAccountAlias(ctx context.Context, account, alias string) error {
	if err := checkAlias(alias); err != nil {
		return err
	}
	r, err := d.need(account)
	if err != nil {
		return err
	}
	return d.change(ctx, r, func(t *tx) error {
		e, err := d.store.Get(ctx, aliasKey(alias))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if e.Mod != 0 {
			return refuse(EntityAlreadyExists, "The account alias %s already exists.", alias)
		}
		a := r.accountRec
		if a.Alias != "" {
			t.drop(aliasKey(a.Alias))
		}
		a.Alias = alias
		t.index(aliasKey(alias), account)
		t.put(accountKey(account), a, r.accountMod)
		return nil
	})
}

// DeleteAccountAlias gives the account's name up. The name of another account
// is answered like one that nobody has.
func (d *Directory) DeleteAccountAlias(ctx context.Context, account, alias string) error {
	r, err := d.need(account)
	if err != nil {
		return err
	}
	return d.change(ctx, r, func(t *tx) error {
		a := r.accountRec
		if a.Alias == "" || a.Alias != alias {
			return refuse(NoSuchEntity, "The account alias %s cannot be found.", alias)
		}
		a.Alias = ""
		t.drop(aliasKey(alias))
		t.put(accountKey(account), a, r.accountMod)
		return nil
	})
}

// AccountAlias is the account's alias, or "".
func (d *Directory) AccountAlias(account string) (string, error) {
	r, err := d.need(account)
	if err != nil {
		return "", err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.accountRec.Alias, nil
}

// checkAliases compares the aliases with the accounts, from both sides.
func (d *Directory) checkAliases(ctx context.Context) (problems []string, err error) {
	owners := make(map[string]string) // by alias
	accounts := make(map[string]string)
	err = d.scan(ctx, kv.Table('A'), func(e kv.Entry) error {
		first, rest, err := kv.ReadText(e.Key[1:])
		if err != nil {
			return corrupt(e.Key, err)
		}
		if first != "alias" && first != "account" {
			return nil
		}
		name, _, err := kv.ReadText(rest)
		if err != nil {
			return corrupt(e.Key, err)
		}
		if first == "alias" {
			owners[name] = string(e.Value)
			return nil
		}
		var rec accountRecord
		if err := decode(e.Key, e.Value, e.Mod, &rec); err != nil {
			return err
		}
		if rec.Alias != "" {
			accounts[name] = rec.Alias
		}
		return nil
	})
	if errors.Is(err, kv.ErrCorrupt) {
		return []string{err.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	for account, alias := range accounts {
		if owners[alias] != account {
			problems = append(problems, "directory of account "+account+": its alias is not its own")
		}
	}
	for alias, account := range owners {
		if accounts[account] != alias {
			problems = append(problems, "directory: an alias of account "+account+" that the account does not have")
		}
	}
	return problems, nil
}
