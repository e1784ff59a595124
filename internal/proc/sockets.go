package proc

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"syscall"

	"xexit/internal/linux"
)

// Bounds of ListensUnix: a process that has so much of either is taken for
// nothing.
const (
	maxDescriptors = 1 << 12
	maxSocketTable = 16 << 20 // bytes; a line has 50 and a path
	maxTableLine   = 1 << 10  // a path has 108
)

// ErrTooMany reports that a process has more descriptors, or its network
// namespace more sockets, than are looked at.
var ErrTooMany = errors.New("too many to look at")

// ListensUnix reports whether a process has an AF_UNIX socket open that
// listens: its descriptors (/proc/PID/fd) against the table of its own network
// namespace (/proc/PID/net/unix, proc_pid_net(5)), whatever that of the caller
// is. Both come from the kernel's memory: neither waits for a file system, nor
// for the process. ErrDenied: another user's, or not dumpable.
func (fs *FS) ListensUnix(pid int) (bool, error) {
	inodes, err := fs.sockets(pid)
	if err != nil || len(inodes) == 0 {
		return false, err
	}
	const file = "net/unix"
	fd, errno := fs.dir.OpenRead(fs.name(pid, file))
	if errno != 0 {
		return false, wrap(pid, file, errno)
	}
	defer linux.CloseFD(fd)
	var line []byte
	for read := 0; read < maxSocketTable; {
		n, errno := linux.ReadFD(fd, fs.file)
		if errno != 0 {
			return false, wrap(pid, file, errno)
		}
		if n == 0 {
			return false, nil
		}
		read += n
		line = append(line, fs.file[:n]...)
		for {
			one, rest, whole := bytes.Cut(line, []byte{'\n'})
			if !whole {
				break
			}
			if inode, listens := parseUnix(one); listens && inodes[inode] {
				return true, nil
			}
			line = rest
		}
		if len(line) > maxTableLine {
			return false, malformed(pid, file, "a line without an end")
		}
	}
	return false, fmt.Errorf("read %d/%s: %w", pid, file, ErrTooMany)
}

// acceptsConnections is what the kernel has in a socket's flags once listen(2)
// was called (__SO_ACCEPTCON).
const acceptsConnections = 0x10000

// parseUnix reads a line of the table:
//
//	Num       RefCount Protocol Flags    Type St Inode Path
//	ffff9d3a: 00000002 00000000 00010000 0001 01 12345 /run/socket
//
// A path may have a line's end in it, and so anything: who is called a listener
// by that had a socket of his own to listen with.
func parseUnix(line []byte) (inode uint64, listens bool) {
	fields := bytes.Fields(line)
	if len(fields) < 7 {
		return 0, false
	}
	flags, err := strconv.ParseUint(string(fields[3]), 16, 32)
	inode, ok := parseUint(fields[6])
	return inode, err == nil && ok && flags&acceptsConnections != 0
}

// sockets are the inodes of the sockets that a process has open.
func (fs *FS) sockets(pid int) (map[uint64]bool, error) {
	dir, err := linux.OpenDir(fmt.Sprintf("%s/%d/fd", fs.root, pid))
	if err != nil {
		return nil, wrapCall(pid, "fd", err)
	}
	defer dir.Close() //nolint:errcheck // read only
	inodes := map[uint64]bool{}
	var link [64]byte
	for seen := 0; ; {
		n, err := dir.ReadEntries(fs.entries)
		if err != nil {
			return nil, wrapCall(pid, "fd", err)
		}
		if n == 0 {
			return inodes, nil
		}
		for rest := fs.entries[:n]; ; {
			_, name, next, ok := linux.NextEntry(rest)
			if !ok {
				break
			}
			rest = next
			if _, number := parseUint(name); !number {
				continue
			}
			if seen++; seen > maxDescriptors {
				return nil, fmt.Errorf("read %d/fd: %w", pid, ErrTooMany)
			}
			// Closed in between: ENOENT.
			if n, errno := dir.ReadLink(append(fs.path[:0], append(name, 0)...), link[:]); errno == 0 {
				if inode, ok := socketInode(link[:n]); ok {
					inodes[inode] = true
				}
			}
		}
	}
}

// wrapCall is wrap for an error that names a call.
func wrapCall(pid int, file string, err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return wrap(pid, file, errno)
	}
	return fmt.Errorf("read %d/%s: %w", pid, file, err)
}

// socketInode reads "socket:[12345]".
func socketInode(link []byte) (uint64, bool) {
	text, ok := bytes.CutPrefix(link, []byte("socket:["))
	if !ok {
		return 0, false
	}
	text, ok = bytes.CutSuffix(text, []byte("]"))
	if !ok {
		return 0, false
	}
	return parseUint(text)
}
