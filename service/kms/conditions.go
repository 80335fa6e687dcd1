package kms

import (
	"context"
	"encoding/hex"
	"errors"
	"strconv"

	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/api/leadglass"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/operation"
)

// Sealed conditions are no part of AWS's API: the two operations on them belong
// to the control plane's service, with its model and its event source. They
// are served here because they act on keys, whose policies decide: on
// kms:PutKeyConditions and kms:GetKeyConditions of the key, so that whoever may
// do everything with a key (kms:*) may seal it.

// ControlPlane is the table of what is served of package api/leadglass.
func (s *Service) ControlPlane() []operation.Operation {
	return []operation.Operation{
		entry(s, leadglass.PutKeyConditions, manage("kms:PutKeyConditions", func(in *leadglass.PutKeyConditionsInput) string { return in.KeyId }), putKeyConditions),
		entry(s, leadglass.GetKeyConditions, manage("kms:GetKeyConditions", func(in *leadglass.GetKeyConditionsInput) string { return in.KeyId }), getKeyConditions),
	}
}

func putKeyConditions(ctx context.Context, c *call, in *leadglass.PutKeyConditionsInput) (*leadglass.PutKeyConditionsOutput, error) {
	next, err := conditionsOf(in.Conditions)
	if err != nil {
		return nil, err
	}
	if err := c.keys.PutConditions(ctx, c.subjects[0].use(nil), next, in.Command); err != nil {
		return nil, err
	}
	key, err := c.keys.ByID(ctx, c.key().ID)
	if err != nil || key == nil {
		return nil, errors.Join(err, errGone)
	}
	return &leadglass.PutKeyConditionsOutput{KeyId: key.ARN, FenceEpoch: new(int64(key.FenceEpoch()))}, nil
}

var errGone = errors.New("service/kms: a key is gone that was just sealed")

func getKeyConditions(ctx context.Context, c *call, _ *leadglass.GetKeyConditionsInput) (*leadglass.GetKeyConditionsOutput, error) {
	key := c.key()
	domain, err := c.keys.Domain(ctx)
	if err != nil {
		return nil, err
	}
	s := key.Conditions()
	out := &leadglass.KeyConditions{EncryptionContext: s.Context, Operations: keys.OperationNames(s.Operations), Custodians: s.Custodians}
	if s.Attested {
		out.Attested = new(true)
	}
	if s.CallerProof {
		out.CallerProof = new(true)
	}
	for _, m := range s.Measurements {
		registers := make(map[string]string, len(m))
		for register, value := range m {
			registers[strconv.FormatUint(register, 10)] = hex.EncodeToString(value)
		}
		out.Measurements = append(out.Measurements, leadglass.KeyMeasurement{Registers: registers})
	}
	return &leadglass.GetKeyConditionsOutput{
		KeyId: key.ARN, KeyMaterialId: key.MaterialID, Conditions: out, FenceEpoch: new(int64(key.FenceEpoch())),
		Domain: domain[:],
	}, nil
}

// conditionsOf reads conditions as they stand in a request. What is false and
// what is absent asks for nothing.
func conditionsOf(in *leadglass.KeyConditions) (s keys.Conditions, err error) {
	s.Attested, s.CallerProof = isSet(in.Attested), isSet(in.CallerProof)
	s.Custodians = in.Custodians
	if len(in.EncryptionContext) > 0 {
		s.Context = in.EncryptionContext
	}
	if s.Operations, err = keys.OperationBits(in.Operations); err != nil {
		return s, err
	}
	for _, m := range in.Measurements {
		registers := make(keys.Measurement, len(m.Registers))
		for name, text := range m.Registers {
			register, err := strconv.ParseUint(name, 10, 8)
			value, hexErr := hex.DecodeString(text)
			if err != nil || hexErr != nil || name != strconv.FormatUint(register, 10) {
				return s, invalid("A measurement is a register from 0 to 31 and its value in hexadecimal digits.")
			}
			registers[register] = value
		}
		s.Measurements = append(s.Measurements, registers)
	}
	return s, nil
}

// proven is ctx with the caller's own request, where the conditions of one of
// the call's keys ask the HSM to see it. A caller whose signature only the
// authority can check has none to show, and the HSM refuses.
func (c *call) proven(ctx context.Context) (context.Context, error) {
	for _, j := range c.subjects {
		if j.key == nil || !j.key.WantsProof() || c.Signed == nil {
			continue
		}
		r, err := c.Signed(ctx)
		if err != nil {
			return ctx, &kms.DependencyTimeoutException{Message: "The request could not be prepared for the HSM to check. Try again."}
		}
		return keys.WithProof(ctx, keys.Proof{
			Canonical: r.Canonical, StringToSign: r.StringToSign, Signature: r.Signature, CallerKey: r.CallerKey, Body: r.Body,
		}), nil
	}
	return ctx, nil
}
