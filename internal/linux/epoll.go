package linux

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Epoll waits for many descriptors at once (epoll(7)), level-triggered. Add,
// Change and Remove may run beside Wait; Close and a second Wait may not.
type Epoll struct {
	fd     int
	events []unix.EpollEvent
	ready  []EpollReady
}

// EpollEvents is a set of things to watch a descriptor for. Hang-up and error
// are always reported.
type EpollEvents uint32

// What to watch for.
const (
	EpollIn      EpollEvents = unix.EPOLLIN
	EpollPri     EpollEvents = unix.EPOLLPRI // a change of a control file (cgroups(7)); reported as In
	EpollOut     EpollEvents = unix.EPOLLOUT
	EpollOneShot EpollEvents = unix.EPOLLONESHOT // report once, then not until Change
)

// EpollReady is one descriptor that has something to say.
type EpollReady struct {
	Key uint64 // what Add was given
	In  bool   // readable, hung up or in error: a read will tell which
	Out bool   // writable, hung up or in error: a write will tell which
}

// epollBatch is how many descriptors one Wait reports at most; the others are
// still ready at the next.
const epollBatch = 64

// NewEpoll makes an instance that watches nothing yet.
func NewEpoll() (*Epoll, error) {
	fd, err := retryFD(func() (int, error) { return unix.EpollCreate1(unix.EPOLL_CLOEXEC) })
	if err != nil {
		return nil, callError("epoll_create1", err)
	}
	return &Epoll{fd: fd, events: make([]unix.EpollEvent, epollBatch)}, nil
}

// Add starts to watch fd; key comes back with what is reported of it.
func (e *Epoll) Add(fd int, events EpollEvents, key uint64) error {
	return e.control(unix.EPOLL_CTL_ADD, fd, events, key)
}

// Change replaces what fd is watched for, and its key.
func (e *Epoll) Change(fd int, events EpollEvents, key uint64) error {
	return e.control(unix.EPOLL_CTL_MOD, fd, events, key)
}

// Remove stops watching fd. Closing the last descriptor of an open file does
// the same.
func (e *Epoll) Remove(fd int) error { return e.control(unix.EPOLL_CTL_DEL, fd, 0, 0) }

func (e *Epoll) control(op, fd int, events EpollEvents, key uint64) error {
	// The kernel's data word is 64 bits; x/sys shows it as two halves.
	event := unix.EpollEvent{Events: uint32(events), Fd: int32(uint32(key)), Pad: int32(uint32(key >> 32))}
	return callError("epoll_ctl", retry(func() error { return unix.EpollCtl(e.fd, op, fd, &event) }))
}

// Wait waits until something is ready or timeout is over and returns what is
// ready, in a slice that the next Wait overwrites. A negative timeout waits
// for ever; part of a millisecond is rounded up, so that a timer is due when
// Wait returns for it. A signal ends the wait early, with nothing: that is no
// error, and after a stop of the whole process the caller wants to look at the
// clock anyway.
func (e *Epoll) Wait(timeout time.Duration) ([]EpollReady, error) {
	ms := -1
	if timeout >= 0 {
		ms = int(min((timeout+time.Millisecond-1)/time.Millisecond, 1<<30))
	}
	n, err := unix.EpollWait(e.fd, e.events, ms)
	if errors.Is(err, syscall.EINTR) {
		return nil, nil
	}
	if err != nil {
		return nil, callError("epoll_wait", err)
	}
	const failed = unix.EPOLLERR | unix.EPOLLHUP
	e.ready = e.ready[:0]
	for i := range n {
		ev := &e.events[i]
		e.ready = append(e.ready, EpollReady{
			Key: uint64(uint32(ev.Fd)) | uint64(uint32(ev.Pad))<<32,
			In:  ev.Events&(unix.EPOLLIN|unix.EPOLLPRI|unix.EPOLLRDHUP|failed) != 0,
			Out: ev.Events&(unix.EPOLLOUT|failed) != 0,
		})
	}
	return e.ready, nil
}

// Close ends the instance; the watched descriptors stay open.
func (e *Epoll) Close() error { return callError("close", unix.Close(e.fd)) }
