package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// A profile is what the ordinary AWS files say about one name: the
// credentials to sign with and the endpoint to call.
type profile struct {
	Name, Region, Endpoint                string
	AccessKeyID, SecretAccessKey, Session string
}

// ini is a file in the form of ~/.aws/config: section name to its settings.
type ini map[string]map[string]string

func readINI(path string) (ini, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ini{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out, section := ini{}, ""
	s := bufio.NewScanner(f)
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			name, ok := strings.CutSuffix(line[1:], "]")
			if !ok {
				return nil, fmt.Errorf("%s:%d: section without a closing bracket", path, n)
			}
			section = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), "profile "))
			if out[section] == nil {
				out[section] = map[string]string{}
			}
		default:
			k, v, ok := strings.Cut(line, "=")
			if !ok {
				continue // nested settings such as "s3 =\n  key": not ours
			}
			if out[section] == nil {
				out[section] = map[string]string{}
			}
			out[section][strings.ToLower(strings.TrimSpace(k))] = strings.TrimSpace(v)
		}
	}
	return out, s.Err()
}

// awsFiles are the paths of the credentials and the config file that the
// ordinary tools would read.
func awsFiles() (credentials, config string) {
	credentials, config = os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), os.Getenv("AWS_CONFIG_FILE")
	home, _ := os.UserHomeDir()
	if credentials == "" {
		credentials = filepath.Join(home, ".aws", "credentials")
	}
	if config == "" {
		config = filepath.Join(home, ".aws", "config")
	}
	return credentials, config
}

// readProfile reads one profile from a pair of AWS files.
func readProfile(name, credentialsFile, configFile string) (profile, error) {
	credentials, err := readINI(credentialsFile)
	if err != nil {
		return profile{}, err
	}
	config, err := readINI(configFile)
	if err != nil {
		return profile{}, err
	}
	c, ok := credentials[name]
	switch {
	case len(credentials) == 0:
		return profile{}, fmt.Errorf("no profile %q: %s is not there or empty (leadglass serve writes DATA/client/credentials, leadglass account redeem the ordinary file)", name, credentialsFile)
	case !ok:
		return profile{}, fmt.Errorf("no profile %q in %s; it has: %s", name, credentialsFile, strings.Join(names(credentials), ", "))
	}
	get := func(k string) string {
		if v := c[k]; v != "" {
			return v
		}
		return config[name][k]
	}
	return profile{
		Name: name, Region: get("region"), Endpoint: get("endpoint_url"),
		AccessKeyID: get("aws_access_key_id"), SecretAccessKey: get("aws_secret_access_key"), Session: get("aws_session_token"),
	}, nil
}

// ambientProfile is what an AWS tool started here would use: environment
// first, then the profile of the files.
func ambientProfile(name string) (profile, error) {
	p := profile{Name: "environment"}
	if name == "" && os.Getenv("AWS_ACCESS_KEY_ID") != "" {
		p.AccessKeyID, p.SecretAccessKey, p.Session = os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN")
	} else {
		if name == "" {
			name = os.Getenv("AWS_PROFILE")
		}
		if name == "" {
			name = "default"
		}
		credentials, config := awsFiles()
		var err error
		if p, err = readProfile(name, credentials, config); err != nil {
			return profile{}, err
		}
	}
	for _, v := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if s := os.Getenv(v); s != "" && p.Region == "" {
			p.Region = s
		}
	}
	if s := os.Getenv("AWS_ENDPOINT_URL"); s != "" {
		p.Endpoint = s
	}
	if p.Region == "" {
		p.Region = "us-east-1"
	}
	if p.Endpoint == "" {
		return profile{}, errors.New("no endpoint: set AWS_ENDPOINT_URL, or endpoint_url in the profile (leadglass env prints it)")
	}
	if p.AccessKeyID == "" || p.SecretAccessKey == "" {
		return profile{}, fmt.Errorf("profile %q has no access key", p.Name)
	}
	return p, nil
}

func names(f ini) []string {
	out := make([]string, 0, len(f))
	for k := range f {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// checkNewProfile says whether addProfile could add a profile: before what is
// to be kept there is made, since that may not come twice.
func checkNewProfile(name, credentialsFile, configFile string) error {
	if name == "" || strings.ContainsAny(name, "[]\n=#;/") {
		return usageError{fmt.Errorf("%q is no name for a profile", name)}
	}
	for _, path := range []string{credentialsFile, configFile} {
		have, err := readINI(path)
		if err != nil {
			return err
		}
		if _, taken := have[name]; taken {
			return fmt.Errorf("%s has a profile %q already; choose another name with --profile", path, name)
		}
		if err := appendPrivate(path, nil); err != nil {
			return err
		}
	}
	return nil
}

// addProfile appends a new profile to a pair of AWS files, which it makes
// readable by their owner alone. A profile that is there already is never
// overwritten: its credentials could be the only copy.
func addProfile(p profile, credentialsFile, configFile string) error {
	if err := checkNewProfile(p.Name, credentialsFile, configFile); err != nil {
		return err
	}
	section := p.Name
	if section != "default" {
		section = "profile " + section
	}
	// The AWS CLI of version 1 would fetch values that are URLs, such as --xks-proxy-uri-endpoint.
	config := fmt.Sprintf("[%s]\nregion = %s\nendpoint_url = %s\ncli_follow_urlparam = false\n\n", section, p.Region, p.Endpoint)
	if err := appendPrivate(configFile, []byte(config)); err != nil {
		return err
	}
	secrets := fmt.Sprintf("[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n\n", p.Name, p.AccessKeyID, p.SecretAccessKey)
	return appendPrivate(credentialsFile, []byte(secrets))
}

// appendPrivate appends lines to a file that only its owner may read.
func appendPrivate(path string, b []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Chmod(0o600); err != nil { // it may have been there
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var last [1]byte
	if n := info.Size(); n > 0 && len(b) > 0 {
		if _, err := f.ReadAt(last[:], n-1); err != nil {
			return err
		}
		if last[0] != '\n' { // else our first line would become the end of its last
			b = append([]byte("\n"), b...)
		}
	}
	if _, err := f.Write(b); err != nil {
		return err
	}
	return f.Sync()
}
