// Package linux is the edge to the kernel: thin wrappers that name the system
// call in their errors, restart on EINTR and fall back only on the exact
// 'unsupported' error. It is the sole importer of golang.org/x/sys/unix.
// Nothing here knows what a session is.
package linux

import (
	"errors"
	"os"
	"syscall"
)

// retry calls f until it returns anything but EINTR (signal(7)).
func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// retryFD is retry for calls that return a file descriptor or a count.
func retryFD(f func() (int, error)) (int, error) {
	for {
		if n, err := f(); !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

// callError names the system call that failed; nil stays nil. The errno stays
// recognisable with errors.Is: ESRCH is 'already gone', ENOSYS 'unsupported'.
func callError(call string, err error) error { return os.NewSyscallError(call, err) }
