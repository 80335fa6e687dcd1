//go:build !goexperiment.runtimesecret

package secret

// Erasing says whether Do erases.
const Erasing = false

// Do calls f. Built with GOEXPERIMENT=runtimesecret it also erases what f
// leaves behind in registers, on the stack and, once collected, on the heap.
func Do(f func()) { f() }
