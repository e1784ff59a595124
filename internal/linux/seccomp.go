package linux

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// NotifySignals puts a seccomp filter on the calling thread, and on whatever
// it forks or executes from then on, under which every system call that sends
// a signal waits for an answer from a SignalListener (seccomp(2),
// seccomp_unotify(2), kernel 5.5 for SECCOMP_USER_NOTIF_FLAG_CONTINUE). The
// result is the listener's descriptor, closed on exec. There is no way to take
// the filter off again.
//
// The caller has locked its goroutine to its thread, has the garbage collector
// off (the runtime stops other threads by tgkill, which nobody answers yet) and
// does nothing but hand the descriptor over and execve(2).
//
// Without CAP_SYS_ADMIN the filter needs no_new_privs, which is then set: set-id
// programs such as sudo(8) gain nothing from there on. NotifyUnsupported tells
// which errors mean that this kernel or container has no such thing.
func NotifySignals() (listener int, err error) {
	if release, old := kernelOlderThan(5, 5); old {
		return -1, fmt.Errorf("seccomp user notification on kernel %s, it needs 5.5: %w", release, syscall.ENOSYS)
	}
	program := signalFilter(nativeABIs())
	if len(program) == 0 {
		return -1, fmt.Errorf("seccomp filter for this architecture: %w", syscall.ENOSYS)
	}
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	listener, err = installFilter(&fprog)
	if errors.Is(err, syscall.EACCES) {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return -1, callError("prctl PR_SET_NO_NEW_PRIVS", err)
		}
		listener, err = installFilter(&fprog)
	}
	return listener, callError("seccomp", err)
}

// installFilter asks for SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV as well
// (kernel 5.19): without it a caller that gets signals all the time, such as a
// Go program, restarts its call for ever instead of waiting for the answer.
func installFilter(fprog *unix.SockFprog) (int, error) {
	install := func(flags uintptr) (int, error) {
		fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(fprog)))
		if errno != 0 {
			return -1, errno
		}
		return int(fd), nil
	}
	fd, err := install(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	if err == syscall.EINVAL {
		fd, err = install(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER)
	}
	return fd, err
}

// NotifyUnsupported reports whether err, from NotifySignals, says that the
// kernel or the container refuses user notification: EINVAL and ENOSYS before
// kernel 5.0 and 5.5, EACCES and EPERM from a container's own filter, EBUSY
// below somebody else's listener (one to a process tree).
func NotifyUnsupported(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EINVAL, syscall.ENOSYS, syscall.EACCES, syscall.EPERM, syscall.EBUSY} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// kernelOlderThan compares with uname(2); what cannot be read is not older.
func kernelOlderThan(major, minor int) (release string, old bool) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", false
	}
	release = unix.ByteSliceToString(name.Release[:])
	return release, releaseOlderThan(release, major, minor)
}

func releaseOlderThan(release string, major, minor int) bool {
	first, rest, _ := strings.Cut(release, ".")
	second := rest
	if end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		second = rest[:end]
	}
	a, errA := strconv.Atoi(first)
	b, errB := strconv.Atoi(second)
	if errA != nil || errB != nil {
		return false
	}
	return a < major || a == major && b < minor
}

// Notification is one system call that waits for an answer.
type Notification struct {
	ID   uint64
	PID  int // the calling thread, as this process' pid namespace numbers it; 0 if it is not in it
	NR   int
	Arch uint32 // AUDIT_ARCH_…
	Args [6]uint64
}

// The kernel's struct seccomp_notif and seccomp_notif_resp. They may grow, so
// the buffers are as long as SECCOMP_GET_NOTIF_SIZES says.
type (
	rawNotification struct {
		id         uint64
		pid, flags uint32
		nr         int32
		arch       uint32
		ip         uint64
		args       [6]uint64
	}
	rawAnswer struct {
		id    uint64
		val   int64
		errno int32
		flags uint32
	}
	notificationSizes struct{ notification, answer, data uint16 }
)

// SignalListener answers the calls that a NotifySignals filter holds up. Once
// it is closed they all fail with ENOSYS: nothing gets through unseen. One
// goroutine may use it.
type SignalListener struct {
	fd           int
	notification []uint64
	answer       []uint64
}

// NewSignalListener takes fd over, also when it fails.
func NewSignalListener(fd int) (*SignalListener, error) {
	var sizes notificationSizes
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_NOTIF_SIZES, 0, uintptr(unsafe.Pointer(&sizes)))
	if errno != 0 {
		_ = unix.Close(fd)
		return nil, callError("seccomp SECCOMP_GET_NOTIF_SIZES", errno)
	}
	return &SignalListener{
		fd:           fd,
		notification: words(sizes.notification, unsafe.Sizeof(rawNotification{})),
		answer:       words(sizes.answer, unsafe.Sizeof(rawAnswer{})),
	}, nil
}

// words is a zeroed buffer of at least that many bytes, aligned to 8.
func words(kernel uint16, ours uintptr) []uint64 {
	return make([]uint64, (max(uintptr(kernel), ours)+7)/8)
}

// FD is the descriptor, for polling only: readable while a call waits, hung up
// once no process is left under the filter (kernel 5.8).
func (l *SignalListener) FD() int { return l.fd }

// Receive takes a waiting call. It does not block after the descriptor polled
// readable, provided that nobody else receives. ENOENT: the caller died
// meanwhile.
func (l *SignalListener) Receive() (Notification, error) {
	clear(l.notification) // the kernel refuses a buffer that is not zero
	raw := (*rawNotification)(unsafe.Pointer(&l.notification[0]))
	if err := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(raw)); err != nil {
		return Notification{}, callError("ioctl SECCOMP_IOCTL_NOTIF_RECV", err)
	}
	return Notification{ID: raw.id, PID: int(raw.pid), NR: int(raw.nr), Arch: raw.arch, Args: raw.args}, nil
}

// Waiting reports whether the call still waits. Until it is false, what was
// read of the caller's pid was read of the caller.
func (l *SignalListener) Waiting(n Notification) bool {
	id := n.ID
	return l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&id)) == nil
}

// Continue lets the call happen. ENOENT: the caller died or was interrupted.
func (l *SignalListener) Continue(n Notification) error {
	return l.send(rawAnswer{id: n.ID, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE})
}

// Refuse makes the call fail with errno. ENOENT as with Continue.
func (l *SignalListener) Refuse(n Notification, errno syscall.Errno) error {
	return l.send(rawAnswer{id: n.ID, errno: -int32(errno)})
}

func (l *SignalListener) send(a rawAnswer) error {
	clear(l.answer)
	*(*rawAnswer)(unsafe.Pointer(&l.answer[0])) = a
	return callError("ioctl SECCOMP_IOCTL_NOTIF_SEND", l.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&l.answer[0])))
}

func (l *SignalListener) ioctl(request uint, arg unsafe.Pointer) error {
	return retry(func() error {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), uintptr(request), uintptr(arg))
		if errno != 0 {
			return errno
		}
		return nil
	})
}

// Close gives the listener up.
func (l *SignalListener) Close() error { return callError("close", unix.Close(l.fd)) }
