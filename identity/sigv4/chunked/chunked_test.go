package chunked_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsv4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/leadglass/leadglass/identity/sigv4"
	"github.com/leadglass/leadglass/identity/sigv4/chunked"
)

var forms = []string{
	sigv4.StreamingV4, sigv4.StreamingV4Trailer, sigv4.StreamingV4A, sigv4.StreamingV4ATrailer, sigv4.StreamingUnsignedTrailer,
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func crc32c(b []byte) string {
	return b64(binary.BigEndian.AppendUint32(nil, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))))
}

// open opens a reader over a body; nothing may be wrong yet.
func (u *upload) open(body io.Reader, cfg chunked.Config) *chunked.Reader {
	u.t.Helper()
	plan, err := u.plan()
	if err != nil {
		u.t.Fatal(err)
	}
	if cfg.Verifier == nil && u.signed() {
		cfg.Verifier = u.verifier()
	}
	r, err := chunked.NewReader(u.t.Context(), body, plan, u.parsed, cfg)
	if err != nil {
		u.t.Fatal(err)
	}
	return r
}

func TestEveryFormIsReadInEveryWay(t *testing.T) {
	content := pattern(200_000)
	for _, form := range forms {
		for _, size := range []int{8192, 65536, 100_000, 1 << 20} {
			for _, eol := range []string{"\r\n", "\n"} {
				var trailers [][2]string
				if strings.HasSuffix(form, "-TRAILER") {
					trailers = [][2]string{{"X-Amz-Meta-Z", " last "}, {"x-amz-checksum-crc32c", crc32c(content)}}
				}
				u := start(t, form, int64(len(content)), trailers...)
				u.eol = eol
				body := u.body(split(content, size)...)
				for way, in := range map[string]func() io.Reader{
					"at once":              func() io.Reader { return bytes.NewReader(body) },
					"byte by byte":         func() io.Reader { return iotest.OneByteReader(bytes.NewReader(body)) },
					"by halves":            func() io.Reader { return iotest.HalfReader(bytes.NewReader(body)) },
					"with the end's error": func() io.Reader { return iotest.DataErrReader(bytes.NewReader(body)) },
					"through a small pipe": func() io.Reader { return io.LimitReader(bytes.NewReader(body), int64(len(body))) },
				} {
					name := fmt.Sprintf("%s, chunks of %d ended by %q, %s", form, size, eol, way)
					for _, batch := range []int{0, 50_000, chunked.WitnessBatch} {
						r := u.open(in(), chunked.Config{Batch: batch})
						var out bytes.Buffer
						n, err := io.Copy(&out, r) // WriteTo
						if err != nil || n != int64(len(content)) || !bytes.Equal(out.Bytes(), content) || r.Verified() != n {
							t.Fatalf("%s: %d bytes, %d verified, %v", name, n, r.Verified(), err)
						}
						r = u.open(in(), chunked.Config{Batch: batch})
						got, err := io.ReadAll(struct{ io.Reader }{r})
						if err != nil || !bytes.Equal(got, content) || r.Verified() != int64(len(content)) {
							t.Fatalf("%s, by Read: %d bytes, %d verified, %v", name, len(got), r.Verified(), err)
						}
						for _, tr := range trailers {
							if v := r.Trailers()[strings.ToLower(tr[0])]; v != strings.TrimSpace(tr[1]) {
								t.Errorf("%s: trailer %s is %q", name, tr[0], v)
							}
						}
						if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
							t.Errorf("%s: after the end %d, %v", name, n, err)
						}
					}
				}
			}
		}
	}
}

func TestAnEmptyBodyHasItsSignatureToo(t *testing.T) {
	for _, form := range forms {
		u := start(t, form, 0)
		r := u.open(bytes.NewReader(u.body()), chunked.Config{})
		if n, err := io.Copy(io.Discard, r); n != 0 || err != nil {
			t.Errorf("%s: %d, %v", form, n, err)
		}
		if !u.signed() {
			continue
		}
		wrong := bytes.Replace(u.body(), []byte("signature="), []byte("signature=0"), 1)
		wrong = append(wrong[:27], wrong[28:]...) // one digit too many became none
		if _, err := io.Copy(io.Discard, u.open(bytes.NewReader(wrong), chunked.Config{})); !is(err, "SignatureDoesNotMatch", 403) {
			t.Errorf("%s: a changed signature gave %v", form, err)
		}
	}
}

