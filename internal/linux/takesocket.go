package linux

import (
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TakeSocket makes a Socket of a descriptor that another process has made. It
// must be a stream socket of unix(7) or tcp(7), anything else is EINVAL: of
// what else there is a read or a close may wait for ever. Reads and writes do
// not wait, whatever whoever else has the descriptor sets. It is taken over
// also when this fails.
func TakeSocket(fd int) (*Socket, error) {
	s := &Socket{fd}
	if err := s.check(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Socket) check() error {
	domain, err := s.option("SO_DOMAIN", unix.SO_DOMAIN)
	if err != nil {
		return err
	}
	kind, err := s.option("SO_TYPE", unix.SO_TYPE)
	if err != nil {
		return err
	}
	protocol, err := s.option("SO_PROTOCOL", unix.SO_PROTOCOL)
	if err != nil {
		return err
	}
	plain := domain == unix.AF_UNIX || (domain == unix.AF_INET || domain == unix.AF_INET6) && protocol == unix.IPPROTO_TCP
	if !plain || kind != unix.SOCK_STREAM {
		return fmt.Errorf("a socket of family %d, type %d, protocol %d: %w", domain, kind, protocol, syscall.EINVAL)
	}
	unix.CloseOnExec(s.fd)
	// A close that lingers would wait in spite of O_NONBLOCK (socket(7)).
	return callError("setsockopt SO_LINGER", unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{}))
}

func (s *Socket) option(name string, option int) (int, error) {
	value, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, option)
	return value, callError("getsockopt "+name, err)
}

// recv is recv(2) with MSG_DONTWAIT. unix.Recvfrom would make an address of
// each.
func (s *Socket) recv(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(s.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// Writable waits until a socket is writable, which a connect(2) that is under
// way is when it is over; ETIMEDOUT if it is not within timeout.
func Writable(fd int, timeout time.Duration) error {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	over := time.Now().Add(timeout)
	for {
		left := max(0, time.Until(over))
		n, err := unix.Poll(fds, int((left+time.Millisecond-1)/time.Millisecond))
		switch {
		case errors.Is(err, syscall.EINTR) && left > 0:
		case err != nil:
			return callError("poll", err)
		case n == 0:
			return callError("poll", syscall.ETIMEDOUT)
		default:
			return nil
		}
	}
}
