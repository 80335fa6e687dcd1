package keys_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/keys"
	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/memory"
)

const (
	us = "us-east-1"
	eu = "eu-central-1"
	ap = "ap-southeast-2"
)

// newRegions is a deployment of three Regions.
func newRegions(t *testing.T) *world {
	w := newWorld(t)
	w.more = []string{eu, ap}
	w.reopen()
	return w
}

// at is the world as it is in one Region.
func (w *world) at(region string) *world {
	w.Helper()
	k, ok := w.Keys.In(region)
	if !ok {
		w.Fatalf("%s is not served", region)
	}
	return &world{TB: w.TB, Keys: k, store: w.store, clock: w.clock, hsm: w.hsm}
}

func (w *world) createMultiRegion() *keys.Key {
	w.Helper()
	k, err := w.Create(w.Context(), keys.NewKey{Account: acct, MultiRegion: true, Description: "of the primary"})
	w.must(err)
	return k
}

func (w *world) replicate(k *keys.Key, regions ...string) {
	w.Helper()
	for _, region := range regions {
		_, err := w.at(k.Region).Replicate(w.Context(), use(w.at(k.Region).now(k)), keys.NewReplica{Region: region})
		w.must(err)
	}
}

// family says of each Region what its key is: "us-east-1 PRIMARY Enabled, …".
func (w *world) family(id string) string {
	w.Helper()
	var all []string
	for _, region := range w.Regions() {
		k, err := w.at(region).ByID(w.Context(), id)
		w.must(err)
		if k != nil {
			all = append(all, fmt.Sprintf("%s %s %s", region, k.MultiRegionType(), k.State))
			if others := append([]string{k.MultiRegion.Primary}, k.MultiRegion.Replicas...); !slices.Contains(others, region) {
				w.Errorf("%s does not know of itself: %+v", k.ARN, k.MultiRegion)
			}
		}
	}
	return strings.Join(all, ", ")
}

func (w *world) wantFamily(id, want string) {
	w.Helper()
	if got := w.family(id); got != want {
		w.Errorf("the keys are %s\nwant         %s", got, want)
	}
}

func TestRegionsKeepTheirKeysAliasesAndGrantsApart(t *testing.T) {
	w := newRegions(t)
	ctx := w.Context()
	home, away := w.at(us), w.at(eu)
	kh, ka := home.create(acct), away.create(acct)
	if want := "arn:aws:kms:eu-central-1:" + acct + ":key/" + ka.ID; ka.ARN != want || ka.Region != eu {
		t.Errorf("a key of %s is %s", eu, ka.ARN)
	}
	w.must(home.CreateAlias(ctx, kh, "alias/ward"))
	w.must(away.CreateAlias(ctx, ka, "alias/ward")) // the same name, another key
	g := away.grant(away.now(ka), decryptFor(bob))
	blob, err := home.Encrypt(ctx, use(home.now(kh)), []byte("x"), nil)
	w.must(err)
	for range 2 {
		home, away = w.at(us), w.at(eu)
		for _, c := range []struct {
			in      *world
			own     *keys.Key
			foreign *keys.Key
		}{{home, kh, ka}, {away, ka, kh}} {
			f, err := c.in.Find(ctx, acct, "alias/ward", true)
			if err != nil || f.Key == nil || f.Key.ID != c.own.ID || f.ARN != "arn:aws:kms:"+c.own.Region+":"+acct+":alias/ward" {
				t.Errorf("the alias in %s leads to %+v, %v", c.own.Region, f, err)
			}
			_, err = c.in.Find(ctx, acct, c.foreign.ARN, false)
			w.refused(err, keys.NotFound, "Invalid arn "+c.foreign.Region)
			if k, err := c.in.ByID(ctx, c.foreign.ID); k != nil || err != nil {
				t.Errorf("the other Region's key is here: %v %v", k, err)
			}
			ids, _, err := c.in.List(ctx, acct, "", 10)
			if err != nil || !slices.Equal(ids, []string{c.own.ID}) {
				t.Errorf("keys of %s: %v %v", c.own.Region, ids, err)
			}
			as, _, err := c.in.ListAliases(ctx, acct, nil, "", 10)
			if err != nil || len(as) != 1 || as[0].KeyID != c.own.ID {
				t.Errorf("aliases of %s: %v %v", c.own.Region, as, err)
			}
		}
		if _, ok := away.now(ka).Grant(g.ID); !ok || home.now(kh).HasGrants() {
			t.Error("the grant is not where it was made")
		}
		if _, err := away.ByCiphertext(ctx, blob); !errors.Is(err, &keys.Error{Kind: keys.InvalidCiphertext}) {
			t.Errorf("a ciphertext of another Region: %v", err)
		}
		w.reopen()
	}
}

