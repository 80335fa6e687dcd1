package proxy

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/cryptography/xks"
)

// Files of a folder (docs/formats/xks.md).
const (
	keysFile        = "keys.json"
	credentialsFile = "credentials.json"
	lockFile        = "lock"
	formatVersion   = 1
	maxFile         = 64 << 20
	maxKeys         = 10_000
	maxCredentials  = 100
)

// ErrDisabled says that the key which wraps external keys is disabled.
var ErrDisabled = errors.New("proxy: the wrapping key is disabled")

// An Opener wraps and opens key material under one key of a key service that
// the owner trusts. It binds what it wraps to the external key's id.
type Opener interface {
	Name() string // of the wrapping key: its ARN
	Wrap(ctx context.Context, keyID string, material []byte) (wrapped []byte, err error)
	Open(ctx context.Context, keyID string, wrapped []byte) (material []byte, err error) // ErrDisabled among others
}

// Limits say for whom a key service may use a key. An entry is a whole ARN, or
// the beginning of one and a star. No entries: everybody.
type Limits struct {
	KMSKeys    []string `json:"kms_keys,omitempty"`
	Principals []string `json:"principals,omitempty"`
}

// allow judges by what the request says of itself. GetKeyMetadata names no KMS
// key; it uses none either.
func (l *Limits) allow(m *xks.RequestMetadata) bool {
	return (m.KMSKeyArn == "" || matches(l.KMSKeys, m.KMSKeyArn)) && matches(l.Principals, m.AWSPrincipalArn)
}

