// Package cloudtrail serves LookupEvents of the CloudTrail API over the
// account's own audit log.
//
// Start with New and Operations, the table for the gate. An event is found as
// soon as the call that it records was answered. Management events of the last
// 90 days are found, newest first; data events are in the log and in its
// export, not here, as with CloudTrail itself.
//
// Not served: trails, selectors, digests and Lake. They deliver logs to
// buckets, and come with the object store; until then the table does not have
// them and the gate refuses them. Insights are not made: asking for them finds
// none.
package cloudtrail

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/leadglass/leadglass/api/cloudtrail"
	"github.com/leadglass/leadglass/evidence/log"
	"github.com/leadglass/leadglass/evidence/record"
	"github.com/leadglass/leadglass/operation"
)

// A Reader finds events of one account's log.
type Reader interface {
	Lookup(ctx context.Context, account string, q log.Query) (log.Page, error)
}

// Service is the CloudTrail API over one audit log.
type Service struct {
	log Reader
}

// New returns the service.
func New(log Reader) *Service { return &Service{log} }

// Operations is the table of what is served.
func (s *Service) Operations() []operation.Operation {
	return []operation.Operation{
		operation.New(cloudtrail.LookupEvents, s.lookupEvents, operation.OnAll[cloudtrail.LookupEventsInput]("cloudtrail:LookupEvents")),
	}
}

const maxResults = 50

// lookupEvents reads the log of the caller's own account, whatever the input
// says: there is no member that could name another.
func (s *Service) lookupEvents(ctx context.Context, in *cloudtrail.LookupEventsInput) (*cloudtrail.LookupEventsOutput, error) {
	q, err := query(in)
	if err != nil {
		return nil, err
	}
	if in.EventCategory != "" {
		return &cloudtrail.LookupEventsOutput{}, nil // insights, of which there are none
	}
	page, err := s.log.Lookup(ctx, operation.CallFrom(ctx).Account, q)
	switch {
	case errors.Is(err, log.ErrBadToken):
		return nil, &cloudtrail.InvalidNextTokenException{Message: "The NextToken is not valid for this request: it must be passed with the parameters of the request that returned it."}
	case err != nil:
		return nil, fmt.Errorf("service/cloudtrail: lookup: %w", err)
	}
	out := &cloudtrail.LookupEventsOutput{NextToken: page.Next}
	for i := range page.Events {
		out.Events = append(out.Events, event(&page.Events[i]))
	}
	return out, nil
}

// query checks the input and turns it into the log's terms.
func query(in *cloudtrail.LookupEventsInput) (log.Query, error) {
	q := log.Query{Start: in.StartTime, End: in.EndTime, Max: maxResults, Token: in.NextToken}
	switch len(in.LookupAttributes) {
	case 0:
	case 1:
		a := in.LookupAttributes[0]
		q.Attribute, q.Value = string(a.AttributeKey), a.AttributeValue
		if !slices.Contains(log.LookupAttributes[:], q.Attribute) {
			return q, &cloudtrail.InvalidLookupAttributesException{Message: "The lookup attribute key is not valid."}
		}
		if q.Value == "" {
			return q, &cloudtrail.InvalidLookupAttributesException{Message: "The lookup attribute has no value."}
		}
		if q.Attribute == "ReadOnly" && q.Value != "true" && q.Value != "false" {
			return q, &cloudtrail.InvalidLookupAttributesException{Message: "The value of the lookup attribute ReadOnly must be true or false."}
		}
	default:
		return q, &cloudtrail.InvalidLookupAttributesException{Message: "You can specify at most one lookup attribute."}
	}
	if !q.Start.IsZero() && !q.End.IsZero() && q.End.Before(q.Start) {
		return q, &cloudtrail.InvalidTimeRangeException{Message: "The start time must not be after the end time."}
	}
	if in.EventCategory != "" && in.EventCategory != cloudtrail.EventCategoryInsight {
		return q, &cloudtrail.InvalidEventCategoryException{Message: "The event category must be insight."}
	}
	if in.MaxResults != nil {
		if q.Max = int(*in.MaxResults); q.Max < 1 || q.Max > maxResults {
			return q, &cloudtrail.InvalidMaxResultsException{
				Message: fmt.Sprintf("A max results value of %d is invalid. Specify max results between 1 and %d.", q.Max, maxResults),
			}
		}
	}
	return q, nil
}

// event is a found event as the API shows it; the whole record is in the
// string CloudTrailEvent.
func event(f *log.Found) cloudtrail.Event {
	r := f.Record
	e := cloudtrail.Event{
		EventId: r.EventID, EventName: r.EventName, ReadOnly: strconv.FormatBool(r.ReadOnly),
		AccessKeyId: r.UserIdentity.AccessKeyID, EventTime: r.EventTime, EventSource: r.EventSource,
		Username: r.UserIdentity.Name(), CloudTrailEvent: string(f.JSON),
	}
	for _, x := range r.Resources {
		e.Resources = append(e.Resources, resource(x))
	}
	return e
}

func resource(x record.Resource) cloudtrail.Resource {
	return cloudtrail.Resource{ResourceType: x.Type, ResourceName: x.ARN}
}
