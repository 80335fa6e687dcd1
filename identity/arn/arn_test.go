package arn_test

import (
	"testing"

	"github.com/leadglass/leadglass/identity/arn"
)

func TestParsePrintsBackWhatItRead(t *testing.T) {
	for _, s := range []string{
		"arn:aws:iam::123456789012:user/a/b/c",
		"arn:aws:s3:::bucket/key:with:colons",
		"arn:aws:kms:eu-west-1:123456789012:key/1234",
	} {
		a, err := arn.Parse(s)
		if err != nil || a.String() != s {
			t.Errorf("Parse(%q) = %v, %v", s, a, err)
		}
	}
}

func TestParseRefusesWhatIsNoARN(t *testing.T) {
	for _, s := range []string{"", "arn", "arn:aws:iam::1:", "arn::iam::1:user/a", "urn:aws:iam::1:user/a", "arn:aws::::x"} {
		if a, err := arn.Parse(s); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", s, a)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("arn:aws:iam::123456789012:user/a")
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := arn.Parse(s); err == nil && a.String() != s {
			t.Errorf("%q became %q", s, a)
		}
	})
}
