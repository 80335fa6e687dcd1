package core

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/leadglass/leadglass/cryptography/hsm/kdf"
	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// The exported key token of hsm-domain section 6:
//
//	"LGE1" ‖ dk id[8] ‖ u16be A ‖ attributes[A] ‖ KDF nonce[16] ‖ IV[12] ‖ ciphertext ‖ tag[16]
//
// key = KDF(DK, "leadglass ekt v1", KDF nonce); AAD = everything before IV.
const (
	ektMagic    = "LGE1"
	ektHeader   = len(ektMagic) + 8 + 2
	maxMaterial = 2560 // the PKCS#8 of an RSA-4096 key is about 2400 bytes long
	maxToken    = 8192 // of these, conditions and custodians take at most half
)

// attributes are what a token says of its key; the numbers are the map's keys.
type attributes struct {
	spec     string             // 1
	usage    string             // 2
	origin   string             // 3
	material [32]byte           // 4: material id
	name     string             // 5: key ARN, log name or account
	created  uint64             // 6: ms since 1970
	notAfter uint64             // 7: ms since 1970; 0: for ever
	role     string             // 8, condition 7: role that a host must have
	sealed   message.Conditions // 8, conditions 1 to 6, and 10, the custodians
	epoch    uint64             // 9: of the key's fence when the token was made
	foreign  bool               // there is something that this version cannot enforce
}

func (a *attributes) append(b []byte) []byte {
	n := 6
	conditions := a.role != "" || !a.sealed.Empty()
	for _, there := range [...]bool{a.notAfter > 0, conditions, a.epoch > 0, len(a.sealed.Custodians) > 0} {
		if there {
			n++
		}
	}
	b = link.AppendMap(b, n)
	b = link.AppendText(link.AppendUint(b, 1), a.spec)
	b = link.AppendText(link.AppendUint(b, 2), a.usage)
	b = link.AppendText(link.AppendUint(b, 3), a.origin)
	b = link.AppendBytes(link.AppendUint(b, 4), a.material[:])
	b = link.AppendText(link.AppendUint(b, 5), a.name)
	b = link.AppendUint(link.AppendUint(b, 6), a.created)
	b = link.AppendUintField(b, 7, a.notAfter)
	if conditions {
		b = a.sealed.AppendAttribute(link.AppendUint(b, 8), a.role)
	}
	b = link.AppendUintField(b, 9, a.epoch)
	return link.AppendBytesField(b, 10, a.sealed.Custodians)
}

// parse reads attributes. What it does not know (a later version's condition)
// makes the token foreign: it is not used, rather than used without what it
// demands.
func (a *attributes) parse(b []byte) bool {
	*a = attributes{}
	r := link.NewReader(b)
	last, custodians := uint64(0), false
	for n := r.Map(); n > 0 && !r.Failed(); n-- {
		last = r.Key(last)
		switch last {
		case 1:
			a.spec = r.Text()
		case 2:
			a.usage = r.Text()
		case 3:
			a.origin = r.Text()
		case 4:
			if copy(a.material[:], r.Bytes()) != len(a.material) {
				r.Fail()
			}
		case 5:
			a.name = r.Text()
		case 6:
			a.created = r.Uint()
		case 7:
			a.notAfter = r.Uint()
		case 8:
			var known bool
			a.role, custodians, known = a.sealed.ParseAttribute(r)
			a.foreign = a.foreign || !known
		case 9:
			a.epoch = r.Uint()
		case 10:
			a.sealed.Custodians = bytes.Clone(r.Bytes())
		default:
			a.foreign = true
			r.Raw()
		}
	}
	// A token that says in one place that custodians can loosen it and names none in the other was not made here.
	return r.Done() == nil && custodians == (len(a.sealed.Custodians) > 0)
}

// admits checks what is sealed into the token against this host and moment.
// It is not all that a use needs: see call.enforce.
func (a *attributes) admits(host *link.Peer, now time.Time) uint64 {
	switch {
	case a.foreign:
		return link.StatusDenied
	case a.notAfter > 0 && uint64(now.UnixMilli()) > a.notAfter:
		return link.StatusDenied
	case a.role != "" && !host.Has(a.role):
		return link.StatusDenied
	case a.role == "" && !host.Has(RoleHost):
		return link.StatusDenied
	}
	return link.StatusOK
}

