package keys

// A State is where a key is in its life (kms-api section 5).
type State string

// The states of the API. Keys made by this package are Enabled, Disabled or
// PendingDeletion; the others belong to imported, replicated and foreign keys.
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
	"DeriveSharedSecret":                  enabled | updating,
	"DeleteAlias":                         anyState,
	"DescribeKey":                         anyState,
	"DisableKey":                          enabled | disabled | unavailable,
	"EnableKey":                           enabled | disabled | unavailable,
	"Encrypt":                             enabled | updating,
	"GenerateDataKey":                     enabled | updating,
	"GenerateDataKeyWithoutPlaintext":     enabled | updating,
	"GenerateDataKeyPair":                 enabled | updating,
	"GenerateDataKeyPairWithoutPlaintext": enabled | updating,
	"GenerateMac":                         enabled | updating,
	"GetPublicKey":                        enabled | updating,
	"GetKeyLastUsage":                     anyState,
	"GetKeyPolicy":                        anyState,
	"GetKeyRotationStatus":                anyState, // of a symmetric key with material of the boundary
	"ListAliases":                         anyState,
	"ListGrants":                          anyState,
	"ListKeyPolicies":                     anyState,
	"ListResourceTags":                    anyState,
	"PutKeyPolicy":                        anyState,
	"ReEncrypt":                           enabled | updating,
	"RetireGrant":                         anyState,
	"RevokeGrant":                         anyState,
	"Sign":                                enabled | updating,
	"Verify":                              enabled | updating,
	"VerifyMac":                           enabled | updating,
	"ScheduleKeyDeletion":                 anyState &^ (deleting | updating),
	"TagResource":                         anyState &^ deleting,
	"UntagResource":                       anyState &^ deleting,
	"UpdateAlias":                         anyState &^ deleting, // of the alias's new target
	"UpdateKeyDescription":                anyState &^ deleting,
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
