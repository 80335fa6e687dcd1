package cloudtrail_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	api "github.com/leadglass/leadglass/api/cloudtrail"
	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/evidence/log/logtest"
	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/operation"
	"github.com/leadglass/leadglass/service/cloudtrail"
	"github.com/leadglass/leadglass/wire"
)

const (
	alice = "111122223333"
	bob   = "444455556666"
)

// lookup calls LookupEvents of an account through the operation table.
func lookup(l *log.Log, account string, in *api.LookupEventsInput) (*api.LookupEventsOutput, error) {
	op := cloudtrail.New(l).Operations()[0]
	ctx := operation.WithCall(context.Background(), &operation.Call{Account: account})
	out, err := op.Serve(ctx, in)
	if err != nil {
		return nil, err
	}
	return out.(*api.LookupEventsOutput), nil
}

func attribute(key, value string) []api.LookupAttribute {
	return []api.LookupAttribute{{AttributeKey: api.LookupAttributeKey(key), AttributeValue: value}}
}

func TestAnEventIsFoundAsSoonAsItsAppendReturned(t *testing.T) {
	l := logtest.Open(t, logtest.Config(t, t.TempDir(), clock.System), alice, bob)
	for range 20 {
		e := logtest.Event(alice, time.Now())
		logtest.Append(t, l, e)
		out, err := lookup(l, alice, &api.LookupEventsInput{MaxResults: new(int32(1))})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Events) != 1 || out.Events[0].EventId != e.ID {
			t.Fatalf("the newest event is not the one just appended: %+v", out.Events)
		}
	}
	got, err := lookup(l, bob, &api.LookupEventsInput{})
	if err != nil || len(got.Events) != 0 {
		t.Errorf("another account sees %d events, %v", len(got.Events), err)
	}
}

func TestEveryAttributeFindsItsEvents(t *testing.T) {
	l := logtest.Open(t, logtest.Config(t, t.TempDir(), clock.System), alice)
	now := time.Now()
	logtest.Append(t, l, logtest.Event(alice, now))
	special := logtest.Event(alice, now, func(r *record.Record) {
		r.EventSource, r.EventName, r.ReadOnly = "iam.amazonaws.com", "CreateRole", false
		r.UserIdentity = record.UserIdentity{Type: record.AssumedRole, PrincipalID: "AROAEXAMPLEEXAMPLE2A3:dr.grün", AccessKeyID: "ASIAEXAMPLE234567ABC", AccountID: alice}
		r.Resources = []record.Resource{{AccountID: alice, Type: "AWS::IAM::Role", ARN: "arn:aws:iam::" + alice + ":role/ward/reader"}}
	})
	logtest.Append(t, l, special)
	logtest.Append(t, l, logtest.Event(alice, now, func(r *record.Record) { r.ManagementEvent = false }))
	for _, c := range []struct{ key, value string }{
		{"EventId", special.ID}, {"EventName", "CreateRole"}, {"ReadOnly", "false"}, {"Username", "dr.grün"},
		{"ResourceType", "AWS::IAM::Role"}, {"ResourceName", "reader"}, {"ResourceName", "arn:aws:iam::" + alice + ":role/ward/reader"},
		{"EventSource", "iam.amazonaws.com"}, {"AccessKeyId", "ASIAEXAMPLE234567ABC"},
	} {
		out, err := lookup(l, alice, &api.LookupEventsInput{LookupAttributes: attribute(c.key, c.value)})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Events) != 1 || out.Events[0].EventId != special.ID {
			t.Errorf("%s=%s finds %d events", c.key, c.value, len(out.Events))
			continue
		}
		e := out.Events[0]
		var whole map[string]any
		if err := json.Unmarshal([]byte(e.CloudTrailEvent), &whole); err != nil || whole["eventID"] != special.ID {
			t.Errorf("CloudTrailEvent is not the record: %v", err)
		}
		if e.ReadOnly != "false" || e.Username != "dr.grün" || e.EventSource != "iam.amazonaws.com" || e.EventTime.Unix() != now.Unix() ||
			len(e.Resources) != 1 || e.Resources[0].ResourceType != "AWS::IAM::Role" {
			t.Errorf("the event is shown as %+v", e)
		}
	}
	for _, c := range []struct{ key, value string }{{"EventName", "CreateRol"}, {"Username", "nobody"}, {"ResourceName", "ward"}} {
		if out, err := lookup(l, alice, &api.LookupEventsInput{LookupAttributes: attribute(c.key, c.value)}); err != nil || len(out.Events) != 0 {
			t.Errorf("%s=%s finds %d events, %v", c.key, c.value, len(out.Events), err)
		}
	}
	if out, err := lookup(l, alice, &api.LookupEventsInput{}); err != nil || len(out.Events) != 2 {
		t.Errorf("%d management events, %v", len(out.Events), err)
	}
}

