package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fxamacker/cbor/v2"

	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/state/kv"
)

// clientsName is where the state of the first accounts rests.
var clientsName = kv.Table('Z').Text("first accounts")

// firstAccounts are the accounts whose credentials a first start writes.
type firstAccounts struct {
	Operator string `cbor:"1,keyasint"`
	Customer string `cbor:"2,keyasint"`
	Written  bool   `cbor:"3,keyasint"` // the credentials are in the client files
}

// openOperator makes the operator's account.
func (d *Daemon) openOperator(ctx context.Context) error {
	a, err := d.directory.CreateAccount(ctx, "operator", true)
	if err != nil {
		return err
	}
	d.operator = a.ID
	return d.log.CreateAccount(ctx, a.ID)
}

// writeClients makes the AWS-style files of the first accounts: once their
// credentials, and at every start the endpoint, which may have changed. A
// crash at any point leaves a state from which the next start goes on.
func (d *Daemon) writeClients(ctx context.Context) error {
	dir := filepath.Join(d.cfg.DataDir, "client")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil { // it may have been there
		return err
	}
	var first firstAccounts
	e, err := d.store.Get(ctx, clientsName)
	if err != nil {
		return err
	}
	if e.Mod != 0 {
		if err := cbor.Unmarshal(e.Value, &first); err != nil {
			return fmt.Errorf("%w: first accounts: %w", kv.ErrCorrupt, err)
		}
	}
	save := func() error {
		b, err := cbor.Marshal(first)
		if err != nil {
			return err
		}
		_, err = d.store.Commit(ctx, nil, []kv.Op{{Key: clientsName, Value: b}})
		return err
	}
	if e.Mod == 0 {
		customer, err := d.firstCustomer(ctx)
		if err != nil {
			return err
		}
		first = firstAccounts{Operator: d.operator, Customer: customer}
		if err := save(); err != nil {
			return err
		}
	}
	if !first.Written {
		path := filepath.Join(dir, "credentials")
		for _, p := range []struct{ profile, account string }{{"operator", first.Operator}, {"customer", first.Customer}} {
			if err := d.writeCredentials(ctx, path, p.profile, p.account); err != nil {
				return fmt.Errorf("credentials of %s: %w", p.profile, err)
			}
		}
		first.Written = true
		if err := save(); err != nil {
			return err
		}
	}
	return d.writeConfig(filepath.Join(dir, "config"))
}

// firstCustomer makes the first customer account, or finds the one that an
// interrupted first start made.
func (d *Daemon) firstCustomer(ctx context.Context) (string, error) {
	for _, a := range d.directory.Accounts() {
		if !a.Operator && a.Enrolled.IsZero() && a.Name == "customer" {
			return a.ID, nil
		}
	}
	a, err := d.directory.CreateAccount(ctx, "customer", false)
	if err != nil {
		return "", err
	}
	return a.ID, d.log.CreateAccount(ctx, a.ID)
}

// writeCredentials adds a profile with a new access key, unless the file has it
// already. The secret goes from the authority into the file; the buffers that
// it passes through are wiped (I-3). The file is replaced as a whole and is
// durable before the key counts as written: neither a crash nor a full disk
// leaves half a profile, or an account whose only key is lost.
func (d *Daemon) writeCredentials(ctx context.Context, path, profile, account string) (err error) {
	have, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	defer secret.Wipe(have)
	if bytes.Contains(have, []byte("["+profile+"]")) {
		return nil
	}
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err // before a key is made
	}
	defer f.Close()
	key, sec, err := d.firstKey(ctx, account)
	if err != nil {
		return err
	}
	defer sec.Destroy()
	text := make([]byte, 0, len(have)+256) // never grows: an outgrown buffer would stay unwiped
	text = fmt.Appendf(append(text, have...), "[%s]\naws_access_key_id = %s\naws_secret_access_key = ", profile, key)
	defer func() { secret.Wipe(text) }()
	if err := sec.Use(func(b []byte) error { text = append(text, b...); return nil }); err != nil {
		return err
	}
	text = append(text, "\n\n"...)
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o600), f.Sync(), f.Close(), os.Rename(path+".new", path)); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes a rename in a folder durable.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// firstKey enrols an account. If that was done and the start interrupted
// before the credentials were written, nobody has them: the administrator gets
// another key, and those that were lost go, however often that happened.
func (d *Daemon) firstKey(ctx context.Context, account string) (string, *secret.Bytes, error) {
	a, ok := d.directory.Account(account)
	if !ok {
		return "", nil, fmt.Errorf("account %s is gone", account)
	}
	if a.Enrolled.IsZero() {
		code, err := d.directory.NewEnrolment(ctx, account)
		if err != nil {
			return "", nil, err
		}
		return d.directory.Redeem(ctx, code)
	}
	lost, err := d.directory.ListAccessKeys(account, directory.FirstUser, directory.List{})
	if err != nil {
		return "", nil, err
	}
	for _, k := range lost.Items {
		if err := d.directory.DeleteAccessKey(ctx, account, directory.FirstUser, k.ID); err != nil {
			return "", nil, err
		}
	}
	k, err := d.directory.CreateAccessKey(ctx, account, directory.FirstUser)
	return k.ID, k.Secret, err
}

// writeConfig replaces the config file, which holds no secret. The AWS CLI of
// version 1 would fetch values that are URLs, such as the endpoint of an
// external key store, unless it is told not to.
func (d *Daemon) writeConfig(path string) error {
	var b bytes.Buffer
	for _, profile := range []string{"operator", "customer"} {
		fmt.Fprintf(&b, "[profile %s]\nregion = %s\nendpoint_url = %s\ncli_follow_urlparam = false\n\n", profile, d.cfg.Region, d.URL())
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b.Bytes(), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
