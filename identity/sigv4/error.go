package sigv4

// A Kind is a reason why a request is not authenticated (section 8).
type Kind uint8

// The kinds. Those marked "caller" are never returned by this package: who
// resolves credentials returns them, so that one table answers all.
const (
	NoCredentials        Kind = iota + 1 // no authentication at all
	Incomplete                           // the Authorization header or the date is malformed, or a part is missing
	QueryMalformed                       // the query parameters are malformed, or one is missing
	TwoMechanisms                        // header and query at once
	UnsupportedAlgorithm                 // unknown, or known and not served
	WrongScope                           // region, service, terminator or day of the scope
	Skew                                 // clock differs by more than 15 minutes
	PresignExpired                       // a presigned request past its end
	PresignEarly                         // a presigned request from the future
	UnknownKey                           // caller: access key id unknown or inactive
	BadToken                             // caller: session token malformed, or not of this access key
	ExpiredToken                         // caller: session is over
	BadSignature                         // caller, or the signature cannot match
	HeadersNotSigned                     // a header that must be signed is not
	MissingPayloadHash                   // S3 wants x-amz-content-sha256
	InvalidPayloadHash                   // x-amz-content-sha256 holds no form that the service knows
	UnsupportedPayload                   // a chunked payload form where the body is read as a whole
	InvalidURI                           // the path is not percent-encoded as it must be
	PayloadMismatch                      // the body is not what x-amz-content-sha256 says
	PostMalformed                        // a field of a form upload is missing or malformed
)

// A Family is a group of protocols that answer authentication errors alike.
type Family uint8

// The families.
const (
	Query    Family = iota // IAM, STS
	JSON                   // KMS and the other JSON 1.0 and 1.1 services
	RESTJSON               // Access Analyzer
	RESTXML                // S3
	EC2
)

// An Error says why a request is not authenticated. Its message is for the
// client: AWS's own text, without signature, token or secret.
type Error struct {
	Kind    Kind
	Message string
	Region  string // WrongScope: the region that S3 names in <Region>
	Headers string // HeadersNotSigned: the names that S3 lists
	Query   bool   // the query form was used: S3 answers with another code
}

func (e *Error) Error() string { return "sigv4: " + e.Message }

func refuse(k Kind, message string) *Error { return &Error{Kind: k, Message: message} }

// Refuse returns the error of a caller's kind with AWS's message for it.
func Refuse(k Kind) *Error {
	switch k {
	case UnknownKey, BadToken:
		return refuse(k, "The security token included in the request is invalid.")
	case ExpiredToken:
		return refuse(k, "The security token included in the request is expired")
	case NoCredentials:
		return refuse(k, "Missing Authentication Token")
	}
	return refuse(BadSignature, "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.")
}

// An answer is an error code with its HTTP status.
type answer struct {
	code   string
	status int
}

// The table of section 8. S3 tells more kinds apart than the others, for
// which broad folds them.
var (
	answersQuery = map[Kind]answer{
		NoCredentials: {"MissingAuthenticationToken", 403},
		Incomplete:    {"IncompleteSignature", 400},
		UnknownKey:    {"InvalidClientTokenId", 403},
		ExpiredToken:  {"ExpiredToken", 403},
		BadSignature:  {"SignatureDoesNotMatch", 403},
	}
	answersJSON = map[Kind]answer{
		NoCredentials: {"MissingAuthenticationTokenException", 400},
		Incomplete:    {"IncompleteSignatureException", 400},
		UnknownKey:    {"UnrecognizedClientException", 400},
		ExpiredToken:  {"ExpiredTokenException", 400},
		BadSignature:  {"InvalidSignatureException", 400},
	}
	answersEC2 = map[Kind]answer{
		Skew:         {"RequestExpired", 400},
		ExpiredToken: {"RequestExpired", 400},
	}
	answersS3 = map[Kind]answer{
		NoCredentials:        {"AccessDenied", 403},
		Incomplete:           {"AuthorizationHeaderMalformed", 400},
		QueryMalformed:       {"AuthorizationQueryParametersError", 400},
		TwoMechanisms:        {"InvalidArgument", 400},
		UnsupportedAlgorithm: {"InvalidRequest", 400},
		WrongScope:           {"AuthorizationHeaderMalformed", 400},
		Skew:                 {"RequestTimeTooSkewed", 403},
		PresignExpired:       {"AccessDenied", 403},
		PresignEarly:         {"AccessDenied", 403},
		UnknownKey:           {"InvalidAccessKeyId", 403},
		BadToken:             {"InvalidToken", 400},
		ExpiredToken:         {"ExpiredToken", 400},
		BadSignature:         {"SignatureDoesNotMatch", 403},
		HeadersNotSigned:     {"AccessDenied", 403},
		MissingPayloadHash:   {"InvalidRequest", 400},
		InvalidPayloadHash:   {"InvalidArgument", 400},
		UnsupportedPayload:   {"NotImplemented", 501},
		InvalidURI:           {"InvalidURI", 400},
		PayloadMismatch:      {"XAmzContentSHA256Mismatch", 400},
		PostMalformed:        {"InvalidArgument", 400},
	}
)

// broad folds the kinds that only S3 tells apart.
func (k Kind) broad() Kind {
	switch k {
	case QueryMalformed, TwoMechanisms, UnsupportedAlgorithm, InvalidURI, PostMalformed:
		return Incomplete
	case BadToken:
		return UnknownKey
	case PresignExpired, PresignEarly:
		return Skew
	case WrongScope, HeadersNotSigned, MissingPayloadHash, InvalidPayloadHash, UnsupportedPayload, PayloadMismatch:
		return BadSignature
	}
	return k
}

// Code is the error code and HTTP status that a family answers with: the
// table of section 8.
func (e *Error) Code(f Family) (code string, status int) {
	var a answer
	switch k := e.Kind.broad(); f {
	case RESTXML:
		a = answersS3[e.Kind]
		if e.Kind == WrongScope && e.Query {
			a = answersS3[QueryMalformed]
		}
	case EC2:
		if a = answersEC2[k]; a.code == "" {
			a = answer{"AuthFailure", 401}
		}
	case Query:
		if k == Skew {
			k = BadSignature
		}
		a = answersQuery[k]
	default:
		if k == Skew {
			k = BadSignature
		}
		a = answersJSON[k]
		if f == RESTJSON {
			a.status = 403
		}
	}
	return a.code, a.status
}
