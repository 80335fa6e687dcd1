package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/cryptography/quorum/signer"
)

func custodianCommand() *cobra.Command {
	c := &cobra.Command{Use: "custodian", Short: "A custodian's key, and the record that others know it by", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(custodianNewCommand(), custodianShowCommand())
	return c
}

var keyTypes = map[string]quorum.KeyType{"ed25519": quorum.Ed25519, "p256": quorum.P256, "p384": quorum.P384}

func custodianNewCommand() *cobra.Command {
	var o quorum.Operator
	var kind, out, record, share string
	var keys keySource
	c := &cobra.Command{
		Use:   "new --label NAME --organisation ORG --record FILE (--out KEYFILE | a key that exists)",
		Short: "Make a custodian's key, or take one that exists, and write the record for others",
		Long: `Make a custodian's key and its record. The record is public: hand it to whoever
writes the founding command, and compare the id by another way, such as reading
it out. The key file is the custodian's alone.

A key that exists already is named with --key, --ssh-agent or
--webauthn-credential (what navigator.credentials.create gave, or fido2-cred);
such a custodian can hold a share of the recovery key with --share-key, which
writes a second key file for that purpose.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Label == "" || o.Organisation == "" || record == "" {
				return usageError{errors.New("custodian new needs --label, --organisation and --record")}
			}
			if (out == "") == !keys.named() {
				return usageError{errors.New("custodian new needs either --out, for a new key, or one that exists: --key, --ssh-agent or --webauthn-credential")}
			}
			var custodian quorum.Custodian
			make := func(path string, kind quorum.KeyType) (*signer.Key, error) {
				key, err := signer.Generate(kind)
				if err != nil {
					return nil, err
				}
				passphrase, err := keys.passphrase()
				if err != nil {
					return nil, err
				}
				file, err := key.Encode(passphrase)
				if err != nil {
					return nil, err
				}
				return key, writeNew(nil, path, file, 0o600)
			}
			var err error
			if out != "" {
				t, ok := keyTypes[kind]
				if !ok {
					return usageError{fmt.Errorf("--type %q: use ed25519, p256 or p384", kind)}
				}
				key, err := make(out, t)
				if err != nil {
					return err
				}
				o.Type, o.Public = key.Public()
				custodian.Share = key.SharePublic()
			} else if o.Type, o.Public, err = keys.public(); err != nil {
				return err
			}
			if share != "" {
				key, err := make(share, quorum.Ed25519)
				if err != nil {
					return err
				}
				custodian.Share = key.SharePublic()
			}
			o.ID = quorum.OperatorID(o.Type, o.Public)
			custodian.Operator = o
			b, err := custodian.Encode()
			if err != nil {
				return err
			}
			if _, err := quorum.ParseCustodian(b); err != nil {
				return err
			}
			if err := writeArmored(cmd.OutOrStdout(), record, pemCustodian, b); err != nil {
				return err
			}
			if record != "-" {
				showCustodian(cmd.OutOrStdout(), custodian)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&o.Label, "label", "", "the custodian's name")
	f.StringVar(&o.Organisation, "organisation", "", "whom the custodian acts for; rules count organisations")
	f.StringVar(&o.Role, "role", quorum.RoleOperator, "operator, security-officer or tenant-custodian")
	f.StringVar(&kind, "type", "ed25519", "kind of a new key: ed25519, p256 or p384")
	f.StringVar(&out, "out", "", "write a new key to this file")
	f.StringVar(&record, "record", "", "write the public record to this file")
	f.StringVar(&share, "share-key", "", "write a key that receives a share of the recovery key to this file (a new key from --out does that itself)")
	keys.flags(c)
	return c
}

func custodianShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show FILE...",
		Short: "Show custodians' records",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("custodian show takes the files of records")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, path := range args {
				c, err := readCustodian(path)
				if err != nil {
					return err
				}
				showCustodian(cmd.OutOrStdout(), c)
			}
			return nil
		},
	}
}

func readCustodian(path string) (quorum.Custodian, error) {
	_, b, err := readArmored(path, pemCustodian)
	if err != nil {
		return quorum.Custodian{}, err
	}
	c, err := quorum.ParseCustodian(b)
	if err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func showCustodian(w io.Writer, c quorum.Custodian) {
	shares := "cannot hold a share of the recovery key"
	if len(c.Share) > 0 {
		shares = "can hold a share of the recovery key"
	}
	fmt.Fprintf(w, "%s\n  id         %s\n  key        %s; %s\n", operatorName(c.Operator), c.Operator.ID, c.Operator.Type, shares)
}

func operatorName(o quorum.Operator) string {
	return fmt.Sprintf("%s (%s of %s)", o.Label, o.Role, o.Organisation)
}

// A keySource is the flags that name a custodian's key.
type keySource struct {
	file, passFile, sshKey, credential, rp string
	agent                                  bool
}

func (k *keySource) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&k.file, "key", "", "key file (of custodian new, or PKCS #8 in PEM)")
	f.StringVar(&k.passFile, "passphrase-file", "", "file with the passphrase of the key file; - is standard input")
	f.BoolVar(&k.agent, "ssh-agent", false, "a key in the ssh-agent at SSH_AUTH_SOCK")
	f.StringVar(&k.sshKey, "ssh-key", "", "which key in the agent, by its comment, if it has several")
	f.StringVar(&k.credential, "webauthn-credential", "", "credential of an authenticator (JSON of navigator.credentials.create, or output of fido2-cred -V)")
	f.StringVar(&k.rp, "webauthn-rp-id", "", "id of the relying party that the credential was made for")
}

func (k *keySource) named() bool { return k.file != "" || k.agent || k.credential != "" }

func (k *keySource) passphrase() ([]byte, error) {
	if k.passFile == "" {
		return nil, nil
	}
	b, err := readInput(k.passFile)
	if b = bytes.TrimRight(b, "\r\n"); err == nil && len(b) == 0 {
		err = fmt.Errorf("%s: an empty passphrase", k.passFile)
	}
	return b, err
}

// A signatory signs without being asked twice.
type signatory interface {
	Public() (quorum.KeyType, []byte)
	Sign(command []byte) ([]byte, error)
}

// signatory opens a key file or a key in the agent; done closes it.
func (k *keySource) signatory() (s signatory, done func(), err error) {
	if k.file != "" {
		key, err := k.key()
		return key, func() {}, err
	}
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return nil, nil, errors.New("no ssh-agent: SSH_AUTH_SOCK is not set")
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, nil, fmt.Errorf("ssh-agent: %w", err)
	}
	found, err := signer.AgentKeys(conn)
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	var comments []string
	var fits []*signer.AgentKey
	for _, key := range found {
		comments = append(comments, key.Comment)
		if k.sshKey == "" || key.Comment == k.sshKey {
			fits = append(fits, key)
		}
	}
	if len(fits) != 1 {
		_ = conn.Close()
		return nil, nil, fmt.Errorf("name one key of the ssh-agent with --ssh-key; of those that can sign it has: %s", strings.Join(comments, ", "))
	}
	return fits[0], func() { _ = conn.Close() }, nil
}

func (k *keySource) key() (*signer.Key, error) {
	file, err := os.ReadFile(k.file)
	if err != nil {
		return nil, err
	}
	passphrase, err := k.passphrase()
	if err != nil {
		return nil, err
	}
	key, err := signer.ParseKey(file, passphrase)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.file, err)
	}
	return key, nil
}

func (k *keySource) webauthn() (signer.Credential, error) {
	b, err := readInput(k.credential)
	if err != nil {
		return signer.Credential{}, err
	}
	return signer.ParseCredential(b, k.rp)
}

func (k *keySource) public() (quorum.KeyType, []byte, error) {
	if k.credential != "" {
		c, err := k.webauthn()
		if err != nil {
			return 0, nil, err
		}
		return c.Public()
	}
	s, done, err := k.signatory()
	if err != nil {
		return 0, nil, err
	}
	defer done()
	kind, public := s.Public()
	return kind, public, nil
}
