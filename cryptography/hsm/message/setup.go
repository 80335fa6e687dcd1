package message

import "github.com/leadglass/leadglass/cryptography/hsm/link"

// Setup is what a supervisor tells its HSM before the HSM locks itself. It is
// public, and the HSM believes it: on plain Linux a supervisor is trusted
// while it starts.
type Setup struct {
	Supervisor []byte // SPKI of the host at the first link
	Await      bool   // an HSM without a domain waits for one instead of making its own
	Volatile   bool   // nothing is kept: a restart forgets identity and keys, and the HSM rejoins
	Offline    bool   // the member record says that the sealed state lies in a safe
	Label      string // of the member record; empty: "software"
	Guard      string // hardware that guards the seal: GuardTPM, GuardPKCS11; empty: none
	Upgrade    bool   // the guard is new: what was sealed in software alone is accepted, and sealed anew
	SealKey    bool   // the first file is the seal key
}

// Guards of a seal. Their connection is the last file.
const (
	GuardTPM    = "tpm"
	GuardPKCS11 = "pkcs11"
)

// Append appends the encoded setup to b.
func (s *Setup) Append(b []byte) []byte {
	b = link.AppendMap(b, count(1, s.Await, s.Volatile, s.Offline, s.Label != "", s.Guard != "", s.Upgrade, s.SealKey))
	b = link.AppendBytes(link.AppendUint(b, 1), s.Supervisor)
	for i, flag := range []bool{s.Await, s.Volatile, s.Offline} {
		if flag {
			b = link.AppendUint(link.AppendUint(b, uint64(i+2)), 1)
		}
	}
	b = link.AppendTextField(b, 5, s.Label)
	b = link.AppendTextField(b, 6, s.Guard)
	for i, flag := range []bool{s.Upgrade, s.SealKey} {
		if flag {
			b = link.AppendUint(link.AppendUint(b, uint64(i+7)), 1)
		}
	}
	return b
}

// Parse reads a setup.
func (s *Setup) Parse(b []byte) error {
	*s = Setup{}
	r := link.NewReader(b)
	last := uint64(0)
	for n := r.Map(); n > 0 && !r.Failed(); n-- {
		last = r.Key(last)
		switch last {
		case 1:
			s.Supervisor = r.Bytes()
		case 2:
			s.Await = r.Uint() == 1
		case 3:
			s.Volatile = r.Uint() == 1
		case 4:
			s.Offline = r.Uint() == 1
		case 5:
			s.Label = r.Text()
		case 6:
			s.Guard = r.Text()
		case 7:
			s.Upgrade = r.Uint() == 1
		case 8:
			s.SealKey = r.Uint() == 1
		default:
			r.Fail()
		}
	}
	return r.Done()
}
