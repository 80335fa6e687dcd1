package message_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

func external(iv, metadata, n int) message.ExternalBlob {
	return message.ExternalBlob{
		Material: [32]byte{1, 2, 3}, IV: bytes.Repeat([]byte{4}, iv), Tag: bytes.Repeat([]byte{5}, 16),
		Metadata: bytes.Repeat([]byte{6}, metadata), Ciphertext: bytes.Repeat([]byte{7}, n),
	}
}

func TestAnExternalBlobIsReadAsItWasWritten(t *testing.T) {
	for _, e := range []message.ExternalBlob{
		external(12, 0, message.BlobOverhead), external(16, 20, message.BlobOverhead+message.MaxPlaintext), external(12, 17, 118),
	} {
		b, err := message.AppendExternal(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > message.MaxBlob {
			t.Errorf("%d bytes", len(b))
		}
		got, err := message.ParseExternal(b)
		if err != nil {
			t.Fatal(err)
		}
		if len(e.Metadata) == 0 {
			got.Metadata, e.Metadata = nil, nil
		}
		if d := cmp.Diff(&e, got); d != "" {
			t.Error(d)
		}
		if _, err := message.MaterialOf(b); err == nil {
			t.Error("the HSM takes it for its own")
		}
	}
	for name, e := range map[string]message.ExternalBlob{
		"a vector of 13 bytes": external(13, 0, 118), "21 bytes of metadata": external(12, 21, 118),
		"less than a blob inside": external(12, 0, message.BlobOverhead-1), "more than one": external(12, 0, message.BlobOverhead+message.MaxPlaintext+1),
	} {
		if _, err := message.AppendExternal(nil, &e); err == nil {
			t.Errorf("%s is written", name)
		}
	}
}

func FuzzExternalBlob(f *testing.F) {
	for _, e := range []message.ExternalBlob{external(12, 0, 118), external(16, 20, 118)} {
		b, err := message.AppendExternal(nil, &e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:40])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := message.ParseExternal(b)
		if err != nil {
			return
		}
		again, err := message.AppendExternal(nil, e)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is read and written as %x, %v", b, again, err)
		}
	})
}
