package core

import (
	"crypto/ecdsa"
	"crypto/rand"
	"time"

	"github.com/leadglass/leadglass/base/id"
	hsm "github.com/leadglass/leadglass/cryptography/hsm/message"
	"github.com/leadglass/leadglass/identity/authority/message"
)

// callerKeyLife is how long a record of a caller's public key is good: as long
// as the request that it goes with may be late at the HSM. A credential that
// was ended is of no use there after that.
const callerKeyLife = 5 * time.Minute

// callerKey states which public key checks the SigV4A signatures of a
// credential, for an HSM that is to see for itself who asks (hsm-domain
// section 7). It is signed with the key by which this process is a host of the
// HSM: the HSM was given its public half before it was ready, by a supervisor
// that it believes until then and no longer. What the front could do with such
// a record is what the credential's owner did, to sign.
func (a *authority) callerKey(p *message.Params, r *result) error {
	c, known, err := a.resolve(p)
	if err != nil {
		return err
	}
	public, at, cached, err := a.publicOf(&c)
	if err != nil {
		return err
	}
	if !known {
		return failure(message.StatusSignature)
	}
	if !cached {
		a.public.put(at, public)
	}
	until := a.now().Add(callerKeyLife)
	k := hsm.CallerKey{AccessKeyID: c.akid}
	if c.sess == nil {
		// The id carries the account, and the sealed record opens for this id alone.
		k.Account, err = id.AccessKeyAccount(c.akid)
	} else {
		claims := &c.sess.claims
		if claims.Type == message.RootTask {
			return failure(message.StatusSignature) // it acts in an account that it does not belong to
		}
		k.Account, k.Principal = claims.Account, claims.ARN
		if claims.Expires.Before(until) {
			until = claims.Expires
		}
	}
	if err != nil {
		return err
	}
	if k.Public, err = public.Bytes(); err != nil { // uncompressed, 65 bytes
		return err
	}
	k.NotAfter = uint64(until.UnixMilli())
	record := k.Append(nil)
	sig, err := ecdsa.SignASN1(rand.Reader, a.host, hsm.CallerKeyDigest(record))
	if err != nil {
		return err
	}
	r.Message = hsm.AppendCallerKey(nil, record, sig)
	return nil
}
