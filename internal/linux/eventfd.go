package linux

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// EventFD wakes an epoll loop from another goroutine (eventfd(2)). Set may be
// called at any time before Close, from anywhere.
type EventFD struct{ fd int }

// NewEventFD makes one that is not set.
func NewEventFD() (*EventFD, error) {
	fd, err := retryFD(func() (int, error) { return unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK) })
	if err != nil {
		return nil, callError("eventfd2", err)
	}
	return &EventFD{fd}, nil
}

// FD is the descriptor, for polling only.
func (e *EventFD) FD() int { return e.fd }

// Set makes the descriptor readable until the next Clear.
func (e *EventFD) Set() error {
	one := [8]byte{1} // not zero in either byte order, and that is all that counts
	return e.transfer("write", func() error { _, err := unix.Write(e.fd, one[:]); return err })
}

// Clear makes it unreadable again.
func (e *EventFD) Clear() error {
	var count [8]byte
	return e.transfer("read", func() error { _, err := unix.Read(e.fd, count[:]); return err })
}

// transfer takes EAGAIN for success: a full counter is set, an empty one clear.
func (e *EventFD) transfer(call string, f func() error) error {
	if err := retry(f); !errors.Is(err, syscall.EAGAIN) {
		return callError(call, err)
	}
	return nil
}

// Close releases the descriptor.
func (e *EventFD) Close() error { return callError("close", unix.Close(e.fd)) }
