package kms

import (
	"context"

	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/operation"
)

// An operation on an alias needs permission on the alias, which the account's
// IAM policies give, and on each key that it concerns (kms-api section 4).

func createAliasAsks(ctx context.Context, c *call, in *kms.CreateAliasInput) error {
	aliasARN, err := c.keys.AliasARN(c.Account, in.AliasName)
	if err != nil {
		return err
	}
	j := c.addAccount("kms:CreateAlias", aliasARN)
	j.fill = requestAlias(in.AliasName)
	return c.resolveNext(ctx, "kms:CreateAlias", in.TargetKeyId, ownKeys, func(k *subject) { k.fill = j.fill })
}

func requestAlias(name string) func(*operation.Keys) {
	return func(k *operation.Keys) { k.Set("kms:RequestAlias", name) }
}

func createAlias(ctx context.Context, c *call, in *kms.CreateAliasInput) (*kms.CreateAliasOutput, error) {
	return &kms.CreateAliasOutput{}, c.keys.CreateAlias(ctx, c.subjects[1].key, in.AliasName)
}

// existingAlias asks about an alias that must be there, and about the key that
// it leads to.
func (c *call) existingAlias(ctx context.Context, action, name string) error {
	aliasARN, err := c.keys.AliasARN(c.Account, name)
	if err != nil {
		return err
	}
	target, err := c.keys.AliasTarget(ctx, c.Account, name)
	if err != nil {
		return c.missing(&subject{call: c, action: action, resource: aliasARN}, err)
	}
	c.addAccount(action, aliasARN).fill = requestAlias(name)
	c.add(action, target).fill = requestAlias(name)
	return nil
}

func updateAliasAsks(ctx context.Context, c *call, in *kms.UpdateAliasInput) error {
	if err := c.existingAlias(ctx, "kms:UpdateAlias", in.AliasName); err != nil {
		return err
	}
	return c.resolveNext(ctx, "kms:UpdateAlias", in.TargetKeyId, ownKeys, func(k *subject) { k.fill = requestAlias(in.AliasName) })
}

func updateAlias(ctx context.Context, c *call, in *kms.UpdateAliasInput) (*kms.UpdateAliasOutput, error) {
	return &kms.UpdateAliasOutput{}, c.keys.UpdateAlias(ctx, c.subjects[1].key, c.subjects[2].key, in.AliasName)
}

func deleteAliasAsks(ctx context.Context, c *call, in *kms.DeleteAliasInput) error {
	return c.existingAlias(ctx, "kms:DeleteAlias", in.AliasName)
}

func deleteAlias(ctx context.Context, c *call, in *kms.DeleteAliasInput) (*kms.DeleteAliasOutput, error) {
	return &kms.DeleteAliasOutput{}, c.keys.DeleteAlias(ctx, c.subjects[1].key, in.AliasName)
}

func listAliases(ctx context.Context, c *call, in *kms.ListAliasesInput) (*kms.ListAliasesOutput, error) {
	var of *keys.Key
	if in.KeyId != "" {
		f, err := c.keys.Find(ctx, c.Account, in.KeyId, false)
		switch {
		case err != nil:
			return nil, err
		case f.Account != c.Account:
			return nil, &operation.Denied{Ask: operation.Ask{Action: "kms:ListAliases", Resource: f.ARN, Owner: f.Account}}
		case f.Key == nil:
			return nil, f.Missing
		}
		of = f.Key
	}
	as, next, err := c.keys.ListAliases(ctx, c.Account, of, in.Marker, limit(in.Limit, 50))
	if err != nil {
		return nil, err
	}
	out := &kms.ListAliasesOutput{Aliases: []kms.AliasListEntry{}, NextMarker: next, Truncated: new(next != "")}
	for _, a := range as {
		out.Aliases = append(out.Aliases, kms.AliasListEntry{
			AliasName: a.Name, AliasArn: a.ARN, TargetKeyId: a.KeyID, CreationDate: a.Created, LastUpdatedDate: a.Updated,
		})
	}
	return out, nil
}
