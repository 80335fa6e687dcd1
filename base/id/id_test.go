package id_test

import (
	"regexp"
	"testing"

	"github.com/leadglass/leadglass/base/id"
)

func TestAccessKeyIDsCarryTheirAccount(t *testing.T) {
	for _, account := range []string{"000000000000", "000000000001", "123456789012", "999999999999"} {
		key, err := id.AccessKey("AKIA", account)
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^AKIA[A-Z2-7]{16}$`).MatchString(key) {
			t.Errorf("%s is not of the form of an access key id", key)
		}
		if got, err := id.AccessKeyAccount(key); err != nil || got != account {
			t.Errorf("AccessKeyAccount(%s) = %q, %v; want %s", key, got, err, account)
		}
	}
}

// A key id of AWS's own, published in its documentation discussions with its
// account, decodes alike.
func TestAPublishedAccessKeyIDDecodesToItsAccount(t *testing.T) {
	if got, err := id.AccessKeyAccount("ASIAQNZGKIQY56JQ7WML"); err != nil || got != "029608264753" {
		t.Errorf("got %q, %v; want 029608264753", got, err)
	}
}

func TestMalformedAccessKeyIDsAreRefused(t *testing.T) {
	for _, key := range []string{"", "AKIA", "AKIA0000000000000000", "AKIAIOSFODNN7EXAMPLEE"} {
		if got, err := id.AccessKeyAccount(key); err == nil {
			t.Errorf("AccessKeyAccount(%q) = %q, want an error", key, got)
		}
	}
	if _, err := id.AccessKey("AKIA", "12"); err == nil {
		t.Error("AccessKey took an account of two digits")
	}
}

func TestUniqueIDsHaveTheFormOfTheirKind(t *testing.T) {
	if got := id.Unique("AIDA"); !regexp.MustCompile(`^AIDA[A-Z2-7]{17}$`).MatchString(got) {
		t.Errorf("Unique = %s", got)
	}
	if got := id.UUID(); !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(got) {
		t.Errorf("UUID = %s", got)
	}
	if got := id.Account(); !regexp.MustCompile(`^[1-9][0-9]{11}$`).MatchString(got) {
		t.Errorf("Account = %s", got)
	}
	if got := id.Hex(16); !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(got) {
		t.Errorf("Hex = %s", got)
	}
}
