package directory

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/state/kv"
)

// Factors keeps the seeds of MFA devices and the passwords, which the
// directory has sealed only; *authority.Client is one.
type Factors interface {
	NewFactor(ctx context.Context, serial, label string) (authority.NewFactor, error)
	PairFactor(ctx context.Context, f authority.Factor, second string) (sealed []byte, err error)
	SetPassword(ctx context.Context, p authority.Password) (sealed []byte, err error)
}

const (
	mfaPerUser = 8 // IAM's limit
	maxSerial  = 256
	mfaWord    = "mfa" // as ARNs have it
)

// An MFADevice is a virtual MFA device without its seed.
type MFADevice struct {
	Serial     string // its ARN
	Name, Path string
	Created    time.Time
	User       User      // zero: not assigned
	Enabled    time.Time // when it was assigned; zero: it is not
	Tags       []Tag
}

// A NewMFADevice is the input of CreateVirtualMFADevice.
type NewMFADevice struct {
	Name, Path string // Path "": "/"
	Tags       []Tag
}

// A MadeMFADevice is a virtual MFA device with its seed, which nobody will be
// shown again. The caller destroys both secrets.
type MadeMFADevice struct {
	MFADevice
	Seed *secret.Bytes // base64 of the base32 text
	QR   *secret.Bytes // base64 of a PNG
}

// An MFAStatus narrows ListVirtualMFADevices.
type MFAStatus uint8

// Which devices are listed.
const (
	AnyMFA MFAStatus = iota
	AssignedMFA
	UnassignedMFA
)

// An mfaRecord is a virtual MFA device. It rests under its path and name, so
// that they are unique; one that was deleted and made anew is nobody's, and
// has another seed.
type mfaRecord struct {
	Name    string      `cbor:"1,keyasint"`
	Path    string      `cbor:"2,keyasint"`
	Created int64       `cbor:"3,keyasint"`
	Sealed  []byte      `cbor:"4,keyasint"`
	User    string      `cbor:"5,keyasint,omitempty"` // unique id
	Enabled int64       `cbor:"6,keyasint,omitempty"`
	Tags    []tagRecord `cbor:"7,keyasint,omitempty"`
}

// mfa is the place of one device. rec is immutable and replaced.
type mfa struct {
	rec *mfaRecord // guarded by realm.write and realm.mu
	mod kv.Rev     // guarded by realm.write and realm.mu
}

func mfaID(path, name string) string { return fold(strings.TrimPrefix(path, "/") + name) }

func mfaARN(account string, rec *mfaRecord) string {
	return arn.IAM(account, mfaWord, rec.Path, rec.Name)
}

// setMFA replaces a device; rec nil removes it. Caller holds r.mu.
func (r *realm) setMFA(id string, rec *mfaRecord, mod kv.Rev) {
	if rec == nil {
		delete(r.mfa, id)
		return
	}
	r.mfa[id] = &mfa{rec, mod}
}

// device finds a device by its serial number. Caller holds r.write or r.mu.
func (r *realm) device(serial string) (id string, m *mfa, err error) {
	if rest, ok := strings.CutPrefix(serial, arn.IAM(r.account, mfaWord, "/", "")); ok {
		id = fold(rest)
		if m = r.mfa[id]; m != nil && mfaARN(r.account, m.rec) == serial {
			return id, m, nil
		}
	}
	return "", nil, refuse(NoSuchEntity, "VirtualMFADevice with serial number %s doesn't exist.", serial)
}

// deviceOf finds a device that is assigned to the user. Caller holds r.write or r.mu.
func (r *realm) deviceOf(e *entity, serial string) (id string, m *mfa, err error) {
	id, m, err = r.device(serial)
	if err != nil || m.rec.User != e.rec.ID {
		return "", nil, refuse(NoSuchEntity, "MFA Device with serial number %s is not associated with user %s.", serial, e.rec.Name)
	}
	return id, m, nil
}

