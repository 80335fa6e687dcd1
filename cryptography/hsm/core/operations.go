package core

import (
	"crypto/rand"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/cryptography/secret"
	"github.com/leadglass/leadglass/isolation/attest"
)

// An operation is one row of the table of what hosts can ask for.
type operation struct {
	name  string
	roles []string // a host needs one of them
	slow  bool
	run   func(c *call) uint64
}

// call is one operation under way. What it needs of memory for secrets lies in
// it, and is wiped when it ends.
type call struct {
	h      *HSM
	d      *domain
	host   *link.Peer
	op     uint64
	token  []byte
	params message.Params
	result message.Result

	claims *attest.Claims // of the recipient, verified; nil: there is none
	proof  proof          // of the caller's own request, read when a key asks for it
	used   []used         // keys that this call used, to look at their fences once more at its end

	attrs    attributes
	material [maxMaterial]byte
	plain    [message.MaxPlaintext + message.MaxBlob]byte
}

// operations is the whole of what an HSM does. None of its rows can output key
// material: the only way for it to leave is a token (wrap), and a test walks
// the table with known keys to see that it stays so.
func operations() map[uint64]operation {
	host := []string{RoleHost}
	both := []string{RoleHost, RoleAuthority}
	supervisor := []string{RoleSupervisor}
	return map[uint64]operation{
		message.OpGenerateKey:     {"GenerateKey", both, false, (*call).generateKey},
		message.OpEncrypt:         {"Encrypt", both, false, (*call).encrypt},
		message.OpDecrypt:         {"Decrypt", both, false, (*call).decrypt},
		message.OpReEncrypt:       {"ReEncrypt", host, false, (*call).reEncrypt},
		message.OpGenerateDataKey: {"GenerateDataKey", both, false, (*call).generateDataKey},
		message.OpRandom:          {"Random", both, false, (*call).random},
		message.OpRewrapEKT:       {"RewrapEKT", both, false, (*call).rewrap},
		message.OpStatus:          {"Status", both, false, (*call).status},
		message.OpGenerateLogKey:  {"GenerateLogKey", host, true, (*call).generateLogKey},
		// A signature takes as long as ten ciphers, but there is one for a whole batch of events and all their callers
		// wait for it: a goroutine of its own cost them more than it saved the others.
		message.OpSignLog:          {"SignLog", host, false, (*call).signLog},
		message.OpGenerateAuditKey: {"GenerateAuditKey", host, true, (*call).generateAuditKey},
		message.OpOpenAuditKey:     {"OpenAuditKey", host, true, (*call).openAuditKey},
		message.OpPlaceHost:        {"PlaceHost", supervisor, false, (*call).placeHost},
		message.OpReady:            {"Ready", supervisor, false, (*call).ready},
		message.OpRotateDomainKeys: {"RotateDomainKeys", supervisor, true, (*call).rotate},

		message.OpGenerateDataKeyPair: {"GenerateDataKeyPair", host, true, (*call).generateDataKeyPair},
		message.OpSign:                {"Sign", host, true, (*call).sign},
		message.OpVerify:              {"Verify", host, true, (*call).verify},
		message.OpGenerateMac:         {"GenerateMac", host, false, (*call).generateMac},
		message.OpVerifyMac:           {"VerifyMac", host, false, (*call).verifyMac},
		message.OpDeriveSharedSecret:  {"DeriveSharedSecret", host, true, (*call).deriveSharedSecret},

		message.OpCommand:     {"Command", host, true, (*call).command},
		message.OpMember:      {"Member", host, true, (*call).memberRecord},
		message.OpCommandLog:  {"CommandLog", host, true, (*call).commandLog},
		message.OpDomainState: {"DomainState", host, false, (*call).domainState},

		message.OpUnused: {"Unused", supervisor, false, (*call).unused},

		message.OpTrustRoots:       {"TrustRoots", supervisor, false, (*call).trustRoots},
		message.OpAttestationRoots: {"AttestationRoots", host, false, (*call).attestationRoots},

		// These write a file.
		message.OpRaiseFence:     {"RaiseFence", host, true, (*call).raiseFence},
		message.OpSealConditions: {"SealConditions", host, true, (*call).sealConditions},
		message.OpFences:         {"Fences", host, true, (*call).exchangeFences},
		message.OpImportBegin:    {"ImportBegin", host, true, (*call).importBegin},
		message.OpImportKey:      {"ImportKey", host, true, (*call).importKey},
	}
}

