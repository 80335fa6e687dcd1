package kms

import (
	"context"
	"strconv"

	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/operation"
)

func tagsOf(in []kms.Tag) []keys.Tag {
	tags := make([]keys.Tag, 0, len(in))
	for _, t := range in {
		tags = append(tags, keys.Tag{Key: t.TagKey, Value: t.TagValue})
	}
	return tags
}

// requestTags sets the condition keys of tags that a request passes.
func requestTags(k *operation.Keys, tags []kms.Tag) {
	if len(tags) == 0 {
		return
	}
	names := make([]string, 0, len(tags))
	for _, t := range tags {
		k.Set("aws:RequestTag/"+t.TagKey, t.TagValue)
		names = append(names, t.TagKey)
	}
	k.Set("aws:TagKeys", names...)
}

// newKey is what the request wants made, completed with the defaults.
func newKey(c *call, in *kms.CreateKeyInput) (keys.NewKey, error) {
	if in.KeySpec != "" && in.CustomerMasterKeySpec != "" {
		return keys.NewKey{}, invalid("You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.")
	}
	n := keys.NewKey{
		Account: c.Account, Description: in.Description, Spec: string(in.KeySpec), Usage: string(in.KeyUsage),
		Origin: string(in.Origin), CustomKeyStoreID: in.CustomKeyStoreId, XksKeyID: in.XksKeyId,
		MultiRegion: isSet(in.MultiRegion), Policy: in.Policy, Tags: tagsOf(in.Tags),
		Principal: c.Principal.ARN, Request: c.RequestID,
	}
	if n.Spec == "" {
		n.Spec = string(in.CustomerMasterKeySpec)
	}
	return n, n.Complete()
}

func isSet(b *bool) bool { return b != nil && *b }

func createKeyAsks(ctx context.Context, c *call, in *kms.CreateKeyInput) error {
	n, err := newKey(c, in)
	if err != nil {
		return err
	}
	fill := func(k *operation.Keys) {
		specKeys(k, n.Spec, n.Usage, n.Origin)
		if n.MultiRegion {
			regionKeys(k, keys.Primary)
		} else {
			regionKeys(k, "")
		}
		k.Set("kms:BypassPolicyLockoutSafetyCheck", strconv.FormatBool(isSet(in.BypassPolicyLockoutSafetyCheck)))
		requestTags(k, in.Tags)
	}
	c.addAccount("kms:CreateKey", "*").fill = fill
	if len(in.Tags) > 0 {
		// Tagging needs its own permission. The key has no ARN yet: a policy that allows tagging must mean all keys.
		c.addAccount("kms:TagResource", "arn:aws:kms:"+c.keys.Region()+":"+c.Account+":key/*").fill = fill
	}
	return nil
}

func createKey(ctx context.Context, c *call, in *kms.CreateKeyInput) (*kms.CreateKeyOutput, error) {
	n, err := newKey(c, in)
	if err != nil {
		return nil, err
	}
	if in.Policy != "" && !isSet(in.BypassPolicyLockoutSafetyCheck) {
		n.Check = c.keepsControl
	}
	key, err := c.keys.Create(ctx, n)
	if err != nil {
		return nil, err
	}
	c.Touch(key.Account, "AWS::KMS::Key", key.ARN)
	return &kms.CreateKeyOutput{KeyMetadata: metadata(key)}, nil
}

// keepsControl is the lockout safety check: may the caller still put a policy
// under the proposed one?
func (c *call) keepsControl(proposed *keys.Key) bool {
	j := &subject{call: c, action: "kms:PutKeyPolicy", key: proposed, fill: func(k *operation.Keys) {
		k.Set("kms:BypassPolicyLockoutSafetyCheck", "false")
	}}
	return c.Evaluate(j.ask(proposed)).Allowed
}

func metadata(key *keys.Key) *kms.KeyMetadata {
	algorithms := algorithmsOf(key)
	m := &kms.KeyMetadata{
		AWSAccountId:           key.Account,
		KeyId:                  key.ID,
		Arn:                    key.ARN,
		CreationDate:           key.Created,
		Enabled:                new(key.Enabled()),
		Description:            key.Description,
		KeyUsage:               kms.KeyUsageType(key.Usage),
		KeyState:               kms.KeyState(key.State),
		DeletionDate:           key.DeletionDate,
		Origin:                 kms.OriginType(key.Origin),
		KeyManager:             kms.KeyManagerTypeCustomer,
		CustomerMasterKeySpec:  oldSpec(key),
		KeySpec:                kms.KeySpec(key.Spec),
		EncryptionAlgorithms:   algorithms.encryption,
		SigningAlgorithms:      algorithms.signing,
		MacAlgorithms:          algorithms.mac,
		KeyAgreementAlgorithms: algorithms.agreement,
		CustomKeyStoreId:       key.CustomKeyStoreID,
		XksKeyConfiguration:    xksKey(key),
	}
	materialMetadata(m, key)
	multiRegion(m, key)
	return m
}

