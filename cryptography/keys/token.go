package keys

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
)

// A grant token names a key and a grant. It is no secret and proves nothing:
// grants are in force when CreateGrant returns, so a token has no gap to
// bridge, and whoever uses or retires a grant is authorised by the grant
// itself. The checksum only tells a mangled token from a good one.
//
//	01 | grant id (32) | random (16) | key id (text) | SHA-256 of the above and a label (first 8 bytes)
const tokenVersion = 1

var errToken = refuse(InvalidGrantToken, "Invalid grant token")

func makeToken(g *Grant) string {
	gid, _ := hex.DecodeString(g.ID) // made by us
	b := append([]byte{tokenVersion}, gid...)
	b = append(b, make([]byte, 16)...)
	rand.Read(b[33:49])
	b = append(b, g.KeyID...)
	return base64.StdEncoding.EncodeToString(append(b, tokenSum(b)...))
}

func tokenSum(b []byte) []byte {
	s := sha256.Sum256(append([]byte("leadglass grant token v1\x00"), b...))
	return s[:8]
}

// OpenToken reads which key and which grant a grant token is about. Whether
// the grant is still there is another question.
func OpenToken(token string) (keyID, grantID string, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(token)
	if err != nil || len(b) < 1+32+16+8 || b[0] != tokenVersion {
		return "", "", errToken
	}
	body, sum := b[:len(b)-8], b[len(b)-8:]
	if !bytes.Equal(tokenSum(body), sum) || !isKeyID(string(body[49:])) {
		return "", "", errToken
	}
	return string(body[49:]), hex.EncodeToString(body[1:33]), nil
}

// CheckTokens refuses tokens that are mangled, or that belong to none of the
// keys of a request. Tokens of revoked grants pass, and give nothing.
func CheckTokens(tokens []string, of ...*Key) error {
	for _, t := range tokens {
		keyID, _, err := OpenToken(t)
		if err != nil {
			return err
		}
		known := len(of) == 0
		for _, k := range of {
			known = known || k.ID == keyID
		}
		if !known {
			return errToken
		}
	}
	return nil
}
