// Package shape reads API models of the botocore form and says how their
// shapes look in Go: which types, and which aws struct tags (wire-protocols
// sections 2.2 and 2.3).
//
// Start with [Parse]. The generator writes what [Model.Tag] and its
// neighbours answer; the protocol conformance test of package wire builds
// types from the same answers at run time, so the vectors check the mapping
// that production uses. The order of operations, shapes and members is kept:
// it is the order of output members on the wire.
package shape

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// A Model is one service's API.
type Model struct {
	Metadata   Metadata
	Operations Ordered[Operation]
	Shapes     Ordered[Shape]
}

// Metadata holds facts about the whole API.
type Metadata struct {
	APIVersion     string    `json:"apiVersion"`
	EndpointPrefix string    `json:"endpointPrefix"`
	JSONVersion    string    `json:"jsonVersion"`
	Protocol       string    `json:"protocol"`
	SigningName    string    `json:"signingName"`
	TargetPrefix   string    `json:"targetPrefix"`
	XMLNamespace   Namespace `json:"xmlNamespace"`
	GlobalEndpoint string    `json:"globalEndpoint"`
	OperationNames []string  `json:"operationNames"` // of the untrimmed model
}

// An Operation of the model.
type Operation struct {
	Name string `json:"name"`
	HTTP struct {
		Method       string `json:"method"`
		RequestURI   string `json:"requestUri"`
		ResponseCode int    `json:"responseCode"`
	} `json:"http"`
	Input    *Ref   `json:"input"`
	Output   *Ref   `json:"output"`
	Errors   []Ref  `json:"errors"`
	AuthType string `json:"authtype"`
}

// A Ref is a use of a shape, with what this use adds to it.
type Ref struct {
	Shape           string     `json:"shape"`
	LocationName    string     `json:"locationName"`
	QueryName       string     `json:"queryName"`
	Location        string     `json:"location"`
	Flattened       bool       `json:"flattened"`
	TimestampFormat string     `json:"timestampFormat"`
	XMLAttribute    bool       `json:"xmlAttribute"`
	XMLNamespace    *Namespace `json:"xmlNamespace"`
	ResultWrapper   string     `json:"resultWrapper"`
	Streaming       bool       `json:"streaming"`
	JSONValue       bool       `json:"jsonvalue"`
}

// A Namespace is an XML namespace. Models write it as an object or as its URI.
type Namespace struct{ URI, Prefix string }

// UnmarshalJSON reads both forms.
func (n *Namespace) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '"' {
		return json.Unmarshal(text, &n.URI)
	}
	type plain Namespace // without this method
	return json.Unmarshal(text, (*plain)(n))
}

// A Shape is a type of the model.
type Shape struct {
	Type            string       `json:"type"`
	Members         Ordered[Ref] `json:"members"`
	Required        []string     `json:"required"`
	Member          *Ref         `json:"member"`
	Key             *Ref         `json:"key"`
	Value           *Ref         `json:"value"`
	Flattened       bool         `json:"flattened"`
	TimestampFormat string       `json:"timestampFormat"`
	LocationName    string       `json:"locationName"`
	Payload         string       `json:"payload"`
	Streaming       bool         `json:"streaming"`
	Union           bool         `json:"union"`
	Sensitive       bool         `json:"sensitive"`
	Document        bool         `json:"document"`
	EventStream     bool         `json:"eventstream"`
	Enum            []string     `json:"enum"`
	Min             json.Number  `json:"min"`
	Max             json.Number  `json:"max"`
	Pattern         string       `json:"pattern"`
	XMLNamespace    *Namespace   `json:"xmlNamespace"`
	Exception       bool         `json:"exception"`
	Fault           bool         `json:"fault"`
	Error           struct {
		Code           string `json:"code"`
		HTTPStatusCode int    `json:"httpStatusCode"`
		SenderFault    bool   `json:"senderFault"`
	} `json:"error"`
}

// Ordered is a JSON object whose members keep their order and their text.
type Ordered[T any] struct {
	Names []string
	ByKey map[string]T
	Raw   map[string]json.RawMessage
}

// UnmarshalJSON reads an object.
func (o *Ordered[T]) UnmarshalJSON(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return fmt.Errorf("shape: %v where an object belongs (%v)", open, err)
	}
	o.ByKey, o.Raw = map[string]T{}, map[string]json.RawMessage{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		name, ok := key.(string)
		if !ok {
			return fmt.Errorf("shape: %v is no member name", key)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			return fmt.Errorf("shape: %s: %w", name, err)
		}
		o.Names = append(o.Names, name)
		o.ByKey[name], o.Raw[name] = v, raw
	}
	return nil
}

// Parse reads a model.
func Parse(text []byte) (*Model, error) {
	m := new(Model)
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("shape: %w", err)
	}
	if m.Metadata.SigningName == "" {
		m.Metadata.SigningName = m.Metadata.EndpointPrefix
	}
	return m, nil
}

// Reach returns the names of all shapes that the named operations use.
func (m *Model) Reach(operations []string) map[string]bool {
	seen := map[string]bool{}
	var walk func(r *Ref)
	walk = func(r *Ref) {
		if r == nil || seen[r.Shape] {
			return
		}
		seen[r.Shape] = true
		s := m.Shapes.ByKey[r.Shape]
		walk(s.Member)
		walk(s.Key)
		walk(s.Value)
		for _, n := range s.Members.Names {
			ref := s.Members.ByKey[n]
			walk(&ref)
		}
	}
	for _, name := range operations {
		op := m.Operations.ByKey[name]
		walk(op.Input)
		walk(op.Output)
		for i := range op.Errors {
			walk(&op.Errors[i])
		}
	}
	return seen
}

// Upper returns a name with its first letter upper-cased: the one rule from
// member names to Go names.
func Upper(name string) string {
	if name == "" {
		return ""
	}
	return strings.ToUpper(name[:1]) + name[1:]
}
