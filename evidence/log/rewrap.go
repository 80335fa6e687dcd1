package log

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
)

// handle is the account's present handle.
func (a *account) handle() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.Handle
}

// Handles are the handles of all accounts' audit keys, in the order of the
// accounts' ids.
func (l *Log) Handles() [][]byte {
	view := *l.accounts.Load()
	var all [][]byte
	for _, name := range slices.Sorted(maps.Keys(view)) {
		all = append(all, view[name].handle())
	}
	return all
}

// ReplaceHandles asks replace for another handle of each account's audit key
// and keeps it if it differs, durably. The handles before stay good for as
// long as the KeyStore takes them, so that nothing is lost half way. It returns
// how many it replaced; accounts that failed do not keep the others waiting.
func (l *Log) ReplaceHandles(ctx context.Context, replace func(ctx context.Context, handle []byte) ([]byte, error)) (n int, err error) {
	l.amu.Lock() // no account is being made
	defer l.amu.Unlock()
	view := *l.accounts.Load()
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(view)) {
		a := view[name]
		before := a.handle()
		next, err := replace(ctx, before)
		if err == nil && !bytes.Equal(next, before) {
			f := accountFile{a.Account, a.Slot, a.Salt, next, a.Public}
			if err = a.replace(f); err == nil {
				n++
			}
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("log: audit key of account %s: %w", name, err))
		}
	}
	return n, errors.Join(problems...)
}

// replace makes another file of the account durable and then takes its handle.
func (a *account) replace(f accountFile) error {
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(a.dir, "account"), data); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.Handle = f.Handle
	return nil
}
