package linux

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// MaySignal asks the kernel whether we may signal the process that has pid
// now (kill(2) with signal 0, which sends nothing): 0, EPERM, or ESRCH if
// there is none. It is a filter for a scan, far cheaper than a pidfd; the
// answer holds for the number only, and whoever means to signal opens a PidFD
// and asks that. The error is a bare errno, so that asking thousands costs no
// memory.
func MaySignal(pid int) syscall.Errno {
	if pid <= 0 {
		return syscall.ESRCH // kill(2) would ask about a whole group
	}
	_, _, errno := unix.Syscall(unix.SYS_KILL, uintptr(pid), 0, 0)
	return errno
}

// Yield lets another task run (sched_yield(2)).
func Yield() { _, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