// A plane that had one Region goes on with several, and back while the others
// hold nothing.
func TestRegionsMayComeAndGoWhileTheyHoldNoKeys(t *testing.T) {
	w := newWorld(t)
	k := w.create(acct)
	w.must(w.CreateAlias(w.Context(), k, "alias/old"))
	w.more = []string{eu}
	w.reopen()
	if f, err := w.Find(w.Context(), acct, "alias/old", true); err != nil || f.Key == nil || f.Key.ID != k.ID {
		t.Fatalf("what the one Region had: %v %v", f, err)
	}
	w.more = nil
	w.reopen()
	w.more = []string{eu}
	w.reopen()
	w.at(eu).create(acct)
	for _, more := range [][]string{nil, {ap}} {
		_, err := keys.Open(w.Context(), w.store, keys.Config{Boundary: w.hsm, Clock: w.clock, Region: us, AdditionalRegions: more, Principals: w.principal})
		if err == nil || !strings.Contains(err.Error(), "keys of "+eu) {
			t.Errorf("a start without a Region that has keys: %v", err)
		}
	}
	if stored, err := keys.StoredRegions(w.Context(), w.store); err != nil || !slices.Equal(stored, []string{eu}) {
		t.Errorf("stored Regions: %v %v", stored, err)
	}
	for _, more := range [][]string{{""}, {us}, {eu, eu}} {
		if _, err := keys.Open(w.Context(), memory.Open(), keys.Config{Boundary: w.hsm, Clock: w.clock, Region: us, AdditionalRegions: more, Principals: w.principal}); err == nil {
			t.Errorf("opened with the Regions %q", more)
		}
	}
}

