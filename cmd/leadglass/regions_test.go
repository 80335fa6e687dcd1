package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

const (
	us = "us-east-1"
	eu = "eu-central-1"
	ap = "ap-southeast-2"
)

// regions is a plane of three Regions, and the SDK's clients in each.
type regions struct {
	*plane
	data string
	cfg  aws.Config
	kms  map[string]*kms.Client
}

func newRegions(t *testing.T) *regions {
	r := &regions{data: filepath.Join(t.TempDir(), "data")}
	r.start(t)
	return r
}

func (r *regions) start(t *testing.T) {
	t.Helper()
	r.plane = newPlane(t, r.data, "--additional-regions", eu+","+ap)
	r.cfg = sdkConfig(t, r.client(t, "customer"))
	r.kms = map[string]*kms.Client{}
	for _, region := range []string{us, eu, ap} {
		r.kms[region] = kms.NewFromConfig(r.in(region))
	}
}

// in is the configuration of a client in a Region.
func (r *regions) in(region string) aws.Config {
	cfg := r.cfg.Copy()
	cfg.Region = region
	return cfg
}

// multiRegion makes a primary key in us-east-1 and replicas in the others.
func (r *regions) multiRegion(t *testing.T, in *kms.CreateKeyInput) (id string, arn func(region string) *string) {
	t.Helper()
	in.MultiRegion = aws.Bool(true)
	key := must(r.kms[us].CreateKey(t.Context(), in)).KeyMetadata
	for _, region := range []string{eu, ap} {
		got := must(r.kms[us].ReplicateKey(t.Context(), &kms.ReplicateKeyInput{KeyId: key.KeyId, ReplicaRegion: aws.String(region)})).ReplicaKeyMetadata
		if *got.Arn != strings.Replace(*key.Arn, us, region, 1) || *got.KeyId != *key.KeyId || got.MultiRegionConfiguration.MultiRegionKeyType != kmstypes.MultiRegionKeyTypeReplica {
			t.Errorf("the replica in %s is %+v", region, got)
		}
	}
	return *key.KeyId, func(region string) *string { return aws.String(strings.Replace(*key.Arn, us, region, 1)) }
}

