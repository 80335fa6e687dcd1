package tree_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"filippo.io/mldsa"

	"github.com/leadglass/leadglass/evidence/tree"
)

// A signer signs for one verifier.
type signer struct {
	v    *tree.Verifier
	sign func([]byte) []byte
}

func signers(t testing.TB, name string) (ed, pq signer, known []*tree.Verifier) {
	t.Helper()
	seed := sha256.Sum256([]byte("tree test"))
	edKey := ed25519.NewKeyFromSeed(seed[:])
	pqKey, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed[:])
	if err != nil {
		t.Fatal(err)
	}
	make := func(typ byte, key []byte) *tree.Verifier {
		v, err := tree.NewVerifier(name, typ, key)
		if err != nil {
			t.Fatal(err)
		}
		back, err := tree.ParseVerifier(v.String())
		if err != nil || back.String() != v.String() {
			t.Fatal(err)
		}
		known = append(known, v)
		return v
	}
	ed = signer{make(tree.TypeEd25519, edKey.Public().(ed25519.PublicKey)), func(m []byte) []byte { return ed25519.Sign(edKey, m) }}
	pq = signer{make(tree.TypeMLDSA44, pqKey.PublicKey().Bytes()), func(m []byte) []byte {
		s, err := pqKey.SignDeterministic(m, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}}
	return ed, pq, known
}

func sign(t testing.TB, c tree.Checkpoint, time uint64, by ...signer) []byte {
	t.Helper()
	out := append(c.Text(), '\n')
	for _, s := range by {
		m, err := s.v.Message(c.Text(), time)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s.v.Line(time, s.sign(m))...)
	}
	return out
}

