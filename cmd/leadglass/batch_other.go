//go:build !linux

package main

// preferThroughput is Linux's.
func preferThroughput() {}
