package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts of testdata/script run this program as its users do.
func TestScripts(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "leadglass")); err != nil {
		t.Fatal(err)
	}
	planes := map[*testscript.TestScript]*plane{}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			e.Setenv(runMain, "1")
			e.Setenv("HOME", e.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// plane DIR starts a plane and sets ENDPOINT.
			"plane": func(ts *testscript.TestScript, _ bool, args []string) {
				p, err := start(args[0])
				ts.Check(err)
				planes[ts] = p
				ts.Setenv("ENDPOINT", p.url)
				ts.Defer(func() { p.stop() })
			},
			// stop stops the script's plane, which must end well.
			"stop": func(ts *testscript.TestScript, _ bool, _ []string) { ts.Check(planes[ts].stop()) },
			// code FILE VAR takes the enrolment code out of the answer of account create.
			"code": func(ts *testscript.TestScript, _ bool, args []string) {
				var a newAccount
				ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &a))
				if a.EnrolmentCode == "" {
					ts.Fatalf("no code in %s", args[0])
				}
				ts.Setenv(args[1], a.EnrolmentCode)
			},
			// session NAME makes a session with the script's profile, for as; it also sets who that is.
			"session": func(ts *testscript.TestScript, _ bool, args []string) {
				p, err := readProfile(ts.Getenv("AWS_PROFILE"), ts.Getenv("AWS_SHARED_CREDENTIALS_FILE"), ts.Getenv("AWS_CONFIG_FILE"))
				ts.Check(err)
				c := newClient(p)
				var who struct {
					ARN     string `xml:"GetCallerIdentityResult>Arn"`
					Account string `xml:"GetCallerIdentityResult>Account"`
				}
				_, err = c.query(context.Background(), "sts", "2011-06-15", "GetCallerIdentity", nil, &who)
				ts.Check(err)
				var s struct {
					ID     string `xml:"GetSessionTokenResult>Credentials>AccessKeyId"`
					Secret string `xml:"GetSessionTokenResult>Credentials>SecretAccessKey"`
					Token  string `xml:"GetSessionTokenResult>Credentials>SessionToken"`
				}
				_, err = c.query(context.Background(), "sts", "2011-06-15", "GetSessionToken", nil, &s)
				ts.Check(err)
				for name, value := range map[string]string{
					"USER_ARN": who.ARN, "ACCOUNT": who.Account, "KEY_ID": p.AccessKeyID,
					args[0] + "_ID": s.ID, args[0] + "_SECRET": s.Secret, args[0] + "_TOKEN": s.Token,
				} {
					ts.Setenv(name, value)
				}
			},
			// as NAME exec COMMAND... runs a command with a session's credentials.
			"as": func(ts *testscript.TestScript, neg bool, args []string) {
				session := args[0]
				cmd := exec.Command(args[2], args[3:]...)
				cmd.Dir = ts.Getenv("WORK")
				cmd.Env = append(os.Environ(), runMain+"=1", "AWS_ENDPOINT_URL="+ts.Getenv("ENDPOINT"), "AWS_ACCESS_KEY_ID="+ts.Getenv(session+"_ID"),
					"AWS_SECRET_ACCESS_KEY="+ts.Getenv(session+"_SECRET"), "AWS_SESSION_TOKEN="+ts.Getenv(session+"_TOKEN"))
				if path := filepath.Join(bin, args[2]); args[2] == "leadglass" {
					cmd.Path, cmd.Err = path, nil
				}
				cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
				if err := cmd.Run(); (err != nil) != neg {
					ts.Fatalf("%v: %v", args, err)
				}
			},
			// mode FILE OCTAL checks permissions.
			"mode": func(ts *testscript.TestScript, _ bool, args []string) {
				info, err := os.Stat(ts.MkAbs(args[0]))
				ts.Check(err)
				want, err := strconv.ParseUint(args[1], 8, 32)
				ts.Check(err)
				if info.Mode().Perm() != fs.FileMode(want) {
					ts.Fatalf("%s has mode %v", args[0], info.Mode())
				}
			},
			// alter DIR turns one bit of one byte of an export.
			"alter": func(ts *testscript.TestScript, _ bool, args []string) {
				name, at, err := alterOneByte(args[0])
				ts.Check(err)
				fmt.Fprintf(ts.Stdout(), "altered byte %d of %s\n", at, name)
			},
		},
	})
}
