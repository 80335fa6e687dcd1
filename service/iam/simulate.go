package iam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/policy"
	"github.com/leadglass/leadglass/identity/simulator"
	"github.com/leadglass/leadglass/operation"
)

// limits are what the organization of an account puts upon it.
func (s *Service) limits(account string) simulator.Limits {
	l := s.organizations.Levels(account)
	if l == nil || l.Closed {
		return simulator.Limits{}
	}
	return simulator.Limits{Organization: l.Organization, Path: l.Path, Management: l.Management, SCPs: l.SCPs, RCPs: l.RCPs}
}

func (s *Service) simulations() []operation.Operation {
	anything := func(q question) []operation.Ask { return []operation.Ask{q.on("*")} }
	return []operation.Operation{
		serve(s, iam.SimulateCustomPolicy, s.simulateCustomPolicy, func(q question, _ *iam.SimulateCustomPolicyInput) ([]operation.Ask, error) {
			return anything(q), nil
		}),
		serve(s, iam.SimulatePrincipalPolicy, s.simulatePrincipalPolicy, func(q question, in *iam.SimulatePrincipalPolicyInput) ([]operation.Ask, error) {
			return one(q.source(in.PolicySourceArn))
		}),
		serve(s, iam.GetContextKeysForCustomPolicy, s.getContextKeysForCustomPolicy, func(q question, _ *iam.GetContextKeysForCustomPolicyInput) ([]operation.Ask, error) {
			return anything(q), nil
		}),
		serve(s, iam.GetContextKeysForPrincipalPolicy, s.getContextKeysForPrincipalPolicy, func(q question, in *iam.GetContextKeysForPrincipalPolicyInput) ([]operation.Ask, error) {
			return one(q.source(in.PolicySourceArn))
		}),
	}
}

// entityOf splits the ARN of a user, role or group. Nothing else can be simulated, sessions and roots
// among it.
func entityOf(entityARN string) (a arn.ARN, kind directory.Kind, name string, err error) {
	a, err = arn.Parse(entityARN)
	word, path := a.Split()
	name = path[strings.LastIndexByte(path, '/')+1:]
	for _, k := range []directory.Kind{directory.UserKind, directory.RoleKind, directory.GroupKind} {
		if word == k.String() {
			kind = k
		}
	}
	if err != nil || a.Partition != arn.Partition || a.Service != "iam" || a.Region != "" || !arn.IsAccount(a.Account) || name == "" || kind == 0 {
		return a, 0, "", &iam.InvalidInputException{Message: "Invalid Entity Arn: " + entityARN + " does not clearly define entity type and name."}
	}
	return a, kind, name, nil
}

// source asks about the user, role or group whose policies are simulated. One of another account is
// its owner's, who has no way to let others in; one that does not exist is asked about under its ARN.
func (q question) source(entityARN string) (operation.Ask, error) {
	a, kind, name, err := entityOf(entityARN)
	if err != nil {
		return operation.Ask{}, err
	}
	plain := operation.Ask{Action: q.action, Resource: entityARN, Owner: a.Account}
	if a.Account != q.call.Account {
		return plain, nil
	}
	var found operation.Ask
	switch kind {
	case directory.UserKind:
		found, err = q.user(name)
	case directory.RoleKind:
		found, err = q.role(name)
	default:
		found, err = q.group(name)
	}
	if err != nil || found.Resource != entityARN {
		return plain, err
	}
	found.Shown = ""
	return found, nil
}

// A source says where a document of a simulation comes from.
type source struct {
	id   string
	kind iam.PolicySourceType
}

// A principalSource is what a simulation of a principal starts from.
type principalSource struct {
	caller   authz.Principal
	userID   string
	tags     map[string]string
	policies authz.Policies
	sources  map[*policy.Document]source
}

// sourceOf finds the user, role or group of an ARN of the account, with its policies.
func (s *Service) sourceOf(account, entityARN string) (*principalSource, error) {
	_, kind, name, err := entityOf(entityARN)
	if err != nil {
		return nil, err
	}
	snapshot, from, err := s.directory.PolicySources(account, kind, name)
	if err != nil {
		return nil, err
	}
	if snapshot.ARN != entityARN {
		return nil, &iam.NoSuchEntityException{Message: "The " + kind.String() + " with name " + name + " cannot be found."}
	}
	p := &principalSource{policies: *snapshot.Policies, tags: map[string]string{}, sources: map[*policy.Document]source{}}
	p.caller = authz.Principal{Type: authz.User, Account: account, ServiceLinked: snapshot.ServiceLinked}
	switch kind {
	case directory.UserKind:
		p.caller.ARN, p.caller.ID, p.userID = snapshot.ARN, snapshot.ID, snapshot.ID
	case directory.RoleKind:
		// No session is known, so a resource policy that names one does not match.
		p.caller.Type, p.caller.ARN, p.caller.RoleARN, p.caller.ID = authz.AssumedRole, snapshot.ARN, snapshot.ARN, snapshot.ID
	}
	for _, t := range snapshot.Tags {
		p.tags[t.Key] = t.Value
	}
	for _, f := range from {
		p.sources[f.Document] = sourceOfLabel(f.Document.Label(), f.Kind, f.Name)
	}
	if d := p.policies.Boundary; d != nil {
		p.sources[d] = sourceOfLabel(d.Label(), kind, name)
	}
	return p, nil
}

