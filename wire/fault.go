package wire

import "fmt"

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
