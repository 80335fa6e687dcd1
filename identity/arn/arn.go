// Package arn parses and prints Amazon Resource Names, the names of
// everything in the house.
//
// It does not match patterns: that is the policy language's business, where a
// pattern may hold variables (identity/policy).
package arn

import (
	"errors"
	"strings"
)

// Partition is the partition of every ARN that Leadglass makes.
const Partition = "aws"

// ErrMalformed is returned for text that is not an ARN.
var ErrMalformed = errors.New("arn: not an ARN")

// An ARN is arn:partition:service:region:account:resource. The resource keeps
// its colons and slashes.
type ARN struct {
	Partition, Service, Region, Account, Resource string
}

// Parse splits s into its six parts. Partition, service and resource must not
// be empty.
func Parse(s string) (ARN, error) {
	p := strings.SplitN(s, ":", 6)
	if len(p) != 6 || p[0] != "arn" || p[1] == "" || p[2] == "" || p[5] == "" {
		return ARN{}, ErrMalformed
	}
	return ARN{p[1], p[2], p[3], p[4], p[5]}, nil
}

// String prints the ARN.
func (a ARN) String() string {
	return "arn:" + a.Partition + ":" + a.Service + ":" + a.Region + ":" + a.Account + ":" + a.Resource
}

// Split gives type and name of a resource of the form type/name: the part before the
// first slash and the part after it. Without a slash the name is empty.
func (a ARN) Split() (kind, name string) {
	kind, name, _ = strings.Cut(a.Resource, "/")
	return kind, name
}

// Root is arn:aws:iam::ACCOUNT:root.
func Root(account string) string { return "arn:" + Partition + ":iam::" + account + ":root" }

// IAM is the ARN of an IAM entity: kind is user, role, group, policy or
// instance-profile; path starts and ends with a slash.
func IAM(account, kind, path, name string) string {
	return "arn:" + Partition + ":iam::" + account + ":" + kind + path + name
}

// AssumedRole is the ARN of a role session. A role's path is not part of it.
func AssumedRole(account, role, session string) string {
	return "arn:" + Partition + ":sts::" + account + ":assumed-role/" + role + "/" + session
}

// IsAccount says whether s is a 12-digit account number.
func IsAccount(s string) bool {
	if len(s) != 12 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
