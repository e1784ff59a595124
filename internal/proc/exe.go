package proc

import (
	"errors"
	"syscall"
)

// Image is the file that a process executes, as the kernel holds it: the file
// itself, whatever has become of its name and whatever is mounted where.
type Image struct {
	Dev, Ino uint64 // both 0: there is none
	Owner    uint32
	Deleted  bool // no name leads to it any more
}

// Image is what anybody with the right to it can know of the executable
// without waiting for the file system that it is on. A kernel thread, a
// process that is exiting and one whose first thread has ended have none.
// ErrDenied: it is another user's, or not dumpable.
func (fs *FS) Image(pid int) (Image, error) {
	f, errno := fs.dir.StatCached(fs.name(pid, "exe"))
	if errno == 0 {
		return Image{Dev: f.Dev, Ino: f.Ino, Owner: f.UID, Deleted: f.Links == 0}, nil
	}
	err := wrap(pid, "exe", errno)
	if errors.Is(err, ErrGone) && fs.Exists(pid) {
		return Image{}, nil
	}
	return Image{}, err
}

// ImagePath is the path of that file in the mounts of the process, who may have
// made them, with " (deleted)" behind a file that is gone. The next call
// overwrites it.
func (fs *FS) ImagePath(pid int) ([]byte, error) {
	n, errno := fs.dir.ReadLink(fs.name(pid, "exe"), fs.file)
	if errno != 0 {
		return nil, wrap(pid, "exe", errno)
	}
	return fs.file[:n], nil
}

// Exe is the path and the file in one.
func (fs *FS) Exe(pid int) (path string, dev, ino uint64, err error) {
	f, errno := fs.dir.StatCached(fs.name(pid, "exe"))
	if errno != 0 {
		return "", 0, 0, wrap(pid, "exe", errno)
	}
	text, err := fs.ImagePath(pid)
	return string(text), f.Dev, f.Ino, err
}

// SharesUsers reports whether a process is in the caller's own user namespace
// (user_namespaces(7)). Within one that he has made, a user may have the kernel
// call any file that he can read the executable of his process (prctl(2),
// PR_SET_MM_MAP).
func (fs *FS) SharesUsers(pid int) (bool, error) {
	ours, errno := fs.dir.StatCached([]byte("self/ns/user\x00"))
	if errno == syscall.ENOENT {
		return true, nil // a kernel without them
	}
	if errno != 0 {
		return false, wrap(0, "self/ns/user", errno)
	}
	theirs, errno := fs.dir.StatCached(fs.name(pid, "ns/user"))
	if errno != 0 {
		return false, wrap(pid, "ns/user", errno)
	}
	return theirs == ours, nil
}
