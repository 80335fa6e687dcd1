package directory

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/policy"
)

// Service last accessed details: which of the services that an entity's
// policies allow were asked for, by whom and when.

const (
	// jobLife is how long a job's answer can be fetched, and maxJobs how many an
	// account may have at a time; then the oldest goes. Jobs are in memory: what a
	// restart loses is asked for anew.
	jobLife = 24 * time.Hour
	maxJobs = 100
)

// namespaces are the services that reports are about, as AWS calls them.
var namespaces = map[string]string{
	"access-analyzer": "AWS IAM Access Analyzer",
	"cloudtrail":      "AWS CloudTrail",
	"ebs":             "Amazon Elastic Block Store",
	"ec2":             "Amazon EC2",
	"iam":             "AWS Identity and Access Management",
	"kms":             "AWS Key Management Service",
	"leadglass":       "Leadglass",
	"organizations":   "AWS Organizations",
	"s3":              "Amazon S3",
	"sts":             "AWS Security Token Service",
}

// An AccessEntity is a user or role in a report.
type AccessEntity struct {
	Kind                Kind
	ARN, ID, Name, Path string
	Last                time.Time // zero: never, within the period
	Region              string
}

// An ActionAccess is who asked for an action last.
type ActionAccess struct {
	Action, Entity, Region string
	Last                   time.Time
}

// A ServiceAccess is what a report says of one service.
type ServiceAccess struct {
	Namespace, Name string
	Last            time.Time // zero: never, within the period
	Entity, Region  string    // ARN of who asked last
	Authenticated   int       // how many entities asked
	Entities        []AccessEntity
	Actions         []ActionAccess // those that were asked for, by name
}

// An AccessReport is the answer of a job.
type AccessReport struct {
	JobID     string
	Created   time.Time
	Completed time.Time
	Actions   bool // granularity ACTION_LEVEL
	Services  []ServiceAccess
}

// jobs are the reports that can be fetched.
type jobs struct {
	mu   sync.Mutex
	list map[string][]AccessReport // guarded by mu; by account, the oldest first
}

// A target is what a report or a listing is about.
type target struct {
	entities []*entity          // whose accesses count
	policies []*policy.Document // that allow
	carriers []*entity          // on which they hang; none for a policy
}

// target finds the user, group, role or managed policy of an ARN in an account.
// Caller holds r.mu.
func (d *Directory) target(r *realm, of string) (target, error) {
	gone := refuse(NoSuchEntity, "ARN %s was not found.", of)
	a, err := arn.Parse(of)
	if err != nil || a.Partition != arn.Partition || a.Service != "iam" || a.Region != "" {
		return target{}, refuse(InvalidInput, "ARN %s is not valid.", of)
	}
	word, rest := a.Split()
	if word == PolicyKind.String() {
		doc, err := d.compiled(r, of)
		if err != nil {
			return target{}, gone
		}
		t := target{policies: []*policy.Document{doc}}
		for e := range r.users[of] {
			t.entities = append(t.entities, e.people()...)
		}
		// Who has it by a group as well counts once.
		slices.SortFunc(t.entities, func(a, b *entity) int { return strings.Compare(a.rec.ID, b.rec.ID) })
		t.entities = slices.Compact(t.entities)
		return t, nil
	}
	for _, kind := range []Kind{UserKind, RoleKind, GroupKind} {
		if kind.String() != word {
			continue
		}
		e, err := r.find(kind, lastSegment(rest))
		if err != nil || e.arn() != of {
			return target{}, gone
		}
		t := target{entities: e.people(), carriers: e.carriers()}
		for _, c := range t.carriers {
			if t.policies, err = d.grants(r, t.policies, c.rec); err != nil {
				return target{}, err
			}
		}
		return t, nil
	}
	return target{}, refuse(InvalidInput, "ARN %s is not that of a user, group, role or policy.", of)
}

// people are who acts: the entity itself, or a group's members. Caller holds
// realm.mu.
func (e *entity) people() []*entity {
	if e.rec.Kind == GroupKind {
		return slices.Collect(maps.Keys(e.realm.members[e.rec.ID]))
	}
	return []*entity{e}
}

// carriers are where the entity's policies hang: on itself, and on a user's
// groups. Caller holds realm.mu.
func (e *entity) carriers() []*entity {
	all := []*entity{e}
	for _, id := range e.rec.Groups {
		if g := e.realm.entities[id]; g != nil {
			all = append(all, g)
		}
	}
	return all
}

// allowsService says whether a document allows any action of a service.
func allowsService(doc *policy.Document, namespace string) bool {
	for i := range doc.Statements() {
		s := &doc.Statements()[i]
		if s.Effect != policy.Allow {
			continue
		}
		named, whole := false, false // the service, and all of it
		for _, a := range s.Actions {
			vendor, name, _ := strings.Cut(a, ":")
			switch {
			case a == "*" || a == "*:*":
				named, whole = true, true
			case strings.EqualFold(vendor, namespace):
				named, whole = true, whole || name == "*"
			}
		}
		if s.NotAction && !whole || !s.NotAction && named {
			return true
		}
	}
	return false
}

