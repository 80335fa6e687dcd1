package directory_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/directory"
)

func TestSessionsOfAnAccountAreRevokedByTheirNames(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	role := w.role("doctor", w.account)
	foreign, err := w.CreateAccount(ctx, "clinic", false)
	w.must(err)
	key := func(prefix, account string) string {
		k, err := id.AccessKey(prefix, account)
		w.must(err)
		return k
	}
	session, credential := key("ASIA", w.account), key("AKIA", w.account)
	past, future := start.Add(-time.Hour), start.Add(time.Hour)
	for name, c := range map[string]struct {
		of     directory.SessionsOf
		before time.Time
		want   authority.Revocation
		until  time.Time
	}{
		"a session":                  {directory.SessionsOf{AccessKeyID: session}, time.Time{}, authority.Revocation{AccessKeyID: session, By: w.account}, time.Time{}},
		"what a key has made":        {directory.SessionsOf{AccessKeyID: credential}, time.Time{}, authority.Revocation{CredentialID: credential}, start},
		"a role":                     {directory.SessionsOf{Principal: role.ARN}, time.Time{}, authority.Revocation{PrincipalID: role.ID, By: w.account}, start},
		"root":                       {directory.SessionsOf{Principal: arn.Root(w.account)}, time.Time{}, authority.Revocation{PrincipalID: w.account, By: w.account}, start},
		"the account":                {directory.SessionsOf{Account: true}, time.Time{}, authority.Revocation{Account: w.account}, start},
		"what is older than an hour": {directory.SessionsOf{Principal: role.ARN}, past, authority.Revocation{PrincipalID: role.ID, By: w.account, IssuedBefore: past}, past},
		"what does not exist yet":    {directory.SessionsOf{Account: true}, future, authority.Revocation{Account: w.account}, start},
	} {
		done, err := w.RevokeSessions(ctx, w.account, c.of, c.before)
		if n := len(w.outside.revoked); err != nil || w.outside.revoked[n-1] != c.want || done.Epoch != uint64(n) || !done.Before.Equal(c.until) {
			t.Errorf("%s: %+v, %v, told %+v", name, done, err, w.outside.revoked[n-1])
		}
	}
	told := len(w.outside.revoked)
	for name, of := range map[string]directory.SessionsOf{
		"another's session":    {AccessKeyID: key("ASIA", foreign.ID)},
		"another's key":        {AccessKeyID: key("AKIA", foreign.ID)},
		"no id":                {AccessKeyID: "ASIA"},
		"nothing":              {},
		"another's root":       {Principal: arn.Root(foreign.ID)},
		"a role that is not":   {Principal: role.ARN + "x"},
		"an account's number":  {Principal: w.account},
		"a session's ARN":      {Principal: "arn:aws:sts::" + w.account + ":assumed-role/doctor/me"},
		"a role in capitals":   {Principal: strings.ToUpper(role.ARN)},
		"a role in a region":   {Principal: strings.Replace(role.ARN, "iam::", "iam:us-east-1:", 1)},
		"a pattern over roles": {Principal: "arn:aws:iam::" + w.account + ":role/*"},
	} {
		if _, err := w.RevokeSessions(ctx, w.account, of, time.Time{}); directory.CodeOf(err) != directory.NoSuchEntity {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(w.outside.revoked) != told {
		t.Errorf("the authority was told %+v", w.outside.revoked[told:])
	}
	if _, err := w.RevokeSessions(ctx, "000000000000", directory.SessionsOf{Account: true}, time.Time{}); err == nil {
		t.Error("an account that is none")
	}
}

func TestARevocationThatTheAuthorityDoesNotConfirmIsNone(t *testing.T) {
	w := newWorld(t)
	w.outside.down = true
	if _, err := w.RevokeSessions(t.Context(), w.account, directory.SessionsOf{Account: true}, time.Time{}); !errors.Is(err, directory.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}
