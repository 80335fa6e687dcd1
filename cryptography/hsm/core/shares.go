package core

import (
	"crypto/hpke"
	"crypto/mlkem"
	"errors"
	"fmt"
	"slices"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/quorum"
	"github.com/leadglass/leadglass/cryptography/secret"
)

// The recovery key of a domain (hsm-domain section 4, durability): an
// agreement key that is a member of the domain like an HSM's, so that each
// token has an envelope for it, but whose secret exists only in shares with
// its holders. It is made and split in CreateDomain and put together again in
// RecoverShares, both inside an HSM, and wiped at once each time.

const recoveryLabel = "recovery key"

// A share in the clear is {1: x, 2: threshold, 3: y}, and y shares
// HAK scalar ‖ ML-KEM seed.
const recoveryLen = scalarLen + mlkem.SeedSize

func (s share) append(threshold int) []byte {
	b := link.AppendMap(make([]byte, 0, len(s.y)+16), 3)
	b = link.AppendUint(link.AppendUint(b, 1), uint64(s.x))
	b = link.AppendUint(link.AppendUint(b, 2), uint64(threshold))
	return link.AppendBytes(link.AppendUint(b, 3), s.y)
}

func parseShare(b []byte) (s share, threshold int, err error) {
	r := link.NewReader(b)
	if r.Map() != 3 {
		r.Fail()
	}
	r.Key(0)
	x := r.Uint()
	r.Key(1)
	t := r.Uint()
	r.Key(2)
	s.y = r.Bytes()
	if r.Done() != nil || x < 1 || x > 255 || t < 2 || t > 255 || len(s.y) != recoveryLen {
		return share{}, 0, errShares
	}
	s.x = byte(x)
	return s, int(t), nil
}

// shareSuite is the suite of quorum.SealedShare.
func shareSuite() (hpke.KEM, hpke.KDF, hpke.AEAD) {
	return hpke.MLKEM768X25519(), hpke.HKDFSHA256(), hpke.AES256GCM()
}

// newRecovery makes a recovery key, and its shares, each sealed to its holder.
func newRecovery(memory *secret.Arena, domain quorum.ID, threshold uint64, holders []quorum.ShareHolder) (quorum.Member, []quorum.SealedShare, error) {
	a, err := newAgreement(memory)
	if err != nil {
		return quorum.Member{}, nil, err
	}
	defer a.hak.Destroy()
	defer a.kem.Destroy()
	m := quorum.Member{Label: recoveryLabel, Flags: quorum.MemberRecovery}
	if m.HAK, m.KEM, err = a.publics(); err != nil {
		return quorum.Member{}, nil, err
	}
	m.HSK = m.HAK
	m.ID = quorum.MemberID(m.HSK)
	whole := make([]byte, 0, recoveryLen)
	defer func() { secret.Wipe(whole[:cap(whole)]) }()
	for _, part := range []*secret.Bytes{a.hak, a.kem} {
		if err := part.Use(func(b []byte) error { whole = append(whole, b...); return nil }); err != nil {
			return quorum.Member{}, nil, err
		}
	}
	shares, err := split(whole, int(threshold), len(holders))
	if err != nil {
		return quorum.Member{}, nil, err
	}
	sealed := make([]quorum.SealedShare, len(holders))
	for i, holder := range holders {
		if sealed[i], err = sealShare(shares[i], int(threshold), domain, holder); err != nil {
			return quorum.Member{}, nil, err
		}
	}
	return m, sealed, nil
}

func sealShare(s share, threshold int, domain quorum.ID, holder quorum.ShareHolder) (quorum.SealedShare, error) {
	plain := s.append(threshold)
	defer secret.Wipe(plain)
	defer secret.Wipe(s.y)
	kem, derivation, aead := shareSuite()
	key, err := kem.NewPublicKey(holder.Public)
	if err != nil {
		return quorum.SealedShare{}, fmt.Errorf("core: share: %w", err)
	}
	enc, sender, err := hpke.NewSender(key, derivation, aead, quorum.ShareInfo(domain, holder.Operator))
	if err != nil {
		return quorum.SealedShare{}, fmt.Errorf("core: share: %w", err)
	}
	ct, err := sender.Seal(nil, plain)
	if err != nil {
		return quorum.SealedShare{}, fmt.Errorf("core: share: %w", err)
	}
	return quorum.SealedShare{Operator: holder.Operator, Sealed: append(slices.Clone(enc), ct...)}, nil
}

// recoveryKey puts the recovery key together from shares that were sent to
// this HSM. The caller destroys it.
func (h *HSM) recoveryKey(a *quorum.RecoverArguments, t *quorum.Token) (quorum.ID, agreement, error) {
	me := h.custody().me
	at := slices.IndexFunc(t.State.Members, func(m quorum.Member) bool { return m.Flags&quorum.MemberRecovery != 0 })
	if at < 0 {
		return quorum.ID{}, agreement{}, errors.New("core: the domain has no recovery key")
	}
	recovery := t.State.Members[at]
	shares := make([]share, 0, len(a.Shares))
	defer func() {
		for _, s := range shares {
			secret.Wipe(s.y)
		}
	}()
	needed := 0
	for _, sent := range a.Shares {
		plain, err := me.open(sent.Envelope, t.State.ID[:], quorum.RecoveryInfo(sent.Operator, me.public.ID, a.Token))
		if err != nil {
			return quorum.ID{}, agreement{}, err
		}
		s, threshold, err := parseShare(plain)
		if err != nil || needed != 0 && threshold != needed {
			secret.Wipe(plain)
			return quorum.ID{}, agreement{}, errShares
		}
		needed = threshold
		shares = append(shares, s)
	}
	if len(shares) < needed {
		return quorum.ID{}, agreement{}, errShares
	}
	whole, err := combine(shares)
	if err != nil {
		return quorum.ID{}, agreement{}, err
	}
	defer secret.Wipe(whole)
	var key agreement
	if key.hak, err = h.cfg.Memory.From(whole[:scalarLen]); err != nil {
		return quorum.ID{}, agreement{}, fmt.Errorf("core: %w", err)
	}
	if key.kem, err = h.cfg.Memory.From(whole[scalarLen:]); err != nil {
		return quorum.ID{}, agreement{}, fmt.Errorf("core: %w", err)
	}
	// Wrong shares make some other key, or none: the domain knows which it is.
	hak, kem, err := key.publics()
	if err != nil || !slices.Equal(hak, recovery.HAK) || !slices.Equal(kem, recovery.KEM) {
		key.destroy()
		return quorum.ID{}, agreement{}, errShares
	}
	return recovery.ID, key, nil
}

func (a agreement) destroy() {
	a.hak.Destroy()
	a.kem.Destroy()
}
