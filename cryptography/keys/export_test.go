package keys

// LimitGrants lowers the quota of grants, so that a test can reach it.
func (k *Keys) LimitGrants(n int) { k.maxGrants = n }
