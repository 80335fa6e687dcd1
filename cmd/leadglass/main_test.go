package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// The test binary is also the program: with this variable set it runs main, so
// that the tests drive real processes without building anything else.
const runMain = "LEADGLASS_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if code, isChild := runChild(os.Args); isChild {
		os.Exit(code)
	}
	if os.Getenv(runMain) != "" {
		os.Exit(run())
	}
	os.Setenv(runMain, "1")
	// Nothing of whoever runs the tests may leak into them.
	for _, v := range []string{"AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"} {
		os.Unsetenv(v)
	}
	code := m.Run()
	if shared.plane != nil {
		shared.plane.stop()
		os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// shared is one plane for all tests that only add to it.
var shared struct {
	once  sync.Once
	dir   string
	plane *plane
	err   error
}

func sharedPlane(t *testing.T) *plane {
	t.Helper()
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "leadglass-test-"); shared.err != nil {
			return
		}
		shared.plane, shared.err = start(filepath.Join(shared.dir, "data"))
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.plane
}

// start starts a plane; outside CI also on a machine that cannot lock the
// boundaries down.
func start(data string, flags ...string) (*plane, error) {
	p, err := startPlane(context.Background(), data, flags...)
	if err != nil && os.Getenv("LEADGLASS_CI") == "" && strings.Contains(err.Error(), "--insecure-no-lockdown") {
		return startPlane(context.Background(), data, append(flags, "--insecure-no-lockdown")...)
	}
	return p, err
}

// newPlane is a plane of the test's own.
func newPlane(t *testing.T, data string, flags ...string) *plane {
	t.Helper()
	p, err := start(data, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop() })
	return p
}

// client signs as a profile of the plane's data folder.
func (p *plane) client(t *testing.T, name string) *client {
	t.Helper()
	credentials, config := clientFiles(p.data)
	pr, err := readProfile(name, credentials, config)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(pr)
}

// env is the environment of an ordinary AWS tool that uses the plane.
func (p *plane) env(name string) []string {
	credentials, config := clientFiles(p.data)
	return append(os.Environ(),
		"AWS_PROFILE="+name, "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1", "AWS_ENDPOINT_URL="+p.url,
		"AWS_SHARED_CREDENTIALS_FILE="+credentials, "AWS_CONFIG_FILE="+config, "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1")
}

// need skips a test whose tool is absent, except in CI, which installs them
// all: there it is a failure.
func need(t *testing.T, tool string, probe ...string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err == nil && len(probe) > 0 {
		var out []byte
		if out, err = exec.Command(path, probe...).CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	if err != nil {
		if os.Getenv("LEADGLASS_CI") != "" {
			t.Fatalf("%s is not usable here: %v", tool, err)
		}
		t.Skipf("%s is not usable here: %v", tool, err)
	}
	return path
}
