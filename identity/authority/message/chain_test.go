package message_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/leadglass/leadglass/identity/authority/message"
)

func decodeLinks(b []byte) (links []message.Link, err error) {
	err = message.DecodeLinks(b, func(l *message.Link) bool {
		links = append(links, message.Link{Trailer: l.Trailer, Hash: l.Hash, Signature: bytes.Clone(l.Signature)})
		return true
	})
	return links, err
}

func TestLinksSurviveTheWire(t *testing.T) {
	want := []message.Link{{Hash: [32]byte{1}, Signature: make([]byte, 32)}, {Hash: [32]byte{2}, Signature: []byte{0x30, 6}}, {Trailer: true, Signature: []byte{1}}}
	b, err := message.EncodeLinks(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeLinks(b)
	if err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%s%v", cmp.Diff(want, got), err)
	}
	seen := 0
	if err := message.DecodeLinks(b, func(*message.Link) bool { seen++; return false }); err != nil || seen != 1 {
		t.Errorf("stopped after %d, %v", seen, err)
	}
	for n := range b {
		if _, err := decodeLinks(b[:n]); err == nil {
			t.Errorf("the first %d bytes were accepted", n)
		}
	}
	if _, err := decodeLinks(append(slices.Clone(b), 0)); err == nil {
		t.Error("a byte more was accepted")
	}
	for _, n := range []int{0, message.MaxLinks + 1} {
		if _, err := message.EncodeLinks(slices.Repeat(want[:1], n)); err == nil {
			t.Errorf("%d links were encoded", n)
		}
	}
}

func FuzzLinks(f *testing.F) {
	b, err := message.EncodeLinks([]message.Link{{Signature: make([]byte, 32)}, {Trailer: true, Signature: []byte{0x30, 0}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		links, err := decodeLinks(b)
		if err != nil {
			return
		}
		again, err := message.EncodeLinks(links)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is not the one encoding of its links (%x, %v)", b, again, err)
		}
	})
}
