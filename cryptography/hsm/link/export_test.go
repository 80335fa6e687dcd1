package link

// What the tests of frames need to see.
var (
	ParseAnswer = parseAnswer
	Skip        = skip
)

// ParseRequest reads the body of a REQ.
func ParseRequest(b []byte) (Request, error) {
	var r Request
	err := r.parse(b)
	return r, err
}

// ParseHello and ParseHelloOK say whether a handshake message parses, and
// return what it is when encoded again.
func ParseHello(b []byte) ([]byte, bool) {
	h, err := parseHello(b)
	if err != nil {
		return nil, false
	}
	return h.encode(), true
}

func ParseHelloOK(b []byte) ([]byte, bool) {
	h, err := parseHelloOK(b)
	if err != nil {
		return nil, false
	}
	return h.encode(), true
}

// Window is the replay window.
type Window = window

// Accept is the window's question.
func (w *window) Accept(c uint64) bool { return w.accept(c) }
