// Package xks speaks the public External Key Store Proxy API, version 1, the
// protocol between a key service and a key that its owner keeps at home
// (kms-api section 12; the public specification is Amazon's, CC-BY-SA-4.0).
//
// A key service starts with NewDialer, one for the process, and makes a Client
// of it for each external key store. A proxy is package xks/proxy; the wire
// types here are common to both, and so is the Integrity value.
//
// A client believes nothing of an answer: sizes, the equal length of
// ciphertext and plaintext, and the integrity value are checked before
// anything is passed on, and what a proxy says in words (errorMessage) goes
// nowhere. The URL was chosen by a customer, so connections go by TLS alone,
// to public addresses unless the operator named the host, follow no redirect,
// and are bounded in time, size and number.
//
// What is sent to be encrypted is, in Leadglass, a ciphertext already; this
// package neither knows nor needs that. Not done here: which key store belongs
// to whom (cryptography/keys), and client certificates (mutual TLS), which the
// proxy takes and the client does not have.
package xks

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// Service is the signing name of the protocol (appendix A of the specification).
const Service = "kms-xks-proxy"

// Values of the protocol.
const (
	AlgorithmGCM    = "AES_GCM"
	IntegritySHA256 = "SHA_256"
	SpecAES256      = "AES_256"
	UsageEncrypt    = "ENCRYPT"
	UsageDecrypt    = "DECRYPT"
	StatusEnabled   = "ENABLED"
	StatusDisabled  = "DISABLED"
	HealthActive    = "ACTIVE"
	HealthDegraded  = "DEGRADED"
	HealthGone      = "UNAVAILABLE"
)

// Limits of the protocol.
const (
	PathSuffix   = "/kms/xks/v1"
	MaxPath      = 128
	MaxKeyID     = 128
	MaxURI       = 256 // endpoint, path, key and operation together
	MaxMetadata  = 20  // bytes of ciphertext metadata
	TagSize      = 16
	MaxPlaintext = 4300
	MaxAAD       = 8192
	MaxMembers   = 10 // entries of ekmFleetDetails
	MaxUsages    = 10
	MaxMessage   = 511 // characters of an errorMessage
)

// RequestMetadata says for whom and why a key service asks (appendix B).
type RequestMetadata struct {
	AWSPrincipalArn string `json:"awsPrincipalArn,omitempty"`
	AWSSourceVpc    string `json:"awsSourceVpc,omitempty"`
	AWSSourceVpce   string `json:"awsSourceVpce,omitempty"`
	KMSKeyArn       string `json:"kmsKeyArn,omitempty"`
	KMSOperation    string `json:"kmsOperation,omitempty"`
	KMSRequestID    string `json:"kmsRequestId,omitempty"`
	KMSViaService   string `json:"kmsViaService,omitempty"`
}

// HealthRequest and KeyRequest are the inputs of GetHealthStatus and GetKeyMetadata.
type (
	HealthRequest struct {
		RequestMetadata *RequestMetadata `json:"requestMetadata"`
	}
	KeyRequest = HealthRequest
)

// EncryptRequest is the input of Encrypt.
type EncryptRequest struct {
	RequestMetadata    *RequestMetadata `json:"requestMetadata"`
	AAD                []byte           `json:"additionalAuthenticatedData,omitempty"`
	Plaintext          []byte           `json:"plaintext"`
	Algorithm          string           `json:"encryptionAlgorithm"`
	IntegrityAlgorithm string           `json:"ciphertextDataIntegrityValueAlgorithm,omitempty"`
}

// EncryptResponse is the output of Encrypt.
type EncryptResponse struct {
	Sealed
	Integrity []byte `json:"ciphertextDataIntegrityValue,omitempty"`
}

// DecryptRequest is the input of Decrypt.
type DecryptRequest struct {
	RequestMetadata *RequestMetadata `json:"requestMetadata"`
	AAD             []byte           `json:"additionalAuthenticatedData,omitempty"`
	Algorithm       string           `json:"encryptionAlgorithm"`
	Sealed
}

// DecryptResponse is the output of Decrypt.
type DecryptResponse struct {
	Plaintext []byte `json:"plaintext"`
}

