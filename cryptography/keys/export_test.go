package keys

import "context"

// LimitGrants lowers the quota of grants, so that a test can reach it.
func (k *Keys) LimitGrants(n int) { k.maxGrants = n }

// Tokens are the boundary's tokens of the key's materials, as a backup of the
// store holds them.
func (k *Key) Tokens() [][]byte { return k.tokens() }

// Repair does what Run does when it begins.
func (k *Keys) Repair() error { return k.repairAll(context.Background()) }
