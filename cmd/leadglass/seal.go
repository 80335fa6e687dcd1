package main

import (
	"bufio"
	"context"
	"crypto"
	"crypto/rsa"
	_ "crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leadglass/leadglass/cryptography/esdk"
	"github.com/leadglass/leadglass/identity/arn"
)

// sealFlags are what seal and open have in common: keys, context, and where
// the result goes.
type sealFlags struct {
	keys, rawAES, rawRSA, context []string
	namespace, rsaHash, profile   string
	out                           string
	force                         bool
}

func (f *sealFlags) add(c *cobra.Command) {
	fl := c.Flags()
	fl.StringArrayVar(&f.keys, "key", nil, "a KMS key: id, ARN, alias or alias ARN (repeatable)")
	fl.StringArrayVar(&f.rawAES, "raw-aes", nil, "NAME=FILE: an AES key of your own, 16, 24 or 32 bytes raw or in hex (repeatable)")
	fl.StringArrayVar(&f.rawRSA, "raw-rsa", nil, "NAME=FILE: an RSA key of your own in PEM (repeatable)")
	fl.StringVar(&f.rsaHash, "rsa-hash", "sha256", "OAEP hash function of RSA keys: sha1, sha256, sha384 or sha512")
	fl.StringVar(&f.namespace, "namespace", "leadglass", "namespace of your own keys")
	fl.StringArrayVar(&f.context, "context", nil, "NAME=VALUE: encryption context, stored in the clear (repeatable)")
	fl.StringVarP(&f.out, "out", "o", "", "file to write; - for standard output")
	fl.BoolVar(&f.force, "force", false, "overwrite the file to write")
	fl.StringVar(&f.profile, "profile", "", "profile to sign with (default: as the AWS tools choose)")
}

// pairs splits NAME=VALUE arguments.
func pairs(flag string, args []string) (map[string]string, error) {
	m := make(map[string]string, len(args))
	for _, a := range args {
		name, value, ok := strings.Cut(a, "=")
		if _, twice := m[name]; !ok || name == "" || twice {
			return nil, usageError{fmt.Errorf("%s %q: write NAME=VALUE, each name once", flag, a)}
		}
		m[name] = value
	}
	return m, nil
}

var rsaHashes = map[string]crypto.Hash{"sha1": crypto.SHA1, "sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512}

// rawKeyrings are those of the user's own keys.
func (f *sealFlags) rawKeyrings() ([]esdk.Keyring, error) {
	hash, ok := rsaHashes[f.rsaHash]
	if !ok {
		return nil, usageError{fmt.Errorf("--rsa-hash %q: use sha1, sha256, sha384 or sha512", f.rsaHash)}
	}
	var rings []esdk.Keyring
	for _, a := range f.rawAES {
		name, path, ok := strings.Cut(a, "=")
		if !ok {
			return nil, usageError{fmt.Errorf("--raw-aes %q: write NAME=FILE", a)}
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		key, err := aesKey(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		ring, err := esdk.RawAES(f.namespace, name, key)
		if err != nil {
			return nil, err
		}
		rings = append(rings, ring)
	}
	for _, a := range f.rawRSA {
		name, path, ok := strings.Cut(a, "=")
		if !ok {
			return nil, usageError{fmt.Errorf("--raw-rsa %q: write NAME=FILE", a)}
		}
		public, private, err := rsaKey(path)
		if err != nil {
			return nil, err
		}
		ring, err := esdk.RawRSA(f.namespace, name, public, private, hash)
		if err != nil {
			return nil, err
		}
		rings = append(rings, ring)
	}
	return rings, nil
}

// aesKey reads a key that is raw, or hex with an end of line.
func aesKey(b []byte) ([]byte, error) {
	for _, key := range [][]byte{b, unhex(b)} {
		switch len(key) {
		case 16, 24, 32:
			return key, nil
		}
	}
	return nil, errors.New("no AES key: it must be 16, 24 or 32 bytes, raw or in hex")
}

func unhex(b []byte) []byte {
	key, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil {
		return nil
	}
	return key
}

// rsaKey reads a public or a private key in PEM.
func rsaKey(path string) (*rsa.PublicKey, *rsa.PrivateKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, nil, fmt.Errorf("%s: no PEM", path)
	}
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if private, ok := key.(*rsa.PrivateKey); ok {
			return &private.PublicKey, private, nil
		}
	}
	if private, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return &private.PublicKey, private, nil
	}
	if key, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
		if public, ok := key.(*rsa.PublicKey); ok {
			return public, nil, nil
		}
	}
	return nil, nil, fmt.Errorf("%s: no RSA key (PKCS#8, PKCS#1 or SubjectPublicKeyInfo)", path)
}

