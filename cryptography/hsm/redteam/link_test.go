package redteam_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/core"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

const (
	frameHello   = 1
	frameRequest = 3
)

// frames are the frames of a kind that the host wrote.
func (w *tap) frames(kind byte) (out [][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := slices.Concat(w.sent...)
	for len(b) > 5 {
		n := 4 + int(binary.BigEndian.Uint32(b))
		if b[4] == kind {
			out = append(out, bytes.Clone(b[:n]))
		}
		b = b[n:]
	}
	return out
}

// plays writes frames on a new connection to the HSM, and returns what it
// answers in a moment: nothing, but that it ends the connection or wants a
// session.
func (w *world) plays(frames ...[]byte) (answers []byte) {
	w.t.Helper()
	ours, theirs := net.Pipe()
	h := w.hsm
	ended := make(chan struct{})
	go func() {
		_ = h.Serve(theirs)
		_ = theirs.Close()
		close(ended)
	}()
	go func() {
		for _, f := range frames {
			if _, err := ours.Write(f); err != nil {
				return
			}
		}
	}()
	_ = ours.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	b := make([]byte, 1<<16)
	for {
		n, err := ours.Read(b)
		answers = append(answers, b[:n]...)
		if err != nil {
			break
		}
	}
	_ = ours.Close()
	<-ended
	return answers
}

// The attacker recorded what other hosts said to the HSM, and says it again.
// He has no host's key: each of them made its own in its own memory.
func TestRecordedFramesAreWorthNothing(t *testing.T) {
	w := newWorld(t)
	token := w.newKey("k")
	blob := w.must(message.OpEncrypt, token, message.Params{Data: []byte(canary)}).Blob
	before := w.status().Operations
	w.must(message.OpDecrypt, token, message.Params{Blob: blob})
	hellos, requests := w.wire.frames(frameHello), w.wire.frames(frameRequest)
	if len(hellos) != 1 || len(requests) < 3 {
		t.Fatalf("recorded %d and %d frames", len(hellos), len(requests))
	}
	last := requests[len(requests)-1]
	// In the same session, by writing into the wire: the counter was used, and the HSM ends the connection.
	if _, err := w.wire.Conn.Write(last); err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.front.Done():
	case <-time.After(10 * time.Second):
		t.Error("a counter that was used is used again")
	}
	if w.front, w.wire = w.dial(w.host); w.front == nil {
		t.Fatal("the host is not let in again")
	}
	for what, frames := range map[string][][]byte{
		"requests without a session":     requests,
		"a session and its requests":     append(slices.Clone(hellos), requests...),
		"the same request twice":         {hellos[0], last, last},
		"a HELLO with another's HELLO":   {hellos[0], hellos[0], last},
		"a request of a length too long": {{0xff, 0xff, 0xff, 0xff, frameRequest}},
	} {
		if got := w.plays(frames...); bytes.Contains(got, []byte(canary)) {
			t.Errorf("%s: he reads the canary", what)
		}
	}
	if after := w.status().Operations; after != before+2 { // Decrypt and one Status
		t.Errorf("%d operations were done, two were asked for", after-before)
	}
	for i := range 40 { // the rest is ciphertext and tag of one GCM
		bad := bytes.Clone(last)
		bad[i] ^= 1
		w.plays(hellos[0], bad)
	}
	if after := w.status().Operations; after != before+3 {
		t.Errorf("%d operations were done by changed frames", after-before-3)
	}
	if got := w.must(message.OpDecrypt, token, message.Params{Blob: blob}).Data; string(got) != canary {
		t.Errorf("the host itself reads %q", got)
	}
}

func (w *world) status() (s message.Status) {
	w.t.Helper()
	if err := s.Parse(w.must(message.OpStatus, nil, message.Params{}).Status); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// The attacker changes answers under way: the host takes none of them.
func TestChangedAnswersAreNotTaken(t *testing.T) {
	w := newWorld(t)
	token := w.newKey("k")
	blob := w.must(message.OpEncrypt, token, message.Params{Data: []byte(canary)}).Blob
	for at := range 60 {
		c, wire := w.dial(w.host)
		if c == nil {
			t.Fatal("not let in")
		}
		wire.mu.Lock()
		wire.change = func(read []byte) {
			if len(read) > at+5 {
				read[at+5] ^= 1
			}
		}
		wire.mu.Unlock()
		ctx, cancel := contextFor(t, 200*time.Millisecond)
		err := c.Call(ctx, message.OpDecrypt, token, (&message.Params{Blob: blob}).Append, func([]byte) error { return nil })
		cancel()
		if err == nil {
			t.Fatalf("an answer with byte %d changed is taken", at)
		}
	}
	c, _ := w.dial(w.host)
	if got := w.as(c).must(message.OpDecrypt, token, message.Params{Blob: blob}).Data; string(got) != canary {
		t.Errorf("untouched: %q", got)
	}
}

// A process beside the front has the sockets, and a host's key of its own; or
// it says that it is the HSM.
func TestStrangersAreNotLetInAndNotBelieved(t *testing.T) {
	w := newWorld(t)
	if c, _ := w.dial(newHost(t)); c != nil {
		t.Error("a host that nobody placed is let in")
	}
	// The authority does not see customers' keys.
	c, _ := w.dial(w.authority)
	if c == nil {
		t.Fatal("the authority is not let in")
	}
	token := w.newKey("k")
	blob := w.must(message.OpEncrypt, token, message.Params{Data: []byte(canary)}).Blob
	w.as(c).fails("Decrypt as the authority", message.OpDecrypt, token, message.Params{Blob: blob})
	w.fails("a key of the authority's role", message.OpGenerateKey, nil, message.Params{
		Spec: message.SpecSymmetric, Usage: message.UsageEncrypt, Origin: "AWS_KMS", Name: "authority", Role: core.RoleAuthority})
	// Another HSM in the place of this one: the host knows whom it expects.
	other := newWorld(t)
	ours, theirs := net.Pipe()
	ended := make(chan struct{})
	go func() { _ = other.hsm.Serve(theirs); _ = theirs.Close(); close(ended) }()
	server, err := link.ParsePublic(w.hsm.Identity())
	if err != nil {
		t.Fatal(err)
	}
	if c, err := link.Dial(t.Context(), ours, link.ClientConfig{Host: other.host, Server: server, Now: w.now}); err == nil {
		_ = c.Close()
		t.Error("the host believes another HSM")
	}
	<-ended
	if got := w.must(message.OpDecrypt, token, message.Params{Blob: blob}).Data; string(got) != canary {
		t.Errorf("the host itself reads %q", got)
	}
}

// A session that was opened before is of no use after its hour, and the
// attacker's clock is not asked.
func TestASessionEnds(t *testing.T) {
	w := newWorld(t)
	token := w.newKey("k")
	recorded := w.wire.frames(frameRequest)
	w.sleep(2 * time.Hour)
	before := len(w.wire.frames(frameHello))
	w.must(message.OpEncrypt, token, message.Params{Data: []byte("x")})
	if after := len(w.wire.frames(frameHello)); after != before+1 {
		t.Errorf("two hours later %d handshakes were made, want %d", after, before+1)
	}
	operations := w.status().Operations
	if _, err := w.wire.Conn.Write(recorded[0]); err != nil {
		t.Fatal(err)
	}
	if got := w.status().Operations; got != operations+1 {
		t.Errorf("%d operations, want one", got-operations)
	}
}
