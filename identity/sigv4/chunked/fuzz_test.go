package chunked_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/leadglass/leadglass/identity/sigv4"
	"github.com/leadglass/leadglass/identity/sigv4/chunked"
)

// Whatever lies on the wire: no panic, no more content than announced, the
// same content by Read and by WriteTo and with any batch, and io.EOF only for a
// whole body.
func FuzzReader(f *testing.F) {
	content := pattern(9000)
	for i, form := range forms {
		var trailers [][2]string
		if strings.HasSuffix(form, "-TRAILER") {
			trailers = [][2]string{{"x-amz-checksum-crc32c", crc32c(content)}}
		}
		u := start(f, form, 9000, trailers...)
		f.Add(uint8(i), int64(9000), "x-amz-checksum-crc32c", u.body(content[:8500], content[8500:]))
		f.Add(uint8(i), int64(3), "a,b", []byte("3\nabc\n0\na:\nb: c\n\n"))
		f.Add(uint8(i), int64(0), "", []byte("0;chunk-signature=30**\r\n\r\n"))
	}
	f.Fuzz(func(t *testing.T, form uint8, length int64, names string, body []byte) {
		u := &upload{t: t, form: forms[int(form)%len(forms)], length: length, announce: []string{names}}
		if strings.ContainsAny(names, "\r\n\x00") {
			return
		}
		u.sign()
		plan, err := u.plan()
		if err != nil {
			return
		}
		// One verifier believes everything, so that the parser behind it is reached; the key's own believes only the seeds.
		for _, v := range []chunked.Verifier{yes{}, u.verifier()} {
			var first []byte
			var firstErr error
			for i, batch := range []int{0, 20_000} {
				open := func() *chunked.Reader {
					r, err := chunked.NewReader(t.Context(), bytes.NewReader(body), plan, u.parsed, chunked.Config{Verifier: v, Batch: batch})
					if err != nil {
						t.Fatal(err)
					}
					return r
				}
				r := open()
				got, err := io.ReadAll(struct{ io.Reader }{r})
				var out bytes.Buffer
				_, werr := open().WriteTo(&out)
				if !slices.Equal(got, out.Bytes()) || (err == nil) != (werr == nil) {
					t.Fatalf("Read: %d bytes, %v; WriteTo: %d bytes, %v", len(got), err, out.Len(), werr)
				}
				if int64(len(got)) > plan.Length || err == nil && (int64(len(got)) != plan.Length || r.Verified() != plan.Length) {
					t.Fatalf("%d bytes of %d, %d verified, %v", len(got), plan.Length, r.Verified(), err)
				}
				if _, refused := errors.AsType[*chunked.Error](err); err != nil && !refused {
					t.Fatal(err)
				}
				if i == 0 {
					first, firstErr = got, err
				} else if err == nil && !bytes.Equal(got, first) || (err == nil) != (firstErr == nil) || err != nil && err.Error() != firstErr.Error() {
					t.Fatalf("in batches %d bytes, %v; else %d bytes, %v", len(got), err, len(first), firstErr)
				}
			}
		}
	})
}

// Target: within 10 % of SHA-256 alone over the same content from the same
// source, for signed chunks with the key at hand; and memory that does not
// depend on the body (B/op is the same for both sizes). The unsigned form
// hashes nothing but its checksum and is only bound by memory.
func BenchmarkReader(b *testing.B) {
	const size = 32 << 20
	content := pattern(size)
	b.Run("SHA-256 alone", func(b *testing.B) { benchmarkHash(b, content) })
	for _, c := range []struct {
		name, form  string
		chunk, size int
		trailer     string
		batch       int
	}{
		{"signed, 64 KiB", sigv4.StreamingV4, 64 << 10, size, "", 0},
		{"signed, 64 KiB, 2 MiB in all", sigv4.StreamingV4, 64 << 10, 2 << 20, "", 0},
		{"signed, 8 KiB", sigv4.StreamingV4, 8 << 10, size, "", 0},
		{"signed, 1 MiB", sigv4.StreamingV4, 1 << 20, size, "", 0},
		{"signed, 64 KiB, in batches", sigv4.StreamingV4, 64 << 10, size, "", chunked.WitnessBatch},
		{"signed and CRC32C, 64 KiB", sigv4.StreamingV4Trailer, 64 << 10, size, "x-amz-checksum-crc32c", 0},
		{"SigV4A, 1 MiB", sigv4.StreamingV4A, 1 << 20, size, "", 0},
		{"unsigned and CRC32C, 1 MiB", sigv4.StreamingUnsignedTrailer, 1 << 20, size, "x-amz-checksum-crc32c", 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			content := content[:c.size]
			var trailers [][2]string
			if c.trailer != "" {
				trailers = [][2]string{{c.trailer, crc32c(content)}}
			}
			u := start(b, c.form, int64(len(content)), trailers...)
			body := u.body(split(content, c.chunk)...)
			plan, err := u.plan()
			if err != nil {
				b.Fatal(err)
			}
			source := bytes.NewReader(nil)
			b.SetBytes(int64(len(content)))
			b.ReportAllocs()
			for b.Loop() {
				source.Reset(body)
				r, err := chunked.NewReader(b.Context(), struct{ io.Reader }{source}, plan, u.parsed, chunked.Config{Verifier: u.verifier(), Batch: c.batch})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// benchmarkHash reads as one would without chunks: a piece, and its hash.
func benchmarkHash(b *testing.B, content []byte) {
	source := bytes.NewReader(nil)
	buf := make([]byte, 32<<10)
	h := sha256.New()
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		source.Reset(content)
		h.Reset()
		if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{source}, buf); err != nil {
			b.Fatal(err)
		}
	}
}
