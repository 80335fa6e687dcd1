package iam

import (
	"time"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
)

// listOf is the part of a listing's input that all listings share.
func listOf(prefix, marker string, maxItems *int32) directory.List {
	l := directory.List{PathPrefix: prefix, Marker: marker}
	if maxItems != nil {
		l.MaxItems = int(*maxItems)
	}
	return l
}

// pageOf puts the items of a page into AWS's shape. IsTruncated is always
// answered: paginators of some clients read its absence as false.
func pageOf[T, S any](p directory.Page[T], shape func(T) S) (items []S, truncated *bool, marker string) {
	for _, it := range p.Items {
		items = append(items, shape(it))
	}
	return items, new(p.Marker != ""), p.Marker
}

// date is a time as IAM tells it: in whole seconds.
func date(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// userShape is a user with all that GetUser tells.
func userShape(u directory.User) iam.User {
	s := listedUser(u)
	s.PermissionsBoundary, s.Tags = boundaryShape(u.Boundary), tagShapes(u.Tags)
	return s
}

// listedUser is a user as ListUsers tells it: without tags and boundary.
func listedUser(u directory.User) iam.User {
	return iam.User{Path: u.Path, UserName: u.Name, UserId: u.ID, Arn: u.ARN, CreateDate: date(u.Created)}
}

// roleShape is a role with all that GetRole tells.
func roleShape(r directory.Role) iam.Role {
	s := listedRole(r)
	s.PermissionsBoundary, s.Tags = boundaryShape(r.Boundary), tagShapes(r.Tags)
	s.RoleLastUsed = new(iam.RoleLastUsed) // there, but empty, for a role that was never used
	if !r.LastUsed.Time.IsZero() {
		*s.RoleLastUsed = iam.RoleLastUsed{LastUsedDate: date(r.LastUsed.Time), Region: r.LastUsed.Region}
	}
	return s
}

// listedRole is a role as ListRoles tells it: without tags, boundary and last use.
func listedRole(r directory.Role) iam.Role {
	return iam.Role{
		Path: r.Path, RoleName: r.Name, RoleId: r.ID, Arn: r.ARN, CreateDate: date(r.Created),
		AssumeRolePolicyDocument: r.TrustPolicy, Description: r.Description, MaxSessionDuration: new(int32(r.MaxSession)),
	}
}

// policyShape is a managed policy with all that GetPolicy tells.
func policyShape(p directory.Policy) iam.Policy {
	s := listedPolicy(p)
	s.Description, s.Tags = p.Description, tagShapes(p.Tags)
	return s
}

// listedPolicy is a managed policy as ListPolicies tells it: without description and tags.
func listedPolicy(p directory.Policy) iam.Policy {
	return iam.Policy{
		PolicyName: p.Name, PolicyId: p.ID, Arn: p.ARN, Path: p.Path, DefaultVersionId: p.DefaultVersion,
		AttachmentCount: new(int32(p.Attachments)), PermissionsBoundaryUsageCount: new(int32(p.BoundaryUses)),
		IsAttachable: new(true), CreateDate: date(p.Created), UpdateDate: date(p.Updated),
	}
}

// versionShape is a policy version with its document.
func versionShape(v directory.Version) iam.PolicyVersion {
	s := listedVersion(v)
	s.Document = v.Document
	return s
}

// listedVersion is a policy version without its document, which only
// GetPolicyVersion tells.
func listedVersion(v directory.Version) iam.PolicyVersion {
	return iam.PolicyVersion{VersionId: v.ID, IsDefaultVersion: new(v.Default), CreateDate: date(v.Created)}
}

func keyShape(k directory.AccessKey) iam.AccessKeyMetadata {
	return iam.AccessKeyMetadata{UserName: k.UserName, AccessKeyId: k.ID, Status: status(k.Active), CreateDate: date(k.Created)}
}

func status(active bool) iam.StatusType {
	if active {
		return iam.StatusTypeActive
	}
	return iam.StatusTypeInactive
}

func attachedShape(a directory.Attached) iam.AttachedPolicy {
	return iam.AttachedPolicy{PolicyName: a.Name, PolicyArn: a.ARN}
}

func boundaryShape(policyARN string) *iam.AttachedPermissionsBoundary {
	if policyARN == "" {
		return nil
	}
	return &iam.AttachedPermissionsBoundary{
		// IAM answers Policy, as its reference says, although the model's enumeration
		// knows only PermissionsBoundaryPolicy.
		PermissionsBoundaryType: "Policy",
		PermissionsBoundaryArn:  policyARN,
	}
}

func tagShape(t directory.Tag) iam.Tag { return iam.Tag{Key: t.Key, Value: t.Value} }

func tagShapes(tags []directory.Tag) []iam.Tag {
	var shapes []iam.Tag
	for _, t := range tags {
		shapes = append(shapes, tagShape(t))
	}
	return shapes
}

func tagsOf(shapes []iam.Tag) []directory.Tag {
	var tags []directory.Tag
	for _, t := range shapes {
		tags = append(tags, directory.Tag{Key: t.Key, Value: t.Value})
	}
	return tags
}

func itself(s string) string { return s }
