package linux

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Dir is an open directory, for listing it and for opening what is below it.
// Its reads take buffers and NUL-terminated paths from the caller and
// allocate nothing, because a scan of /proc calls them for every process.
// Not safe for concurrent use: the listing position belongs to the
// descriptor.
type Dir struct{ fd int }

// OpenDir opens the directory at path.
func OpenDir(path string) (*Dir, error) {
	fd, err := retryFD(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, callError("open", err)
	}
	return &Dir{fd}, nil
}

// OnProc reports whether the directory is on a proc file system
// (PROC_SUPER_MAGIC, statfs(2)).
func (d *Dir) OnProc() (bool, error) {
	var st unix.Statfs_t
	err := retry(func() error { return unix.Fstatfs(d.fd, &st) })
	if err != nil {
		return false, callError("fstatfs", err)
	}
	return st.Type == unix.PROC_SUPER_MAGIC, nil
}

// SeekTo sets the position of the next ReadEntries (lseek(2), SEEK_SET).
func (d *Dir) SeekTo(offset int64) error {
	_, err := unix.Seek(d.fd, offset, unix.SEEK_SET)
	return callError("lseek", err)
}

// ReadEntries fills buf with raw directory entries (getdents64(2)) and
// returns how many bytes it used; 0 is the end. NextEntry takes them apart.
func (d *Dir) ReadEntries(buf []byte) (int, error) {
	n, err := retryFD(func() (int, error) { return unix.Getdents(d.fd, buf) })
	return n, callError("getdents64", err)
}

// The layout of struct linux_dirent64 (getdents64(2)): inode, offset, length
// of the record, type, and the name up to a NUL.
const (
	direntReclen = 16
	direntName   = 19
)

// NextEntry takes the first entry off what ReadEntries returned. The name
// points into entries. ok is false at the end and on a record that makes no
// sense.
func NextEntry(entries []byte) (inode uint64, name, rest []byte, ok bool) {
	if len(entries) < direntName+1 {
		return 0, nil, nil, false
	}
	size := int(*(*uint16)(unsafe.Pointer(&entries[direntReclen])))
	if size < direntName+1 || size > len(entries) {
		return 0, nil, nil, false
	}
	name = entries[direntName:size]
	for i, c := range name {
		if c == 0 {
			name = name[:i]
			break
		}
	}
	return *(*uint64)(unsafe.Pointer(&entries[0])), name, entries[size:], true
}

// OpenRead opens a file below d for reading. path ends in a NUL byte. The
// error is a bare errno.
func (d *Dir) OpenRead(path []byte) (fd int, errno syscall.Errno) {
	for {
		r, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(d.fd), uintptr(unsafe.Pointer(&path[0])),
			unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0, 0, 0)
		if errno != syscall.EINTR {
			return int(r), errno
		}
	}
}

// ReadFD reads once from a descriptor that OpenRead returned; 0 bytes without
// an error is the end. The error is a bare errno.
func ReadFD(fd int, buf []byte) (int, syscall.Errno) {
	if len(buf) == 0 {
		return 0, 0
	}
	for {
		r, _, errno := unix.Syscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
		if errno == 0 {
			return int(r), 0
		}
		if errno != syscall.EINTR {
			return 0, errno
		}
	}
}

// CloseFD closes a descriptor that OpenRead returned. It was only read from,
// so an error would mean nothing.
func CloseFD(fd int) { _ = unix.Close(fd) }

// ReadFile reads the file at path, which ends in a NUL byte, into buf: one
// open, one read, one close. That is all of a small file of /proc, which the
// kernel makes in one piece. The error is a bare errno.
func (d *Dir) ReadFile(path, buf []byte) (int, syscall.Errno) {
	fd, errno := d.OpenRead(path)
	if errno != 0 {
		return 0, errno
	}
	n, errno := ReadFD(fd, buf)
	CloseFD(fd)
	return n, errno
}

// ReadAtOnce is ReadFile for files that the kernel makes without waiting for
// anybody (/proc/PID/stat, for one): Go's scheduler is not told of the calls.
// Telling it costs little by itself, but on a busy machine it takes each call
// during which we lost the processor for one that waits, and wakes threads to
// go on in its place, several hundred times in a scan.
func (d *Dir) ReadAtOnce(path, buf []byte) (n int, errno syscall.Errno) {
	var fd uintptr
	for {
		fd, _, errno = unix.RawSyscall6(unix.SYS_OPENAT, uintptr(d.fd), uintptr(unsafe.Pointer(&path[0])),
			unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0, 0, 0)
		if errno != syscall.EINTR {
			break
		}
	}
	if errno != 0 {
		return 0, errno
	}
	for {
		r, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
		if errno == syscall.EINTR {
			continue
		}
		_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0) // it was only read from
		if errno != 0 {
			return 0, errno
		}
		return int(r), 0
	}
}

// FileID is what stat(2) knows of a file that tells it from others.
type FileID struct {
	Dev, Ino uint64
	UID      uint32
}

// StatAt is fstatat(2) on path, which ends in a NUL byte; a symbolic link at
// its end is followed. It is meant for what answers at once, as ReadAtOnce is.
// The error is a bare errno.
func (d *Dir) StatAt(path []byte) (FileID, syscall.Errno) {
	var st unix.Stat_t
	for {
		_, _, errno := unix.RawSyscall6(sysFstatat, uintptr(d.fd), uintptr(unsafe.Pointer(&path[0])),
			uintptr(unsafe.Pointer(&st)), 0, 0, 0)
		if errno != syscall.EINTR {
			return FileID{Dev: uint64(st.Dev), Ino: st.Ino, UID: st.Uid}, errno
		}
	}
}

// CachedFile is what the kernel knows of a file without asking anybody.
type CachedFile struct {
	Dev, Ino uint64
	UID      uint32
	Links    uint32
}

// StatCached is statx(2) with AT_STATX_DONT_SYNC on path, which ends in a NUL
// byte; a symbolic link at its end is followed. The file itself may be on a
// server that does not answer, or be a user's own (FUSE): neither is waited
// for. The error is a bare errno.
func (d *Dir) StatCached(path []byte) (CachedFile, syscall.Errno) {
	const mask = unix.STATX_TYPE | unix.STATX_INO | unix.STATX_UID | unix.STATX_NLINK
	var st unix.Statx_t
	for {
		_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(d.fd), uintptr(unsafe.Pointer(&path[0])),
			unix.AT_STATX_DONT_SYNC, mask, uintptr(unsafe.Pointer(&st)), 0)
		if errno != syscall.EINTR {
			return CachedFile{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino, st.Uid, st.Nlink}, errno
		}
	}
}

// ReadLink is readlinkat(2) on path, which ends in a NUL byte. The error is a
// bare errno; the result is cut at len(buf).
func (d *Dir) ReadLink(path, buf []byte) (int, syscall.Errno) {
	for {
		r, _, errno := unix.Syscall6(unix.SYS_READLINKAT, uintptr(d.fd), uintptr(unsafe.Pointer(&path[0])),
			uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0)
		if errno == 0 {
			return int(r), 0
		}
		if errno != syscall.EINTR {
			return 0, errno
		}
	}
}

// Close closes the directory.
func (d *Dir) Close() error { return callError("close", unix.Close(d.fd)) }
