package iam_test

import (
	"strings"
	"testing"

	api "github.com/leadglass/leadglass/api/iam"
)

// A carrier is a type of resource with tags: one call of each sort, by the resource's name.
type carrier struct {
	create      func(name string, tags ...api.Tag) any
	read, write func(name string) any
	list        func(name string) any // of its tags
	tag         func(name string, tags ...api.Tag) any
	untag       func(name string, keys ...string) any
	createOnly  string // the action of create, without that of tagging
}

// carriers are all types of IAM's resources that have tags.
func (p *plane) carriers() map[string]carrier {
	policyARN := func(name string) string { return p.arnOf("policy/" + name) }
	providerARN := func(name string) string { return p.arnOf("oidc-provider/" + strings.ToLower(name) + ".example.org") }
	return map[string]carrier{
		"user": {
			create: func(name string, tags ...api.Tag) any { return &api.CreateUserInput{UserName: name, Tags: tags} },
			read:   func(name string) any { return &api.GetUserInput{UserName: name} },
			write: func(name string) any {
				return &api.PutUserPolicyInput{UserName: name, PolicyName: "p", PolicyDocument: allowRead}
			},
			list:       func(name string) any { return &api.ListUserTagsInput{UserName: name} },
			tag:        func(name string, tags ...api.Tag) any { return &api.TagUserInput{UserName: name, Tags: tags} },
			untag:      func(name string, keys ...string) any { return &api.UntagUserInput{UserName: name, TagKeys: keys} },
			createOnly: "iam:CreateUser",
		},
		"role": {
			create: func(name string, tags ...api.Tag) any {
				return &api.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: p.trust(), Tags: tags}
			},
			read: func(name string) any { return &api.GetRoleInput{RoleName: name} },
			write: func(name string) any {
				return &api.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: p.trust()}
			},
			list:       func(name string) any { return &api.ListRoleTagsInput{RoleName: name} },
			tag:        func(name string, tags ...api.Tag) any { return &api.TagRoleInput{RoleName: name, Tags: tags} },
			untag:      func(name string, keys ...string) any { return &api.UntagRoleInput{RoleName: name, TagKeys: keys} },
			createOnly: "iam:CreateRole",
		},
		"MFA device": {
			create: func(name string, tags ...api.Tag) any {
				return &api.CreateVirtualMFADeviceInput{VirtualMFADeviceName: name, Tags: tags}
			},
			// GetMFADevice is asked about the user who has the device, as with AWS.
			read: func(name string) any { return &api.ListMFADeviceTagsInput{SerialNumber: p.arnOf("mfa/" + name)} },
			write: func(name string) any {
				return &api.TagMFADeviceInput{SerialNumber: p.arnOf("mfa/" + name), Tags: []api.Tag{{Key: "x", Value: "y"}}}
			},
			list: func(name string) any { return &api.ListMFADeviceTagsInput{SerialNumber: p.arnOf("mfa/" + name)} },
			tag: func(name string, tags ...api.Tag) any {
				return &api.TagMFADeviceInput{SerialNumber: p.arnOf("mfa/" + name), Tags: tags}
			},
			untag: func(name string, keys ...string) any {
				return &api.UntagMFADeviceInput{SerialNumber: p.arnOf("mfa/" + name), TagKeys: keys}
			},
			createOnly: "iam:CreateVirtualMFADevice",
		},
		"OpenID Connect provider": {
			create: func(name string, tags ...api.Tag) any {
				return &api.CreateOpenIDConnectProviderInput{Url: "https://" + name + ".example.org", ClientIDList: []string{"app"}, Tags: tags}
			},
			read: func(name string) any {
				return &api.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: providerARN(name)}
			},
			write: func(name string) any {
				return &api.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: providerARN(name), ClientID: "other"}
			},
			list: func(name string) any {
				return &api.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: providerARN(name)}
			},
			tag: func(name string, tags ...api.Tag) any {
				return &api.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: providerARN(name), Tags: tags}
			},
			untag: func(name string, keys ...string) any {
				return &api.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: providerARN(name), TagKeys: keys}
			},
			createOnly: "iam:CreateOpenIDConnectProvider",
		},
		"instance profile": {
			create: func(name string, tags ...api.Tag) any {
				return &api.CreateInstanceProfileInput{InstanceProfileName: name, Tags: tags}
			},
			read: func(name string) any { return &api.GetInstanceProfileInput{InstanceProfileName: name} },
			write: func(name string) any {
				// A role is handed over as well, which needs its own permission: only the profile's tags are tested here.
				return &api.TagInstanceProfileInput{InstanceProfileName: name, Tags: []api.Tag{{Key: "x", Value: "y"}}}
			},
			list: func(name string) any { return &api.ListInstanceProfileTagsInput{InstanceProfileName: name} },
			tag: func(name string, tags ...api.Tag) any {
				return &api.TagInstanceProfileInput{InstanceProfileName: name, Tags: tags}
			},
			untag: func(name string, keys ...string) any {
				return &api.UntagInstanceProfileInput{InstanceProfileName: name, TagKeys: keys}
			},
			createOnly: "iam:CreateInstanceProfile",
		},
		"policy": {
			create: func(name string, tags ...api.Tag) any {
				return &api.CreatePolicyInput{PolicyName: name, PolicyDocument: allowRead, Tags: tags}
			},
			read: func(name string) any { return &api.GetPolicyInput{PolicyArn: policyARN(name)} },
			write: func(name string) any {
				return &api.SetDefaultPolicyVersionInput{PolicyArn: policyARN(name), VersionId: "v1"}
			},
			list: func(name string) any { return &api.ListPolicyTagsInput{PolicyArn: policyARN(name)} },
			tag: func(name string, tags ...api.Tag) any {
				return &api.TagPolicyInput{PolicyArn: policyARN(name), Tags: tags}
			},
			untag: func(name string, keys ...string) any {
				return &api.UntagPolicyInput{PolicyArn: policyARN(name), TagKeys: keys}
			},
			createOnly: "iam:CreatePolicy",
		},
	}
}

