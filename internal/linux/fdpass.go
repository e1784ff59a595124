package linux

import "golang.org/x/sys/unix"

// MessagePair is two connected unix sockets that keep message boundaries
// (SOCK_SEQPACKET), both closed on exec.
func MessagePair() (ours, theirs int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, callError("socketpair", err)
	}
	return pair[0], pair[1], nil
}

// SendMessage sends text with, if fd is not negative, that descriptor
// (SCM_RIGHTS, unix(7)).
func SendMessage(socket int, text []byte, fd int) error {
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	return callError("sendmsg", retry(func() error { return unix.Sendmsg(socket, text, rights, nil, unix.MSG_NOSIGNAL) }))
}

// ReceiveMessage takes the next message into buf without waiting, and the
// descriptor that came with it, closed on exec, or -1. n is 0 when the other
// end is closed. EAGAIN: there is none yet.
func ReceiveMessage(socket int, buf []byte) (n, fd int, err error) {
	rights := make([]byte, unix.CmsgSpace(4))
	var got int
	n, err = retryFD(func() (int, error) {
		n, oob, _, _, err := unix.Recvmsg(socket, buf, rights, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		got = oob
		return n, err
	})
	if err != nil {
		return 0, -1, callError("recvmsg", err)
	}
	return n, firstDescriptor(rights[:got]), nil
}

func firstDescriptor(rights []byte) int {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return -1
	}
	for _, m := range messages {
		if fds, err := unix.ParseUnixRights(&m); err == nil && len(fds) > 0 {
			return fds[0] // the buffer holds one
		}
	}
	return -1
}

// Pipe is pipe2(2) with both ends closed on exec; reading from it does not
// wait, writing to it does.
func Pipe() (read, write int, err error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return -1, -1, callError("pipe2", err)
	}
	if err := unix.SetNonblock(ends[0], true); err != nil {
		_, _ = unix.Close(ends[0]), unix.Close(ends[1])
		return -1, -1, callError("fcntl F_SETFL", err)
	}
	return ends[0], ends[1], nil
}

// Read is read(2). 0 without an error: the end of the file. EAGAIN: nothing yet.
func Read(fd int, buf []byte) (int, error) {
	n, err := retryFD(func() (int, error) { return unix.Read(fd, buf) })
	if err != nil {
		return 0, callError("read", err)
	}
	return n, nil
}

// ReadStart is pread(2) from the start of a file.
func ReadStart(fd int, buf []byte) (int, error) {
	n, err := retryFD(func() (int, error) { return unix.Pread(fd, buf, 0) })
	return max(n, 0), callError("pread64", err)
}

// WriteWhole makes text, which is short, all that is in a file.
func WriteWhole(fd int, text []byte) error {
	if err := retry(func() error { return unix.Ftruncate(fd, 0) }); err != nil {
		return callError("ftruncate", err)
	}
	_, err := retryFD(func() (int, error) { return unix.Pwrite(fd, text, 0) })
	return callError("pwrite64", err)
}
