package secret_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/cryptography/secret"
)

func TestASecretIsNeverPrintedOrSerialised(t *testing.T) {
	plain := []byte("correct horse battery staple")
	s, err := secret.From(plain)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Trim(string(plain), "\x00") != "" {
		t.Error("From left the source unwiped")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if out := fmt.Sprintf(verb, s); strings.Contains(out, "horse") {
			t.Errorf("%s shows the secret: %s", verb, out)
		}
	}
	if _, err := json.Marshal(s); err == nil {
		t.Error("json.Marshal serialised a secret")
	}
	if !s.Equal([]byte("correct horse battery staple")) || s.Equal([]byte("correct horse battery stapleX")) {
		t.Error("Equal is wrong")
	}
}

func TestADestroyedSecretCannotBeUsed(t *testing.T) {
	s, err := secret.From([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	s.Destroy()
	s.Destroy()
	if err := s.Use(func([]byte) error { return nil }); !errors.Is(err, secret.ErrDestroyed) {
		t.Errorf("Use after Destroy = %v, want ErrDestroyed", err)
	}
	if s.Equal([]byte("x")) {
		t.Error("a destroyed secret still compares equal")
	}
}
