package daemon

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sync/errgroup"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/gate"
	"github.com/leadglass/leadglass/identity/directory"
	"github.com/leadglass/leadglass/identity/organization"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/service/cloudtrail"
	"github.com/leadglass/leadglass/service/iam"
	"github.com/leadglass/leadglass/service/kms"
	"github.com/leadglass/leadglass/service/leadglass"
	"github.com/leadglass/leadglass/service/organizations"
	"github.com/leadglass/leadglass/service/sts"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/pebble"
	"github.com/leadglass/leadglass/wire"
)

// auditDomain names the deployment's logs. It is part of every signature, so
// it never changes for a data folder.
const auditDomain = "audit.leadglass.internal"

// openState opens the store and starts the boundaries, which need not wait for
// each other.
func (d *Daemon) openState(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() (err error) {
		d.store, err = pebble.Open(filepath.Join(d.cfg.DataDir, "state"), pebble.Config{Logger: d.cfg.Logger})
		return err
	})
	g.Go(func() error { return d.startBoundaries(ctx) })
	return g.Wait()
}

// regionName is where the region of the first start rests.
var regionName = kv.Table('Z').Text("region")

// keepRegion refuses a start under another region than the first: the region
// is part of every key's ARN, which policies, grants and records hold.
func (d *Daemon) keepRegion(ctx context.Context) error {
	e, err := d.store.Get(ctx, regionName)
	switch {
	case err != nil:
		return err
	case e.Mod == 0:
		_, err := d.store.Commit(ctx, []kv.Cond{{Key: regionName}}, []kv.Op{{Key: regionName, Value: []byte(d.cfg.Region)}})
		return err
	case string(e.Value) != d.cfg.Region:
		return fmt.Errorf("this plane was made for %s, not for %s: start it with --region %[1]s", e.Value, d.cfg.Region)
	}
	return nil
}

// logKeyName is where the log signer's token rests.
var logKeyName = kv.Table('T').Text("log signer")

// logKey is the log's signing key as the world outside the HSM knows it.
type logKey struct {
	EKT     []byte `cbor:"1,keyasint"`
	Ed25519 []byte `cbor:"2,keyasint"`
	MLDSA44 []byte `cbor:"3,keyasint"`
}

// openLog opens the audit log with its signer in the HSM.
func (d *Daemon) openLog(ctx context.Context) error {
	var key logKey
	e, err := d.store.Get(ctx, logKeyName)
	if err != nil {
		return err
	}
	if e.Mod == 0 {
		if key.EKT, key.Ed25519, key.MLDSA44, err = d.hsm.Client().GenerateLogKey(ctx, auditDomain); err != nil {
			return err
		}
		b, err := cbor.Marshal(key)
		if err != nil {
			return err
		}
		if _, err := d.store.Commit(ctx, []kv.Cond{{Key: logKeyName}}, []kv.Op{{Key: logKeyName, Value: b}}); err != nil {
			return err
		}
	} else if err := cbor.Unmarshal(e.Value, &key); err != nil {
		return fmt.Errorf("%w: log signer: %w", kv.ErrCorrupt, err)
	}
	d.logSigner.Store(&key.EKT)
	d.log, err = log.Open(ctx, log.Config{
		Dir: filepath.Join(d.cfg.DataDir, "log"), Domain: auditDomain, Clock: clock.System,
		Signer: signer{d.hsm.Client(), &d.logSigner}, Ed25519: key.Ed25519, MLDSA44: key.MLDSA44,
		Keys: auditKeys{d.hsm.Client()}, Check: d.checking,
	})
	if err == nil {
		d.logHeads, err = openHeads(ctx, d)
	}
	return err
}

// signer signs the audit log inside the HSM.
type signer struct {
	hsm *hsm.Client
	ekt *signerToken
}

func (s signer) Sign(ctx context.Context, alg log.Alg, message []byte) ([]byte, error) {
	a := hsm.LogEd25519
	if alg == log.MLDSA44 {
		a = hsm.LogMLDSA44
	}
	return s.hsm.SignLog(ctx, *s.ekt.Load(), a, message)
}

// auditKeys are the accounts' audit keys, inside the HSM.
type auditKeys struct{ hsm *hsm.Client }

func (k auditKeys) NewAccountKey(ctx context.Context, account string) (handle, public []byte, err error) {
	return k.hsm.GenerateAuditKey(ctx, account)
}

func (k auditKeys) OpenDEK(ctx context.Context, _ string, handle, enc, ct, info []byte) ([]byte, error) {
	return k.hsm.OpenAuditKey(ctx, handle, enc, ct, info)
}

