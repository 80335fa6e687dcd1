//go:build goexperiment.runtimesecret

package secret

import "runtime/secret"

// Erasing says whether Do erases.
const Erasing = true

// Do calls f and erases what it leaves behind in registers, on the stack and,
// once collected, on the heap (package runtime/secret).
func Do(f func()) { secret.Do(f) }
