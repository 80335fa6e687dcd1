package policy

// index finds the statements whose actions may match.
type index struct{}

// An action is one compiled action pattern.
type action struct {
	whole   matcher
	service uint64
}
type number struct{}
type instant struct{}
type blob struct{}

// Candidates are the statements of the document whose actions match the question.
func (d *Document) Candidates(q *Question) Candidates { return Candidates{} }

// Candidates walks over statements in their order; see Document.Candidates.
type Candidates struct{}

// Next gives the next statement, nil at the end.
func (c *Candidates) Next() *Statement { return nil }

// Applies says whether the statement's resources and conditions match the question. It
// does not look at actions (see Candidates) nor at principals (see identity/authz).
func (s *Statement) Applies(q *Question) bool { return false }

// An Error is why a document is refused.
type Error struct {
	Message string // the sentence AWS's tools know
	Detail  string // what is wrong, in our words
	Position
}

func (e *Error) Error() string { return "policy: " + e.Detail }

// Parse reads and compiles a document of the given kind. The error is an *Error.
func Parse(k Kind, text []byte) (*Document, error) { return nil, &Error{} }
