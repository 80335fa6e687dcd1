package message_test

import (
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// fill sets every field of a message.
func fill(t *testing.T, v any) {
	t.Helper()
	s := reflect.ValueOf(v).Elem()
	for i := range s.NumField() {
		switch f := s.Field(i); f.Kind() {
		case reflect.String:
			f.SetString(s.Type().Field(i).Name)
		case reflect.Slice:
			f.SetBytes([]byte(s.Type().Field(i).Name))
		case reflect.Uint64:
			f.SetUint(uint64(1000 + i))
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Array:
			f.Index(0).SetUint(7)
		default:
			t.Fatalf("field %s", s.Type().Field(i).Name)
		}
	}
}

func TestEveryFieldArrives(t *testing.T) {
	var p, p2 message.Params
	fill(t, &p)
	if err := p2.Parse(p.Append(nil)); err != nil || cmp.Diff(p, p2) != "" {
		t.Error(err, cmp.Diff(p, p2))
	}
	var r, r2 message.Result
	fill(t, &r)
	if err := r2.Parse(r.Append(nil)); err != nil || cmp.Diff(r, r2) != "" {
		t.Error(err, cmp.Diff(r, r2))
	}
	var s, s2 message.Status
	fill(t, &s)
	if err := s2.Parse(s.Append(nil)); err != nil || cmp.Diff(s, s2) != "" {
		t.Error(err, cmp.Diff(s, s2))
	}
	for n := range len(p.Append(nil)) {
		if p2.Parse(p.Append(nil)[:n]) == nil {
			t.Errorf("%d bytes of it parse", n)
		}
	}
}

func TestTheContextIsSerialisedByTheSortedBytesOfItsKeys(t *testing.T) {
	for want, context := range map[string]map[string]string{
		"00000000": {},
		"00000002" + "00000001" + "41" + "00000000" + "00000001" + "61" + "00000002" + "6263": {"a": "bc", "A": ""},
	} {
		got, err := message.AppendContext(nil, context)
		if err != nil || hex.EncodeToString(got) != want {
			t.Errorf("%v: %x, %v", context, got, err)
		}
		if err := message.CheckContext(got); err != nil {
			t.Errorf("%v: %v", context, err)
		}
	}
	if _, err := message.AppendContext(nil, map[string]string{"k": strings.Repeat("v", 8192)}); !errors.Is(err, message.ErrContext) {
		t.Errorf("8193 bytes: %v", err)
	}
}
