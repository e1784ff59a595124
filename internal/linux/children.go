package linux

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// BecomeSubreaper makes this process the parent of every orphan below it
// (PR_SET_CHILD_SUBREAPER, prctl(2), kernel 3.4). Children do not inherit it.
func BecomeSubreaper() error {
	return callError("prctl", retry(func() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }))
}

// Exit is how a child ended.
type Exit struct {
	PID    int
	Status syscall.WaitStatus
}

// Code is the exit status in the shell's spelling: 128+n for signal n.
func (e Exit) Code() int {
	if e.Status.Signaled() {
		return 128 + int(e.Status.Signal())
	}
	return e.Status.ExitStatus()
}

// Reap collects one ended child, whichever it is, without waiting (wait4(2)).
// ok is false if none has ended, also if there are no children. Only for a
// process that waits for none of its children in any other way.
func Reap() (e Exit, ok bool, err error) {
	var status unix.WaitStatus
	pid, err := retryFD(func() (int, error) { return unix.Wait4(-1, &status, unix.WNOHANG, nil) })
	if errors.Is(err, unix.ECHILD) {
		return Exit{}, false, nil
	}
	if err != nil {
		return Exit{}, false, callError("wait4", err)
	}
	return Exit{pid, syscall.WaitStatus(status)}, pid > 0, nil
}

// MemFile makes an unnamed file in memory that is gone with its last
// descriptor (memfd_create(2), kernel 3.17). name shows in /proc/PID/fd only.
func MemFile(name string) (*os.File, error) {
	fd, err := retryFD(func() (int, error) { return unix.MemfdCreate(name, unix.MFD_CLOEXEC) })
	if err != nil {
		return nil, callError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Executable reports whether this process may execute the file at path
// (faccessat(2) with the effective ids); nil if so.
func Executable(path string) error {
	err := retry(func() error { return unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS) })
	return callError("faccessat", err)
}