func TestRelatedKeysShareTheirMaterialAndNothingElse(t *testing.T) {
	w := newRegions(t)
	ctx := w.Context()
	home, away := w.at(us), w.at(eu)
	k := home.createMultiRegion()
	if !strings.HasPrefix(k.ID, "mrk-") || len(k.ID) != 36 || k.MultiRegionType() != keys.Primary {
		t.Fatalf("a multi-Region key is %+v", k)
	}
	before, err := home.Encrypt(ctx, use(k), []byte("before the replica"), ctxMap("a", "1"))
	w.must(err)
	w.must(home.CreateAlias(ctx, k, "alias/ward"))
	w.must(home.Tag(ctx, home.now(k), []keys.Tag{{Key: "of", Value: "primary"}}))
	home.grant(home.now(k), decryptFor(bob))
	replica, err := home.Replicate(ctx, use(home.now(k)), keys.NewReplica{
		Region: eu, Description: "of the replica", Tags: []keys.Tag{{Key: "of", Value: "replica"}}, Policy: policyFor(alice),
	})
	w.must(err)
	w.must(away.CreateAlias(ctx, replica, "alias/elsewhere"))
	w.replicate(k, ap)
	for range 2 {
		home, away = w.at(us), w.at(eu)
		w.wantFamily(k.ID, "us-east-1 PRIMARY Enabled, eu-central-1 REPLICA Enabled, ap-southeast-2 REPLICA Enabled")
		p, r := home.now(k), away.now(k)
		if r.MaterialID != p.MaterialID || r.Spec != p.Spec || r.Usage != p.Usage || r.Origin != p.Origin || r.ARN != p.RelatedARN(eu) {
			t.Errorf("primary %+v\nreplica %+v", p, r)
		}
		if r.Description != "of the replica" || r.Tags[0].Value != "replica" || r.PolicyText() != policyFor(alice) || r.HasGrants() || !slices.Equal(r.Aliases, []string{"alias/elsewhere"}) {
			t.Errorf("the replica has of its own: %+v", r)
		}
		if p.Description != "of the primary" || p.Tags[0].Value != "primary" || p.PolicyText() != keys.DefaultPolicy(acct) || !p.HasGrants() || !slices.Equal(p.Aliases, []string{"alias/ward"}) {
			t.Errorf("the primary has of its own: %+v", p)
		}
		after, err := away.Encrypt(ctx, use(away.now(k)), []byte("after"), ctxMap("a", "1"))
		w.must(err)
		for _, blob := range [][]byte{before, after} {
			for _, region := range w.Regions() {
				in := w.at(region)
				found, err := in.ByCiphertext(ctx, blob)
				if err != nil || found.Region != region || found.ID != k.ID {
					t.Fatalf("the ciphertext's key in %s: %+v %v", region, found, err)
				}
				if _, _, err := in.Decrypt(ctx, use(found), blob, ctxMap("a", "1")); err != nil {
					t.Errorf("decrypt in %s: %v", region, err)
				}
				if _, _, err := in.Decrypt(ctx, use(found), blob, ctxMap("a", "2")); !errors.Is(err, &keys.Error{Kind: keys.InvalidCiphertext}) {
					t.Errorf("another context in %s: %v", region, err)
				}
			}
		}
		w.reopen()
	}
	// Enabled is each for itself.
	away, far := w.at(eu), w.at(ap)
	w.must(away.Disable(ctx, away.now(k)))
	w.wantFamily(k.ID, "us-east-1 PRIMARY Enabled, eu-central-1 REPLICA Disabled, ap-southeast-2 REPLICA Enabled")
	if _, _, err := away.Decrypt(ctx, use(away.now(k)), before, ctxMap("a", "1")); !errors.Is(err, &keys.Error{Kind: keys.Disabled}) {
		t.Errorf("decrypt with the disabled replica: %v", err)
	}
	if _, _, err := far.Decrypt(ctx, use(far.now(k)), before, ctxMap("a", "1")); err != nil {
		t.Errorf("decrypt with another replica: %v", err)
	}
}

// blindNext lets reads fail too, from the next commit on that fails.
func (f *faulty) blindNext(blind bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blind = blind
}

func ctxMap(name, value string) map[string]string { return map[string]string{name: value} }

func TestWhatCannotBeReplicated(t *testing.T) {
	w := newRegions(t)
	ctx := w.Context()
	single, k, disabled := w.create(acct), w.createMultiRegion(), w.createMultiRegion()
	w.must(w.Disable(ctx, disabled))
	w.replicate(k, eu)
	nobody := func(*keys.Key) bool { return false }
	for name, c := range map[string]struct {
		from *world
		key  *keys.Key
		n    keys.NewReplica
		kind keys.Kind
		text string
	}{
		"a key of one Region":         {w, single, keys.NewReplica{Region: eu}, keys.Unsupported, single.ARN + " is not a multi-region primary key."},
		"a replica":                   {w.at(eu), k, keys.NewReplica{Region: ap}, keys.Unsupported, k.RelatedARN(eu) + " is not a multi-region primary key."},
		"a disabled primary":          {w, disabled, keys.NewReplica{Region: eu}, keys.Disabled, disabled.ARN + " is disabled."},
		"into a Region that has one":  {w, k, keys.NewReplica{Region: eu}, keys.AlreadyExists, "A key with the id " + k.ID + " already exists in eu-central-1."},
		"into the primary's Region":   {w, k, keys.NewReplica{Region: us}, keys.AlreadyExists, "A key with the id " + k.ID + " already exists in us-east-1."},
		"into a Region of nobody":     {w, k, keys.NewReplica{Region: "sa-east-1"}, keys.Unsupported, "The Region sa-east-1 is not supported."},
		"with a policy that is none":  {w, k, keys.NewReplica{Region: ap, Policy: "{"}, keys.MalformedPolicy, ""},
		"with a policy that locks up": {w, k, keys.NewReplica{Region: ap, Policy: policyFor(alice), Check: nobody}, keys.MalformedPolicy, "The new key policy will not allow you to update the key policy in the future."},
		"with a reserved tag":         {w, k, keys.NewReplica{Region: ap, Tags: []keys.Tag{{Key: "aws:x"}}}, keys.Tagging, "Tags beginning with aws: are reserved"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.from.Replicate(ctx, use(c.from.now(c.key)), c.n)
			var e *keys.Error
			if !errors.As(err, &e) || e.Kind != c.kind || c.text != "" && e.Message != c.text {
				t.Errorf("got %v, want %s", err, c.text)
			}
		})
	}
	u := keys.Use{Key: w.now(k), Again: func(*keys.Key) error { return errNoGrant }}
	w.must(w.SetDescription(ctx, w.now(k), "changed"))
	if _, err := w.Replicate(ctx, u, keys.NewReplica{Region: ap}); !errors.Is(err, errNoGrant) {
		t.Errorf("who lost the right meanwhile: %v", err)
	}
	w.wantFamily(k.ID, "us-east-1 PRIMARY Enabled, eu-central-1 REPLICA Enabled")
}