// GenerateServiceLastAccessedDetails makes a report about a user, group, role
// or managed policy, with actions if wanted, and returns the id of the job under
// which it can be fetched by the account.
func (d *Directory) GenerateServiceLastAccessedDetails(account, of string, actions bool) (jobID string, err error) {
	r, err := d.need(account)
	if err != nil {
		return "", err
	}
	now := d.clock.Now()
	report := AccessReport{JobID: id.UUID(), Created: now, Completed: now, Actions: actions}
	r.mu.RLock()
	t, err := d.target(r, of)
	if err == nil {
		report.Services = t.services(now, actions)
	}
	r.mu.RUnlock()
	if err != nil {
		return "", err
	}
	d.jobs.mu.Lock()
	defer d.jobs.mu.Unlock()
	if d.jobs.list == nil {
		d.jobs.list = make(map[string][]AccessReport)
	}
	kept := slices.DeleteFunc(d.jobs.list[account], func(old AccessReport) bool { return now.Sub(old.Created) >= jobLife })
	if len(kept) >= maxJobs {
		kept = slices.Delete(kept, 0, len(kept)-maxJobs+1)
	}
	d.jobs.list[account] = append(kept, report)
	return report.JobID, nil
}

// services are the services that the target's policies allow. Caller holds
// the realm's mu.
func (t *target) services(now time.Time, actions bool) (all []ServiceAccess) {
	noted := make(map[*entity][]accessedAction, len(t.entities))
	for _, e := range t.entities {
		noted[e] = e.used.accessed(now)
	}
	slices.SortFunc(t.entities, func(a, b *entity) int { return strings.Compare(a.arn(), b.arn()) })
	for _, namespace := range slices.Sorted(maps.Keys(namespaces)) {
		if !slices.ContainsFunc(t.policies, func(doc *policy.Document) bool { return allowsService(doc, namespace) }) {
			continue
		}
		s := ServiceAccess{Namespace: namespace, Name: namespaces[namespace]}
		last := make(map[string]ActionAccess)
		for _, e := range t.entities {
			who := AccessEntity{Kind: e.rec.Kind, ARN: e.arn(), ID: e.rec.ID, Name: e.rec.Name, Path: e.rec.Path}
			for _, a := range noted[e] {
				if a.Service != namespace {
					continue
				}
				at := instant(a.Time)
				if at.After(who.Last) {
					who.Last, who.Region = at, a.Region
				}
				if at.After(last[a.Action].Last) {
					last[a.Action] = ActionAccess{Action: a.Action, Entity: who.ARN, Region: a.Region, Last: at}
				}
			}
			if !who.Last.IsZero() {
				s.Authenticated++
			}
			if who.Last.After(s.Last) {
				s.Last, s.Entity, s.Region = who.Last, who.ARN, who.Region
			}
			s.Entities = append(s.Entities, who)
		}
		if actions {
			for _, name := range slices.Sorted(maps.Keys(last)) {
				s.Actions = append(s.Actions, last[name])
			}
		}
		all = append(all, s)
	}
	return all
}

// ServiceLastAccessedDetails fetches the report of a job of the account.
func (d *Directory) ServiceLastAccessedDetails(account, jobID string) (AccessReport, error) {
	d.jobs.mu.Lock()
	defer d.jobs.mu.Unlock()
	for _, report := range d.jobs.list[account] {
		if report.JobID == jobID && d.clock.Now().Sub(report.Created) < jobLife {
			return report, nil
		}
	}
	return AccessReport{}, refuse(NoSuchEntity, "The job with id %s was not found.", jobID)
}

// PageOfServices cuts one page out of a report's services.
func (a AccessReport) PageOfServices(list List) (Page[ServiceAccess], error) {
	return pageOfNames(list, a.Services, func(s ServiceAccess) string { return s.Namespace })
}

// PageOfEntities cuts one page out of the entities that may use a service.
func (a AccessReport) PageOfEntities(namespace string, list List) (Page[AccessEntity], error) {
	i := slices.IndexFunc(a.Services, func(s ServiceAccess) bool { return s.Namespace == namespace })
	if i < 0 {
		return Page[AccessEntity]{}, refuse(NoSuchEntity, "The service namespace %s was not found in the report.", namespace)
	}
	return pageOfNames(list, a.Services[i].Entities, func(e AccessEntity) string { return e.ID })
}

// A Granting is a policy that grants access to a service.
type Granting struct {
	Policy, ARN string // no ARN: inline
	Carrier     Kind   // of an inline policy
	CarrierName string
}

// PoliciesGranting lists the policies of a user, group or role that allow
// anything of a service, as ListPoliciesGrantingServiceAccess does.
func (d *Directory) PoliciesGranting(account, of, namespace string) ([]Granting, error) {
	r, err := d.need(account)
	if err != nil {
		return nil, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if a, err := arn.Parse(of); err == nil && strings.HasPrefix(a.Resource, "policy/") {
		return nil, refuse(InvalidInput, "ARN %s is not that of a user, group or role.", of)
	}
	t, err := d.target(r, of)
	if err != nil {
		return nil, err
	}
	var all []Granting
	for _, e := range t.carriers {
		for _, p := range e.rec.Attached {
			doc, err := d.compiled(r, p)
			if err != nil {
				return nil, err
			}
			if allowsService(doc, namespace) {
				all = append(all, Granting{Policy: lastSegment(p), ARN: p})
			}
		}
		for _, in := range e.rec.Inline {
			doc, err := d.parse(policy.Identity, in.Text)
			if err != nil {
				return nil, err
			}
			if allowsService(doc, namespace) {
				all = append(all, Granting{Policy: in.Name, Carrier: e.rec.Kind, CarrierName: e.rec.Name})
			}
		}
	}
	slices.SortFunc(all, func(a, b Granting) int {
		return cmp.Or(strings.Compare(a.Policy, b.Policy), strings.Compare(a.ARN, b.ARN))
	})
	return all, nil
}
