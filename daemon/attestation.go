package daemon

import (
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"

	"github.com/leadglass/leadglass/cryptography/hsm"
	"github.com/leadglass/leadglass/isolation/attest"
)

// attestationRoots are the roots that the HSM is told of at its start. They
// count only while its domain has no operators; those decide by commands.
func (c *Config) attestationRoots() (roots []hsm.Root, err error) {
	for _, path := range c.AttestationRoots {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("attestation roots: %w", err)
		}
		found := false
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			if block.Type != "CERTIFICATE" {
				continue
			}
			if err := attest.CheckRoot(block.Bytes); err != nil {
				return nil, fmt.Errorf("attestation roots: %s: %w", path, err)
			}
			// The certificates of hosts under it state how they isolate, up to what software can.
			roots = append(roots, hsm.Root{DER: block.Bytes, Name: filepath.Base(path), Tier: uint64(attest.Confidential), Hosts: true})
			found = true
		}
		if !found {
			return nil, fmt.Errorf("attestation roots: %s holds no certificate (PEM)", path)
		}
	}
	if c.AWSAttestation {
		aws := attest.AWSRootG1()
		roots = append(roots, hsm.Root{DER: aws.DER, Name: aws.Name, Tier: uint64(aws.Tier)})
	}
	return roots, nil
}