func TestTheGoSDKUsesKeysOfSeveralRegions(t *testing.T) {
	defer ended(t)
	r := newRegions(t)
	ctx := t.Context()
	// Each Region has its own.
	var single [2]*kmstypes.KeyMetadata
	for i, region := range []string{us, eu} {
		single[i] = must(r.kms[region].CreateKey(ctx, &kms.CreateKeyInput{})).KeyMetadata
		must(r.kms[region].CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/ward"), TargetKeyId: single[i].KeyId}))
	}
	for i, region := range []string{us, eu} {
		got := must(r.kms[region].DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/ward")})).KeyMetadata
		if *got.Arn != *single[i].Arn || !strings.Contains(*got.Arn, ":"+region+":") || *got.MultiRegion || got.MultiRegionConfiguration != nil {
			t.Errorf("the key in %s is %+v", region, got)
		}
		list := must(r.kms[region].ListKeys(ctx, &kms.ListKeysInput{})).Keys
		if len(list) != 1 || *list[0].KeyArn != *single[i].Arn {
			t.Errorf("keys of %s: %+v", region, list)
		}
	}
	_, err := r.kms[us].DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: single[1].Arn})
	refusedAs[*kmstypes.NotFoundException](t, "a key of another Region", err)
	if err == nil || !strings.Contains(err.Error(), "Invalid arn "+eu) {
		t.Errorf("a key of another Region: %v", err)
	}
	_, err = r.kms[us].DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: single[1].KeyId})
	refusedAs[*kmstypes.NotFoundException](t, "an id of another Region", err)
	sealed := must(r.kms[us].Encrypt(ctx, &kms.EncryptInput{KeyId: single[0].KeyId, Plaintext: []byte("x")})).CiphertextBlob
	_, err = r.kms[eu].Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed})
	refusedAs[*kmstypes.InvalidCiphertextException](t, "a ciphertext of another Region", err)
	_, err = kms.NewFromConfig(r.in("eu-west-1")).ListKeys(ctx, &kms.ListKeysInput{})
	refusedWith(t, "a Region that is not served", err, "InvalidSignatureException")
	// Identities are one for all, asked from wherever.
	for _, region := range []string{us, eu} {
		must(sts.NewFromConfig(r.in(region)).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}))
		must(iam.NewFromConfig(r.in(region)).ListUsers(ctx, &iam.ListUsersInput{}))
	}
	// A policy can hold somebody to a Region.
	nurse := r.userOf(t, "nurse", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"aws:RequestedRegion":"eu-central-1"}}}]}`)
	_, err = kms.NewFromConfig(nurse(us)).ListKeys(ctx, &kms.ListKeysInput{})
	refusedWith(t, "outside her Region", err, "AccessDeniedException")
	must(kms.NewFromConfig(nurse(eu)).ListKeys(ctx, &kms.ListKeysInput{}))
	key := must(kms.NewFromConfig(nurse(eu)).CreateKey(ctx, &kms.CreateKeyInput{MultiRegion: aws.Bool(true)})).KeyMetadata
	_, err = kms.NewFromConfig(nurse(eu)).ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: key.KeyId, ReplicaRegion: aws.String(ap)})
	refusedWith(t, "a replica outside her Region", err, "AccessDeniedException")

	// SigV4A: one Region must be meant.
	for set, good := range map[string]bool{eu: true, "eu-*": true, "eu-central-1,sa-east-1": true, "*": false, us + "," + eu: false, "sa-east-1": false} {
		got, err := newV4A(t, r.client(t, "customer"), set).kms.ListKeys(ctx, &kms.ListKeysInput{})
		if good && (err != nil || len(got.Keys) != 2) {
			t.Errorf("region set %q: %v", set, err)
		} else if !good {
			refusedWith(t, "region set "+set, err, "InvalidSignatureException")
		}
	}
	// The record says where.
	found := must(cloudtrail.NewFromConfig(r.cfg).LookupEvents(ctx, &cloudtrail.LookupEventsInput{
		LookupAttributes: []cttypes.LookupAttribute{{AttributeKey: cttypes.LookupAttributeKeyEventName, AttributeValue: aws.String("CreateAlias")}}}))
	var where []string
	for _, e := range found.Events {
		var event struct{ AWSRegion string }
		if err := json.Unmarshal([]byte(*e.CloudTrailEvent), &event); err != nil {
			t.Fatal(err)
		}
		where = append(where, event.AWSRegion)
	}
	if slices.Sort(where); !slices.Equal(where, []string{eu, us}) {
		t.Errorf("the aliases were made in %q", where)
	}
}

// userOf makes a user with a policy; its configuration is for any Region.
func (r *regions) userOf(t *testing.T, name, policy string) func(region string) aws.Config {
	t.Helper()
	users := iam.NewFromConfig(r.cfg)
	must(users.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name}))
	must(users.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("p"), PolicyDocument: &policy}))
	key := must(users.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &name})).AccessKey
	return func(region string) aws.Config {
		return sdkConfig(t, newClient(profile{Region: region, Endpoint: r.url, AccessKeyID: *key.AccessKeyId, SecretAccessKey: *key.SecretAccessKey}))
	}
}

// configuration is what each Region's metadata say, which must be the same.
func (r *regions) configuration(t *testing.T, id string) string {
	t.Helper()
	all := map[string]bool{}
	said := ""
	for _, region := range []string{us, eu, ap} {
		m := must(r.kms[region].DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &id})).KeyMetadata
		c := m.MultiRegionConfiguration
		said = "primary " + *c.PrimaryKey.Region + ", replicas"
		for _, k := range c.ReplicaKeys {
			said += " " + *k.Region
			if *k.Arn != strings.Replace(*c.PrimaryKey.Arn, *c.PrimaryKey.Region, *k.Region, 1) {
				t.Errorf("a replica's ARN is %s", *k.Arn)
			}
		}
		all[said] = true
		want := kmstypes.MultiRegionKeyTypeReplica
		if region == *c.PrimaryKey.Region {
			want = kmstypes.MultiRegionKeyTypePrimary
		}
		if !*m.MultiRegion || c.MultiRegionKeyType != want {
			t.Errorf("in %s: %+v", region, m)
		}
	}
	if len(all) != 1 {
		t.Errorf("the Regions say %v", all)
	}
	return said
}

func TestTheGoSDKReplicatesKeysAndMovesTheirPrimary(t *testing.T) {
	defer ended(t)
	r := newRegions(t)
	ctx := t.Context()
	id, arn := r.multiRegion(t, &kms.CreateKeyInput{Description: aws.String("records")})
	if !strings.HasPrefix(id, "mrk-") {
		t.Errorf("the id is %s", id)
	}
	bound := map[string]string{"patient": "42"}
	everywhere := func(blob []byte, text string) {
		t.Helper()
		for _, region := range []string{us, eu, ap} {
			// As the AWS Encryption SDK's multi-Region keyring does: by the Region's own ARN of the id, whichever made it.
			got := must(r.kms[region].Decrypt(ctx, &kms.DecryptInput{KeyId: arn(region), CiphertextBlob: blob, EncryptionContext: bound}))
			if string(got.Plaintext) != text || *got.KeyId != *arn(region) {
				t.Errorf("in %s: %q with %s", region, got.Plaintext, *got.KeyId)
			}
			if got := must(r.kms[region].Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: bound})); *got.KeyId != *arn(region) {
				t.Errorf("without a key id, in %s: %s", region, *got.KeyId)
			}
		}
	}
	var blobs [][]byte
	seal := func(region string) {
		t.Helper()
		blobs = append(blobs, must(r.kms[region].Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x-ray"), EncryptionContext: bound})).CiphertextBlob)
	}
	seal(us)
	seal(eu)
	data := must(r.kms[ap].GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &id, KeySpec: kmstypes.DataKeySpecAes256, EncryptionContext: bound}))
	everywhere(data.CiphertextBlob, string(data.Plaintext))
	_, err := r.kms[eu].Decrypt(ctx, &kms.DecryptInput{KeyId: arn(us), CiphertextBlob: blobs[0], EncryptionContext: bound})
	refusedAs[*kmstypes.NotFoundException](t, "the ARN of another Region", err)
	if got := r.configuration(t, id); got != "primary us-east-1, replicas ap-southeast-2 eu-central-1" {
		t.Errorf("configuration: %s", got)
	}

	// Refusals.
	_, err = r.kms[us].ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: &id, ReplicaRegion: aws.String(eu)})
	refusedAs[*kmstypes.AlreadyExistsException](t, "a second replica", err)
	_, err = r.kms[eu].ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: &id, ReplicaRegion: aws.String(ap)})
	refusedAs[*kmstypes.UnsupportedOperationException](t, "replica of a replica", err)
	if err == nil || !strings.Contains(err.Error(), *arn(eu)+" is not a multi-region primary key.") {
		t.Errorf("replica of a replica: %v", err)
	}
	_, err = r.kms[us].ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: &id, ReplicaRegion: aws.String("sa-east-1")})
	refusedAs[*kmstypes.UnsupportedOperationException](t, "a Region that is not served", err)
	single := must(r.kms[us].CreateKey(ctx, &kms.CreateKeyInput{})).KeyMetadata
	for _, to := range []string{eu, us, "sa-east-1"} {
		_, err = r.kms[us].UpdatePrimaryRegion(ctx, &kms.UpdatePrimaryRegionInput{KeyId: single.KeyId, PrimaryRegion: aws.String(to)})
		refusedAs[*kmstypes.UnsupportedOperationException](t, "a key of one Region, to "+to, err)
	}
	_, err = r.kms[us].UpdatePrimaryRegion(ctx, &kms.UpdatePrimaryRegionInput{KeyId: &id, PrimaryRegion: aws.String("sa-east-1")})
	refusedAs[*kmstypes.NotFoundException](t, "a primary where there is no replica", err)

	// Its own policy, tags and description; the asks; the record.
	own := must(r.kms[us].CreateKey(ctx, &kms.CreateKeyInput{MultiRegion: aws.Bool(true), Description: aws.String("primary"), Tags: []kmstypes.Tag{{TagKey: aws.String("of"), TagValue: aws.String("primary")}}})).KeyMetadata
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:root"},"Action":"kms:*","Resource":"*"}]}`, *own.AWSAccountId)
	made := must(r.kms[us].ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: own.KeyId, ReplicaRegion: aws.String(eu), Description: aws.String("replica"), Policy: &policy,
		Tags: []kmstypes.Tag{{TagKey: aws.String("of"), TagValue: aws.String("replica")}}}))
	if *made.ReplicaPolicy != policy || len(made.ReplicaTags) != 1 || *made.ReplicaTags[0].TagValue != "replica" || *made.ReplicaKeyMetadata.Description != "replica" {
		t.Errorf("the replica is %+v", made)
	}
	locked := strings.Replace(policy, "kms:*", "kms:Encrypt", 1)
	_, err = r.kms[us].ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: own.KeyId, ReplicaRegion: aws.String(ap), Policy: &locked})
	refusedAs[*kmstypes.MalformedPolicyDocumentException](t, "a policy that locks its author out", err)
	must(r.kms[us].ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: own.KeyId, ReplicaRegion: aws.String(ap), Policy: &locked, BypassPolicyLockoutSafetyCheck: true}))
	const allow = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kms:CreateKey","kms:TagResource","kms:ReplicateKey","kms:UpdatePrimaryRegion"],"Resource":"*","Condition":{%s}}]}`
	for name, c := range map[string]struct {
		condition string
		replicate bool // to eu
		move      bool // to eu
	}{
		"one":   {`"StringEqualsIfExists":{"kms:ReplicaRegion":"eu-central-1"},"Bool":{"kms:MultiRegion":"true"}`, true, true},
		"two":   {`"StringEqualsIfExists":{"kms:ReplicaRegion":"ap-southeast-2"}`, false, true},
		"three": {`"StringEqualsIfExists":{"kms:PrimaryRegion":"ap-southeast-2"}`, true, false},
		"four":  {`"StringEquals":{"kms:MultiRegionKeyType":"PRIMARY"}`, false, false}, // the replica that is to be, or to be moved to, is none
	} {
		theirs := kms.NewFromConfig(r.userOf(t, name, fmt.Sprintf(allow, c.condition))(us))
		k := must(r.kms[us].CreateKey(ctx, &kms.CreateKeyInput{MultiRegion: aws.Bool(true)})).KeyMetadata
		denied := func(what string, allowed bool, err error) {
			t.Helper()
			if allowed && err != nil {
				t.Errorf("%s, user %s: %v", what, name, err)
			} else if !allowed {
				refusedWith(t, what+", user "+name, err, "AccessDeniedException")
			}
		}
		_, err := theirs.ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: k.KeyId, ReplicaRegion: aws.String(eu)})
		denied("replicate", c.replicate, err)
		if err != nil {
			must(r.kms[us].ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: k.KeyId, ReplicaRegion: aws.String(eu)}))
		}
		_, err = theirs.UpdatePrimaryRegion(ctx, &kms.UpdatePrimaryRegionInput{KeyId: k.KeyId, PrimaryRegion: aws.String(eu)})
		denied("move", c.move, err)
	}
	found := must(cloudtrail.NewFromConfig(r.cfg).LookupEvents(ctx, &cloudtrail.LookupEventsInput{LookupAttributes: []cttypes.LookupAttribute{{AttributeKey: cttypes.LookupAttributeKeyResourceName, AttributeValue: arn(eu)}}}))
	if !slices.ContainsFunc(found.Events, func(e cttypes.Event) bool { return *e.EventName == "ReplicateKey" }) {
		t.Error("the making of the replica is not among its events")
	}

	// The primary moves, rotates for all, and all is there after a restart.
	must(r.kms[us].UpdatePrimaryRegion(ctx, &kms.UpdatePrimaryRegionInput{KeyId: &id, PrimaryRegion: aws.String(ap)}))
	_, err = r.kms[us].RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &id})
	refusedAs[*kmstypes.UnsupportedOperationException](t, "rotation by a replica", err)
	must(r.kms[ap].RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &id}))
	must(r.kms[ap].EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: &id, RotationPeriodInDays: aws.Int32(120)}))
	seal(us)
	seal(ap)
	must(r.kms[eu].DisableKey(ctx, &kms.DisableKeyInput{KeyId: &id}))
	for range 2 {
		if got := r.configuration(t, id); got != "primary ap-southeast-2, replicas eu-central-1 us-east-1" {
			t.Errorf("configuration: %s", got)
		}
		materials := map[string]bool{}
		for _, region := range []string{us, eu, ap} {
			m := must(r.kms[region].DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})).KeyMetadata
			materials[*m.CurrentKeyMaterialId] = true
			if m.Enabled != (region != eu) {
				t.Errorf("in %s enabled is %v", region, m.Enabled)
			}
			s := must(r.kms[region].GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &id}))
			if !s.KeyRotationEnabled || *s.RotationPeriodInDays != 120 {
				t.Errorf("rotation in %s: %+v", region, s)
			}
		}
		if len(materials) != 1 {
			t.Errorf("the current materials are %v", materials)
		}
		_, err = r.kms[eu].Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blobs[0], EncryptionContext: bound})
		refusedAs[*kmstypes.DisabledException](t, "a disabled replica", err)
		r.plane.stop()
		r.start(t)
	}
	must(r.kms[eu].EnableKey(ctx, &kms.EnableKeyInput{KeyId: &id}))
	for _, blob := range blobs {
		everywhere(blob, "x-ray")
	}
	// The end: a primary waits for its replicas.
	gone := must(r.kms[ap].ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: aws.Int32(8)}))
	if gone.KeyState != kmstypes.KeyStatePendingReplicaDeletion || gone.DeletionDate != nil || *gone.PendingWindowInDays != 8 {
		t.Errorf("the end of a primary: %+v", gone)
	}
	m := must(r.kms[ap].DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})).KeyMetadata
	if m.KeyState != kmstypes.KeyStatePendingReplicaDeletion || *m.PendingDeletionWindowInDays != 8 || m.DeletionDate != nil {
		t.Errorf("a primary that waits: %+v", m)
	}
	_, err = r.kms[ap].Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blobs[0], EncryptionContext: bound})
	refusedAs[*kmstypes.KMSInvalidStateException](t, "a primary that waits", err)
	if end := must(r.kms[us].ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id, PendingWindowInDays: aws.Int32(7)})); end.DeletionDate == nil || end.DeletionDate.Before(time.Now().AddDate(0, 0, 6)) {
		t.Errorf("the end of a replica: %+v", end)
	}
	must(r.kms[ap].CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: &id}))
	if m := must(r.kms[ap].DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})).KeyMetadata; m.KeyState != kmstypes.KeyStateDisabled || m.PendingDeletionWindowInDays != nil {
		t.Errorf("a primary that was saved: %+v", m)
	}

	// Without the Regions that hold keys nothing starts, and a check needs no flag.
	r.plane.stop()
	if p, err := start(r.data); err == nil {
		p.stop()
		t.Error("the plane starts without its Regions")
	} else if !strings.Contains(err.Error(), "--additional-regions") {
		t.Errorf("a start without the Regions: %v", err)
	}
	fsck(t, r.data)
	r.start(t)
}

