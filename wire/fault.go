package wire

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"

	"github.com/leadglass/leadglass/base/canon"
)

// A Fault is an error as clients see it: a code, a text, and which side is to
// blame. Generated errors of a service's model answer one by their method of
// the same name; common errors (section 13.3) are Faults themselves, made by
// [CommonFault].
type Fault struct {
	Code    string
	Message string
	Status  int  // of HTTP
	Server  bool // the server's fault; a client may retry

	// MessageKey is the JSON member that carries Message where it is not
	// "message".
	MessageKey string
	// Detail is the generated error whose further members are encoded too;
	// nil for common errors.
	Detail Modelled
}

// Modelled is a generated error of a service's model.
type Modelled interface {
	error
	Fault() *Fault
}

// Error returns code and message.
func (f *Fault) Error() string {
	if f.Message == "" {
		return f.Code
	}
	return fmt.Sprintf("%s: %s", f.Code, f.Message)
}

// ErrorCode returns the code.
func (f *Fault) ErrorCode() string { return f.Code }

// ErrorMessage returns the text.
func (f *Fault) ErrorMessage() string { return f.Message }

// Fault returns f: a common error stands for itself.
func (f *Fault) Fault() *Fault { return f }

// FaultOf finds the fault in an error's chain. An error without one must be
// answered as the service's internal error, with a fixed message.
func FaultOf(err error) (*Fault, bool) {
	m, ok := errors.AsType[Modelled](err)
	if !ok {
		return nil, false
	}
	return m.Fault(), true
}

// A Kind is a situation that can arise in every operation.
type Kind uint8

// Rows of the table in section 13.3. Those that only the signature stage
// finds are at home in identity/sigv4; here are the two of them that routing
// can meet.
const (
	NoCredentials Kind = iota
	WrongScope         // the credential scope is for another service or region
	AccessDenied
	UnknownOperation
	Unreadable // the body
	Throttled
	Internal
	Unavailable
	TooLarge
	Unrecorded    // the audit record is not durable: nothing may leave
	NoSuchVersion // of a form protocol's API
	kinds
)

// family is a column of the table.
type family uint8

const (
	familyJSON family = iota
	familyREST
	familyQuery
	familyEC2
	familyS3
	families
)

func (p Protocol) family() family {
	switch p {
	case RESTJSON:
		return familyREST
	case Query:
		return familyQuery
	case EC2:
		return familyEC2
	case RESTXML:
		return familyS3
	}
	return familyJSON
}

// A row holds a code and status for each family.
type row [families]struct {
	code   string
	status int
}

// rowOf returns a kind's row. A switch, not a table variable: nothing can
// change it.
func (k Kind) row() row {
	switch k {
	case NoCredentials:
		return row{{"MissingAuthenticationTokenException", 400}, {"MissingAuthenticationTokenException", 400}, {"MissingAuthenticationToken", 403}, {"AuthFailure", 401}, {"AccessDenied", 403}}
	case WrongScope:
		return row{{"InvalidSignatureException", 400}, {"InvalidSignatureException", 400}, {"SignatureDoesNotMatch", 403}, {"AuthFailure", 401}, {"SignatureDoesNotMatch", 403}}
	case AccessDenied:
		return row{{"AccessDeniedException", 400}, {"AccessDeniedException", 403}, {"AccessDenied", 403}, {"UnauthorizedOperation", 403}, {"AccessDenied", 403}}
	case UnknownOperation:
		return row{{"UnknownOperationException", 400}, {"UnknownOperationException", 404}, {"InvalidAction", 400}, {"InvalidAction", 400}, {"NotImplemented", 501}}
	case Unreadable:
		return row{{"SerializationException", 400}, {"SerializationException", 400}, {"MalformedInput", 400}, {"InvalidParameterValue", 400}, {"MalformedXML", 400}}
	case Throttled:
		return row{{"ThrottlingException", 400}, {"ThrottlingException", 429}, {"Throttling", 400}, {"RequestLimitExceeded", 503}, {"SlowDown", 503}}
	case Unavailable, Unrecorded:
		return row{{"ServiceUnavailableException", 503}, {"ServiceUnavailableException", 503}, {"ServiceUnavailable", 503}, {"Unavailable", 503}, {"ServiceUnavailable", 503}}
	case TooLarge:
		return row{{"RequestEntityTooLarge", 413}, {"RequestEntityTooLarge", 413}, {"RequestEntityTooLarge", 413}, {"RequestEntityTooLarge", 413}, {"MaxMessageLengthExceeded", 400}}
	case NoSuchVersion:
		return row{{"NoSuchVersion", 400}, {"NoSuchVersion", 400}, {"NoSuchVersion", 400}, {"NoSuchVersion", 400}, {"NoSuchVersion", 400}}
	}
	return row{{"InternalFailure", 500}, {"InternalServerException", 500}, {"InternalFailure", 500}, {"InternalError", 500}, {"InternalError", 500}}
}