// sourceOfLabel is the source of a document: managed policies are labelled with their ARN.
func sourceOfLabel(label string, kind directory.Kind, name string) source {
	a, err := arn.Parse(label)
	switch {
	case err != nil:
		// The values of PolicySourceType are the words of the kinds.
		return source{kind.String() + "_" + name + "_" + label, iam.PolicySourceType(kind.String())}
	case a.Account == managedOwner:
		return source{label[strings.LastIndexByte(label, '/')+1:], iam.PolicySourceTypeAwsManaged}
	}
	return source{label[strings.LastIndexByte(label, '/')+1:], iam.PolicySourceTypeUserManaged}
}

// parseInputs compiles the documents of a list, and notes where each comes from.
func parseInputs(kind policy.Kind, list string, texts []string, sources map[*policy.Document]source) (docs []*policy.Document, err error) {
	for i, text := range texts {
		id := list + "." + strconv.Itoa(i+1)
		d, err := policy.Parse(kind, []byte(text))
		if err != nil {
			return nil, malformed(id, err)
		}
		sources[d] = source{id, iam.PolicySourceTypeNone}
		docs = append(docs, d)
	}
	return docs, nil
}

// malformed is the refusal of a document that a simulation brings along.
func malformed(id string, err error) error {
	refused, ok := errors.AsType[*policy.Error](err)
	if !ok {
		return err
	}
	return &iam.InvalidInputException{Message: fmt.Sprintf("%s: %s (line %d, column %d)", id, refused.Message, refused.Line, refused.Column)}
}

// A simulation is what both operations have in common.
type simulation struct {
	boundary, actions, resources []string
	resourcePolicy, owner        string
	context                      []iam.ContextEntry
	scenario                     string
	marker                       string
	maxItems                     *int32
}

func (s *Service) simulateCustomPolicy(ctx context.Context, account string, in *iam.SimulateCustomPolicyInput) (*iam.SimulateCustomPolicyOutput, error) {
	q := simulator.Simulation{Caller: authz.Principal{Type: authz.User, Account: account}}
	if in.CallerArn != "" {
		var err error
		if q.Caller, err = callerOf(in.CallerArn); err != nil {
			return nil, err
		}
	} else if in.ResourcePolicy != "" {
		return nil, &iam.InvalidInputException{Message: "CallerArn is required when ResourcePolicy is specified."}
	}
	sources := map[*policy.Document]source{}
	var err error
	if q.Policies.Identity, err = parseInputs(policy.Identity, "PolicyInputList", in.PolicyInputList, sources); err != nil {
		return nil, err
	}
	results, marker, err := simulation{
		in.PermissionsBoundaryPolicyInputList, in.ActionNames, in.ResourceArns, in.ResourcePolicy, in.ResourceOwner,
		in.ContextEntries, in.ResourceHandlingOption, in.Marker, in.MaxItems,
	}.run(ctx, &q, sources)
	if err != nil {
		return nil, err
	}
	return &iam.SimulateCustomPolicyOutput{EvaluationResults: results, IsTruncated: new(marker != ""), Marker: marker}, nil
}

func (s *Service) simulatePrincipalPolicy(ctx context.Context, account string, in *iam.SimulatePrincipalPolicyInput) (*iam.SimulatePrincipalPolicyOutput, error) {
	p, err := s.sourceOf(account, in.PolicySourceArn)
	if err != nil {
		return nil, err
	}
	q := simulator.Simulation{Caller: p.caller, UserID: p.userID, Tags: p.tags, Policies: p.policies}
	q.Limits, q.OwnerLimits = s.limits(account), s.limits
	if in.CallerArn != "" && in.CallerArn != in.PolicySourceArn {
		// Somebody else with these policies. Of whom only the name is used: to look further needs other permissions.
		if q.Caller, err = callerOf(in.CallerArn); err != nil {
			return nil, err
		}
		if q.Caller.Account != account {
			return nil, &iam.InvalidInputException{Message: "CallerArn and PolicySourceArn must be of the same account."}
		}
		q.UserID, q.Tags = "", nil
	}
	more, err := parseInputs(policy.Identity, "PolicyInputList", in.PolicyInputList, p.sources)
	if err != nil {
		return nil, err
	}
	q.Policies.Identity = append(q.Policies.Identity[:len(q.Policies.Identity):len(q.Policies.Identity)], more...)
	results, marker, err := simulation{
		in.PermissionsBoundaryPolicyInputList, in.ActionNames, in.ResourceArns, in.ResourcePolicy, in.ResourceOwner,
		in.ContextEntries, in.ResourceHandlingOption, in.Marker, in.MaxItems,
	}.run(ctx, &q, p.sources)
	if err != nil {
		return nil, err
	}
	return &iam.SimulatePrincipalPolicyOutput{EvaluationResults: results, IsTruncated: new(marker != ""), Marker: marker}, nil
}

