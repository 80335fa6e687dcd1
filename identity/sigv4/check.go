package sigv4

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// CheckScope does steps 3 and 4 of section 7: terminator, service and region
// of the scope against what this server is, then the day, then the clock.
// The first of regions is the one that S3 names as expected. The service is
// the signing name. Of SigV4A one of regions must match the region set; that
// one is p.Region from then on.
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
	case !p.inRegion(regions):
		expected := ""
		if len(regions) > 0 {
			expected = regions[0]
		}
		return wrong(fmt.Sprintf("the region '%s' is wrong; expecting '%s'", p.Region+p.RegionSet, expected),
			"Credential should be scoped to a valid region.")
	}
	// The day of the timestamp, not of the server: a request signed at 23:59:59 is valid after midnight (section 6).
	if day := formatTime(p.Time)[:8]; day != p.Date {
		return wrong(fmt.Sprintf("Invalid credential date %q. This date is not the same as X-Amz-Date: %q.", p.Date, day),
			fmt.Sprintf("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.", p.Date, day, formatTime(p.Time)))
	}
	return nil
}

// inRegion says whether the request was signed for one of regions.
func (p *Parsed) inRegion(regions []string) bool {
	if !p.Asymmetric() {
		return slices.Contains(regions, p.Region)
	}
	for _, region := range regions {
		for entry := range strings.SplitSeq(p.RegionSet, ",") {
			if regionMatches(strings.Trim(entry, " \t"), region) {
				p.Region = region
				return true
			}
		}
	}
	return false
}

// Ambiguous says whether the region set of a SigV4A request matches more than
// one of regions: a server that keeps them apart cannot tell which is meant.
func (p *Parsed) Ambiguous(regions []string) bool {
	if !p.Asymmetric() {
		return false
	}
	n := 0
	for _, region := range regions {
		if slices.ContainsFunc(strings.Split(p.RegionSet, ","), func(entry string) bool {
			return regionMatches(strings.Trim(entry, " \t"), region)
		}) {
			n++
		}
	}
	return n > 1
}

// regionMatches compares with an entry of a region set: "*" as a whole or at
// the end (section 4). A star elsewhere is in no region's name.
func regionMatches(entry, region string) bool {
	if prefix, ok := strings.CutSuffix(entry, "*"); ok {
		return strings.HasPrefix(region, prefix)
	}
	return entry == region
}

func (p *Parsed) checkTime(now time.Time, s3 bool) error {
	late, early := p.Time.Add(maxSkew), p.Time.Add(-maxSkew)
	switch {
	case p.Presigned:
		late = p.Time.Add(p.Expires)
	case p.Post:
		// The policy says when it expires; S3 checks that. Whatever it says, its signature does not live longer than
		// that of a presigned request.
		late = p.Time.Add(maxExpires)
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
	case p.Post && !early:
		e.Kind, e.Message = PresignExpired, "Invalid according to Policy: Policy expired."
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
