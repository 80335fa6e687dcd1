package cases_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/identity/authz/cases"
)

// folders are the project's own vectors and, if the environment names more, those.
func folders() []string {
	all := []string{filepath.Join("..", "..", "..", "testdata", "vectors", "policy-eval")}
	if extra := os.Getenv("LEADGLASS_EXTRA_VECTORS"); extra != "" {
		all = append(all, filepath.Join(extra, "policy-eval"))
	}
	return all
}

func load(t *testing.T, path string) []cases.Case {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := cases.Load(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return all
}

func TestEveryVectorComesOutAsExpected(t *testing.T) {
	ran := 0
	for _, folder := range folders() {
		files, err := filepath.Glob(filepath.Join(folder, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			for _, c := range load(t, file) {
				ran++
				if r := c.Run(); !r.OK {
					t.Error(r.Failure)
				}
			}
		}
	}
	if ran < 206 {
		t.Errorf("only %d cases were found", ran)
	}
}

const allowed = `{"id":"mine","why":"reason","request":{"principal":{"type":"user","arn":"arn:aws:iam::111111111111:user/a","account":"111111111111"},
"action":"s3:GetObject","resource":"arn:aws:s3:::b/x","context":{"s3:max-keys":10,"aws:SecureTransport":true,"aws:TagKeys":["a","b"]}},
"policies":{"identity":[{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"NumericEquals":{"s3:max-keys":"10"},"Bool":{"aws:SecureTransport":"true"}}}]}]},
"expect":{"decision":"DECISION","by":"BY"}}`

func TestAFailureSaysInOneLineWhatCameOut(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"as expected", strings.NewReplacer("DECISION", "allow", "BY", "identity").Replace(allowed), ""},
		{"any type will do", strings.NewReplacer("DECISION", "allow", "BY", "").Replace(allowed), ""},
		{"another decision", strings.NewReplacer("DECISION", "explicit_deny", "BY", "scp").Replace(allowed),
			"mine: got allow by identity, expected explicit_deny by scp (reason)"},
		{"another type", strings.NewReplacer("DECISION", "allow", "BY", "resource").Replace(allowed),
			"mine: got allow by identity, expected allow by resource (reason)"},
		{"an unknown caller", `{"id":"x","request":{"principal":{"type":"robot"}},"expect":{"decision":"allow"}}`, `x: unknown type of principal "robot"`},
		{"a document that does not parse", `{"id":"x","request":{"principal":{"type":"user"}},"policies":{"scps":[[],[{"Statement":[]}]]},"expect":{"decision":"allow"}}`,
			"x: scps[1][0] policy: policy: line 1, column 14: an empty list"},
		{"a grant", `{"id":"x","request":{"principal":{"type":"user","arn":"arn:aws:iam::111111111111:user/a","account":"111111111111"},"action":"kms:Decrypt",
			"resource":"arn:aws:kms:eu-central-1:111111111111:key/k","context":{"kms:EncryptionContext:a":"b"}},"policies":{"grants":[{"grantee":"arn:aws:iam::111111111111:user/a",
			"operations":["Decrypt"],"encryption_context_equals":{"A":"b"}}]},"expect":{"decision":"allow","by":"grant"}}`, ""},
		{"well-formed as expected", `{"kind":"identity","document":"{\"Statement\":{\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\"}}","valid":true}`, ""},
		{"malformed as expected", `{"kind":"identity","document":"","valid":false,"message":"Syntax errors in policy."}`, ""},
		{"malformed in other words", `{"id":"x","kind":"identity","document":"","valid":false,"message":"Has prohibited field Id"}`,
			`x: refused with "Syntax errors in policy.", expected "Has prohibited field Id"`},
		{"malformed against expectation", `{"id":"x","kind":"scp","document":"{}","valid":true}`, "x: the document is refused: policy: line 1, column 1: no Statement"},
		{"well-formed against expectation", `{"id":"x","kind":"vpce","document":"{\"Statement\":{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\"}}","valid":false}`,
			"x: the document is accepted, a refusal was expected"},
		{"an unknown kind", `{"id":"x","kind":"bucket","document":"","valid":true}`, `x: unknown kind of document "bucket"`},
	} {
		all, err := cases.Load(strings.NewReader(`{"format":1,"cases":[` + c.file + `]}`))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		r := all[0].Run()
		if r.OK != (c.want == "") || r.Failure != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, r.Failure, c.want)
		}
	}
}

func TestAFileOfCasesIsCheckedBeforeItRuns(t *testing.T) {
	for _, file := range []string{
		``,
		`[]`,
		`{"format":2,"cases":[]}`,
		`{"cases":[{"id":"x"}]}`,
		`{"cases":[{"document":"x","valid":true}]}`,
		`{"cases":[{"request":{"context":{"a:b":{}}},"expect":{"decision":"allow"}}]}`,
		`{"cases":[{"request":{"context":{"a:b":null}},"expect":{"decision":"allow"}}]}`,
		`{"cases":[{"request":{},"expect":{"decision":"perhaps"}}]}`,
	} {
		if all, err := cases.Load(strings.NewReader(file)); err == nil {
			t.Errorf("%s: %+v", file, all)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(`{"cases":[` + strings.NewReplacer("DECISION", "allow", "BY", "identity").Replace(allowed) + `]}`)
	f.Add(`{"cases":[{"kind":"trust","document":"{}","valid":false}]}`)
	f.Fuzz(func(t *testing.T, file string) {
		all, err := cases.Load(strings.NewReader(file))
		if err != nil {
			return
		}
		for _, c := range all {
			if r := c.Run(); r.OK != (r.Failure == "") {
				t.Errorf("%+v", r)
			}
		}
	})
}
