package wire

import (
	"fmt"
	"reflect"
)

// wrongType is a mistake of the caller, not of the client.
func wrongType(op *OpInfo, v any) error {
	return fmt.Errorf("wire: %s %s: a value of type %T does not fit", op.Service.Name, op.Name, v)
}

// target returns the struct that ptr points to.
func target(op *OpInfo, st *structure, ptr any) (reflect.Value, error) {
	v := reflect.ValueOf(ptr)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Type().Elem() != st.typ {
		return reflect.Value{}, wrongType(op, ptr)
	}
	return v.Elem(), nil
}

// Decode reads an operation's input (a pointer to its input type) out of a
// request whose body is complete. What the client did wrong comes back as a
// *[Fault]; it names the member, never its value.
func Decode(op *OpInfo, p Protocol, req *Request, in any) error {
	st, err := op.input()
	if err != nil {
		return err
	}
	v, err := target(op, st, in)
	if err != nil {
		return err
	}
	var t tracker
	switch p {
	case JSON10, JSON11:
		err = decodeJSON(req.Body, st, v, &t)
	case Query, EC2:
		var pairs []pair
		if pairs, err = parseForm(req.form()); err == nil {
			err = decodeForm(pairs, p == EC2, st, v, &t)
		}
	case RESTJSON, RESTXML:
		err = decodeREST(op, p, req, st, v, &t)
	default:
		return fmt.Errorf("wire: %v is not decoded", p)
	}
	if err != nil {
		v.SetZero()
		return CommonFault(Unreadable, op.Service, p, "The request could not be read: "+err.Error())
	}
	req.decoded, req.violations = true, t.violations
	return nil
}

// form returns the text that holds the parameters of a form protocol: the
// body of a POST, the query string of a GET.
func (req *Request) form() string {
	if req.Method == "GET" || len(req.Body) == 0 {
		return req.RawQuery
	}
	return string(req.Body)
}

// Content types of answers.
const (
	typeJSON10 = "application/x-amz-json-1.0"
	typeJSON11 = "application/x-amz-json-1.1"
	typeQuery  = "text/xml"
	typeEC2    = "text/xml;charset=UTF-8"
)

// EncodeOutput writes the answer of an operation from its output (a pointer to
// its output type), appending the body to dst.
func EncodeOutput(op *OpInfo, p Protocol, requestID string, out any, dst []byte) (Response, error) {
	st, err := op.output()
	if err != nil {
		return Response{}, err
	}
	v, err := target(op, st, out)
	if err != nil {
		return Response{}, err
	}
	res := Response{Status: op.Status}
	if res.Status == 0 {
		res.Status = 200
	}
	switch p {
	case JSON10, JSON11:
		res.ContentType = typeJSON11
		if p == JSON10 {
			res.ContentType = typeJSON10
		}
		// No output shape: an empty body, not {} (kms-api section 1).
		if !op.NoOutput {
			res.Body = appendJSON(dst, st, v)
		}
	case Query:
		res.ContentType = typeQuery
		res.Body = appendQueryOutput(dst, op, st, v, requestID)
	case EC2:
		res.ContentType = typeEC2
		res.Body = appendEC2Output(dst, op, st, v, requestID)
	case RESTJSON, RESTXML:
		encodeREST(p, st, v, op.NoOutput, &res, dst)
	default:
		return Response{}, fmt.Errorf("wire: %v is not encoded", p)
	}
	return res, nil
}

// appendQueryOutput writes <OpResponse><OpResult>…</OpResult>
// <ResponseMetadata>…</OpResponse>, without a declaration (section 7).
func appendQueryOutput(dst []byte, op *OpInfo, st *structure, v reflect.Value, requestID string) []byte {
	dst = append(append(append(dst, '<'), op.Name...), "Response"...)
	dst = append(appendNamespace(dst, op.Service), '>')
	if op.ResultWrapper != "" {
		dst = append(append(append(dst, '<'), op.ResultWrapper...), '>')
	}
	dst = xmlStyle{}.appendMembers(dst, st, v)
	if op.ResultWrapper != "" {
		dst = appendEndTag(dst, op.ResultWrapper)
	}
	dst = append(dst, "<ResponseMetadata><RequestId>"...)
	dst = appendXMLText(dst, requestID)
	dst = append(dst, "</RequestId></ResponseMetadata></"...)
	return append(append(dst, op.Name...), "Response>"...)
}

// appendEC2Output writes the members beside the request id (section 8).
func appendEC2Output(dst []byte, op *OpInfo, st *structure, v reflect.Value, requestID string) []byte {
	dst = append(dst, xmlDeclaration...)
	dst = append(append(append(dst, '<'), op.Name...), "Response"...)
	dst = append(appendNamespace(dst, op.Service), "><requestId>"...)
	dst = append(appendXMLText(dst, requestID), "</requestId>"...)
	if op.NoOutput {
		dst = append(dst, "<return>true</return>"...)
	}
	dst = xmlStyle{time: timeMillis}.appendMembers(dst, st, v)
	return append(append(append(dst, "</"...), op.Name...), "Response>"...)
}

func appendNamespace(dst []byte, s *Service) []byte {
	if s == nil || s.Namespace == "" {
		return dst
	}
	dst = append(dst, ` xmlns="`...)
	dst = append(dst, s.Namespace...)
	if s.Protocol == EC2 && dst[len(dst)-1] != '/' {
		dst = append(dst, '/')
	}
	return append(dst, '"')
}