func is(err error, code string, status int) bool {
	e, ok := errors.AsType[*chunked.Error](err)
	return ok && e.Code == code && e.Status == status
}

// A mutation makes a wrong body of the parts of a right one: three chunks of
// 10,000 bytes, and the end.
type mutation struct {
	name   string
	forms  string // substring of those it applies to
	edit   func(u *upload, parts []string) string
	code   string
	status int
}

func join(parts ...string) string { return strings.Join(parts, "") }

func swapByte(s string, at int) string {
	b := []byte(s)
	b[at] ^= 1
	return string(b)
}

// third is one of the three chunks of a right body.
func third(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 10000) }

const (
	anySigned   = "AWS4"
	anyTrailer  = "-TRAILER"
	signatureIs = "chunk-signature="
)

var mutations = []mutation{
	{"a changed byte of content", anySigned, func(_ *upload, p []string) string { return join(p[0], swapByte(p[1], len(p[1])-10), p[2], p[3]) }, "SignatureDoesNotMatch", 403},
	{"a changed byte of the last chunk", anySigned, func(_ *upload, p []string) string { return join(p[0], p[1], swapByte(p[2], len(p[2])-10), p[3]) }, "SignatureDoesNotMatch", 403},
	{"a changed signature", anySigned, func(_ *upload, p []string) string {
		return join(p[0], swapHex(p[1], strings.Index(p[1], signatureIs)+30), p[2], p[3])
	}, "SignatureDoesNotMatch", 403},
	{"a changed signature of the end", anySigned, func(_ *upload, p []string) string {
		return join(p[0], p[1], p[2], swapHex(p[3], strings.Index(p[3], signatureIs)+30))
	}, "SignatureDoesNotMatch", 403},
	{"chunks in another order", anySigned, func(_ *upload, p []string) string { return join(p[1], p[0], p[2], p[3]) }, "SignatureDoesNotMatch", 403},
	{"a chunk twice", anySigned, func(_ *upload, p []string) string { return join(p[0], p[0], p[2], p[3]) }, "SignatureDoesNotMatch", 403},
	{"a chunk left out", anySigned, func(_ *upload, p []string) string { return join(p[0], p[2], p[3]) }, "SignatureDoesNotMatch", 403},
	{"the end too early", anySigned, func(_ *upload, p []string) string { return join(p[0], p[1], p[3]) }, "IncompleteBody", 400},
	{"a chunk of another upload", anySigned, func(u *upload, p []string) string {
		other := *u
		other.seed = bytes.Clone(u.seed)
		other.seed[0] ^= 1
		return join(p[0], other.parts(third(0), third(1))[1], p[2], p[3])
	}, "SignatureDoesNotMatch", 403},
	{"no signature", anySigned, func(_ *upload, p []string) string {
		return join(p[0], "2710\r\n"+p[1][strings.Index(p[1], "\n")+1:], p[2], p[3])
	}, "InvalidRequest", 400},
	{"another extension", anySigned, func(_ *upload, p []string) string {
		return join(p[0], strings.Replace(p[1], signatureIs, "chunk-sig=", 1), p[2], p[3])
	}, "InvalidRequest", 400},
	{"two extensions", anySigned, func(_ *upload, p []string) string {
		return join(p[0], strings.Replace(p[1], "\r\n", ";a=b\r\n", 1), p[2], p[3])
	}, "SignatureDoesNotMatch", 403},
	{"a short signature", anySigned, func(_ *upload, p []string) string {
		at := strings.Index(p[1], signatureIs) + len(signatureIs)
		return join(p[0], p[1][:at]+p[1][at+1:], p[2], p[3])
	}, "SignatureDoesNotMatch", 403},
	{"an empty signature", anySigned, func(_ *upload, p []string) string {
		return join(p[0], "2710;"+signatureIs+"\r\n"+p[1][strings.Index(p[1], "\n")+1:], p[2], p[3])
	}, "SignatureDoesNotMatch", 403},
	{"an upper-case signature", anySigned, func(_ *upload, p []string) string {
		head, rest, _ := strings.Cut(p[1], "\r\n")
		head, sig, _ := strings.Cut(head, "=")
		return join(p[0], head+"="+strings.ToUpper(sig)+"\r\n"+rest, p[2], p[3])
	}, "SignatureDoesNotMatch", 403},
	{"a signature in the unsigned form", "UNSIGNED", func(_ *upload, p []string) string {
		return join(p[0], strings.Replace(p[1], "\r\n", ";"+signatureIs+sigv4.EmptyHash+"\r\n", 1), p[2], p[3])
	}, "InvalidRequest", 400},
	{"changed content in the unsigned form", "UNSIGNED", func(_ *upload, p []string) string { return join(p[0], swapByte(p[1], 100), p[2], p[3]) }, "BadDigest", 400},
	{"content in another order in the unsigned form", "UNSIGNED", func(_ *upload, p []string) string { return join(p[1], p[0], p[2], p[3]) }, "BadDigest", 400},

	{"no size", "", func(_ *upload, p []string) string { return join(p[0], "x", p[1][4:], p[2], p[3]) }, "InvalidRequest", 400},
	{"a size with a sign", "", func(_ *upload, p []string) string { return join(p[0], "+", p[1], p[2], p[3]) }, "InvalidRequest", 400},
	{"a size with a prefix", "", func(_ *upload, p []string) string { return join(p[0], "0x", p[1], p[2], p[3]) }, "InvalidRequest", 400},
	{"a size of controls", "", func(_ *upload, p []string) string { return join(p[0], "\x12\x17\x11\x10", p[1][4:], p[2], p[3]) }, "InvalidRequest", 400},
	{"a size with a blank", "", func(_ *upload, p []string) string { return join(p[0], "2710 ", p[1][4:], p[2], p[3]) }, "InvalidRequest", 400},
	{"a size beyond all numbers", "", func(_ *upload, p []string) string { return join(p[0], strings.Repeat("f", 16), p[1][4:], p[2], p[3]) }, "InvalidRequest", 400},
	{"a size beyond the announced length", "", func(_ *upload, p []string) string { return join(p[0], strings.Repeat("f", 15), p[1][4:], p[2], p[3]) }, "IncompleteBody", 400},
	{"an empty line first", "", func(_ *upload, p []string) string { return join("\r\n", p[0], p[1], p[2], p[3]) }, "InvalidRequest", 400},
	{"a size line without end", "", func(_ *upload, p []string) string { return join(p[0], strings.Repeat("0", 5000), p[1], p[2], p[3]) }, "InvalidRequest", 400},
	{"no line end behind a chunk", "", func(_ *upload, p []string) string { return join(p[0], p[1][:len(p[1])-2], p[2], p[3]) }, "InvalidRequest", 400},
	{"more content than the size says", "", func(_ *upload, p []string) string { return join(p[0], p[1][:len(p[1])-2], "x\r\n", p[2], p[3]) }, "InvalidRequest", 400},
	{"something behind the end", "", func(_ *upload, p []string) string { return join(p[0], p[1], p[2], p[3], "x") }, "InvalidRequest", 400},
	{"a second body behind the end", "", func(_ *upload, p []string) string { return join(p[0], p[1], p[2], p[3], p[0]) }, "InvalidRequest", 400},
	{"nothing", "", func(*upload, []string) string { return "" }, "IncompleteBody", 400},
	{"the end missing", "", func(_ *upload, p []string) string { return join(p[0], p[1], p[2]) }, "IncompleteBody", 400},
	{"cut in a size", "", func(_ *upload, p []string) string { return join(p[0], p[1][:2]) }, "IncompleteBody", 400},
	{"cut in the content", "", func(_ *upload, p []string) string { return join(p[0], p[1][:500]) }, "IncompleteBody", 400},
	{"cut before the last line end", "", func(_ *upload, p []string) string { return join(p[0], p[1], p[2], p[3][:len(p[3])-2]) }, "IncompleteBody", 400},

	{"a small chunk before the last", "", func(u *upload, _ []string) string {
		return string(u.body(third(0), third(1)[:8191], pattern(11809)))
	}, "InvalidChunkSizeError", 403},
	{"more content than announced", "", func(u *upload, _ []string) string {
		return string(u.body(third(0), third(1), append(third(2), 99)))
	}, "IncompleteBody", 400},
	{"less content than announced", "", func(u *upload, _ []string) string {
		return string(u.body(third(0), third(1), third(2)[:9999]))
	}, "IncompleteBody", 400},

	{"trailers where there are none", "-PAYLOAD", func(_ *upload, p []string) string {
		return join(p[0], p[1], p[2], p[3][:len(p[3])-2], "a:b\r\n\r\n")
	}, "InvalidRequest", 400},
	{"a trailer of another name", anyTrailer, func(u *upload, _ []string) string {
		other := *u
		other.trailers = [][2]string{{"x-amz-checksum-crc32", u.trailers[0][1]}, u.trailers[1]}
		return string(other.body(third(0), third(1), third(2)))
	}, "MalformedTrailerError", 400},
	{"a trailer more than announced", anyTrailer, func(u *upload, _ []string) string {
		other := *u
		other.trailers = append(other.trailers[:2:2], [2]string{"x-amz-meta-b", "c"})
		return string(other.body(third(0), third(1), third(2)))
	}, "MalformedTrailerError", 400},
	{"a trailer less than announced", anyTrailer, func(u *upload, _ []string) string {
		other := *u
		other.trailers = other.trailers[:1]
		return string(other.body(third(0), third(1), third(2)))
	}, "MalformedTrailerError", 400},
	{"a trailer twice", anyTrailer, func(u *upload, p []string) string {
		return join(p[0], p[1], p[2], strings.Replace(p[3], "x-amz-meta-a:b\r\n", "x-amz-meta-a:b\r\nx-amz-meta-a:b\r\n", 1))
	}, "MalformedTrailerError", 400},
	{"a trailer without a colon", anyTrailer, func(u *upload, p []string) string {
		return join(p[0], p[1], p[2], strings.Replace(p[3], "x-amz-meta-a:b", "x-amz-meta-a b", 1))
	}, "MalformedTrailerError", 400},
	{"a trailer without end", anyTrailer, func(u *upload, p []string) string {
		return join(p[0], p[1], p[2], strings.Replace(p[3], "a:b", "a:"+strings.Repeat("b", 5000), 1))
	}, "InvalidRequest", 400},
	{"trailers without end", anyTrailer, func(u *upload, p []string) string {
		var many strings.Builder
		for i := range 100 {
			fmt.Fprintf(&many, "x-amz-meta-%d:b\r\n", i)
		}
		return join(p[0], p[1], p[2], strings.Replace(p[3], "x-amz-meta-a:b\r\n", many.String(), 1))
	}, "MalformedTrailerError", 400},
	{"a wrong checksum", anyTrailer, func(u *upload, _ []string) string {
		other := *u
		other.trailers = [][2]string{{u.trailers[0][0], "AAAAAA=="}, u.trailers[1]}
		return string(other.body(third(0), third(1), third(2)))
	}, "BadDigest", 400},
	{"a checksum that is none", anyTrailer, func(u *upload, _ []string) string {
		other := *u
		other.trailers = [][2]string{{u.trailers[0][0], "AAAA"}, u.trailers[1]}
		return string(other.body(third(0), third(1), third(2)))
	}, "InvalidRequest", 400},
	{"no signature of the trailers", "256-PAYLOAD-TRAILER", func(_ *upload, p []string) string {
		return join(p[0], p[1], p[2], p[3][:strings.Index(p[3], "x-amz-trailer-signature")], "\r\n")
	}, "MalformedTrailerError", 400},
	{"a changed trailer", "256-PAYLOAD-TRAILER", func(_ *upload, p []string) string {
		return join(p[0], p[1], p[2], strings.Replace(p[3], "x-amz-meta-a:b", "x-amz-meta-a:c", 1))
	}, "SignatureDoesNotMatch", 403},
	{"a changed signature of the trailers", "256-PAYLOAD-TRAILER", func(_ *upload, p []string) string {
		return join(p[0], p[1], p[2], swapHex(p[3], strings.Index(p[3], "trailer-signature:")+40))
	}, "SignatureDoesNotMatch", 403},
	{"a short signature of the trailers", "256-PAYLOAD-TRAILER", func(_ *upload, p []string) string {
		return join(p[0], p[1], p[2], strings.Replace(p[3], "trailer-signature:", "trailer-signature:0", 1))
	}, "SignatureDoesNotMatch", 403},
	{"a trailer behind their signature", "256-PAYLOAD-TRAILER", func(_ *upload, p []string) string {
		end := strings.Replace(p[3], "x-amz-meta-a:b\r\n", "", 1)
		return join(p[0], p[1], p[2], end[:len(end)-2], "x-amz-meta-a:b\r\n\r\n")
	}, "MalformedTrailerError", 400},
	{"a signature of the trailers in the unsigned form", "UNSIGNED", func(_ *upload, p []string) string {
		return join(p[0], p[1], p[2], p[3][:len(p[3])-2], "x-amz-trailer-signature:"+sigv4.EmptyHash+"\r\n\r\n")
	}, "MalformedTrailerError", 400},
}

