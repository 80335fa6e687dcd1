package keys

import (
	"context"
	"maps"
)

// LimitGrants lowers the quota of grants, so that a test can reach it.
func (k *Keys) LimitGrants(n int) { k.maxGrants = n }

// Tokens are the boundary's tokens of the key's materials, as a backup of the
// store holds them.
func (k *Key) Tokens() [][]byte { return k.tokens() }

// Repair does what Run does when it begins.
func (k *Keys) Repair() error { return k.repairAll(context.Background()) }

// DoDue is one round of Run that gives the first error instead of trying
// again.
func (k *Keys) DoDue(ctx context.Context) (err error) {
	k.mu.Lock()
	due := maps.Clone(k.due)
	k.mu.Unlock()
	for id, at := range due {
		if !k.cfg.Clock.Now().Before(at) && err == nil {
			err = k.doOne(ctx, id)
		}
	}
	return err
}
