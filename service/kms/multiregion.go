package kms

import (
	"context"
	"strconv"

	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/operation"
)

// regionKeys sets the condition keys of what type of multi-Region key a key
// is; empty: none.
func regionKeys(k *operation.Keys, keyType string) {
	k.Set("kms:MultiRegion", strconv.FormatBool(keyType != ""))
	if keyType != "" {
		k.Set("kms:MultiRegionKeyType", keyType)
	}
}

// multiRegion fills in what the metadata say of a key's relatives.
func multiRegion(m *kms.KeyMetadata, key *keys.Key) {
	m.MultiRegion = new(key.MultiRegion != nil)
	if key.MultiRegion == nil {
		return
	}
	related := func(region string) kms.MultiRegionKey {
		return kms.MultiRegionKey{Arn: key.RelatedARN(region), Region: region}
	}
	m.MultiRegionConfiguration = &kms.MultiRegionConfiguration{
		MultiRegionKeyType: kms.MultiRegionKeyType(key.MultiRegionType()), PrimaryKey: new(related(key.MultiRegion.Primary)),
		ReplicaKeys: []kms.MultiRegionKey{},
	}
	for _, region := range key.MultiRegion.Replicas {
		m.MultiRegionConfiguration.ReplicaKeys = append(m.MultiRegionConfiguration.ReplicaKeys, related(region))
	}
	if key.State == keys.StatePendingReplicaDeletion {
		m.PendingDeletionWindowInDays = new(int32(key.MultiRegion.Window))
	}
}

// replicateKeyAsks: kms:ReplicateKey on the primary key, and in the replica's
// Region what making a key there needs. To make the replica is the only thing
// that a request for one Region does in another.
func replicateKeyAsks(ctx context.Context, c *call, in *kms.ReplicateKeyInput) error {
	bypass := strconv.FormatBool(isSet(in.BypassPolicyLockoutSafetyCheck))
	err := c.resolve(ctx, "kms:ReplicateKey", in.KeyId, ownKeys, func(j *subject) {
		j.fill = func(k *operation.Keys) {
			k.Set("kms:ReplicaRegion", in.ReplicaRegion)
			k.Set("kms:BypassPolicyLockoutSafetyCheck", bypass)
		}
	})
	if err != nil {
		return err
	}
	key := c.key()
	there := func(k *operation.Keys) {
		specKeys(k, key.Spec, key.Usage, key.Origin)
		regionKeys(k, keys.Replica)
		k.Set("kms:BypassPolicyLockoutSafetyCheck", bypass)
		k.Set("aws:RequestedRegion", in.ReplicaRegion)
		requestTags(k, in.Tags)
	}
	c.addAccount("kms:CreateKey", "*").fill = there
	if len(in.Tags) > 0 {
		c.addAccount("kms:TagResource", "arn:"+arn.Partition+":kms:"+in.ReplicaRegion+":"+c.Account+":key/*").fill = there
	}
	return nil
}

func replicateKey(ctx context.Context, c *call, in *kms.ReplicateKeyInput) (*kms.ReplicateKeyOutput, error) {
	n := keys.NewReplica{Region: in.ReplicaRegion, Description: in.Description, Policy: in.Policy, Tags: tagsOf(in.Tags)}
	if in.Policy != "" && !isSet(in.BypassPolicyLockoutSafetyCheck) {
		n.Check = func(proposed *keys.Key) bool {
			j := &subject{call: c, action: "kms:PutKeyPolicy", key: proposed, fill: func(k *operation.Keys) {
				k.Set("kms:BypassPolicyLockoutSafetyCheck", "false")
				k.Set("aws:RequestedRegion", in.ReplicaRegion)
			}}
			return c.Evaluate(j.ask(proposed)).Allowed
		}
	}
	replica, err := c.keys.Replicate(ctx, c.subjects[0].use(nil), n)
	if err != nil {
		return nil, err
	}
	c.Touch(replica.Account, "AWS::KMS::Key", replica.ARN)
	there, _ := c.keys.In(replica.Region)
	out := &kms.ReplicateKeyOutput{ReplicaKeyMetadata: metadata(replica), ReplicaPolicy: there.ShownPolicy(replica), ReplicaTags: []kms.Tag{}}
	for _, t := range replica.Tags {
		out.ReplicaTags = append(out.ReplicaTags, kms.Tag{TagKey: t.Key, TagValue: t.Value})
	}
	return out, nil
}

// updatePrimaryRegionAsks: the same action on the primary key that there is
// and on the one that there shall be.
func updatePrimaryRegionAsks(ctx context.Context, c *call, in *kms.UpdatePrimaryRegionInput) error {
	fill := func(k *operation.Keys) { k.Set("kms:PrimaryRegion", in.PrimaryRegion) }
	if err := c.resolve(ctx, "kms:UpdatePrimaryRegion", in.KeyId, ownKeys, func(j *subject) { j.fill = fill }); err != nil {
		return err
	}
	key := c.key()
	there, served := c.keys.In(in.PrimaryRegion)
	if !served || key.MultiRegionType() != keys.Primary {
		return nil // there can be no replica: the handler says so, to whom may know
	}
	here := c.keys
	defer func() { c.keys = here }()
	c.keys = there // the replica is looked for in its own Region
	return c.resolveNext(ctx, "kms:UpdatePrimaryRegion", key.RelatedARN(in.PrimaryRegion), ownKeys, func(j *subject) {
		j.fill = func(k *operation.Keys) {
			fill(k)
			k.Set("aws:RequestedRegion", in.PrimaryRegion)
		}
	})
}

func updatePrimaryRegion(ctx context.Context, c *call, in *kms.UpdatePrimaryRegionInput) (*kms.UpdatePrimaryRegionOutput, error) {
	key := c.key()
	if len(c.subjects) < 2 {
		if err := key.NeedPrimary(); err != nil {
			return nil, err
		}
		return nil, &kms.NotFoundException{Message: "Key '" + key.RelatedARN(in.PrimaryRegion) + "' does not exist"}
	}
	return &kms.UpdatePrimaryRegionOutput{}, c.keys.UpdatePrimaryRegion(ctx, c.subjects[0].use(nil), c.subjects[1].use(nil))
}