// withoutDomain says whether an HSM that has no domain answers an operation.
func withoutDomain(op uint64) bool {
	switch op {
	case message.OpCommand, message.OpMember, message.OpCommandLog, message.OpStatus, message.OpPlaceHost, message.OpTrustRoots, message.OpReady:
		return true
	}
	return false
}

// Slow reports whether a request takes long.
func (h *HSM) Slow(r *link.Request) bool {
	switch r.Op {
	case message.OpGenerateKey, message.OpEncrypt, message.OpDecrypt, message.OpReEncrypt, message.OpGenerateDataKey, message.OpRandom:
		return message.Asymmetric(r.Params)
	}
	return h.table[r.Op].slow
}

// Handle does one operation. It is called by package link.
func (h *HSM) Handle(r *link.Request, dst []byte) (out []byte, status uint64) {
	defer func() { h.log.count(r.Op, status) }()
	op, known := h.table[r.Op]
	if !known {
		return dst, link.StatusBadRequest
	}
	allowed := false
	for _, role := range op.roles {
		allowed = allowed || r.Host.Has(role)
	}
	if !allowed {
		return dst, link.StatusDenied
	}
	c := h.calls.Get().(*call)
	c.h, c.d, c.host, c.op, c.token = h, h.domain(), r.Host, r.Op, r.Token
	defer c.end()
	if !withoutDomain(r.Op) && h.outdated(c.d, r.Op) {
		return dst, link.StatusStale
	}
	// A broken invariant in one call must not take all keys of the node away;
	// what went wrong is not told, because it could be part of a secret.
	defer func() {
		if recover() != nil {
			out, status = dst, link.StatusInternal
		}
	}()
	if c.params.Parse(r.Params) != nil {
		return dst, link.StatusBadRequest
	}
	if status = c.admit(); status != link.StatusOK {
		return dst, status
	}
	secret.Do(func() {
		if status = op.run(c); status == link.StatusOK {
			status = c.stillOpen()
		}
		if status == link.StatusOK {
			status = c.envelop()
		}
		if status == link.StatusOK {
			out = c.result.Append(dst)
		}
	})
	h.operations.Add(1)
	if status != link.StatusOK {
		return dst, status
	}
	return out, status
}

// end wipes and gives back.
func (c *call) end() {
	h := c.h
	secret.Wipe(c.material[:])
	secret.Wipe(c.plain[:])
	c.params, c.result, c.attrs = message.Params{}, message.Result{}, attributes{}
	c.h, c.d, c.host, c.op, c.token, c.claims = nil, nil, nil, 0, nil, nil
	c.proof, c.used = proof{}, c.used[:0]
	h.calls.Put(c)
}

// open unwraps the token of the call, if this call may use the key.
func (c *call) open() ([]byte, uint64) {
	material, status := c.d.unseal(c.token, &c.attrs, c.material[:])
	if status == link.StatusOK {
		status = c.use(&c.attrs, c.params.Context)
	}
	return material, status
}

// openTo unwraps the second token of the call, in place of the first.
func (c *call) openTo() ([]byte, uint64) {
	from := c.attrs
	material, status := c.d.unseal(c.params.ToToken, &c.attrs, c.material[:])
	if status == link.StatusOK {
		status = c.use(&c.attrs, c.params.ToContext)
	}
	if status == link.StatusOK && !c.leads(&from, &c.attrs) {
		status = link.StatusDenied
	}
	return material, status
}

func (c *call) openSymmetric() ([]byte, uint64) {
	hbk, status := c.open()
	if status == link.StatusOK && !c.attrs.isSymmetric() {
		status = link.StatusWrongToken
	}
	return hbk, status
}

const maxName = 512

// make wraps new material under the names that the host gave.
func (c *call) make(spec, usage, origin string, material []byte) uint64 {
	p := &c.params
	if len(p.Name) > maxName || p.Role != "" && p.Role != RoleAuthority {
		return link.StatusBadRequest
	}
	// A key is made by a host that may use it afterwards: nobody fills a place
	// that is another's.
	if p.Role == "" && !c.host.Has(RoleHost) || p.Role != "" && !c.host.Has(p.Role) {
		return link.StatusDenied
	}
	a := attributes{
		spec: spec, usage: usage, origin: origin, name: p.Name, role: p.Role,
		created: uint64(c.h.cfg.Now().UnixMilli()), notAfter: p.NotAfter, material: materialID(p.Name, material),
	}
	if status := c.inherit(&a); status != link.StatusOK {
		return status
	}
	token, err := c.d.wrap(&a, material)
	if err != nil {
		return link.StatusInternal
	}
	c.result.Token, c.result.Material = token, a.material[:]
	return link.StatusOK
}

