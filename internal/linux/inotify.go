package linux

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Inotify hears what happens to files and to the names in directories
// (inotify(7)). Read waits in the runtime's poller, so that many cost no
// thread each, and Close ends it. Watch, Forget and Close may run beside Read.
type Inotify struct {
	file *os.File
	raw  []byte
}

// InotifyKind says what to hear of.
type InotifyKind uint32

// What to hear of. InotifyNames is for a directory: a name in it was made,
// written, replaced or removed; of a directory that was removed or renamed
// itself, Gone. InotifyModify is for a file that the kernel says something in
// (cgroup.events, cgroups(7)).
const (
	InotifyNames InotifyKind = unix.IN_ONLYDIR | unix.IN_CREATE | unix.IN_CLOSE_WRITE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
		unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
	InotifyModify InotifyKind = unix.IN_MODIFY
)

// InotifyEvent is one thing that happened.
type InotifyEvent struct {
	Watch int    // what Watch returned; -1 with Lost
	Name  string // in the directory; "": the watched file itself
	Gone  bool   // it is no longer there, or no longer watched
	Lost  bool   // there was too much to tell: anything may have happened
}

// NewInotify makes one that hears of nothing yet.
func NewInotify() (*Inotify, error) {
	fd, err := retryFD(func() (int, error) { return unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK) })
	if err != nil {
		return nil, callError("inotify_init1", err)
	}
	// Room for some hundred events; one takes at least 16 bytes and a name.
	return &Inotify{file: os.NewFile(uintptr(fd), "inotify"), raw: make([]byte, 16<<10)}, nil
}

// Watch starts to hear of the file at path. The same file again keeps its
// number. ENOENT: there is none.
func (n *Inotify) Watch(path string, kind InotifyKind) (watch int, err error) {
	watch = -1
	err = n.control(func(fd int) error {
		watch, err = unix.InotifyAddWatch(fd, path, uint32(kind))
		return err
	})
	if err != nil {
		return -1, &os.PathError{Op: "inotify_add_watch", Path: path, Err: err}
	}
	return watch, nil
}

// Forget stops hearing of it. One that is gone has been forgotten already.
func (n *Inotify) Forget(watch int) error {
	err := n.control(func(fd int) error {
		_, err := unix.InotifyRmWatch(fd, uint32(watch))
		return err
	})
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return callError("inotify_rm_watch", err)
}

func (n *Inotify) control(call func(fd int) error) error {
	conn, err := n.file.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := conn.Control(func(fd uintptr) { result = retry(func() error { return call(int(fd)) }) }); err != nil {
		return err
	}
	return result
}

// Read waits until there is something to tell. os.ErrClosed: Close was called.
func (n *Inotify) Read() ([]InotifyEvent, error) {
	size, err := n.file.Read(n.raw)
	if err != nil {
		return nil, err
	}
	return parseInotify(n.raw[:size]), nil
}

// parseInotify takes struct inotify_event apart: watch, mask, cookie, length of
// the name with its padding of NULs.
func parseInotify(raw []byte) (events []InotifyEvent) {
	for len(raw) >= unix.SizeofInotifyEvent {
		watch, mask := int32(binary.NativeEndian.Uint32(raw)), binary.NativeEndian.Uint32(raw[4:])
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(raw[12:]))
		if end < unix.SizeofInotifyEvent || end > len(raw) {
			break
		}
		events = append(events, InotifyEvent{
			Watch: int(watch),
			Name:  strings.TrimRight(string(raw[unix.SizeofInotifyEvent:end]), "\x00"),
			Gone:  mask&(unix.IN_IGNORED|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_UNMOUNT) != 0,
			Lost:  mask&unix.IN_Q_OVERFLOW != 0,
		})
		raw = raw[end:]
	}
	return events
}

// Close ends it; a Read that waits returns.
func (n *Inotify) Close() error { return n.file.Close() }
