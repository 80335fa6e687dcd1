package kms_test

import (
	"context"
	"testing"

	api "github.com/leadglass/leadglass/api/kms"
	"github.com/leadglass/leadglass/identity/authz"
	"github.com/leadglass/leadglass/operation"
)

// Target: below 5 µs on top of the boundary's own time, which the second
// benchmark shows.
func BenchmarkEncryptWithoutHTTP(b *testing.B) {
	d := newDesk(b)
	k := d.key(d.admin, `{}`)
	op := d.table["Encrypt"]
	who := d.admin
	in := &api.EncryptInput{KeyId: k, Plaintext: make([]byte, 32), EncryptionContext: ctxPairs{"patient": "12", "ward": "3"}}
	b.ReportAllocs()
	for b.Loop() {
		call := &operation.Call{Region: region, Account: acct, Principal: who.principal}
		ctx := operation.WithCall(context.Background(), call)
		asks, err := op.Target(ctx, in)
		if err != nil {
			b.Fatal(err)
		}
		for i := range asks {
			if !authz.Decide(&authz.Request{Principal: &who.principal, Policies: who.policies, Ask: &asks[i]}, nil).Allowed {
				b.Fatal("denied")
			}
		}
		if _, err := op.Serve(ctx, in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTargetAndDecision(b *testing.B) {
	d := newDesk(b)
	k := d.key(d.admin, `{}`)
	op := d.table["Encrypt"]
	who := d.admin
	in := &api.EncryptInput{KeyId: k, Plaintext: make([]byte, 32), EncryptionContext: ctxPairs{"patient": "12", "ward": "3"}}
	b.ReportAllocs()
	for b.Loop() {
		call := &operation.Call{Region: region, Account: acct, Principal: who.principal}
		asks, err := op.Target(operation.WithCall(context.Background(), call), in)
		if err != nil {
			b.Fatal(err)
		}
		if !authz.Decide(&authz.Request{Principal: &who.principal, Policies: who.policies, Ask: &asks[0]}, nil).Allowed {
			b.Fatal("denied")
		}
	}
}