// Health is the output of GetHealthStatus.
type Health struct {
	FleetSize   int      `json:"xksProxyFleetSize"`
	ProxyVendor string   `json:"xksProxyVendor"`
	ProxyModel  string   `json:"xksProxyModel"`
	Vendor      string   `json:"ekmVendor"`
	Members     []Member `json:"ekmFleetDetails"`
}

// A Member is one external key manager behind a proxy.
type Member struct {
	ID     string `json:"id"`
	Model  string `json:"model"`
	Status string `json:"healthStatus"`
}

// Key is the output of GetKeyMetadata.
type Key struct {
	Spec   string   `json:"keySpec"`
	Usage  []string `json:"keyUsage"`
	Status string   `json:"keyStatus"`
}

// Sealed is what an external key made of a plaintext.
type Sealed struct {
	Ciphertext []byte `json:"ciphertext"`
	Metadata   []byte `json:"ciphertextMetadata,omitempty"`
	IV         []byte `json:"initializationVector"`
	Tag        []byte `json:"authenticationTag"`
}

var errSealed = errors.New("xks: sizes that the protocol does not allow")

// Check says whether the sizes are the protocol's, for a plaintext of n bytes.
func (s *Sealed) Check(n int) error {
	if len(s.Ciphertext) != n || len(s.IV) != 12 && len(s.IV) != 16 || len(s.Tag) != TagSize || len(s.Metadata) > MaxMetadata {
		return errSealed
	}
	return nil
}

// IntegrityValue is the ciphertext data integrity value of appendix C. It finds
// bits that turned over; it protects against nobody, since no key is in it.
func (s *Sealed) IntegrityValue(aad []byte) [32]byte {
	h := sha256.New()
	for _, part := range [][]byte{aad, s.Metadata, s.IV, s.Ciphertext, s.Tag} {
		h.Write(part)
	}
	return [32]byte(h.Sum(nil))
}

// ManagerAAD is what an external key manager gives its AES-GCM as additional
// data: AAD and metadata with their lengths, so that neither passes for a part
// of the other (section Encrypt of the specification).
func ManagerAAD(aad, metadata []byte) []byte {
	b := make([]byte, 0, 3+len(aad)+len(metadata))
	b = binary.BigEndian.AppendUint16(b, uint16(len(aad)))
	b = append(b, aad...)
	b = append(b, byte(len(metadata)))
	return append(b, metadata...)
}

// ValidKeyID says whether an external key may be called so. A dot or two
// would be a step in the URI's path, and not a name.
func ValidKeyID(id string) bool {
	return id != "" && len(id) <= MaxKeyID && id != "." && id != ".." && only(id, "-._")
}

// ValidPath says whether a path is [/prefix]/kms/xks/v1 of allowed characters.
func ValidPath(path string) bool {
	if len(path) > MaxPath || len(path) < len(PathSuffix) || path[0] != '/' || path[len(path)-len(PathSuffix):] != PathSuffix {
		return false
	}
	for i := 1; i < len(path); i++ {
		if path[i] == '/' && path[i-1] == '/' {
			return false
		}
	}
	return only(path, "/-_")
}

// ValidAccessKeyID says whether an access key id is 20 to 30 of A-Z and 2-7.
func ValidAccessKeyID(s string) bool {
	if len(s) < 20 || len(s) > 30 {
		return false
	}
	for i := range len(s) {
		if (s[i] < 'A' || s[i] > 'Z') && (s[i] < '2' || s[i] > '7') {
			return false
		}
	}
	return true
}

// ValidSecret says whether a raw secret access key is 43 to 64 of base64's characters.
func ValidSecret(s []byte) bool {
	return len(s) >= 43 && len(s) <= 64 && only(string(s), "/+=")
}

// only says whether s is letters, digits and the characters of more.
func only(s, more string) bool {
	for i := range len(s) {
		c := s[i]
		if ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || ('0' <= c && c <= '9') {
			continue
		}
		found := false
		for j := range len(more) {
			found = found || more[j] == c
		}
		if !found {
			return false
		}
	}
	return true
}
