package kv_test

import (
	"slices"
	"strconv"
	"testing"

	"github.com/leadglass/leadglass/state/kv"
	"github.com/leadglass/leadglass/state/kv/memory"
)

func TestPagesAreOfOneRevisionAndOfThePrefixAlone(t *testing.T) {
	s := memory.Open()
	defer s.Close()
	put := func(k kv.Key) {
		t.Helper()
		if _, err := s.Commit(t.Context(), nil, []kv.Op{{Key: k, Value: []byte{1}}}); err != nil {
			t.Fatal(err)
		}
	}
	under := kv.Table('T').Text("in")
	var want []string
	for i := range 7 {
		k := under.Text(strconv.Itoa(i))
		put(k)
		want = append(want, string(k))
	}
	put(kv.Table('T').Text("inside"))
	put(kv.Table('U').Text("in"))

	var got []string
	var sizes []int
	for page, err := range kv.Pages(t.Context(), s, under, 3) {
		if err != nil {
			t.Fatal(err)
		}
		if len(sizes) == 0 {
			put(under.Text("9")) // later than what is being read
		}
		sizes = append(sizes, len(page))
		for _, e := range page {
			got = append(got, string(e.Key))
		}
	}
	if !slices.Equal(got, want) || !slices.Equal(sizes, []int{3, 3, 1}) {
		t.Errorf("pages of %v entries: %q", sizes, got)
	}
	for range kv.Pages(t.Context(), s, under, 3) {
		break // a reader may stop
	}
	s.Close()
	ended := 0
	for page, err := range kv.Pages(t.Context(), s, under, 3) {
		if ended++; err == nil || page != nil {
			t.Errorf("of a closed store: %v, %v", page, err)
		}
	}
	if ended != 1 {
		t.Errorf("an error was given %d times", ended)
	}
}
