package organizations

import (
	"context"

	api "github.com/leadglass/leadglass/api/organizations"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) handshakeOperations() []operation.Operation {
	o := s.Organizations
	return []operation.Operation{
		serve(s, api.InviteAccountToOrganization, func(q *question, in *api.InviteAccountToOrganizationInput) []operation.Ask {
			name := q.arn("account", "*")
			if in.Target != nil && arn.IsAccount(in.Target.Id) {
				name = q.arn("account", in.Target.Id)
			}
			return q.tagging([]operation.Ask{q.on(name)}, in.Tags, name)
		}, within(s.invite)),
		serve(s, api.AcceptHandshake, func(q *question, in *api.AcceptHandshakeInput) []operation.Ask { return q.invitation(in.HandshakeId) },
			func(ctx context.Context, c caller, in *api.AcceptHandshakeInput) (*api.AcceptHandshakeOutput, error) {
				h, err := s.shake(o.AcceptHandshake(ctx, c.account, in.HandshakeId))
				return &api.AcceptHandshakeOutput{Handshake: h}, err
			}),
		serve(s, api.DeclineHandshake, func(q *question, in *api.DeclineHandshakeInput) []operation.Ask { return q.invitation(in.HandshakeId) },
			func(ctx context.Context, c caller, in *api.DeclineHandshakeInput) (*api.DeclineHandshakeOutput, error) {
				h, err := s.shake(o.DeclineHandshake(ctx, c.account, in.HandshakeId))
				return &api.DeclineHandshakeOutput{Handshake: h}, err
			}),
		serve(s, api.CancelHandshake, func(q *question, in *api.CancelHandshakeInput) []operation.Ask {
			return []operation.Ask{q.on(q.arn("handshake", "invite/"+in.HandshakeId))}
		}, within(func(ctx context.Context, org string, in *api.CancelHandshakeInput) (*api.CancelHandshakeOutput, error) {
			h, err := s.shake(o.CancelHandshake(ctx, org, in.HandshakeId))
			return &api.CancelHandshakeOutput{Handshake: h}, err
		})),
		serve(s, api.DescribeHandshake, func(q *question, in *api.DescribeHandshakeInput) []operation.Ask {
			if _, err := o.Invitation(q.call.Account, in.HandshakeId); err == nil || q.org.ID == "" {
				return q.invitation(in.HandshakeId)
			}
			return []operation.Ask{q.reads().on(q.arn("handshake", "invite/"+in.HandshakeId))}
		}, s.describeHandshake),
		serve(s, api.ListHandshakesForAccount, func(q *question, _ *api.ListHandshakesForAccountInput) []operation.Ask { return q.mine().all() },
			func(_ context.Context, c caller, in *api.ListHandshakesForAccountInput) (out *api.ListHandshakesForAccountOutput, err error) {
				out = new(api.ListHandshakesForAccountOutput)
				out.Handshakes, out.NextToken, err = s.handshakes(o.Invitations(c.account), in.Filter, in.NextToken, in.MaxResults)
				return out, err
			}),
		serve(s, api.ListHandshakesForOrganization, func(q *question, _ *api.ListHandshakesForOrganizationInput) []operation.Ask { return q.reads().all() },
			within(func(_ context.Context, org string, in *api.ListHandshakesForOrganizationInput) (out *api.ListHandshakesForOrganizationOutput, err error) {
				out = new(api.ListHandshakesForOrganizationOutput)
				out.Handshakes, out.NextToken, err = s.handshakes(o.Handshakes(org), in.Filter, in.NextToken, in.MaxResults)
				return out, err
			})),
	}
}

// invitation asks about an invitation of the caller's own account.
func (q *question) invitation(id string) []operation.Ask {
	q.mine()
	if h, err := q.service.Organizations.Invitation(q.call.Account, id); err == nil {
		return []operation.Ask{q.on(h.ARN)}
	}
	return []operation.Ask{q.on("arn:aws:organizations::" + q.call.Account + ":handshake/none/invite/" + id)}
}

func (s *Service) invite(ctx context.Context, org string, in *api.InviteAccountToOrganizationInput) (*api.InviteAccountToOrganizationOutput, error) {
	switch {
	case in.Target.Type != api.HandshakePartyTypeAccount:
		// Accounts here have numbers and no mailboxes to which an invitation could go.
		return nil, &api.InvalidInputException{
			Message: "Only an account can be invited, by its id.", Reason: api.InvalidInputExceptionReasonInvalidPartyTypeTarget,
		}
	case !arn.IsAccount(in.Target.Id):
		return nil, &api.InvalidInputException{
			Message: "You provided a value that doesn't match the required pattern of an account id.", Reason: api.InvalidInputExceptionReasonInvalidPattern,
		}
	}
	h, err := s.shake(s.Organizations.Invite(ctx, org, in.Target.Id, in.Notes, tagsOf(in.Tags)))
	return &api.InviteAccountToOrganizationOutput{Handshake: h}, err
}

func (s *Service) describeHandshake(_ context.Context, c caller, in *api.DescribeHandshakeInput) (*api.DescribeHandshakeOutput, error) {
	h, err := s.Organizations.Invitation(c.account, in.HandshakeId)
	if err != nil {
		h, err = s.Organizations.Handshake(c.org.ID, in.HandshakeId)
	}
	shape, err := s.shake(h, err)
	return &api.DescribeHandshakeOutput{Handshake: shape}, err
}

func (s *Service) handshakes(all []organization.Handshake, filter *api.HandshakeFilter, token string, most *int32) ([]api.Handshake, string, error) {
	if filter != nil && (filter.ActionType != "" && filter.ActionType != api.ActionTypeInvite || filter.ParentHandshakeId != "") {
		all = nil // there are no handshakes but invitations
	}
	return page(all, token, most, func(h organization.Handshake) string { return newest(h.Requested, h.ID) }, s.handshakeShape)
}

func (s *Service) shake(h organization.Handshake, err error) (*api.Handshake, error) {
	if err != nil {
		return nil, err
	}
	return new(s.handshakeShape(h)), nil
}

func (s *Service) handshakeShape(h organization.Handshake) api.Handshake {
	management, _ := s.Directory.Account(h.Organization.Management)
	shape := api.Handshake{
		Id: h.ID, Arn: h.ARN, State: api.HandshakeState(h.State), Action: api.ActionTypeInvite, RequestedTimestamp: h.Requested, ExpirationTimestamp: h.Expires,
		Parties: []api.HandshakeParty{
			{Id: h.Organization.ID, Type: api.HandshakePartyTypeOrganization}, {Id: h.Account, Type: api.HandshakePartyTypeAccount},
		},
		Resources: []api.HandshakeResource{
			{Type: api.HandshakeResourceTypeOrganization, Value: h.Organization.ID, Resources: []api.HandshakeResource{
				{Type: api.HandshakeResourceTypeMasterEmail, Value: h.Organization.ManagementEmail},
				{Type: api.HandshakeResourceTypeMasterName, Value: management.Name},
				{Type: api.HandshakeResourceTypeOrganizationFeatureSet, Value: string(api.OrganizationFeatureSetAll)},
			}},
			{Type: api.HandshakeResourceTypeAccount, Value: h.Account},
		},
	}
	if h.Notes != "" {
		shape.Resources = append(shape.Resources, api.HandshakeResource{Type: api.HandshakeResourceTypeNotes, Value: h.Notes})
	}
	return shape
}
