package linux

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// PidFD is a reference to one process that a reused number cannot redirect
// (pidfd_open(2), kernel 5.3). It polls readable once the process is dead,
// also as a zombie. Not safe for concurrent Close.
type PidFD struct{ fd int }

// OpenPidFD opens a reference to the process that has pid now. ESRCH: there is
// none. The caller verifies afterwards that it is the one it meant.
func OpenPidFD(pid int) (*PidFD, error) {
	fd, err := retryFD(func() (int, error) { return unix.PidfdOpen(pid, 0) })
	if err != nil {
		return nil, callError("pidfd_open", err)
	}
	return &PidFD{fd}, nil
}

// FD is the descriptor, for polling only.
func (p *PidFD) FD() int { return p.fd }

// Signal sends sig (pidfd_send_signal(2), kernel 5.1); 0 asks whether it could
// be sent. ESRCH: the process is gone and reaped. EPERM: not ours to signal.
func (p *PidFD) Signal(sig syscall.Signal) error {
	return callError("pidfd_send_signal", retry(func() error { return unix.PidfdSendSignal(p.fd, sig, nil, 0) }))
}

// Close releases the reference; the process is not touched.
func (p *PidFD) Close() error { return callError("close", unix.Close(p.fd)) }

// Dead reports whether the process is dead, also as a zombie (poll(2)).
func (p *PidFD) Dead() (bool, error) {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	n, err := retryFD(func() (int, error) { return unix.Poll(fds, 0) })
	return n > 0, callError("poll", err)
}
