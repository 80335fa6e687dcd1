package message

import "github.com/leadglass/leadglass/cryptography/hsm/link"

// Key specs of asymmetric and HMAC keys, by AWS's names (kms-api section 3).
const (
	SpecRSA2048   = "RSA_2048"
	SpecRSA3072   = "RSA_3072"
	SpecRSA4096   = "RSA_4096"
	SpecP256      = "ECC_NIST_P256"
	SpecP384      = "ECC_NIST_P384"
	SpecP521      = "ECC_NIST_P521"
	SpecSecp256k1 = "ECC_SECG_P256K1"
	SpecEd25519   = "ECC_NIST_EDWARDS25519"
	SpecHMAC224   = "HMAC_224"
	SpecHMAC256   = "HMAC_256"
	SpecHMAC384   = "HMAC_384"
	SpecHMAC512   = "HMAC_512"
	SpecMLDSA44   = "ML_DSA_44"
	SpecMLDSA65   = "ML_DSA_65"
	SpecMLDSA87   = "ML_DSA_87"
)

// Key usages.
const (
	UsageEncrypt = "ENCRYPT_DECRYPT"
	UsageSign    = "SIGN_VERIFY"
	UsageMac     = "GENERATE_VERIFY_MAC"
	UsageClose   = "CLOSE" // of no key: of a token that only RaiseFence takes (hsm.Client.ClosingToken)
	UsageAgree   = "KEY_AGREEMENT"
)

// Message types of Sign and Verify.
const (
	MessageRaw        = "RAW"
	MessageDigest     = "DIGEST"
	MessageExternalMu = "EXTERNAL_MU"
)

const (
	// MaxMessage is what one Sign or GenerateMac takes (kms-api section 4).
	MaxMessage = 4096
	// MaxPeer is the longest SPKI that DeriveSharedSecret looks at.
	MaxPeer = 1024
)

const (
	paramSpec      = 7
	paramRecipient = 17
	paramProof     = 18
	paramAlg       = 19
	paramToAlg     = 22
)

// Asymmetric says whether encoded parameters name a key spec other than the
// symmetric one, a recipient, a proof, or an algorithm by its name: then the operation is
// one of public-key cryptography, which takes a hundred times as long. It looks at
// nothing else, so that a symmetric operation pays almost nothing for the
// question.
func Asymmetric(params []byte) bool {
	r := link.NewReader(params)
	last := uint64(0)
	for n := r.Map(); n > 0 && !r.Failed(); n-- {
		last = r.Key(last)
		switch {
		case last == paramSpec:
			if spec := r.Text(); spec != SpecSymmetric && spec != "" {
				return true
			}
		case last == paramRecipient, last == paramProof, last == paramAlg, last == paramToAlg:
			return true
		case last > paramToAlg:
			return false
		default:
			r.Raw()
		}
	}
	return false
}
