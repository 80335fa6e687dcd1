package hsm

import (
	"bytes"
	"context"

	"github.com/leadglass/leadglass/cryptography/hsm/link"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// Conditions are what the HSM enforces for a key whatever its hosts say, and a
// Measurement is one set of register values that a recipient may have.
type (
	Conditions  = message.Conditions
	Measurement = message.Measurement
)

// ConditionOperations are the operations that conditions can name, by AWS's
// names, and their numbers.
var ConditionOperations = map[string]uint64{
	"Encrypt": message.OpEncrypt, "Decrypt": message.OpDecrypt, "ReEncrypt": message.OpReEncrypt,
	"GenerateDataKey": message.OpGenerateDataKey, "GenerateDataKeyPair": message.OpGenerateDataKeyPair,
	"Sign": message.OpSign, "Verify": message.OpVerify, "GenerateMac": message.OpGenerateMac, "VerifyMac": message.OpVerifyMac,
	"DeriveSharedSecret": message.OpDeriveSharedSecret,
}

// FenceForever is the epoch of a destroyed key.
const FenceForever = message.FenceForever

// A Proof is a caller's signed request, for keys whose conditions ask for it.
type Proof = message.Proof

type proofKey struct{}

// WithProof is ctx carrying an encoded Proof, which goes with every call under
// it. The HSM looks at it where a key's conditions ask for it, and nowhere
// else.
func WithProof(ctx context.Context, proof []byte) context.Context {
	return context.WithValue(ctx, proofKey{}, proof)
}

func proofOf(ctx context.Context) []byte {
	proof, _ := ctx.Value(proofKey{}).([]byte)
	return proof
}

// RaiseFence moves the fence of the token's key to an epoch, 0 for the next
// one, and says where it is then: tokens of earlier epochs are refused from
// now on, and closed, all of the key's are. It is durable when RaiseFence
// returns. A closed key opens by a raise that is not closed; an explicit epoch
// that is not ahead is ErrFenced, so that a host with an old copy of the store
// cannot tell a closed key from an open one by opening it.
func (c *Client) RaiseFence(ctx context.Context, ekt []byte, epoch uint64, closed bool) (now uint64, err error) {
	p := message.Params{Epoch: epoch}
	if closed {
		p.Flags = message.FlagClosed
	}
	return c.fence(ctx, message.OpRaiseFence, ekt, &p, nil)
}

// fence does an operation that answers with a fence.
func (c *Client) fence(ctx context.Context, op uint64, ekt []byte, p *message.Params, take func(*message.Result)) (epoch uint64, err error) {
	var parse error
	err = c.call(ctx, op, ekt, p, func(r *message.Result) {
		var f message.Fence
		parse = f.Parse(r.Record)
		if epoch = f.Epoch; take != nil {
			take(r)
		}
	})
	if err == nil && parse != nil {
		err = ErrInternal
	}
	return epoch, err
}

// Current gives a token the epoch of its key's fence, which the caller must
// know: that of RaiseFence. ErrFenced: it is another, or other conditions are
// sealed into the key than into this token.
func (c *Client) Current(ctx context.Context, ekt []byte, epoch uint64) (newEKT []byte, err error) {
	p := message.Params{Flags: message.FlagCurrent, Epoch: epoch}
	err = c.call(ctx, message.OpRewrapEKT, ekt, &p, func(r *message.Result) { newEKT = bytes.Clone(r.Token) })
	return newEKT, err
}

// SealConditions gives a key's token other conditions, and moves the key's
// fence so that the older tokens are dead. The tokens of the key's further
// materials follow, each with the epoch that the first was given; for the
// first it is 0. To loosen takes a command signed by the custodians that the
// present conditions name, otherwise nil. ErrDenied: they did not sign this.
func (c *Client) SealConditions(ctx context.Context, ekt []byte, next *Conditions, epoch uint64, command []byte) (newEKT []byte, now uint64, err error) {
	p := message.Params{Conditions: next.Append(nil), Epoch: epoch, Command: command}
	now, err = c.fence(ctx, message.OpSealConditions, ekt, &p, func(r *message.Result) { newEKT = bytes.Clone(r.Token) })
	return newEKT, now, err
}

// AdoptFence makes this HSM know the fence and the conditions that another
// member of its domain gave a key, by a token that was made there.
func (c *Client) AdoptFence(ctx context.Context, ekt []byte) error {
	_, err := c.fence(ctx, message.OpRaiseFence, ekt, &message.Params{Flags: message.FlagCurrent}, nil)
	return err
}

// SyncFences brings the members' fences together: what one of them knows and
// another missed, because it was away, all know then. It belongs before the
// pool serves, and after Add.
func (p *Pool) SyncFences(ctx context.Context) error {
	members := p.Members()
	for i, from := range members {
		for k, to := range members {
			if i == k {
				continue
			}
			if err := SyncFences(ctx, from, to); err != nil {
				return err
			}
		}
	}
	return nil
}

// ClosingToken makes a token that is good for nothing but to close a key of
// which there is no other any more.
func (c *Client) ClosingToken(ctx context.Context, spec KeySpec) (ekt []byte, err error) {
	p := spec.params()
	p.Spec, p.Usage, p.Flags = SymmetricDefault, message.UsageClose, message.FlagClosed
	err = c.call(ctx, message.OpGenerateKey, nil, &p, func(r *message.Result) { ekt = bytes.Clone(r.Token) })
	return ekt, err
}

// Destroy closes a key for ever. The tokens of all its materials are brought
// once more; the answer is the HSM's signed statement that it opens none of
// them again (OpenDestruction).
func (c *Client) Destroy(ctx context.Context, ekts [][]byte) (statement []byte, err error) {
	if len(ekts) == 0 {
		return nil, ErrBadRequest
	}
	p := message.Params{Epoch: FenceForever, Flags: message.FlagClosed}
	if further := ekts[1:]; len(further) > 0 {
		p.Data = link.AppendArray(nil, len(further))
		for _, ekt := range further {
			p.Data = link.AppendBytes(p.Data, ekt)
		}
	}
	_, err = c.fence(ctx, message.OpRaiseFence, ekts[0], &p, func(r *message.Result) { statement = bytes.Clone(r.Proof) })
	return statement, err
}

// OpenDestruction verifies a statement of Destroy with the SPKI of the HSM
// that made it.
func OpenDestruction(statement, identity []byte) (message.Destruction, error) {
	key, err := link.ParsePublic(identity)
	if err != nil {
		return message.Destruction{}, err
	}
	return message.OpenDestruction(statement, key)
}

// fenceShards is how many shards a member's fences lie in.
const fenceShards = 64

// SyncFences brings the fences of one member of a domain to another, which may
// not serve before: without them it would take tokens that the others refuse.
// What the other knows better stays.
func SyncFences(ctx context.Context, from, to *Client) error {
	for shard := uint64(1); shard <= fenceShards; shard++ {
		for after := []byte(nil); ; {
			var page, next []byte
			p := message.Params{Length: shard, Enc: after}
			err := from.call(ctx, message.OpFences, nil, &p, func(r *message.Result) { page, next = bytes.Clone(r.Record), bytes.Clone(r.Public) })
			if err == nil {
				err = to.call(ctx, message.OpFences, nil, &message.Params{Length: shard, Blob: page}, nil)
			}
			if err != nil {
				return err
			}
			if len(next) == 0 {
				break
			}
			after = next
		}
	}
	return nil
}
