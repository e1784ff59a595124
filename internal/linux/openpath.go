package linux

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// OpenPathAt opens name in dir, or as a path of its own if dir is nil, for
// fstat and as the start of a further OpenPathAt only (O_PATH, open(2)): it
// needs no permission on the file itself, has no effect on devices and fifos,
// and of a symbolic link it opens the link.
func OpenPathAt(dir *os.File, name string) (*os.File, error) {
	at, full := unix.AT_FDCWD, name
	if dir != nil {
		at, full = int(dir.Fd()), filepath.Join(dir.Name(), name)
	}
	fd, err := retryFD(func() (int, error) {
		return unix.Openat(at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, &os.PathError{Op: "openat", Path: full, Err: err}
	}
	return os.NewFile(uintptr(fd), full), nil
}
