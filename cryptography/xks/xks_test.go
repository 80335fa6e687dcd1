package xks_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/leadglass/leadglass/cryptography/xks"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Appendix C of the specification.
func TestTheIntegrityValueIsTheSpecificationsOwn(t *testing.T) {
	s := xks.Sealed{
		Metadata: []byte("key_version=1"), IV: unhex(t, "1ccae5470f39700254779031"),
		Ciphertext: unhex(t, "821c642b5b71783367deaf18"), Tag: unhex(t, "bc1c4dda7707d6812447c5955e99b261"),
	}
	sum := s.IntegrityValue([]byte("project=nile,department=marketing"))
	if want := unhex(t, "a8703f2260bd8791ec2d15ea0b23e65a0631eedcf2a13a65cc82db3f47cf5ec7"); !bytes.Equal(sum[:], want) {
		t.Errorf("%x", sum)
	}
	if err := s.Check(12); err != nil {
		t.Error(err)
	}
}

func TestTheManagersAdditionalDataKeepsAADAndMetadataApart(t *testing.T) {
	if got := xks.ManagerAAD([]byte("ab"), []byte("c")); !bytes.Equal(got, []byte("\x00\x02ab\x01c")) {
		t.Errorf("%x", got)
	}
	if bytes.Equal(xks.ManagerAAD(nil, []byte("x")), xks.ManagerAAD([]byte("x"), nil)) {
		t.Error("metadata passes for AAD")
	}
}

func TestNamesOfTheProtocol(t *testing.T) {
	long := string(bytes.Repeat([]byte("a"), 129))
	for id, want := range map[string]bool{"a": true, "A.b-c_9": true, "..a": true, "": false, ".": false, "..": false, "a/b": false, "a b": false, "ä": false, long: false, long[1:]: true} {
		if xks.ValidKeyID(id) != want {
			t.Errorf("key id %q: %v", id, !want)
		}
	}
	for path, want := range map[string]bool{
		"/kms/xks/v1": true, "/a-b_C/d/kms/xks/v1": true, "kms/xks/v1": false, "/kms/xks/v1/": false, "/kms/xks/v2": false, "//kms/xks/v1": false,
		"/../kms/xks/v1": false, "/a%2f/kms/xks/v1": false, "/x/kms/xks/v1?": false, "/" + long + "/kms/xks/v1": false, "": false, "akms/xks/v1": false,
	} {
		if xks.ValidPath(path) != want {
			t.Errorf("path %q: %v", path, !want)
		}
	}
	for id, want := range map[string]bool{"AKIAI2SFODNN7EXAMPLE": true, "AKIAI1SFODNN7EXAMPLE": false, "akIAI2SFODNN7EXAMPLE": false, "SHORT": false} {
		if xks.ValidAccessKeyID(id) != want {
			t.Errorf("access key %q: %v", id, !want)
		}
	}
	if !xks.ValidSecret([]byte("FYtE5EFA5FT0mCc3DrGUe2sti527BitkQ0Zr9MO9fvE")) || xks.ValidSecret([]byte("short")) {
		t.Error("secret")
	}
}
