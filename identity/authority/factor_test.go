package authority_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"image/png"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadglass/leadglass/base/clock"
	"github.com/leadglass/leadglass/identity/authority"
)

const serial = "arn:aws:iam::" + account + ":mfa/alice"

// codeAt is what an authenticator app shows for a seed at a time.
func codeAt(seed []byte, at time.Time) string {
	var counter [8]byte
	binary.BigEndian.PutUint64(counter[:], uint64(at.Unix()/30))
	m := hmac.New(sha1.New, seed)
	m.Write(counter[:])
	sum := m.Sum(nil)
	n := binary.BigEndian.Uint32(sum[sum[19]&15:]) & 0x7fffffff
	return fmt.Sprintf("%06d", n%1_000_000)
}

// newDevice makes a device and reads its seed as its owner does.
func newDevice(t testing.TB, c *authority.Client) (f authority.Factor, seed []byte) {
	t.Helper()
	n, err := c.NewFactor(t.Context(), serial, "alice@"+account)
	if err != nil {
		t.Fatal(err)
	}
	text, err := base64.StdEncoding.DecodeString(reveal(n.Seed))
	if err != nil || len(text) != 64 {
		t.Fatalf("seed: %d characters, %v", len(text), err)
	}
	if seed, err = base32.StdEncoding.DecodeString(string(text)); err != nil || len(seed) != 40 {
		t.Fatal(err)
	}
	picture, err := base64.StdEncoding.DecodeString(reveal(n.QR))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(picture)); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(n.Sealed, seed[:8]) {
		t.Fatal("the record holds the seed in the clear")
	}
	return authority.Factor{Serial: serial, Sealed: n.Sealed}, seed
}

// show makes a session with a second factor.
func show(t *testing.T, c *authority.Client, f authority.Factor, code string, now time.Time) error {
	t.Helper()
	f.Code = code
	claims := claimsFor(time.Hour)
	claims.Expires = now.Add(time.Hour)
	akid, sec, token, err := c.IssueSessionWithFactor(t.Context(), claims, f)
	if err != nil {
		return err
	}
	sec.Destroy()
	if akid == "" || token == "" {
		t.Error("a session without credentials")
	}
	return nil
}

// noon is about now, because the HSM behind goes by the real clock, and well inside a step.
var noon = time.Now().UTC().Truncate(30 * time.Second).Add(5 * time.Second)

func TestACodeIsGoodOnceAndAroundItsTime(t *testing.T) {
	clk := clock.NewFake(noon)
	c := inProcess(t, t.TempDir(), clk.Now)
	f, seed := newDevice(t, c)
	now := clk.Now()
	for _, s := range []struct {
		name string
		code string
		good bool
	}{
		{"of two steps ago", codeAt(seed, now.Add(-60*time.Second)), false},
		{"of the step before", codeAt(seed, now.Add(-30*time.Second)), true},
		{"of now", codeAt(seed, now), true},
		{"of now again", codeAt(seed, now), false},
		{"of the step before, after a later one", codeAt(seed, now.Add(-30*time.Second)), false},
		{"of the next step", codeAt(seed, now.Add(30*time.Second)), true},
		{"of two steps ahead", codeAt(seed, now.Add(60*time.Second)), false},
	} {
		if err := show(t, c, f, s.code, now); (err == nil) != s.good || err != nil && !errors.Is(err, authority.ErrCode) {
			t.Errorf("code %s: %v", s.name, err)
		}
	}
	other := f
	other.Serial += "x"
	clk.Advance(time.Hour)
	if err := show(t, c, other, codeAt(seed, clk.Now()), clk.Now()); !errors.Is(err, authority.ErrCode) {
		t.Errorf("the record of another device: %v", err)
	}
	if err := show(t, c, f, "12345", clk.Now()); !errors.Is(err, authority.ErrBadRequest) {
		t.Errorf("five digits: %v", err)
	}
}

