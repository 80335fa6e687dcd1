package keys

import (
	"slices"
	"strings"
)

// Usages of keys; the first is in record.go.
const (
	UsageSign  = "SIGN_VERIFY"
	UsageMac   = "GENERATE_VERIFY_MAC"
	UsageAgree = "KEY_AGREEMENT"
)

// A kind is what a key spec is at all: an alias moves only within one
// (kms-api section 4).
type kind uint8

const (
	symmetricKind kind = iota + 1
	asymmetricKind
	hmacKind
)

func kindOf(spec string) kind {
	switch {
	case spec == SpecSymmetric:
		return symmetricKind
	case strings.HasPrefix(spec, "HMAC_"):
		return hmacKind
	}
	return asymmetricKind
}

// Asymmetric says whether the key has a public half.
func (k *Key) Asymmetric() bool { return kindOf(k.Spec) == asymmetricKind }

// Symmetric says whether the key encrypts with an encryption context.
func (k *Key) Symmetric() bool { return k.Spec == SpecSymmetric }

// Algorithms are those of keys of a spec and usage (kms-api section 3).
func Algorithms(spec, usage string) []string {
	switch usage {
	case UsageEncrypt:
		if strings.HasPrefix(spec, "RSA_") {
			return []string{"RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"}
		}
		if spec == SpecSymmetric {
			return []string{SpecSymmetric} // the algorithm has the name of the spec
		}
	case UsageAgree:
		return []string{"ECDH"}
	case UsageMac:
		if size, ok := strings.CutPrefix(spec, "HMAC_"); ok {
			return []string{"HMAC_SHA_" + size}
		}
	case UsageSign:
		return signingAlgorithms(spec)
	}
	return nil
}

func signingAlgorithms(spec string) []string {
	switch spec {
	case "RSA_2048", "RSA_3072", "RSA_4096":
		return []string{
			"RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384", "RSASSA_PKCS1_V1_5_SHA_512",
			"RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_384", "RSASSA_PSS_SHA_512",
		}
	case "ECC_NIST_P256", "ECC_SECG_P256K1":
		return []string{"ECDSA_SHA_256"}
	case "ECC_NIST_P384":
		return []string{"ECDSA_SHA_384"}
	case "ECC_NIST_P521":
		return []string{"ECDSA_SHA_512"}
	case "ECC_NIST_EDWARDS25519":
		return []string{"ED25519_SHA_512", "ED25519_PH_SHA_512"}
	case "ML_DSA_44", "ML_DSA_65", "ML_DSA_87":
		return []string{"ML_DSA_SHAKE_256"}
	}
	return nil
}

// operationUsage is the usage that a key must have for an operation.
var operationUsage = map[string]string{
	"Encrypt": UsageEncrypt, "Decrypt": UsageEncrypt, "ReEncrypt": UsageEncrypt,
	"GenerateDataKey": UsageEncrypt, "GenerateDataKeyWithoutPlaintext": UsageEncrypt,
	"GenerateDataKeyPair": UsageEncrypt, "GenerateDataKeyPairWithoutPlaintext": UsageEncrypt,
	"Sign": UsageSign, "Verify": UsageSign,
	"GenerateMac": UsageMac, "VerifyMac": UsageMac,
	"DeriveSharedSecret": UsageAgree,
}

// Fits checks, in the order of kms-api section 1, the key's state, its usage,
// and whether keys of its spec have the algorithm.
func (k *Key) Fits(operation, algorithm string) error {
	if err := k.State.Permits(operation, k.ARN); err != nil {
		return err
	}
	if want, ok := operationUsage[operation]; !ok || k.Usage != want {
		return refuse(InvalidKeyUsage, "%s key usage is %s which is not valid for %s.", k.ARN, k.Usage, operation)
	}
	if k.CustomKeyStoreID != "" && strings.HasPrefix(operation, "GenerateDataKeyPair") { // kms-api section 3
		return refuse(Unsupported, "%s origin is %s which is not valid for this operation.", k.ARN, k.Origin)
	}
	if !slices.Contains(Algorithms(k.Spec, k.Usage), algorithm) {
		return refuse(InvalidKeyUsage, "Algorithm %s is incompatible with key spec %s.", algorithm, k.Spec)
	}
	return nil
}

// hasPublicKey checks that GetPublicKey makes sense of the key.
func (k *Key) hasPublicKey() error {
	if err := k.State.Permits("GetPublicKey", k.ARN); err != nil {
		return err
	}
	if !k.Asymmetric() {
		return refuse(Unsupported, "%s key spec is %s which is not valid for GetPublicKey.", k.ARN, k.Spec)
	}
	return nil
}

// maxOAEP is the longest plaintext that an algorithm takes with a key spec:
// k − 2h − 2 (RFC 8017 section 7.1.1).
func maxOAEP(spec, algorithm string) int {
	size := map[string]int{"RSA_2048": 256, "RSA_3072": 384, "RSA_4096": 512}[spec]
	hash := map[string]int{"RSAES_OAEP_SHA_1": 20, "RSAES_OAEP_SHA_256": 32}[algorithm]
	return size - 2*hash - 2
}

func tooLong(spec, algorithm string) error {
	return refuse(Validation, "Algorithm %s and key spec %s cannot encrypt data larger than %d bytes.", algorithm, spec, maxOAEP(spec, algorithm))
}

// Message types of Sign and Verify.
const (
	MessageRaw        = "RAW"
	MessageDigest     = "DIGEST"
	MessageExternalMu = "EXTERNAL_MU"
)

// digestLen is the length of the digest that an algorithm signs; 0: it signs
// messages only.
func digestLen(algorithm string) int {
	switch {
	case algorithm == "ED25519_SHA_512":
		return 0
	case strings.HasSuffix(algorithm, "_SHA_256"):
		return 32
	case strings.HasSuffix(algorithm, "_SHA_384"):
		return 48
	case strings.HasSuffix(algorithm, "_SHA_512"):
		return 64
	}
	return 0
}

// muLen is the length of ML-DSA's message representative (FIPS 204).
const muLen = 64

// checkMessage checks a message to be signed against its type (kms-api section
// 3, MessageType).
func checkMessage(algorithm, messageType string, msg []byte) error {
	fits, want := false, 0
	switch messageType {
	case MessageRaw:
		fits = algorithm != "ED25519_PH_SHA_512"
	case MessageDigest:
		want = digestLen(algorithm)
		fits = want > 0
	case MessageExternalMu:
		want = muLen
		fits = algorithm == "ML_DSA_SHAKE_256"
	}
	switch {
	case !fits:
		return refuse(Validation, "MessageType %s is not compatible with algorithm %s.", messageType, algorithm)
	case want > 0 && len(msg) != want:
		return refuse(Validation, "Digest is invalid length for algorithm %s.", algorithm)
	}
	return nil
}

// grantable are the operations that a grant on the key can allow: those of its
// usage, and those that every key has (kms-api section 7).
func (k *Key) grantable(operation string) bool {
	switch operation {
	case "CreateGrant", "RetireGrant", "DescribeKey":
		return true
	case "GetPublicKey":
		return k.Asymmetric()
	case "ReEncryptFrom", "ReEncryptTo":
		operation = "ReEncrypt"
	case "ReEncrypt":
		return false // the two halves are granted, each by its own name
	case "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext":
		return k.Symmetric()
	}
	return k.Usage != "" && operationUsage[operation] == k.Usage
}
