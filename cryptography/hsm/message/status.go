package message

import "github.com/leadglass/leadglass/cryptography/hsm/link"

// Status is what an HSM says of itself; nothing in it is secret.
type Status struct {
	Member     [16]byte // member id
	Domain     [16]byte // domain id
	Serial     uint64   // of the domain state
	DomainKeys uint64   // held, the active one and those that only decrypt
	ActiveKey  [8]byte  // id of the active domain key
	Rotated    uint64   // when it was made, ms since 1970
	Memory     string   // where key material lies: "memfd_secret" or "locked pages"
	Seal       string   // what guards the domain at rest: "software"
	Operations uint64   // answered since start
	Erasing    bool     // built with runtime/secret
	Members    uint64   // of the domain; 0: the HSM has no domain and waits for one
	Operators  uint64   // of the domain; 0: its supervisor rules alone
	Standing   uint64   // until when the operators let it rotate, ms since 1970; 0: not at all
}

// Append appends the encoded status to b.
func (s *Status) Append(b []byte) []byte {
	b = link.AppendMap(b, 13)
	b = link.AppendBytes(link.AppendUint(b, 1), s.Member[:])
	b = link.AppendBytes(link.AppendUint(b, 2), s.Domain[:])
	b = link.AppendUint(link.AppendUint(b, 3), s.Serial)
	b = link.AppendUint(link.AppendUint(b, 4), s.DomainKeys)
	b = link.AppendBytes(link.AppendUint(b, 5), s.ActiveKey[:])
	b = link.AppendUint(link.AppendUint(b, 6), s.Rotated)
	b = link.AppendText(link.AppendUint(b, 7), s.Memory)
	b = link.AppendText(link.AppendUint(b, 8), s.Seal)
	b = link.AppendUint(link.AppendUint(b, 9), s.Operations)
	erasing := uint64(0)
	if s.Erasing {
		erasing = 1
	}
	b = link.AppendUint(link.AppendUint(b, 10), erasing)
	b = link.AppendUint(link.AppendUint(b, 11), s.Members)
	b = link.AppendUint(link.AppendUint(b, 12), s.Operators)
	return link.AppendUint(link.AppendUint(b, 13), s.Standing)
}

// Parse reads a status.
func (s *Status) Parse(b []byte) error {
	r := link.NewReader(b)
	fixed := func(key uint64, dst []byte) {
		r.Key(key - 1)
		if v := r.Bytes(); len(v) != len(dst) || copy(dst, v) != len(dst) {
			r.Fail()
		}
	}
	number := func(key uint64) uint64 { r.Key(key - 1); return r.Uint() }
	text := func(key uint64) string { r.Key(key - 1); return r.Text() }
	if r.Map() != 13 {
		r.Fail()
	}
	fixed(1, s.Member[:])
	fixed(2, s.Domain[:])
	s.Serial, s.DomainKeys = number(3), number(4)
	fixed(5, s.ActiveKey[:])
	s.Rotated = number(6)
	s.Memory, s.Seal = text(7), text(8)
	s.Operations = number(9)
	s.Erasing = number(10) == 1
	s.Members, s.Operators, s.Standing = number(11), number(12), number(13)
	return r.Done()
}
