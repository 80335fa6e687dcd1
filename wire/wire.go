// Package wire is how Leadglass speaks the protocols of AWS clients:
// awsJson 1.0 and 1.1, awsQuery, ec2Query, restJson1 and restXml
// (wire-protocols sections 4 to 16).
//
// Start with [NewRouter]: it answers which service, protocol and operation a
// request means. [Decode] then fills the operation's input, [Validate] checks
// it against the model's constraints, [EncodeOutput] and [EncodeError] write
// the answer, and [Parameters] writes the audit form of an input or output.
// The types these functions work on are generated (packages api/...); one
// reflection codec serves them all, with a plan compiled once per type from
// the aws struct tags.
//
// What is not done here: signatures, policy, semantic checks of a service,
// HTTP itself, and everything of S3 but its XML documents. rpcv2Cbor is
// recognised and refused.
//
// Promises: nothing here panics on input; unknown members are ignored, a
// duplicate member's last value wins; output bytes are the same for the same
// value; a member marked sensitive never reaches an error text or
// [Parameters].
package wire

import (
	"io"
	"net/http"
	"reflect"
	"regexp"
	"sync"
	"sync/atomic"
)

// A Protocol is a way of putting requests and answers into HTTP messages.
type Protocol uint8

// The protocols of the served services.
const (
	JSON10 Protocol = iota + 1
	JSON11
	Query
	EC2
	RESTJSON
	RESTXML
	// CBOR is rpcv2Cbor: none of our services speaks it, but a client that
	// tries must be able to read the refusal (section 11).
	CBOR
)

// String returns the protocol's name as AWS models spell it.
func (p Protocol) String() string {
	switch p {
	case JSON10:
		return "awsJson1_0"
	case JSON11:
		return "awsJson1_1"
	case Query:
		return "awsQuery"
	case EC2:
		return "ec2Query"
	case RESTJSON:
		return "restJson1"
	case RESTXML:
		return "restXml"
	case CBOR:
		return "rpcv2Cbor"
	}
	return "unknown protocol"
}

// Limits on what is read from outside (section 16).
const (
	MaxJSONBody  = 1 << 20   // awsJson and restJson1
	MaxFormBody  = 1 << 20   // awsQuery and ec2Query
	MaxXMLBody   = 2 << 20   // restXml documents (DeleteObjects, CompleteMultipartUpload)
	MaxBlockBody = 513 << 10 // an EBS block of 512 KiB and its framing
	MaxHeader    = 64 << 10  // all header fields together
	MaxDepth     = 32        // nesting of structures, lists and maps
	MaxFormKeys  = 10_000    // pairs of a form, and so also list entries in it
	MaxEntries   = 10_000    // entries of all lists and maps of a JSON or XML body
)

// BodyLimit returns how many bytes of body a request of this protocol may
// have.
func (p Protocol) BodyLimit() int64 {
	switch p {
	case Query, EC2:
		return MaxFormBody
	case RESTXML:
		return MaxXMLBody
	}
	return MaxJSONBody
}

// A Service is what all operations of one API have in common. The values are
// generated.
type Service struct {
	Name          string   // directory and policy name: "kms"
	SigningName   string   // in credential scopes: "kms", "access-analyzer"
	EventSource   string   // in audit records: "kms.amazonaws.com"
	Protocol      Protocol // of the model; awsJson1_0 is answered in kind by awsJson1_1 services
	Version       string   // "2014-11-01"
	TargetPrefix  string   // of X-Amz-Target: "TrentService"
	TargetAliases []string // further accepted prefixes
	Namespace     string   // of XML answers
	Global        bool     // a scope of us-east-1 is right wherever the deployment is
	Known         []string // every operation of the API, sorted, served or not
	BareErrors    bool     // S3: errors without a wrapping element
	Patterns      []*Pattern

	plans sync.Map // reflect.Type -> *structure
}

// A Pattern is a constraint on text. Model is what error texts print.
type Pattern struct {
	Model string // the Java expression of the model
	Go    string // the same for package regexp

	once sync.Once
	re   *regexp.Regexp // set by once; nil if Go does not compile
	err  error          // set by once
}

// Compile returns the compiled expression, which matches whole values only.
func (p *Pattern) Compile() (*regexp.Regexp, error) {
	p.once.Do(func() { p.re, p.err = regexp.Compile(`\A(?:` + p.Go + `)\z`) })
	return p.re, p.err
}

// matches fails closed: a pattern that does not compile matches nothing. (A
// test compiles them all.)
func (p *Pattern) matches(s string) bool {
	re, _ := p.Compile()
	return re != nil && re.MatchString(s)
}

// An OpInfo is what an operation is on the wire.
type OpInfo struct {
	Service       *Service
	Name          string
	Method        string
	Path          string // URI template, with the constant query keys of restXml
	Status        int    // of success; 0 is 200
	ResultWrapper string // element of awsQuery answers
	NoOutput      bool   // the model has no output shape
	ReadOnly      bool   // CloudTrail's readOnly
	Unsigned      bool   // the model lets it go unsigned

	Input, Output reflect.Type // structures; set by NewOp

	// Plans are compiled on first use; racing compilers agree.
	inPlan, outPlan atomic.Pointer[structure]
}

// Info returns op itself; it lets an [Op] and an OpInfo be used alike.
func (op *OpInfo) Info() *OpInfo { return op }

// Action returns the policy action that the operation's name makes:
// "kms:Encrypt".
func (op *OpInfo) Action() string { return op.Service.Name + ":" + op.Name }

// An Op is an operation with the types of its input and output.
type Op[I, O any] struct{ *OpInfo }

// NewOp ties an operation to its types. Generated code calls it.
func NewOp[I, O any](info *OpInfo) Op[I, O] {
	info.Input, info.Output = reflect.TypeFor[I](), reflect.TypeFor[O]()
	return Op[I, O]{info}
}

// A Request is what routing and decoding look at.
type Request struct {
	Method   string
	RawPath  string // escaped, as URL.EscapedPath gives it
	RawQuery string
	Host     string
	Header   http.Header
	Body     []byte // complete; nil while it is not read yet

	// Stream is the body of an operation whose payload is streaming; it is
	// handed on to the input, never read here.
	Stream io.Reader

	// What Decode saw and Validate needs: absent and empty members look alike
	// in the decoded input.
	decoded    bool
	violations []violation
}

// A Response is an encoded answer. Gate adds the headers of section 14.
type Response struct {
	Status      int
	ContentType string      // "" for an answer without a body
	Header      http.Header // further headers, mostly nil
	Body        []byte
	Stream      io.ReadCloser // instead of Body, for streaming payloads
}
