package daemon

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/evidence/record"
)

// recordDestruction writes the end of a key into its owner's log, as KMS does
// (the service event DeleteKey), with what the HSM states of it: its signature
// is what somebody who does not trust this process goes by (hsm-domain section
// 9). The key is still in the store; it goes only when this is durable.
func (d *Daemon) recordDestruction(ctx context.Context, key *keys.Key, statement []byte) error {
	details, err := json.Marshal(struct {
		KeyID     string `json:"keyId"`
		Statement []byte `json:"destructionStatement"` // COSE_Sign1 by the HSM
	}{key.ARN, statement})
	if err != nil {
		return fmt.Errorf("daemon: destruction of a key: %w", err)
	}
	r := record.Record{
		UserIdentity: record.UserIdentity{Type: record.AWSService, AccountID: key.Account, InvokedBy: "kms.amazonaws.com"},
		EventTime:    clock.System.Now(), EventSource: "kms.amazonaws.com", EventName: "DeleteKey", AWSRegion: key.Region,
		SourceIPAddress: "kms.amazonaws.com", UserAgent: "kms.amazonaws.com", EventID: id.UUID(), EventType: record.TypeServiceEvent,
		ManagementEvent: true, EventCategory: record.CategoryManagement, RecipientAccountID: key.Account, ServiceEventDetails: details,
		Resources: []record.Resource{{AccountID: key.Account, Type: "AWS::KMS::Key", ARN: key.ARN}},
	}
	_, err = d.log.Append(ctx, log.Event{Account: key.Account, Kind: record.APIEvent, ID: r.EventID, Time: r.EventTime, JSON: r.AppendJSON(nil)})
	return err
}
