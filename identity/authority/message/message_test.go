package message_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/leadglass/leadglass/identity/authority/message"
)

// fill sets every field of a struct of strings, byte slices and numbers.
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
	now := time.Date(2026, 3, 1, 12, 0, 0, 123e6, time.UTC)
	c := message.Claims{
		SessionID: [16]byte{1}, Type: "t", Account: "a", PrincipalID: "p", ARN: "arn", RoleARN: "r", SessionName: "n", Issued: now,
		Expires: now.Add(time.Hour), MFA: &now, Policies: []string{"x"}, PolicyARNs: []string{"y"}, Tags: map[string]string{"k": "v"},
		TransitiveTags: []string{"k"}, SourceIdentity: "s", Provider: "pr", CredentialID: "c", Depth: 3,
	}
	for i := range reflect.ValueOf(c).NumField() {
		if reflect.ValueOf(c).Field(i).IsZero() {
			t.Errorf("the test leaves %s out", reflect.TypeOf(c).Field(i).Name)
		}
	}
	b, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var c2 message.Claims
	if err := c2.Decode(b); err != nil || cmp.Diff(c, c2) != "" {
		t.Error(err, cmp.Diff(c, c2))
	}
	list := []message.Revocation{
		{SessionID: [16]byte{9}, IssuedBefore: now, Epoch: 1}, {PrincipalID: "p", Epoch: 2}, {CredentialID: "c"}, {Account: "a"},
		{AccessKeyID: "k", By: "w"},
	}
	b, err = message.EncodeRevocations(list)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := message.DecodeRevocations(b); err != nil || cmp.Diff(list, got) != "" {
		t.Error(err, cmp.Diff(list, got))
	}
	if first, second, err := message.SplitSetup(message.Setup([]byte("a"), []byte("bc"))); err != nil || string(first) != "a" || string(second) != "bc" {
		t.Errorf("%q, %q, %v", first, second, err)
	}
}

func FuzzParsers(f *testing.F) {
	p := message.Params{AccessKeyID: "AKIAEXAMPLEEXAMPLE12", StringToSign: []byte("x"), Since: 7}
	f.Add(p.Append(nil))
	r := message.Result{Secret: []byte("x"), NotAfter: 9, Epoch: 2}
	f.Add(r.Append(nil))
	claims, err := (&message.Claims{Type: "t", Tags: map[string]string{"k": "v"}}).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(claims)
	f.Add(message.Setup([]byte("a"), []byte("b")))
	f.Add((&message.Factor{Serial: "arn", Codes: []byte("123456"), Label: "x"}).Append(nil))
	f.Add((&message.Password{User: "u", New: []byte("p"), Reuse: 3}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p, p2 message.Params
		if p.Parse(b) == nil && (p2.Parse(p.Append(nil)) != nil || !reflect.DeepEqual(norm(p), norm(p2))) {
			t.Errorf("parameters change: %+v, %+v", p, p2)
		}
		var r message.Result
		_ = r.Parse(b)
		var c, c2 message.Claims
		if c.Decode(b) == nil && c.Depth <= 1<<15 {
			again, err := c.Encode()
			if err != nil || c2.Decode(again) != nil {
				t.Errorf("claims do not come back: %+v, %v", c, err)
			}
		}
		_, _ = message.DecodeRevocations(b)
		_, _, _ = message.SplitSetup(b)
		var s message.Status
		_ = s.Decode(b)
		var f, f2 message.Factor
		if f.Parse(b) == nil && (f2.Parse(f.Append(nil)) != nil || f2.Serial != f.Serial || string(f2.Codes) != string(f.Codes)) {
			t.Errorf("a factor changes: %+v, %+v", f, f2)
		}
		var w, w2 message.Password
		if w.Parse(b) == nil && (w2.Parse(w.Append(nil)) != nil || w2.User != w.User || string(w2.New) != string(w.New) || w2.Reuse != w.Reuse) {
			t.Error("a password changes")
		}
	})
}

// norm makes an empty field and an absent one the same.
func norm(p message.Params) message.Params {
	v := reflect.ValueOf(&p).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice && f.Len() == 0 {
			f.SetZero()
		}
	}
	return p
}
