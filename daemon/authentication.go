package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/identity/sessions"
	"github.com/leadglass/leadglass/service/leadglass"
)

// AllServices in Config.KeyMode stands for every service.
const AllServices = "all"

// openSessions opens authentication: in witness mode, and in key mode for the
// services that the config names (sigv4 section 9). Both follow the authority's
// revocations; in witness mode only health looks at that.
func (d *Daemon) openSessions(context.Context) (err error) {
	client := d.authority.Client()
	if d.sessions, err = sessions.New(d.directory, client, clock.System); err != nil {
		return err
	}
	if len(d.cfg.KeyMode) == 0 {
		d.stream = client.Watch(clock.System, func([]authority.Revocation) {}, nil)
		return nil
	}
	d.keyring, err = sessions.NewKeyring(sessions.KeyringConfig{
		Authority: client, Clock: clock.System, Issued: d.recordIssue, TTL: d.cfg.KeyTTL,
	})
	if err != nil {
		return err
	}
	d.instance = id.UUID()
	services := make([]string, len(d.cfg.KeyMode))
	for i, name := range d.cfg.KeyMode {
		if services[i] = name; name == AllServices {
			services[i] = sessions.AllServices
		}
	}
	d.sessions.WithKeys(d.keyring, services...)
	return nil
}

func (d *Daemon) closeSessions() {
	if d.stream != nil {
		d.stream.Stop()
	}
	if d.keyring != nil {
		d.keyring.Close()
	}
}

// recordIssue makes an event of a signing key that was handed out to this
// process, in the log of the account whose key it is: what could sign in a
// customer's name is the customer's to know (sigv4 section 9.7).
func (d *Daemon) recordIssue(ctx context.Context, k sessions.KeyIssue) error {
	details, err := json.Marshal(struct {
		AccessKeyID string `json:"accessKeyId"`
		Date        string `json:"date"`
		Region      string `json:"region"`
		Service     string `json:"service"`
		Instance    string `json:"instance"`
		NotAfter    string `json:"notAfter"`
	}{k.AccessKeyID, k.Date, k.Region, k.Service, d.instance, k.NotAfter.UTC().Format("2006-01-02T15:04:05Z")})
	if err != nil {
		return fmt.Errorf("daemon: issue of a signing key: %w", err)
	}
	r := record.Record{
		UserIdentity: record.UserIdentity{Type: record.AWSService, InvokedBy: "leadglass.amazonaws.com"},
		EventTime:    clock.System.Now(), EventSource: "leadglass.amazonaws.com", EventName: "IssueSigningKey", AWSRegion: d.cfg.Region,
		SourceIPAddress: "leadglass.amazonaws.com", UserAgent: "leadglass.amazonaws.com", EventID: id.UUID(), EventType: record.TypeServiceEvent,
		ManagementEvent: true, EventCategory: record.CategoryManagement, RecipientAccountID: k.Account, ServiceEventDetails: details,
	}
	_, err = d.log.Append(ctx, log.Event{Account: k.Account, Kind: record.APIEvent, ID: r.EventID, Time: r.EventTime, JSON: r.AppendJSON(nil)})
	return err
}

// streamState is how the stream of revocations is.
func (d *Daemon) streamState() authority.WatchState {
	if d.keyring != nil {
		return d.keyring.State().Stream
	}
	return d.stream.State()
}

// authentication is what GetHealth tells of it.
func (d *Daemon) authentication() leadglass.Authentication {
	s := d.streamState()
	a := leadglass.Authentication{KeyMode: d.cfg.KeyMode, Epoch: s.Epoch, StreamAge: s.Age}
	if d.keyring != nil {
		k := d.keyring.State()
		a.Issued, a.Kept = k.Issued, k.Kept
	}
	return a
}

// keyModeWarning says what key mode gives up, to whoever starts the plane.
func (d *Daemon) keyModeWarning() string {
	return fmt.Sprintf("key mode for %s: this process holds, for up to %v after a customer's request, the key that signs that customer's requests to that service and region until 15 minutes past midnight UTC; whoever controls this process could sign as that customer. Witness mode (the default) holds no such key. Every key that is handed out is an event in the customer's audit log.",
		strings.Join(d.cfg.KeyMode, ", "), cmp.Or(d.cfg.KeyTTL, sessions.KeyTTL))
}
