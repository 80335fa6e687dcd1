package kms

import (
	"context"
	"errors"
	"fmt"

	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/wire"
)

// invalid is the error for a broken rule of a parameter, which the API's
// model does not name.
func invalid(format string, args ...any) error {
	return &wire.Fault{Code: "ValidationException", Message: fmt.Sprintf(format, args...), Status: 400}
}

// unsupported refuses what is in the API and not served here.
func unsupported(format string, args ...any) error {
	return &kms.UnsupportedOperationException{Message: fmt.Sprintf(format, args...)}
}

// errForeignCiphertext is AWS's refusal of a ciphertext whose key the request
// does not name. Whoever came by another account's ciphertext does not learn
// whose it is.
var errForeignCiphertext = &wire.Fault{
	Code: "AccessDeniedException", Status: 400, MessageKey: "Message",
	Message: "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.",
}

// fault turns a refusal of package keys into the API's error. What is no
// refusal stays what it is: the gate answers it as an internal error.
func fault(err error) error {
	var (
		denied  *operation.Denied
		already wire.Modelled
		refused *keys.Error
	)
	switch {
	case errors.As(err, &denied), errors.As(err, &already):
		return err
	case !errors.As(err, &refused):
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		return fmt.Errorf("service/kms: %w", err)
	}
	m := refused.Message
	switch refused.Kind {
	case keys.NotFound:
		return &kms.NotFoundException{Message: m}
	case keys.AlreadyExists:
		return &kms.AlreadyExistsException{Message: m}
	case keys.Disabled:
		return &kms.DisabledException{Message: m}
	case keys.DryRun:
		return &kms.DryRunOperationException{Message: m}
	case keys.ExpiredImportToken:
		return &kms.ExpiredImportTokenException{Message: m}
	case keys.IncorrectKeyMaterial:
		return &kms.IncorrectKeyMaterialException{Message: m}
	case keys.InvalidImportToken:
		return &kms.InvalidImportTokenException{Message: m}
	case keys.IncorrectKey:
		return &kms.IncorrectKeyException{Message: m}
	case keys.InvalidAliasName:
		return &kms.InvalidAliasNameException{Message: m}
	case keys.InvalidARN:
		return &kms.InvalidArnException{Message: m}
	case keys.InvalidCiphertext:
		return &kms.InvalidCiphertextException{}
	case keys.InvalidGrantID:
		return &kms.InvalidGrantIdException{Message: m}
	case keys.InvalidGrantToken:
		return &kms.InvalidGrantTokenException{Message: m}
	case keys.InvalidKeyUsage:
		return &kms.InvalidKeyUsageException{Message: m}
	case keys.InvalidMarker:
		return &kms.InvalidMarkerException{Message: m}
	case keys.InvalidState:
		return &kms.KMSInvalidStateException{Message: m}
	case keys.LimitExceeded:
		return &kms.LimitExceededException{Message: m}
	case keys.MalformedPolicy:
		return &kms.MalformedPolicyDocumentException{Message: m}
	case keys.NotAuthorized:
		// Not in the model; without a text, as recorded (kms-api section 4).
		return &wire.Fault{Code: "NotAuthorizedException", Status: 400}
	case keys.Tagging:
		return &kms.TagException{Message: m}
	case keys.Unsupported:
		return &kms.UnsupportedOperationException{Message: m}
	case keys.Unavailable:
		return &kms.KeyUnavailableException{Message: m}
	case keys.InvalidSignature:
		return &kms.KMSInvalidSignatureException{}
	case keys.InvalidMac:
		return &kms.KMSInvalidMacException{}
	case keys.Throttling:
		return &wire.Fault{Code: "ThrottlingException", Message: m, Status: 400}
	case keys.Sealed:
		return &wire.Fault{Code: "AccessDeniedException", Status: 400, MessageKey: "Message", Message: m}
	case keys.Validation:
		return &wire.Fault{Code: "ValidationException", Message: m, Status: 400}
	}
	if f := storeFault(refused.Kind, m); f != nil {
		return f
	}
	return fmt.Errorf("service/kms: %w", err)
}