// swapHex replaces a digit by another.
func swapHex(s string, at int) string {
	b := []byte(s)
	if b[at] == '0' {
		b[at] = '1'
	} else {
		b[at] = '0'
	}
	return string(b)
}

func TestRefusals(t *testing.T) {
	content := slices.Concat(third(0), third(1), third(2))
	for _, form := range forms {
		var trailers [][2]string
		if strings.HasSuffix(form, "-TRAILER") {
			trailers = [][2]string{{"x-amz-checksum-crc32c", crc32c(content)}, {"x-amz-meta-a", "b"}}
		}
		u := start(t, form, 30000, trailers...)
		for _, m := range mutations {
			if m.forms == "-PAYLOAD" && !strings.HasSuffix(form, m.forms) || !strings.Contains(form, m.forms) {
				continue
			}
			t.Run(form+"/"+m.name, func(t *testing.T) {
				u := *u
				u.t = t
				body := m.edit(&u, u.parts(third(0), third(1), third(2)))
				for _, batch := range []int{0, chunked.WitnessBatch} {
					r := u.open(strings.NewReader(body), chunked.Config{Batch: batch})
					var out bytes.Buffer
					_, err := io.Copy(&out, struct{ io.Reader }{r})
					if !is(err, m.code, m.status) {
						t.Errorf("got %v, want %s %d", err, m.code, m.status)
					}
					if u.signed() && (!bytes.HasPrefix(content, out.Bytes()) || r.Verified() < int64(out.Len())) {
						t.Errorf("%d bytes were given out, %d verified, before %v", out.Len(), r.Verified(), err)
					}
					if r.Trailers() != nil {
						t.Error("there are trailers of a refused body")
					}
					if n, again := r.Read(make([]byte, 10)); n != 0 || again != err {
						t.Errorf("read again: %d, %v", n, again)
					}
				}
			})
		}
	}
}

