package keys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/cryptography/xks"
)

const (
	connectors   = 4 // stores being connected at once
	connectTries = 3
	connectPause = time.Second // between them
)

// ConnectStore begins to connect a store: RunStores asks its proxy, and the
// state tells what came of it.
func (k *Keys) ConnectStore(ctx context.Context, account, storeID string) error {
	if k.cfg.Proxies == nil {
		return errNoStores
	}
	if _, err := k.StoreOf(account, storeID); err != nil {
		return err
	}
	s, err := k.changeStore(ctx, storeID, func(s *Store) error {
		switch s.State {
		case Failed:
			return errStoreState(s, "disconnect it before you connect it again")
		case Disconnected:
			s.State, s.ErrorCode = Connecting, ""
		}
		return nil
	})
	if err == nil && s.State == Connecting {
		k.stores.enqueue(storeID)
	}
	return err
}

// DisconnectStore makes all keys of a store unusable: no use that starts after
// it returned succeeds, and none that was under way.
func (k *Keys) DisconnectStore(ctx context.Context, account, storeID string) error {
	if _, err := k.StoreOf(account, storeID); err != nil {
		return err
	}
	_, err := k.changeStore(ctx, storeID, func(s *Store) error {
		if s.State == Disconnected {
			return errStoreState(s, "it is disconnected already")
		}
		s.State, s.ErrorCode = Disconnected, ""
		return nil
	})
	if e := k.stores.get(storeID); err == nil && e != nil {
		e.hangUp()
	}
	return err
}

// alarm is the channel that tells RunStores of work.
func (t *stores) alarm() chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wake == nil {
		t.wake = make(chan struct{}, 1)
	}
	return t.wake
}

func (t *stores) enqueue(storeID string) {
	wake := t.alarm()
	t.mu.Lock()
	t.queue = append(t.queue, storeID)
	t.mu.Unlock()
	select {
	case wake <- struct{}{}:
	default: // RunStores has a wake-up waiting already
	}
}

func (t *stores) take() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.queue
	t.queue = nil
	return all
}

