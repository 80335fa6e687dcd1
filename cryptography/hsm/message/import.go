package message

import "time"

// ImportLifetime is how long an import token is good for (kms-api section 10).
const ImportLifetime = 24 * time.Hour

// OriginExternal is the origin of a key whose material its owner imported.
const OriginExternal = "EXTERNAL"

// Algorithms by which imported key material is wrapped (kms-api section 10).
// RSAES_PKCS1_V1_5 is none of them: its padding can be probed.
const (
	WrapOAEP1   = "RSAES_OAEP_SHA_1"
	WrapOAEP256 = "RSAES_OAEP_SHA_256"
	WrapAES1    = "RSA_AES_KEY_WRAP_SHA_1"
	WrapAES256  = "RSA_AES_KEY_WRAP_SHA_256"
)
