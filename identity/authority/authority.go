// Package authority is the host's side of the identity authority: the process
// that alone holds the secrets of access keys and the keys that make sessions
// (sigv4 section 9, sts-and-fas section 4).
//
// Start starts the locked-down child and returns a Process; Process.Client is
// what everyone else uses. A long-term secret exists outside the authority
// twice: with its customer, and as the sealed record that NewSecret returns
// and the directory keeps. The secret of a session exists only with its
// holder: the authority derives it from the session token.
//
// Second factors and passwords are its business too (factor.go): it makes the
// seeds of MFA devices, checks codes in the step that makes a session, and
// hashes passwords.
//
// The default is witness mode: a host sends the string to sign and the
// signature, and learns whether they belong together, but never a key that
// could sign for a customer. That goes for V4 and SigV4A requests (Witness), the
// chunks of a body (WitnessChunks, many in one call) and form uploads
// (WitnessPost).
//
// In key mode a host checks by itself. Resolve hands out V4's key of one day,
// region and service, to whoever holds a request that this key has signed;
// SigV4A's public key (PublicKey) gives nothing away but costs a call less.
// A Watch follows the revocations and knows when what was handed out must not
// be used any more.
//
// Not done here: who may have which session (identity/sessions), where sealed
// records are kept (identity/directory), parsing requests (identity/sigv4).
package authority
