package iam

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) reports() []operation.Operation {
	return []operation.Operation{
		serve(s, iam.GenerateCredentialReport, s.generateCredentialReport, func(q question, _ *iam.GenerateCredentialReportInput) ([]operation.Ask, error) {
			return []operation.Ask{q.on("*")}, nil
		}),
		serve(s, iam.GetCredentialReport, s.getCredentialReport, func(q question, _ *iam.GetCredentialReportInput) ([]operation.Ask, error) {
			return []operation.Ask{q.on("*")}, nil
		}),
		serve(s, iam.GenerateServiceLastAccessedDetails, s.generateServiceLastAccessedDetails, func(q question, in *iam.GenerateServiceLastAccessedDetailsInput) ([]operation.Ask, error) {
			return one(q.anyEntity(in.Arn))
		}),
		serve(s, iam.GetServiceLastAccessedDetails, s.getServiceLastAccessedDetails, func(q question, _ *iam.GetServiceLastAccessedDetailsInput) ([]operation.Ask, error) {
			return []operation.Ask{q.on("*")}, nil
		}),
		serve(s, iam.GetServiceLastAccessedDetailsWithEntities, s.getServiceLastAccessedDetailsWithEntities, func(q question, _ *iam.GetServiceLastAccessedDetailsWithEntitiesInput) ([]operation.Ask, error) {
			return []operation.Ask{q.on("*")}, nil
		}),
		serve(s, iam.ListPoliciesGrantingServiceAccess, s.listPoliciesGrantingServiceAccess, func(q question, in *iam.ListPoliciesGrantingServiceAccessInput) ([]operation.Ask, error) {
			return one(q.anyEntity(in.Arn))
		}),
	}
}

// anyEntity asks about a user, group, role or policy by its ARN. What belongs
// to another account is that account's: nothing there allows it.
func (q question) anyEntity(of string) (operation.Ask, error) {
	a, err := arn.Parse(of)
	if err != nil || a.Partition != arn.Partition || a.Service != "iam" || a.Region != "" {
		return operation.Ask{}, notAnARN(of)
	}
	kind, name := a.Split()
	if kind == directory.PolicyKind.String() {
		return q.policy(of)
	}
	if name == "" || !arn.IsAccount(a.Account) || !slices.Contains([]string{"user", "group", "role"}, kind) {
		return operation.Ask{}, notAnARN(of)
	}
	ask := operation.Ask{Action: q.action, Resource: of, Owner: a.Account}
	if a.Account != q.call.Account {
		return ask, nil
	}
	// An entity of that name with another path is another ARN, and asked about like one that is missing.
	var tags []directory.Tag
	switch kind {
	case "user":
		if u, err := q.directory.GetUser(a.Account, lastSegment(name)); err == nil && u.ARN == of {
			tags = u.Tags
		}
	case "role":
		if r, err := q.directory.GetRole(a.Account, lastSegment(name)); err == nil && r.ARN == of {
			tags = r.Tags
		}
	}
	for _, t := range tags {
		ask.Context.Set("aws:ResourceTag/"+t.Key, t.Value)
		ask.Context.Set("iam:ResourceTag/"+t.Key, t.Value)
	}
	return ask, nil
}