func matches(patterns []string, s string) bool {
	for _, p := range patterns {
		if prefix, ok := strings.CutSuffix(p, "*"); s == p || ok && strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return len(patterns) == 0
}

// A Key is one external key as its owner sees it.
type Key struct {
	ID      string    `json:"id"`
	Enabled bool      `json:"enabled"`
	Usage   []string  `json:"usage"` // ENCRYPT, DECRYPT
	Created time.Time `json:"created"`
	Wrapped bool      `json:"wrapped"` // under the Opener's key
	Limits  Limits    `json:"limits"`

	material *secret.Bytes // of a key that is not wrapped
	wrapped  []byte
}

func (k *Key) may(usage string) bool { return slices.Contains(k.Usage, usage) }

// A Credential is what a key service signs with.
type Credential struct {
	AccessKeyID        string
	RawSecretAccessKey string
}

type keyEntry struct {
	ID       string    `json:"id"`
	Enabled  bool      `json:"enabled"`
	Usage    []string  `json:"usage"`
	Created  time.Time `json:"created"`
	Material []byte    `json:"material,omitempty"`
	Wrapped  []byte    `json:"wrapped,omitempty"`
	Limits   Limits    `json:"limits"`
}

type keysDoc struct {
	Version int `json:"version"`
	// WrappingKey names the Opener's key, and Probe is random bytes wrapped under it, for health checks: an
	// owner does not see her own keys used by them.
	WrappingKey string     `json:"wrapping_key,omitempty"`
	Probe       []byte     `json:"probe,omitempty"`
	Keys        []keyEntry `json:"keys"`
}

type credentialEntry struct {
	AccessKeyID string    `json:"access_key_id"`
	Secret      []byte    `json:"secret"` // the text of the raw secret access key
	Created     time.Time `json:"created"`
}

type credentialsDoc struct {
	Version     int               `json:"version"`
	Credentials []credentialEntry `json:"credentials"`
}

// FolderConfig says where keys and credentials lie. Dir and Clock are required.
type FolderConfig struct {
	Dir    string
	Clock  clock.Clock
	Opener Opener // nil: keys lie in the folder in the clear
}

// A Folder holds external keys and credentials. It is safe for concurrent use,
// by several processes too.
type Folder struct {
	cfg   FolderConfig
	decoy *secret.Bytes

	mu          sync.Mutex
	keys        map[string]*Key          // guarded by mu; replaced, never changed
	probe       []byte                   // guarded by mu
	keysSeen    stamp                    // guarded by mu
	credentials map[string]*secret.Bytes // guarded by mu; replaced, never changed
	credsSeen   stamp                    // guarded by mu
}

// A stamp tells one state of a file from another. A file that is replaced has
// another inode; one that is written in place another time.
type stamp struct {
	inode   uint64
	size    int64
	changed time.Time
}

// OpenFolder opens a folder, making it if it is not there.
func OpenFolder(cfg FolderConfig) (*Folder, error) {
	if cfg.Dir == "" || cfg.Clock == nil {
		return nil, errors.New("proxy: FolderConfig.Dir and Clock are required")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	random := make([]byte, keySize)
	rand.Read(random)
	decoy, err := secret.From(random)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	f := &Folder{cfg: cfg, decoy: decoy}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f, errors.Join(f.freshKeys(), f.freshCredentials())
}

// key finds a key; nil means that there is none.
func (f *Folder) key(id string) (*Key, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.freshKeys(); err != nil {
		return nil, err
	}
	return f.keys[id], nil
}

// credential finds the secret of an access key; of an unknown one it gives a
// stand-in, with which the caller does the same work.
func (f *Folder) credential(id string) (raw *secret.Bytes, found bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.freshCredentials(); err != nil {
		return nil, false, err
	}
	if raw, found = f.credentials[id]; !found {
		raw = f.decoy
	}
	return raw, found, nil
}

// use lends the material of a key for the time of one call.
func (f *Folder) use(ctx context.Context, k *Key, do func(material []byte) error) error {
	if !k.Wrapped {
		return k.material.Use(do)
	}
	if f.cfg.Opener == nil {
		return errors.New("proxy: the key is wrapped, and no wrapping key is configured")
	}
	material, err := f.cfg.Opener.Open(ctx, k.ID, k.wrapped)
	defer secret.Wipe(material)
	if err != nil {
		return err
	}
	return do(material)
}

// probeID is what the probe is bound to; no external key can be called so.
const probeID = "."

// Probe tests that keys can be used now, without touching one that somebody
// uses, and names the key manager.
func (f *Folder) Probe(ctx context.Context) (id, model string, err error) {
	f.mu.Lock()
	err = errors.Join(f.freshKeys(), f.freshCredentials())
	probe := f.probe
	f.mu.Unlock()
	if err != nil {
		return "", "", err
	}
	id, model = "folder", "Leadglass key folder"
	material := make([]byte, keySize)
	rand.Read(material)
	if f.cfg.Opener != nil && len(probe) > 0 {
		id, model = f.cfg.Opener.Name(), "Leadglass key service"
		if material, err = f.cfg.Opener.Open(ctx, probeID, probe); err != nil {
			return "", "", err
		}
	}
	defer secret.Wipe(material)
	s, err := seal(material, []byte("health"), nil)
	if err != nil {
		return "", "", err
	}
	_, err = open(material, s, nil)
	return id, model, err
}

// read reads a private file whole. A missing one is an empty one.
func (f *Folder) read(name string, seen stamp) (b []byte, now stamp, changed bool, err error) {
	path := filepath.Join(f.cfg.Dir, name)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, stamp{}, true, nil
	}
	if err != nil {
		return nil, stamp{}, false, fmt.Errorf("proxy: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, stamp{}, false, fmt.Errorf("proxy: %s can be read by others than its owner: chmod 600", path)
	}
	now = stamp{size: info.Size(), changed: info.ModTime()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		now.inode = st.Ino
	}
	if now == seen {
		return nil, now, false, nil
	}
	if info.Size() > maxFile {
		return nil, stamp{}, false, fmt.Errorf("proxy: %s is too long", path)
	}
	if b, err = os.ReadFile(path); err != nil {
		return nil, stamp{}, false, fmt.Errorf("proxy: %w", err)
	}
	return b, now, true, nil
}

// freshKeys reads the keys again if they changed. What cannot be read leaves
// no key usable. The caller holds mu.
func (f *Folder) freshKeys() error {
	b, now, changed, err := f.read(keysFile, f.keysSeen)
	defer secret.Wipe(b)
	if err == nil && !changed {
		return nil
	}
	f.keys, f.probe, f.keysSeen = nil, nil, stamp{}
	if err != nil {
		return err
	}
	doc, err := parseKeys(b)
	defer doc.wipe()
	if err != nil {
		return err
	}
	keys := make(map[string]*Key, len(doc.Keys))
	for i := range doc.Keys {
		e := &doc.Keys[i]
		k := &Key{ID: e.ID, Enabled: e.Enabled, Usage: e.Usage, Created: e.Created, Wrapped: len(e.Wrapped) > 0, Limits: e.Limits, wrapped: e.Wrapped}
		if !k.Wrapped {
			if k.material, err = secret.From(e.Material); err != nil {
				return fmt.Errorf("proxy: %w", err)
			}
		}
		keys[e.ID] = k
	}
	f.keys, f.probe, f.keysSeen = keys, doc.Probe, now
	return nil
}

func (f *Folder) freshCredentials() error {
	b, now, changed, err := f.read(credentialsFile, f.credsSeen)
	defer secret.Wipe(b)
	if err == nil && !changed {
		return nil
	}
	f.credentials, f.credsSeen = nil, stamp{}
	if err != nil {
		return err
	}
	doc, err := parseCredentials(b)
	if err != nil {
		return err
	}
	m := make(map[string]*secret.Bytes, len(doc.Credentials))
	for _, e := range doc.Credentials {
		if m[e.AccessKeyID], err = secret.From(e.Secret); err != nil {
			return fmt.Errorf("proxy: %w", err)
		}
	}
	f.credentials, f.credsSeen = m, now
	return nil
}

var errKeys = errors.New("proxy: " + keysFile + " is not a file of keys of version 1")

// parseKeys reads the file of keys. An empty one has none.
func parseKeys(b []byte) (doc keysDoc, err error) {
	if len(b) == 0 {
		return keysDoc{Version: formatVersion}, nil
	}
	if json.Unmarshal(b, &doc) != nil || doc.Version != formatVersion || len(doc.Keys) > maxKeys {
		return doc, errKeys
	}
	seen := make(map[string]bool, len(doc.Keys))
	for _, e := range doc.Keys {
		wrapped := len(e.Wrapped) > 0
		if !xks.ValidKeyID(e.ID) || seen[e.ID] || wrapped == (len(e.Material) > 0) || !wrapped && len(e.Material) != keySize || len(e.Usage) == 0 {
			return doc, errKeys
		}
		for _, u := range e.Usage {
			if u != xks.UsageEncrypt && u != xks.UsageDecrypt {
				return doc, errKeys
			}
		}
		seen[e.ID] = true
	}
	return doc, nil
}

func (d *keysDoc) wipe() {
	for _, e := range d.Keys {
		secret.Wipe(e.Material)
	}
}

var errCredentials = errors.New("proxy: " + credentialsFile + " is not a file of credentials of version 1")

func parseCredentials(b []byte) (doc credentialsDoc, err error) {
	if len(b) == 0 {
		return credentialsDoc{Version: formatVersion}, nil
	}
	if json.Unmarshal(b, &doc) != nil || doc.Version != formatVersion || len(doc.Credentials) > maxCredentials {
		return doc, errCredentials
	}
	seen := map[string]bool{}
	for _, e := range doc.Credentials {
		if !xks.ValidAccessKeyID(e.AccessKeyID) || !xks.ValidSecret(e.Secret) || seen[e.AccessKeyID] {
			return doc, errCredentials
		}
		seen[e.AccessKeyID] = true
	}
	return doc, nil
}

// edit changes one file, alone among all processes, durably and all or nothing.
func (f *Folder) edit(name string, change func(old []byte) (next any, err error)) error {
	lock, err := os.OpenFile(filepath.Join(f.cfg.Dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	defer lock.Close() // and with it the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("proxy: lock: %w", err)
	}
	old, _, _, err := f.read(name, stamp{})
	defer secret.Wipe(old)
	if err != nil {
		return err
	}
	next, err := change(old)
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(next, "", "  ")
	defer secret.Wipe(b)
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	return replace(f.cfg.Dir, name, append(b, '\n'))
}

func replace(dir, name string, b []byte) (err error) {
	temp, err := os.CreateTemp(dir, "."+name+"-") // mode 0600
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(temp.Name())
			err = fmt.Errorf("proxy: %w", err)
		}
	}()
	_, werr := temp.Write(b)
	if err := errors.Join(werr, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// editKeys is edit for the file of keys.
func (f *Folder) editKeys(change func(doc *keysDoc) error) error {
	return f.edit(keysFile, func(old []byte) (any, error) {
		doc, err := parseKeys(old)
		if err != nil {
			return nil, err
		}
		return &doc, change(&doc)
	})
}

// NewKey makes a key. An empty id is replaced by a random one, an empty usage
// by both.
func (f *Folder) NewKey(ctx context.Context, keyID string, usage []string, limits Limits) (string, error) {
	if keyID == "" {
		keyID = id.UUID()
	}
	if len(usage) == 0 {
		usage = []string{xks.UsageEncrypt, xks.UsageDecrypt}
	}
	e := keyEntry{ID: keyID, Enabled: true, Usage: usage, Created: f.cfg.Clock.Now().Truncate(time.Second), Limits: limits}
	material := make([]byte, keySize)
	rand.Read(material)
	defer secret.Wipe(material)
	err := f.editKeys(func(doc *keysDoc) error {
		if !xks.ValidKeyID(keyID) {
			return errors.New("proxy: a key's id is up to 128 letters, digits, dashes, dots and underscores")
		}
		if slices.ContainsFunc(doc.Keys, func(e keyEntry) bool { return e.ID == keyID }) {
			return fmt.Errorf("proxy: there is a key %s already", keyID)
		}
		if len(doc.Keys) >= maxKeys {
			return fmt.Errorf("proxy: the folder has its limit of %d keys", maxKeys)
		}
		if f.cfg.Opener == nil {
			e.Material = material
			doc.Keys = append(doc.Keys, e)
			return nil
		}
		if err := f.wrapProbe(ctx, doc); err != nil {
			return err
		}
		var err error
		e.Wrapped, err = f.cfg.Opener.Wrap(ctx, keyID, material)
		doc.Keys = append(doc.Keys, e)
		return err
	})
	return keyID, err
}

// wrapProbe makes the probe of a folder's wrapping key, of which there is one.
func (f *Folder) wrapProbe(ctx context.Context, doc *keysDoc) error {
	name := f.cfg.Opener.Name()
	if doc.WrappingKey == name {
		return nil
	}
	if doc.WrappingKey != "" {
		return fmt.Errorf("proxy: the keys of this folder are wrapped under %s", doc.WrappingKey)
	}
	probe := make([]byte, keySize)
	rand.Read(probe)
	defer secret.Wipe(probe)
	wrapped, err := f.cfg.Opener.Wrap(ctx, probeID, probe)
	doc.WrappingKey, doc.Probe = name, wrapped
	return err
}

// SetEnabled enables or disables a key, from the next request on.
func (f *Folder) SetEnabled(keyID string, enabled bool) error {
	return f.editKeys(func(doc *keysDoc) error {
		for i := range doc.Keys {
			if doc.Keys[i].ID == keyID {
				doc.Keys[i].Enabled = enabled
				return nil
			}
		}
		return fmt.Errorf("proxy: there is no key %s", keyID)
	})
}

// Keys are the keys in the order of their ids.
func (f *Folder) Keys() ([]*Key, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.freshKeys(); err != nil {
		return nil, err
	}
	all := make([]*Key, 0, len(f.keys))
	for _, k := range f.keys {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b *Key) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

// NewCredential makes a credential. Several may be in use at once, so that a
// key service can change from one to the next.
func (f *Folder) NewCredential() (Credential, error) {
	// 15 bytes are 24 characters of A-Z and 2-7; 32 bytes are 44 of base64 (appendix A).
	name, raw := make([]byte, 15), make([]byte, 32)
	rand.Read(name)
	rand.Read(raw)
	defer secret.Wipe(raw)
	c := Credential{AccessKeyID: base32.StdEncoding.EncodeToString(name), RawSecretAccessKey: base64.StdEncoding.EncodeToString(raw)}
	err := f.edit(credentialsFile, func(old []byte) (any, error) {
		doc, err := parseCredentials(old)
		if err != nil {
			return nil, err
		}
		if len(doc.Credentials) >= maxCredentials {
			return nil, fmt.Errorf("proxy: the folder has its limit of %d credentials", maxCredentials)
		}
		doc.Credentials = append(doc.Credentials, credentialEntry{c.AccessKeyID, []byte(c.RawSecretAccessKey), f.cfg.Clock.Now().Truncate(time.Second)})
		return &doc, nil
	})
	return c, err
}

// DeleteCredential ends a credential, from the next request on.
func (f *Folder) DeleteCredential(accessKeyID string) error {
	return f.edit(credentialsFile, func(old []byte) (any, error) {
		doc, err := parseCredentials(old)
		if err != nil {
			return nil, err
		}
		n := len(doc.Credentials)
		doc.Credentials = slices.DeleteFunc(doc.Credentials, func(e credentialEntry) bool { return e.AccessKeyID == accessKeyID })
		if len(doc.Credentials) == n {
			return nil, fmt.Errorf("proxy: there is no credential %s", accessKeyID)
		}
		return &doc, nil
	})
}

// Credentials are the access key ids in order.
func (f *Folder) Credentials() ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.freshCredentials(); err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(f.credentials))
	for id := range f.credentials {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}
