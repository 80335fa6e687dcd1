// Package redteam has no code: it is the suite of attacks on the HSM by
// whoever controls the front, and runs with the tests of every build.
//
// The attacker (redteam_test.go) is root on the front with the database: a
// host that the HSM lets in, with every key token, ciphertext and frame that
// ever was, and one of the domain's five custodian keys. He wants the
// plaintext of one ciphertext under a key whose sealed conditions ask for an
// attested recipient and for the caller's proof. Each test is one way that he
// tries, by name; each shows as well that the legitimate way works in the same
// place, and, where there is something to take away, that the attack succeeds
// without what stops it.
//
// Not done here: attacks on the served plane (cmd/leadglass), on the formats'
// parsers (the fuzz targets of each package), and on hardware. docs/redteam.md
// has the table of all attacks, what stops each, and what nothing stops.
package redteam
