// Package hsm is the host's side of the HSM: it starts the process that holds
// all key material and asks it to work (hsm-domain).
//
// Start starts the locked-down child and returns a Process; Process.Client is
// what everyone else uses. A key exists outside the HSM only as an exported
// key token (EKT), which the caller keeps and hands in with each call; the HSM
// keeps no list of keys. Plaintext that a call returns belongs to the caller,
// who wipes it.
//
// Several HSMs of one domain stand in for each other in a Pool, which is a
// Client too; StartNode starts those of one machine. What the domain's
// operators sign goes to Client.Command or Pool.Command, and whether it is
// obeyed the HSMs alone decide. Each keeps a log of that, which a LogReader
// follows and checks.
//
// What guards an HSM's seal (Guard: a TPM, a PKCS#11 token) is named when the
// HSM is started, and is asked at its start alone.
//
// Not done here: key states, policies, grants and aliases
// (cryptography/keys); what happens inside (cryptography/hsm/core, which this
// package must not import).
//
// Promised: no call returns key material in the clear, because the protocol
// has no operation and no result for it. Tokens and blobs of format version 1
// stay readable (docs/formats/hsm.md).
package hsm