func (w *world) movePrimary(k *keys.Key, from, to string) error {
	a, err := w.at(from).ByID(context.Background(), k.ID)
	if err != nil {
		return err
	}
	b, err := w.at(to).ByID(context.Background(), k.ID)
	if err != nil {
		return err
	}
	return w.at(from).UpdatePrimaryRegion(context.Background(), use(a), use(b))
}

func TestThePrimaryMovesToAReplica(t *testing.T) {
	w := newRegions(t)
	k := w.createMultiRegion()
	w.replicate(k, eu, ap)
	w.must(w.movePrimary(k, us, eu))
	for range 2 {
		w.wantFamily(k.ID, "us-east-1 REPLICA Enabled, eu-central-1 PRIMARY Enabled, ap-southeast-2 REPLICA Enabled")
		w.refused(w.movePrimary(k, us, ap), keys.Unsupported, k.ARN+" is not a multi-region primary key.")
		w.refused(w.movePrimary(k, eu, eu), keys.Unsupported, k.RelatedARN(eu)+" is the primary key already.")
		w.reopen()
	}
	w.must(w.at(ap).Disable(t.Context(), w.at(ap).now(k)))
	w.refused(w.movePrimary(k, eu, ap), keys.Disabled, k.RelatedARN(ap)+" is disabled.")
	w.must(w.movePrimary(k, eu, us))
	w.wantFamily(k.ID, "us-east-1 PRIMARY Enabled, eu-central-1 REPLICA Enabled, ap-southeast-2 REPLICA Disabled")
}

// Of several who move the same primary at once exactly one does.
func TestOnePrimaryMovesOnce(t *testing.T) {
	w := newRegions(t)
	k := w.createMultiRegion()
	w.replicate(k, eu, ap)
	primary := us
	for range 20 {
		others := slices.DeleteFunc(w.Regions(), func(r string) bool { return r == primary })
		var moved []string
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 8 {
			to := others[i%2]
			wg.Go(func() {
				err := w.movePrimary(k, primary, to)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					moved = append(moved, to)
				case !errors.Is(err, &keys.Error{Kind: keys.Unsupported}):
					t.Errorf("move to %s: %v", to, err)
				}
			})
		}
		wg.Wait()
		if len(moved) != 1 {
			t.Fatalf("the primary moved to %v", moved)
		}
		primary = moved[0]
		if got := w.at(primary).now(k).MultiRegionType(); got != keys.Primary {
			t.Fatalf("%s is %s", primary, got)
		}
		w.family(k.ID)
	}
}

// settle runs the workers of all Regions until what is due is gone.
func (w *world) settle(done func() bool) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, region := range w.Regions() {
		k := w.at(region).Keys
		wg.Go(func() { _ = k.Run(ctx) })
	}
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.Error("the workers are not done")
			break
		}
	}
	cancel()
	wg.Wait()
}

