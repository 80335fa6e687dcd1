package main

import (
	"os"
	"strconv"

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