func (c *call) generateKey() uint64 {
	p := &c.params
	if p.Spec != message.SpecSymmetric {
		return c.generateOther()
	}
	if p.Flags == message.FlagClosed && p.Usage == usageClose && (p.Origin == originHere || p.Origin == message.OriginExternal) {
		// For a host that has no token left of a key that is to end, and whose backups may hold some: no operation but
		// RaiseFence takes it.
		rand.Read(c.material[:32])
		return c.make(p.Spec, usageClose, p.Origin, c.material[:32])
	}
	if p.Usage != usageEncrypt || p.Origin != originHere || p.Flags != 0 {
		return link.StatusBadRequest
	}
	hbk := c.material[:32]
	rand.Read(hbk)
	return c.make(p.Spec, p.Usage, p.Origin, hbk)
}

func (c *call) encrypt() uint64 {
	if c.params.Alg != "" {
		return c.encryptOAEP()
	}
	if len(c.params.Data) > message.MaxPlaintext {
		return link.StatusBadRequest
	}
	hbk, status := c.openSymmetric()
	if status != link.StatusOK {
		return status
	}
	c.result.Blob, status = encryptBlob(nil, message.BlobSymmetric, hbk, &c.attrs.material, c.params.Data, c.params.Context)
	return status
}

func (c *call) decrypt() uint64 {
	if c.params.Alg != "" {
		return c.decryptOAEP()
	}
	hbk, status := c.openSymmetric()
	if status != link.StatusOK {
		return status
	}
	c.result.Data, status = decryptBlob(c.plain[:0], hbk, &c.attrs.material, c.params.Blob, c.params.Context)
	return status
}

const maxRandom = 1024

func (c *call) generateDataKey() uint64 {
	n := c.params.Length
	if n < 1 || n > maxRandom || c.params.Flags&^message.FlagNoPlaintext != 0 {
		return link.StatusBadRequest
	}
	hbk, status := c.openSymmetric()
	if status != link.StatusOK {
		return status
	}
	key := c.plain[:n]
	rand.Read(key)
	c.result.Blob, status = encryptBlob(nil, message.BlobSymmetric, hbk, &c.attrs.material, key, c.params.Context)
	if c.params.Flags&message.FlagNoPlaintext == 0 {
		c.result.Data = key
	}
	return status
}

func (c *call) random() uint64 {
	n := c.params.Length
	if n < 1 || n > maxRandom {
		return link.StatusBadRequest
	}
	c.result.Data = c.plain[:n]
	rand.Read(c.result.Data)
	return link.StatusOK
}

// rewrap seals a token anew under the active domain key. What is sealed into
// it stays, also if the key is closed or fenced: that is no use. With
// FlagCurrent it also gets the epoch of the key's fence.
func (c *call) rewrap() uint64 {
	material, status := c.d.unseal(c.token, &c.attrs, c.material[:])
	if status == link.StatusOK {
		status = c.attrs.admits(c.host, c.h.cfg.Now())
	}
	switch c.params.Flags {
	case 0:
	case message.FlagCurrent:
		if status == link.StatusOK {
			status = c.current(&c.attrs)
		}
	default:
		return link.StatusBadRequest
	}
	if status != link.StatusOK {
		return status
	}
	token, err := c.d.wrap(&c.attrs, material)
	if err != nil {
		return link.StatusInternal
	}
	c.result.Token = token
	return link.StatusOK
}

func (c *call) status() uint64 {
	held := c.h.custody()
	if held.me == nil {
		return link.StatusDenied
	}
	if len(c.token) > 0 && held.d != nil {
		c.h.hear(held.d, c.token)
	}
	s := message.Status{
		Member: held.me.public.ID, Memory: c.h.cfg.Memory.Kind(), Seal: c.h.sealName(),
		Operations: c.h.operations.Load(), Erasing: secret.Erasing, Standing: held.standing.to,
	}
	if d := held.d; d != nil {
		s.Domain, s.Serial, s.DomainKeys, s.ActiveKey, s.Rotated = d.state.ID, d.state.Serial, uint64(len(d.keys)), d.active, d.created()
		s.Members, s.Operators = uint64(len(d.state.Members)), uint64(len(d.state.Operators))
	}
	c.result.Status = s.Append(nil)
	return link.StatusOK
}

func (c *call) placeHost() uint64 {
	if !c.h.placeHost(c.params.Public, c.params.Role) {
		return link.StatusDenied
	}
	return link.StatusOK
}

func (c *call) ready() uint64 {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	c.h.ready = true
	return link.StatusOK
}
