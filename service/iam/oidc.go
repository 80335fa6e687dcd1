package iam

import (
	"context"
	"slices"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

// oidcOperations are those on OpenID Connect providers.
func (s *Service) oidcOperations() []operation.Operation {
	return []operation.Operation{
		serve(s, iam.CreateOpenIDConnectProvider, s.createProvider, func(q question, in *iam.CreateOpenIDConnectProviderInput) ([]operation.Ask, error) {
			return q.createdProvider(in.Url, in.Tags)
		}),
		serve(s, iam.GetOpenIDConnectProvider, s.getProvider, func(q question, in *iam.GetOpenIDConnectProviderInput) ([]operation.Ask, error) {
			return one(q.provider(in.OpenIDConnectProviderArn))
		}),
		serve(s, iam.ListOpenIDConnectProviders, s.listProviders, func(q question, _ *iam.ListOpenIDConnectProvidersInput) ([]operation.Ask, error) {
			// AWS names no resource type for it.
			return []operation.Ask{q.on("*")}, nil
		}),
		serve(s, iam.DeleteOpenIDConnectProvider, s.deleteProvider, func(q question, in *iam.DeleteOpenIDConnectProviderInput) ([]operation.Ask, error) {
			return one(q.provider(in.OpenIDConnectProviderArn))
		}),
		serve(s, iam.UpdateOpenIDConnectProviderThumbprint, s.updateThumbprints, func(q question, in *iam.UpdateOpenIDConnectProviderThumbprintInput) ([]operation.Ask, error) {
			return one(q.provider(in.OpenIDConnectProviderArn))
		}),
		serve(s, iam.AddClientIDToOpenIDConnectProvider, s.addClientID, func(q question, in *iam.AddClientIDToOpenIDConnectProviderInput) ([]operation.Ask, error) {
			return one(q.provider(in.OpenIDConnectProviderArn))
		}),
		serve(s, iam.RemoveClientIDFromOpenIDConnectProvider, s.removeClientID, func(q question, in *iam.RemoveClientIDFromOpenIDConnectProviderInput) ([]operation.Ask, error) {
			return one(q.provider(in.OpenIDConnectProviderArn))
		}),
		serve(s, iam.TagOpenIDConnectProvider, s.tagProvider, func(q question, in *iam.TagOpenIDConnectProviderInput) ([]operation.Ask, error) {
			a, err := q.provider(in.OpenIDConnectProviderArn)
			return one(tagged(a, in.Tags), err)
		}),
		serve(s, iam.UntagOpenIDConnectProvider, s.untagProvider, func(q question, in *iam.UntagOpenIDConnectProviderInput) ([]operation.Ask, error) {
			a, err := q.provider(in.OpenIDConnectProviderArn)
			a.Context.Add("aws:TagKeys", in.TagKeys...)
			return one(a, err)
		}),
		serve(s, iam.ListOpenIDConnectProviderTags, s.listProviderTags, func(q question, in *iam.ListOpenIDConnectProviderTagsInput) ([]operation.Ask, error) {
			return one(q.provider(in.OpenIDConnectProviderArn))
		}),
	}
}

// provider asks about an OpenID Connect provider. One of another account is
// that account's; one that does not exist is asked about like one that does.
func (q question) provider(providerARN string) (operation.Ask, error) {
	a, err := arn.Parse(providerARN)
	kind, url := a.Split()
	if err != nil || a.Partition != arn.Partition || a.Service != "iam" || a.Region != "" || !arn.IsAccount(a.Account) || kind != "oidc-provider" || url == "" {
		return operation.Ask{}, notAnARN(providerARN)
	}
	ask := operation.Ask{Action: q.action, Resource: providerARN, Owner: a.Account}
	if a.Account != q.call.Account {
		return ask, nil
	}
	if p, ok := q.directory.OIDCProvider(a.Account, url); ok {
		for _, t := range p.Tags {
			ask.Context.Set("aws:ResourceTag/"+t.Key, t.Value)
		}
	}
	return ask, nil
}

// createdProvider asks about the making of a provider and, if it will have
// tags, about the tagging.
func (q question) createdProvider(url string, tags []iam.Tag) ([]operation.Ask, error) {
	issuer, err := directory.IssuerOf(url)
	if err != nil {
		return nil, err
	}
	asks := []operation.Ask{tagged(q.on(directory.ProviderARN(q.call.Account, issuer)), tags)}
	if len(tags) > 0 {
		q.action = "iam:TagOpenIDConnectProvider"
		asks = append(asks, tagged(q.on(asks[0].Resource), tags))
	}
	return asks, nil
}

func (s *Service) createProvider(ctx context.Context, account string, in *iam.CreateOpenIDConnectProviderInput) (*iam.CreateOpenIDConnectProviderOutput, error) {
	p, err := s.directory.CreateOIDCProvider(ctx, account, directory.NewOIDCProvider{
		URL: in.Url, ClientIDs: in.ClientIDList, Thumbprints: in.ThumbprintList, Tags: tagsOf(in.Tags),
	})
	if err != nil {
		return nil, err
	}
	return &iam.CreateOpenIDConnectProviderOutput{OpenIDConnectProviderArn: p.ARN, Tags: tagShapes(p.Tags)}, nil
}

func (s *Service) getProvider(_ context.Context, account string, in *iam.GetOpenIDConnectProviderInput) (*iam.GetOpenIDConnectProviderOutput, error) {
	p, err := s.directory.GetOIDCProvider(account, in.OpenIDConnectProviderArn)
	if err != nil {
		return nil, err
	}
	return &iam.GetOpenIDConnectProviderOutput{
		// AWS answers the URL without its scheme.
		Url: p.URL, ClientIDList: slices.Clone(p.ClientIDs), ThumbprintList: slices.Clone(p.Thumbprints), CreateDate: date(p.Created), Tags: tagShapes(p.Tags),
	}, nil
}

func (s *Service) listProviders(_ context.Context, account string, _ *iam.ListOpenIDConnectProvidersInput) (*iam.ListOpenIDConnectProvidersOutput, error) {
	all, err := s.directory.ListOIDCProviders(account)
	if err != nil {
		return nil, err
	}
	out := new(iam.ListOpenIDConnectProvidersOutput)
	for _, p := range all {
		out.OpenIDConnectProviderList = append(out.OpenIDConnectProviderList, iam.OpenIDConnectProviderListEntry{Arn: p.ARN})
	}
	return out, nil
}

func (s *Service) deleteProvider(ctx context.Context, account string, in *iam.DeleteOpenIDConnectProviderInput) (*iam.DeleteOpenIDConnectProviderOutput, error) {
	return none[iam.DeleteOpenIDConnectProviderOutput](s.directory.DeleteOIDCProvider(ctx, account, in.OpenIDConnectProviderArn))
}

func (s *Service) updateThumbprints(ctx context.Context, account string, in *iam.UpdateOpenIDConnectProviderThumbprintInput) (*iam.UpdateOpenIDConnectProviderThumbprintOutput, error) {
	return none[iam.UpdateOpenIDConnectProviderThumbprintOutput](s.directory.UpdateOIDCThumbprints(ctx, account, in.OpenIDConnectProviderArn, in.ThumbprintList))
}

func (s *Service) addClientID(ctx context.Context, account string, in *iam.AddClientIDToOpenIDConnectProviderInput) (*iam.AddClientIDToOpenIDConnectProviderOutput, error) {
	return none[iam.AddClientIDToOpenIDConnectProviderOutput](s.directory.AddOIDCClientID(ctx, account, in.OpenIDConnectProviderArn, in.ClientID))
}

func (s *Service) removeClientID(ctx context.Context, account string, in *iam.RemoveClientIDFromOpenIDConnectProviderInput) (*iam.RemoveClientIDFromOpenIDConnectProviderOutput, error) {
	return none[iam.RemoveClientIDFromOpenIDConnectProviderOutput](s.directory.RemoveOIDCClientID(ctx, account, in.OpenIDConnectProviderArn, in.ClientID))
}

func (s *Service) tagProvider(ctx context.Context, account string, in *iam.TagOpenIDConnectProviderInput) (*iam.TagOpenIDConnectProviderOutput, error) {
	return none[iam.TagOpenIDConnectProviderOutput](s.directory.TagOIDCProvider(ctx, account, in.OpenIDConnectProviderArn, tagsOf(in.Tags)))
}

func (s *Service) untagProvider(ctx context.Context, account string, in *iam.UntagOpenIDConnectProviderInput) (*iam.UntagOpenIDConnectProviderOutput, error) {
	return none[iam.UntagOpenIDConnectProviderOutput](s.directory.UntagOIDCProvider(ctx, account, in.OpenIDConnectProviderArn, in.TagKeys))
}

func (s *Service) listProviderTags(_ context.Context, account string, in *iam.ListOpenIDConnectProviderTagsInput) (*iam.ListOpenIDConnectProviderTagsOutput, error) {
	page, err := s.directory.ListOIDCProviderTags(account, in.OpenIDConnectProviderArn, listOf("", in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListOpenIDConnectProviderTagsOutput)
	out.Tags, out.IsTruncated, out.Marker = pageOf(page, tagShape)
	return out, nil
}