// text is the message of a kind when the caller has none.
func (k Kind) text(s *Service) string {
	switch k {
	case NoCredentials:
		return "Missing Authentication Token"
	case WrongScope:
		return "Credential should be scoped to the service and region of the request."
	case NoSuchVersion:
		return "The requested version is not known."
	case AccessDenied:
		return "Access denied"
	case UnknownOperation:
		return "The operation is unknown."
	case Unreadable:
		return "The request could not be read."
	case Throttled:
		if s != nil && s.Name == "kms" {
			return "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls."
		}
		return "Rate exceeded"
	case Unavailable, Unrecorded:
		return "The service is temporarily unable to handle the request."
	case TooLarge:
		return "The request is larger than this operation allows."
	case Internal:
		return "The request processing has failed because of an unknown error, exception or failure."
	}
	return ""
}

// CommonFault returns the error of a situation as the protocol spells it
// (section 13.3). Without a message it gets the usual one. The service may be
// nil when none is known.
func CommonFault(k Kind, s *Service, p Protocol, message string) *Fault {
	cell := k.row()[p.family()]
	f := &Fault{Code: cell.code, Status: cell.status, Message: message, Server: k == Internal || k == Unavailable || k == Unrecorded}
	if message == "" {
		f.Message = k.text(s)
	}
	if s == nil {
		return f
	}
	switch {
	case s.Name == "kms" && (k == Internal || k == Unrecorded):
		f.Code, f.Status = "KMSInternalException", 500
	case s.Name == "kms" && k == AccessDenied:
		f.MessageKey = "Message" // seen on the wire (kms-api section 1)
	case s.Name == "iam" && k == Internal:
		f.Code = "ServiceFailure"
	case s.Name == "organizations":
		f.MessageKey = "Message"
	}
	return f
}

// EncodeError writes an error's answer, appending the body to dst. The service
// may be nil when none is known.
func EncodeError(s *Service, p Protocol, requestID string, f *Fault, dst []byte) Response {
	return encodeError(s, p, requestID, f, reflect.ValueOf(f.Detail), dst)
}