func ward(number string) api.Tag { return api.Tag{Key: "ward", Value: number} }

// Rules by tags govern everything that can be done to what carries tags, with every type of resource.
func TestTagsGovernEveryCallOnWhatCarriesThem(t *testing.T) {
	for kind := range new(plane).carriers() {
		t.Run(kind, func(t *testing.T) {
			p := newPlane(t)
			c := p.carriers()[kind]
			for name, tags := range map[string][]api.Tag{"mine": {ward("7")}, "theirs": {ward("8")}, "bare": nil} {
				if _, _, err := p.try(p.admin, c.create(name, tags...)); err != nil {
					t.Fatal(err)
				}
			}
			const denied = "AccessDenied"
			of := func(name string) map[string]any {
				return map[string]any{
					"read": c.read(name), "write": c.write(name), "list": c.list(name),
					"tag": c.tag(name, api.Tag{Key: "bed", Value: "1"}), "untag": c.untag(name, "bed"),
				}
			}
			allowed := p.user("/", "byAllow", allow(`"iam:*"`, `"*"`, `{"StringEquals":{"aws:ResourceTag/ward":"7"}}`))
			spared := p.user("/", "byDeny", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/ward":"8"}}}]}`)
			for _, call := range []string{"read", "write", "list", "tag", "untag"} {
				for name, want := range map[string]string{"mine": "", "theirs": denied, "bare": denied} {
					p.wantCode(allowed, of(name)[call], want)
				}
				for name, want := range map[string]string{"mine": "", "theirs": denied, "bare": ""} {
					p.wantCode(spared, of(name)[call], want)
				}
			}
			// Nobody tags a resource over to his side: what it carries before the call decides.
			p.wantCode(allowed, c.tag("theirs", ward("7")), denied)
			p.wantCode(spared, c.untag("theirs", "ward"), denied)
			// A tag that is taken away takes the permission with it.
			p.wantCode(allowed, c.tag("mine", ward("8")), "")
			p.wantCode(allowed, c.read("mine"), denied)

			// Tags that a call passes.
			only7 := p.user("/", "only7", allow(`"iam:*"`, `"*"`, `{"StringEquals":{"aws:RequestTag/ward":"7"},"ForAllValues:StringEquals":{"aws:TagKeys":["ward","bed"]}}`))
			p.wantCode(only7, c.create("a", ward("8")), denied)
			p.wantCode(only7, c.create("a"), denied)
			p.wantCode(only7, c.create("a", ward("7"), api.Tag{Key: "boss", Value: "me"}), denied)
			p.wantCode(only7, c.create("a", ward("7"), api.Tag{Key: "bed", Value: "1"}), "")
			p.wantCode(only7, c.tag("bare", ward("8")), denied)
			p.wantCode(only7, c.tag("bare", ward("7")), "")
			neverBoss := p.user("/", "neverBoss", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"aws:TagKeys":"boss"}}}]}`)
			p.wantCode(neverBoss, c.create("b", ward("7"), api.Tag{Key: "boss", Value: "me"}), denied)
			p.wantCode(neverBoss, c.create("b", ward("7")), "")
			p.wantCode(neverBoss, c.tag("b", api.Tag{Key: "boss", Value: "me"}), denied)
			p.wantCode(neverBoss, c.untag("b", "boss"), denied)
			p.wantCode(neverBoss, c.untag("b", "ward"), "")

			// Tags at creation are tagging, and need its permission too.
			creator := p.user("/", "creator", allow(`"`+c.createOnly+`"`, `"*"`))
			p.wantCode(creator, c.create("c", ward("7")), denied)
			p.wantCode(creator, c.create("c"), "")
		})
	}
}
