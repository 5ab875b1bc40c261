package audio

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	urgentRealTime = 5   // SCHED_RR's priority: that of PulseAudio's own threads
	urgentNice     = -11 // where that is not allowed
	urgentMost     = 1   // s of processor time in a row, after which the kernel kills a real-time process
)

// urgent puts this process ahead of others: it works for microseconds, but must do
// so every 10 ms. A nice value is not enough, because the kernel may give each
// session its share first (sched_autogroup) and compare nice values only within.
// So it is SCHED_RR where root or the limit rtprio allows it, for every thread that
// there is; those to come, a sound library's among them, inherit it. A library that
// then runs in circles is killed rather than the machine held up, and the daemon
// starts another sound process. Where nothing is allowed everything works all the
// same, as punctually as the machine has time.
func urgent() {
	limit := unix.Rlimit{Cur: urgentMost * 1e6, Max: urgentMost * 1e6} // µs
	realTime := unix.Setrlimit(unix.RLIMIT_RTTIME, &limit) == nil
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range tasks {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		attr := unix.SchedAttr{Policy: unix.SCHED_RR, Priority: urgentRealTime}
		if realTime && unix.SchedSetAttr(id, &attr, 0) == nil {
			continue
		}
		_ = unix.Setpriority(unix.PRIO_PROCESS, id, urgentNice)
	}
}
