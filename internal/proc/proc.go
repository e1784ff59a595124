// Package proc reads /proc below a root path: one file of the kernel's a
// method, and Ref, a reference to one process that is verified and stays with
// it. The quirks of the kernel's files are noted where they bite.
//
// What a process means to a session does not belong here, and nothing here
// decides anything: proc tells what the kernel says.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"syscall"

	"xexit/internal/linux"
)

// The two outcomes that a scan meets by the thousand are values, so that they
// cost no memory. All other errors name the process and the file.
var (
	// ErrGone: the process does not exist, or no longer.
	ErrGone = fmt.Errorf("process is gone: %w", syscall.ESRCH)
	// ErrDenied: the kernel does not let us read it. For environ and exe that
	// is a process of another user, or one that is not dumpable (prctl(2),
	// PR_SET_DUMPABLE); a process that is just exiting looks like one too.
	ErrDenied = fmt.Errorf("not permitted: %w", syscall.EACCES)
	// ErrExecuting: the process is inside execve(2), where it has no
	// environment that could be read yet. Ask again.
	ErrExecuting = errors.New("process is executing a program")
)

// FS is a /proc file system, or a tree of files that looks like one. Its
// methods reuse buffers: it is not safe for concurrent use, and one goroutine
// that may block (Environ) needs an FS of its own.
type FS struct {
	dir     *linux.Dir
	root    string
	real    bool // on a proc file system, whose listing is ascending and can be entered anywhere
	path    []byte
	file    []byte // for the small files
	entries []byte // raw directory entries
	env     []byte // one window of an environment
	comm    string // of the process that Environ last asked more of
	groups  string // see hierarchy; "": not asked yet
	names   names
}

// Sizes of the buffers. /proc/PID/status and cgroup may be longer than a
// page; the listing gets what the C library would use.
const (
	fileBuffer    = 16 << 10
	entriesBuffer = 32 << 10
	envBuffer     = 32 << 10
)

// New opens the tree at root, normally /proc. Close releases it.
func New(root string) (*FS, error) {
	dir, err := linux.OpenDir(root)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", root, err)
	}
	onProc, err := dir.OnProc()
	if err != nil {
		_ = dir.Close()
		return nil, fmt.Errorf("open %s: %w", root, err)
	}
	return &FS{
		dir: dir, root: root, real: onProc,
		path:    make([]byte, 0, 64),
		file:    make([]byte, fileBuffer),
		entries: make([]byte, entriesBuffer),
		env:     make([]byte, envBuffer),
	}, nil
}

// Root is the path that New was given, for those that need an FS of their own.
func (fs *FS) Root() string { return fs.root }

// Close releases the tree. Refs that came from it stay valid.
func (fs *FS) Close() error { return fs.dir.Close() }

// name builds "PID/file\0" in the path buffer.
func (fs *FS) name(pid int, file string) []byte {
	fs.path = strconv.AppendInt(fs.path[:0], int64(pid), 10)
	if file != "" {
		fs.path = append(fs.path, '/')
		fs.path = append(fs.path, file...)
	}
	fs.path = append(fs.path, 0)
	return fs.path
}

// read returns the contents of a process's small file, in the file buffer.
func (fs *FS) read(pid int, file string) ([]byte, error) {
	n, errno := fs.dir.ReadFile(fs.name(pid, file), fs.file)
	return fs.whole(pid, file, n, errno)
}

// readAtOnce is read for what the kernel tells without waiting for anybody.
// That is not so of cgroup, for which it takes the lock of all control groups,
// nor of what needs the memory map of the process, nor of loadavg and stat of
// the machine, over which lxcfs(1) mounts files of its own.
func (fs *FS) readAtOnce(pid int, file string) ([]byte, error) {
	if !fs.real {
		return fs.read(pid, file)
	}
	n, errno := fs.dir.ReadAtOnce(fs.name(pid, file), fs.file)
	return fs.whole(pid, file, n, errno)
}

func (fs *FS) whole(pid int, file string, n int, errno syscall.Errno) ([]byte, error) {
	if errno != 0 {
		return nil, wrap(pid, file, errno)
	}
	if n == 0 {
		// A task that is released between open and read: the kernel's
		// one-shot files (seq_file) then give ESRCH, but some give nothing.
		return nil, ErrGone
	}
	return fs.file[:n], nil
}

