package linux

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Cred says who is at the other end of a unix socket: for the one that
// accepted, who called connect, and at that moment (SO_PEERCRED, unix(7)). PID
// is 0 if it is in no pid namespace of ours; UID and GID are those of our user
// namespace, whatever the other end calls itself in its own.
type Cred struct {
	PID int
	UID uint32
	GID uint32
}

// PeerCred reads the credentials of a connected unix socket.
func PeerCred(fd int) (Cred, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Cred{}, callError("getsockopt SO_PEERCRED", err)
	}
	return Cred{int(cred.Pid), cred.Uid, cred.Gid}, nil
}

// ConnectUnix connects to a unix socket and waits for its turn where the
// server's queue is full, for patience at the most (EAGAIN). A connect that
// does not wait is turned away there each time, and whoever floods the queue
// has it for himself.
func ConnectUnix(path string, patience time.Duration) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, callError("socket", err)
	}
	if err := connectUnix(fd, path, patience); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

func connectUnix(fd int, path string, patience time.Duration) error {
	wait := unix.NsecToTimeval(max(patience, time.Millisecond).Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait); err != nil {
		return callError("setsockopt SO_SNDTIMEO", err)
	}
	// An interrupted connect of a unix socket has not begun.
	if err := retry(func() error { return unix.Connect(fd, &unix.SockaddrUnix{Name: path}) }); err != nil {
		return callError("connect", err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{}); err != nil {
		return callError("setsockopt SO_SNDTIMEO", err)
	}
	return callError("fcntl F_SETFL", unix.SetNonblock(fd, true))
}

// SetBacklog bounds how many connections wait to be accepted by a socket that
// listens already (listen(2), which may be called again).
func SetBacklog(fd, n int) error { return callError("listen", unix.Listen(fd, n)) }
