package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// callAs calls an operation of a JSON service with its JSON, or of a query service with its parameters.
func callAs(c *client, service, op string, args []string) (string, error) {
	ctx := context.Background()
	if _, ok := targets[service]; ok {
		var out json.RawMessage
		in := json.RawMessage(`{}`)
		if len(args) > 0 {
			in = json.RawMessage(args[0])
		}
		_, err := c.json(ctx, service, op, in, &out)
		return string(out), err
	}
	form := url.Values{}
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		form.Set(name, value)
	}
	var out struct {
		Inner string `xml:",innerxml"`
	}
	_, err := c.query(ctx, service, map[string]string{"iam": "2010-05-08", "sts": "2011-06-15"}[service], op, form, &out)
	return out.Inner, err
}

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
			// plane DIR [FLAG...] starts a plane and sets ENDPOINT.
			"plane": func(ts *testscript.TestScript, _ bool, args []string) {
				p, err := start(args[0], args[1:]...)
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
			// call PROFILE SERVICE OPERATION [JSON | NAME=VALUE...] calls the plane as a tool with that profile would; with "!" the
			// call must be refused. The answer, or the refusal, is in stdout.
			"call": func(ts *testscript.TestScript, neg bool, args []string) {
				p, err := readProfile(args[0], ts.Getenv("AWS_SHARED_CREDENTIALS_FILE"), ts.Getenv("AWS_CONFIG_FILE"))
				ts.Check(err)
				answer, err := callAs(newClient(p), args[1], args[2], args[3:])
				switch {
				case neg && err == nil:
					ts.Fatalf("%s is not refused", args[2])
				case neg:
					answer = err.Error()
				default:
					ts.Check(err)
				}
				fmt.Fprintln(ts.Stdout(), answer)
			},
			// take VAR EXPRESSION sets a variable to what the group of the expression matches in the stdout of the last call.
			"take": func(ts *testscript.TestScript, _ bool, args []string) {
				m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
				if m == nil {
					ts.Fatalf("no %s in %s", args[1], ts.ReadFile("stdout"))
				}
				ts.Setenv(args[0], m[1])
			},
			// profile NAME FROM makes a profile like FROM with the access key in the stdout of the last call.
			"profile": func(ts *testscript.TestScript, _ bool, args []string) {
				from, err := readProfile(args[1], ts.Getenv("AWS_SHARED_CREDENTIALS_FILE"), ts.Getenv("AWS_CONFIG_FILE"))
				ts.Check(err)
				m := regexp.MustCompile(`(?s)<AccessKeyId>(.*?)</AccessKeyId>.*<SecretAccessKey>(.*?)</SecretAccessKey>`).FindStringSubmatch(ts.ReadFile("stdout"))
				if m == nil {
					ts.Fatalf("no access key in the last answer")
				}
				for file, text := range map[string]string{
					ts.Getenv("AWS_SHARED_CREDENTIALS_FILE"): fmt.Sprintf("\n[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n", args[0], m[1], m[2]),
					ts.Getenv("AWS_CONFIG_FILE"):             fmt.Sprintf("\n[profile %s]\nregion = %s\nendpoint_url = %s\n", args[0], from.Region, from.Endpoint),
				} {
					f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0o600)
					ts.Check(err)
					_, err = f.WriteString(text)
					ts.Check(errors.Join(err, f.Close()))
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
