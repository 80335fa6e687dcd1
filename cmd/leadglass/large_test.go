package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/memory"
	"github.com/leadglass/leadglass/state/kv/pebble"
)

// A plane whose account has 10^5 users and roles is to need at most 400 MiB, all
// of its processes together, and to be ready about as soon as an empty one: its
// directory loads in less than a second.
func BenchmarkAPlaneWithALargeAccount(b *testing.B) {
	ctx := b.Context()
	data := filepath.Join(b.TempDir(), "data")
	p, err := start(data)
	if err != nil {
		b.Fatal(err)
	}
	credentials, config := clientFiles(data)
	pr, err := readProfile("customer", credentials, config)
	if err != nil {
		b.Fatal(err)
	}
	var who struct {
		Account string `xml:"GetCallerIdentityResult>Account"`
	}
	if _, err := newClient(pr).query(ctx, "sts", "2011-06-15", "GetCallerIdentity", nil, &who); err != nil {
		b.Fatal(err)
	}
	p.stop()
	populate(b, filepath.Join(data, "state"), who.Account, 50_000, 50_000)
	for b.Loop() {
		began := time.Now()
		if p, err = start(data); err != nil {
			b.Fatal(err)
		}
		ready := time.Since(began)
		if pr, err = readProfile("customer", credentials, config); err != nil {
			b.Fatal(err)
		}
		c := newClient(pr)
		for _, action := range []string{"ListUsers", "ListRoles", "GetAccountSummary", "GetAccountAuthorizationDetails"} {
			if _, err := c.query(ctx, "iam", "2010-05-08", action, nil, nil); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(ready.Seconds(), "s-to-ready")
		rss, pss := p.memory()
		b.ReportMetric(rss, "MiB-RSS")
		b.ReportMetric(pss, "MiB-PSS")
		p.stop()
	}
}

// noSecrets stands where nobody gets a key.
type noSecrets struct{}

func (noSecrets) NewSecret(context.Context, string, string) ([]byte, *secret.Bytes, error) {
	return nil, nil, authority.ErrUnavailable
}
func (noSecrets) Revoke(context.Context, authority.Revocation) (uint64, error) { return 1, nil }

// populate puts users and roles into the store of a plane that is stopped: made
// in memory under another account's number, which has as many digits.
func populate(b *testing.B, state, account string, users, roles int) {
	b.Helper()
	ctx := b.Context()
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	from := memory.Open()
	defer from.Close()
	d, err := directory.Open(ctx, from, directory.Config{Clock: clock.System, Authority: noSecrets{}, Quotas: directory.Quotas{Users: users, Roles: roles}})
	must(err)
	made, err := d.CreateAccount(ctx, "large", false)
	must(err)
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + made.ID + `"},"Action":"sts:AssumeRole"}]}`
	for i := range max(users, roles) {
		name, path := fmt.Sprintf("one-%06d", i), fmt.Sprintf("/ward-%03d/", i%500)
		if i < users {
			_, err = d.CreateUser(ctx, made.ID, directory.NewUser{Name: name, Path: path, Tags: []directory.Tag{{Key: "Team", Value: "Heart"}, {Key: "Number", Value: name}}})
			must(err)
			must(d.AttachPolicy(ctx, made.ID, directory.UserKind, name, directory.AdministratorAccess))
		}
		if i < roles {
			_, err = d.CreateRole(ctx, made.ID, directory.NewRole{Name: name, Path: path, Description: "of machine " + name, TrustPolicy: trust, Tags: []directory.Tag{{Key: "Team", Value: "Heart"}}})
			must(err)
			must(d.PutInlinePolicy(ctx, made.ID, directory.RoleKind, name, "own",
				`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:Decrypt","Resource":"arn:aws:kms:us-east-1:`+made.ID+`:key/`+name+`"}]}`))
		}
	}
	must(d.Close(ctx))
	to, err := pebble.Open(state, pebble.Config{Clock: clock.System, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	must(err)
	var ops []kv.Op
	at, end := kv.Table('I').Prefix()
	for {
		entries, more, _, err := from.Scan(ctx, at, end, kv.MaxScan, 0, false)
		must(err)
		for _, e := range entries {
			ops = append(ops, kv.Op{Key: bytes.ReplaceAll(e.Key, []byte(made.ID), []byte(account)), Value: bytes.ReplaceAll(e.Value, []byte(made.ID), []byte(account))})
			if len(ops) == kv.MaxOps {
				_, err := to.Commit(ctx, nil, ops)
				must(err)
				ops = nil
			}
		}
		if !more || len(entries) == 0 {
			break
		}
		at = kv.After(entries[len(entries)-1].Key)
	}
	if len(ops) > 0 {
		_, err := to.Commit(ctx, nil, ops)
		must(err)
	}
	must(to.Close())
}