func TestACheckpointNeedsItsSignatures(t *testing.T) {
	c := tree.Checkpoint{Origin: "audit.example/root", Size: 7, Root: tree.LeafHash(nil)}
	ed, pq, known := signers(t, c.Origin)
	stranger, _, _ := signers(t, "someone.else/log")
	whole := sign(t, c, 1700000000, ed, stranger, pq)
	got, n, err := tree.OpenCheckpoint(whole, c.Origin, known...)
	if err != nil || got != c || !n.SignedBy(known[0]) || !n.SignedBy(known[1]) || len(n.Verified) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if n.Verified[1].Time != 1700000000 {
		t.Error("the cosignature's time is lost")
	}
	if _, _, err := tree.OpenCheckpoint(whole, "another/log", known...); !errors.Is(err, tree.ErrProof) {
		t.Errorf("accepted as the checkpoint of another log: %v", err)
	}
	// A known key whose signature fails spoils the note, whatever else is signed.
	for _, old := range []string{ed.v.Line(0, ed.sign(c.Text()))} {
		broken := bytes.Replace(whole, []byte(old), []byte(ed.v.Line(0, ed.sign([]byte("x")))), 1)
		if _, _, err := tree.OpenCheckpoint(broken, c.Origin, known...); !errors.Is(err, tree.ErrProof) {
			t.Errorf("a failing signature is accepted: %v", err)
		}
	}
	for name, data := range map[string][]byte{
		"only strangers": sign(t, c, 1, stranger),
		"no signatures":  append(c.Text(), '\n'),
		"the text alone": c.Text(),
		"signed twice":   sign(t, c, 1, ed, ed),
		"no last line":   bytes.TrimSuffix(whole, []byte("\n")),
		"control bytes":  append([]byte("\t"), whole...),
		"no UTF-8":       append([]byte("\xff"), whole...),
	} {
		if _, _, err := tree.OpenCheckpoint(data, c.Origin, known...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// Lines of strangers are ignored, so a change there, and only there, may pass.
	from := bytes.Index(whole, []byte("\u2014 someone.else"))
	to := from + bytes.IndexByte(whole[from:], '\n')
	for i := range whole {
		whole[i] ^= 1
		_, n, err := tree.OpenCheckpoint(whole, c.Origin, known...)
		if err == nil && n.SignedBy(known[0]) && n.SignedBy(known[1]) && (i < from || i >= to) {
			t.Errorf("a change of byte %d is not noticed", i)
		}
		whole[i] ^= 1
	}
}

func TestACheckpointHasOneForm(t *testing.T) {
	root := tree.LeafHash(nil).String()
	for name, text := range map[string]string{
		"a leading zero":        "o\n07\n" + root + "\n",
		"a sign":                "o\n+7\n" + root + "\n",
		"no size":               "o\n\n" + root + "\n",
		"too large":             "o\n9223372036854775808\n" + root + "\n",
		"no origin":             "\n7\n" + root + "\n",
		"an extension":          "o\n7\n" + root + "\nmore\n",
		"no newline at the end": "o\n7\n" + root,
		"a short root":          "o\n7\n" + root[4:] + "\n",
		"loose base64":          "o\n7\n" + root[:42] + "1=\n",
		"an empty tree's root":  "o\n0\n" + root + "\n",
	} {
		if c, err := tree.ParseCheckpoint([]byte(text)); err == nil {
			t.Errorf("%s is read as %+v", name, c)
		}
	}
	if _, err := tree.ParseCheckpoint(tree.Checkpoint{Origin: "o", Root: tree.Empty}.Text()); err != nil {
		t.Error(err)
	}
}

func TestVerifierKeysHaveOneForm(t *testing.T) {
	_, _, known := signers(t, "name")
	v := known[0].String()
	for _, bad := range []string{
		"", "name", "name+00000000", strings.Replace(v, "name", "eman", 1), strings.Replace(v, "name", "na me", 1), v + "=", "name+" + strings.ToUpper(v[5:13]) + v[13:],
		v[:len(v)-4], strings.Replace(v, "name", "", 1),
	} {
		if bad == v {
			continue
		}
		if _, err := tree.ParseVerifier(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	if _, err := tree.NewVerifier("name", 0x02, make([]byte, 32)); err == nil {
		t.Error("an unknown type is accepted")
	}
}

func TestReceiptsVerifyForTheirEventOnly(t *testing.T) {
	ed, _, known := signers(t, "x")
	var entries []tree.Hash
	label := [32]byte{9}
	for i := range uint64(5) {
		entries = append(entries, tree.BatchEntry(label, i, tree.LeafHash(entry(int(i)))))
	}
	var b tree.Batch
	b.Reset(entries)
	r := tree.Receipt{Label: label, Index: 3, Leaf: tree.LeafHash(entry(3)), Batch: 77, Time: 1700000000000, Count: 5, Position: 3, Path: b.Path(3)}
	copy(r.Sig[:], ed.sign(tree.ReceiptMessage(77, r.Time, 5, b.Root())))
	back, err := tree.ParseReceiptString(r.String())
	if err != nil || fmt.Sprint(back) != fmt.Sprint(r) {
		t.Fatal(err)
	}
	if err := back.Verify(known[0].Key); err != nil {
		t.Fatal(err)
	}
	data := r.Append(nil)
	for i := range data {
		data[i] ^= 1
		if c, err := tree.ParseReceipt(data); err == nil && c.Verify(known[0].Key) == nil {
			t.Errorf("a receipt with byte %d changed verifies", i)
		}
		data[i] ^= 1
	}
	for i := range data {
		if _, err := tree.ParseReceipt(data[:i]); err == nil {
			t.Errorf("a receipt cut at %d is read", i)
		}
	}
}

func FuzzParsers(f *testing.F) {
	c := tree.Checkpoint{Origin: "o", Size: 7, Root: tree.LeafHash(nil)}
	ed, _, known := signers(f, "o")
	signed := sign(f, c, 1, ed)
	f.Add(signed)
	f.Add((&tree.ProofFile{Index: 3, Extra: []byte("{}"), Path: []tree.Hash{{1}}, Checkpoint: signed}).Append(nil))
	f.Add((&tree.Receipt{Count: 1}).Append(nil))
	f.Add((&tree.RootLeaf{Epoch: 1}).Append(nil))
	f.Add([]byte("tile/0/x001/067.p/3"))
	f.Add(tree.AppendEntry(nil, []byte("entry")))
	f.Add(append(make([]byte, 31), 1))
	f.Add([]byte(known[0].String()))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, _ = tree.OpenCheckpoint(b, "o", known...)
		if p, err := tree.ParseProofFile(b); err == nil && !bytes.Equal(p.Append(nil), b) {
			t.Error("a proof file has two forms")
		}
		if r, err := tree.ParseReceipt(b); err == nil {
			if !bytes.Equal(r.Append(nil), b) {
				t.Error("a receipt has two forms")
			}
			_ = r.Verify(known[0].Key)
		}
		if l, err := tree.ParseRootLeaf(b); err == nil && !bytes.Equal(l.Append(nil), b) {
			t.Error("a root leaf has two forms")
		}
		if tl, err := tree.ParseTile(string(b)); err == nil && tl.Path() != string(b) {
			t.Error("a tile has two names")
		}
		if v, err := tree.ParseVerifier(string(b)); err == nil && v.String() != string(b) {
			t.Error("a key has two forms")
		}
		if p, rest, err := tree.ParseMapProof(b); err == nil && !bytes.Equal(append(p.Append(nil), rest...), b) {
			t.Error("a map proof has two forms")
		}
		_, _ = tree.ParseEntries(b)
		_, _ = tree.ParseReceiptString(string(b))
	})
}
