package core

import (
	"bytes"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
)

// What the tests of the inside need to see.
var Signable = signable

// Operations are the numbers of the table.
func Operations() map[uint64]string {
	names := make(map[uint64]string)
	for op, row := range operations() {
		names[op] = row.name
	}
	return names
}

// ParseToken reads the public part of a token.
func ParseToken(ekt []byte) bool {
	_, _, ok := splitEKT(ekt, &attributes{})
	return ok
}

// Material opens a token and returns the key itself, which no operation does.
func (h *HSM) Material(ekt []byte) []byte {
	var a attributes
	m, status := h.domain().unseal(ekt, &a, make([]byte, maxMaterial))
	if status != link.StatusOK {
		return nil
	}
	return m
}

// DomainSecrets are all secrets of the domain.
func (h *HSM) DomainSecrets() (all [][]byte) {
	d := h.domain()
	copyOf := func(b []byte) error { all = append(all, append([]byte(nil), b...)); return nil }
	_ = d.hsk.Use(copyOf)
	_ = d.hak.Use(copyOf)
	_ = d.kem.Use(copyOf)
	for _, k := range d.keys {
		_ = k.Use(copyOf)
	}
	return all
}

// WrapForeign makes a token with a condition that this version cannot enforce.
func (h *HSM) WrapForeign(material []byte, notAfter uint64, condition bool) []byte {
	d := h.domain()
	a := attributes{spec: "SYMMETRIC_DEFAULT", usage: usageEncrypt, origin: "EXTERNAL", notAfter: notAfter}
	if !condition {
		ekt, _ := d.wrap(&a, material)
		return ekt
	}
	a.role = "role"
	// The condition of number 7 becomes one of number 9, which nobody knows.
	attrs := a.append(nil)
	attrs[bytes.LastIndex(attrs, []byte{0xa1, 7})+1] = 9
	ekt, _ := d.wrapAs(attrs, material)
	return ekt
}

// Met is whether attested claims meet conditions.
var Met = met

// ParseJSON reads the body of a signed request: the text of a member, and
// whether the body can be read at all.
func ParseJSON(b []byte, member string) (text string, ok bool) {
	v, ok := parseJSON(b)
	return string(v.member(member).text), ok
}

// DecodeFences reads a file of fences.
func DecodeFences(b []byte) (n int, ok bool) {
	m, err := decodeFences(b, 0)
	return len(m), err == nil && (len(m) == 0 || bytes.Equal(encodeFences(m), b))
}