// What one of several related keys signs, seals and authenticates the others
// verify and open, for keys of all kinds.
func TestTheGoSDKReplicatesAsymmetricAndHMACKeys(t *testing.T) {
	defer ended(t)
	r := newRegions(t)
	ctx := t.Context()
	message := []byte("blood count")
	for _, c := range []struct {
		spec kmstypes.KeySpec
		alg  kmstypes.SigningAlgorithmSpec
	}{
		{kmstypes.KeySpecRsa2048, kmstypes.SigningAlgorithmSpecRsassaPssSha256},
		{kmstypes.KeySpecEccNistP256, kmstypes.SigningAlgorithmSpecEcdsaSha256},
		{kmstypes.KeySpecEccNistEdwards25519, kmstypes.SigningAlgorithmSpecEd25519Sha512},
		{kmstypes.KeySpecMlDsa44, kmstypes.SigningAlgorithmSpecMlDsaShake256},
	} {
		id, arn := r.multiRegion(t, &kms.CreateKeyInput{KeySpec: c.spec, KeyUsage: kmstypes.KeyUsageTypeSignVerify})
		var public []byte
		for _, from := range []string{us, eu, ap} {
			signed := must(r.kms[from].Sign(ctx, &kms.SignInput{KeyId: &id, Message: message, SigningAlgorithm: c.alg}))
			if *signed.KeyId != *arn(from) {
				t.Errorf("%s signed with %s", from, *signed.KeyId)
			}
			for _, to := range []string{us, eu, ap} {
				must(r.kms[to].Verify(ctx, &kms.VerifyInput{KeyId: &id, Message: message, Signature: signed.Signature, SigningAlgorithm: c.alg}))
			}
			got := must(r.kms[from].GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &id})).PublicKey
			if public != nil && !bytes.Equal(public, got) {
				t.Errorf("%s: the public keys differ", c.spec)
			}
			public = got
		}
	}
	id, _ := r.multiRegion(t, &kms.CreateKeyInput{KeySpec: kmstypes.KeySpecHmac256, KeyUsage: kmstypes.KeyUsageTypeGenerateVerifyMac})
	mac := must(r.kms[eu].GenerateMac(ctx, &kms.GenerateMacInput{KeyId: &id, Message: message, MacAlgorithm: kmstypes.MacAlgorithmSpecHmacSha256})).Mac
	must(r.kms[ap].VerifyMac(ctx, &kms.VerifyMacInput{KeyId: &id, Message: message, Mac: mac, MacAlgorithm: kmstypes.MacAlgorithmSpecHmacSha256}))
	id, _ = r.multiRegion(t, &kms.CreateKeyInput{KeySpec: kmstypes.KeySpecRsa2048, KeyUsage: kmstypes.KeyUsageTypeEncryptDecrypt})
	alg := kmstypes.EncryptionAlgorithmSpecRsaesOaepSha256
	blob := must(r.kms[us].Encrypt(ctx, &kms.EncryptInput{KeyId: &id, Plaintext: message, EncryptionAlgorithm: alg})).CiphertextBlob
	if got := must(r.kms[eu].Decrypt(ctx, &kms.DecryptInput{KeyId: &id, CiphertextBlob: blob, EncryptionAlgorithm: alg})).Plaintext; !bytes.Equal(got, message) {
		t.Errorf("opened to %q", got)
	}
	_, err := r.kms[us].RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &id})
	refusedAs[*kmstypes.UnsupportedOperationException](t, "rotation of an asymmetric key", err)
}

