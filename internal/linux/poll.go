package linux

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// PollFD is one descriptor to wait for and what was found of it.
type PollFD struct {
	FD     int
	In     bool // readable: a read, accept, … will not wait
	HangUp bool // the other end is gone, or the descriptor is in error
}

// Poll waits until something can be said of one of fds, or until timeout is
// over (poll(2)), and notes it there. For a handful of descriptors that change
// from one wait to the next; an Epoll is for many. A fraction of a millisecond
// is rounded up. A signal ends the wait early, with nothing found.
func Poll(fds []PollFD, timeout time.Duration) error {
	raw := make([]unix.PollFd, len(fds))
	for i, f := range fds {
		raw[i] = unix.PollFd{Fd: int32(f.FD), Events: unix.POLLIN}
		fds[i].In, fds[i].HangUp = false, false
	}
	_, err := unix.Poll(raw, int(min((max(0, timeout)+time.Millisecond-1)/time.Millisecond, 1<<30)))
	if errors.Is(err, syscall.EINTR) {
		return nil
	}
	if err != nil {
		return callError("poll", err)
	}
	for i := range raw {
		fds[i].In = raw[i].Revents&unix.POLLIN != 0
		fds[i].HangUp = raw[i].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
	}
	return nil
}
