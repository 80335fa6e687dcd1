package keys_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/cryptography/hsm/message"
)

// tokens is a boundary in the test's own process: a key token is the key.
type tokens struct {
	mu   sync.Mutex
	hold chan struct{} // guarded by mu; when not nil, a Decrypt waits until it is closed
	fail error         // guarded by mu; when not nil, every call answers it
}

func (b *tokens) broken() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fail
}

func (b *tokens) set(fail error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = fail
}

func aead(ekt []byte) cipher.AEAD {
	c, err := aes.NewCipher(ekt)
	if err != nil {
		panic(err)
	}
	g, err := cipher.NewGCMWithRandomNonce(c)
	if err != nil {
		panic(err)
	}
	return g
}

func materialOf(ekt []byte) [32]byte {
	m := hmac.New(sha256.New, ekt)
	m.Write([]byte("material"))
	return [32]byte(m.Sum(nil))
}

func (b *tokens) GenerateKey(ctx context.Context, spec hsm.KeySpec) (hsm.Key, error) {
	ekt := make([]byte, 32)
	rand.Read(ekt)
	return hsm.Key{EKT: ekt, MaterialID: materialOf(ekt)}, b.broken()
}

func (b *tokens) Encrypt(ctx context.Context, ekt, plaintext []byte, encCtx map[string]string) ([]byte, error) {
	aad, err := message.AppendContext(nil, encCtx)
	if err != nil {
		return nil, hsm.ErrBadRequest
	}
	id := materialOf(ekt)
	blob := append([]byte{1, 2}, id[:]...)
	blob = append(blob, make([]byte, 24)...)
	return aead(ekt).Seal(blob, nil, plaintext, append(blob[:34:34], aad...)), b.broken()
}

func (b *tokens) Decrypt(ctx context.Context, ekt, blob []byte, encCtx map[string]string) ([]byte, error) {
	b.mu.Lock()
	hold := b.hold
	b.mu.Unlock()
	if hold != nil {
		<-hold
	}
	aad, err := message.AppendContext(nil, encCtx)
	if err != nil || len(blob) < message.BlobOverhead {
		return nil, hsm.ErrAuthFailed
	}
	p, err := aead(ekt).Open(nil, nil, blob[58:], append(blob[:34:34], aad...))
	if err != nil {
		return nil, hsm.ErrAuthFailed
	}
	return p, b.broken()
}

func (b *tokens) ReEncrypt(ctx context.Context, fromEKT, blob []byte, fromCtx map[string]string, toEKT []byte, toCtx map[string]string) ([]byte, error) {
	p, err := b.Decrypt(ctx, fromEKT, blob, fromCtx)
	if err != nil {
		return nil, err
	}
	return b.Encrypt(ctx, toEKT, p, toCtx)
}

func (b *tokens) GenerateDataKey(ctx context.Context, ekt []byte, n int, encCtx map[string]string, withPlaintext bool) ([]byte, []byte, error) {
	p := make([]byte, n)
	rand.Read(p)
	blob, err := b.Encrypt(ctx, ekt, p, encCtx)
	if !withPlaintext {
		p = nil
	}
	return p, blob, err
}

func (b *tokens) Random(ctx context.Context, n int) ([]byte, error) {
	p := make([]byte, n)
	rand.Read(p)
	return p, b.broken()
}