// openDomains opens what the services stand on.
func (d *Daemon) openDomains(ctx context.Context) (err error) {
	if d.directory, err = directory.Open(ctx, d.store, directory.Config{Clock: clock.System, Authority: d.authority.Client(), Factors: d.authority.Client(), Quotas: d.cfg.Directory}); err != nil {
		return err
	}
	if err = d.openSessions(ctx); err != nil {
		return err
	}
	if d.orgs, err = organization.Open(ctx, d.store, organization.Config{Clock: clock.System, Directory: d.directory, Quotas: d.cfg.Organizations, Check: d.checking}); err != nil {
		return err
	}
	d.sessions.WithOrganizations(d.orgs)
	if err := d.openFederation(); err != nil {
		return err
	}
	if d.proxies, err = d.openProxies(); err != nil {
		return err
	}
	d.keys, err = keys.Open(ctx, d.store, keys.Config{
		Proxies:  d.proxies,
		Boundary: d.hsm.Client(), Clock: clock.System, Region: d.cfg.Region, AdditionalRegions: d.cfg.AdditionalRegions, Principals: d.directory.ResolvePrincipal, PrincipalARN: d.directory.PrincipalARN, Log: d.cfg.Logger,
		Destroyed: d.recordDestruction,
	})
	if err != nil {
		return err
	}
	for _, a := range d.directory.Accounts() {
		if a.Operator {
			d.operator = a.ID
		}
		// A crash between opening an account and making its log leaves none.
		if !d.log.HasAccount(a.ID) {
			if err := d.log.CreateAccount(ctx, a.ID); err != nil {
				return fmt.Errorf("audit log of account %s: %w", a.ID, err)
			}
		}
	}
	if d.operator == "" {
		d.first = true
		return d.openOperator(ctx)
	}
	return nil
}

// tables are the operation tables of all services.
func (d *Daemon) tables() []operation.Operation {
	var all []operation.Operation
	for _, table := range [][]operation.Operation{
		iam.New(d.directory).WithOrganizations(d.orgs).WithIssuer(d.issuer).Operations(),
		sts.Operations(d.sessions),
		kms.New(d.keys).Operations(),
		kms.New(d.keys).ControlPlane(),
		cloudtrail.New(d.log).Operations(),
		organizations.New(organizations.Config{Organizations: d.orgs, Directory: d.directory, Opened: d.log.CreateAccount}).Operations(),
		leadglass.New(leadglass.Config{Directory: d.directory, Log: d.log, Clock: clock.System, Operator: d.operator, Health: d.health, Domain: hsmDomain{d}}).Operations(),
	} {
		all = append(all, table...)
	}
	return all
}

// openServices joins the tables, the router and the gate.
func (d *Daemon) openServices(context.Context) error {
	ops := d.tables()
	served := make([]*wire.OpInfo, len(ops))
	for i := range ops {
		served[i] = ops[i].Info
	}
	router, err := wire.NewRouter(wire.RouterConfig{Regions: d.keys.Regions(), Operations: served})
	if err != nil {
		return err
	}
	d.gate, err = gate.New(gate.Config{
		Router: router, Operations: ops, Authenticator: d.sessions, Recorder: d.log, Accesses: d.directory, Clock: clock.System,
		Region: d.cfg.Region, AdditionalRegions: d.cfg.AdditionalRegions, Operator: d.operator, Organizations: d.orgs, Resume: d.resume, Logger: d.cfg.Logger,
	})
	return err
}

// resume gives a connection back to the server. Requests arrive only when
// there is one.
func (d *Daemon) resume(c net.Conn) bool { return d.resumed.take(c) }

// listen opens the port. Requests are answered from Start's end on.
func (d *Daemon) listen(context.Context) (err error) {
	d.server = &http.Server{
		Handler:           http.HandlerFunc(d.serveHTTP),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       gate.Deadline,
		WriteTimeout:      2 * gate.Deadline,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    wire.MaxHeader,
		ErrorLog:          errorLog(d.cfg.Logger),
		// HTTP/1.1 only: an answer with a secret takes its connection over (gate.writeRevealed).
		Protocols: new(http.Protocols),
	}
	d.server.Protocols.SetHTTP1(true)
	if d.listener, err = net.Listen("tcp", d.cfg.Listen); err != nil {
		return err
	}
	d.resumed = newResumption(d.listener.Addr())
	d.server.ConnState = d.resumed.state
	if d.cfg.TLSCert == "" {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(d.cfg.TLSCert, d.cfg.TLSKey)
	if err != nil {
		return err
	}
	d.listener = tlsListener{tls.NewListener(d.listener, &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
	}), d.listener.Addr()}
	return nil
}

type tlsListener struct {
	net.Listener
	addr net.Addr
}

func (l tlsListener) Addr() net.Addr { return l.addr }
