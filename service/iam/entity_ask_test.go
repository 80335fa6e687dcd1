package iam_test

import (
	"strings"

	api "github.com/leadglass/leadglass/api/iam"
)

// tierTwoEntities are the operations of sts-and-fas section 2, tier 2, on groups,
// boundaries, instance profiles, service-linked roles, aliases and the account as
// a whole.
var tierTwoEntities = strings.Fields(`
	CreateGroup GetGroup ListGroups DeleteGroup UpdateGroup AddUserToGroup RemoveUserFromGroup ListGroupsForUser
	AttachGroupPolicy DetachGroupPolicy ListAttachedGroupPolicies PutGroupPolicy GetGroupPolicy DeleteGroupPolicy ListGroupPolicies
	PutUserPermissionsBoundary DeleteUserPermissionsBoundary PutRolePermissionsBoundary DeleteRolePermissionsBoundary
	CreateInstanceProfile GetInstanceProfile ListInstanceProfiles ListInstanceProfilesForRole DeleteInstanceProfile
	AddRoleToInstanceProfile RemoveRoleFromInstanceProfile TagInstanceProfile UntagInstanceProfile ListInstanceProfileTags
	CreateServiceLinkedRole DeleteServiceLinkedRole GetServiceLinkedRoleDeletionStatus
	CreateAccountAlias DeleteAccountAlias ListAccountAliases GetAccountSummary GetAccountAuthorizationDetails ListEntitiesForPolicy
	ListSSHPublicKeys ListSigningCertificates ListServiceSpecificCredentials`)