// wrap turns an errno into one of the errors above or one that names its
// subject. ENOENT is 'gone' for a process that was not there to be opened,
// ESRCH for one that died after the open.
func wrap(pid int, file string, errno syscall.Errno) error {
	switch errno {
	case syscall.ENOENT, syscall.ESRCH:
		return ErrGone
	case syscall.EACCES, syscall.EPERM:
		return ErrDenied
	}
	return fmt.Errorf("read %d/%s: %w", pid, file, errno)
}

// malformed reports a file that does not look like the kernel's.
func malformed(pid int, file, what string) error {
	return fmt.Errorf("read %d/%s: malformed: %s", pid, file, what)
}

// Audit is the audit session id (/proc/PID/sessionid), readable for every
// process. session.NoAudit where it is unset, and where the kernel has no
// audit, for which the file is missing.
func (fs *FS) Audit(pid int) (uint32, error) {
	data, err := fs.readAtOnce(pid, "sessionid")
	if err != nil {
		if errors.Is(err, ErrGone) && fs.Exists(pid) {
			return noAudit, nil
		}
		return noAudit, err
	}
	n, ok := parseUint(bytes.TrimSpace(data))
	if !ok || n > noAudit {
		return noAudit, malformed(pid, "sessionid", "not a number")
	}
	return uint32(n), nil
}

const noAudit = 1<<32 - 1

// Exists reports whether there is a directory for pid.
func (fs *FS) Exists(pid int) bool {
	_, errno := fs.dir.StatAt(fs.name(pid, ""))
	return errno == 0
}

// MaySignal asks whether we may signal pid, by kill(2) with signal 0: nil,
// ErrGone or ErrDenied. It is a filter, cheaper and more complete than any
// look at owners; before a signal is sent a Ref has to be asked. In a tree
// that is no proc file system everything may be signalled.
func (fs *FS) MaySignal(pid int) error {
	if !fs.real {
		return nil
	}
	switch errno := linux.MaySignal(pid); errno {
	case 0:
		return nil
	case syscall.EPERM:
		return ErrDenied
	default:
		return ErrGone
	}
}

// Owner is the uid that owns /proc/PID and the inode of that directory. The
// uid is the effective one (also of what is not dumpable: that makes root the
// owner of the files inside only), and 0 for a moment while a task is
// exiting: it is a hint only. The inode tells apart
// two processes that had the same number, as long as it stays the same; it
// may change for a living process when the kernel drops its dentry.
func (fs *FS) Owner(pid int) (uid uint32, inode uint64, err error) {
	id, errno := fs.dir.StatAt(fs.name(pid, ""))
	if errno != 0 {
		return 0, 0, wrap(pid, "", errno)
	}
	return id.UID, id.Ino, nil
}

// UID is the real uid, from the Uid line of /proc/PID/status.
func (fs *FS) UID(pid int) (uint32, error) {
	value, err := fs.status(pid, "\nUid:")
	if err != nil {
		return 0, err
	}
	value, _, _ = bytes.Cut(value, []byte{'\t'})
	n, ok := parseUint(value)
	if !ok || n > 1<<32-1 {
		return 0, malformed(pid, "status", "Uid")
	}
	return uint32(n), nil
}

// TracerPID is the process that traces pid (ptrace(2)), 0 if none does.
func (fs *FS) TracerPID(pid int) (int, error) {
	value, err := fs.status(pid, "\nTracerPid:")
	if err != nil {
		return 0, err
	}
	n, ok := parseUint(value)
	if !ok || n > 1<<31 {
		return 0, malformed(pid, "status", "TracerPid")
	}
	return int(n), nil
}

// Ignores reports whether pid ignores a signal (the SigIgn line of
// /proc/PID/status).
func (fs *FS) Ignores(pid int, sig syscall.Signal) (bool, error) {
	value, err := fs.status(pid, "\nSigIgn:")
	if err != nil {
		return false, err
	}
	mask, err := strconv.ParseUint(string(value), 16, 64)
	if err != nil || sig < 1 || sig > 64 {
		return false, malformed(pid, "status", "SigIgn")
	}
	return mask>>(sig-1)&1 != 0, nil
}

