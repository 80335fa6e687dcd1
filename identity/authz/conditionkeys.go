package authz

import "strings"

// A ConditionKey is one row of what policies can ask a request for. docs/condition-keys.md is
// written from these rows, and a test compares them with what the code sets.
type ConditionKey struct {
	Name  string // "aws:PrincipalTag/" stands for all that begin so
	Kind  string // String, ARN, Bool, Numeric, Date, IP
	Multi bool   // may have several values: use a set operator
	On    string // which operations have it
	When  string // when it is present, and what it says

	// Recorded: the record of a denial may show the request's value. Values that are a customer's own business (an
	// encryption context) or that somebody has to know (an external id) stay out of it (I-9).
	Recorded bool
}

const (
	always    = "every request"
	signed    = "signed requests"
	temporary = "requests with temporary credentials"
	recipient = "kms operations with Recipient and a valid attestation document"
)

// ConditionKeys are the keys that a request can have here, by service and name.
var ConditionKeys = []ConditionKey{
	{"aws:AssumedRoot", "Bool", false, "root sessions", "true: the session was made by sts:AssumeRoot", true},
	{"aws:CurrentTime", "Date", false, always, "when the request came in", true},
	{"aws:EpochTime", "Date", false, always, "the same, in seconds since 1970", true},
	{"aws:FederatedProvider", "String", false, temporary, "the session came from an identity provider: its ARN", true},
	{"aws:MultiFactorAuthAge", "Numeric", false, temporary, "seconds since the second factor; only if one was used", true},
	{"aws:MultiFactorAuthPresent", "Bool", false, temporary, "whether a second factor was used; absent with long-term keys", true},
	{"aws:PrincipalAccount", "String", false, signed, "the caller's account", true},
	{"aws:PrincipalArn", "ARN", false, signed, "the user; for a session the role with its path; the federated user; the root", true},
	{"aws:PrincipalIsAWSService", "Bool", false, signed, "false: no service calls here as itself", true},
	{"aws:PrincipalOrgID", "String", false, signed, "the caller's account is in an organization: its id", true},
	{"aws:PrincipalOrgPaths", "String", true, signed, "the caller's account is in an organization: o-x/r-y/ou-z/", true},
	{"aws:PrincipalTag/", "String", false, signed, "tags of the user; tags of the role, overlaid by those of the session", true},
	{"aws:PrincipalType", "String", false, always, "User, AssumedRole, FederatedUser, Account; Anonymous for a web identity that asks for its first session", true},
	{"aws:RequestTag/", "String", false, "every operation that passes tags: creation, tagging, sessions", "the call passes the tag: its value", true},
	{"aws:RequestedRegion", "String", false, always, "the region that the request was signed for; of global services, and of an unsigned request, the home region; of kms:CreateKey and kms:TagResource in kms:ReplicateKey, the replica's", true},
	{"aws:ResourceAccount", "String", false, signed, "the account that owns what is asked about", true},
	{"aws:ResourceOrgID", "String", false, signed, "the owner is in an organization: its id", true},
	{"aws:ResourceOrgPaths", "String", true, signed, "the owner is in an organization: o-x/r-y/ou-z/", true},
	{"aws:ResourceTag/", "String", false, "every operation on a resource that has tags", "the resource has the tag: its value", true},
	{"aws:SecureTransport", "Bool", false, always, "whether the request came over TLS", true},
	{"aws:SourceIdentity", "String", false, temporary, "set somewhere in the chain of roles", true},
	{"aws:SourceIp", "IP", false, always, "the peer's address; forwarding headers are not believed", true},
	{"aws:TagKeys", "String", true, "every operation that passes or removes tags", "the keys of these tags", true},
	{"aws:TokenIssueTime", "Date", false, temporary, "when the credentials were issued", true},
	{"aws:UserAgent", "String", false, always, "as the client says", true},
	{"aws:ViaAWSService", "Bool", false, always, "false: nothing is forwarded here", true},
	{"aws:userid", "String", false, always, "the user's id; AROA...:session; account:name of a federated user; the account of its root; anonymous for a web identity that asks for its first session", true},
	{"aws:username", "String", false, signed, "IAM users only", true},

	{"iam:AWSServiceName", "String", false, "iam:CreateServiceLinkedRole", "the service that the role is for", true},
	{"iam:PassedToService", "String", false, "iam:PassRole", "the service that is handed the role", true},
	{"iam:PermissionsBoundary", "ARN", false, "iam:CreateUser, iam:CreateRole and what changes policies or boundaries of users and roles", "the boundary that the call sets or, else, that there is", true},
	{"iam:PolicyARN", "ARN", false, "iam:Attach*Policy, iam:Detach*Policy", "the policy", true},
	{"iam:ResourceTag/", "String", false, "operations on users and roles, sts:AssumeRole", "as aws:ResourceTag", true},

	{"kms:BypassPolicyLockoutSafetyCheck", "Bool", false, "kms:CreateKey, kms:PutKeyPolicy", "the parameter", true},
	{"kms:CallerAccount", "String", false, "every kms operation", "the caller's account", true},
	{"kms:CustomerMasterKeySpec", "String", false, "every kms operation on a key", "as kms:KeySpec", true},
	{"kms:CustomerMasterKeyUsage", "String", false, "every kms operation on a key", "as kms:KeyUsage", true},
	{"kms:DataKeyPairSpec", "String", false, "kms:GenerateDataKeyPair, kms:GenerateDataKeyPairWithoutPlaintext", "the spec of the pair", true},
	{"kms:EncryptionAlgorithm", "String", false, "kms:Encrypt, kms:Decrypt, kms:ReEncrypt*", "the algorithm", true},
	{"kms:EncryptionContext:", "String", false, "kms cryptographic operations, kms:CreateGrant", "the value of the encryption context's key; of a grant, that of its constraint", false},
	{"kms:EncryptionContextKeys", "String", true, "kms cryptographic operations, kms:CreateGrant", "the keys of the encryption context", true},
	{"kms:ExpirationModel", "String", false, "kms:ImportKeyMaterial", "KEY_MATERIAL_EXPIRES, KEY_MATERIAL_DOES_NOT_EXPIRE", true},
	{"kms:GrantConstraintType", "String", true, "kms:CreateGrant", "EncryptionContextEquals, EncryptionContextSubset", true},
	{"kms:GrantIsForAWSResource", "Bool", false, "kms:CreateGrant, kms:ListGrants, kms:RevokeGrant", "false: no service makes grants here", true},
	{"kms:GrantOperations", "String", true, "kms:CreateGrant", "the operations of the grant", true},
	{"kms:GranteePrincipal", "ARN", false, "kms:CreateGrant", "who may use the grant", true},
	{"kms:KeyAgreementAlgorithm", "String", false, "kms:DeriveSharedSecret", "the algorithm", true},
	{"kms:KeyOrigin", "String", false, "kms:CreateKey, every kms operation on a key", "AWS_KMS, EXTERNAL, EXTERNAL_KEY_STORE", true},
	{"kms:KeySpec", "String", false, "kms:CreateKey, every kms operation on a key", "SYMMETRIC_DEFAULT, ...", true},
	{"kms:KeyUsage", "String", false, "kms:CreateKey, every kms operation on a key", "ENCRYPT_DECRYPT, ...", true},
	{"kms:MacAlgorithm", "String", false, "kms:GenerateMac, kms:VerifyMac", "the algorithm", true},
	{"kms:MessageType", "String", false, "kms:Sign, kms:Verify", "RAW (also if it is not given), DIGEST, EXTERNAL_MU", true},
	{"kms:MultiRegion", "Bool", false, "kms:CreateKey, every kms operation on a key", "whether it is a multi-Region key", true},
	{"kms:MultiRegionKeyType", "String", false, "kms:CreateKey, every kms operation on a key", "it is a multi-Region key: PRIMARY or REPLICA", true},
	{"kms:PrimaryRegion", "String", false, "kms:UpdatePrimaryRegion", "the region of the primary key to be", true},
	{"kms:ReEncryptOnSameKey", "Bool", false, "kms:ReEncrypt*", "whether both keys are one", true},
	{"kms:RecipientAttestation:ImageSha384", "String", false, recipient, "as kms:RecipientAttestation:PCR0", true},
	{"kms:RecipientAttestation:PCR", "String", false, recipient, "followed by the number: the register in lower-case hex. One of zeros, and of a simulated enclave every one unless the key's policy asks for the tier, proves nothing: no condition on it lets an Allow apply, each lets a Deny apply", true},
	{"kms:ReplicaRegion", "String", false, "kms:ReplicateKey", "the region of the replica to be", true},
	{"kms:RequestAlias", "String", false, "kms operations that take an alias", "the request names the key by an alias: that", true},
	{"kms:ResourceAliases", "String", true, "every kms operation on a key", "the key has aliases", true},
	{"kms:RetiringPrincipal", "ARN", false, "kms:CreateGrant", "who may retire the grant", true},
	{"kms:RotationPeriodInDays", "Numeric", false, "kms:EnableKeyRotation", "the period, also if it is the default one", true},
	{"kms:ScheduleKeyDeletionPendingWindowInDays", "Numeric", false, "kms:ScheduleKeyDeletion", "the waiting time", true},
	{"kms:SigningAlgorithm", "String", false, "kms:Sign, kms:Verify", "the algorithm", true},
	{"kms:ValidTo", "Date", false, "kms:ImportKeyMaterial", "the material ends: when, in seconds since 1970; Numeric operators too", true},
	{"kms:WrappingAlgorithm", "String", false, "kms:GetParametersForImport", "the parameter", true},
	{"kms:WrappingKeySpec", "String", false, "kms:GetParametersForImport", "the parameter", true},

	{"leadglass:RecipientAttestation:Tier", "Numeric", false, recipient, "how the enclave is isolated: 0 simulated, 1 software, 2 software on a measured boot, 3 confidential VM, 4 hardware", true},

	{"organizations:PolicyType", "String", false, "organizations operations on policies", "SERVICE_CONTROL_POLICY, RESOURCE_CONTROL_POLICY", true},
	{"organizations:ServicePrincipal", "String", false, "delegated administrators and service access", "the service", true},

	{"sts:DurationSeconds", "Numeric", false, "sts operations that make a session", "how long it shall last", true},
	{"sts:ExternalId", "String", false, "sts:AssumeRole", "the caller gives one", false},
	{"sts:IdentityTokenAudience", "String", true, "sts:GetWebIdentityToken", "for whom the token is", true},
	{"sts:RoleSessionName", "String", false, "sts:AssumeRole*", "the session's name", true},
	{"sts:SigningAlgorithm", "String", false, "sts:GetWebIdentityToken", "how the token is signed", true},
	{"sts:SourceIdentity", "String", false, "sts:AssumeRole*, sts:SetSourceIdentity", "the call sets one", true},
	{"sts:TaskPolicyArn", "ARN", false, "sts:AssumeRoot", "the task that the session is for", true},
	{"sts:TransitiveTagKeys", "String", true, "sts:AssumeRole*, sts:TagSession", "tags that go down the chain", true},
}

