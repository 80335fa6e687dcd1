//go:build !linux

package main

import (
	"context"
	"time"
)

func load(ctx context.Context, callers []*caller, start, end time.Time) error {
	loadEach(ctx, callers, start, end)
	return nil
}
