package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/evidence/tree"
	verify "github.com/leadglass/leadglass/verify/audit"
)

type verifyOptions struct {
	key      string // file; empty: in the export
	pins     string // file written at enrolment; empty: none
	receipts []string
	maxGap   time.Duration            // longest silence; zero: 2 h, negative: any
	each     func(event []byte) error // called for every event; may be nil
}

// A logReport is what the verification of an export found.
type logReport struct {
	verify.Report
	Account string `json:"account"`
}

// verifyLog checks an export. An error means that it could not even begin.
func verifyLog(dir string, o verifyOptions) (logReport, error) {
	if info, err := os.Stat(dir); err != nil {
		return logReport{}, err
	} else if !info.IsDir() {
		return logReport{}, fmt.Errorf("%s is no folder", dir)
	}
	path := o.key
	if path == "" {
		path = filepath.Join(dir, keyFile)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return logReport{}, fmt.Errorf("the account's key: %w", err)
	}
	key, err := record.ParseAccountKey(b)
	if err != nil {
		return logReport{}, fmt.Errorf("%s: %w", path, err)
	}
	if o.pins != "" {
		if err := checkPins(key, o.pins); err != nil {
			return logReport{}, err
		}
	}
	opt := verify.Options{MaxGap: o.maxGap}
	for _, name := range o.receipts {
		rs, err := readReceipts(name)
		if err != nil {
			return logReport{}, fmt.Errorf("%s: %w", name, err)
		}
		opt.Receipts = append(opt.Receipts, rs...)
	}
	if o.each != nil {
		opt.Each = func(e verify.Event) error { return o.each(e.JSON) }
	}
	report, err := verify.Verify(withoutKey{os.DirFS(dir)}, *key, opt)
	return logReport{report, key.Account}, err
}

// withoutKey hides the account's key from the verification, which counts every
// file of the export that does not belong to the log.
type withoutKey struct{ fs.FS }

func (w withoutKey) Open(name string) (fs.File, error) {
	if name == keyFile {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return w.FS.Open(name)
}

func (w withoutKey) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(w.FS, name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return name == "." && e.Name() == keyFile }), err
}

// checkPins compares the log's keys with those of the first day.
func checkPins(key *record.AccountKey, path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var pins struct {
		AccountID    string   `json:"accountId"`
		LabelSalt    []byte   `json:"labelSalt"`
		VerifierKeys []string `json:"verifierKeys"`
	}
	if err := json.Unmarshal(b, &pins); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if pins.AccountID != key.Account || !bytes.Equal(pins.LabelSalt, key.Salt) {
		return fmt.Errorf("%s is of account %s, the export of account %s: this is not your log", path, pins.AccountID, key.Account)
	}
	for _, v := range key.Logs {
		if !slices.Contains(pins.VerifierKeys, v) {
			return fmt.Errorf("the export is signed with a key that is not in %s: this is not the log of your first day", path)
		}
	}
	return nil
}

func readReceipts(path string) ([]tree.Receipt, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []tree.Receipt
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" {
			continue
		}
		r, err := tree.ParseReceiptString(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		out = append(out, r)
	}
	return out, s.Err()
}

// alterOneByte turns one bit of one byte of an export, chosen at random among
// all bytes of all its files, and says where.
func alterOneByte(dir string) (name string, at int64, err error) {
	type file struct {
		path string
		size int64
	}
	var files []file
	var total int64
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || filepath.Base(path) == keyFile {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files = append(files, file{path, info.Size()})
		total += info.Size()
		return nil
	})
	if err != nil {
		return "", 0, err
	}
	if total == 0 {
		return "", 0, errors.New("nothing to alter")
	}
	n, err := rand.Int(rand.Reader, big.NewInt(total))
	if err != nil {
		return "", 0, err
	}
	at = n.Int64()
	for _, f := range files {
		if at >= f.size {
			at -= f.size
			continue
		}
		b, err := os.ReadFile(f.path)
		if err != nil {
			return "", 0, err
		}
		b[at] ^= 1
		name, err = filepath.Rel(dir, f.path)
		return name, at, errors.Join(err, os.WriteFile(f.path, b, 0o600))
	}
	return "", 0, errors.New("the export changed while it was altered")
}