// kmsFor is the key service as keyrings see it, signed for the Region of a
// key's ARN.
func (f *sealFlags) kmsFor(keyID string) (esdkClient, error) {
	p, err := ambientProfile(f.profile)
	if err != nil {
		return esdkClient{}, err
	}
	if a, err := arn.Parse(keyID); err == nil && a.Region != "" {
		p.Region = a.Region
	}
	return esdkClient{newClient(p)}, nil
}

// esdkClient is esdk.KMSClient over the API.
type esdkClient struct{ *client }

// A cipherBody is what the three operations take and give.
type cipherBody struct {
	KeyId             string            `json:",omitempty"`
	NumberOfBytes     int               `json:",omitempty"`
	Plaintext         []byte            `json:",omitempty"`
	CiphertextBlob    []byte            `json:",omitempty"`
	EncryptionContext map[string]string `json:",omitempty"`
}

func (c esdkClient) GenerateDataKey(ctx context.Context, keyID string, n int, encCtx map[string]string) ([]byte, []byte, string, error) {
	var out cipherBody
	_, err := c.json(ctx, "kms", "GenerateDataKey", cipherBody{KeyId: keyID, NumberOfBytes: n, EncryptionContext: encCtx}, &out)
	return out.Plaintext, out.CiphertextBlob, out.KeyId, err
}

func (c esdkClient) Encrypt(ctx context.Context, keyID string, plaintext []byte, encCtx map[string]string) ([]byte, string, error) {
	var out cipherBody
	_, err := c.json(ctx, "kms", "Encrypt", cipherBody{KeyId: keyID, Plaintext: plaintext, EncryptionContext: encCtx}, &out)
	return out.CiphertextBlob, out.KeyId, err
}

func (c esdkClient) Decrypt(ctx context.Context, keyARN string, blob []byte, encCtx map[string]string) ([]byte, string, error) {
	client := c
	if a, err := arn.Parse(keyARN); err == nil && a.Region != "" && a.Region != c.Region { // discovery meets keys of any Region
		there := *c.client
		there.Region = a.Region
		client = esdkClient{&there}
	}
	var out cipherBody
	_, err := client.json(ctx, "kms", "Decrypt", cipherBody{KeyId: keyARN, CiphertextBlob: blob, EncryptionContext: encCtx}, &out)
	return out.Plaintext, out.KeyId, err
}

// keyARN is the ARN of a key that the user may have called otherwise: a
// message names keys by ARN.
func (c esdkClient) keyARN(ctx context.Context, keyID string) (string, error) {
	if a, err := arn.Parse(keyID); err == nil && strings.HasPrefix(a.Resource, "key/") {
		return keyID, nil
	}
	var out struct{ KeyMetadata struct{ Arn string } }
	if _, err := c.json(ctx, "kms", "DescribeKey", map[string]string{"KeyId": keyID}, &out); err != nil {
		return "", fmt.Errorf("--key %s is not a key's ARN, and asking for it: %w", keyID, err)
	}
	return out.KeyMetadata.Arn, nil
}

// sealedSuffix marks what seal has made.
const sealedSuffix = ".sealed"

// A sealReport is what seal and open say of a message.
type sealReport struct {
	File              string
	Suite             string
	Commits, Signed   bool
	EncryptionContext map[string]string
	Keys              []string
	Bytes             int64 // of plaintext
}

func report(file string, h esdk.Header, n int64) sealReport {
	r := sealReport{File: file, Suite: h.Suite.String(), Commits: h.Suite.Commits(), Signed: h.Suite.Signs(), EncryptionContext: h.Context, Bytes: n}
	for _, k := range h.Keys {
		r.Keys = append(r.Keys, keyName(k))
	}
	return r
}

// keyName is how people call an encrypted data key's key: the ARN, or the name
// of a raw key without the parameters that may follow it.
func keyName(k esdk.EncryptedKey) string {
	if k.Provider == "aws-kms" {
		return string(k.Info)
	}
	name := k.Info
	if n := len(name) - 20; n > 0 && string(name[n:n+8]) == "\x00\x00\x00\x80\x00\x00\x00\x0c" {
		name = name[:n]
	}
	return k.Provider + "/" + strconv.QuoteToASCII(string(name))
}

