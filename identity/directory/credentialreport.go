package directory

import (
	"bytes"
	"encoding/csv"
	"strconv"
	"time"

	"github.com/leadglass/leadglass/identity/arn"
)

// A credential report lists the users of an account with the state of their
// credentials, as AWS's does. It is made in one piece and kept in memory; after
// a restart there is none, and it is made anew.

// ReportLife is how long a credential report is answered before it must be made anew.
const ReportLife = 4 * time.Hour

// A CredentialReport is a report in CSV.
type CredentialReport struct {
	Content   []byte // not to be changed
	Generated time.Time
}

// GenerateCredentialReport makes a report unless there is one that is young
// enough. started says that it was made.
func (d *Directory) GenerateCredentialReport(account string) (started bool, err error) {
	r, err := d.need(account)
	if err != nil {
		return false, err
	}
	now := d.clock.Now()
	if last := r.report.Load(); last != nil && now.Sub(last.Generated) < ReportLife {
		return false, nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	content, err := r.credentialReport()
	if err != nil {
		return false, err
	}
	r.report.Store(&CredentialReport{content, now})
	return true, nil
}

// GetCredentialReport is the last report.
func (d *Directory) GetCredentialReport(account string) (CredentialReport, error) {
	r, err := d.need(account)
	if err != nil {
		return CredentialReport{}, err
	}
	last := r.report.Load()
	switch {
	case last == nil:
		return CredentialReport{}, refuse(ReportNotPresent, "No report exists. Call GenerateCredentialReport to start the generation of one.")
	case d.clock.Now().Sub(last.Generated) >= ReportLife:
		return CredentialReport{}, refuse(ReportExpired, "The most recent credential report has expired. Call GenerateCredentialReport to start the generation of a new one.")
	}
	return *last, nil
}

// reportColumns are AWS's, in its order.
var reportColumns = []string{
	"user", "arn", "user_creation_time", "password_enabled", "password_last_used", "password_last_changed", "password_next_rotation", "mfa_active",
	"access_key_1_active", "access_key_1_last_rotated", "access_key_1_last_used_date", "access_key_1_last_used_region", "access_key_1_last_used_service",
	"access_key_2_active", "access_key_2_last_rotated", "access_key_2_last_used_date", "access_key_2_last_used_region", "access_key_2_last_used_service",
	"cert_1_active", "cert_1_last_rotated", "cert_2_active", "cert_2_last_rotated",
}

const notApplicable = "N/A"

func reportTime(t time.Time) string {
	if t.IsZero() {
		return notApplicable
	}
	return t.UTC().Format("2006-01-02T15:04:05+00:00")
}

// credentialReport makes the report. Caller holds r.mu.
func (r *realm) credentialReport() ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write(reportColumns) // a bytes.Buffer takes everything; Error tells otherwise
	// The account's root has no credentials of its own.
	root := []string{"<root_account>", arn.Root(r.account), reportTime(instant(r.accountRec.Created)), "false", notApplicable, notApplicable, notApplicable, "false"}
	root = appendKeys(root, nil)
	_ = w.Write(root)
	for _, u := range r.order[UserKind] {
		e := u.e
		row := []string{e.rec.Name, e.arn(), reportTime(instant(e.rec.Created))}
		if l := r.logins[e.rec.ID]; l != nil {
			next := notApplicable
			if p := r.passwordPolicy; p != nil && p.MaxAge > 0 {
				next = reportTime(instant(l.rec.Changed).Add(time.Duration(p.MaxAge) * 24 * time.Hour))
			}
			// Nothing signs in by a password here.
			row = append(row, "true", "no_information", reportTime(instant(l.rec.Changed)), next)
		} else {
			row = append(row, "false", notApplicable, notApplicable, notApplicable)
		}
		row = append(row, strconv.FormatBool(len(e.rec.MFA) > 0))
		var keys []*key
		for _, id := range e.rec.Keys {
			if k := r.keys[id]; k != nil {
				keys = append(keys, k)
			}
		}
		_ = w.Write(appendKeys(row, keys))
	}
	w.Flush()
	return b.Bytes(), w.Error()
}

// appendKeys fills the columns of two access keys and of two certificates, of which there are none.
func appendKeys(row []string, keys []*key) []string {
	for i := range keysPerUser {
		if i >= len(keys) {
			row = append(row, "false", notApplicable, notApplicable, notApplicable, notApplicable)
			continue
		}
		k := keys[i]
		use := k.used.public()
		row = append(row, strconv.FormatBool(k.rec.Active), reportTime(instant(k.rec.Created)), reportTime(use.Time), use.Region, use.Service)
	}
	return append(row, "false", notApplicable, "false", notApplicable)
}
