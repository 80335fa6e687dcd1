package main

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/leadglass/leadglass/cryptography/quorum"
)

// What custodians hand to each other are files in PEM form, which survive mail
// and can be told apart by their first line. Only key files hold a secret.
const (
	pemCustodian = "LEADGLASS CUSTODIAN"
	pemCommand   = "LEADGLASS DOMAIN COMMAND"
	pemMember    = "LEADGLASS HSM MEMBER"
	pemToken     = "LEADGLASS DOMAIN TOKEN"
	pemState     = "LEADGLASS DOMAIN STATE"
	pemShare     = "LEADGLASS RECOVERY SHARE"
	pemSentShare = "LEADGLASS SENT SHARE"
)

// readBlock reads the one PEM block of a file; "-" is standard input.
func readBlock(path string, kinds ...string) (*pem.Block, error) {
	b, err := readInput(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(b)
	if block == nil || !slices.Contains(kinds, block.Type) || len(bytes.TrimSpace(rest)) != 0 {
		return nil, fmt.Errorf("%s is no file that begins with -----BEGIN %s-----", path, strings.Join(kinds, "----- or -----BEGIN "))
	}
	return block, nil
}

func readArmored(path string, kinds ...string) (kind string, b []byte, err error) {
	block, err := readBlock(path, kinds...)
	if err != nil {
		return "", nil, err
	}
	return block.Type, block.Bytes, nil
}

func readInput(path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(io.LimitReader(os.Stdin, 1<<20))
	}
	return os.ReadFile(path)
}

// writeArmored writes a file that is not there yet; "-" is standard output.
func writeArmored(w io.Writer, path, kind string, b []byte) error {
	return writeNew(w, path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o644)
}

// writeNew writes a new file and never over another: a key or the only copy of
// a token may be in it.
func writeNew(w io.Writer, path string, b []byte, mode os.FileMode) error {
	if path == "-" {
		_, err := w.Write(b)
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// readCommands reads copies of one signed command and merges the signatures.
func readCommands(paths []string) (quorum.SignedCommand, quorum.Command, error) {
	var merged quorum.SignedCommand
	var command quorum.Command
	for i, path := range paths {
		_, b, err := readArmored(path, pemCommand)
		if err != nil {
			return merged, command, err
		}
		s, c, err := quorum.Parse(b)
		if err != nil {
			return merged, command, fmt.Errorf("%s: %w", path, err)
		}
		if i == 0 {
			merged, command = s, c
		} else if err := merged.Merge(s); err != nil {
			return merged, command, fmt.Errorf("%s: %w", path, err)
		}
	}
	return merged, command, nil
}

// replaceCommand puts a command with one more signature in the place of the
// one without.
func replaceCommand(path string, s quorum.SignedCommand) error {
	b, err := s.Encode()
	if err != nil {
		return err
	}
	return replaceFile(path, pem.EncodeToMemory(&pem.Block{Type: pemCommand, Bytes: b}))
}

func replaceFile(path string, b []byte) error {
	next := path + ".new"
	if err := writeNew(nil, next, b, 0o644); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// readHSMCommands reads signed commands for serve.
func readHSMCommands(paths []string) ([][]byte, error) {
	var out [][]byte
	for _, path := range paths {
		s, _, err := readCommands([]string{path})
		if err != nil {
			return nil, err
		}
		b, err := s.Encode()
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}
