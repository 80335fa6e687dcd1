package sigv4

// CanonicalRequest shows the text that is hashed, for comparing it with the vectors'.
func CanonicalRequest(p *Parsed, r *Request, body *[32]byte) (string, error) {
	var hash [64]byte
	payload, err := p.payload(body, &hash)
	if err != nil {
		return "", err
	}
	how := normalised
	if pathIsKey(p.Service) {
		how = key
	}
	b, err := p.appendCanonical(new(scratch), r, how, payload)
	return string(b), err
}

// Encode is enc(s) of the spec, for paths.
func Encode(s string) string { return string(appendEncoded(nil, s, true)) }

// HMAC is the package's own, for comparing it with crypto/hmac.
func HMAC(key, message []byte) [32]byte { return hmac(key, message) }

// KeyCandidate is what the derivation of SigV4A does with one candidate.
func KeyCandidate(k [32]byte) (d [32]byte, ok bool) { return candidate(k) }
