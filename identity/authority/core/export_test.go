package core

// The bounds of the log are far above what a test can write to a disk.
const (
	MaxOfAccount = maxOfAccount
	MaxEntries   = maxEntries
)

var Bound = bound
