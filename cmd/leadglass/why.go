package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func whyCommand() *cobra.Command {
	var dir, profile string
	var o verifyOptions
	var out output
	c := &cobra.Command{
		Use:   "why EVENT-ID",
		Short: "Explain from its audit record why a call was denied, or what allowed it",
		Long: `Explain a call from its record in your account's audit log: which policy and
which statement decided, what of the nearest statements did not match, and what
would allow it. EVENT-ID is the record's eventID.

The record is looked up in the running plane with the ambient credentials, like
by any AWS tool. With --export it is read from an exported log instead, offline,
and that export is verified on the way.

The record says no more than its readers may know: of a resource of another
account it says only that the call was denied, and policies of an organization
are named, not shown.`,
		Args: exactly(1, "the id of an event"),
		RunE: func(cmd *cobra.Command, args []string) error {
			event, err := findEvent(cmd.Context(), args[0], dir, profile, o)
			if err != nil {
				return err
			}
			answer := explain(event)
			return out.print(cmd.OutOrStdout(), answer, answer.text)
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "export", "", "folder of an exported log to read instead of asking the plane")
	f.StringVar(&o.key, "key", "", "with --export: the account's key file (default: "+keyFile+" of the export)")
	f.StringVar(&o.pins, "log-keys", "", "with --export: the log's keys as they were at enrolment")
	f.StringVar(&profile, "profile", "", "profile to sign with (default: as the AWS tools choose)")
	out.flag(c)
	return c
}

// A whyEvent is what of a record an explanation needs.
type whyEvent struct {
	EventID      string `json:"eventID"`
	EventTime    string `json:"eventTime"`
	EventSource  string `json:"eventSource"`
	EventName    string `json:"eventName"`
	ErrorCode    string `json:"errorCode"`
	ErrorMessage string `json:"errorMessage"`
	UserIdentity struct {
		Type      string `json:"type"`
		ARN       string `json:"arn"`
		AccountID string `json:"accountId"`
	} `json:"userIdentity"`
	Additional struct {
		Leadglass struct {
			Decision *whyDecision `json:"policyDecision"`
		} `json:"leadglass"`
	} `json:"additionalEventData"`
}

// A whyDecision is a record's policyDecision (docs/formats/audit.md).
type whyDecision struct {
	Allow      []string       `json:"allow"`
	Deny       []string       `json:"deny"`
	Reason     string         `json:"reason"`
	Action     string         `json:"action"`
	Resource   string         `json:"resource"`
	Policy     string         `json:"policy"`
	Statements []whyStatement `json:"statements"`
	More       int            `json:"more"`
}

type whyStatement struct {
	By         string         `json:"by"`
	Policy     string         `json:"policy"`
	Sid        string         `json:"sid,omitempty"`
	Index      int            `json:"index"`
	Line       int            `json:"line"`
	Column     int            `json:"column"`
	Effect     string         `json:"effect"`
	Text       string         `json:"text"`
	Principal  *bool          `json:"principal,omitempty"` // false: it names somebody else
	Resource   *bool          `json:"resource,omitempty"`  // false: it names something else
	Conditions []whyCondition `json:"conditions,omitempty"`
}

type whyCondition struct {
	Operator string   `json:"operator"`
	Key      string   `json:"key"`
	Wants    []string `json:"wants"`
	Found    []string `json:"found,omitempty"`
	Absent   bool     `json:"absent,omitempty"`
	Hidden   bool     `json:"hidden,omitempty"`   // the key was there, but its value is not in the record
	Unproven bool     `json:"unproven,omitempty"` // the value was there and proves nothing
	// Variables are those in Wants.
	Variables []whyVariable `json:"variables,omitempty"`
}

type whyVariable struct {
	Key    string   `json:"key"`
	Found  []string `json:"found,omitempty"`
	Absent bool     `json:"absent,omitempty"`
	Hidden bool     `json:"hidden,omitempty"`
}

// An explanation is the answer: Verdict is allowed, denied or failed.
type explanation struct {
	EventID    string         `json:"eventId"`
	Time       string         `json:"time"`
	Call       string         `json:"call"`
	Caller     string         `json:"caller"`
	Action     string         `json:"action,omitempty"`
	Resource   string         `json:"resource,omitempty"`
	Verdict    string         `json:"verdict"`
	Why        string         `json:"why"`
	By         string         `json:"by,omitempty"`     // type of policy that decided
	Policy     string         `json:"policy,omitempty"` // that decided, where one did
	Matched    []string       `json:"matched,omitempty"`
	Statements []whyStatement `json:"statements,omitempty"`
	More       int            `json:"more,omitempty"`
	Remedies   []string       `json:"remedies,omitempty"`
	Message    string         `json:"message,omitempty"` // of the refusal, as the caller saw it
}

// findEvent gets a record from the running plane or from an export.
func findEvent(ctx context.Context, eventID, dir, profile string, o verifyOptions) (*whyEvent, error) {
	missing := fmt.Errorf("no event %s in this account's log; new events take a moment, and a log holds only its own account's", eventID)
	if dir == "" {
		if o.key != "" || o.pins != "" {
			return nil, usageError{errors.New("--key and --log-keys go with --export")}
		}
		p, err := ambientProfile(profile)
		if err != nil {
			return nil, err
		}
		var page struct {
			Events []struct{ CloudTrailEvent string }
		}
		in := map[string]any{"LookupAttributes": []any{map[string]string{"AttributeKey": "EventId", "AttributeValue": eventID}}}
		if _, err := newClient(p).json(ctx, "cloudtrail", "LookupEvents", in, &page); err != nil {
			return nil, err
		}
		if len(page.Events) == 0 {
			return nil, missing
		}
		e := new(whyEvent)
		return e, json.Unmarshal([]byte(page.Events[0].CloudTrailEvent), e)
	}
	var found *whyEvent
	o.maxGap = -1 // how long the plane was stopped is not the question here
	o.each = func(b []byte) error {
		var e whyEvent
		if json.Unmarshal(b, &e) == nil && e.EventID == eventID {
			found = &e
		}
		return nil
	}
	report, err := verifyLog(dir, o)
	switch {
	case err != nil:
		return nil, err
	case !report.OK:
		return nil, fmt.Errorf("the export does not verify, so its records prove nothing: leadglass audit verify %s", dir)
	case found == nil:
		return nil, missing
	}
	return found, nil
}

// typeNames are the policy types as denials name them.
var typeNames = map[string]string{
	"identity": "identity-based policy", "resource": "resource-based policy", "boundary": "permissions boundary", "session": "session policy",
	"scp": "service control policy", "rcp": "resource control policy", "vpce": "VPC endpoint policy", "grant": "grant", "root": "the account's root itself",
	"identity+resource": "identity-based and resource-based policy",
}

// explain says what a record means.
func explain(e *whyEvent) *explanation {
	x := &explanation{EventID: e.EventID, Time: e.EventTime, Call: e.EventSource + " " + e.EventName, Caller: e.UserIdentity.ARN, Message: e.ErrorMessage}
	d := e.Additional.Leadglass.Decision
	denied := strings.HasPrefix(e.ErrorCode, "AccessDenied")
	switch {
	case denied && (d == nil || strings.HasPrefix(d.Reason, "allow")) && !byPolicy(e.ErrorMessage):
		// A second factor or an old password that is wrong, say: no policy has to do with it.
		x.Verdict, x.Why = "denied", "No policy denied it, the operation itself did: "+e.ErrorMessage
		return x
	case d == nil && denied:
		x.Verdict = "denied"
		x.Why = "The record says only that it was denied: the resource belongs to another account, or would if it existed."
		x.Remedies = []string{"Ask the owner of the resource: its account must allow you, and your own account must, too."}
		return x
	case d == nil && e.ErrorCode != "":
		x.Verdict, x.Why = "failed", "No policy was asked: the call failed before, with "+e.ErrorCode+"."
		return x
	case d == nil:
		x.Verdict, x.Why = "allowed", "No policy had to be asked: the operation is open to everyone who signs, or the resource is another account's."
		return x
	}
	outcome, by, _ := strings.Cut(d.Reason, ": ")
	x.By, x.Action, x.Resource, x.Policy = by, d.Action, d.Resource, d.Policy
	name := typeNames[by]
	switch {
	case !denied && outcome == "allow":
		x.Verdict, x.Matched = "allowed", d.Allow
		x.Why = "Allowed by " + name + "."
		if e.ErrorCode != "" {
			x.Verdict = "failed"
			x.Why += " The call failed afterwards, with " + e.ErrorCode + "."
		}
		return x
	case outcome == "explicit deny":
		x.Verdict, x.Matched = "denied", d.Deny
		x.Why = "A statement of " + article(name) + " denies it, and a denial outweighs every allow."
	case name == "":
		x.Verdict = "denied"
		x.Why = "The session may not make this call at all, whatever policies say."
	default:
		x.Verdict, x.Matched = "denied", d.Allow
		x.Why = "No " + name + " allows it."
	}
	x.Statements, x.More = d.Statements, d.More
	x.remedies(outcome == "explicit deny")
	return x
}

// byPolicy says whether a refusal's text is that of a policy's denial; none is
// what the record of a caller holds who may not know more.
func byPolicy(message string) bool {
	return message == "" || strings.Contains(message, "not authorized to perform") || strings.Contains(message, "not allowed to access")
}

// article puts a or an before a policy type's name.
func article(name string) string {
	if strings.HasPrefix(name, "i") {
		return "an " + name
	}
	return "a " + name
}

// remedies says what would allow the call.
func (x *explanation) remedies(explicit bool) {
	add := func(format string, args ...any) { x.Remedies = append(x.Remedies, fmt.Sprintf(format, args...)) }
	switch {
	case x.By == "scp" || x.By == "rcp":
		add("Ask the administrators of the organization: its %s limits the account, and nothing inside the account can lift that.", typeNames[x.By])
		return
	case typeNames[x.By] == "":
		add("Use other credentials, such as those of a role, or of a session with a second factor.")
		return
	}
	for i := range x.Statements {
		s := &x.Statements[i]
		for _, c := range s.Conditions {
			switch {
			case explicit && c.Absent:
				add("Statement %s: it applies while %s is absent; a request that has it may escape it.", s.name(), c.Key)
			case explicit:
				add("Statement %s: it applies because %s %s holds; a request of which that is not true escapes it.", s.name(), c.Operator, c.Key)
			}
		}
		if explicit {
			continue
		}
		if parts := s.lacks(); len(parts) > 0 {
			add("Statement %s would allow it if %s.", s.name(), strings.Join(parts, ", and "))
		}
	}
	or := func(what string) string { // one of several ways, or the only one
		if len(x.Remedies) > 0 {
			return "Or " + what
		}
		return strings.ToUpper(what[:1]) + what[1:]
	}
	switch {
	case explicit:
		add("%s", or("have the statement changed, so that it spares this call."))
	case x.By == "resource":
		add("Have the resource's policy allow %s to %s, or let it delegate to the account.", x.Action, x.Caller)
	case x.Action != "":
		add("%s %s: {\"Effect\":\"Allow\",\"Action\":%q,\"Resource\":%q}", or("add to"), owner[x.By], x.Action, x.Resource)
	}
}

var owner = map[string]string{
	"identity": "a policy of the caller", "boundary": "the caller's permissions boundary", "session": "the policy that the session is made with", "vpce": "the endpoint's policy",
}

// name says which statement it is.
func (s *whyStatement) name() string {
	which := fmt.Sprintf("%d", s.Index+1)
	if s.Sid != "" {
		which = fmt.Sprintf("%q", s.Sid)
	}
	if s.Policy == "" {
		return fmt.Sprintf("%s of the %s (line %d, column %d)", which, typeNames[s.By], s.Line, s.Column)
	}
	return fmt.Sprintf("%s of %s (line %d, column %d)", which, s.Policy, s.Line, s.Column)
}

// lacks says what of an allow did not match.
func (s *whyStatement) lacks() (parts []string) {
	if s.Principal != nil && !*s.Principal {
		parts = append(parts, "it named this caller")
	}
	if s.Resource != nil && !*s.Resource {
		parts = append(parts, "it named this resource")
	}
	for _, c := range s.Conditions {
		parts = append(parts, fmt.Sprintf("%s %s held (%s)", c.Operator, c.Key, c.state()))
	}
	return parts
}

func (c *whyCondition) state() string {
	wants := strings.Join(c.Wants, " or ")
	for _, v := range c.Variables {
		switch {
		case v.Absent:
			wants += ", and the request has no " + v.Key
		case v.Hidden:
			wants += ", where " + v.Key + " is not recorded"
		default:
			wants += ", where " + v.Key + " is " + strings.Join(v.Found, ", ")
		}
	}
	switch {
	case c.Absent:
		return "it wants " + wants + "; the request has no such key"
	case c.Hidden:
		return "it wants " + wants + "; the request says something else, which is not recorded"
	}
	says := "it wants " + wants + "; the request says " + strings.Join(c.Found, ", ")
	if c.Unproven {
		// A register of zeros, or of a simulated enclave; a tag in two spellings.
		says += ", which proves nothing: it satisfies no Allow and every Deny"
	}
	return says
}

// statementOf tells a decision's name of a statement, POLICY#INDEX or
// POLICY#SID, as the statements themselves are told: counted from one.
func statementOf(match string) string {
	i := strings.LastIndexByte(match, '#')
	if i < 0 {
		return match
	}
	policy, which := match[:i], match[i+1:]
	if policy == "resource" {
		policy = "the " + typeNames[policy]
	}
	n, err := strconv.Atoi(which)
	if err != nil {
		return fmt.Sprintf("statement %q of %s", which, policy)
	}
	return fmt.Sprintf("statement %d of %s", n+1, policy)
}

// text is the explanation for people.
func (x *explanation) text(w io.Writer) {
	what := x.Call
	if x.Action != "" {
		what = x.Action + " on " + x.Resource
	}
	fmt.Fprintf(w, "%s: %s\n  by %s at %s (%s)\n\n%s\n", strings.ToUpper(x.Verdict), what, x.Caller, x.Time, x.Call, x.Why)
	if x.Policy != "" {
		fmt.Fprintf(w, "  policy: %s\n", x.Policy)
	}
	for _, m := range x.Matched {
		fmt.Fprintf(w, "  matched: %s\n", statementOf(m))
	}
	for i := range x.Statements {
		s := &x.Statements[i]
		fmt.Fprintf(w, "\n%s, statement %s:\n  %s\n", s.Effect, s.name(), strings.ReplaceAll(s.Text, "\n", "\n  "))
		if s.Principal != nil && !*s.Principal {
			fmt.Fprintln(w, "  principal: names somebody else")
		}
		if s.Resource != nil && !*s.Resource {
			fmt.Fprintln(w, "  resource:  names something else")
		}
		for _, c := range s.Conditions {
			fmt.Fprintf(w, "  condition: %s %s: %s\n", c.Operator, c.Key, c.state())
		}
	}
	if x.More > 0 {
		fmt.Fprintf(w, "\nand %d more statements.\n", x.More)
	}
	if len(x.Remedies) > 0 {
		fmt.Fprintln(w, "\nWhat would allow it:")
		for _, r := range x.Remedies {
			fmt.Fprintf(w, "  - %s\n", r)
		}
	}
}
