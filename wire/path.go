package wire

import (
	"fmt"
	"strings"
)

// A pathNode is a place in the tree of a REST service's paths. At each place
// a literal segment beats a label, and a label beats a greedy one.
type pathNode struct {
	literal   map[string]*pathNode
	label     *pathNode
	greedy    *pathNode // takes one or more segments; its own children follow them
	ops       []pathOp
	keepSlash bool // of the root: a trailing slash means something (S3)
}

// A pathOp is an operation at its path's end.
type pathOp struct {
	op   *OpInfo
	keys []string // constant query keys that must be there
}

func (n *pathNode) add(op *OpInfo) error {
	path, query, _ := strings.Cut(op.Path, "?")
	for seg := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		var next **pathNode
		switch {
		case strings.HasPrefix(seg, "{") && strings.HasSuffix(seg, "+}"):
			next = &n.greedy
		case strings.HasPrefix(seg, "{") && strings.HasSuffix(seg, "}"):
			next = &n.label
		case strings.ContainsAny(seg, "{}"):
			return fmt.Errorf("wire: %s %s: a label is no whole segment", op.Service.Name, op.Name)
		default:
			if n.literal == nil {
				n.literal = map[string]*pathNode{}
			}
			child := n.literal[seg]
			if child == nil {
				child = &pathNode{}
				n.literal[seg] = child
			}
			n = child
			continue
		}
		if *next == nil {
			*next = &pathNode{}
		}
		n = *next
	}
	var keys []string
	if query != "" {
		keys = strings.Split(query, "&")
	}
	n.ops = append(n.ops, pathOp{op, keys})
	return nil
}

// find returns the operation of a request or nil. It works on the escaped
// path: a slash inside a label comes as %2F.
func (n *pathNode) find(req *Request) *OpInfo {
	path := strings.TrimPrefix(req.RawPath, "/")
	if !n.keepSlash {
		path = strings.TrimSuffix(path, "/")
	}
	return n.match(path, req)
}

// match tries the ways in their order of precedence. Each step takes one of
// the tree's edges, so the work is bounded by the tree, not by the path,
// except for greedy labels, which look at each slash once.
func (n *pathNode) match(path string, req *Request) *OpInfo {
	seg, rest, more := strings.Cut(path, "/")
	step := func(next *pathNode) *OpInfo {
		if more {
			return next.match(rest, req)
		}
		return next.choose(req)
	}
	if next := n.literal[decoded(seg)]; next != nil {
		if op := step(next); op != nil {
			return op
		}
	}
	if n.label != nil && seg != "" {
		if op := step(n.label); op != nil {
			return op
		}
	}
	if n.greedy == nil || path == "" {
		return nil
	}
	if op := n.greedy.choose(req); op != nil {
		return op
	}
	for i := range len(path) {
		if path[i] == '/' && i > 0 {
			if op := n.greedy.match(path[i+1:], req); op != nil {
				return op
			}
		}
	}
	return nil
}

// decoded percent-decodes a segment; one that can't be stays as it is and
// matches no literal.
func decoded(seg string) string {
	if s, err := unescape(seg, false); err == nil {
		return s
	}
	return seg
}

// choose takes the operation with the request's method and the most constant
// query keys that are all there.
func (n *pathNode) choose(req *Request) *OpInfo {
	var best *OpInfo
	most := -1
	for _, o := range n.ops {
		if o.op.Method != req.Method || len(o.keys) <= most {
			continue
		}
		all := true
		for _, key := range o.keys {
			all = all && hasKey(req.RawQuery, key)
		}
		if all {
			best, most = o.op, len(o.keys)
		}
	}
	return best
}

// hasKey looks for "key" or "key=value" in a query string.
func hasKey(query, key string) bool {
	name, value, fixed := strings.Cut(key, "=")
	for part := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(part, "=")
		if k == name && (!fixed || v == value) {
			return true
		}
	}
	return false
}
