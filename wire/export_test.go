package wire

import "reflect"

// EncodeErrorOf is EncodeError with a detail that has no methods: types made
// at run time can't have any.
func EncodeErrorOf(s *Service, p Protocol, requestID string, f *Fault, detail any) Response {
	return encodeError(s, p, requestID, f, reflect.ValueOf(detail), nil)
}
