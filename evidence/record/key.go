package record

import (
	"crypto/hmac"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// A KeyRecord carries one data key, wrapped for the account's audit key
// (section 4). It is the blob of a leaf of kind KeyRecords.
type KeyRecord struct {
	KeyID     [16]byte
	NotBefore uint64 // ms since 1970
	Enc, CT   []byte // HPKE encapsulation and ciphertext
}

// Append writes the record.
func (k *KeyRecord) Append(dst []byte) []byte {
	dst = append(dst, "LGK1"...)
	dst = append(dst, k.KeyID[:]...)
	dst = binary.BigEndian.AppendUint64(dst, k.NotBefore)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(k.Enc)))
	dst = append(dst, k.Enc...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(k.CT)))
	return append(dst, k.CT...)
}

// ParseKeyRecord reads a key record; its slices point into b.
func ParseKeyRecord(b []byte) (*KeyRecord, error) {
	bad := fmt.Errorf("%w: no key record", ErrMalformed)
	if len(b) < 30 || string(b[:4]) != "LGK1" {
		return nil, bad
	}
	k := &KeyRecord{KeyID: [16]byte(b[4:]), NotBefore: binary.BigEndian.Uint64(b[20:])}
	b = b[28:]
	for _, out := range []*[]byte{&k.Enc, &k.CT} {
		if len(b) < 2 {
			return nil, bad
		}
		n := int(binary.BigEndian.Uint16(b))
		if len(b) < 2+n {
			return nil, bad
		}
		*out, b = b[2:2+n], b[2+n:]
	}
	if len(b) != 0 {
		return nil, bad
	}
	return k, nil
}

// KeyInfo is the HPKE info under which a data key is wrapped; it binds the
// wrapped key to its account and id.
func KeyInfo(account string, keyID [16]byte) []byte {
	return append(append([]byte("leadglass/audit/dek/v1"), account...), keyID[:]...)
}

// WrapKey wraps a data key for the account's public audit key: HPKE base mode
// (RFC 9180 section 5.1.1) with MLKEM768-X25519, HKDF-SHA256, AES-256-GCM.
// Only the holder of the account's private key, which never leaves the HSM,
// can open it; the writer needs no secret to make one.
func WrapKey(public []byte, account string, keyID [16]byte, notBefore uint64, dek []byte) (*KeyRecord, error) {
	pk, err := hpke.MLKEM768X25519().NewPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("record: audit key: %w", err)
	}
	enc, sender, err := hpke.NewSender(pk, hpke.HKDFSHA256(), hpke.AES256GCM(), KeyInfo(account, keyID))
	if err != nil {
		return nil, fmt.Errorf("record: wrap data key: %w", err)
	}
	ct, err := sender.Seal(nil, dek)
	if err != nil {
		return nil, fmt.Errorf("record: wrap data key: %w", err)
	}
	return &KeyRecord{keyID, notBefore, enc, ct}, nil
}

// Label is the name of an account in the root log's map (section 7). Without
// the salt nobody can tell whose it is.
func Label(salt []byte, account string) (label [32]byte) {
	m := hmac.New(sha256.New, salt)
	m.Write([]byte("leadglass/label/v1"))
	m.Write([]byte(account))
	m.Sum(label[:0])
	return label
}

// An AccountKey is the file that an account's principals keep to check and
// read their log offline. The verifiers prove the log, the salt proves that
// the log is this account's, and the data keys open its events: whoever has
// this file reads the whole log up to its making, so it is kept like a secret.
type AccountKey struct {
	Format  string    `json:"format"`  // AccountKeyFormat
	Account string    `json:"account"` // 12 digits
	Domain  string    `json:"domain"`  // audit domain: origins are <domain>/root and <domain>/a/<label>
	Salt    []byte    `json:"salt"`
	Logs    []string  `json:"logs"`           // vkeys of the account log and the root log
	Keys    []DataKey `json:"keys,omitempty"` // without them the log is checked but not read
}

// AccountKeyFormat is the first member of every account key file.
const AccountKeyFormat = "leadglass/account-key/v1"

// A DataKey is an opened data key.
type DataKey struct {
	ID  string `json:"id"` // hex
	Key []byte `json:"key"`
}

// ParseAccountKey reads an account key file.
func ParseAccountKey(data []byte) (*AccountKey, error) {
	k := new(AccountKey)
	if err := json.Unmarshal(data, k); err != nil || k.Format != AccountKeyFormat {
		return nil, fmt.Errorf("%w: no account key file", ErrMalformed)
	}
	if len(k.Account) != 12 || len(k.Salt) != 32 || k.Domain == "" || len(k.Logs) == 0 {
		return nil, fmt.Errorf("%w: account key file is incomplete", ErrMalformed)
	}
	return k, nil
}

// Openers are the openers of all data keys by id.
func (k *AccountKey) Openers() (map[[16]byte]*Opener, error) {
	m := make(map[[16]byte]*Opener, len(k.Keys))
	for _, d := range k.Keys {
		id, err := hex.DecodeString(d.ID)
		if err != nil || len(id) != 16 {
			return nil, fmt.Errorf("%w: id of a data key", ErrMalformed)
		}
		o, err := NewOpener(k.Account, [16]byte(id), d.Key)
		if err != nil {
			return nil, err
		}
		m[[16]byte(id)] = o
	}
	return m, nil
}

// Label is the account's label.
func (k *AccountKey) Label() [32]byte { return Label(k.Salt, k.Account) }

// Origin is the origin of the account's log.
func (k *AccountKey) Origin() string { return Origin(k.Domain, k.Label()) }

// RootOrigin is the origin of the deployment's root log.
func (k *AccountKey) RootOrigin() string { return RootOrigin(k.Domain) }

// Origin is the origin line of an account's log (section 6).
func Origin(domain string, label [32]byte) string {
	return domain + "/a/" + hex.EncodeToString(label[:])
}

// RootOrigin is the origin line of a deployment's root log (section 6).
func RootOrigin(domain string) string { return domain + "/root" }