func TestAPrimaryWaitsForTheEndOfItsReplicas(t *testing.T) {
	w := newRegions(t)
	ctx := w.Context()
	const day = 24 * time.Hour
	k := w.createMultiRegion()
	w.replicate(k, eu, ap)
	at, err := w.ScheduleDeletion(ctx, w.now(k), 10)
	w.must(err)
	if p := w.now(k); !at.IsZero() || p.State != keys.StatePendingReplicaDeletion || !p.DeletionDate.IsZero() || p.MultiRegion.Window != 10 {
		t.Fatalf("a primary with replicas that is to go: %v %+v", at, p)
	}
	// It can be saved, and sent off again.
	w.must(w.CancelDeletion(ctx, w.now(k)))
	if p := w.now(k); p.State != keys.StateDisabled || p.MultiRegion.Window != 0 {
		t.Fatalf("saved as %+v", p)
	}
	_, err = w.ScheduleDeletion(ctx, w.now(k), 7)
	w.must(err)
	w.refused(w.movePrimary(k, us, eu), keys.InvalidState, k.ARN+" is pending replica deletion.")
	_, err = w.Replicate(ctx, use(w.now(k)), keys.NewReplica{Region: ap})
	w.refused(err, keys.InvalidState, k.ARN+" is pending replica deletion.")

	end, err := w.at(eu).ScheduleDeletion(ctx, w.at(eu).now(k), 7)
	w.must(err)
	if !end.Equal(w.clock.Now().Add(7 * day)) {
		t.Errorf("a replica waits for nobody: %v", end)
	}
	_, err = w.at(ap).ScheduleDeletion(ctx, w.at(ap).now(k), 9)
	w.must(err)
	w.clock.Advance(8 * day) // the first replica goes
	w.settle(func() bool { return len(w.now(k).MultiRegion.Replicas) == 1 })
	w.wantFamily(k.ID, "us-east-1 PRIMARY PendingReplicaDeletion, ap-southeast-2 REPLICA PendingDeletion")
	w.reopen()
	w.wantFamily(k.ID, "us-east-1 PRIMARY PendingReplicaDeletion, ap-southeast-2 REPLICA PendingDeletion")
	w.clock.Advance(day) // the last replica goes: the primary's time begins
	w.settle(func() bool { return w.now(k).State == keys.StatePendingDeletion })
	p := w.now(k)
	if want := w.clock.Now().Add(7 * day); !p.DeletionDate.Equal(want) || len(p.MultiRegion.Replicas) != 0 || p.MultiRegion.Window != 0 {
		t.Errorf("the primary's end is %v, want %v: %+v", p.DeletionDate, want, p)
	}
	w.reopen()
	w.clock.Advance(7*day - time.Millisecond)
	w.wantFamily(k.ID, "us-east-1 PRIMARY PendingDeletion")
	w.clock.Advance(time.Millisecond)
	w.settle(func() bool { return len(w.left()) == 0 })
	w.wantFamily(k.ID, "")
	if stored, err := keys.StoredRegions(ctx, w.store); err != nil || len(stored) != 0 {
		t.Errorf("Regions that still hold something: %v %v", stored, err)
	}
}

