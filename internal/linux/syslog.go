package linux

import "golang.org/x/sys/unix"

// SendDatagram sends one message to the unix datagram socket at path, without
// waiting for room (unix(7)): a log daemon that hangs must not hang us. ENOENT
// and ECONNREFUSED: nobody listens there. EAGAIN: its queue is full.
func SendDatagram(path string, message []byte) error {
	fd, err := retryFD(func() (int, error) {
		return unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	})
	if err != nil {
		return callError("socket", err)
	}
	err = retry(func() error { return unix.Sendto(fd, message, 0, &unix.SockaddrUnix{Name: path}) })
	_ = unix.Close(fd)
	return callError("sendto", err)
}
