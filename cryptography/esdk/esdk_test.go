package esdk_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/leadglass/leadglass/cryptography/esdk"
)

// manifest is that of the vectors: see their README.
type manifest struct {
	KeyNamespace string `json:"keyNamespace"`
	Keys         map[string]json.RawMessage
	Tests        []struct {
		ID, Suite, Plaintext, Keyring, Message string
		FrameLength                            uint32
		EncryptionContext, StoredContext       map[string]string
	}
}

// vectorSets are the copy in the project and whatever else is to be tried.
func vectorSets(t testing.TB) []string {
	sets := []string{"../../testdata/vectors/esdk-interop"}
	if extra := os.Getenv("LEADGLASS_EXTRA_VECTORS"); extra != "" {
		if dir := filepath.Join(extra, "esdk-interop"); exists(dir) {
			sets = append(sets, dir)
		}
	}
	return sets
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func load(t testing.TB, dir string) manifest {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *manifest) aes(t testing.TB, name string) esdk.Keyring {
	t.Helper()
	var text string
	if err := json.Unmarshal(m.Keys[name], &text); err != nil {
		t.Fatal(err)
	}
	key, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	k, err := esdk.RawAES(m.KeyNamespace, name, key)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (m *manifest) rsa(t testing.TB, name string, hash crypto.Hash) esdk.Keyring {
	t.Helper()
	var v struct{ PrivateKeyPkcs8Pem string }
	if err := json.Unmarshal(m.Keys["rsa-2048"], &v); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(v.PrivateKeyPkcs8Pem))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	k, err := esdk.RawRSA(m.KeyNamespace, name, nil, key.(*rsa.PrivateKey), hash)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// keyrings are those of which each opens the message.
func (m *manifest) keyrings(t testing.TB, name string) []esdk.Keyring {
	switch name {
	case "rsa-oaep-sha256":
		return []esdk.Keyring{m.rsa(t, "rsa-2048", crypto.SHA256)}
	case "rsa-oaep-sha1":
		return []esdk.Keyring{m.rsa(t, "rsa-2048", crypto.SHA1)}
	case "multi":
		return []esdk.Keyring{m.aes(t, "aes-256"), m.rsa(t, "rsa-2048", crypto.SHA256)}
	}
	return []esdk.Keyring{m.aes(t, name)}
}

var anySuite = esdk.ReaderOptions{AllowUncommitted: true}

func open(message []byte, o esdk.ReaderOptions, k ...esdk.Keyring) ([]byte, esdk.Header, error) {
	r, err := esdk.NewReader(context.Background(), bytes.NewReader(message), o, k...)
	if err != nil {
		return nil, esdk.Header{}, err
	}
	plain, err := io.ReadAll(r)
	return plain, r.Header(), err
}

func TestMessagesOfTheOfficialLibraryOpenAndNoChangedByteDoes(t *testing.T) {
	for _, dir := range vectorSets(t) {
		m := load(t, dir)
		if len(m.Tests) == 0 {
			t.Fatal("no vectors")
		}
		for _, v := range m.Tests {
			t.Run(v.ID+" "+v.Suite+" "+v.Keyring, func(t *testing.T) {
				message, err := os.ReadFile(filepath.Join(dir, v.Message))
				if err != nil {
					t.Fatal(err)
				}
				want, err := os.ReadFile(filepath.Join(dir, "plaintexts", v.Plaintext))
				if err != nil {
					t.Fatal(err)
				}
				for n, k := range m.keyrings(t, v.Keyring) {
					step := 1
					if n > 0 || strings.HasPrefix(v.Keyring, "rsa") {
						step = 13 // RSA takes its time
					}
					got, h, err := open(message, anySuite, k)
					if err != nil || !bytes.Equal(got, want) {
						t.Fatalf("%d bytes, %v", len(got), err)
					}
					if !maps.Equal(h.Context, v.StoredContext) || h.Suite.String() != v.Suite || h.FrameLength != v.FrameLength {
						t.Errorf("header %+v", h)
					}
					if _, _, err := open(message, esdk.ReaderOptions{}, k); h.Suite.Commits() != (err == nil) {
						t.Errorf("with commitment asked for: %v", err)
					}
					// Every byte of short messages; of long ones every byte of the header and the end, and some between.
					for i := 0; i < len(message); i++ {
						if i%step != 0 || i > 700 && i < len(message)-150 && i%97 != 0 {
							continue
						}
						changed := bytes.Clone(message)
						changed[i] ^= byte(1 << (i % 8))
						if got, _, err := open(changed, anySuite, k); err == nil {
							t.Fatalf("byte %d of %d changed, and %d bytes open", i, len(message), len(got))
						}
						if _, _, err := open(message[:i], anySuite, k); err == nil {
							t.Fatalf("the first %d bytes of %d open", i, len(message))
						}
					}
					if _, _, err := open(append(bytes.Clone(message), 0), anySuite, k); !errors.Is(err, esdk.ErrMessage) {
						t.Errorf("with a byte more: %v", err)
					}
				}
			})
		}
	}
}

func rawKeys(t testing.TB) []esdk.Keyring {
	t.Helper()
	key, err := esdk.RawAES("test", "a", bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	second, err := esdk.RawRSA("test", "b", &private.PublicKey, private, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return []esdk.Keyring{key, second}
}

func seal(t testing.TB, o esdk.WriterOptions, plain []byte, k ...esdk.Keyring) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := esdk.NewWriter(t.Context(), &b, o, k...)
	if err != nil {
		t.Fatal(err)
	}
	for rest := plain; len(rest) > 0; { // in odd pieces
		n := min(len(rest), 777)
		if _, err := w.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	for range 2 { // closing twice is closing once
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write([]byte("late")); err == nil {
		t.Error("a closed writer takes more")
	}
	return b.Bytes()
}

func TestEverySuiteSealsAndOpensAtEveryLengthAroundAFrame(t *testing.T) {
	keys := rawKeys(t)
	for _, suite := range esdk.Suites() {
		for _, n := range []int{0, 1, 99, 100, 101, 200, 1000} {
			plain := make([]byte, n)
			rand.Read(plain)
			o := esdk.WriterOptions{Suite: suite, FrameLength: 100, Context: map[string]string{"tenant": "a", "ünïcode": "ß"}}
			message := seal(t, o, plain, keys...)
			for i, k := range keys {
				got, h, err := open(message, esdk.ReaderOptions{AllowUncommitted: true, Context: o.Context}, k)
				if err != nil || !bytes.Equal(got, plain) {
					t.Errorf("suite %s, %d bytes, keyring %d: %v", suite, n, i, err)
				}
				if h.Suite != suite || len(h.Keys) != 2 {
					t.Errorf("header %+v", h)
				}
			}
			r, err := esdk.NewReader(t.Context(), iotest.OneByteReader(bytes.NewReader(message)), anySuite, keys[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := iotest.TestReader(r, plain); err != nil {
				t.Errorf("suite %s, %d bytes, read in single bytes: %v", suite, n, err)
			}
		}
	}
}

func TestWhatIsNotAcceptable(t *testing.T) {
	keys := rawKeys(t)
	plain := []byte("a record")
	committed := seal(t, esdk.WriterOptions{Context: map[string]string{"tenant": "a"}}, plain, keys[0])
	other, err := esdk.RawAES("test", "a", bytes.Repeat([]byte{8}, 32))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := esdk.RawAES("test", "c", bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		err error
		o   esdk.ReaderOptions
		k   esdk.Keyring
	}{
		"another key of the same name":      {esdk.ErrNoKey, anySuite, other},
		"a key of another name":             {esdk.ErrNoKey, anySuite, stranger},
		"a required pair of another value":  {esdk.ErrContext, esdk.ReaderOptions{Context: map[string]string{"tenant": "b"}}, keys[0]},
		"a required pair that is not there": {esdk.ErrContext, esdk.ReaderOptions{Context: map[string]string{"x": ""}}, keys[0]},
		"a frame length beyond the limit":   {esdk.ErrLimit, esdk.ReaderOptions{MaxFrame: 100}, keys[0]},
	} {
		if _, _, err := open(committed, c.o, c.k); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	many := seal(t, esdk.WriterOptions{}, plain, keys[0], keys[0], keys[0])
	if _, _, err := open(many, esdk.ReaderOptions{MaxKeys: 2}, keys[0]); !errors.Is(err, esdk.ErrLimit) {
		t.Errorf("three data keys of at most two: %v", err)
	}
	for name, o := range map[string]esdk.WriterOptions{
		"a name of the format's": {Context: map[string]string{"aws-crypto-x": "1"}},
		"an unknown suite":       {Suite: 0x0999},
		"no frame length":        {FrameLength: -1},
		"a value too long":       {Context: map[string]string{"k": string(make([]byte, 70000))}},
	} {
		if _, err := esdk.NewWriter(t.Context(), io.Discard, o, keys[0]); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
	if _, err := esdk.NewWriter(t.Context(), io.Discard, esdk.WriterOptions{}); err == nil {
		t.Error("sealed to nobody")
	}
	if _, err := esdk.RawAES("aws-kms", "a", make([]byte, 32)); err == nil {
		t.Error("a raw key poses as the key service's")
	}
}

func TestFramesCannotBeSwappedRepeatedOrLeftOut(t *testing.T) {
	key := rawKeys(t)[0]
	plain := make([]byte, 450)
	message := seal(t, esdk.WriterOptions{Suite: esdk.AES256HKDFCommitment, FrameLength: 100}, plain, key)
	const frame = 4 + 12 + 100 + 16
	end := len(message) - (4 + 4 + 12 + 4 + 50 + 16)
	body := end - 4*frame
	f := func(i int) []byte { return message[body+i*frame : body+(i+1)*frame] }
	for name, m := range map[string][]byte{
		"swapped":  bytes.Join([][]byte{message[:body], f(1), f(0), f(2), f(3), message[end:]}, nil),
		"repeated": bytes.Join([][]byte{message[:body], f(0), f(0), f(1), f(2), f(3), message[end:]}, nil),
		"left out": bytes.Join([][]byte{message[:body], f(0), f(2), f(3), message[end:]}, nil),
		"cut":      bytes.Join([][]byte{message[:body], f(0), f(1)}, nil),
	} {
		if _, _, err := open(m, anySuite, key); err == nil {
			t.Errorf("%s: opens", name)
		}
	}
	if got, _, err := open(message, anySuite, key); err != nil || len(got) != len(plain) {
		t.Error(err)
	}
}

// aService is a key service in memory, for what the KMS keyring asks of one.
type aService struct {
	arn   string
	keys  map[string][]byte
	lies  string // answer with this ARN
	calls []string
}

func (s *aService) name() string {
	if s.lies != "" {
		return s.lies
	}
	return s.arn
}

func (s *aService) blob(key []byte, c map[string]string) []byte {
	blob := fmt.Appendf(nil, "blob %d %v", mathrand.Int64(), c)
	s.keys[string(blob)] = bytes.Clone(key)
	return blob
}

func (s *aService) GenerateDataKey(_ context.Context, id string, n int, c map[string]string) ([]byte, []byte, string, error) {
	s.calls = append(s.calls, "GenerateDataKey "+id)
	key := make([]byte, n)
	rand.Read(key)
	return key, s.blob(key, c), s.name(), nil
}

func (s *aService) Encrypt(_ context.Context, id string, key []byte, c map[string]string) ([]byte, string, error) {
	s.calls = append(s.calls, "Encrypt "+id)
	return s.blob(key, c), s.name(), nil
}

func (s *aService) Decrypt(_ context.Context, arn string, blob []byte, c map[string]string) ([]byte, string, error) {
	s.calls = append(s.calls, "Decrypt "+arn)
	key, ok := s.keys[string(blob)]
	if !ok || !bytes.HasSuffix(blob, fmt.Appendf(nil, "%v", c)) {
		return nil, "", errors.New("InvalidCiphertextException")
	}
	return bytes.Clone(key), s.name(), nil
}

func TestTheKMSKeyringAsksOnlyForItsOwnKey(t *testing.T) {
	s := &aService{arn: "arn:aws:kms:us-east-1:111122223333:key/k", keys: map[string][]byte{}}
	plain := []byte("a record")
	message := seal(t, esdk.WriterOptions{Context: map[string]string{"a": "b"}}, plain, esdk.KMS(s, "alias/x"), esdk.KMS(s, s.arn))
	for _, k := range []esdk.Keyring{esdk.KMS(s, s.arn), esdk.KMS(s, "")} {
		if got, h, err := open(message, anySuite, k); err != nil || !bytes.Equal(got, plain) || string(h.Keys[0].Info) != s.arn {
			t.Errorf("%q, %v", got, err)
		}
	}
	s.calls = nil
	if _, _, err := open(message, anySuite, esdk.KMS(s, s.arn+"2")); !errors.Is(err, esdk.ErrNoKey) || len(s.calls) != 0 {
		t.Errorf("%v, asked %v", err, s.calls)
	}
	s.lies = "arn:aws:kms:us-east-1:111122223333:key/other"
	if _, _, err := open(message, anySuite, esdk.KMS(s, s.arn)); !errors.Is(err, esdk.ErrNoKey) {
		t.Errorf("a service that used another key: %v", err)
	}
	if _, err := esdk.NewWriter(t.Context(), io.Discard, esdk.WriterOptions{}, esdk.KMS(s, "")); err == nil {
		t.Error("discovery sealed")
	}
}

func TestTheMultiRegionKeyringOpensWhatARelatedKeySealed(t *testing.T) {
	const (
		id = ":111122223333:key/mrk-00000000000000000000000000000001"
		us = "arn:aws:kms:us-east-1" + id
		eu = "arn:aws:kms:eu-central-1" + id
	)
	s := &aService{arn: us, keys: map[string][]byte{}}
	plain := []byte("a record")
	message := seal(t, esdk.WriterOptions{}, plain, esdk.KMSMultiRegion(s, us))
	for _, c := range []struct {
		name string
		ring esdk.Keyring
		uses string // the key that the service uses
		asks string // the key that it is asked to use; empty: it is not asked
	}{
		{"its own key", esdk.KMSMultiRegion(s, us), us, us},
		{"the related key of its Region", esdk.KMSMultiRegion(s, eu), eu, eu},
		{"a related key that the service answers for with another", esdk.KMSMultiRegion(s, eu), us, eu},
		{"without multi-Region awareness", esdk.KMS(s, eu), eu, ""},
		{"another multi-Region key", esdk.KMSMultiRegion(s, eu+"0"), eu, ""},
		{"the key of another account", esdk.KMSMultiRegion(s, strings.Replace(eu, "1111", "9999", 1)), eu, ""},
		{"no ARN", esdk.KMSMultiRegion(s, "mrk-00000000000000000000000000000001"), eu, ""},
	} {
		s.calls, s.lies = nil, c.uses
		got, _, err := open(message, anySuite, c.ring)
		if good := c.asks != "" && c.uses == c.asks; good != (err == nil) || good && !bytes.Equal(got, plain) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
		if asked := strings.Join(s.calls, ","); c.asks == "" && asked != "" || c.asks != "" && asked != "Decrypt "+c.asks {
			t.Errorf("%s: asked %q", c.name, asked)
		}
	}
	single := &aService{arn: "arn:aws:kms:us-east-1:111122223333:key/k", keys: map[string][]byte{}}
	message = seal(t, esdk.WriterOptions{}, plain, esdk.KMS(single, single.arn))
	if _, _, err := open(message, anySuite, esdk.KMSMultiRegion(single, strings.Replace(single.arn, "us-east-1", "eu-central-1", 1))); !errors.Is(err, esdk.ErrNoKey) {
		t.Errorf("a key of one Region, with the same name elsewhere: %v", err)
	}
}

func FuzzReader(f *testing.F) {
	m := load(f, "../../testdata/vectors/esdk-interop")
	for _, v := range m.Tests[:11] {
		b, err := os.ReadFile(filepath.Join("../../testdata/vectors/esdk-interop", v.Message))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	keys := []esdk.Keyring{m.aes(f, "aes-128"), m.aes(f, "aes-192"), m.aes(f, "aes-256")}
	known := map[string]bool{}
	for _, v := range m.Tests {
		b, _ := os.ReadFile(filepath.Join("../../testdata/vectors/esdk-interop", v.Message))
		known[string(b)] = true
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, err := open(b, esdk.ReaderOptions{AllowUncommitted: true, MaxFrame: 1 << 16, MaxUnframed: 1 << 16}, keys...)
		if err == nil && !known[string(b)] {
			t.Errorf("a message that nobody made opens: %x", b)
		}
	})
}

// The target of reading and writing is the speed of AES-256-GCM itself, in
// memory that does not depend on the length of the message.
func BenchmarkSealAndOpen(b *testing.B) {
	key, _ := esdk.RawAES("test", "a", make([]byte, 32))
	plain := make([]byte, 8<<20)
	for _, frame := range []int{4096, 1 << 20} {
		b.Run(fmt.Sprintf("seal/frame=%d", frame), func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			b.ReportAllocs()
			for b.Loop() {
				w, err := esdk.NewWriter(b.Context(), io.Discard, esdk.WriterOptions{FrameLength: frame}, key)
				if err != nil {
					b.Fatal(err)
				}
				w.Write(plain)
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
		message := seal(b, esdk.WriterOptions{FrameLength: frame}, plain, key)
		b.Run(fmt.Sprintf("open/frame=%d", frame), func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			b.ReportAllocs()
			for b.Loop() {
				r, err := esdk.NewReader(b.Context(), bytes.NewReader(message), esdk.ReaderOptions{}, key)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, r); err != nil || n != int64(len(plain)) {
					b.Fatal(n, err)
				}
			}
		})
	}
}