func describeKeyAsks(ctx context.Context, c *call, in *kms.DescribeKeyInput) error {
	if err := keys.CheckTokens(in.GrantTokens); err != nil {
		return err
	}
	return c.resolve(ctx, "kms:DescribeKey", in.KeyId, anyAccount|byAlias, func(j *subject) {
		j.grants = c.byGrant("DescribeKey", nil)
	})
}

func describeKey(ctx context.Context, c *call, in *kms.DescribeKeyInput) (*kms.DescribeKeyOutput, error) {
	if err := keys.CheckTokens(in.GrantTokens, c.key()); err != nil {
		return nil, err
	}
	return &kms.DescribeKeyOutput{KeyMetadata: metadata(c.key())}, nil
}

func listKeys(ctx context.Context, c *call, in *kms.ListKeysInput) (*kms.ListKeysOutput, error) {
	ids, next, err := c.keys.List(ctx, c.Account, in.Marker, limit(in.Limit, 100))
	if err != nil {
		return nil, err
	}
	out := &kms.ListKeysOutput{Keys: []kms.KeyListEntry{}, NextMarker: next, Truncated: new(next != "")}
	for _, id := range ids {
		out.Keys = append(out.Keys, kms.KeyListEntry{KeyId: id, KeyArn: c.keys.ARN(c.Account, id)})
	}
	return out, nil
}

func enableKey(ctx context.Context, c *call, in *kms.EnableKeyInput) (*kms.EnableKeyOutput, error) {
	return &kms.EnableKeyOutput{}, c.keys.Enable(ctx, c.key())
}

func disableKey(ctx context.Context, c *call, in *kms.DisableKeyInput) (*kms.DisableKeyOutput, error) {
	return &kms.DisableKeyOutput{}, c.keys.Disable(ctx, c.key())
}

func pendingWindow(in *kms.ScheduleKeyDeletionInput) int {
	return limit(in.PendingWindowInDays, keys.DefaultWindowDays)
}

func scheduleKeyDeletionAsks(ctx context.Context, c *call, in *kms.ScheduleKeyDeletionInput) error {
	if days := pendingWindow(in); days < keys.MinWindowDays || days > keys.MaxWindowDays {
		return invalid("PendingWindowInDays must be between %d and %d (inclusive).", keys.MinWindowDays, keys.MaxWindowDays)
	}
	return c.resolve(ctx, "kms:ScheduleKeyDeletion", in.KeyId, ownKeys, func(j *subject) {
		j.fill = func(k *operation.Keys) {
			k.Set("kms:ScheduleKeyDeletionPendingWindowInDays", strconv.Itoa(pendingWindow(in)))
		}
	})
}

func scheduleKeyDeletion(ctx context.Context, c *call, in *kms.ScheduleKeyDeletionInput) (*kms.ScheduleKeyDeletionOutput, error) {
	days := pendingWindow(in)
	at, err := c.keys.ScheduleDeletion(ctx, c.key(), days)
	if err != nil {
		return nil, err
	}
	out := &kms.ScheduleKeyDeletionOutput{
		KeyId: c.key().ARN, DeletionDate: at, KeyState: kms.KeyStatePendingDeletion, PendingWindowInDays: new(int32(days)),
	}
	if at.IsZero() { // a primary key that waits for its replicas
		out.KeyState = kms.KeyStatePendingReplicaDeletion
	}
	return out, nil
}

func cancelKeyDeletion(ctx context.Context, c *call, in *kms.CancelKeyDeletionInput) (*kms.CancelKeyDeletionOutput, error) {
	return &kms.CancelKeyDeletionOutput{KeyId: c.key().ARN}, c.keys.CancelDeletion(ctx, c.key())
}

func updateKeyDescription(ctx context.Context, c *call, in *kms.UpdateKeyDescriptionInput) (*kms.UpdateKeyDescriptionOutput, error) {
	return &kms.UpdateKeyDescriptionOutput{}, c.keys.SetDescription(ctx, c.key(), in.Description)
}

