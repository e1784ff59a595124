package linux

import (
	"errors"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DieAfter has the kernel send this process SIGKILL after d, whatever state it
// is in then: stopped and signal-ignoring processes too (timer_create(2), kernel
// 2.6). It cannot be undone but by execve(2); children do not inherit it.
func DieAfter(d time.Duration) error {
	// struct sigevent is 64 bytes (sigevent(3type)).
	event := struct {
		value          uintptr
		signal, notify int32
		_              [56]byte
	}{signal: int32(unix.SIGKILL)} // notify 0 is SIGEV_SIGNAL
	var timer int32
	if _, _, errno := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC,
		uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&timer))); errno != 0 {
		return callError("timer_create", errno)
	}
	when := struct{ interval, value unix.Timespec }{value: unix.NsecToTimespec(max(d.Nanoseconds(), 1))}
	if _, _, errno := unix.Syscall6(unix.SYS_TIMER_SETTIME, uintptr(timer), 0,
		uintptr(unsafe.Pointer(&when)), 0, 0, 0); errno != 0 {
		return callError("timer_settime", errno)
	}
	return nil
}

// HideMemory makes this process one that others of the same user cannot look
// into: no core file, no ptrace(2), and environ in /proc belongs to root
// (PR_SET_DUMPABLE, prctl(2)). Agents that hold keys do that.
func HideMemory() error {
	return callError("prctl", retry(func() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }))
}

// WaitStopped waits until a child of ours is stopped and does not collect it
// (waitid(2) with WNOWAIT). ECHILD: it is no child of ours.
func WaitStopped(pid int) error {
	return callError("waitid", retry(func() error {
		return unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
	}))
}

// StopSelf stops this process with SIGSTOP until somebody continues it.
func StopSelf() error {
	self, err := OpenPidFD(syscall.Getpid())
	if err != nil {
		return err
	}
	return errors.Join(self.Signal(syscall.SIGSTOP), self.Close())
}