func lastSegment(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

func (s *Service) generateCredentialReport(_ context.Context, account string, _ *iam.GenerateCredentialReportInput) (*iam.GenerateCredentialReportOutput, error) {
	started, err := s.directory.GenerateCredentialReport(account)
	if err != nil {
		return nil, err
	}
	if started {
		return &iam.GenerateCredentialReportOutput{
			State: iam.ReportStateTypeStarted, Description: "No report exists. Starting a new report generation task",
		}, nil
	}
	return &iam.GenerateCredentialReportOutput{State: iam.ReportStateTypeComplete}, nil
}

func (s *Service) getCredentialReport(_ context.Context, account string, _ *iam.GetCredentialReportInput) (*iam.GetCredentialReportOutput, error) {
	r, err := s.directory.GetCredentialReport(account)
	if err != nil {
		return nil, err
	}
	return &iam.GetCredentialReportOutput{Content: r.Content, ReportFormat: iam.ReportFormatTypeTextCsv, GeneratedTime: date(r.Generated)}, nil
}

func (s *Service) generateServiceLastAccessedDetails(_ context.Context, account string, in *iam.GenerateServiceLastAccessedDetailsInput) (*iam.GenerateServiceLastAccessedDetailsOutput, error) {
	actions := false
	switch in.Granularity {
	case "", iam.AccessAdvisorUsageGranularityTypeServiceLevel:
	case iam.AccessAdvisorUsageGranularityTypeActionLevel:
		actions = true
	default:
		return nil, invalid("1 validation error detected: Value '%s' at 'granularity' failed to satisfy constraint: Member must satisfy enum value set: [SERVICE_LEVEL, ACTION_LEVEL]", in.Granularity)
	}
	job, err := s.directory.GenerateServiceLastAccessedDetails(account, in.Arn, actions)
	if err != nil {
		return nil, err
	}
	return &iam.GenerateServiceLastAccessedDetailsOutput{JobId: job}, nil
}

func (s *Service) getServiceLastAccessedDetails(_ context.Context, account string, in *iam.GetServiceLastAccessedDetailsInput) (*iam.GetServiceLastAccessedDetailsOutput, error) {
	r, err := s.directory.ServiceLastAccessedDetails(account, in.JobId)
	if err != nil {
		return nil, err
	}
	page, err := r.PageOfServices(listOf("", in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := &iam.GetServiceLastAccessedDetailsOutput{
		JobStatus: iam.JobStatusTypeCompleted, JobType: iam.AccessAdvisorUsageGranularityTypeServiceLevel,
		JobCreationDate: date(r.Created), JobCompletionDate: date(r.Completed),
	}
	if r.Actions {
		out.JobType = iam.AccessAdvisorUsageGranularityTypeActionLevel
	}
	out.ServicesLastAccessed, out.IsTruncated, out.Marker = pageOf(page, accessShape)
	return out, nil
}

func accessShape(a directory.ServiceAccess) iam.ServiceLastAccessed {
	s := iam.ServiceLastAccessed{
		ServiceName: a.Name, ServiceNamespace: a.Namespace, LastAuthenticated: dateOrNever(a.Last),
		LastAuthenticatedEntity: a.Entity, LastAuthenticatedRegion: a.Region, TotalAuthenticatedEntities: new(int32(a.Authenticated)),
	}
	for _, t := range a.Actions {
		s.TrackedActionsLastAccessed = append(s.TrackedActionsLastAccessed, iam.TrackedActionLastAccessed{
			ActionName: t.Action, LastAccessedEntity: t.Entity, LastAccessedTime: date(t.Last), LastAccessedRegion: t.Region,
		})
	}
	return s
}

// dateOrNever is date, and the zero Time for the zero Time.
func dateOrNever(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return date(t)
}

func (s *Service) getServiceLastAccessedDetailsWithEntities(_ context.Context, account string, in *iam.GetServiceLastAccessedDetailsWithEntitiesInput) (*iam.GetServiceLastAccessedDetailsWithEntitiesOutput, error) {
	r, err := s.directory.ServiceLastAccessedDetails(account, in.JobId)
	if err != nil {
		return nil, err
	}
	page, err := r.PageOfEntities(in.ServiceNamespace, listOf("", in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := &iam.GetServiceLastAccessedDetailsWithEntitiesOutput{
		JobStatus: iam.JobStatusTypeCompleted, JobCreationDate: date(r.Created), JobCompletionDate: date(r.Completed),
	}
	out.EntityDetailsList, out.IsTruncated, out.Marker = pageOf(page, func(e directory.AccessEntity) iam.EntityDetails {
		return iam.EntityDetails{LastAuthenticated: dateOrNever(e.Last), EntityInfo: &iam.EntityInfo{
			Arn: e.ARN, Name: e.Name, Id: e.ID, Path: e.Path, Type: ownerType(e.Kind),
		}}
	})
	return out, nil
}

func ownerType(k directory.Kind) iam.PolicyOwnerEntityType {
	switch k {
	case directory.UserKind:
		return iam.PolicyOwnerEntityTypeUser
	case directory.RoleKind:
		return iam.PolicyOwnerEntityTypeRole
	}
	return iam.PolicyOwnerEntityTypeGroup
}

// listPoliciesGrantingServiceAccess answers all namespaces at once: the model
// gives callers no way to ask for pages.
func (s *Service) listPoliciesGrantingServiceAccess(_ context.Context, account string, in *iam.ListPoliciesGrantingServiceAccessInput) (*iam.ListPoliciesGrantingServiceAccessOutput, error) {
	if in.Marker != "" {
		return nil, invalid("Invalid Marker.")
	}
	out := &iam.ListPoliciesGrantingServiceAccessOutput{IsTruncated: new(false)}
	for _, namespace := range in.ServiceNamespaces {
		granting, err := s.directory.PoliciesGranting(account, in.Arn, namespace)
		if err != nil {
			return nil, err
		}
		entry := iam.ListPoliciesGrantingServiceAccessEntry{ServiceNamespace: namespace}
		for _, g := range granting {
			p := iam.PolicyGrantingServiceAccess{PolicyName: g.Policy, PolicyType: iam.PolicyTypeManaged, PolicyArn: g.ARN}
			if g.ARN == "" {
				p.PolicyType, p.EntityType, p.EntityName = iam.PolicyTypeInline, ownerType(g.Carrier), g.CarrierName
			}
			entry.Policies = append(entry.Policies, p)
		}
		out.PoliciesGrantingServiceAccess = append(out.PoliciesGrantingServiceAccess, entry)
	}
	return out, nil
}