// A store that fails in the middle of a change of several Regions leaves all
// as they were or all changed, in memory, at once and after a restart.
func TestACrashLeavesNoHalfChangedFamily(t *testing.T) {
	const (
		was       = "us-east-1 PRIMARY Enabled, eu-central-1 REPLICA Enabled"
		moved     = "us-east-1 REPLICA Enabled, eu-central-1 PRIMARY Enabled"
		tripled   = was + ", ap-southeast-2 REPLICA Enabled"
		withdrawn = "us-east-1 PRIMARY Enabled"
	)
	replicate := func(w *world, k *keys.Key) error {
		p, err := w.ByID(w.Context(), k.ID)
		if err != nil {
			return err
		}
		_, err = w.Replicate(w.Context(), use(p), keys.NewReplica{Region: ap})
		return err
	}
	move := func(w *world, k *keys.Key) error { return w.movePrimary(k, us, eu) }
	end := func(w *world, k *keys.Key) error { return w.at(eu).DoDue(w.Context()) }
	for _, c := range []struct {
		name   string
		do     func(w *world, k *keys.Key) error
		change string
		again  keys.Kind // of a second try, when the first was written
	}{
		{"ReplicateKey", replicate, tripled, keys.AlreadyExists},
		{"UpdatePrimaryRegion", move, moved, keys.Unsupported},
		{"the end of a replica", end, withdrawn, 0},
	} {
		for _, written := range []bool{false, true} {
			for _, blind := range []bool{false, true} { // the store cannot be read at once, either
				t.Run(fmt.Sprintf("%s, written %v, then unreadable %v", c.name, written, blind), func(t *testing.T) {
					w := newRegions(t)
					k := w.createMultiRegion()
					w.replicate(k, eu)
					want := was
					if c.name == "the end of a replica" {
						_, err := w.at(eu).ScheduleDeletion(w.Context(), w.at(eu).now(k), 7)
						w.must(err)
						w.clock.Advance(8 * 24 * time.Hour)
						want = withdrawn // from its end on a key is not there, destroyed or not
					}
					if written {
						w.store.set(nil, errStore, nil)
						want = c.change
					} else {
						w.store.set(errStore, nil, nil)
					}
					w.store.blindNext(blind)
					if err := c.do(w, k); !errors.Is(err, errStore) {
						t.Fatalf("with a store that fails: %v", err)
					}
					if blind {
						if _, err := w.ByID(w.Context(), k.ID); !errors.Is(err, &keys.Error{Kind: keys.Unavailable}) {
							t.Errorf("a key that nobody knows the state of: %v", err)
						}
					}
					w.store.set(nil, nil, nil)
					w.wantFamily(k.ID, want)
					err := c.do(w, k)
					if written && c.again != 0 {
						if !errors.Is(err, &keys.Error{Kind: c.again}) {
							t.Errorf("the second try: %v", err)
						}
					} else if err != nil {
						t.Errorf("the second try: %v", err)
					}
					w.wantFamily(k.ID, c.change)
					w.reopen()
					w.wantFamily(k.ID, c.change)
				})
			}
		}
	}
}

// A replica whose end was interrupted behind its first commit is in nobody's
// way: the Region takes a new one, and an earlier grant does not come with it.
func TestANewReplicaTakesThePlaceOfOneWhoseEndWasInterrupted(t *testing.T) {
	w := newRegions(t)
	ctx := w.Context()
	k := w.createMultiRegion()
	w.replicate(k, eu)
	g := w.at(eu).grant(w.at(eu).now(k), decryptFor(bob))
	_, err := w.at(eu).ScheduleDeletion(ctx, w.at(eu).now(k), 7)
	w.must(err)
	w.clock.Advance(7 * 24 * time.Hour)
	w.store.set(nil, errStore, nil)
	if err := w.at(eu).DoDue(ctx); !errors.Is(err, errStore) {
		t.Fatalf("the interrupted end: %v", err)
	}
	w.store.set(nil, nil, nil)
	w.wantFamily(k.ID, "us-east-1 PRIMARY Enabled")
	w.replicate(k, eu)
	for range 2 {
		w.wantFamily(k.ID, "us-east-1 PRIMARY Enabled, eu-central-1 REPLICA Enabled")
		if _, ok := w.at(eu).now(k).Grant(g.ID); ok {
			t.Error("the new replica has the grant of the former one")
		}
		w.reopen()
	}
}

// Whatever happens in all Regions at once, and whatever answers of the store
// get lost: related keys agree, and memory is what a restart reads.
func TestRelatedKeysAgreeAfterAStorm(t *testing.T) {
	for _, lossy := range []bool{false, true} {
		t.Run(fmt.Sprintf("answers get lost %v", lossy), func(t *testing.T) {
			w := newRegions(t)
			var ids []string
			for range 3 {
				ids = append(ids, w.createMultiRegion().ID)
			}
			ctx, stop := context.WithCancel(t.Context())
			var workers, wg sync.WaitGroup
			for _, region := range w.Regions() {
				k := w.at(region).Keys
				workers.Go(func() { _ = k.Run(ctx) })
			}
			for g := range 6 {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(7, uint64(g)))
					for range 120 {
						if lossy && r.IntN(10) == 0 {
							switch r.IntN(3) {
							case 0:
								w.store.set(errStore, nil, nil)
							case 1:
								w.store.set(nil, errStore, nil)
							default:
								w.store.set(nil, nil, nil)
							}
						}
						err := w.anyFamilyChange(r, ids[r.IntN(len(ids))])
						var e *keys.Error
						if err != nil && !errors.As(err, &e) && !errors.Is(err, errStore) {
							t.Errorf("neither done nor refused: %v", err)
						}
					}
				})
			}
			wg.Wait()
			stop()
			w.clock.Advance(0)
			workers.Wait()
			w.store.set(nil, nil, nil)
			before := w.all(ids)
			w.reopen() // which also compares what the related keys say of one another
			if after := w.all(ids); !reflect.DeepEqual(before, after) {
				t.Errorf("in memory %v\nin store  %v", before, after)
			}
			if t.Failed() {
				return
			}
			for _, id := range ids {
				t.Log(w.family(id))
			}
		})
	}
}

