package keys

// A State is where a key is in its life (kms-api section 5).
type State string

// The states of the API.
const (
	StateEnabled                State = "Enabled"
	StateDisabled               State = "Disabled"
	StatePendingDeletion        State = "PendingDeletion"
	StatePendingReplicaDeletion State = "PendingReplicaDeletion"
	StatePendingImport          State = "PendingImport"
	StateUnavailable            State = "Unavailable"
	StateCreating               State = "Creating"
	StateUpdating               State = "Updating"
)

// A bit per state, so that one row of the state table is one number.
type states uint8

const (
	enabled states = 1 << iota
	disabled
	deleting // PendingDeletion and PendingReplicaDeletion
	importing
	unavailable
	creating
	updating

	anyState = enabled | disabled | deleting | importing | unavailable | creating | updating
)

func (s State) bit() states {
	switch s {
	case StateEnabled:
		return enabled
	case StateDisabled:
		return disabled
	case StatePendingDeletion, StatePendingReplicaDeletion:
		return deleting
	case StatePendingImport:
		return importing
	case StateUnavailable:
		return unavailable
	case StateCreating:
		return creating
	case StateUpdating:
		return updating
	}
	return 0
}

// allowed is the state table of kms-api section 5: for each operation the
// states in which it is allowed. An operation without a row is never allowed.
var allowed = map[string]states{
	"CancelKeyDeletion":                   deleting,
	"CreateAlias":                         anyState &^ deleting,
	"CreateGrant":                         enabled | unavailable | updating,
	"Decrypt":                             enabled | updating,
	"DeleteAlias":                         anyState,
	"DeleteImportedKeyMaterial":           enabled | disabled | deleting | importing,
	"DeriveSharedSecret":                  enabled | updating,
	"DescribeKey":                         anyState,
	"DisableKey":                          enabled | disabled | unavailable,
	"DisableKeyRotation":                  enabled | importing | unavailable | updating, // in two of them only to be told that the key does not rotate
	"EnableKey":                           enabled | disabled | unavailable,
	"EnableKeyRotation":                   enabled | importing | unavailable | updating, // the same
	"Encrypt":                             enabled | updating,
	"GenerateDataKey":                     enabled | updating,
	"GenerateDataKeyPair":                 enabled | updating,
	"GenerateDataKeyPairWithoutPlaintext": enabled | updating,
	"GenerateDataKeyWithoutPlaintext":     enabled | updating,
	"GenerateMac":                         enabled | updating,
	"GetKeyLastUsage":                     anyState,
	"GetKeyPolicy":                        anyState,
	"GetKeyRotationStatus":                anyState,
	"GetParametersForImport":              enabled | disabled | importing,
	"GetPublicKey":                        enabled | updating,
	"ImportKeyMaterial":                   enabled | disabled | importing | updating,
	"ListAliases":                         anyState,
	"ListGrants":                          anyState,
	"ListKeyPolicies":                     anyState,
	"ListKeyRotations":                    anyState,
	"ListResourceTags":                    anyState,
	"PutKeyConditions":                    anyState &^ (deleting | importing | creating | updating),
	"PutKeyPolicy":                        anyState,
	"ReEncrypt":                           enabled | updating,
	"ReplicateKey":                        enabled,
	"RetireGrant":                         anyState,
	"RevokeGrant":                         anyState,
	"RotateKeyOnDemand":                   enabled | unavailable, // the second only to be told that the key does not rotate
	"ScheduleKeyDeletion":                 anyState &^ (deleting | updating),
	"Sign":                                enabled | updating,
	"TagResource":                         anyState &^ deleting,
	"UntagResource":                       anyState &^ deleting,
	"UpdateAlias":                         anyState &^ deleting, // of the alias's new target
	"UpdateKeyDescription":                anyState &^ deleting,
	"UpdatePrimaryRegion":                 enabled | updating,
	"Verify":                              enabled | updating,
	"VerifyMac":                           enabled | updating,
}

// Permits says whether a key in state s with this ARN takes the operation; if
// not, the answer is the refusal.
func (s State) Permits(operation, keyARN string) error {
	bit := s.bit()
	if bit&allowed[operation] != 0 {
		return nil
	}
	if operation == "CancelKeyDeletion" {
		return refuse(InvalidState, "%s is not pending deletion.", keyARN)
	}
	switch s {
	case StateDisabled:
		return refuse(Disabled, "%s is disabled.", keyARN)
	case StatePendingDeletion:
		return refuse(InvalidState, "%s is pending deletion.", keyARN)
	case StatePendingReplicaDeletion:
		return refuse(InvalidState, "%s is pending replica deletion.", keyARN)
	case StatePendingImport:
		return refuse(InvalidState, "%s is pending import.", keyARN)
	case StateCreating:
		return refuse(InvalidState, "%s is creating.", keyARN)
	case StateUpdating:
		return refuse(InvalidState, "%s is updating.", keyARN)
	}
	return refuse(InvalidState, "%s is unavailable.", keyARN)
}
