package iam

import (
	"context"

	"github.com/leadglass/leadglass/api/iam"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/operation"
)

func (s *Service) mfaDevices() []operation.Operation {
	return []operation.Operation{
		serve(s, iam.CreateVirtualMFADevice, s.createVirtualMFADevice, askCreateVirtualMFADevice),
		serve(s, iam.DeleteVirtualMFADevice, s.deleteVirtualMFADevice, func(q question, in *iam.DeleteVirtualMFADeviceInput) ([]operation.Ask, error) {
			return one(q.device(in.SerialNumber))
		}),
		serve(s, iam.EnableMFADevice, s.enableMFADevice, func(q question, in *iam.EnableMFADeviceInput) ([]operation.Ask, error) {
			return one(q.user(in.UserName))
		}),
		serve(s, iam.ResyncMFADevice, s.resyncMFADevice, func(q question, in *iam.ResyncMFADeviceInput) ([]operation.Ask, error) {
			return one(q.user(in.UserName))
		}),
		serve(s, iam.DeactivateMFADevice, s.deactivateMFADevice, func(q question, in *iam.DeactivateMFADeviceInput) ([]operation.Ask, error) {
			return one(q.caller(in.UserName))
		}),
		serve(s, iam.ListMFADevices, s.listMFADevices, func(q question, in *iam.ListMFADevicesInput) ([]operation.Ask, error) {
			return one(q.caller(in.UserName))
		}),
		serve(s, iam.GetMFADevice, s.getMFADevice, askGetMFADevice),
		serve(s, iam.ListVirtualMFADevices, s.listVirtualMFADevices, func(q question, _ *iam.ListVirtualMFADevicesInput) ([]operation.Ask, error) {
			return []operation.Ask{q.on("*")}, nil
		}),
		serve(s, iam.TagMFADevice, s.tagMFADevice, func(q question, in *iam.TagMFADeviceInput) ([]operation.Ask, error) {
			a, err := q.device(in.SerialNumber)
			return one(tagged(a, in.Tags), err)
		}),
		serve(s, iam.UntagMFADevice, s.untagMFADevice, func(q question, in *iam.UntagMFADeviceInput) ([]operation.Ask, error) {
			a, err := q.device(in.SerialNumber)
			return one(untagged(a, in.TagKeys), err)
		}),
		serve(s, iam.ListMFADeviceTags, s.listMFADeviceTags, func(q question, in *iam.ListMFADeviceTagsInput) ([]operation.Ask, error) {
			return one(q.device(in.SerialNumber))
		}),
	}
}

// device asks about a device by its serial number, which is its ARN. One of
// another account is that account's: nothing there allows it.
func (q question) device(serial string) (operation.Ask, error) {
	a, err := arn.Parse(serial)
	kind, name := a.Split()
	if err != nil || a.Partition != arn.Partition || a.Service != "iam" || a.Region != "" || kind != "mfa" || name == "" || !arn.IsAccount(a.Account) {
		return operation.Ask{}, notAnARN(serial)
	}
	ask := operation.Ask{Action: q.action, Resource: serial, Owner: a.Account}
	if a.Account != q.call.Account {
		return ask, nil
	}
	m, err := q.directory.GetMFADevice(a.Account, "", serial)
	if directory.CodeOf(err) == directory.NoSuchEntity {
		return ask, nil
	}
	if err != nil {
		return operation.Ask{}, err
	}
	for _, t := range m.Tags {
		ask.Context.Set("aws:ResourceTag/"+t.Key, t.Value)
	}
	return ask, nil
}

func askCreateVirtualMFADevice(q question, in *iam.CreateVirtualMFADeviceInput) ([]operation.Ask, error) {
	path := in.Path
	if path == "" {
		path = "/"
	}
	ask := func(q question) operation.Ask {
		return tagged(q.on(arn.IAM(q.call.Account, "mfa", path, in.VirtualMFADeviceName)), in.Tags)
	}
	asks := []operation.Ask{ask(q)}
	if len(in.Tags) > 0 {
		q.action = "iam:TagMFADevice"
		asks = append(asks, ask(q))
	}
	return asks, nil
}

// askGetMFADevice asks about the user whose device it is. Whose a device is
// that is nobody's, or is not there, cannot be said: that is asked about under
// the users as such, as for access keys.
func askGetMFADevice(q question, in *iam.GetMFADeviceInput) ([]operation.Ask, error) {
	if in.UserName != "" {
		return one(q.user(in.UserName))
	}
	m, err := q.directory.GetMFADevice(q.call.Account, "", in.SerialNumber)
	if directory.CodeOf(err) == directory.NoSuchEntity || err == nil && m.User.Name == "" {
		return []operation.Ask{q.under(directory.UserKind, "/")}, nil
	}
	return one(q.found(directory.UserKind, m.User.Name, m.User.ARN, m.User.Tags, "", err))
}

func (s *Service) createVirtualMFADevice(ctx context.Context, account string, in *iam.CreateVirtualMFADeviceInput) (*iam.CreateVirtualMFADeviceOutput, error) {
	m, err := s.directory.CreateVirtualMFADevice(ctx, account, directory.NewMFADevice{Name: in.VirtualMFADeviceName, Path: in.Path, Tags: tagsOf(in.Tags)})
	if err != nil {
		return nil, err
	}
	call := operation.CallFrom(ctx)
	return &iam.CreateVirtualMFADeviceOutput{VirtualMFADevice: &iam.VirtualMFADevice{
		SerialNumber: m.Serial, Tags: tagShapes(m.Tags),
		// Placeholders: the gate writes the seed and its picture over them.
		Base32StringSeed: call.RevealBlob(m.Seed), QRCodePNG: call.RevealBlob(m.QR),
	}}, nil
}

