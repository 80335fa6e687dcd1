package daemon

import (
	"context"
	"fmt"
	stdlog "log"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/leadglass/leadglass/cryptography/boundary"
	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/federation"
	"github.com/leadglass/leadglass/service/leadglass"
)

// serveHTTP answers /healthz and what accounts' issuers publish, and leaves
// everything else to the gate.
// It is no mux: a mux would clean paths, which are part of what is signed.
func (d *Daemon) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		d.healthz(w)
		return
	}
	// Documents of accounts' issuers, for anybody; no bucket can have a name that begins so.
	if strings.HasPrefix(r.URL.Path, federation.IssuerPath) {
		d.issuer.ServeHTTP(w, r)
		return
	}
	d.gate.ServeHTTP(w, r)
}

// healthz answers 200 when everything that is needed to serve is up. It says
// no more than that: who may know more asks GetHealth.
func (d *Daemon) healthz(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if down := d.down(); len(down) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "unavailable")
		return
	}
	fmt.Fprintln(w, "ok")
}

// down lists what is needed and not up.
func (d *Daemon) down() []string {
	var out []string
	for _, part := range []struct {
		name string
		gone <-chan struct{}
	}{
		{"audit log", d.log.Failed()}, {"store", d.store.Failed()}, {"hsm", d.hsm.Done()}, {"authority", d.authority.Done()},
	} {
		select {
		case <-part.gone:
			out = append(out, part.name)
		default:
		}
	}
	if s := d.streamState(); s.Age >= authority.Lost {
		out = append(out, fmt.Sprintf("authority: silent for %v", s.Age.Truncate(time.Second)))
	}
	return out
}

// health is what GetHealth answers.
func (d *Daemon) health() leadglass.Health {
	h := leadglass.Health{Status: "ok", Version: d.cfg.Version, Started: d.started, Warnings: d.Warnings(), Authentication: d.authentication(), DomainKeys: d.domainKeys()}
	down := d.down()
	if len(down) > 0 {
		h.Status = "down: " + strings.Join(down, ", ")
	}
	for _, b := range d.boundaries() {
		running := true
		select {
		case <-b.gone:
			running = false
		default:
		}
		h.Boundaries = append(h.Boundaries, leadglass.Boundary{
			Name: b.name, Running: running, LockedDown: b.report.Complete(), Measures: measures(&b.report), Missing: b.report.Missing,
		})
	}
	return h
}

// measures names what holds a boundary.
func measures(r *boundary.Report) []string {
	var out []string
	add := func(ok bool, what string) {
		if ok {
			out = append(out, what)
		}
	}
	add(len(r.Namespaces) > 0, "namespaces "+strings.Join(r.Namespaces, "+"))
	add(r.LandlockABI > 0, fmt.Sprintf("landlock ABI %d", r.LandlockABI))
	add(r.Seccomp, "seccomp")
	add(r.NoCapabilities, "no capabilities")
	add(r.Undumpable, "undumpable")
	add(r.MemoryLocked != "", "memory locked ("+r.MemoryLocked+")")
	add(r.Memory != "", "secrets in "+r.Memory)
	return out
}

// Warnings are what whoever runs this plane should know.
func (d *Daemon) Warnings() []string {
	var out []string
	if d.cfg.SealKey == "" && d.cfg.Guard == (hsm.Guard{}) {
		out = append(out, fmt.Sprintf("the HSM's state is sealed in software with a key in %s; who copies the whole data folder has both. Keep the key elsewhere with --seal-key, or let hardware guard it with --tpm or --pkcs11-module.",
			filepath.Join(d.cfg.DataDir, "hsm", "seal.key")))
	}
	if d.keyring != nil {
		out = append(out, d.keyModeWarning())
	}
	for _, b := range d.boundaries() {
		if !b.report.Complete() {
			out = append(out, fmt.Sprintf("the boundary %s is NOT locked down; missing: %s", b.name, strings.Join(b.report.Missing, ", ")))
		}
	}
	out = append(out, d.rotationWarnings()...)
	return append(out, d.hsmWarnings(context.Background())...)
}

// errorLog takes net/http's own complaints (broken connections, bad requests).
func errorLog(l *slog.Logger) *stdlog.Logger {
	return slog.NewLogLogger(l.Handler(), slog.LevelDebug)
}