func sealCommand() *cobra.Command {
	var f sealFlags
	var suite string
	var frame int
	var out output
	c := &cobra.Command{
		Use:   "seal FILE --key KEY",
		Short: "Encrypt a file on this machine, under a key of the key service",
		Long: `Encrypt a file on this machine with a data key that the key service makes and
wraps. The key service never sees the file; whoever opens it must be allowed to
use the key. The result is a message of the AWS Encryption SDK, which its
libraries open as well.

With several keys (of the key service, or of your own) any one of them opens the
message. FILE can be - for standard input. The result is FILE` + sealedSuffix + ` unless -o says
otherwise; it appears when it is complete, or not at all.

  leadglass seal records.csv --key alias/records --context tenant=a
  leadglass open records.csv` + sealedSuffix + ` --key alias/records

--suite takes the number of an algorithm suite of the format. The default, 0578,
commits to its key and signs; 0478 commits and does not sign, which is faster
and enough where whoever may open may also seal.

Needs kms:GenerateDataKey on the first key and kms:Encrypt on further ones.
Uses the ambient credentials and endpoint, like any AWS tool.`,
		Args: exactly(1, "one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.writerOptions(suite, frame)
			if err != nil {
				return err
			}
			rings, err := f.sealingKeyrings()
			if err != nil {
				return err
			}
			r, err := f.seal(cmd.Context(), cmd.OutOrStdout(), args[0], o, rings)
			if err != nil || r.File == "-" {
				return err
			}
			return out.print(cmd.OutOrStdout(), r, func(w io.Writer) {
				fmt.Fprintf(w, "Sealed %d bytes as %s. It opens with:\n", r.Bytes, r.File)
				for _, k := range r.Keys {
					fmt.Fprintf(w, "  %s\n", k)
				}
			})
		},
	}
	f.add(c)
	c.Flags().StringVar(&suite, "suite", esdk.DefaultSuite.String(), "algorithm suite, as 0578 or 0478")
	c.Flags().IntVar(&frame, "frame-length", esdk.DefaultFrameLength, "bytes of one frame")
	out.flag(c)
	return c
}

func (f *sealFlags) writerOptions(suite string, frame int) (esdk.WriterOptions, error) {
	encCtx, err := pairs("--context", f.context)
	if err != nil {
		return esdk.WriterOptions{}, err
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(suite, "0x"), 16, 16)
	if err != nil || esdk.Suite(n).KeyLen() == 0 {
		return esdk.WriterOptions{}, usageError{fmt.Errorf("--suite %q: no algorithm suite of the format; use 0578 or 0478", suite)}
	}
	if frame < 1 {
		return esdk.WriterOptions{}, usageError{fmt.Errorf("--frame-length %d: at least 1", frame)}
	}
	return esdk.WriterOptions{Suite: esdk.Suite(n), FrameLength: frame, Context: encCtx}, nil
}

// sealingKeyrings are all that a message is sealed to, those of the key
// service first.
func (f *sealFlags) sealingKeyrings() ([]esdk.Keyring, error) {
	var rings []esdk.Keyring
	for _, k := range f.keys {
		c, err := f.kmsFor(k)
		if err != nil {
			return nil, err
		}
		rings = append(rings, esdk.KMS(c, k))
	}
	raw, err := f.rawKeyrings()
	if err != nil {
		return nil, err
	}
	if rings = append(rings, raw...); len(rings) == 0 {
		return nil, usageError{errors.New("seal needs a key: --key, --raw-aes or --raw-rsa")}
	}
	return rings, nil
}

func (f *sealFlags) seal(ctx context.Context, stdout io.Writer, path string, o esdk.WriterOptions, rings []esdk.Keyring) (sealReport, error) {
	in, err := input(path)
	if err != nil {
		return sealReport{}, err
	}
	defer in.Close()
	to := f.out
	if to == "" {
		to = path + sealedSuffix
		if path == "-" {
			to = "-"
		}
	}
	var r sealReport
	err = f.write(to, stdout, func(dst io.Writer) error {
		w, err := esdk.NewWriter(ctx, dst, o, rings...)
		if err != nil {
			return err
		}
		n, err := io.Copy(w, in)
		if err != nil {
			return err
		}
		r = report(to, w.Header(), n)
		return w.Close()
	})
	return r, err
}

func input(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(os.Stdin), nil
	}
	return os.Open(path)
}

// write lets fill write to a file that appears when fill has succeeded, or to
// standard output.
func (f *sealFlags) write(to string, stdout io.Writer, fill func(io.Writer) error) (err error) {
	if to == "-" {
		b := bufio.NewWriterSize(stdout, 64<<10)
		if err := fill(b); err != nil {
			return err
		}
		return b.Flush()
	}
	if _, err := os.Lstat(to); err == nil && !f.force {
		return fmt.Errorf("%s exists; --force overwrites it", to)
	}
	tmp, err := os.CreateTemp(filepath.Dir(to), "."+filepath.Base(to)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	b := bufio.NewWriterSize(tmp, 256<<10)
	if err := fill(b); err != nil {
		return err
	}
	if err := b.Flush(); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), to)
}

