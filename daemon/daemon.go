// Package daemon builds the whole plane from one Config: it starts the
// boundaries, opens the store and the audit log, wires the services to the
// gate, and stops everything in the right order. It is the only package that
// knows everyone, and it holds no logic of its own.
//
// Start with Start; Wait returns when something that must not fail has
// failed; Stop answers what is under way and then ends the rest.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/cryptography/rotation"
	"github.com/leadglass/leadglass/cryptography/xks"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/gate"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/federation"
	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/identity/sessions"
	"github.com/leadglass/leadglass/state/kv/pebble"
)

// Config is what a plane needs. DataDir and Listen are required.
type Config struct {
	DataDir string
	Listen  string // host:port; anything but loopback needs TLS
	TLSCert string // PEM files; both or none
	TLSKey  string
	Region  string // the home region; empty: us-east-1
	// AdditionalRegions have keys of their own. Identities, organizations and the audit log are one for all regions.
	AdditionalRegions []string
	SealKey           string    // file of the HSM's software seal; empty: in the data folder
	Guard             hsm.Guard // hardware that guards the seal besides
	// HSMMembers is how many HSMs this node has, zero: one. HSMAwait makes the first, like all others, wait for a domain
	// rather than make one without operators, and HSMCommands are signed commands that give it one.
	HSMMembers  int
	HSMAwait    bool
	HSMCommands [][]byte
	// DomainKeyRotation is how old the HSM's domain key gets; zero: nobody rotates it by the clock.
	DomainKeyRotation time.Duration
	Insecure          bool // start the boundaries even where they cannot be locked down (I-10)
	// KeyMode names the services (by signing name, or AllServices) whose requests
	// are checked in key mode rather than witness mode: docs/trust-model.md.
	KeyMode []string
	KeyTTL  time.Duration // how long a key may be kept; zero: a minute
	// IssuerCA is a PEM file of certificates that may vouch for OpenID Connect issuers beside the system's, and
	// PrivateIssuers the hosts, or host:port, of issuers that may have private addresses (identity/federation).
	IssuerCA       string
	PrivateIssuers []string
	// How proxies of external key stores may be reached.
	XKSCA             string        // certificates (PEM) that may vouch for them, beside the system's
	PrivateXKSProxies []string      // hosts, or host:port, that may have private addresses and ports other than 443
	XKSTimeout        time.Duration // of one request; 0: xks.DefaultTimeout
	// AttestationRoots are PEM files of certificates that attestation documents may end in, and AWSAttestation says that
	// documents of the public cloud's enclaves count as well. Both end when the HSM's domain gets operators.
	AttestationRoots []string
	AWSAttestation   bool
	// PublicURL is the part of the URLs of accounts' own issuers that names this plane; empty: where it serves.
	PublicURL string
	// Directory limits what one account may hold; zero: AWS's defaults.
	Directory directory.Quotas
	// Organizations limits what one organization may hold, the size of its policies among it; zero: the defaults.
	Organizations organization.Quotas
	Version       string
	Logger        *slog.Logger // nil: silent
	Binary        string       // of the boundaries; empty: this one
}

// regionShape is what a request may name as the region of a replica (the KMS
// API's own pattern).
var regionShape = regexp.MustCompile(`^([a-z]+-){2,3}[0-9]+$`)

