package message_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

func TestAnswersAndRootsArriveAsTheyWereSent(t *testing.T) {
	a := message.Answer{Operation: "Decrypt", Key: "k", Time: 1, Serial: 2}
	a.Body[0], a.Envelope[31], a.Document[47], a.Domain[15] = 1, 2, 3, 4
	var b message.Answer
	if err := b.Parse(a.Append(nil)); err != nil || a != b {
		t.Errorf("%+v, %v", b, err)
	}
	for n := range len(a.Append(nil)) {
		if b.Parse(a.Append(nil)[:n]) == nil {
			t.Errorf("%d bytes of it parse", n)
		}
	}
	roots := []message.Root{{DER: []byte("a"), Name: "x", Tier: 3, Hosts: true}, {DER: []byte("b")}}
	if got, err := message.ParseRoots(message.AppendRoots(nil, roots)); err != nil || cmp.Diff(got, roots) != "" {
		t.Error(err, cmp.Diff(got, roots))
	}
	header := message.AnswerHeader(make([]byte, 16))
	h, p, s, err := message.SplitSigned(message.AppendSigned(nil, header, []byte("p"), []byte("s")))
	if err != nil || !bytes.Equal(h, header) || string(p) != "p" || string(s) != "s" {
		t.Errorf("%x %x %x %v", h, p, s, err)
	}
}

// FuzzAnswer: proofs are read by whoever receives them.
func FuzzAnswer(f *testing.F) {
	var a message.Answer
	f.Add(a.Append(nil))
	f.Add(message.AppendSigned(nil, message.AnswerHeader(nil), a.Append(nil), make([]byte, 96)))
	f.Add(message.AppendRoots(nil, []message.Root{{DER: []byte("a"), Name: "x", Tier: 3, Hosts: true}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a message.Answer
		if a.Parse(b) == nil && !bytes.Equal(a.Append(nil), b) {
			t.Errorf("%x is read and written as %x", b, a.Append(nil))
		}
		_, _, _, _ = message.SplitSigned(b)
		_, _ = message.ParseRoots(b)
	})
}
