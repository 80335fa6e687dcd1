package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
)

// Conditions are what is sealed into a key's token and enforced by the HSM,
// whatever a host says (hsm-domain section 6, attribute 8). The zero value
// asks for nothing.
type Conditions struct {
	// Attested: plaintext leaves only encrypted to an attested recipient.
	Attested bool
	// Measurements: the recipient must meet one of these sets; with one, plaintext leaves only so, Attested or not.
	Measurements []Measurement
	// Context are pairs that every encryption context must hold.
	Context map[string]string
	// CallerProof: the HSM must see the request as a principal of the key's own account signed it.
	CallerProof bool
	// Operations is a bitmap by operation number of what the key may be used for; 0: everything.
	Operations uint64
	// Custodians are an encoded quorum.Custodians: who together can loosen this (attribute 10). Empty: nobody ever can.
	Custodians []byte
}

// A Measurement is a set of registers and the values that all of them must
// have.
type Measurement map[uint64][]byte

// Numbers of the conditions in attribute 8. The seventh, a role that a host
// must have, is no customer's and lies in the same map.
const (
	conditionAttested     = 1
	conditionMeasurements = 2
	conditionContext      = 3
	conditionProof        = 4
	conditionOperations   = 5
	conditionCustodians   = 6
	conditionRole         = 7
)

// Bounds of conditions: they travel in every token.
const (
	MaxConditions   = 2048 // encoded, without custodians
	MaxCustodians   = 2048 // encoded
	MaxMeasurements = 16
	maxRegisters    = 32
	maxPairs        = 16
)

// ErrConditions is returned for conditions that are malformed, too long, or
// that nothing could ever meet.
var ErrConditions = errors.New("message: unusable sealed conditions")

// Empty says whether nothing is asked for.
func (c *Conditions) Empty() bool {
	return !c.Attested && len(c.Measurements) == 0 && len(c.Context) == 0 && !c.CallerProof && c.Operations == 0 && len(c.Custodians) == 0
}

// Attests says whether plaintext leaves only to an attested recipient.
func (c *Conditions) Attests() bool { return c.Attested || len(c.Measurements) > 0 }

// Allows says whether the bitmap allows an operation.
func (c *Conditions) Allows(op uint64) bool {
	return c.Operations == 0 || op < 64 && c.Operations>>op&1 == 1
}

// Check refuses conditions that are too long or cannot be met: a register of
// zeros was never measured (kms-recipient-attestation section 3, step 7).
func (c *Conditions) Check() error {
	if len(c.Measurements) > MaxMeasurements || len(c.Context) > maxPairs || len(c.Custodians) > MaxCustodians {
		return ErrConditions
	}
	for _, m := range c.Measurements {
		if len(m) == 0 || len(m) > maxRegisters {
			return ErrConditions
		}
		for register, value := range m {
			if register >= maxRegisters || len(value) != 32 && len(value) != 48 && len(value) != 64 ||
				len(bytes.Trim(value, "\x00")) == 0 {
				return ErrConditions
			}
		}
	}
	for name := range c.Context {
		if name == "" {
			return ErrConditions
		}
	}
	if len(c.AppendAttribute(nil, "")) > MaxConditions {
		return ErrConditions
	}
	return nil
}

// Tightens says whether whatever c allows was allowed by old as well, so that
// going from old to c takes nothing but the word of the key's owner. Naming
// custodians where conditions stand already loosens: it makes a way out.
func (c *Conditions) Tightens(old *Conditions) bool {
	if old.Empty() {
		return true
	}
	if old.Attested && !c.Attested || old.CallerProof && !c.CallerProof || !bytes.Equal(old.Custodians, c.Custodians) {
		return false
	}
	if old.Operations != 0 && (c.Operations == 0 || c.Operations&^old.Operations != 0) {
		return false
	}
	for name, value := range old.Context {
		if v, ok := c.Context[name]; !ok || v != value {
			return false
		}
	}
	return c.measuresAs(old)
}

