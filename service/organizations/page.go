package organizations

import (
	"encoding/base64"
	"sort"
	"strings"

	api "github.com/leadglass/leadglass/api/organizations"
)

// tokenMark begins every token, so that a text that merely decodes is no place
// in a listing: it would be answered by a page that skips what is before it.
const tokenMark = "after:"

// pageSize is the longest page, which is the model's limit too.
const pageSize = 20

// page cuts one page out of items that are in the order of their keys, and
// puts them into their shape. The token is the key of the last item shown, so
// that a page goes on where it ended whatever was added or removed since.
func page[T, S any](items []T, token string, most *int32, key func(T) string, shape func(T) S) (out []S, next string, err error) {
	start := 0
	if token != "" {
		text, err := base64.RawURLEncoding.DecodeString(token)
		after, ok := strings.CutPrefix(string(text), tokenMark)
		if err != nil || !ok {
			return nil, "", &api.InvalidInputException{Message: "You provided a NextToken that isn't valid.", Reason: api.InvalidInputExceptionReasonInvalidNextToken}
		}
		start = sort.Search(len(items), func(i int) bool { return key(items[i]) > after })
	}
	n := pageSize
	if most != nil {
		n = min(n, int(*most))
	}
	end := min(start+n, len(items))
	out = make([]S, 0, end-start)
	for _, it := range items[start:end] {
		out = append(out, shape(it))
	}
	if end < len(items) {
		next = base64.RawURLEncoding.EncodeToString([]byte(tokenMark + key(items[end-1])))
	}
	return out, next, nil
}