// mfaDevice is the exported form. Caller holds r.write or r.mu.
func (r *realm) mfaDevice(m *mfa) MFADevice {
	d := MFADevice{
		Serial: mfaARN(r.account, m.rec), Name: m.rec.Name, Path: m.rec.Path, Created: instant(m.rec.Created),
		Enabled: instant(m.rec.Enabled), Tags: tagsOf(m.rec.Tags),
	}
	if e := r.entities[m.rec.User]; e != nil {
		d.User = e.user()
	}
	return d
}

// CreateVirtualMFADevice makes a device that belongs to nobody yet.
func (d *Directory) CreateVirtualMFADevice(ctx context.Context, account string, in NewMFADevice) (MadeMFADevice, error) {
	var out MadeMFADevice
	r, err := d.need(account)
	if err != nil {
		return out, err
	}
	path, err := checkPath(in.Path)
	if err != nil {
		return out, err
	}
	if err := checkName("virtualMFADeviceName", in.Name, maxSerial); err != nil {
		return out, err
	}
	if err := checkTags(in.Tags); err != nil {
		return out, err
	}
	rec := &mfaRecord{Name: in.Name, Path: path, Created: d.clock.Now().UnixMilli(), Tags: tagRecords(in.Tags)}
	serial, id := mfaARN(account, rec), mfaID(path, in.Name)
	if len(serial) > maxSerial {
		return out, refuse(ValidationError, "1 validation error detected: Value at 'serialNumber' failed to satisfy constraint: Member must have length less than or equal to %d", maxSerial)
	}
	free := func() error {
		if r.mfa[id] != nil {
			return refuse(EntityAlreadyExists, "MFADevice entity at the same path and name already exists.")
		}
		if len(r.mfa) >= d.quotas.Users { // IAM's quota of devices is that of users
			return refuse(LimitExceeded, "Cannot exceed quota for VirtualMFADevicesPerAccount: %d", d.quotas.Users)
		}
		return nil
	}
	// Before the authority is troubled; the change looks again.
	r.mu.RLock()
	err = free()
	r.mu.RUnlock()
	if err != nil {
		return out, err
	}
	if d.factors == nil {
		return out, errNoFactors
	}
	// The URI names device and account, as AWS's does. Everything but what a path takes unchanged is escaped.
	label := strings.NewReplacer("+", "%2B", "=", "%3D", ",", "%2C").Replace(url.PathEscape(in.Name)) + "@" + account
	made, err := d.factors.NewFactor(ctx, serial, label)
	if err != nil {
		return out, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	rec.Sealed = made.Sealed
	err = d.change(ctx, r, func(t *tx) error {
		if err := free(); err != nil {
			return err
		}
		t.insert(recordKey(account, sectionMFA, id), rec)
		return nil
	})
	if err != nil {
		made.Seed.Destroy()
		made.QR.Destroy()
		return out, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return MadeMFADevice{r.mfaDevice(&mfa{rec: rec}), made.Seed, made.QR}, nil
}

var errNoFactors = fmt.Errorf("%w: no authority for second factors and passwords", ErrUnavailable)

// badCode is the refusal of codes that are not the device's.
func badCode(err error) error {
	if errors.Is(err, authority.ErrCode) {
		return refuse(InvalidAuthenticationCode, "Authentication code for device is not valid.")
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// EnableMFADevice assigns a device to a user who shows two consecutive codes of it.
func (d *Directory) EnableMFADevice(ctx context.Context, account, user, serial, first, second string) error {
	look := func(r *realm) (id string, m *mfa, e *entity, err error) {
		if e, err = r.find(UserKind, user); err != nil {
			return "", nil, nil, err
		}
		if id, m, err = r.device(serial); err != nil {
			return "", nil, nil, err
		}
		if m.rec.User != "" {
			return "", nil, nil, refuse(EntityAlreadyExists, "MFA Device is already in use.")
		}
		if len(e.rec.MFA) >= mfaPerUser {
			return "", nil, nil, refuse(LimitExceeded, "Cannot exceed quota for MFADevicesPerUser: %d", mfaPerUser)
		}
		return id, m, e, nil
	}
	return d.pair(ctx, account, serial, first, second, look, func(t *tx, id string, rec *mfaRecord, e *entity) {
		rec.User, rec.Enabled = e.rec.ID, d.clock.Now().UnixMilli()
		owner := *e.rec
		owner.MFA = append(slices.Clone(owner.MFA), id)
		t.put(recordKey(account, sectionEntity, owner.ID), owner, e.mod)
	})
}

// ResyncMFADevice finds the clock of a user's device anew, by two consecutive codes.
func (d *Directory) ResyncMFADevice(ctx context.Context, account, user, serial, first, second string) error {
	look := func(r *realm) (id string, m *mfa, e *entity, err error) {
		if e, err = r.find(UserKind, user); err != nil {
			return "", nil, nil, err
		}
		id, m, err = r.deviceOf(e, serial)
		return id, m, e, err
	}
	return d.pair(ctx, account, serial, first, second, look, func(*tx, string, *mfaRecord, *entity) {})
}

// pair shows two codes to the authority and keeps the record that it answers,
// if the device is still the one that look found.
func (d *Directory) pair(ctx context.Context, account, serial, first, second string,
	look func(*realm) (string, *mfa, *entity, error), edit func(*tx, string, *mfaRecord, *entity)) error {
	r, err := d.need(account)
	if err != nil {
		return err
	}
	if d.factors == nil {
		return errNoFactors
	}
	r.mu.RLock()
	_, before, _, err := look(r)
	var sealed []byte
	if err == nil {
		sealed = before.rec.Sealed
	}
	r.mu.RUnlock()
	if err != nil {
		return err
	}
	next, err := d.factors.PairFactor(ctx, authority.Factor{Serial: serial, Sealed: sealed, Code: first}, second)
	if err != nil {
		return badCode(err)
	}
	return d.change(ctx, r, func(t *tx) error {
		id, m, e, err := look(r)
		if err != nil {
			return err
		}
		if string(m.rec.Sealed) != string(sealed) {
			return refuse(ConcurrentModification, "The MFA device was changed at the same time.")
		}
		rec := *m.rec
		rec.Sealed = next
		edit(t, id, &rec, e)
		t.put(recordKey(account, sectionMFA, id), rec, m.mod)
		return nil
	})
}

// DeactivateMFADevice takes a device away from its user. Sessions that were
// made with it go on until they expire, as with AWS.
func (d *Directory) DeactivateMFADevice(ctx context.Context, account, user, serial string) error {
	return d.alter(ctx, account, UserKind, user, func(t *tx, e *entity, rec *entityRecord) error {
		id, m, err := e.realm.deviceOf(e, serial)
		if err != nil {
			return err
		}
		free := *m.rec
		free.User, free.Enabled = "", 0
		rec.MFA = slices.DeleteFunc(slices.Clone(rec.MFA), func(have string) bool { return have == id })
		t.put(recordKey(account, sectionMFA, id), free, m.mod)
		return nil
	})
}

// DeleteVirtualMFADevice deletes a device that is nobody's.
func (d *Directory) DeleteVirtualMFADevice(ctx context.Context, account, serial string) error {
	r, err := d.need(account)
	if err != nil {
		return err
	}
	return d.change(ctx, r, func(t *tx) error {
		id, m, err := r.device(serial)
		if err != nil {
			return err
		}
		if m.rec.User != "" {
			return refuse(DeleteConflict, "MFA VirtualDevice in use. Must deactivate first.")
		}
		t.delete(recordKey(account, sectionMFA, id), m.mod)
		return nil
	})
}

// ListMFADevices lists the devices of a user.
func (d *Directory) ListMFADevices(account, user string, list List) (Page[MFADevice], error) {
	return view(d, account, UserKind, user, func(e *entity) (Page[MFADevice], error) {
		var all []MFADevice
		for _, id := range e.rec.MFA {
			if m := e.realm.mfa[id]; m != nil {
				all = append(all, e.realm.mfaDevice(m))
			}
		}
		return pageOfNames(list, all, func(m MFADevice) string { return fold(m.Serial) })
	})
}

// ListVirtualMFADevices lists the devices of an account.
func (d *Directory) ListVirtualMFADevices(account string, status MFAStatus, list List) (Page[MFADevice], error) {
	r, err := d.need(account)
	if err != nil {
		return Page[MFADevice]{}, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []MFADevice
	for _, m := range r.mfa {
		if status == AnyMFA || (status == AssignedMFA) == (m.rec.User != "") {
			all = append(all, r.mfaDevice(m))
		}
	}
	return pageOfNames(list, all, func(m MFADevice) string { return fold(m.Serial) })
}

// GetMFADevice finds a device; with a user, only if it is the user's.
func (d *Directory) GetMFADevice(account, user, serial string) (MFADevice, error) {
	r, err := d.need(account)
	if err != nil {
		return MFADevice{}, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	var m *mfa
	if user == "" {
		_, m, err = r.device(serial)
	} else {
		var e *entity
		if e, err = r.find(UserKind, user); err == nil {
			_, m, err = r.deviceOf(e, serial)
		}
	}
	if err != nil {
		return MFADevice{}, err
	}
	return r.mfaDevice(m), nil
}

// MFAFactor is the device that a caller named, for the authority to check a
// code of: only if it is that user's, by the unique id.
func (d *Directory) MFAFactor(account, userID, serial string) (authority.Factor, bool) {
	r := d.realm(account)
	if r == nil {
		return authority.Factor{}, false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, m, err := r.device(serial)
	if err != nil || userID == "" || m.rec.User != userID {
		return authority.Factor{}, false
	}
	return authority.Factor{Serial: serial, Sealed: m.rec.Sealed}, true
}

// CountMFADevices counts the devices of an account, and those of them that are
// assigned to a user.
func (d *Directory) CountMFADevices(account string) (all, inUse int) {
	r := d.realm(account)
	if r == nil {
		return 0, 0
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.countMFA()
}

// countMFA is CountMFADevices. Caller holds r.mu.
func (r *realm) countMFA() (all, inUse int) {
	for _, m := range r.mfa {
		if m.rec.User != "" {
			inUse++
		}
	}
	return len(r.mfa), inUse
}

// TagMFADevice adds tags to a device; a key that is there already, in any
// case, is replaced.
func (d *Directory) TagMFADevice(ctx context.Context, account, serial string, tags []Tag) error {
	if err := checkTags(tags); err != nil {
		return err
	}
	return d.alterMFA(ctx, account, serial, func(rec *mfaRecord) (err error) {
		rec.Tags, err = withTags(rec.Tags, tags)
		return err
	})
}

// UntagMFADevice removes tags; keys that are not there are no error.
func (d *Directory) UntagMFADevice(ctx context.Context, account, serial string, keys []string) error {
	return d.alterMFA(ctx, account, serial, func(rec *mfaRecord) error {
		rec.Tags = withoutTags(rec.Tags, keys)
		return nil
	})
}

// ListMFADeviceTags lists the tags of a device.
func (d *Directory) ListMFADeviceTags(account, serial string, list List) (Page[Tag], error) {
	m, err := d.GetMFADevice(account, "", serial)
	if err != nil {
		return Page[Tag]{}, err
	}
	return pageOfNames(list, m.Tags, func(t Tag) string { return foldKey(t.Key) })
}

func (d *Directory) alterMFA(ctx context.Context, account, serial string, edit func(*mfaRecord) error) error {
	r, err := d.need(account)
	if err != nil {
		return err
	}
	return d.change(ctx, r, func(t *tx) error {
		id, m, err := r.device(serial)
		if err != nil {
			return err
		}
		rec := *m.rec
		if err := edit(&rec); err != nil {
			return err
		}
		t.put(recordKey(account, sectionMFA, id), rec, m.mod)
		return nil
	})
}