func TestOfManyWhoShowOneCodeOneIsLetIn(t *testing.T) {
	clk := clock.NewFake(noon)
	c := inProcess(t, t.TempDir(), clk.Now)
	f, seed := newDevice(t, c)
	var wg sync.WaitGroup
	var mu sync.Mutex
	in := 0
	for range 8 {
		wg.Go(func() {
			if show(t, c, f, codeAt(seed, noon), noon) == nil {
				mu.Lock()
				in++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	// The losers are wrong attempts: the first five of them are looked at, none is let in.
	if in != 1 {
		t.Errorf("%d were let in", in)
	}
}

func TestTheSecondFactorStandsInTheTokenAndNobodyElsePutsItThere(t *testing.T) {
	both(t, func(t *testing.T, c *authority.Client) {
		f, seed := newDevice(t, c)
		f.Code = codeAt(seed, time.Now())
		akid, sec, token, err := c.IssueSessionWithFactor(t.Context(), claimsFor(time.Hour), f)
		if err != nil {
			t.Fatal(err)
		}
		claims, err := c.Witness(t.Context(), sign(akid, reveal(sec), token, nil))
		if err != nil {
			t.Fatal(err)
		}
		if claims.MFA == nil || time.Since(*claims.MFA) > time.Minute || !claims.MFA.Equal(claims.Issued) {
			t.Errorf("claims say %v", claims.MFA)
		}
		lie := claimsFor(time.Hour)
		lie.MFA = new(time.Now())
		if _, _, _, err := c.IssueSession(t.Context(), lie); !errors.Is(err, authority.ErrBadRequest) {
			t.Errorf("a host that says that a factor was shown: %v", err)
		}
	})
}

func TestADeviceWithAWrongClockIsFoundByTwoCodes(t *testing.T) {
	clk := clock.NewFake(noon)
	c := inProcess(t, t.TempDir(), clk.Now)
	f, seed := newDevice(t, c)
	ahead := 4 * time.Minute
	pair := func(first, second time.Time) error {
		f := f
		f.Code = codeAt(seed, first)
		sealed, err := c.PairFactor(t.Context(), f, codeAt(seed, second))
		if err == nil && len(sealed) == 0 {
			t.Error("no record")
		}
		return err
	}
	for _, s := range []struct {
		name          string
		first, second time.Duration
	}{
		{"the same code twice", ahead, ahead},
		{"in the wrong order", ahead + 30*time.Second, ahead},
		{"not consecutive", ahead, ahead + time.Minute},
		{"too far ahead", 6 * time.Minute, 6*time.Minute + 30*time.Second},
	} {
		if err := pair(noon.Add(s.first), noon.Add(s.second)); !errors.Is(err, authority.ErrCode) {
			t.Errorf("%s: %v", s.name, err)
		}
	}
	f.Code = codeAt(seed, noon.Add(ahead))
	sealed, err := c.PairFactor(t.Context(), f, codeAt(seed, noon.Add(ahead+30*time.Second)))
	if err != nil {
		t.Fatal(err)
	}
	f.Sealed = sealed
	if err := pair(noon.Add(ahead), noon.Add(ahead+30*time.Second)); !errors.Is(err, authority.ErrCode) {
		t.Errorf("codes that were used: %v", err)
	}
	clk.Advance(time.Hour)
	if err := show(t, c, f, codeAt(seed, clk.Now()), clk.Now()); !errors.Is(err, authority.ErrCode) {
		t.Errorf("a code by the right clock: %v", err)
	}
	if err := show(t, c, f, codeAt(seed, clk.Now().Add(ahead+30*time.Second)), clk.Now()); err != nil {
		t.Errorf("a code by the device's clock: %v", err)
	}
}

func TestGuessingIsSlowedDownAndARestartDoesNotHelp(t *testing.T) {
	clk := clock.NewFake(noon)
	dir := t.TempDir()
	var f authority.Factor
	var seed []byte
	t.Run("before", func(t *testing.T) {
		c := inProcess(t, dir, clk.Now)
		f, seed = newDevice(t, c)
		for range 5 {
			if err := show(t, c, f, wrong(seed, clk.Now()), clk.Now()); !errors.Is(err, authority.ErrCode) {
				t.Fatal(err)
			}
		}
		if err := show(t, c, f, codeAt(seed, clk.Now()), clk.Now()); !errors.Is(err, authority.ErrCode) {
			t.Fatalf("the right code after five wrong ones, at once: %v", err)
		}
		clk.Advance(30 * time.Second)
		if err := show(t, c, f, wrong(seed, clk.Now()), clk.Now()); !errors.Is(err, authority.ErrCode) {
			t.Fatal(err)
		}
		clk.Advance(59 * time.Second)
		if err := show(t, c, f, codeAt(seed, clk.Now()), clk.Now()); !errors.Is(err, authority.ErrCode) {
			t.Fatalf("the right code before a wait of a minute is over: %v", err)
		}
		clk.Advance(time.Second)
		used := clk.Now()
		if err := show(t, c, f, codeAt(seed, used), used); err != nil {
			t.Fatalf("after the wait: %v", err)
		}
		if err := show(t, c, f, codeAt(seed, used), used); !errors.Is(err, authority.ErrCode) {
			t.Fatalf("a used code: %v", err)
		}
		for range 4 { // with the used one five in a row
			clk.Advance(time.Second)
			_ = show(t, c, f, wrong(seed, clk.Now()), clk.Now())
		}
	})
	t.Run("after", func(t *testing.T) {
		c := inProcess(t, dir, clk.Now)
		clk.Advance(25 * time.Second)
		if err := show(t, c, f, codeAt(seed, clk.Now()), clk.Now()); !errors.Is(err, authority.ErrCode) {
			t.Errorf("the restart ended the wait: %v", err)
		}
		clk.Advance(5 * time.Second)
		now := clk.Now()
		if err := show(t, c, f, codeAt(seed, now), now); err != nil {
			t.Errorf("after the wait: %v", err)
		}
	})
	t.Run("a used code after a restart", func(t *testing.T) {
		c := inProcess(t, dir, clk.Now)
		if err := show(t, c, f, codeAt(seed, clk.Now()), clk.Now()); !errors.Is(err, authority.ErrCode) {
			t.Errorf("the code was good again: %v", err)
		}
	})
	t.Run("a clock that goes back long after", func(t *testing.T) {
		c := inProcess(t, dir, clk.Now)
		then := clk.Now()
		clk.Advance(2 * time.Hour)
		// Something else is tried, so that what is old is put away.
		g, other := newDevice(t, c)
		if err := show(t, c, g, codeAt(other, clk.Now()), clk.Now()); err != nil {
			t.Fatal(err)
		}
		clk.Set(then)
		if err := show(t, c, f, codeAt(seed, then), then.Add(3*time.Hour)); !errors.Is(err, authority.ErrCode) {
			t.Errorf("the code was good again: %v", err)
		}
	})
}

// wrong is a code that is none of those around now.
func wrong(seed []byte, now time.Time) string {
	for i := 0; ; i++ {
		c := fmt.Sprintf("%06d", i)
		bad := true
		for d := -3; d <= 3; d++ {
			bad = bad && c != codeAt(seed, now.Add(time.Duration(d)*30*time.Second))
		}
		if bad {
			return c
		}
	}
}

func TestPasswords(t *testing.T) {
	both(t, func(t *testing.T, c *authority.Client) {
		set := func(p authority.Password) ([]byte, error) {
			p.User = "AIDAEXAMPLEEXAMPLE123"
			return c.SetPassword(t.Context(), p)
		}
		must := func(sealed []byte, err error) []byte {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			return sealed
		}
		first := must(set(authority.Password{New: []byte("correct horse")}))
		if bytes.Contains(first, []byte("horse")) {
			t.Error("the record holds the password")
		}
		second := must(set(authority.Password{New: []byte("battery staple"), Old: []byte("correct horse"), Sealed: first, Reuse: 24}))
		for _, s := range []struct {
			name string
			p    authority.Password
			want error
		}{
			{"a wrong old password", authority.Password{New: []byte("x"), Old: []byte("correct horse"), Sealed: second}, authority.ErrPassword},
			{"the present password again", authority.Password{New: []byte("battery staple"), Sealed: second, Reuse: 1}, authority.ErrReused},
			{"one before the last", authority.Password{New: []byte("correct horse"), Sealed: second, Reuse: 2}, authority.ErrReused},
			{"one before the last, where one counts", authority.Password{New: []byte("correct horse"), Sealed: second, Reuse: 1}, nil},
			{"any, where none counts", authority.Password{New: []byte("battery staple"), Sealed: second}, nil},
			{"no password", authority.Password{Sealed: second}, authority.ErrBadRequest},
			{"an old one, and no record", authority.Password{New: []byte("x"), Old: []byte("y")}, authority.ErrBadRequest},
			{"a record that was changed", authority.Password{New: []byte("x"), Sealed: append(bytes.Clone(second[:len(second)-1]), second[len(second)-1]^1)}, authority.ErrBadRequest},
		} {
			if _, err := set(s.p); !errors.Is(err, s.want) {
				t.Errorf("%s: %v", s.name, err)
			}
		}
		if _, err := c.SetPassword(t.Context(), authority.Password{User: "AIDAOTHEROTHEROTHER12", New: []byte("x"), Sealed: second}); !errors.Is(err, authority.ErrBadRequest) {
			t.Errorf("the record of another user: %v", err)
		}
	})
}

func TestTheTwentyFifthPasswordForgetsTheFirst(t *testing.T) {
	if testing.Short() {
		t.Skip("hashes for a second")
	}
	c := inProcess(t, t.TempDir(), time.Now)
	var sealed []byte
	for i := range 25 {
		var err error
		if sealed, err = c.SetPassword(t.Context(), authority.Password{User: "u", Sealed: sealed, New: []byte(fmt.Sprint("password ", i)), Reuse: 24}); err != nil {
			t.Fatal(i, err)
		}
	}
	if _, err := c.SetPassword(t.Context(), authority.Password{User: "u", Sealed: sealed, New: []byte("password 1"), Reuse: 24}); !errors.Is(err, authority.ErrReused) {
		t.Errorf("the twenty-fourth last: %v", err)
	}
	if _, err := c.SetPassword(t.Context(), authority.Password{User: "u", Sealed: sealed, New: []byte("password 0"), Reuse: 24}); err != nil {
		t.Errorf("the twenty-fifth last: %v", err)
	}
}

func TestOldPasswordsAreNotGuessedFast(t *testing.T) {
	clk := clock.NewFake(noon)
	c := inProcess(t, t.TempDir(), clk.Now)
	sealed, err := c.SetPassword(t.Context(), authority.Password{User: "u", New: []byte("right")})
	if err != nil {
		t.Fatal(err)
	}
	change := func(old string) error {
		_, err := c.SetPassword(t.Context(), authority.Password{User: "u", New: []byte("next"), Old: []byte(old), Sealed: sealed})
		return err
	}
	for i := range 5 {
		if err := change(strings.Repeat("x", i+1)); !errors.Is(err, authority.ErrPassword) {
			t.Fatal(err)
		}
	}
	if err := change("right"); !errors.Is(err, authority.ErrPassword) {
		t.Errorf("at once: %v", err)
	}
	clk.Advance(30 * time.Second)
	if err := change("right"); err != nil {
		t.Errorf("after a while: %v", err)
	}
}

// Making a session with a second factor costs a durable write of what was used; there is no
// target: people type codes.
func BenchmarkIssueSessionWithFactor(b *testing.B) {
	clk := clock.NewFake(noon)
	c := inProcess(b, b.TempDir(), clk.Now)
	f, seed := newDevice(b, c)
	for b.Loop() {
		clk.Advance(30 * time.Second)
		claims := claimsFor(time.Hour)
		claims.Expires = clk.Now().Add(time.Hour)
		_, sec, _, err := c.IssueSessionWithFactor(b.Context(), claims, authority.Factor{Serial: serial, Sealed: f.Sealed, Code: codeAt(seed, clk.Now())})
		if err != nil {
			b.Fatal(err)
		}
		sec.Destroy()
	}
}
