package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
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
