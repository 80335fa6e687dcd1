package message

// BlobExternal is the type of a blob whose outer encryption is by an external
// key: hosts make and read it, the HSM never sees it.
const BlobExternal = 4

// An ExternalBlob is the ciphertext blob of a key in an external key store:
//
//	01 ‖ 04 ‖ material id[32] ‖ u8 length ‖ IV ‖ tag[16] ‖ u8 length ‖ metadata ‖ external ciphertext
//
// The external plaintext is the HSM's own blob, of type 02, whole; so its
// nonce and its key check are inside of the external encryption.
type ExternalBlob struct {
	Material   [32]byte
	IV         []byte // 12 or 16
	Tag        []byte // 16
	Metadata   []byte // up to 20
	Ciphertext []byte // as long as the HSM's blob
}

const (
	externalTag      = 16
	externalMetadata = 20
)

// IsExternal says whether a blob calls itself external.
func IsExternal(blob []byte) bool {
	return len(blob) >= 2 && blob[0] == BlobVersion && blob[1] == BlobExternal
}

func (e *ExternalBlob) valid() bool {
	return (len(e.IV) == 12 || len(e.IV) == 16) && len(e.Tag) == externalTag && len(e.Metadata) <= externalMetadata &&
		len(e.Ciphertext) >= BlobOverhead && len(e.Ciphertext) <= MaxPlaintext+BlobOverhead
}

// AppendExternal appends the encoded blob to b.
func AppendExternal(b []byte, e *ExternalBlob) ([]byte, error) {
	if !e.valid() {
		return b, ErrBlob
	}
	b = append(b, BlobVersion, BlobExternal)
	b = append(b, e.Material[:]...)
	b = append(append(b, byte(len(e.IV))), e.IV...)
	b = append(b, e.Tag...)
	b = append(append(b, byte(len(e.Metadata))), e.Metadata...)
	return append(b, e.Ciphertext...), nil
}

// ParseExternal reads a blob. The byte fields point into it.
func ParseExternal(blob []byte) (*ExternalBlob, error) {
	if !IsExternal(blob) || len(blob) < 35 || len(blob) > MaxBlob {
		return nil, ErrBlob
	}
	var e ExternalBlob
	copy(e.Material[:], blob[2:34])
	rest := blob[34:]
	take := func(n int) (v []byte, ok bool) {
		if len(rest) < n {
			return nil, false
		}
		v, rest = rest[:n], rest[n:]
		return v, true
	}
	sized := func() (v []byte, ok bool) {
		n, ok := take(1)
		if !ok {
			return nil, false
		}
		return take(int(n[0]))
	}
	var ok [3]bool
	e.IV, ok[0] = sized()
	e.Tag, ok[1] = take(externalTag)
	e.Metadata, ok[2] = sized()
	e.Ciphertext = rest
	if ok != [3]bool{true, true, true} || !e.valid() {
		return nil, ErrBlob
	}
	return &e, nil
}
