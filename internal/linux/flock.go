package linux

import (
	"errors"

	"golang.org/x/sys/unix"
)

// TryFlock places an advisory lock on the open file behind fd without waiting
// (flock(2)): exclusive, or shared with other shared ones. got is false if
// somebody else holds a lock in its way, also this process by another open(2).
// The lock lives as long as the open file description and everything that
// inherited it, so the file must be close-on-exec.
func TryFlock(fd int, exclusive bool) (got bool, err error) {
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	err = retry(func() error { return unix.Flock(fd, how|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, callError("flock", err)
}

// Flock is TryFlock that waits for as long as somebody else holds a lock in its
// way.
func Flock(fd int, exclusive bool) error {
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	return callError("flock", retry(func() error { return unix.Flock(fd, how) }))
}
