package signer

import (
	"crypto/elliptic"
	"fmt"
	"io"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/leadglass/leadglass/cryptography/quorum"
)

// AgentKey is a key that an ssh-agent holds. The agent signs the signing input
// as it would sign anything; the "leadglass quorum" at its beginning keeps it
// from being an ssh login, whose signed data begin with a length and a session
// id.
type AgentKey struct {
	Comment string
	kind    quorum.KeyType
	public  []byte
	ssh     ssh.PublicKey
	agent   agent.Agent
}

// AgentKeys are the keys in the agent at the other end of conn that can be a
// custodian's: ssh-ed25519, ecdsa-sha2-nistp256 and -nistp384. Keys of
// security keys (sk-) sign in a form of their own: for those there is WebAuthn.
func AgentKeys(conn io.ReadWriter) ([]*AgentKey, error) {
	client := agent.NewClient(conn)
	list, err := client.List()
	if err != nil {
		return nil, fmt.Errorf("signer: ssh-agent: %w", err)
	}
	var out []*AgentKey
	for _, k := range list {
		parsed, err := ssh.ParsePublicKey(k.Marshal())
		if err != nil {
			continue // of a kind that this program does not know
		}
		crypt, ok := parsed.(ssh.CryptoPublicKey)
		if !ok || parsed.Type() != ssh.KeyAlgoED25519 && parsed.Type() != ssh.KeyAlgoECDSA256 && parsed.Type() != ssh.KeyAlgoECDSA384 {
			continue
		}
		kind, public, err := publicOf(crypt.CryptoPublicKey())
		if err != nil {
			continue
		}
		out = append(out, &AgentKey{Comment: k.Comment, kind: kind, public: public, ssh: parsed, agent: client})
	}
	return out, nil
}

// Public is the kind of the key and its public half, as in an operator's
// record.
func (k *AgentKey) Public() (quorum.KeyType, []byte) { return k.kind, k.public }

// Sign lets the agent sign the bytes of a command.
func (k *AgentKey) Sign(command []byte) ([]byte, error) {
	sig, err := k.agent.Sign(k.ssh, quorum.SigningInput(command))
	if err != nil {
		return nil, fmt.Errorf("signer: ssh-agent: %w", err)
	}
	if sig.Format != k.ssh.Type() {
		return nil, fmt.Errorf("%w: the agent signed in another way", ErrKey)
	}
	if k.kind == quorum.Ed25519 {
		return sig.Blob, nil
	}
	return asn1OfSSH(sig.Blob, k.kind)
}

// asn1OfSSH turns the two mpints of an SSH ECDSA signature (RFC 5656 section
// 3.1.2) into ASN.1.
func asn1OfSSH(blob []byte, kind quorum.KeyType) ([]byte, error) {
	var rs struct{ R, S *big.Int }
	if err := ssh.Unmarshal(blob, &rs); err != nil {
		return nil, fmt.Errorf("%w: the agent's signature is malformed", ErrKey)
	}
	order := elliptic.P256().Params().N
	if kind == quorum.P384 {
		order = elliptic.P384().Params().N
	}
	if rs.R.Sign() <= 0 || rs.S.Sign() <= 0 || rs.R.Cmp(order) >= 0 || rs.S.Cmp(order) >= 0 {
		return nil, fmt.Errorf("%w: the agent's signature is malformed", ErrKey)
	}
	var b cryptobyte.Builder
	b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1BigInt(rs.R)
		b.AddASN1BigInt(rs.S)
	})
	return b.Bytes()
}