func TestPagesGoBackInTimeWithoutGapOrRepeat(t *testing.T) {
	l := logtest.Open(t, logtest.Config(t, t.TempDir(), clock.System), alice)
	var want []string
	for range 120 {
		e := logtest.Event(alice, time.Now())
		logtest.Append(t, l, e)
		want = append([]string{e.ID}, want...)
	}
	var got []string
	in := &api.LookupEventsInput{MaxResults: new(int32(17))}
	for {
		out, err := lookup(l, alice, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range out.Events {
			got = append(got, e.EventId)
		}
		// What comes in between does not shift the pages.
		logtest.Append(t, l, logtest.Event(alice, time.Now()))
		if out.NextToken == "" {
			break
		}
		in.NextToken = out.NextToken
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%d events in pages, %d were appended", len(got), len(want))
	}
}

func TestTimesBoundTheSearch(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := clock.NewFake(start)
	l := logtest.Open(t, logtest.Config(t, t.TempDir(), c), alice)
	var ids []string
	for range 5 {
		e := logtest.Event(alice, c.Now())
		logtest.Append(t, l, e)
		ids = append(ids, e.ID)
		c.Advance(24 * time.Hour)
	}
	day := func(n int) time.Time { return start.Add(time.Duration(n) * 24 * time.Hour) }
	for _, q := range []struct {
		from, to    time.Time
		first, last int // of ids
	}{
		{day(1), day(3), 1, 3},
		{day(1), day(3).Add(-time.Second), 1, 2},
		{day(3), time.Time{}, 3, 4},
		{time.Time{}, day(0), 0, 0},
	} {
		out, err := lookup(l, alice, &api.LookupEventsInput{StartTime: q.from, EndTime: q.to})
		if err != nil {
			t.Fatal(err)
		}
		if n := q.last - q.first + 1; len(out.Events) != n || out.Events[0].EventId != ids[q.last] || out.Events[n-1].EventId != ids[q.first] {
			t.Errorf("%v to %v finds %d events, want %d", q.from, q.to, len(out.Events), n)
		}
	}
	c.Set(day(92))
	if out, err := lookup(l, alice, &api.LookupEventsInput{}); err != nil || len(out.Events) != 3 {
		t.Errorf("after 92 days %d of 5 events are found, want those of the last 90 days: %v", len(out.Events), err)
	}
}

func TestRefusalsHaveCloudTrailsErrors(t *testing.T) {
	l := logtest.Open(t, logtest.Config(t, t.TempDir(), clock.System), alice, bob)
	now := time.Now()
	for range 3 {
		logtest.Append(t, l, logtest.Event(alice, now))
		logtest.Append(t, l, logtest.Event(bob, now))
	}
	first, err := lookup(l, alice, &api.LookupEventsInput{MaxResults: new(int32(1))})
	if err != nil || first.NextToken == "" {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, account, code string
		in                  api.LookupEventsInput
	}{
		{"two attributes", alice, "InvalidLookupAttributesException", api.LookupEventsInput{LookupAttributes: append(attribute("EventName", "Decrypt"), attribute("ReadOnly", "true")...)}},
		{"an unknown attribute", alice, "InvalidLookupAttributesException", api.LookupEventsInput{LookupAttributes: attribute("Colour", "red")}},
		{"a ReadOnly that is no boolean", alice, "InvalidLookupAttributesException", api.LookupEventsInput{LookupAttributes: attribute("ReadOnly", "yes")}},
		{"an end before the start", alice, "InvalidTimeRangeException", api.LookupEventsInput{StartTime: now, EndTime: now.Add(-time.Hour)}},
		{"no results at most", alice, "InvalidMaxResultsException", api.LookupEventsInput{MaxResults: new(int32(0))}},
		{"51 results at most", alice, "InvalidMaxResultsException", api.LookupEventsInput{MaxResults: new(int32(51))}},
		{"an unknown category", alice, "InvalidEventCategoryException", api.LookupEventsInput{EventCategory: "data"}},
		{"a token that is none", alice, "InvalidNextTokenException", api.LookupEventsInput{NextToken: "AAAA"}},
		{"the token of another account", bob, "InvalidNextTokenException", api.LookupEventsInput{NextToken: first.NextToken}},
		{"the token of another query", alice, "InvalidNextTokenException", api.LookupEventsInput{NextToken: first.NextToken, LookupAttributes: attribute("EventName", "Decrypt")}},
	} {
		_, err := lookup(l, c.account, &c.in)
		var m wire.Modelled
		if !errors.As(err, &m) || m.Fault().Code != c.code || m.Fault().Message == "" {
			t.Errorf("%s: %v, want %s", c.name, err, c.code)
		}
	}
}

func TestTheWireLeavesCloudTrailItsOwnErrors(t *testing.T) {
	l := logtest.Open(t, logtest.Config(t, t.TempDir(), clock.System), alice)
	op := cloudtrail.New(l).Operations()[0]
	ctx := operation.WithCall(context.Background(), &operation.Call{Account: alice})
	for body, want := range map[string]string{
		`{}`:                  "",
		`{"MaxResults":50}`:   "",
		`{"MaxResults":51}`:   "InvalidMaxResultsException",
		`{"MaxResults":0}`:    "InvalidMaxResultsException",
		`{"MaxResults":"50"}`: "SerializationException",
		`{"LookupAttributes":[{"AttributeKey":"Colour","AttributeValue":"red"}]}`: "InvalidLookupAttributesException",
		`{"LookupAttributes":[{"AttributeValue":"red"}]}`:                         "ValidationException",
		`{"EventCategory":"data"}`:                                                "InvalidEventCategoryException",
		`{"EventCategory":"insight"}`:                                             "",
		`{"StartTime":1767225600,"EndTime":1767225599}`:                           "InvalidTimeRangeException",
	} {
		in := op.NewInput()
		req := &wire.Request{Method: "POST", RawPath: "/", Body: []byte(body)}
		err := wire.Decode(op.Info, wire.JSON11, req, in)
		if err == nil {
			err = wire.Validate(op.Info, req, in)
		}
		if err == nil {
			_, err = op.Serve(ctx, in)
		}
		code := ""
		if f, ok := wire.FaultOf(err); ok {
			code = f.Code
		}
		if code != want || err != nil && want == "" {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
	}
}