// The official AWS Encryption SDKs, with their multi-Region-aware keyrings,
// open in one Region what they, or leadglass seal, sealed in another, and
// leadglass open what they sealed.
func TestTheOfficialEncryptionSDKsOpenInAnotherRegionWhatWasSealedInOne(t *testing.T) {
	defer ended(t)
	r := newRegions(t)
	_, arn := r.multiRegion(t, &kms.CreateKeyInput{})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("x-ray"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(t *testing.T, args ...string) {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(r.env("customer"), runMain+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v %s", args, err, out)
		}
	}
	same := func(t *testing.T, name string) {
		t.Helper()
		if got, err := os.ReadFile(name); err != nil || string(got) != "x-ray" {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	t.Run("leadglass", func(t *testing.T) {
		sealed, opened := filepath.Join(dir, "sealed"), filepath.Join(dir, "opened")
		run(t, self, "seal", plain, "-o", sealed, "--key", *arn(us))
		run(t, self, "open", sealed, "-o", opened, "--key", *arn(eu))
		same(t, opened)
	})
	for name, official := range map[string]func(t *testing.T) []string{
		"Go":         func(t *testing.T) []string { return []string{officialGo(t)} },
		"JavaScript": func(t *testing.T) []string { return officialJS(t) },
	} {
		t.Run(name, func(t *testing.T) {
			sdk := official(t)
			at := func(what string) string { return filepath.Join(dir, name+what) }
			run(t, append(slices.Clone(sdk), "seal", *arn(us), plain, at("sealed"))...)
			run(t, append(slices.Clone(sdk), "open", *arn(ap), at("sealed"), at("opened"))...)
			same(t, at("opened"))
			run(t, self, "open", at("sealed"), "-o", at("ours"), "--key", *arn(eu))
			same(t, at("ours"))
			run(t, self, "seal", plain, "-o", at("sealed here"), "--key", *arn(eu))
			run(t, append(slices.Clone(sdk), "open", *arn(us), at("sealed here"), at("theirs"))...)
			same(t, at("theirs"))
		})
	}
}

func TestRegionsThatCannotBeServedAreRefusedAtTheStart(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for flags, want := range map[string]string{
		"Europe":                    "additional region \"Europe\"",
		"eu-central-1,eu-central-1": "named twice",
		"us-east-1":                 "named twice",
		"eu:central-1":              "additional region",
	} {
		out, err := exec.Command(self, "serve", "--data", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0", "--additional-regions", flags).CombinedOutput()
		if e := (*exec.ExitError)(nil); !errors.As(err, &e) || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v %s", flags, err, out)
		}
	}
}