func (w *world) all(ids []string) map[string]seen {
	w.Helper()
	all := map[string]seen{}
	for _, region := range w.Regions() {
		for _, id := range ids {
			if s, ok := w.at(region).look(id); ok {
				all[region+" "+id] = s
				k := w.at(region).now(&keys.Key{ID: id})
				s.Description += fmt.Sprintf(" %+v", *k.MultiRegion)
				all[region+" "+id] = s
			}
		}
	}
	return all
}

// anyFamilyChange does one thing at random to one of several related keys.
func (w *world) anyFamilyChange(r *rand.Rand, id string) error {
	ctx := context.Background()
	regions := w.Regions()
	region, to := regions[r.IntN(len(regions))], regions[r.IntN(len(regions))]
	here, _ := w.Keys.In(region)
	k, err := here.ByID(ctx, id)
	if err != nil || k == nil {
		return err
	}
	switch r.IntN(9) {
	case 0, 1:
		_, err = here.Replicate(ctx, use(k), keys.NewReplica{Region: to})
		return err
	case 2, 3:
		there, _ := w.Keys.In(to)
		other, err := there.ByID(ctx, id)
		if err != nil || other == nil {
			return err
		}
		return here.UpdatePrimaryRegion(ctx, use(k), use(other))
	case 4:
		if k.MultiRegionType() == keys.Primary {
			return here.SetDescription(ctx, k, "still here")
		}
		_, err = here.ScheduleDeletion(ctx, k, 7)
		return err
	case 5:
		w.clock.Advance(24 * time.Hour)
		return here.CancelDeletion(ctx, k)
	case 6:
		return here.Disable(ctx, k)
	case 7:
		return here.Enable(ctx, k)
	default:
		return here.CreateAlias(ctx, k, fmt.Sprintf("alias/n%d", r.IntN(6)))
	}
}

// The records of the home Region lie where a store of one Region has them, the
// others below their Region's name.
func TestWhereTheRecordsOfARegionLie(t *testing.T) {
	w := newRegions(t)
	k := w.createMultiRegion()
	w.replicate(k, eu)
	w.must(w.at(eu).CreateAlias(t.Context(), w.at(eu).now(k), "alias/a"))
	w.at(eu).grant(w.at(eu).now(k), decryptFor(bob))
	es, _, _, err := w.store.Scan(t.Context(), []byte{0}, nil, 100, 0, true)
	w.must(err)
	var got []string
	for _, e := range es {
		got = append(got, string(e.Key))
	}
	under := string(kv.Table('R').Text(eu))
	want := []string{
		string(kv.Table('K').Text(acct).Text("key").Text(k.ID)),
		under + string(kv.Table('K').Text(acct).Text("alias").Text("alias/a")),
		under + string(kv.Table('K').Text(acct).Text("key").Text(k.ID)),
	}
	for _, key := range want {
		if !slices.Contains(got, key) {
			t.Errorf("%q is not in the store", key)
		}
	}
	if n := slices.IndexFunc(got, func(k string) bool { return bytes.HasPrefix([]byte(k), []byte("G")) }); n >= 0 {
		t.Error("the replica's grant lies among those of the home Region")
	}
	if len(got) != 5 {
		t.Errorf("the store has %q", got)
	}
}
