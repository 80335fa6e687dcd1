package policy

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// RenamePrincipals replaces strings inside the Principal and NotPrincipal
// elements of a policy and leaves every other byte alone: conditions may hold
// the same ARN as plain text, which means something else.
func RenamePrincipals(text string, renamed map[string]string) string {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var out bytes.Buffer
	var path []string // names of the objects' members that lead here; "" for array elements
	type level struct {
		object, value bool // in an object; the next string is a member's value
	}
	var levels []level
	copied := 0
	for {
		before := int(dec.InputOffset())
		tok, err := dec.Token()
		if err != nil {
			break // the end: the document was parsed before it was stored
		}
		top := len(levels) - 1
		switch v := tok.(type) {
		case json.Delim:
			if v == '{' || v == '[' {
				levels = append(levels, level{object: v == '{'})
				path = append(path, "")
				continue
			}
			levels, path = levels[:top], path[:top]
		case string:
			if top >= 0 && levels[top].object && !levels[top].value {
				path[top], levels[top].value = v, true
				continue
			}
			if now, ok := renamed[v]; ok && inPrincipal(path) {
				// The token ends at InputOffset; its start follows blanks, a colon or a comma.
				end := int(dec.InputOffset())
				start := before + strings.IndexByte(text[before:end], '"')
				out.WriteString(text[copied:start])
				quoted, _ := json.Marshal(now) // an ARN or id: always encodes
				out.Write(quoted)
				copied = end
			}
		}
		if top = len(levels) - 1; top >= 0 {
			levels[top].value = false
		}
	}
	out.WriteString(text[copied:])
	return out.String()
}

// inPrincipal says whether path leads into Statement.Principal.
func inPrincipal(path []string) bool {
	members := slices.DeleteFunc(slices.Clone(path), func(s string) bool { return s == "" })
	return len(members) >= 2 && members[0] == "Statement" && (members[1] == "Principal" || members[1] == "NotPrincipal")
}
