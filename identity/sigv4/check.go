package sigv4

import (
	"fmt"
	"slices"
	"time"
)

// CheckScope does steps 3 and 4 of section 7: terminator, service and region
// of the scope against what this server is, then the day, then the clock.
// The first of regions is the one that S3 names as expected. The service is
// the signing name.
func (p *Parsed) CheckScope(now time.Time, regions []string, service string) error {
	if err := p.checkScope(regions, service); err != nil {
		return err
	}
	return p.checkTime(now, pathIsKey(service))
}

func (p *Parsed) checkScope(regions []string, service string) error {
	s3 := pathIsKey(service)
	wrong := func(s3Message, message string) error {
		e := &Error{Kind: WrongScope, Message: message, Query: p.Presigned}
		if s3 {
			e.Message = "The authorization header is malformed; " + s3Message
			if p.Presigned {
				e.Message = "Error parsing the X-Amz-Credential parameter; " + s3Message
			}
			if len(regions) > 0 {
				e.Region = regions[0]
			}
		}
		return e
	}
	switch {
	case p.Terminator != terminator:
		return wrong("incorrect terminal. This endpoint belongs to \"aws4_request\".",
			"Credential should be scoped with a valid terminator: 'aws4_request'")
	case p.Service != service:
		return wrong(fmt.Sprintf("incorrect service %q. This endpoint belongs to %q.", p.Service, service),
			fmt.Sprintf("Credential should be scoped to correct service: '%s'.", service))
	case !slices.Contains(regions, p.Region):
		expected := ""
		if len(regions) > 0 {
			expected = regions[0]
		}
		return wrong(fmt.Sprintf("the region '%s' is wrong; expecting '%s'", p.Region, expected),
			"Credential should be scoped to a valid region.")
	}
	// The day of the timestamp, not of the server: a request signed at 23:59:59 is valid after midnight (section 6).
	if day := formatTime(p.Time)[:8]; day != p.Date {
		return wrong(fmt.Sprintf("Invalid credential date %q. This date is not the same as X-Amz-Date: %q.", p.Date, day),
			fmt.Sprintf("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.", p.Date, day, formatTime(p.Time)))
	}
	return nil
}

func (p *Parsed) checkTime(now time.Time, s3 bool) error {
	late, early := p.Time.Add(maxSkew), p.Time.Add(-maxSkew)
	if p.Presigned {
		late = p.Time.Add(p.Expires)
	}
	switch {
	case now.After(late):
		return p.outOfTime(s3, now, late.Sub(p.Time), false)
	case now.Before(early):
		return p.outOfTime(s3, now, maxSkew, true)
	}
	return nil
}

func (p *Parsed) outOfTime(s3 bool, now time.Time, allowed time.Duration, early bool) error {
	e := &Error{Kind: Skew, Query: p.Presigned}
	if p.Presigned {
		e.Kind = PresignExpired
		if early {
			e.Kind = PresignEarly
		}
	}
	switch ts := formatTime(p.Time); {
	case s3 && e.Kind == Skew:
		e.Message = "The difference between the request time and the current time is too large."
	case s3 && early:
		e.Message = "Request is not yet valid"
	case s3:
		e.Message = "Request has expired"
	case early:
		e.Message = fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + %s)", ts, formatTime(now.Add(allowed)), formatTime(now), span(allowed))
	default:
		e.Message = fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %s)", ts, formatTime(now.Add(-allowed)), formatTime(now), span(allowed))
	}
	return e
}

func span(d time.Duration) string {
	if d%time.Minute == 0 {
		return fmt.Sprintf("%d min.", d/time.Minute)
	}
	return fmt.Sprintf("%d sec.", d/time.Second)
}
