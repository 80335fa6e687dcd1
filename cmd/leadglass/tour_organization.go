package main

import (
	"context"
	"fmt"
	"strings"
)

// guardrail puts both hospitals under an organization whose policy their own
// administrators cannot lift. It comes after the chapters that need them free.
func (t *tour) guardrail(ctx context.Context) error {
	created, err := createAccount(ctx, t.operator, "Hospital group")
	if err != nil {
		return fmt.Errorf("opening the account of the group: %w", err)
	}
	r, err := redeem(ctx, t.plane.url, t.operator.Region, created.EnrolmentCode)
	if err != nil {
		return fmt.Errorf("redeeming the code of the group: %w", err)
	}
	group := newClient(profile{Name: "Hospital group", Region: t.operator.Region, Endpoint: t.plane.url, AccessKeyID: r.AccessKeyId, SecretAccessKey: r.SecretAccessKey})
	call := func(c *client, op string, in map[string]any, out any) error {
		_, err := c.json(ctx, "organizations", op, in, out)
		return err
	}
	must := func(c *client, op string, in map[string]any, out any) {
		if err == nil {
			if err = call(c, op, in, out); err != nil {
				err = fmt.Errorf("organizations:%s: %w", op, err)
			}
		}
	}
	var (
		roots   struct{ Roots []struct{ Id string } }
		invited struct{ Handshake struct{ Id string } }
		made    struct {
			Policy struct{ PolicySummary struct{ Id, Arn string } }
		}
		key       struct{ KeyMetadata struct{ KeyId string } }
		hospitals = []struct {
			name, account string
			c             *client
		}{{"hospital A", t.accountA, t.a}, {"hospital B", t.accountB, t.b}}
	)
	must(group, "CreateOrganization", map[string]any{"FeatureSet": "ALL"}, nil)
	must(group, "ListRoots", map[string]any{}, &roots)
	if err != nil {
		return err
	}
	if len(roots.Roots) != 1 {
		return fmt.Errorf("the group has %d roots", len(roots.Roots))
	}
	root := roots.Roots[0].Id
	must(group, "EnablePolicyType", map[string]any{"RootId": root, "PolicyType": "SERVICE_CONTROL_POLICY"}, nil)
	for _, h := range hospitals {
		must(group, "InviteAccountToOrganization", map[string]any{"Target": map[string]any{"Id": h.account, "Type": "ACCOUNT"}}, &invited)
		must(h.c, "AcceptHandshake", map[string]any{"HandshakeId": invited.Handshake.Id}, nil)
	}
	must(group, "CreatePolicy", map[string]any{
		"Type": "SERVICE_CONTROL_POLICY", "Name": "keep patient records", "Description": "no key is deleted, and nobody leaves",
		"Content": `{"Version":"2012-10-17","Statement":[{"Sid":"KeepRecords","Effect":"Deny","Action":["kms:ScheduleKeyDeletion","organizations:LeaveOrganization"],"Resource":"*"}]}`,
	}, &made)
	policy := made.Policy.PolicySummary
	must(group, "AttachPolicy", map[string]any{"PolicyId": policy.Id, "TargetId": root}, nil)
	if err != nil {
		return err
	}

	holds, lines := true, []string{}
	for _, h := range hospitals {
		if _, err := h.c.json(ctx, "kms", "CreateKey", map[string]any{"Description": "more records"}, &key); err != nil {
			return fmt.Errorf("a key of %s: %w", h.name, err)
		}
		_, deletion := h.c.json(ctx, "kms", "ScheduleKeyDeletion", map[string]any{"KeyId": key.KeyMetadata.KeyId}, nil)
		leaving := call(h.c, "LeaveOrganization", map[string]any{}, nil)
		lifting := call(h.c, "DetachPolicy", map[string]any{"PolicyId": policy.Id, "TargetId": root}, nil)
		named := deletion != nil && strings.Contains(deletion.Error(), policy.Arn)
		holds = holds && named && codeOf(leaving) == "AccessDeniedException" && codeOf(lifting) == "AccessDeniedException"
		lines = append(lines, fmt.Sprintf("%s: delete a key: %s (names the policy: %v); leave: %s; take the policy off: %s", h.name, codeOf(deletion), named, codeOf(leaving), codeOf(lifting)))
	}
	t.add(claim{
		Promise:  "a guardrail above an account binds its own administrators",
		Claim:    "Two hospitals that joined a group of their own accord are under a guardrail that even their administrators cannot lift",
		By:       "administrators of hospital A and hospital B",
		Tried:    "delete a key of their own, leave the group, take the policy off; each may do everything in its own account",
		Happened: strings.Join(lines, "\n"),
		Evidence: policy.Arn,
		Holds:    holds,
	})
	lifting := call(t.operator, "DetachPolicy", map[string]any{"PolicyId": policy.Id, "TargetId": root}, nil)
	managing := call(t.operator, "CreateOrganization", map[string]any{"FeatureSet": "ALL"}, nil)
	t.add(claim{
		Promise:  "a guardrail above an account binds its own administrators",
		Claim:    "The operator can neither lift a guardrail nor manage an organization",
		By:       "operator, with every right in its own account",
		Tried:    "take the group's policy off; make an organization of its own",
		Happened: codeOf(lifting) + "; " + codeOf(managing),
		Evidence: "the operator's account takes no part in organizations",
		Holds:    codeOf(lifting) == "AWSOrganizationsNotInUseException" && codeOf(managing) == "AccessDeniedException",
	})
	return nil
}
