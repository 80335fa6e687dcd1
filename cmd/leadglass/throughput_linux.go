package main

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// preferThroughput marks all threads of this process, and so those that they
// start, as a batch workload (sched(7)): one that wakes up does not push
// another off its processor. A plane is four parties that talk to each other
// all the time, client, front, authority and HSM; letting each finish what it
// is doing saves a twentieth of the time of a whole request. Where it is
// refused everything works as well, only slower.
func preferThroughput() {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range tasks {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			_ = unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH}, 0)
		}
	}
}

// calmMonitor keeps the runtime's monitor thread on its slow rhythm, like
// cryptography/boundary does for the children: a plane under load falls asleep
// between any two messages for some microseconds, and the monitor thread
// otherwise falls asleep and is woken with it each time, a tenth of the
// processor time of the front. A scheduler trace in the far future prevents
// that; the runtime takes it from the environment only, when it starts, so
// this process starts itself once more. Where that fails everything works as
// well, only slower.
func calmMonitor() {
	const setting = "schedtrace=2147483647" // ms
	debug := os.Getenv("GODEBUG")
	if strings.Contains(debug, "schedtrace=") {
		return
	}
	if debug != "" {
		debug += ","
	}
	if os.Setenv("GODEBUG", debug+setting) == nil {
		_ = unix.Exec("/proc/self/exe", os.Args, os.Environ())
	}
}