// Releases says whether what leaves a key with the conditions c under those of
// to stays as closed: for plaintext that moves from one key to another inside
// the HSM.
func (c *Conditions) Releases(to *Conditions) bool {
	if !c.Attests() {
		return true
	}
	return to.Attests() && to.measuresAs(c) && (len(to.Custodians) == 0 || bytes.Equal(to.Custodians, c.Custodians))
}

// measuresAs says whether every set of c implies one of old's.
func (c *Conditions) measuresAs(old *Conditions) bool {
	if len(old.Measurements) == 0 {
		return true
	}
	for _, m := range c.Measurements {
		if !slices.ContainsFunc(old.Measurements, m.holds) {
			return false
		}
	}
	return len(c.Measurements) > 0
}

// holds says whether m asks for everything that other asks for.
func (m Measurement) holds(other Measurement) bool {
	for register, value := range other {
		if !bytes.Equal(m[register], value) {
			return false
		}
	}
	return true
}

// encodedTrue is CBOR's true: what is not asked for is left out, so there is
// no false.
const encodedTrue = 0xf5

// AppendAttribute appends attribute 8: the conditions and the role that a host
// must have, if any. The custodians themselves are attribute 10.
func (c *Conditions) AppendAttribute(b []byte, role string) []byte {
	b = link.AppendMap(b, count(0, c.Attested, len(c.Measurements) > 0, len(c.Context) > 0, c.CallerProof, c.Operations != 0,
		len(c.Custodians) > 0, role != ""))
	if c.Attested {
		b = append(link.AppendUint(b, conditionAttested), encodedTrue)
	}
	if len(c.Measurements) > 0 {
		b = link.AppendArray(link.AppendUint(b, conditionMeasurements), len(c.Measurements))
		for _, m := range c.Measurements {
			b = link.AppendMap(b, len(m))
			for _, register := range slices.Sorted(maps.Keys(m)) {
				b = link.AppendBytes(link.AppendUint(b, register), m[register])
			}
		}
	}
	if len(c.Context) > 0 {
		b = link.AppendMap(link.AppendUint(b, conditionContext), len(c.Context))
		for _, name := range slices.SortedFunc(maps.Keys(c.Context), textOrder) {
			b = link.AppendText(link.AppendText(b, name), c.Context[name])
		}
	}
	if c.CallerProof {
		b = append(link.AppendUint(b, conditionProof), encodedTrue)
	}
	b = link.AppendUintField(b, conditionOperations, c.Operations)
	if len(c.Custodians) > 0 {
		b = append(link.AppendUint(b, conditionCustodians), encodedTrue)
	}
	return link.AppendTextField(b, conditionRole, role)
}

// textOrder is the order of text keys in deterministic CBOR: that of their
// encoded bytes, in which the shorter ones come first.
func textOrder(a, b string) int {
	return bytes.Compare(link.AppendText(nil, a), link.AppendText(nil, b))
}

// ParseAttribute reads attribute 8. known is false if there is a condition
// that this version does not know: then nothing may be done under it.
// Custodians is left empty; custodians says that attribute 10 must be there.
func (c *Conditions) ParseAttribute(r *link.Reader) (role string, custodians, known bool) {
	*c, known = Conditions{}, true
	yes := func() bool {
		if v := r.Raw(); len(v) != 1 || v[0] != encodedTrue {
			r.Fail()
		}
		return true
	}
	last := uint64(0)
	for n := r.Map(); n > 0 && !r.Failed(); n-- {
		switch last = r.Key(last); last {
		case conditionAttested:
			c.Attested = yes()
		case conditionMeasurements:
			c.parseMeasurements(r)
		case conditionContext:
			c.parseContext(r)
		case conditionProof:
			c.CallerProof = yes()
		case conditionOperations:
			if c.Operations = r.Uint(); c.Operations == 0 {
				r.Fail()
			}
		case conditionCustodians:
			custodians = yes()
		case conditionRole:
			if role = r.Text(); role == "" {
				r.Fail()
			}
		default:
			known = false
			r.Raw()
		}
	}
	if c.Check() != nil {
		r.Fail()
	}
	return role, custodians, known
}