func (c *Config) valid() error {
	var errs []error
	if c.DataDir == "" {
		errs = append(errs, errors.New("no data folder"))
	}
	host, _, err := net.SplitHostPort(c.Listen)
	switch {
	case err != nil:
		errs = append(errs, fmt.Errorf("listen address %q: %w", c.Listen, err))
	case (c.TLSCert == "") != (c.TLSKey == ""):
		errs = append(errs, errors.New("TLS needs both a certificate and its key"))
	case c.TLSCert == "" && !loopback(host):
		errs = append(errs, fmt.Errorf("%s is not a loopback address: serve it with --tls-cert and --tls-key, or listen on 127.0.0.1", c.Listen))
	}
	// It is a part of every ARN, where a colon or a star would mean something.
	if c.Region == "" || len(c.Region) > 64 || strings.Trim(c.Region, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		errs = append(errs, fmt.Errorf("region %q: use lower-case letters, digits and dashes, as in us-east-1", c.Region))
	}
	for i, region := range c.AdditionalRegions {
		if len(region) > 32 || !regionShape.MatchString(region) {
			errs = append(errs, fmt.Errorf("additional region %q: use a name like eu-central-1; clients take no other", region))
		}
		if region == c.Region || slices.Contains(c.AdditionalRegions[:i], region) {
			errs = append(errs, fmt.Errorf("region %s is named twice", region))
		}
	}
	for _, name := range c.KeyMode {
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			errs = append(errs, fmt.Errorf("key mode for %q: use the signing names of services, as in iam,sts, or all", name))
		}
	}
	if c.KeyTTL < 0 || c.KeyTTL > sessions.MaxKeyTTL {
		errs = append(errs, fmt.Errorf("signing keys may be kept for at most %v, not %v", sessions.MaxKeyTTL, c.KeyTTL))
	}
	_, certErr := readCertificates(c.IssuerCA)
	_, rootErr := c.attestationRoots()
	errs = append(errs, validPublicURL(c.PublicURL), certErr, rootErr, c.validProxies())
	if c.DomainKeyRotation != 0 && c.DomainKeyRotation < time.Hour {
		errs = append(errs, errors.New("domain keys rotate every hour at most, or never (0)"))
	}
	if c.HSMMembers < 0 || c.HSMMembers > maxHSMs {
		errs = append(errs, fmt.Errorf("a node has 1 to %d HSMs", maxHSMs))
	}
	return errors.Join(errs...)
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// A Daemon is a running plane.
type Daemon struct {
	cfg      Config
	started  time.Time
	first    bool
	checking bool // Check: read everything, serve nothing

	lock      *os.File
	hsm       *hsm.Node
	logSigner signerToken
	rotation  *rotation.Rotation
	logHeads  *headWatch // of the HSMs' command logs; set with log
	authority *authority.Process
	store     *pebble.Store
	log       *log.Log
	directory *directory.Directory
	orgs      *organization.Organizations
	sessions  *sessions.Sessions
	keyring   *sessions.Keyring // in key mode, else nil
	stream    *authority.Watch  // in witness mode; for health alone
	instance  string            // names this run in the records of issued keys
	issuer    *federation.Issuer
	keys      *keys.Keys // of the home region
	proxies   *xks.Dialer
	gate      *gate.Gate
	operator  string // the operator's account

	listener net.Listener
	server   *http.Server
	resumed  *resumption // set with listener
	workers  sync.WaitGroup
	cancel   context.CancelFunc // ends the workers
	fatal    chan error         // the first thing that must not fail and did
}

// Start starts a plane and returns once it answers requests. Whatever was
// started is stopped again when a later step fails.
func Start(ctx context.Context, cfg Config) (d *Daemon, err error) {
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := cfg.valid(); err != nil {
		return nil, fmt.Errorf("daemon: %w", err)
	}
	if cfg.DataDir, err = filepath.Abs(cfg.DataDir); err != nil {
		return nil, fmt.Errorf("daemon: %w", err)
	}
	d = &Daemon{cfg: cfg, started: clock.System.Now(), fatal: make(chan error, 1)}
	var work context.Context
	work, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("daemon: %w", err), d.stop(context.WithoutCancel(ctx)))
			d = nil
		}
	}()
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"data folder", d.openData},
		{"store and boundaries", d.openState},
		{"region", d.keepRegion},
		{"audit log", d.openLog},
		{"identity and keys", d.openDomains},
		{"rotation of domain keys", func(context.Context) error { return d.openRotation() }},
		{"services", d.openServices},
		{"listener", d.listen},
		{"client files", d.writeClients},
	} {
		began := time.Now()
		if err := step.run(ctx); err != nil {
			return d, fmt.Errorf("%s: %w", step.name, err)
		}
		cfg.Logger.Debug("started", "step", step.name, "took", time.Since(began))
	}
	d.watch(work)
	for _, w := range d.Warnings() {
		cfg.Logger.Warn(w)
	}
	return d, nil
}

