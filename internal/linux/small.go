package linux

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// ReadSmall reads the beginning of a file into buf and returns that part of it:
// one open, one read, one close, which is all of a small file of /proc. It
// allocates nothing: os.ReadFile does in several sizes, and each size that a
// process has not used before is two pages more that it keeps.
func ReadSmall(path string, buf []byte) ([]byte, error) {
	fd, err := retryFD(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	n, errno := ReadFD(fd, buf)
	CloseFD(fd)
	if errno != 0 {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errno}
	}
	return buf[:n], nil
}
