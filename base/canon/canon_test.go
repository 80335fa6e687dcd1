package canon_test

import (
	"encoding/json"
	"testing"

	"github.com/leadglass/leadglass/base/canon"
)

func TestOnlyWhatMustBeIsEscaped(t *testing.T) {
	for in, want := range map[string]string{
		"":                                  `""`,
		"plain <&> text, é, 日本, \U0001f50f": "\"plain <&> text, é, 日本, \U0001f50f\"",
		`a "quote" and a \`:                 `"a \"quote\" and a \\"`,
		"\n\r\t":                            `"\n\r\t"`,
		"\x00\x08\x0c\x1f\x7f":              "\"\\u0000\\u0008\\u000c\\u001f\x7f\"",
		"\u2028 is no control":              "\"\u2028 is no control\"",
		"a\xffb":                            "\"a\uFFFDb\"",
		"\xe6\x97":                          "\"\uFFFD\uFFFD\"",       // the beginning of 日
		"\xed\xa0\x80":                      "\"\uFFFD\uFFFD\uFFFD\"", // a surrogate
		"a real \uFFFD stays":               "\"a real \uFFFD stays\"",
	} {
		if got := canon.AppendString([]byte("before"), in); string(got) != "before"+want {
			t.Errorf("%q: %s, want before%s", in, got, want)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add("a \"b\" \\ \x01\n é \xff")
	f.Add("\xe6\x97\uFFFD")
	f.Fuzz(func(t *testing.T, s string) {
		b := canon.AppendString(nil, s)
		var got string
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		// A conversion to runes and back makes of every bad byte what is asked for.
		if want := string([]rune(s)); got != want {
			t.Errorf("%q became %q", s, got)
		}
	})
}

// Target: 100 ns and no allocation; every string of every record and answer
// passes here.
func BenchmarkAppendString(b *testing.B) {
	const s = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	dst := make([]byte, 0, 128)
	b.SetBytes(int64(len(s)))
	b.ReportAllocs()
	for b.Loop() {
		dst = canon.AppendString(dst[:0], s)
	}
}