// ProviderKeys says, in the form of a row, what a web identity brings: its names begin with the provider's.
var ProviderKeys = ConditionKey{"<issuer without https://>:", "String", true, "sts:AssumeRoleWithWebIdentity and the session from it", "claims of the token: aud, sub, amr, ...", false}

// AbsentKeys are keys of AWS that no request has here, because the plane has nothing that they speak of. A policy
// that asks for one is accepted: the key is absent, so that what needs it does not allow.
var AbsentKeys = []ConditionKey{
	{Name: "aws:CalledVia", When: "no service forwards calls"},
	{Name: "aws:CalledViaFirst", When: "no service forwards calls"},
	{Name: "aws:CalledViaLast", When: "no service forwards calls"},
	{Name: "aws:ChatbotSourceArn", When: "no such service"},
	{Name: "aws:Ec2InstanceSourcePrivateIPv4", When: "no instances"},
	{Name: "aws:Ec2InstanceSourceVpc", When: "no instances"},
	{Name: "aws:PrincipalServiceName", When: "no service calls as itself"},
	{Name: "aws:PrincipalServiceNamesList", When: "no service calls as itself"},
	{Name: "aws:SourceAccount", When: "no service acts for a resource"},
	{Name: "aws:SourceArn", When: "no service acts for a resource"},
	{Name: "aws:SourceOrgID", When: "no service acts for a resource"},
	{Name: "aws:SourceOrgPaths", When: "no service acts for a resource"},
	{Name: "aws:SourceVpc", When: "no endpoints"},
	{Name: "aws:SourceVpce", When: "no endpoints"},
	{Name: "aws:VpcSourceIp", When: "no endpoints"},
	{Name: "ec2:RoleDelivery", When: "no instances"},
	{Name: "ec2:SourceInstanceARN", When: "no instances"},
	{Name: "iam:AssociatedResourceArn", When: "no service that takes a role for one resource"},
	{Name: "kms:ViaService", When: "no service forwards calls"},
	{Name: "lambda:SourceFunctionArn", When: "no such service"},
	{Name: "leadglass:Custody", When: "no service forwards calls"},
	{Name: "leadglass:OriginAgeSeconds", When: "no service forwards calls"},
	{Name: "leadglass:OriginSourceIp", When: "no service forwards calls"},
	{Name: "leadglass:OriginSourceVpce", When: "no service forwards calls"},
	{Name: "s3:", When: "no object store"},
}

// recorded says whether the record of a denial may show the request's values of a key. Keys
// without a row may not.
func recorded(key string) bool {
	for i := range ConditionKeys {
		k := &ConditionKeys[i]
		open := strings.HasSuffix(k.Name, "/") || strings.HasSuffix(k.Name, ":") || strings.HasSuffix(k.Name, ":PCR")
		if strings.EqualFold(key, k.Name) || open && hasPrefixFold(key, k.Name) {
			return k.Recorded
		}
	}
	return false
}
