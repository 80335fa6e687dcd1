package quorum

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/asn1"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// The object identifiers of RFC 5480 section 2.1.1.
var (
	oidECPublicKey = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidP256        = asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}
	oidP384        = asn1.ObjectIdentifier{1, 3, 132, 0, 34}
)

func oidOf(curve elliptic.Curve) asn1.ObjectIdentifier {
	if curve == elliptic.P256() {
		return oidP256
	}
	return oidP384
}

// ParseSPKI reads the SubjectPublicKeyInfo of a key on P-256 or P-384 with an
// uncompressed point. It is written out because crypto/x509 links the network,
// which a boundary must not.
func ParseSPKI(curve elliptic.Curve, der []byte) (*ecdsa.PublicKey, error) {
	in := cryptobyte.String(der)
	var info, algorithm cryptobyte.String
	var kind, named asn1.ObjectIdentifier
	var point []byte
	if len(der) > maxPublic || !in.ReadASN1(&info, cryptobyte_asn1.SEQUENCE) || !in.Empty() ||
		!info.ReadASN1(&algorithm, cryptobyte_asn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&kind) ||
		!algorithm.ReadASN1ObjectIdentifier(&named) || !algorithm.Empty() ||
		!info.ReadASN1BitStringAsBytes(&point) || !info.Empty() ||
		!kind.Equal(oidECPublicKey) || !named.Equal(oidOf(curve)) {
		return nil, fmt.Errorf("%w: not the public key of this curve", ErrMalformed)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, fmt.Errorf("%w: not a point of this curve", ErrMalformed)
	}
	return key, nil
}

// MarshalSPKI writes what ParseSPKI reads.
func MarshalSPKI(key *ecdsa.PublicKey) ([]byte, error) {
	point, err := key.Bytes()
	if err != nil || key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
		return nil, fmt.Errorf("%w: not a key on P-256 or P-384", ErrMalformed)
	}
	var b cryptobyte.Builder
	b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidECPublicKey)
			b.AddASN1ObjectIdentifier(oidOf(key.Curve))
		})
		b.AddASN1BitString(point)
	})
	return b.Bytes()
}
