package leadglass

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	api "github.com/leadglass/leadglass/api/leadglass"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/operation"
)

// chunk is how much of a file one ReadAuditExport gives.
const chunk = 384 << 10

func (s *Service) describeAuditLog(ctx context.Context, _ *api.DescribeAuditLogInput) (*api.DescribeAuditLogOutput, error) {
	account := operation.CallFrom(ctx).Account
	conf, err := s.Log.Configuration(account)
	if err != nil {
		return nil, fmt.Errorf("service/leadglass: %w", err)
	}
	return &api.DescribeAuditLogOutput{
		AccountId: account, Origin: conf.Origin, Label: hex.EncodeToString(conf.Label[:]), LabelSalt: conf.Salt, VerifierKeys: conf.Verifiers,
	}, nil
}

func (s *Service) exportAuditLog(ctx context.Context, _ *api.ExportAuditLogInput) (*api.ExportAuditLogOutput, error) {
	e, err := s.Log.Export(ctx, operation.CallFrom(ctx).Account)
	if err != nil {
		return nil, fmt.Errorf("service/leadglass: %w", err)
	}
	out := &api.ExportAuditLogOutput{ExportId: e.ID, Size: new(int64(e.AccountSize)), Files: make([]api.ExportFile, len(e.Files))}
	for i, f := range e.Files {
		out.Files[i] = api.ExportFile{Name: f.Name, Size: new(f.Size)}
	}
	return out, nil
}

func (s *Service) readAuditExport(ctx context.Context, in *api.ReadAuditExportInput) (*api.ReadAuditExportOutput, error) {
	var at int64
	if in.Offset != nil {
		at = *in.Offset
	}
	b := make([]byte, chunk)
	n, err := s.Log.ReadExport(ctx, operation.CallFrom(ctx).Account, in.ExportId, in.Name, at, b)
	switch {
	case errors.Is(err, log.ErrNoFile):
		return nil, &api.NotFoundException{Message: "There is no such file in this export; exports are kept for a while only, make a new one."}
	case err != nil:
		return nil, fmt.Errorf("service/leadglass: %w", err)
	}
	return &api.ReadAuditExportOutput{Data: b[:n]}, nil
}

func (s *Service) getAuditKeys(ctx context.Context, _ *api.GetAuditKeysInput) (*api.GetAuditKeysOutput, error) {
	file, err := s.Log.AccountKey(ctx, operation.CallFrom(ctx).Account)
	if err != nil {
		return nil, fmt.Errorf("service/leadglass: %w", err)
	}
	return &api.GetAuditKeysOutput{KeyFile: file}, nil
}