func openCommand() *cobra.Command {
	var f sealFlags
	var discovery, uncommitted, unverified bool
	var out output
	c := &cobra.Command{
		Use:   "open FILE --key KEY",
		Short: "Decrypt a file that was sealed with seal or with the AWS Encryption SDK",
		Long: `Decrypt a message of the AWS Encryption SDK on this machine. Name the keys that
it may have been sealed to: a message sealed to others does not open. With
--discovery the message says which key of the key service is to be used.

FILE can be - for standard input. The result is FILE without ` + sealedSuffix + ` unless -o says
otherwise; it appears when the whole message was found true, signature included.
To standard output nothing is written before that either: a file is read twice,
and what comes from standard input must be let through with --unverified if it
is signed.

Messages that do not commit to their key (those of version 1) are refused unless
--allow-uncommitted: for such a message there can be two keys that open it to
different texts.

--context names pairs that the message must have; it may have more.

A --key that is in several Regions (mrk-…) opens what a related key sealed, too.

Needs kms:Decrypt on one of the keys, and kms:DescribeKey if --key is no ARN.
Uses the ambient credentials and endpoint, like any AWS tool.`,
		Args: exactly(1, "one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			encCtx, err := pairs("--context", f.context)
			if err != nil {
				return err
			}
			rings, err := f.openingKeyrings(cmd.Context(), discovery)
			if err != nil {
				return err
			}
			o := esdk.ReaderOptions{AllowUncommitted: uncommitted, Context: encCtx}
			r, err := f.open(cmd.Context(), cmd.OutOrStdout(), args[0], o, unverified, rings)
			if errors.Is(err, esdk.ErrUncommitted) {
				return fmt.Errorf("%w; --allow-uncommitted opens it all the same", err)
			}
			if err != nil || r.File == "-" {
				return err
			}
			return out.print(cmd.OutOrStdout(), r, func(w io.Writer) {
				fmt.Fprintf(w, "Opened %s: %d bytes.\n", r.File, r.Bytes)
			})
		},
	}
	f.add(c)
	c.Flags().BoolVar(&discovery, "discovery", false, "use the key of the key service that the message names")
	c.Flags().BoolVar(&uncommitted, "allow-uncommitted", false, "open messages without key commitment too")
	c.Flags().BoolVar(&unverified, "unverified", false, "let signed messages from standard input through before their signature is known")
	out.flag(c)
	return c
}

func (f *sealFlags) openingKeyrings(ctx context.Context, discovery bool) ([]esdk.Keyring, error) {
	rings, err := f.rawKeyrings() // what needs no call first
	if err != nil {
		return nil, err
	}
	for _, k := range f.keys {
		c, err := f.kmsFor(k)
		if err != nil {
			return nil, err
		}
		keyARN, err := c.keyARN(ctx, k)
		if err != nil {
			return nil, err
		}
		rings = append(rings, esdk.KMSMultiRegion(c, keyARN))
	}
	if discovery {
		c, err := f.kmsFor("")
		if err != nil {
			return nil, err
		}
		rings = append(rings, esdk.KMS(c, ""))
	}
	if len(rings) == 0 {
		return nil, usageError{errors.New("open needs a key: --key, --raw-aes or --raw-rsa, or --discovery to use the one that the message names")}
	}
	return rings, nil
}

func (f *sealFlags) open(ctx context.Context, stdout io.Writer, path string, o esdk.ReaderOptions, unverified bool, rings []esdk.Keyring) (sealReport, error) {
	in, err := input(path)
	if err != nil {
		return sealReport{}, err
	}
	defer in.Close()
	to := f.out
	if to == "" {
		name, sealed := strings.CutSuffix(path, sealedSuffix)
		switch {
		case path == "-":
			to = "-"
		case !sealed || name == "":
			return sealReport{}, usageError{fmt.Errorf("%s does not end in %s: say with -o where the result goes", path, sealedSuffix)}
		default:
			to = name
		}
	}
	var r sealReport
	copyOut := func(dst io.Writer, src io.Reader) error {
		m, err := esdk.NewReader(ctx, bufio.NewReaderSize(src, 256<<10), o, rings...)
		if err != nil {
			return err
		}
		if to == "-" && path == "-" && m.Header().Suite.Signs() && !unverified {
			return errors.New("the message is signed, and its signature comes last: write to a file with -o, or accept text before it is verified with --unverified")
		}
		n, err := io.Copy(dst, m)
		r = report(to, m.Header(), n)
		return err
	}
	// To standard output: once through the whole, and only then out.
	if file, ok := in.(*os.File); ok && to == "-" {
		if err := copyOut(io.Discard, file); err != nil {
			return r, err
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return r, fmt.Errorf("%s cannot be read twice; write to a file with -o: %w", path, err)
		}
	}
	err = f.write(to, stdout, func(dst io.Writer) error { return copyOut(dst, in) })
	return r, err
}
