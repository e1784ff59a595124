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
	_, _, errno := unix.RawSyscall(unix.SYS_KILL, uintptr(pid), 0, 0) // see Dir.ReadAtOnce
	return errno
}

// Yield lets another task run (sched_yield(2)).
func Yield() { _, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// Signalable calls visit for each number in from..to that MaySignal lets
// through. There may be millions, most of them free: getpgid(2) says so for a
// third of what kill(2) costs. It asks without telling the scheduler, since
// none of the calls waits.
func Signalable(from, to int, visit func(pid int)) {
	for pid := max(from, 1); pid <= to; pid++ {
		if _, _, errno := unix.RawSyscall(unix.SYS_GETPGID, uintptr(pid), 0, 0); errno == syscall.ESRCH {
			continue
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_KILL, uintptr(pid), 0, 0); errno == 0 {
			visit(pid)
		}
	}
}

// MayTraceAll reports whether this process has CAP_SYS_PTRACE (capget(2)), to
// whom no process is hidden. false where that cannot be known.
func MayTraceAll() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // version 3 has two
	if unix.Capget(&header, &data[0]) != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_PTRACE) != 0
}
