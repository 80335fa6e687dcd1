package gate_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/operation"
)

// A handler sees that a proof is wanted and of which body, and what it proves
// goes into the header of a success alone; what it remarks is in the record
// either way.
func TestAnAnswerCarriesItsProofAndTheRecordTheRemarks(t *testing.T) {
	const body = `{"KeyId":"k","Plaintext":"AAAA"}`
	for _, c := range []struct {
		name, header string
		fails        bool
		wanted       bool
		proof        string
	}{
		{"asked for", "1", false, true, "cHJvb2Y="},
		{"asked for in vain", "1", true, true, ""},
		{"not asked for", "", false, false, ""},
		{"asked for wrongly", "yes", false, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			f.serve = func(ctx context.Context, _ *kms.EncryptInput) (*kms.EncryptOutput, error) {
				call := operation.CallFrom(ctx)
				if call.WantProof != c.wanted || string(call.Body) != body {
					t.Errorf("the handler sees %v, %s", call.WantProof, call.Body)
				}
				call.Remark("seen", []byte(`{"by":"the handler"}`))
				if call.WantProof {
					call.Prove([]byte("proof"))
				}
				if c.fails {
					return nil, &kms.DisabledException{Message: "k is disabled."}
				}
				return &kms.EncryptOutput{CiphertextBlob: []byte("sealed")}, nil
			}
			h := target("TrentService.Encrypt")
			if c.header != "" {
				h.Set("x-leadglass-answer-proof", c.header)
			}
			a := f.send("AKIACUSTOMER", "kms", h, body)
			if got := a.header.Get("x-leadglass-answer-proof"); got != c.proof || (a.status == http.StatusOK) == c.fails {
				t.Errorf("%d with the proof %q", a.status, got)
			}
			if got := fmt.Sprint(f.last()["additionalEventData"]); got == "<nil>" || !strings.Contains(got, "seen:map[by:the handler]") {
				t.Errorf("the record says %s", got)
			}
		})
	}
}
