package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// What docs/COVERAGE.md says is served of KMS, some test here calls with the
// Go SDK. That the document is true is tested in package daemon.
func TestEveryOperationOfKMSIsCalledByTheGoSDK(t *testing.T) {
	document, err := os.ReadFile(filepath.Join("..", "..", "docs", "COVERAGE.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(document), "\n## kms\n")
	if !found {
		t.Fatal("no table of KMS")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	called := map[string]bool{}
	call := regexp.MustCompile(`\.(\w+)\([^\n]*&kms\.(\w+)Input\{|\bkms\.New(\w+)Paginator\(`)
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range call.FindAllStringSubmatch(string(source), -1) {
			if m[1] == m[2] || m[3] != "" {
				called[m[1]+m[3]] = true
			} else {
				called[m[2]] = called[m[2]] || strings.Contains(m[0], "."+m[2]+"(")
			}
		}
	}
	served := regexp.MustCompile(`(?m)^\| \*\*(\w+)\*\* \| served`).FindAllStringSubmatch(table, -1)
	if len(served) != 54 {
		t.Errorf("%d operations are served", len(served))
	}
	for _, m := range served {
		if !called[m[1]] {
			t.Errorf("no test calls %s with the Go SDK", m[1])
		}
	}
}

func TestAKeyHasOnePolicy(t *testing.T) {
	client := kms.NewFromConfig(sdkConfig(t, sharedPlane(t).client(t, "customer")))
	key := must(client.CreateKey(t.Context(), &kms.CreateKeyInput{})).KeyMetadata.KeyId
	out := must(client.ListKeyPolicies(t.Context(), &kms.ListKeyPoliciesInput{KeyId: key, Limit: aws.Int32(1)}))
	if len(out.PolicyNames) != 1 || out.PolicyNames[0] != "default" || out.Truncated {
		t.Errorf("policies: %v, truncated %v", out.PolicyNames, out.Truncated)
	}
}
