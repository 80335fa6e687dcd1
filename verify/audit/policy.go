package audit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/leadglass/leadglass/evidence/tree"
)

// ErrPolicy is wrapped by the errors of ParsePolicy.
var ErrPolicy = errors.New("audit: witness policy")

// A Policy says which witnesses must have cosigned the root log (C2SP
// tlog-policy): witnesses, groups of them with a threshold, and the group or
// witness that is the quorum. A nil policy demands none.
type Policy struct {
	witnesses map[string]*tree.Verifier
	groups    map[string]group
	quorum    string // "" is none
}

type group struct {
	need    int
	members []string
}

// ParsePolicy reads a policy file. Lines are witness <name> <vkey> [url],
// group <name> <n|any|all> <member>..., quorum <name|none>, and log <vkey>,
// which is ignored: the account key file says which log it is.
func ParsePolicy(data []byte) (*Policy, error) {
	p := &Policy{witnesses: make(map[string]*tree.Verifier), groups: make(map[string]group)}
	seen := false
	for i, line := range strings.Split(string(data), "\n") {
		bad := func(why string) error { return fmt.Errorf("%w: line %d: %s", ErrPolicy, i+1, why) }
		if at := strings.Index(line, "#"); at >= 0 {
			line = line[:at]
		}
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		switch {
		case f[0] == "log" && len(f) >= 2:
		case f[0] == "witness" && (len(f) == 3 || len(f) == 4):
			v, err := tree.ParseVerifier(f[2])
			if err != nil || v.Type == tree.TypeEd25519 {
				return nil, bad("not the vkey of a witness")
			}
			if p.known(f[1]) {
				return nil, bad("the name is used twice")
			}
			p.witnesses[f[1]] = v
		case f[0] == "group" && len(f) >= 4:
			members := f[3:]
			need := 0
			switch f[2] {
			case "any":
				need = 1
			case "all":
				need = len(members)
			default:
				n, err := strconv.Atoi(f[2])
				if err != nil {
					return nil, bad("the threshold is no number")
				}
				need = n
			}
			if need < 1 || need > len(members) {
				return nil, bad("the threshold cannot be reached")
			}
			if p.known(f[1]) {
				return nil, bad("the name is used twice")
			}
			once := make(map[string]bool)
			for _, m := range members {
				// Only earlier names, so that groups cannot contain themselves.
				if !p.known(m) || once[m] {
					return nil, bad("a member is unknown or named twice")
				}
				once[m] = true
			}
			p.groups[f[1]] = group{need, members}
		case f[0] == "quorum" && len(f) == 2:
			if seen {
				return nil, bad("a second quorum")
			}
			seen = true
			if f[1] != "none" {
				if !p.known(f[1]) {
					return nil, bad("the quorum is unknown")
				}
				p.quorum = f[1]
			}
		default:
			return nil, bad("not understood")
		}
	}
	if !seen {
		return nil, fmt.Errorf("%w: no quorum line", ErrPolicy)
	}
	return p, nil
}

func (p *Policy) known(name string) bool {
	_, group := p.groups[name]
	return group || p.witnesses[name] != nil || name == "none"
}

func (p *Policy) verifiers() []*tree.Verifier {
	if p == nil {
		return nil
	}
	var list []*tree.Verifier
	for _, v := range p.witnesses {
		list = append(list, v)
	}
	return list
}

// satisfied says whether the quorum cosigned the note.
func (p *Policy) satisfied(n *tree.Note) bool {
	return p == nil || p.quorum == "" || p.signed(n, p.quorum)
}

func (p *Policy) signed(n *tree.Note, name string) bool {
	if v := p.witnesses[name]; v != nil {
		return n.SignedBy(v)
	}
	g := p.groups[name]
	have := 0
	for _, m := range g.members {
		if p.signed(n, m) {
			have++
		}
	}
	return have >= g.need
}