func getKeyLastUsage(ctx context.Context, c *call, in *kms.GetKeyLastUsageInput) (*kms.GetKeyLastUsageOutput, error) {
	key := c.key()
	last, since := c.keys.LastUsage(key)
	out := &kms.GetKeyLastUsageOutput{KeyId: key.ID, TrackingStartDate: since, KeyCreationDate: key.Created}
	if last != nil {
		out.KeyLastUsage = &kms.KeyLastUsageData{
			Operation: kms.KeyLastUsageTrackingOperation(last.Operation), Timestamp: last.Time,
			CloudTrailEventId: last.Event, KmsRequestId: last.Request,
		}
	}
	return out, nil
}

// The only name of a key policy is the default one.
func policyName(name string) error {
	if name != "" && name != keys.PolicyName {
		return &kms.NotFoundException{Message: "No such policy exists"}
	}
	return nil
}

func getKeyPolicy(ctx context.Context, c *call, in *kms.GetKeyPolicyInput) (*kms.GetKeyPolicyOutput, error) {
	if err := policyName(in.PolicyName); err != nil {
		return nil, err
	}
	return &kms.GetKeyPolicyOutput{Policy: c.keys.ShownPolicy(c.key()), PolicyName: keys.PolicyName}, nil
}

func putKeyPolicyAsks(ctx context.Context, c *call, in *kms.PutKeyPolicyInput) error {
	return c.resolve(ctx, "kms:PutKeyPolicy", in.KeyId, ownKeys, func(j *subject) {
		j.fill = func(k *operation.Keys) {
			k.Set("kms:BypassPolicyLockoutSafetyCheck", strconv.FormatBool(isSet(in.BypassPolicyLockoutSafetyCheck)))
		}
	})
}

func putKeyPolicy(ctx context.Context, c *call, in *kms.PutKeyPolicyInput) (*kms.PutKeyPolicyOutput, error) {
	if err := policyName(in.PolicyName); err != nil {
		return nil, err
	}
	check := c.keepsControl
	if isSet(in.BypassPolicyLockoutSafetyCheck) {
		check = nil
	}
	return &kms.PutKeyPolicyOutput{}, c.keys.PutPolicy(ctx, c.key(), in.Policy, check)
}

func listKeyPolicies(ctx context.Context, c *call, in *kms.ListKeyPoliciesInput) (*kms.ListKeyPoliciesOutput, error) {
	if in.Marker != "" { // no list here has a second page
		return nil, &kms.InvalidMarkerException{Message: "Could not deserialize marker"}
	}
	return &kms.ListKeyPoliciesOutput{PolicyNames: []string{keys.PolicyName}, Truncated: new(false)}, nil
}

func tagResourceAsks(ctx context.Context, c *call, in *kms.TagResourceInput) error {
	return c.resolve(ctx, "kms:TagResource", in.KeyId, ownKeys, func(j *subject) {
		j.fill = func(k *operation.Keys) { requestTags(k, in.Tags) }
	})
}

func tagResource(ctx context.Context, c *call, in *kms.TagResourceInput) (*kms.TagResourceOutput, error) {
	return &kms.TagResourceOutput{}, c.keys.Tag(ctx, c.key(), tagsOf(in.Tags))
}

func untagResourceAsks(ctx context.Context, c *call, in *kms.UntagResourceInput) error {
	return c.resolve(ctx, "kms:UntagResource", in.KeyId, ownKeys, func(j *subject) {
		j.fill = func(k *operation.Keys) {
			if len(in.TagKeys) > 0 {
				k.Set("aws:TagKeys", in.TagKeys...)
			}
		}
	})
}

func untagResource(ctx context.Context, c *call, in *kms.UntagResourceInput) (*kms.UntagResourceOutput, error) {
	return &kms.UntagResourceOutput{}, c.keys.Untag(ctx, c.key(), in.TagKeys)
}

// maxTagPage is smaller than the model's limit of all lists.
const maxTagPage = 50

func listResourceTags(ctx context.Context, c *call, in *kms.ListResourceTagsInput) (*kms.ListResourceTagsOutput, error) {
	n := limit(in.Limit, maxTagPage)
	if n > maxTagPage {
		return nil, invalid("1 validation error detected: Value '%d' at 'limit' failed to satisfy constraint: Member must have value less than or equal to %d", n, maxTagPage)
	}
	tags, next, err := c.keys.ListTags(c.key(), in.Marker, n)
	if err != nil {
		return nil, err
	}
	out := &kms.ListResourceTagsOutput{Tags: []kms.Tag{}, NextMarker: next, Truncated: new(next != "")}
	for _, t := range tags {
		out.Tags = append(out.Tags, kms.Tag{TagKey: t.Key, TagValue: t.Value})
	}
	return out, nil
}
