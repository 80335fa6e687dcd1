package keys_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/keys"
)

// seen is everything that can be asked about a key.
type seen struct {
	State       keys.State
	Description string
	Policy      string
	Deletion    time.Time
	Aliases     []string
	Tags        []keys.Tag
	Grants      map[string]keys.Grant
	ByAlias     map[string]bool
	Rotations   []keys.Rotation
	Period      int
	Next        time.Time
}

func (w *world) look(id string) (s seen, ok bool) {
	w.Helper()
	ctx := context.Background()
	k, err := w.ByID(ctx, id)
	w.must(err)
	if k == nil {
		return s, false
	}
	s = seen{State: k.State, Description: k.Description, Policy: k.PolicyText(), Deletion: k.DeletionDate, Grants: map[string]keys.Grant{}, ByAlias: map[string]bool{}}
	var err2 error
	s.Rotations, _, err2 = w.ListRotations(k, true, "", 1000)
	w.must(err2)
	s.Period, s.Next = k.RotationPeriod, k.NextRotation
	s.Aliases = append(s.Aliases, k.Aliases...)
	s.Tags = append(s.Tags, k.Tags...)
	gs, _, err := w.ListGrants(ctx, k, "", "", "", 1000)
	w.must(err)
	for _, g := range gs {
		s.Grants[g.ID] = *g
	}
	for i := range 6 {
		f, err := w.Find(ctx, acct, fmt.Sprintf("alias/n%d", i), true)
		w.must(err)
		s.ByAlias[fmt.Sprint(i)] = f.Key != nil && f.Key.ID == id
	}
	return s, true
}

// Whatever happens at once, and whatever answers get lost on the way to the
// store: what memory says afterwards is what a restart reads.
func TestMemoryAndStoreAgreeAfterAStorm(t *testing.T) {
	for _, lossy := range []bool{false, true} {
		t.Run(fmt.Sprintf("answers get lost %v", lossy), func(t *testing.T) {
			w := newWorld(t)
			ctx := t.Context()
			var ids []string
			for range 4 {
				ids = append(ids, w.create(acct).ID)
			}
			var wg sync.WaitGroup
			for g := range 6 {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(1, uint64(g)))
					for range 150 {
						if lossy && r.IntN(10) == 0 {
							switch r.IntN(3) {
							case 0:
								w.store.set(errStore, nil, nil)
							case 1:
								w.store.set(nil, errStore, nil)
							case 2:
								w.store.set(nil, nil, nil)
							}
						}
						if err := w.anything(ctx, r, ids); err != nil {
							var e *keys.Error
							if !errors.As(err, &e) && !errors.Is(err, errStore) {
								t.Errorf("neither done nor refused: %v", err)
							}
						}
					}
				})
			}
			wg.Wait()
			w.store.set(nil, nil, nil)
			before := map[string]seen{}
			for _, id := range ids {
				if s, ok := w.look(id); ok {
					before[id] = s
				}
			}
			w.reopen()
			for _, id := range ids {
				after, ok := w.look(id)
				if was, had := before[id]; ok != had || !reflect.DeepEqual(was, after) {
					t.Errorf("key %s\nin memory %+v\nin store  %+v", id, was, after)
				}
			}
		})
	}
}

// anything does one thing at random.
func (w *world) anything(ctx context.Context, r *rand.Rand, ids []string) error {
	k, err := w.ByID(ctx, ids[r.IntN(len(ids))])
	if err != nil || k == nil {
		return err
	}
	name := fmt.Sprintf("alias/n%d", r.IntN(6))
	switch r.IntN(13) {
	case 0:
		return w.Enable(ctx, k)
	case 1:
		return w.Disable(ctx, k)
	case 2:
		return w.SetDescription(ctx, k, fmt.Sprint(r.IntN(100)))
	case 3:
		return w.CreateAlias(ctx, k, name)
	case 4:
		from, err := w.AliasTarget(ctx, acct, name)
		if err != nil {
			return err
		}
		return w.UpdateAlias(ctx, from, k, name)
	case 5:
		from, err := w.AliasTarget(ctx, acct, name)
		if err != nil {
			return err
		}
		return w.DeleteAlias(ctx, from, name)
	case 6:
		return w.Tag(ctx, k, []keys.Tag{{Key: fmt.Sprint(r.IntN(5)), Value: fmt.Sprint(r.IntN(5))}})
	case 7:
		n := decryptFor(bob)
		n.Name = fmt.Sprintf("g%d", r.IntN(4))
		_, _, err := w.CreateGrant(ctx, use(k), n)
		return err
	case 8:
		gs, _, err := w.ListGrants(ctx, k, "", "", "", 10)
		if err != nil || len(gs) == 0 {
			return err
		}
		return w.RevokeGrant(ctx, use(k), gs[r.IntN(len(gs))].ID)
	case 9:
		return w.RotateOnDemand(ctx, k)
	case 10:
		return w.EnableRotation(ctx, k, 90+r.IntN(3))
	case 11:
		return w.DisableRotation(ctx, k)
	default:
		_, err := w.Encrypt(ctx, use(k), []byte("x"), nil)
		return err
	}
}