// status returns the trimmed value of one line of /proc/PID/status. Its first
// line holds the name of the process with newlines escaped, so a name cannot
// look like a line of its own.
func (fs *FS) status(pid int, key string) ([]byte, error) {
	data, err := fs.readAtOnce(pid, "status")
	if err != nil {
		return nil, err
	}
	for i := 0; ; {
		j := bytes.IndexByte(data[i:], '\n')
		if j < 0 {
			return nil, malformed(pid, "status", "no line "+key[1:])
		}
		i += j
		if len(data)-i >= len(key) && string(data[i:i+len(key)]) == key {
			line, _, _ := bytes.Cut(data[i+len(key):], []byte{'\n'})
			return bytes.TrimSpace(line), nil
		}
		i++
	}
}

// Cgroup is the path of the process in the unified hierarchy, the line that
// starts with "0::" (cgroups(7)); lines of version 1 may stand before it. Where
// no such hierarchy is mounted, it is the path in systemd's own of version 1.
// Empty without either; the file itself is empty where nothing has mounted any
// (proc_cgroup_show shows a hierarchy once it has been).
func (fs *FS) Cgroup(pid int) (string, error) {
	path, err := fs.CgroupBytes(pid)
	return string(path), err
}

// CgroupBytes is Cgroup in a buffer that the next call overwrites.
func (fs *FS) CgroupBytes(pid int) ([]byte, error) {
	data, err := fs.read(pid, "cgroup")
	if err != nil {
		if errors.Is(err, ErrGone) && fs.Exists(pid) {
			return nil, nil // empty, or a kernel without the file
		}
		return nil, err
	}
	hierarchy := fs.hierarchy()
	for len(data) > 0 {
		line := data
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			line, data = data[:i], data[i+1:]
		} else {
			data = nil
		}
		_, line, _ = bytes.Cut(line, []byte(":")) // after its number
		if path, ok := bytes.CutPrefix(line, []byte(hierarchy)); ok {
			return path, nil
		}
	}
	return nil, nil
}

// hierarchy is what a line of /proc/PID/cgroup has between its number and the
// path, of the hierarchy that counts here. What is mounted is asked once.
func (fs *FS) hierarchy() string {
	if fs.groups == "" {
		fs.groups = ":"
		mounts, err := linux.ReadCgroupMounts(fs.root + "/self/mountinfo")
		if err == nil && mounts.Unified == "" && mounts.Systemd != "" {
			fs.groups = "name=systemd:"
		}
	}
	return fs.groups
}

// Wchan is the kernel function that the process sleeps in; "" where it does
// not sleep or the kernel does not tell.
func (fs *FS) Wchan(pid int) (string, error) {
	data, err := fs.read(pid, "wchan")
	if err != nil {
		if errors.Is(err, ErrGone) && fs.Exists(pid) {
			return "", nil // empty, or a kernel without the file
		}
		return "", err
	}
	if string(data) == "0" {
		return "", nil
	}
	return string(data), nil
}

// Cmdline is the argument vector; empty for kernel threads and the dead. The
// process can write anything there: escape it before it is shown. It is cut
// at 16 KiB.
func (fs *FS) Cmdline(pid int) ([]string, error) {
	n, errno := fs.dir.ReadFile(fs.name(pid, "cmdline"), fs.file)
	if errno != 0 {
		return nil, wrap(pid, "cmdline", errno)
	}
	data := bytes.TrimSuffix(fs.file[:n], []byte{0})
	if len(data) == 0 {
		return nil, nil
	}
	var args []string
	for arg := range bytes.SplitSeq(data, []byte{0}) {
		args = append(args, string(arg))
	}
	return args, nil
}

// LastPID is the number that was given to a new task last, in the pid
// namespace of the caller (the last field of /proc/loadavg). It comes down
// only when the numbers wrap.
func (fs *FS) LastPID() (int, error) {
	fs.path = append(fs.path[:0], "loadavg\x00"...)
	n, errno := fs.dir.ReadFile(fs.path, fs.file)
	if errno != 0 {
		return 0, fmt.Errorf("read loadavg: %w", errno)
	}
	data := bytes.TrimSpace(fs.file[:n])
	pid, ok := parseUint(data[bytes.LastIndexByte(data, ' ')+1:])
	if !ok || pid > 1<<31 {
		return 0, errors.New("read loadavg: malformed: no last pid")
	}
	return int(pid), nil
}

// parseUint reads a decimal number that fills all of text.
func parseUint(text []byte) (uint64, bool) {
	if len(text) == 0 || len(text) > 20 {
		return 0, false
	}
	var n uint64
	for i, c := range text {
		d := uint64(c - '0')
		if d > 9 || i == 19 && n > (1<<64-1-d)/10 { // fewer digits do not overflow
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}
