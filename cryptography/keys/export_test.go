package keys

// LimitGrants lowers the quota of grants, so that a test can reach it.
func (k *Keys) LimitGrants(n int) { k.maxGrants = n }

// ReplacePrincipals shows a policy without the principals that are gone.
func ReplacePrincipals(text string, gone map[string]string) string {
	return replacePrincipals(text, gone)
}