func encodeError(s *Service, p Protocol, requestID string, f *Fault, v reflect.Value, dst []byte) Response {
	res := Response{Status: f.Status}
	var st *structure
	if s != nil && v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
		// A value that is no generated error is answered by its code and
		// message alone.
		st, _ = s.plan(v.Type())
	}
	switch p {
	case Query:
		res.ContentType = typeQuery
		dst = append(dst, "<ErrorResponse"...)
		dst = append(appendNamespace(dst, s), "><Error><Type>"...)
		dst = appendErrorElements(append(append(dst, f.side()...), "</Type>"...), f, st, v, xmlStyle{})
		dst = append(dst, "</Error><RequestId>"...)
		dst = append(appendXMLText(dst, requestID), "</RequestId></ErrorResponse>"...)
	case EC2:
		res.ContentType = typeEC2
		dst = append(append(dst, xmlDeclaration...), "<Response><Errors><Error>"...)
		dst = appendErrorElements(dst, f, st, v, xmlStyle{time: timeMillis})
		dst = append(dst, "</Error></Errors><RequestID>"...)
		dst = append(appendXMLText(dst, requestID), "</RequestID></Response>"...)
	case RESTXML:
		res.ContentType = "application/xml"
		if st != nil {
			bindErrorMembers(st, v, &res)
		}
		bare := s == nil || s.BareErrors
		dst = append(dst, xmlDeclaration...)
		if !bare {
			dst = append(append(append(dst, "<ErrorResponse"...), appendNamespace(nil, s)...), '>')
		}
		dst = append(dst, "<Error>"...)
		if !bare {
			dst = append(append(append(dst, "<Type>"...), f.side()...), "</Type>"...)
		}
		dst = appendErrorElements(dst, f, st, v, xmlStyle{time: timeMillis})
		if bare {
			dst = append(appendXMLText(append(dst, "<RequestId>"...), requestID), "</RequestId></Error>"...)
		} else {
			dst = append(appendXMLText(append(dst, "</Error><RequestId>"...), requestID), "</RequestId></ErrorResponse>"...)
		}
	case RESTJSON:
		res.ContentType = "application/json"
		res.Header = http.Header{"X-Amzn-Errortype": {f.Code}}
		if st != nil {
			bindErrorMembers(st, v, &res)
		}
		dst = append(appendErrorMembers(append(dst, '{'), f, st, v), '}')
	case CBOR:
		res.ContentType = "application/cbor"
		res.Header = http.Header{"Smithy-Protocol": {"rpc-v2-cbor"}}
		dst = append(dst, 0xA2) // a map of two
		for _, s := range []string{"__type", f.Code, "message", f.Message} {
			dst = appendCBORText(dst, s)
		}
	default:
		res.ContentType = typeJSON11
		if p == JSON10 {
			res.ContentType = typeJSON10
		}
		dst = append(dst, `{"__type":`...)
		dst = append(appendErrorMembers(canon.AppendString(dst, f.Code), f, st, v), '}')
	}
	res.Body = dst
	return res
}

// side says whose fault it is, in the words of awsQuery.
func (f *Fault) side() string {
	if f.Server {
		return "Receiver"
	}
	return "Sender"
}

// appendErrorMembers writes message and further members of a JSON error. The
// message of a modelled error is one of its members.
func appendErrorMembers(dst []byte, f *Fault, st *structure, v reflect.Value) []byte {
	if st == nil {
		if f.Message == "" {
			return dst
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		key := f.MessageKey
		if key == "" {
			key = "message"
		}
		return canon.AppendString(append(canon.AppendString(dst, key), ':'), f.Message)
	}
	return appendJSONMembers(dst, st, v)
}

func appendErrorElements(dst []byte, f *Fault, st *structure, v reflect.Value, x xmlStyle) []byte {
	dst = append(appendXMLText(append(dst, "<Code>"...), f.Code), "</Code>"...)
	if f.Message != "" {
		dst = append(appendXMLText(append(dst, "<Message>"...), f.Message), "</Message>"...)
	}
	if st == nil {
		return dst
	}
	rest := *st
	rest.fields = nil
	for _, m := range st.fields {
		if m.member != "message" {
			rest.fields = append(rest.fields, m)
		}
	}
	return x.appendMembers(dst, &rest, v)
}

// bindErrorMembers writes the headers that an error of a REST protocol has.
func bindErrorMembers(st *structure, v reflect.Value, res *Response) {
	for i := range st.fields {
		m := &st.fields[i]
		fv := v.Field(m.index)
		if m.inAnswerBody() || m.in == inPayload || m.in == inStatus || m.blank(fv) {
			continue
		}
		if m.ptr {
			fv = fv.Elem()
		}
		bindOutput(m, fv, res)
	}
}

// appendCBORText writes a text string (RFC 8949 section 3.1, major type 3).
func appendCBORText(dst []byte, s string) []byte {
	switch n := len(s); {
	case n < 24:
		dst = append(dst, 0x60|byte(n))
	case n < 1<<8:
		dst = append(dst, 0x78, byte(n))
	default:
		s = s[:min(n, 1<<16-1)]
		dst = append(dst, 0x79, byte(len(s)>>8), byte(len(s)))
	}
	return append(dst, s...)
}