func (c *Conditions) parseMeasurements(r *link.Reader) {
	n := r.Array()
	if n == 0 || n > MaxMeasurements {
		r.Fail()
	}
	for ; n > 0 && !r.Failed(); n-- {
		m := Measurement{}
		first, last := true, uint64(0)
		for k := r.Map(); k > 0 && !r.Failed(); k-- {
			// Register 0 is a key too, so the Reader's rule of rising keys does not fit.
			register := r.Uint()
			if !first && register <= last {
				r.Fail()
			}
			first, last = false, register
			m[register] = bytes.Clone(r.Bytes())
		}
		c.Measurements = append(c.Measurements, m)
	}
}

func (c *Conditions) parseContext(r *link.Reader) {
	n := r.Map()
	if n == 0 {
		r.Fail()
	}
	last := ""
	for ; n > 0 && !r.Failed(); n-- {
		name := r.Text()
		if c.Context == nil {
			c.Context = make(map[string]string)
		} else if textOrder(last, name) >= 0 {
			r.Fail()
		}
		last = name
		c.Context[name] = r.Text()
	}
}

// Append appends the conditions as a parameter: [attribute 8, custodians].
func (c *Conditions) Append(b []byte) []byte {
	b = c.AppendAttribute(link.AppendArray(b, 2), "")
	return link.AppendBytes(b, c.Custodians)
}

// Parse reads what Append wrote. It refuses conditions that are unknown, since
// nobody could enforce them.
func (c *Conditions) Parse(b []byte) error {
	r := link.NewReader(b)
	if r.Array() != 2 {
		r.Fail()
	}
	role, custodians, known := c.ParseAttribute(r)
	c.Custodians = bytes.Clone(r.Bytes())
	if r.Done() != nil || !known || role != "" || custodians != (len(c.Custodians) > 0) || c.Check() != nil {
		*c = Conditions{}
		return ErrConditions
	}
	return nil
}

// A Fence is what the HSM remembers of a key beside its tokens: tokens of an
// earlier epoch are refused, and while it is closed all are (hsm-domain
// section 9).
type Fence struct {
	Epoch  uint64
	Closed bool
}

// FenceForever is the epoch of a destroyed key; no token reaches it.
const FenceForever = ^uint64(0)

// Append appends the encoded fence to b.
func (f Fence) Append(b []byte) []byte {
	b = link.AppendMap(b, count(1, f.Closed))
	b = link.AppendUint(link.AppendUint(b, 1), f.Epoch)
	if f.Closed {
		b = append(link.AppendUint(b, 2), encodedTrue)
	}
	return b
}

// Parse reads what Append wrote.
func (f *Fence) Parse(b []byte) error {
	*f = Fence{}
	r := link.NewReader(b)
	n := r.Map()
	if n < 1 || n > 2 || r.Key(0) != 1 {
		r.Fail()
	}
	f.Epoch = r.Uint()
	if n == 2 {
		if v := r.Raw(); r.Failed() || len(v) != 1 || v[0] != 2 {
			r.Fail()
		}
		if v := r.Raw(); len(v) != 1 || v[0] != encodedTrue {
			r.Fail()
		}
		f.Closed = true
	}
	return r.Done()
}

// ContextValue finds the value of a name in a serialised encryption context
// that CheckContext accepts.
func ContextValue(b []byte, name string) (value []byte, ok bool) {
	if len(b) < 4 {
		return nil, false
	}
	n := binary.BigEndian.Uint32(b)
	b = b[4:]
	for range n {
		k, rest, cutKey := cut(b)
		v, rest, cutValue := cut(rest)
		if !cutKey || !cutValue {
			return nil, false
		}
		if string(k) == name {
			return v, true
		}
		b = rest
	}
	return nil, false
}
