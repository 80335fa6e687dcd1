package xks

import "fmt"

// A Kind says what became of a request to a proxy.
type Kind uint8

// The kinds: first what the proxy says, then what happens before it can.
const (
	Validation Kind = iota + 1
	InvalidState
	InvalidCiphertext
	InvalidKeyUsage
	AuthenticationFailed
	AccessDenied
	KeyNotFound
	InvalidURIPath
	Throttling
	UnsupportedOperation
	DependencyTimeout
	Internal

	Unreachable // no TCP connection
	BadTLS      // no TLS connection
	TimedOut
	BadResponse // nothing that the protocol knows
	Forbidden   // an address that is not of the public internet
)

// kinds are the protocol's errors: name, HTTP status, and what the key service
// says of them (section Error codes; the texts are the public service's own).
var kinds = map[Kind]struct {
	name   string
	status int
	text   string
}{
	Validation:           {"ValidationException", 400, textResponse},
	InvalidState:         {"InvalidStateException", 400, "The external key associated with this KMS key in an external key store is not enabled in the external key manager. Enable the external key in the external key manager and retry the request."},
	InvalidCiphertext:    {"InvalidCiphertextException", 400, "The external key store proxy rejected the request because the specified ciphertext or encryption context is corrupted, missing, or otherwise invalid."},
	InvalidKeyUsage:      {"InvalidKeyUsageException", 400, "The external key associated with this KMS key in an external key store does not support the requested operation. Enable the operation on the key in your external key manager, and try the request again."},
	AuthenticationFailed: {"AuthenticationFailedException", 401, "The external key store proxy rejected the request because it could not authenticate AWS KMS. Verify the XKS proxy authentication credentials for your external key store and update if necessary."},
	AccessDenied:         {"AccessDeniedException", 403, "The external key store proxy denied access to the operation. Verify that the user and the external key are both authorized for this operation, and try the request again."},
	KeyNotFound:          {"KeyNotFoundException", 404, "The external key associated with this KMS key in an external key store was not found in its external key manager. If the external key ID associated with this KMS key is incorrect, create a new KMS key with the correct external key ID."},
	InvalidURIPath:       {"InvalidUriPathException", 404, "The external key store proxy rejected the request because of an invalid URI path. Verify the URI path for your external key store and update if necessary."},
	Throttling:           {"ThrottlingException", 429, "The external key store proxy rejected the request due to a very high request rate. Reduce the frequency of your calls using KMS keys in this external key store."},
	UnsupportedOperation: {"UnsupportedOperationException", 501, "The external key store proxy rejected the request because it does not support the requested operation. If you see this error repeatedly, report it to your external key store proxy administrator."},
	DependencyTimeout:    {"DependencyTimeoutException", 503, "The external key store proxy did not respond to the request in the time allotted. Retry the request. If you see this error repeatedly, report it to your external key store proxy administrator."},
	Internal:             {"InternalException", 500, "The external key store proxy rejected the request because it cannot communicate with the external key manager. Verify that the external key store proxy configuration is correct and that the external key manager is available."},
	Unreachable:          {"", 0, textUnreachable},
	Forbidden:            {"", 0, textUnreachable},
	BadTLS:               {"", 0, "AWS KMS cannot establish a TLS connection to the external key store proxy. Verify the TLS configuration, including its certificate."},
	TimedOut:             {"", 0, "AWS KMS rejected the request because the external key store proxy did not respond in time. Retry the request. If you see this error repeatedly, report it to your external key store proxy administrator."},
	BadResponse:          {"", 0, textResponse},
}

const (
	textResponse    = "AWS KMS cannot interpret the response from the external key store proxy. If you see this error repeatedly, report it to your external key store proxy administrator."
	textUnreachable = "AWS KMS cannot communicate with the external key store proxy. This might be a transient network issue. If you see this error repeatedly, verify that your external key store proxy is active and is connected to the network, and that its endpoint URI is correct in your external keystore."
)

// Name is the error's name in the protocol, empty for what no proxy says.
func (k Kind) Name() string { return kinds[k].name }

// Status is the HTTP status that goes with the name.
func (k Kind) Status() int { return kinds[k].status }

// Text is what the key service tells its caller.
func (k Kind) Text() string { return kinds[k].text }

// kindOf finds the error that a proxy names. The status must be the name's
// own: half an error is no error of the protocol.
func kindOf(name string, status int) Kind {
	for k, d := range kinds {
		if d.name != "" && d.name == name && d.status == status {
			return k
		}
	}
	return BadResponse
}

// An Error is a request to a proxy that did not succeed. It holds nothing that
// the proxy wrote but the name of its error.
type Error struct {
	Kind Kind
	Err  error // of the network; may be nil, and is for logs alone
}

func (e *Error) Error() string {
	what := e.Kind.Name()
	if what == "" {
		what = map[Kind]string{Unreachable: "unreachable", BadTLS: "no TLS connection", TimedOut: "timed out", BadResponse: "malformed answer", Forbidden: "address is not public"}[e.Kind]
	}
	if e.Err != nil {
		return fmt.Sprintf("xks: %s: %v", what, e.Err)
	}
	return "xks: " + what
}

// Unwrap gives the network's error.
func (e *Error) Unwrap() error { return e.Err }

// ErrorBody is the JSON of a refusal.
type ErrorBody struct {
	Name    string `json:"errorName"`
	Message string `json:"errorMessage,omitempty"`
}
