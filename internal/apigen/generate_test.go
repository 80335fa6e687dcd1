package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCommittedFilesAreWhatTheGeneratorWrites(t *testing.T) {
	api := filepath.Join("..", "..", "api")
	files, err := Generate(os.DirFS(api))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("only %d files generated", len(files))
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(api, name))
		if err != nil {
			t.Errorf("%v (run go generate ./api)", err)
			continue
		}
		if string(got) != string(want) {
			t.Errorf("api/%s is not what the models say: run go generate ./api", name)
		}
	}
	entries, err := filepath.Glob(filepath.Join(api, "*", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		rel, err := filepath.Rel(api, e)
		if err != nil {
			t.Fatal(err)
		}
		if files[filepath.ToSlash(rel)] == nil {
			t.Errorf("%s is in the generated packages but not generated", e)
		}
	}
}

func TestConstantNamesReadAsInTheSDK(t *testing.T) {
	for value, want := range map[string]string{
		"SYMMETRIC_DEFAULT": "SymmetricDefault",
		"RSA_2048":          "RSA2048",
		"ECC_NIST_P256":     "ECCNISTP256",
		"Active":            "Active",
		"aws:kms":           "AwsKms",
		"1":                 "1",
	} {
		if got := constantName(value); got != want {
			t.Errorf("constantName(%q) = %q, want %q", value, got, want)
		}
	}
}

func TestTrimmingKeepsOnlyWhatTheOperationsReach(t *testing.T) {
	text := []byte(`{
"metadata":{"protocol": "json", "jsonVersion": "1.1"},
"operations":{
"A":{"name":"A","http":{"method":"POST","requestUri":"/"},"input":{"shape":"In"}},
"B":{"name":"B","http":{"method":"POST","requestUri":"/"},"input":{"shape":"Other"}}
},
"shapes":{
"In":{"type":"structure","members":{"X":{"shape":"S"}}},
"Other":{"type":"structure","members":{}},
"S":{"type":"string"}
}
}`)
	got, err := trim(text, []string{"A"})
	if err != nil {
		t.Fatal(err)
	}
	want := `{
"metadata":{"protocol": "json", "jsonVersion": "1.1", "operationNames": ["A","B"]},
"operations":{
"A":{"name":"A","http":{"method":"POST","requestUri":"/"},"input":{"shape":"In"}}
},
"shapes":{
"In":{"type":"structure","members":{"X":{"shape":"S"}}},
"S":{"type":"string"}
}
}
`
	if string(got) != want {
		t.Errorf("trim wrote\n%s\nwant\n%s", got, want)
	}
	if _, err := trim(text, []string{"C"}); err == nil {
		t.Error("an operation that the model lacks was accepted")
	}
}

func TestSlipsInTheListsAreReported(t *testing.T) {
	if _, _, err := readOperations("kms Encrypt\nkms Encrypt\n"); err == nil {
		t.Error("an operation listed twice was accepted")
	}
	if _, err := readOverrides("presense kms A B\n"); err == nil {
		t.Error("an unknown override was accepted")
	}
	o, err := readOverrides("always kms A B\n")
	if err != nil {
		t.Fatal(err)
	}
	if o.unused() == nil {
		t.Error("an override that names nothing was accepted")
	}
}