// entityAskCases are askCases about what is tier two. They follow askCases: the
// user Ada and the role Worker are there.
func entityAskCases(p *plane, edge, policy string) map[string]struct {
	in   any
	want []asked
} {
	type keys = map[string][]string
	type c = struct {
		in   any
		want []asked
	}
	tags := []api.Tag{{Key: "Team", Value: "Heart"}}
	do[api.CreateGroupOutput](p, p.admin, &api.CreateGroupInput{Path: "/staff/", GroupName: "Nurses"})
	do[api.CreateInstanceProfileOutput](p, p.admin, &api.CreateInstanceProfileInput{Path: "/vm/", InstanceProfileName: "Box", Tags: tags})
	do[api.CreateServiceLinkedRoleOutput](p, p.admin, &api.CreateServiceLinkedRoleInput{AWSServiceName: "autoscaling.amazonaws.com"})
	do[api.TagRoleOutput](p, p.admin, &api.TagRoleInput{RoleName: "AWSServiceRoleForAutoScaling", Tags: tags})
	const linked = "role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"

	has := keys{"aws:ResourceTag/Team": {"Heart"}, "iam:ResourceTag/Team": {"Heart"}}
	profileHas := keys{"aws:ResourceTag/Team": {"Heart"}}
	bounded := func(boundary string) keys {
		return keys{"aws:ResourceTag/Team": {"Heart"}, "iam:ResourceTag/Team": {"Heart"}, "iam:PermissionsBoundary": {boundary}}
	}
	ada, worker, nurses, box := "user/ward/Ada", "role/app/Worker", "group/staff/Nurses", "instance-profile/vm/Box"
	group := func(action string, in any) c { return c{in, []asked{{action, nurses, keys{}}}} }
	whole := func(action string, in any) c { return c{in, []asked{{action, "*", keys{}}}} }
	return map[string]c{
		"CreateGroup": {&api.CreateGroupInput{GroupName: "New", Path: "/x/"}, []asked{{"CreateGroup", "group/x/New", keys{}}}},
		"ListGroups":  {&api.ListGroupsInput{PathPrefix: "/staff/"}, []asked{{"ListGroups", "group/staff/", keys{}}}},
		"UpdateGroup": {&api.UpdateGroupInput{GroupName: "nurses", NewPath: "/q/", NewGroupName: "Sisters"},
			[]asked{{"UpdateGroup", nurses, keys{}}, {"UpdateGroup", "group/q/Sisters", keys{}}}},
		"ListGroupsForUser":   {&api.ListGroupsForUserInput{UserName: "ada"}, []asked{{"ListGroupsForUser", ada, has}}},
		"GetGroup":            group("GetGroup", &api.GetGroupInput{GroupName: "nurses"}),
		"DeleteGroup":         group("DeleteGroup", &api.DeleteGroupInput{GroupName: "NURSES"}),
		"AddUserToGroup":      group("AddUserToGroup", &api.AddUserToGroupInput{GroupName: "nurses", UserName: "Ada"}),
		"RemoveUserFromGroup": group("RemoveUserFromGroup", &api.RemoveUserFromGroupInput{GroupName: "nurses", UserName: "Ada"}),

		"AttachGroupPolicy": {&api.AttachGroupPolicyInput{GroupName: "nurses", PolicyArn: policy}, []asked{{"AttachGroupPolicy", nurses, keys{"iam:PolicyARN": {policy}}}}},
		"DetachGroupPolicy": {&api.DetachGroupPolicyInput{GroupName: "nurses", PolicyArn: policy}, []asked{{"DetachGroupPolicy", nurses, keys{"iam:PolicyARN": {policy}}}}},

		"ListAttachedGroupPolicies": group("ListAttachedGroupPolicies", &api.ListAttachedGroupPoliciesInput{GroupName: "nurses"}),
		"PutGroupPolicy":            group("PutGroupPolicy", &api.PutGroupPolicyInput{GroupName: "nurses"}),
		"GetGroupPolicy":            group("GetGroupPolicy", &api.GetGroupPolicyInput{GroupName: "nurses"}),
		"DeleteGroupPolicy":         group("DeleteGroupPolicy", &api.DeleteGroupPolicyInput{GroupName: "nurses"}),
		"ListGroupPolicies":         group("ListGroupPolicies", &api.ListGroupPoliciesInput{GroupName: "nurses"}),

		"PutUserPermissionsBoundary":    {&api.PutUserPermissionsBoundaryInput{UserName: "ada", PermissionsBoundary: policy}, []asked{{"PutUserPermissionsBoundary", ada, bounded(policy)}}},
		"DeleteUserPermissionsBoundary": {&api.DeleteUserPermissionsBoundaryInput{UserName: "ada"}, []asked{{"DeleteUserPermissionsBoundary", ada, bounded(edge)}}},
		"PutRolePermissionsBoundary":    {&api.PutRolePermissionsBoundaryInput{RoleName: "worker", PermissionsBoundary: policy}, []asked{{"PutRolePermissionsBoundary", worker, bounded(policy)}}},
		"DeleteRolePermissionsBoundary": {&api.DeleteRolePermissionsBoundaryInput{RoleName: "worker"}, []asked{{"DeleteRolePermissionsBoundary", worker, bounded(edge)}}},

		"CreateInstanceProfile": {&api.CreateInstanceProfileInput{InstanceProfileName: "New", Tags: tags}, []asked{
			{"CreateInstanceProfile", "instance-profile/New", keys{"aws:RequestTag/Team": {"Heart"}, "aws:TagKeys": {"Team"}}},
			{"TagInstanceProfile", "instance-profile/New", keys{"aws:RequestTag/Team": {"Heart"}, "aws:TagKeys": {"Team"}}}}},
		"GetInstanceProfile":          {&api.GetInstanceProfileInput{InstanceProfileName: "box"}, []asked{{"GetInstanceProfile", box, profileHas}}},
		"ListInstanceProfiles":        {&api.ListInstanceProfilesInput{}, []asked{{"ListInstanceProfiles", "instance-profile/", keys{}}}},
		"ListInstanceProfilesForRole": {&api.ListInstanceProfilesForRoleInput{RoleName: "worker"}, []asked{{"ListInstanceProfilesForRole", worker, has}}},
		"DeleteInstanceProfile":       {&api.DeleteInstanceProfileInput{InstanceProfileName: "box"}, []asked{{"DeleteInstanceProfile", box, profileHas}}},
		"AddRoleToInstanceProfile": {&api.AddRoleToInstanceProfileInput{InstanceProfileName: "box", RoleName: "worker"}, []asked{
			{"AddRoleToInstanceProfile", box, profileHas},
			{"PassRole", worker, keys{"aws:ResourceTag/Team": {"Heart"}, "iam:ResourceTag/Team": {"Heart"}, "iam:PassedToService": {"ec2.amazonaws.com"}}}}},
		"RemoveRoleFromInstanceProfile": {&api.RemoveRoleFromInstanceProfileInput{InstanceProfileName: "box", RoleName: "worker"}, []asked{{"RemoveRoleFromInstanceProfile", box, profileHas}}},
		"TagInstanceProfile": {&api.TagInstanceProfileInput{InstanceProfileName: "box", Tags: []api.Tag{{Key: "a", Value: "1"}}}, []asked{
			{"TagInstanceProfile", box, keys{"aws:ResourceTag/Team": {"Heart"}, "aws:RequestTag/a": {"1"}, "aws:TagKeys": {"a"}}}}},
		"UntagInstanceProfile":    {&api.UntagInstanceProfileInput{InstanceProfileName: "box", TagKeys: []string{"a"}}, []asked{{"UntagInstanceProfile", box, keys{"aws:ResourceTag/Team": {"Heart"}, "aws:TagKeys": {"a"}}}}},
		"ListInstanceProfileTags": {&api.ListInstanceProfileTagsInput{InstanceProfileName: "box"}, []asked{{"ListInstanceProfileTags", box, profileHas}}},

		"CreateServiceLinkedRole": {&api.CreateServiceLinkedRoleInput{AWSServiceName: "autoscaling.amazonaws.com", CustomSuffix: "b"}, []asked{
			{"CreateServiceLinkedRole", linked + "_b", keys{"iam:AWSServiceName": {"autoscaling.amazonaws.com"}}}}},
		"DeleteServiceLinkedRole": {&api.DeleteServiceLinkedRoleInput{RoleName: "awsServiceRoleForAutoScaling"}, []asked{{"DeleteServiceLinkedRole", linked, has}}},
		"GetServiceLinkedRoleDeletionStatus": {&api.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: "task/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling/1"}, []asked{
			{"GetServiceLinkedRoleDeletionStatus", linked, keys{}}}},

		"ListSSHPublicKeys":              {&api.ListSSHPublicKeysInput{UserName: "ada"}, []asked{{"ListSSHPublicKeys", ada, has}}},
		"ListSigningCertificates":        {&api.ListSigningCertificatesInput{UserName: "ada"}, []asked{{"ListSigningCertificates", ada, has}}},
		"ListServiceSpecificCredentials": {&api.ListServiceSpecificCredentialsInput{UserName: "ada"}, []asked{{"ListServiceSpecificCredentials", ada, has}}},
		"CreateAccountAlias":             whole("CreateAccountAlias", &api.CreateAccountAliasInput{AccountAlias: "clinic"}),
		"DeleteAccountAlias":             whole("DeleteAccountAlias", &api.DeleteAccountAliasInput{AccountAlias: "clinic"}),
		"ListAccountAliases":             whole("ListAccountAliases", &api.ListAccountAliasesInput{}),
		"GetAccountSummary":              whole("GetAccountSummary", &api.GetAccountSummaryInput{}),
		"GetAccountAuthorizationDetails": whole("GetAccountAuthorizationDetails", &api.GetAccountAuthorizationDetailsInput{}),
		"ListEntitiesForPolicy":          {&api.ListEntitiesForPolicyInput{PolicyArn: policy}, []asked{{"ListEntitiesForPolicy", "policy/x/Reader", profileHas}}},
	}
}
