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
	maxToken    = 4096
)

// attributes are what a token says of its key; the numbers are the map's keys.
type attributes struct {
	spec     string   // 1
	usage    string   // 2
	origin   string   // 3
	material [32]byte // 4: material id
	name     string   // 5: key ARN, log name or account
	created  uint64   // 6: ms since 1970
	notAfter uint64   // 7: ms since 1970; 0: for ever
	role     string   // 8: sealed conditions; here {7: role that a host must have}
	foreign  bool     // 8 has a condition that this version cannot enforce
}

// conditionRole is the number of our condition in attribute 8; 1 to 6 are
// those of hsm-domain section 6.
const conditionRole = 7

func (a *attributes) append(b []byte) []byte {
	n := 6
	if a.notAfter > 0 {
		n++
	}
	if a.role != "" {
		n++
	}
	b = link.AppendMap(b, n)
	b = link.AppendText(link.AppendUint(b, 1), a.spec)
	b = link.AppendText(link.AppendUint(b, 2), a.usage)
	b = link.AppendText(link.AppendUint(b, 3), a.origin)
	b = link.AppendBytes(link.AppendUint(b, 4), a.material[:])
	b = link.AppendText(link.AppendUint(b, 5), a.name)
	b = link.AppendUint(link.AppendUint(b, 6), a.created)
	if a.notAfter > 0 {
		b = link.AppendUint(link.AppendUint(b, 7), a.notAfter)
	}
	if a.role != "" {
		b = link.AppendMap(link.AppendUint(b, 8), 1)
		b = link.AppendText(link.AppendUint(b, conditionRole), a.role)
	}
	return b
}

// parse reads attributes. What it does not know (a fence, a custodian, another
// condition) makes the token foreign: it is not used, rather than used without
// what it demands.
func (a *attributes) parse(b []byte) bool {
	*a = attributes{}
	r := link.NewReader(b)
	last := uint64(0)
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
			a.conditions(r)
		default:
			a.foreign = true
			r.Raw()
		}
	}
	return r.Done() == nil
}

func (a *attributes) conditions(r *link.Reader) {
	last := uint64(0)
	for n := r.Map(); n > 0 && !r.Failed(); n-- {
		if last = r.Key(last); last == conditionRole {
			a.role = r.Text()
		} else {
			a.foreign = true
			r.Raw()
		}
	}
}

// usable checks what is sealed into the token against this call.
func (a *attributes) usable(host *link.Peer, now time.Time) uint64 {
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
	return d.keys[id].Use(func(dk []byte) error {
		kdf.Derive(key, dk, "leadglass ekt v1", nonce)
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

// unwrap opens a token into buf, which holds maxMaterial bytes and which the
// caller wipes, and checks that this host may use it now.
func (d *domain) unwrap(ekt []byte, a *attributes, host *link.Peer, now time.Time, buf []byte) (material []byte, status uint64) {
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
	return material, a.usable(host, now)
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

const usageEncrypt = "ENCRYPT_DECRYPT"
