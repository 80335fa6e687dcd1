//go:build !linux

package main

// preferThroughput is Linux's.
func preferThroughput() {}

// calmMonitor is Linux's.
func calmMonitor() {}
