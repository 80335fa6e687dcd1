package iam

import (
	"errors"
	"fmt"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/wire"
)

// translate puts a refusal of the directory into IAM's error of that code.
// Errors that are in IAM's form already stay; any other is the house's own
// trouble, which the gate logs and answers with a fixed text.
func translate(op *wire.OpInfo, err error) error {
	refusal, ok := errors.AsType[*directory.Error](err)
	if !ok {
		if _, ok := errors.AsType[wire.Modelled](err); ok {
			return err
		}
		return fmt.Errorf("iam: %s: %w", op.Name, err)
	}
	m := refusal.Message
	switch refusal.Code {
	case directory.NoSuchEntity:
		return &iam.NoSuchEntityException{Message: m}
	case directory.EntityAlreadyExists:
		return &iam.EntityAlreadyExistsException{Message: m}
	case directory.DeleteConflict:
		return &iam.DeleteConflictException{Message: m}
	case directory.LimitExceeded:
		return &iam.LimitExceededException{Message: m}
	case directory.ConcurrentModification:
		return &iam.ConcurrentModificationException{Message: m}
	case directory.MalformedPolicyDocument:
		return &iam.MalformedPolicyDocumentException{Message: m}
	case directory.InvalidInput:
		return &iam.InvalidInputException{Message: m}
	case directory.UnmodifiableEntity:
		return &iam.UnmodifiableEntityException{Message: m}
	case directory.PolicyNotAttachable:
		return &iam.PolicyNotAttachableException{Message: m}
	case directory.FeatureEnabled:
		return &iam.FeatureEnabledException{Message: m}
	case directory.FeatureDisabled:
		return &iam.FeatureDisabledException{Message: m}
	case directory.InvalidAuthenticationCode:
		return &iam.InvalidAuthenticationCodeException{Message: m}
	case directory.PasswordPolicyViolation:
		return &iam.PasswordPolicyViolationException{Message: m}
	case directory.ReportExpired:
		return &iam.CredentialReportExpiredException{Message: m}
	case directory.ReportNotPresent:
		return &iam.CredentialReportNotPresentException{Message: m}
	case directory.ValidationError:
		return invalid("%s", m)
	case directory.AccessDenied:
		return &wire.Fault{Code: string(refusal.Code), Message: m, Status: 403}
	}
	return fmt.Errorf("iam: %s: code that IAM does not have: %w", op.Name, err)
}