// RunStores connects custom key stores, until ctx ends.
func (k *Keys) RunStores(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	places := make(chan struct{}, connectors)
	wake := k.stores.alarm()
	for {
		for _, storeID := range k.stores.take() {
			select {
			case places <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			work.Go(func() {
				defer func() { <-places }()
				if err := k.connect(ctx, storeID); err != nil && ctx.Err() == nil {
					k.cfg.Log.Error("keys: connect a custom key store", "store", storeID, "error", err)
				}
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		}
	}
}

// connect asks the proxy of a store that is CONNECTING, and notes what it is
// then. A store that was disconnected or deleted meanwhile stays so.
func (k *Keys) connect(ctx context.Context, storeID string) error {
	e := k.stores.get(storeID)
	if e == nil {
		return nil
	}
	began := e.now.Load()
	if began.State != Connecting {
		return nil
	}
	var err error
	for try := range connectTries {
		if try > 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-k.cfg.Clock.After(connectPause):
			}
		}
		var c *xks.Client
		if c, err = k.clientOf(ctx, e, began); err == nil {
			err = healthy(ctx, c, "ConnectCustomKeyStore", id.UUID())
		}
		if err == nil || ctx.Err() != nil || e.now.Load().State != Connecting {
			break
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	_, cerr := k.changeStore(ctx, storeID, func(s *Store) error {
		if s.State != Connecting || !s.sameWay(began) {
			return errStoreState(s, "it was changed meanwhile")
		}
		if s.State = Connected; err != nil {
			s.State, s.ErrorCode = Failed, connectionError(err)
			k.cfg.Log.Warn("keys: a custom key store does not connect", "store", storeID, "error", err)
		}
		return nil
	})
	if refused, ok := errors.AsType[*Error](cerr); ok && (refused.Kind == StoreInvalidState || refused.Kind == StoreNotFound) {
		return nil
	}
	return cerr
}

// clientOf is the client of a store as a snapshot has it. It is made when it
// is first needed: the boundary opens the credential for it.
func (k *Keys) clientOf(ctx context.Context, e *storeEntry, s *Store) (*xks.Client, error) {
	if k.cfg.Proxies == nil {
		return nil, errNoStores
	}
	e.dial.Lock()
	defer e.dial.Unlock()
	if d := e.dialed; d != nil && d.sameWay(s) {
		return e.client, nil
	}
	raw, err := k.cfg.Boundary.Decrypt(ctx, s.ekt, s.sealed, sealContext(s))
	if err != nil {
		return nil, fmt.Errorf("keys: open the credential of %s: %w", s.ID, err)
	}
	kept, err := secret.From(raw)
	if err != nil {
		secret.Wipe(raw)
		return nil, fmt.Errorf("keys: %w", err)
	}
	c, err := k.cfg.Proxies.NewClient(k.cfg.Region, s.Endpoint, s.Path, s.AccessKeyID, kept)
	if err != nil {
		kept.Destroy()
		return nil, fmt.Errorf("keys: %w", err)
	}
	if e.raw != nil {
		e.raw.Destroy()
	}
	e.client, e.raw, e.dialed = c, kept, s
	return c, nil
}

// sameWay says whether two snapshots of a store have the same way to the proxy.
func (s *Store) sameWay(other *Store) bool {
	return s.Endpoint == other.Endpoint && s.Path == other.Path && bytes.Equal(s.sealed, other.sealed)
}

// hangUp forgets the client and wipes its credential.
func (e *storeEntry) hangUp() {
	e.dial.Lock()
	defer e.dial.Unlock()
	if e.raw != nil {
		e.raw.Destroy()
	}
	e.client, e.raw, e.dialed = nil, nil, nil
}

// errSettled: there is nothing to change.
var errSettled = errors.New("keys: nothing to change")

// RewrapStores seals the key tokens of all stores anew (rewrap is the HSM's),
// after the domain's key was rotated.
func (k *Keys) RewrapStores(ctx context.Context, rewrap func(ctx context.Context, ekt []byte) ([]byte, error)) error {
	k.stores.mu.RLock()
	ids := slices.Sorted(maps.Keys(k.stores.byID))
	k.stores.mu.RUnlock()
	for _, storeID := range ids {
		_, err := k.changeStore(ctx, storeID, func(s *Store) (err error) {
			before := s.ekt
			if s.ekt, err = rewrap(ctx, before); err == nil && bytes.Equal(s.ekt, before) {
				err = errSettled
			}
			return err
		})
		if errors.Is(err, errSettled) {
			continue
		}
		if refused, ok := errors.AsType[*Error](err); err != nil && !(ok && refused.Kind == StoreNotFound) { // deleted meanwhile
			return fmt.Errorf("keys: rewrap %s: %w", storeID, err)
		}
	}
	return nil
}

// connectionError is the ConnectionErrorCode of what went wrong.
func connectionError(err error) string {
	e, ok := errors.AsType[*xks.Error](err)
	if !ok {
		return "INTERNAL_ERROR"
	}
	switch e.Kind {
	case xks.AuthenticationFailed, xks.AccessDenied:
		return "XKS_PROXY_ACCESS_DENIED"
	case xks.InvalidURIPath:
		return "XKS_PROXY_INVALID_CONFIGURATION"
	case xks.BadTLS:
		return "XKS_PROXY_INVALID_TLS_CONFIGURATION"
	case xks.TimedOut, xks.DependencyTimeout:
		return "XKS_PROXY_TIMED_OUT"
	case xks.Unreachable, xks.Forbidden, xks.Throttling, xks.Internal, xks.InvalidState:
		return "XKS_PROXY_NOT_REACHABLE"
	}
	return "XKS_PROXY_INVALID_RESPONSE"
}

// storeError is what a proxy's failure means to whoever makes or changes a
// store (section Error codes of the specification).
func storeError(err error) error {
	e, ok := errors.AsType[*xks.Error](err)
	if !ok {
		return err
	}
	kind := ProxyInvalidResponse
	switch e.Kind {
	case xks.AuthenticationFailed:
		kind = ProxyBadCredential
	case xks.InvalidURIPath:
		kind = ProxyInvalidConfiguration
	case xks.DependencyTimeout, xks.Throttling, xks.Unreachable, xks.Forbidden, xks.BadTLS, xks.TimedOut:
		kind = ProxyUnreachable
	}
	return &Error{Kind: kind, Message: e.Kind.Text(), Err: err}
}
