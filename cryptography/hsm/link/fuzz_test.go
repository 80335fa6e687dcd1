package link_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/leadglass/leadglass/cryptography/boundary"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
)

// Whatever parses is what the encoder would have written: there is one form.
func FuzzMessages(f *testing.F) {
	f.Add([]byte{0xa2, 1, 4, 3, 0xa0})
	f.Add([]byte{0xa3, 1, 4, 2, 0x41, 7, 3, 0xa1, 1, 0x41, 9})
	f.Add([]byte{0xa1, 1, 8})
	f.Add([]byte{0xa2, 1, 0, 2, 0x82, 0x18, 24, 0xf5})
	f.Add([]byte{0x18, 23})
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := link.ParseRequest(b); err == nil {
			again := link.AppendMap(nil, 2)
			if r.Token != nil {
				again = link.AppendBytes(link.AppendUint(link.AppendUint(link.AppendUint(link.AppendMap(nil, 3), 1), r.Op), 2), r.Token)
			} else {
				again = link.AppendUint(link.AppendUint(again, 1), r.Op)
			}
			if again = append(link.AppendUint(again, 3), r.Params...); !bytes.Equal(again, b) {
				t.Errorf("request %x is %x again", b, again)
			}
		}
		if status, result, err := link.ParseAnswer(b); err == nil && result == nil {
			if again := link.AppendUint(link.AppendUint(link.AppendMap(nil, 1), 1), status); !bytes.Equal(again, b) {
				t.Errorf("answer %x is %x again", b, again)
			}
		}
		for _, parse := range []func([]byte) ([]byte, bool){link.ParseHello, link.ParseHelloOK} {
			if again, ok := parse(b); ok && !bytes.Equal(again, b) {
				t.Errorf("handshake %x is %x again", b, again)
			}
		}
		if n := link.Skip(b, 8); n < 0 || n > len(b) {
			t.Errorf("an item of %d bytes in %d", n, len(b))
		}
	})
}

// Any bytes on the socket end the connection or wait for more; nothing panics.
func FuzzServerFrames(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, 1, 0xa0})
	f.Add([]byte{0, 0, 0, 1, 3})
	f.Add(append([]byte{0, 0, 0, 60, 3}, make([]byte, 59)...))
	p := newPair(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs, err := boundary.SocketPair()
		if err != nil {
			t.Fatal(err)
		}
		defer theirs.Close()
		go func(c *os.File) {
			_, _ = c.Write(b)
			_ = c.Close()
		}(ours)
		_ = link.Serve(theirs, &p.server)
	})
}