func (s *Service) deleteVirtualMFADevice(ctx context.Context, account string, in *iam.DeleteVirtualMFADeviceInput) (*iam.DeleteVirtualMFADeviceOutput, error) {
	return none[iam.DeleteVirtualMFADeviceOutput](s.directory.DeleteVirtualMFADevice(ctx, account, in.SerialNumber))
}

func (s *Service) enableMFADevice(ctx context.Context, account string, in *iam.EnableMFADeviceInput) (*iam.EnableMFADeviceOutput, error) {
	return none[iam.EnableMFADeviceOutput](s.directory.EnableMFADevice(ctx, account, in.UserName, in.SerialNumber, in.AuthenticationCode1, in.AuthenticationCode2))
}

func (s *Service) resyncMFADevice(ctx context.Context, account string, in *iam.ResyncMFADeviceInput) (*iam.ResyncMFADeviceOutput, error) {
	return none[iam.ResyncMFADeviceOutput](s.directory.ResyncMFADevice(ctx, account, in.UserName, in.SerialNumber, in.AuthenticationCode1, in.AuthenticationCode2))
}

func (s *Service) deactivateMFADevice(ctx context.Context, account string, in *iam.DeactivateMFADeviceInput) (*iam.DeactivateMFADeviceOutput, error) {
	name, err := s.callerOr(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	return none[iam.DeactivateMFADeviceOutput](s.directory.DeactivateMFADevice(ctx, account, name, in.SerialNumber))
}

func (s *Service) listMFADevices(ctx context.Context, account string, in *iam.ListMFADevicesInput) (*iam.ListMFADevicesOutput, error) {
	name, err := s.callerOr(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	page, err := s.directory.ListMFADevices(account, name, listOf("", in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListMFADevicesOutput)
	out.MFADevices, out.IsTruncated, out.Marker = pageOf(page, func(m directory.MFADevice) iam.MFADevice {
		return iam.MFADevice{UserName: m.User.Name, SerialNumber: m.Serial, EnableDate: date(m.Enabled)}
	})
	return out, nil
}

func (s *Service) getMFADevice(_ context.Context, account string, in *iam.GetMFADeviceInput) (*iam.GetMFADeviceOutput, error) {
	m, err := s.directory.GetMFADevice(account, in.UserName, in.SerialNumber)
	if err != nil {
		return nil, err
	}
	out := &iam.GetMFADeviceOutput{UserName: m.User.Name, SerialNumber: m.Serial}
	if !m.Enabled.IsZero() {
		out.EnableDate = date(m.Enabled)
	}
	return out, nil
}

func (s *Service) listVirtualMFADevices(_ context.Context, account string, in *iam.ListVirtualMFADevicesInput) (*iam.ListVirtualMFADevicesOutput, error) {
	status := directory.AnyMFA
	switch in.AssignmentStatus {
	case "", iam.AssignmentStatusTypeAny:
	case iam.AssignmentStatusTypeAssigned:
		status = directory.AssignedMFA
	case iam.AssignmentStatusTypeUnassigned:
		status = directory.UnassignedMFA
	default:
		return nil, invalid("1 validation error detected: Value '%s' at 'assignmentStatus' failed to satisfy constraint: Member must satisfy enum value set: [Assigned, Unassigned, Any]", in.AssignmentStatus)
	}
	page, err := s.directory.ListVirtualMFADevices(account, status, listOf("", in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListVirtualMFADevicesOutput)
	out.VirtualMFADevices, out.IsTruncated, out.Marker = pageOf(page, deviceShape)
	return out, nil
}

// deviceShape is a device as a listing tells it: without seed and tags.
func deviceShape(m directory.MFADevice) iam.VirtualMFADevice {
	v := iam.VirtualMFADevice{SerialNumber: m.Serial}
	if m.User.ID != "" {
		v.User, v.EnableDate = new(listedUser(m.User)), date(m.Enabled)
	}
	return v
}

func (s *Service) tagMFADevice(ctx context.Context, account string, in *iam.TagMFADeviceInput) (*iam.TagMFADeviceOutput, error) {
	return none[iam.TagMFADeviceOutput](s.directory.TagMFADevice(ctx, account, in.SerialNumber, tagsOf(in.Tags)))
}

func (s *Service) untagMFADevice(ctx context.Context, account string, in *iam.UntagMFADeviceInput) (*iam.UntagMFADeviceOutput, error) {
	return none[iam.UntagMFADeviceOutput](s.directory.UntagMFADevice(ctx, account, in.SerialNumber, in.TagKeys))
}

func (s *Service) listMFADeviceTags(_ context.Context, account string, in *iam.ListMFADeviceTagsInput) (*iam.ListMFADeviceTagsOutput, error) {
	page, err := s.directory.ListMFADeviceTags(account, in.SerialNumber, listOf("", in.Marker, in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := new(iam.ListMFADeviceTagsOutput)
	out.Tags, out.IsTruncated, out.Marker = pageOf(page, tagShape)
	return out, nil
}