// callerOf is the simulated caller that an ARN names.
func callerOf(entityARN string) (authz.Principal, error) {
	a, kind, _, err := entityOf(entityARN)
	p := authz.Principal{Type: authz.User, Account: a.Account}
	switch kind {
	case directory.UserKind:
		p.ARN = entityARN
	case directory.RoleKind:
		p.Type, p.ARN, p.RoleARN = authz.AssumedRole, entityARN, entityARN
	}
	return p, err // a group is nobody in particular
}

// run completes the question and answers one page of it.
func (in simulation) run(ctx context.Context, q *simulator.Simulation, sources map[*policy.Document]source) ([]iam.EvaluationResult, string, error) {
	boundaries, err := parseInputs(policy.Boundary, "PermissionsBoundaryPolicyInputList", in.boundary, sources)
	if err != nil {
		return nil, "", err
	}
	switch len(boundaries) {
	case 0:
	case 1:
		q.Policies.Boundary = boundaries[0]
	default:
		return nil, "", &iam.InvalidInputException{Message: "Only one permissions boundary can be specified."}
	}
	if in.resourcePolicy != "" {
		if q.Resource, err = policy.Parse(resourceKind(in.actions), []byte(in.resourcePolicy)); err != nil {
			return nil, "", malformed("ResourcePolicy", err)
		}
		sources[q.Resource] = source{"ResourcePolicy", iam.PolicySourceTypeResource}
	}
	if q.Owner = in.owner; q.Owner != "" && !arn.IsAccount(q.Owner) {
		a, err := arn.Parse(q.Owner)
		if err != nil || q.Owner != arn.Root(a.Account) || !arn.IsAccount(a.Account) {
			return nil, "", notAnARN(in.owner)
		}
		q.Owner = a.Account
	}
	for _, e := range in.context {
		q.Context = append(q.Context, simulator.Entry{Key: e.ContextKeyName, Values: e.ContextKeyValues, Type: string(e.ContextKeyType)})
	}
	q.Scenario, q.Actions, q.Resources = in.scenario, in.actions, in.resources
	from, to, err := in.page()
	if err != nil {
		return nil, "", err
	}
	results, err := q.Run(ctx, from, to)
	if refused, ok := errors.AsType[*simulator.Error](err); ok {
		return nil, "", &iam.InvalidInputException{Message: refused.Message}
	}
	if err != nil {
		return nil, "", err
	}
	shapes := make([]iam.EvaluationResult, len(results))
	for i := range results {
		shapes[i] = evaluationShape(&results[i], len(in.resources) > 0 && in.resources[0] != "*", sources)
	}
	marker := ""
	if to < len(in.actions) {
		marker = strconv.Itoa(to)
	}
	return shapes, marker, nil
}

// resourceKind is the kind of document that the resources of these actions carry. The trust policy of a
// role has no Resource; IAM itself does not simulate it, here it is (policy-evaluation section 8).
func resourceKind(actions []string) policy.Kind {
	all := func(prefix string) bool {
		for _, a := range actions {
			if len(a) < len(prefix) || !strings.EqualFold(a[:len(prefix)], prefix) {
				return false
			}
		}
		return true
	}
	switch {
	case all("sts:"):
		return policy.Trust
	case all("kms:"):
		return policy.Key
	}
	return policy.Resource
}

// pageOfDecisions bounds the work of one page: actions times resources, but one action at least.
const pageOfDecisions = 1000

// page is the range of actions of the page that is asked for. The marker is the number of
// actions that were answered before.
func (in simulation) page() (from, to int, err error) {
	if in.marker != "" {
		from, err = strconv.Atoi(in.marker)
		if err != nil || from <= 0 || from >= len(in.actions) || strconv.Itoa(from) != in.marker {
			return 0, 0, invalid("Invalid Marker.")
		}
	}
	n := 100
	if in.maxItems != nil {
		n = int(*in.maxItems)
	}
	n = min(n, max(1, pageOfDecisions/max(1, len(in.resources))))
	return from, min(from+n, len(in.actions)), nil
}

