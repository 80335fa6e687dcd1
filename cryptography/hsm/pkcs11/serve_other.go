//go:build !cgo

package pkcs11

import (
	"errors"
	"io"
)

// Serve is not possible without cgo: a module is a C library.
func Serve(io.ReadWriter, Options, []byte) error {
	return errors.New("pkcs11: this binary was built without cgo, which a PKCS#11 module needs")
}
