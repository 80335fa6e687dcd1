package directory

import "context"

// PutPermissionsBoundary sets the permissions boundary of a user or role, in
// force when it returns.
func (d *Directory) PutPermissionsBoundary(ctx context.Context, account string, kind Kind, name, policyARN string) error {
	return d.alter(ctx, account, kind, name, func(t *tx, e *entity, rec *entityRecord) error {
		if rec.Boundary == policyARN {
			return nil
		}
		if d.managed[policyARN] == nil && e.realm.byARN[policyARN] == nil {
			return refuse(NoSuchEntity, "Scope ARN: %s does not exist or is not attachable.", policyARN)
		}
		before := rec.Boundary
		rec.Boundary = policyARN
		if before != "" {
			if err := d.use(t, e.realm, before, -1); err != nil {
				return err
			}
		}
		return d.use(t, e.realm, policyARN, +1)
	})
}

// DeletePermissionsBoundary takes the boundary of a user or role away. That
// there is none is no error.
func (d *Directory) DeletePermissionsBoundary(ctx context.Context, account string, kind Kind, name string) error {
	return d.alter(ctx, account, kind, name, func(t *tx, e *entity, rec *entityRecord) error {
		before := rec.Boundary
		if before == "" {
			return nil
		}
		rec.Boundary = ""
		return d.use(t, e.realm, before, -1)
	})
}