// openData makes and locks the data folder: one plane to a folder.
func (d *Daemon) openData(context.Context) error {
	if err := os.MkdirAll(d.cfg.DataDir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(d.cfg.DataDir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return fmt.Errorf("%s is in use by another plane", d.cfg.DataDir)
	}
	d.lock = f
	return nil
}

// URL is where the plane serves.
func (d *Daemon) URL() string {
	scheme := "http"
	if d.cfg.TLSCert != "" {
		scheme = "https"
	}
	return scheme + "://" + d.listener.Addr().String()
}

// FirstStart says whether this start made the data folder's accounts.
func (d *Daemon) FirstStart() bool { return d.first }

// Wait returns nil when ctx ends, or the reason why the plane cannot go on.
func (d *Daemon) Wait(ctx context.Context) error {
	select {
	case err := <-d.fatal:
		return err
	case <-ctx.Done():
		return nil
	}
}

// fail reports what must not fail; only the first is kept.
func (d *Daemon) fail(err error) {
	d.cfg.Logger.Error("the plane stops", "error", err)
	select {
	case d.fatal <- err:
	default:
	}
}

// watch waits for what must not fail.
func (d *Daemon) watch(ctx context.Context) {
	wait := func(what string, failed <-chan struct{}, why func() error) {
		d.workers.Go(func() {
			select {
			case <-ctx.Done():
			case <-failed:
				d.fail(fmt.Errorf("daemon: %s failed: %w", what, why()))
			}
		})
	}
	wait("the audit log", d.log.Failed(), d.log.Err)
	wait("the store", d.store.Failed(), func() error { return errors.New("a write or fsync failed; what the disk holds is unknown") })
	wait("the HSM", d.hsm.Done(), d.hsm.Wait)
	d.workers.Go(func() { d.logHeads.run(ctx) })
	d.workers.Go(func() { d.rotation.Run(ctx) })
	wait("the identity authority", d.authority.Done(), d.authority.Wait)
	for _, l := range []net.Listener{d.listener, d.resumed} {
		d.workers.Go(func() {
			if err := d.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				d.fail(fmt.Errorf("daemon: serving: %w", err))
			}
		})
	}
	for _, region := range d.keys.Regions() {
		if k, ok := d.keys.In(region); ok {
			d.workers.Go(func() { k.Run(ctx) })
			d.workers.Go(func() { k.RunStores(ctx) })
		}
	}
}

// Stop answers what is under way, then ends everything. When ctx ends first,
// what is still under way is cut off; nothing that was acknowledged is lost
// either way.
func (d *Daemon) Stop(ctx context.Context) error { return d.stop(ctx) }

func (d *Daemon) stop(ctx context.Context) error {
	var errs []error
	note := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("daemon: stop %s: %w", what, err))
		}
	}
	if d.server != nil {
		if d.resumed != nil {
			d.resumed.Close()
			d.resumed.hangUp()
		}
		if err := d.server.Shutdown(ctx); err != nil {
			note("serving", err)
			d.server.Close()
		}
	} else if d.listener != nil {
		d.listener.Close()
	}
	if d.gate != nil {
		// A connection that was taken over is not the server's any more; its request still counts.
		done := make(chan struct{})
		go func() { d.gate.Drain(); close(done) }()
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
	d.cancel()
	d.workers.Wait()
	if d.proxies != nil {
		d.proxies.Close()
	}
	// From the top down: whoever writes stops before what it writes to.
	d.closeSessions()
	if d.directory != nil {
		note("directory", d.directory.Close(ctx))
	}
	if d.log != nil {
		note("audit log", d.log.Close())
	}
	if d.store != nil {
		note("store", d.store.Close())
	}
	if d.authority != nil {
		d.authority.Stop()
	}
	if d.hsm != nil {
		d.hsm.Stop()
	}
	if d.lock != nil {
		note("data folder", d.lock.Close())
	}
	return errors.Join(errs...)
}