func TestRefusalsOfPlans(t *testing.T) {
	for _, c := range []struct {
		name   string
		form   string
		extra  map[string][]string
		names  []string
		code   string
		status int
	}{
		{"a length in words", sigv4.StreamingV4, map[string][]string{"X-Amz-Decoded-Content-Length": {"many"}}, nil, "InvalidArgument", 400},
		{"a negative length", sigv4.StreamingV4, map[string][]string{"X-Amz-Decoded-Content-Length": {"-1"}}, nil, "InvalidArgument", 400},
		{"a length beyond all numbers", sigv4.StreamingV4, map[string][]string{"X-Amz-Decoded-Content-Length": {strings.Repeat("9", 30)}}, nil, "InvalidArgument", 400},
		{"two lengths", sigv4.StreamingV4, map[string][]string{"X-Amz-Decoded-Content-Length": {"1", "1"}}, nil, "InvalidArgument", 400},
		{"no length", sigv4.StreamingV4, map[string][]string{"X-Amz-Decoded-Content-Length": nil}, nil, "MissingContentLength", 411},
		{"trailers that the form does not have", sigv4.StreamingV4, nil, []string{"x-amz-meta-a"}, "MalformedTrailerError", 400},
		{"a trailer announced twice", sigv4.StreamingV4Trailer, nil, []string{"a", "A"}, "MalformedTrailerError", 400},
		{"an unknown checksum", sigv4.StreamingV4Trailer, nil, []string{"x-amz-checksum-md4"}, "InvalidRequest", 400},
		{"two checksums", sigv4.StreamingUnsignedTrailer, nil, []string{"x-amz-checksum-crc32", "x-amz-checksum-sha1"}, "InvalidRequest", 400},
		{"the trailers' own signature", sigv4.StreamingV4Trailer, nil, []string{"x-amz-trailer-signature"}, "InvalidRequest", 400},
		{"a name that is none", sigv4.StreamingV4Trailer, nil, []string{"a b"}, "InvalidRequest", 400},
		{"an empty name", sigv4.StreamingV4Trailer, nil, []string{"a", "", "b"}, "InvalidRequest", 400},
		{"names without end", sigv4.StreamingV4Trailer, nil, strings.Split("a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", ","), "InvalidRequest", 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := (&upload{t: t, form: c.form, eol: "\r\n", extra: c.extra, announce: c.names}).sign()
			if _, err := u.plan(); !is(err, c.code, c.status) {
				t.Errorf("got %v, want %s %d", err, c.code, c.status)
			}
		})
	}
	u := start(t, sigv4.StreamingV4, 0)
	plain := *u.parsed
	plain.PayloadHash = sigv4.EmptyHash
	if _, err := chunked.NewPlan(&plain, u.request); err == nil {
		t.Error("a plain body has a plan")
	}
	plan, err := u.plan()
	if err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []chunked.Config{{}, {Verifier: u.verifier(), Batch: -1}, {Verifier: u.verifier(), Batch: chunked.MaxHold + 1}} {
		if _, err := chunked.NewReader(t.Context(), bytes.NewReader(nil), plan, u.parsed, cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

func TestTheContentEncodingThatIsStored(t *testing.T) {
	for _, c := range []struct {
		sent []string
		kept string
	}{
		{nil, ""}, {[]string{"aws-chunked"}, ""}, {[]string{"gzip,aws-chunked"}, "gzip"}, {[]string{"AWS-Chunked, gzip"}, "gzip"},
		{[]string{"aws-chunked", "gzip", "br"}, "gzip,br"}, {[]string{"gzip"}, "gzip"},
	} {
		u := (&upload{t: t, form: sigv4.StreamingV4, extra: map[string][]string{"Content-Encoding": c.sent}}).sign()
		if plan, err := u.plan(); err != nil || plan.ContentEncoding != c.kept {
			t.Errorf("%q: %+v, %v", c.sent, plan, err)
		}
	}
}

func TestChecksums(t *testing.T) {
	content := []byte("123456789")
	one, two := sha1.Sum(content), sha256.Sum256(content)
	for name, want := range map[string]string{
		// The check values of the CRC catalogue.
		"crc32":     b64([]byte{0xcb, 0xf4, 0x39, 0x26}),
		"crc32c":    b64([]byte{0xe3, 0x06, 0x92, 0x83}),
		"crc64nvme": b64([]byte{0xae, 0x8b, 0x14, 0x86, 0x0a, 0x79, 0x98, 0x88}),
		"sha1":      b64(one[:]),
		"sha256":    b64(two[:]),
	} {
		for _, form := range []string{sigv4.StreamingV4Trailer, sigv4.StreamingUnsignedTrailer} {
			u := start(t, form, 9, [2]string{"x-amz-checksum-" + name, want})
			if _, err := io.Copy(io.Discard, u.open(bytes.NewReader(u.body(content)), chunked.Config{})); err != nil {
				t.Errorf("%s of %s: %v", name, form, err)
			}
			if _, err := io.Copy(io.Discard, u.open(bytes.NewReader(u.body([]byte("123456788"))), chunked.Config{})); !is(err, "BadDigest", 400) {
				t.Errorf("%s of other content in %s: %v", name, form, err)
			}
		}
	}
}

// Bodies as botocore 1.43.11 writes them (AwsChunkedWrapper).
func TestBodiesOfBotocore(t *testing.T) {
	for _, c := range []struct{ trailer, body, content string }{
		{"x-amz-checksum-crc32", "2328\r\n" + strings.Repeat("hello botocore", 1000)[:9000] + "\r\n1388\r\n" + strings.Repeat("hello botocore", 1000)[9000:] +
			"\r\n0\r\nx-amz-checksum-crc32:HhNanw==\r\n\r\n", strings.Repeat("hello botocore", 1000)},
		{"x-amz-checksum-sha256", "5\r\nhello\r\n0\r\nx-amz-checksum-sha256:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=\r\n\r\n", "hello"},
		{"x-amz-checksum-sha256", "0\r\nx-amz-checksum-sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\r\n\r\n", ""},
	} {
		u := (&upload{t: t, form: sigv4.StreamingUnsignedTrailer, length: int64(len(c.content)), announce: []string{c.trailer}}).sign()
		got, err := io.ReadAll(u.open(strings.NewReader(c.body), chunked.Config{}))
		if err != nil || string(got) != c.content {
			t.Errorf("%s: %d bytes, %v", c.trailer, len(got), err)
		}
	}
}

// The AWS SDK signs the request and, with what signs its event streams, the
// chunks: a chunk is an event without headers.
func TestChunksSignedByTheSDKVerify(t *testing.T) {
	content := pattern(70_000)
	u := start(t, sigv4.StreamingV4, int64(len(content)))
	creds := aws.Credentials{AccessKeyID: akid, SecretAccessKey: secret}
	signer := awsv4.NewStreamSigner(creds, "s3", "us-east-1", u.seed)
	var body strings.Builder
	for _, chunk := range append(split(content, 30_000), nil) {
		sig, err := signer.GetSignature(context.Background(), nil, chunk, now)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&body, "%X;chunk-signature=%s\r\n%s\r\n", len(chunk), hex.EncodeToString(sig), chunk)
	}
	got, err := io.ReadAll(u.open(strings.NewReader(body.String()), chunked.Config{}))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// counting tells how it was asked; it knows when not to answer.
type counting struct {
	chunked.Verifier
	calls, links, most int
	err                error
}

func (c *counting) Verify(ctx context.Context, previous []byte, links []chunked.Link) (bool, error) {
	c.calls++
	c.links += len(links)
	c.most = max(c.most, len(links))
	if c.err != nil {
		return false, c.err
	}
	return c.Verifier.Verify(ctx, previous, links)
}

func TestAWitnessIsAskedForManyChunksAtOnce(t *testing.T) {
	for _, c := range []struct{ size, batch, calls, most int }{
		{64 << 10, 0, 129, 1},
		{64 << 10, chunked.WitnessBatch, 9, 16},
		{8 << 10, chunked.WitnessBatch, 9, 128},
		{8 << 10, chunked.MaxHold, 5, chunked.MaxLinks}, // 1025 links
		{1 << 20, chunked.WitnessBatch, 9, 1},
	} {
		content := pattern(8 << 20)
		u := start(t, sigv4.StreamingV4, int64(len(content)))
		v := &counting{Verifier: u.verifier()}
		r := u.open(bytes.NewReader(u.body(split(content, c.size)...)), chunked.Config{Verifier: v, Batch: c.batch})
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%+v: %d bytes, %v", c, len(got), err)
		}
		if want := len(content)/c.size + 1; v.calls != c.calls || v.links != want || v.most != c.most {
			t.Errorf("%+v: %d calls for %d links, at most %d, want %d", c, v.calls, v.links, v.most, want)
		}
	}
}

func TestAWitnessThatDoesNotAnswerIsNoRefusal(t *testing.T) {
	gone := errors.New("gone")
	u := start(t, sigv4.StreamingV4A, 10)
	r := u.open(bytes.NewReader(u.body([]byte("0123456789"))), chunked.Config{Verifier: &counting{err: gone}})
	got, err := io.ReadAll(r)
	if _, refused := errors.AsType[*chunked.Error](err); !errors.Is(err, gone) || refused || len(got) > 0 {
		t.Errorf("%q, %v", got, err)
	}
}

func TestAConnectionThatFailsIsNoRefusal(t *testing.T) {
	gone := errors.New("gone")
	u := start(t, sigv4.StreamingV4, 20_000)
	body := u.body(pattern(20_000))
	for _, at := range []int{0, 10, 100, 5000, len(body) - 1, len(body)} {
		r := u.open(io.MultiReader(bytes.NewReader(body[:at]), iotest.ErrReader(gone)), chunked.Config{})
		got, err := io.ReadAll(r)
		if _, refused := errors.AsType[*chunked.Error](err); !errors.Is(err, gone) || refused {
			t.Errorf("after %d bytes: %d, %v", at, len(got), err)
		}
	}
	r := u.open(io.MultiReader(bytes.NewReader(body[:100]), iotest.ErrReader(io.ErrUnexpectedEOF)), chunked.Config{})
	if _, err := io.ReadAll(r); !is(err, "IncompleteBody", 400) {
		t.Errorf("a body that was cut: %v", err)
	}
}

// A writer that fails stops WriteTo with its own error.
func TestAStoreThatFailsIsNoRefusal(t *testing.T) {
	u := start(t, sigv4.StreamingV4, 20_000)
	r := u.open(bytes.NewReader(u.body(pattern(20_000))), chunked.Config{})
	full := errors.New("full")
	pr, pw := io.Pipe()
	pr.CloseWithError(full)
	if n, err := r.WriteTo(pw); n != 0 || !errors.Is(err, full) {
		t.Errorf("%d, %v", n, err)
	}
}

// Beyond MaxHold a chunk cannot be held back; then Verified tells.
func TestAHugeChunkIsGivenOutButNotVouchedFor(t *testing.T) {
	small, huge := pattern(10_000), pattern(chunked.MaxHold+1)
	u := start(t, sigv4.StreamingV4, int64(2*len(small)+len(huge)))
	parts := u.parts(small, huge, small)
	for _, way := range []string{"Read", "WriteTo"} {
		for _, batch := range []int{0, chunked.WitnessBatch} {
			wrong := swapByte(parts[1], len(parts[1])-100)
			r := u.open(strings.NewReader(join(parts[0], wrong, parts[2], parts[3])), chunked.Config{Batch: batch})
			var out bytes.Buffer
			var err error
			if way == "Read" {
				_, err = io.Copy(&out, struct{ io.Reader }{r})
			} else {
				_, err = r.WriteTo(&out)
			}
			if !is(err, "SignatureDoesNotMatch", 403) || r.Verified() != int64(len(small)) || out.Len() != len(small)+len(huge) {
				t.Errorf("%s: %d bytes given, %d verified, %v", way, out.Len(), r.Verified(), err)
			}
			r = u.open(strings.NewReader(join(parts...)), chunked.Config{Batch: batch})
			n, err := io.Copy(io.Discard, r)
			if err != nil || n != r.Verified() || n != int64(2*len(small)+len(huge)) {
				t.Errorf("%s: the right one: %d, %v", way, n, err)
			}
		}
	}
	// One of exactly MaxHold is held back.
	u = start(t, sigv4.StreamingV4, chunked.MaxHold)
	body := u.body(huge[:chunked.MaxHold])
	body[len(body)/2] ^= 1
	if n, err := io.Copy(io.Discard, u.open(bytes.NewReader(body), chunked.Config{})); n != 0 || !is(err, "SignatureDoesNotMatch", 403) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestMemoryDoesNotGrowWithTheBody(t *testing.T) {
	for _, form := range forms {
		measure := func(size int) uint64 {
			content := pattern(size)
			u := start(t, form, int64(size))
			body := u.body(split(content, 64<<10)...)
			// ECDSA verification allocates inside the library, so of it only the reader's own memory is looked at.
			r := u.open(bytes.NewReader(body), chunked.Config{Verifier: &counting{Verifier: yes{}}, Batch: 256 << 10})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err := io.Copy(io.Discard, r); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			return after.TotalAlloc - before.TotalAlloc
		}
		if small, large := measure(1<<20), measure(16<<20); large > small+64<<10 {
			t.Errorf("%s: %d bytes of memory for 1 MiB, %d for 16 MiB", form, small, large)
		}
	}
}

// yes believes everything.
type yes struct{}

func (yes) Verify(context.Context, []byte, []chunked.Link) (bool, error) { return true, nil }
