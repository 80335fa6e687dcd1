package chunked_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/identity/sigv4"
	"github.com/leadglass/leadglass/identity/sigv4/chunked"
)

type vector struct {
	Name        string
	Credentials struct {
		ID     string `json:"access_key_id"`
		Secret string `json:"secret_access_key"`
	}
	Region, Service, Timestamp, Method, Path string
	Headers                                  map[string]string
	StringToSign                             string `json:"string_to_sign"`
	Seed                                     string `json:"seed_signature"`
	Authorization                            string
	Chunks                                   []struct {
		Len          int    `json:"chunk_data_len"`
		Byte         string `json:"chunk_data_byte"`
		StringToSign string `json:"string_to_sign"`
		Signature    string
		Header       string `json:"chunk_header"`
	}
	Trailers            [][2]string
	TrailerBlock        string `json:"trailer_canonical_block"`
	TrailerStringToSign string `json:"trailer_string_to_sign"`
	TrailerSignature    string `json:"trailer_signature"`
	WireTail            string `json:"wire_tail"`

	// The unsigned form.
	Sha256  string `json:"x-amz-content-sha256"`
	Trailer string `json:"x-amz-trailer"`
	Decoded string `json:"decoded_body"`
	Wire    string `json:"wire_body"`
	Expect  struct {
		OK     bool
		Error  string
		Status int
	}
}

func TestVectors(t *testing.T) {
	dirs := []string{filepath.Join("..", "..", "..", "testdata", "vectors", "sigv4")}
	if extra := os.Getenv("LEADGLASS_EXTRA_VECTORS"); extra != "" {
		dirs = append(dirs, filepath.Join(extra, "sigv4"))
	}
	for i, dir := range dirs {
		b, err := os.ReadFile(filepath.Join(dir, "chunked.json"))
		if err != nil {
			if i == 0 {
				t.Fatal(err)
			}
			continue
		}
		var f struct{ Cases []vector }
		if err := json.Unmarshal(b, &f); err != nil {
			t.Fatal(err)
		}
		if i == 0 && len(f.Cases) < 5 {
			t.Fatalf("only %d cases", len(f.Cases))
		}
		for _, v := range f.Cases {
			t.Run(v.Name, func(t *testing.T) {
				if v.Wire != "" || v.Sha256 == sigv4.StreamingUnsignedTrailer {
					v.unsigned(t)
				} else {
					v.signed(t)
				}
			})
		}
	}
}

func (v *vector) unsigned(t *testing.T) {
	u := (&upload{t: t, form: v.Sha256, length: int64(len(v.Decoded)), announce: strings.Split(v.Trailer, ",")}).sign()
	got, err := io.ReadAll(u.open(strings.NewReader(v.Wire), chunked.Config{}))
	switch {
	case v.Expect.OK && (err != nil || string(got) != v.Decoded):
		t.Errorf("%q, %v", got, err)
	case !v.Expect.OK && !is(err, v.Expect.Error, v.Expect.Status):
		t.Errorf("%v, want %s %d", err, v.Expect.Error, v.Expect.Status)
	}
}

func (v *vector) signed(t *testing.T) {
	r := &sigv4.Request{Method: v.Method, Target: v.Path, ContentLength: -1, Header: map[string][]string{}}
	var names []string
	for name, value := range v.Headers {
		names = append(names, strings.ToLower(name))
		if r.Header[textproto.CanonicalMIMEHeaderKey(name)] = []string{value}; strings.EqualFold(name, "host") {
			r.Host = value
		}
	}
	if v.Authorization == "" {
		u := sigv4.Signer{AccessKeyID: v.Credentials.ID, SecretAccessKey: []byte(v.Credentials.Secret), Region: v.Region, Service: v.Service}
		at, err := time.Parse("20060102T150405Z", v.Timestamp)
		if err != nil {
			t.Fatal(err)
		}
		if err := u.Sign(r, nil, at); err != nil {
			t.Fatal(err)
		}
	} else {
		r.Header["Authorization"] = []string{v.Authorization}
	}
	p, err := sigv4.Parse(r)
	if err != nil {
		t.Fatal(err, names)
	}
	sts, _, err := p.StringToSign(r, nil, nil)
	if err != nil || string(sts) != v.StringToSign {
		t.Fatalf("string to sign\n%s\nwant\n%s\n%v", sts, v.StringToSign, err)
	}
	key := sigv4.SigningKey([]byte(v.Credentials.Secret), p.Date, v.Region, v.Service)
	if hex.EncodeToString(p.Signature[:]) != v.Seed || !sigv4.Verify(&key, sts, &p.Signature) {
		t.Fatalf("seed %x, want %s", p.Signature, v.Seed)
	}
	// Texts first, byte for byte.
	var content bytes.Buffer
	var wire strings.Builder
	previous := p.Signature[:]
	link := func(trailer bool, data []byte, want, signature string) {
		l := chunked.Link{Trailer: trailer, Hash: [32]byte(unhex(t, sum(data))), Signature: unhex(t, signature)}
		if got := chunked.AppendStringToSign(nil, p, previous, &l); string(got) != want {
			t.Errorf("string to sign\n%s\nwant\n%s", got, want)
		}
		previous = l.Signature
	}
	for _, c := range v.Chunks {
		data := bytes.Repeat([]byte(c.Byte), c.Len)
		link(false, data, c.StringToSign, c.Signature)
		content.Write(data)
		wire.WriteString(c.Header)
		if len(data) > 0 {
			wire.WriteString(string(data) + "\r\n")
		}
	}
	if v.TrailerSignature != "" {
		link(true, []byte(v.TrailerBlock), v.TrailerStringToSign, v.TrailerSignature)
		for _, tr := range v.Trailers {
			wire.WriteString(tr[0] + ":" + tr[1] + "\r\n")
		}
		wire.WriteString("x-amz-trailer-signature:" + v.TrailerSignature + "\r\n")
	}
	wire.WriteString("\r\n")
	if !strings.HasSuffix(wire.String(), v.WireTail) {
		t.Errorf("the body ends in %q, want %q", wire.String()[wire.Len()-len(v.WireTail):], v.WireTail)
	}
	// Then the body.
	plan, err := chunked.NewPlan(p, r)
	if err != nil {
		t.Fatal(err)
	}
	in, err := chunked.NewReader(t.Context(), strings.NewReader(wire.String()), plan, p, chunked.Config{Verifier: chunked.Key(p, &key)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(in)
	if err != nil || !bytes.Equal(got, content.Bytes()) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for _, tr := range v.Trailers {
		if in.Trailers()[tr[0]] != tr[1] {
			t.Errorf("trailers %v, want %v", in.Trailers(), v.Trailers)
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