// evaluationShape is the answer for one action. With one resource the result is about that resource,
// with several about all of them, and then EvalResourceName is "*"; results for each are apart.
func evaluationShape(r *simulator.Result, named bool, sources map[*policy.Document]source) iam.EvaluationResult {
	e := iam.EvaluationResult{
		EvalActionName: r.Action, EvalResourceName: "*", EvalDecision: iam.PolicyEvaluationDecisionType(r.Verdict),
		MatchedStatements: statementShapes(r.Matched, sources), MissingContextValues: r.Missing, EvalDecisionDetails: details(r.Details),
		PermissionsBoundaryDecisionDetail: boundaryDecision(r.Boundary),
	}
	if r.Org != nil {
		e.OrganizationsDecisionDetail = &iam.OrganizationsDecisionDetail{AllowedByOrganizations: r.Org}
	}
	if !named {
		return e
	}
	if len(r.Resources) == 1 {
		e.EvalResourceName = r.Resources[0].Resource
	}
	for i := range r.Resources {
		o := &r.Resources[i]
		e.ResourceSpecificResults = append(e.ResourceSpecificResults, iam.ResourceSpecificResult{
			EvalResourceName: o.Resource, EvalResourceDecision: iam.PolicyEvaluationDecisionType(o.Verdict),
			MatchedStatements: statementShapes(o.Matched, sources), MissingContextValues: o.Missing, EvalDecisionDetails: details(o.Details),
			PermissionsBoundaryDecisionDetail: boundaryDecision(o.Boundary),
		})
	}
	return e
}

func boundaryDecision(allows *bool) *iam.PermissionsBoundaryDecisionDetail {
	if allows == nil {
		return nil
	}
	return &iam.PermissionsBoundaryDecisionDetail{AllowedByPermissionsBoundary: allows}
}

func details(of map[string]simulator.Verdict) map[string]iam.PolicyEvaluationDecisionType {
	if of == nil {
		return nil
	}
	m := make(map[string]iam.PolicyEvaluationDecisionType, len(of))
	for name, v := range of {
		m[name] = iam.PolicyEvaluationDecisionType(v)
	}
	return m
}

func statementShapes(all []authz.Matched, sources map[*policy.Document]source) []iam.Statement {
	var shapes []iam.Statement
	for _, m := range all {
		st, from := m.Statement(), sources[m.Document]
		shapes = append(shapes, iam.Statement{
			SourcePolicyId: from.id, SourcePolicyType: from.kind, StartPosition: positionShape(st.Start), EndPosition: positionShape(st.End),
		})
	}
	return shapes
}

func positionShape(p policy.Position) *iam.Position {
	return &iam.Position{Line: new(int32(p.Line)), Column: new(int32(p.Column))}
}

// parseAny compiles documents of whatever kind, of which only the condition keys are wanted. The refusal
// is that of an identity policy.
func parseAny(texts []string) (docs []*policy.Document, err error) {
	for i, text := range texts {
		var first error
		for _, kind := range []policy.Kind{policy.Identity, policy.Resource, policy.Trust} {
			var d *policy.Document
			if d, err = policy.Parse(kind, []byte(text)); err == nil {
				docs = append(docs, d)
				break
			}
			first = cmp.Or(first, err)
		}
		if err != nil {
			return nil, malformed("PolicyInputList."+strconv.Itoa(i+1), first)
		}
	}
	return docs, nil
}

func (s *Service) getContextKeysForCustomPolicy(_ context.Context, _ string, in *iam.GetContextKeysForCustomPolicyInput) (*iam.GetContextKeysForCustomPolicyOutput, error) {
	docs, err := parseAny(in.PolicyInputList)
	if err != nil {
		return nil, err
	}
	return &iam.GetContextKeysForCustomPolicyOutput{ContextKeyNames: policy.ContextKeys(docs...)}, nil
}

func (s *Service) getContextKeysForPrincipalPolicy(_ context.Context, account string, in *iam.GetContextKeysForPrincipalPolicyInput) (*iam.GetContextKeysForPrincipalPolicyOutput, error) {
	p, err := s.sourceOf(account, in.PolicySourceArn)
	if err != nil {
		return nil, err
	}
	docs, err := parseAny(in.PolicyInputList)
	if err != nil {
		return nil, err
	}
	docs = append(docs, p.policies.Identity...)
	if p.policies.Boundary != nil {
		docs = append(docs, p.policies.Boundary)
	}
	return &iam.GetContextKeysForPrincipalPolicyOutput{ContextKeyNames: policy.ContextKeys(docs...)}, nil
}