// wrap makes the token of a key. material is neither kept nor changed.
func (d *domain) wrap(a *attributes, material []byte) ([]byte, error) {
	return d.wrapAs(a.append(nil), material)
}

// wrapAs is wrap for attributes that are encoded already.
func (d *domain) wrapAs(attrs, material []byte) ([]byte, error) {
	out := make([]byte, 0, ektHeader+len(attrs)+kdfNonce+len(material)+gcmOverhead)
	out = append(out, ektMagic...)
	out = append(out, d.active[:]...)
	out = binary.BigEndian.AppendUint16(out, uint16(len(attrs)))
	out = append(out, attrs...)
	out = appendRandom(out, kdfNonce)
	var key [32]byte
	defer secret.Wipe(key[:])
	if err := d.ektKey(&key, d.active, out[len(out)-kdfNonce:]); err != nil {
		return nil, err
	}
	aead, err := newGCM(key[:])
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, nil, material, out), nil
}

func (d *domain) ektKey(key *[32]byte, id dkID, nonce []byte) error {
	return d.derive(key, id, "leadglass ekt v1", nonce)
}

// derive makes a key of a domain key, for one purpose and one nonce.
func (d *domain) derive(key *[32]byte, id dkID, label string, nonce []byte) error {
	return d.keys[id].Use(func(dk []byte) error {
		kdf.Derive(key, dk, label, nonce)
		return nil
	})
}

// splitEKT reads the public part of a token.
func splitEKT(ekt []byte, a *attributes) (id dkID, aad []byte, ok bool) {
	if len(ekt) < ektHeader || len(ekt) > maxToken || !bytes.HasPrefix(ekt, []byte(ektMagic)) {
		return id, nil, false
	}
	copy(id[:], ekt[len(ektMagic):])
	end := ektHeader + int(binary.BigEndian.Uint16(ekt[ektHeader-2:]))
	if len(ekt) < end+kdfNonce+gcmOverhead || !a.parse(ekt[ektHeader:end]) {
		return id, nil, false
	}
	return id, ekt[:end+kdfNonce], true
}

// unseal opens a token into buf, which holds maxMaterial bytes and which the
// caller wipes. It says nothing of whether the key may be used: call.use does.
func (d *domain) unseal(ekt []byte, a *attributes, buf []byte) (material []byte, status uint64) {
	id, aad, ok := splitEKT(ekt, a)
	if !ok {
		return nil, link.StatusWrongToken
	}
	if d.keys[id] == nil {
		// A key of another domain, or one that this member has not heard of yet.
		return nil, link.StatusStale
	}
	if len(ekt)-len(aad)-gcmOverhead > maxMaterial {
		return nil, link.StatusWrongToken
	}
	var key [32]byte
	defer secret.Wipe(key[:])
	if err := d.ektKey(&key, id, aad[len(aad)-kdfNonce:]); err != nil {
		return nil, link.StatusInternal
	}
	aead, err := newGCM(key[:])
	if err != nil {
		return nil, link.StatusInternal
	}
	material, err = aead.Open(buf[:0], nil, ekt[len(aad):], aad)
	if err != nil {
		return nil, link.StatusWrongToken
	}
	// Only now are the attributes proven; before, they were the host's words.
	return material, link.StatusOK
}

// materialID is SHA-256("leadglass material v1\0" ‖ name ‖ 00 ‖
// HMAC-SHA-256(material, "leadglass fingerprint")): the same material in the
// same key has the same id, and the id says nothing of the material.
func materialID(name string, material []byte) (id [32]byte) {
	var fingerprint [32]byte
	key := material
	if len(key) > kdf.MaxKey { // as RFC 2104 has it
		sum := sha256.Sum256(material)
		defer secret.Wipe(sum[:])
		key = sum[:]
	}
	kdf.HMAC(&fingerprint, key, []byte("leadglass fingerprint"))
	b := append([]byte(name), 0)
	digest(id[:], "leadglass material v1\x00", append(b, fingerprint[:]...))
	return id
}

// isSymmetric says whether a token is of a key that encrypts blobs.
func (a *attributes) isSymmetric() bool {
	return a.spec == message.SpecSymmetric && a.usage == usageEncrypt
}

const (
	usageEncrypt = "ENCRYPT_DECRYPT"
	usageClose   = message.UsageClose // of a token by which a key is closed, and which opens nothing
)
