//go:build linux

// Command clock runs a program under clocks of its own, so that the program
// sees what a suspend looks like: CLOCK_MONOTONIC has stood still, and
// CLOCK_BOOTTIME has gone on (clock_gettime(2)). Time namespaces cannot do
// that: their offsets are fixed once a process runs in them.
//
//	clock CMD [ARG…]
//
// It prints "ready PID" and answers each line of its stdin:
//
//	suspend   CLOCK_MONOTONIC stands still from here on: "ok"
//	resume    and goes on: "ok"
//	ahead     "A N": CLOCK_BOOTTIME is A ns ahead of CLOCK_MONOTONIC through it,
//	          and N readings were answered since resume
//
// The program should be stopped between suspend and resume, as it would be.
// Readings by system call are answered here (seccomp_unotify(2)); those by
// the vDSO, such as Go's time.Now, are not seen. It needs root, whose filter
// may hold for other users' programs. It lives until its stdin ends.
package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	err := errors.New("usage: clock CMD [ARG...]")
	switch {
	case len(os.Args) > 2 && os.Args[1] == filteredArg:
		err = filtered(os.Args[2:])
	case len(os.Args) > 1:
		err = run(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "clock: %v\n", err)
		os.Exit(1)
	}
}

const filteredArg = "--filtered"

// run starts the program below a filter and gives it its clocks.
func run(argv []string) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ours, theirs := pair[0], os.NewFile(uintptr(pair[1]), "theirs")
	cmd := exec.Command("/proc/self/exe", append([]string{filteredArg}, argv...)...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	if err := errors.Join(cmd.Start(), theirs.Close()); err != nil {
		return err
	}
	listener, err := receive(ours)
	if err != nil {
		return fmt.Errorf("get the filter's listener: %w", err)
	}
	var c clocks
	broken := make(chan error, 1)
	go func() { broken <- c.serve(listener) }()
	fmt.Println("ready", cmd.Process.Pid)
	commands := make(chan error, 1)
	go func() { commands <- c.listen() }()
	select {
	case err = <-broken:
		if err == nil {
			err = <-commands
		}
	case err = <-commands:
	}
	return err
}

func receive(socket int) (fd int, err error) {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return -1, errors.Join(err, errors.New("no descriptor came"))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}

// filtered puts the filter on itself, hands its listener over and becomes the
// program. The runtime reads clocks through the vDSO, so nothing here waits
// for an answer.
func filtered(argv []string) error {
	const socket = 3
	runtime.LockOSThread()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_CLOCK_GETTIME, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	if err := unix.Sendmsg(socket, []byte{0}, unix.UnixRights(int(fd)), nil, 0); err != nil {
		return err
	}
	unix.CloseOnExec(socket)
	return syscall.Exec(path, argv, os.Environ())
}

// clocks are the program's.
type clocks struct {
	mu    sync.Mutex
	lost  int64 // ns that its CLOCK_MONOTONIC has stood still
	since int64 // it has stood still since then; 0: it does not
	reads int   // answered since then
}

func (c *clocks) listen() error {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		answer, err := c.do(strings.TrimSpace(lines.Text()))
		if err != nil {
			return err
		}
		fmt.Println(answer)
	}
	return nil
}

func (c *clocks) do(command string) (string, error) {
	now, err := read(unix.CLOCK_MONOTONIC)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case command == "suspend" && c.since == 0:
		c.since = now
	case command == "resume" && c.since != 0:
		c.lost, c.since, c.reads = c.lost+now-c.since, 0, 0
	case command == "ahead":
		return fmt.Sprint(c.lost, " ", c.reads), nil
	default:
		return "", fmt.Errorf("%q now?", command)
	}
	return "ok", nil
}

func read(clock int32) (int64, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(clock, &ts)
	return ts.Nano(), err
}

// time is what the program is told.
func (c *clocks) time(clock int32) (int64, error) {
	now, err := read(clock)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads++
	if clock != unix.CLOCK_MONOTONIC || err != nil {
		return now, err
	}
	if c.since != 0 {
		now = c.since
	}
	return now - c.lost, nil
}

// The kernel's struct seccomp_notif and seccomp_notif_resp, as long as they
// ever were, and more.
type (
	notification struct {
		id         uint64
		pid, flags uint32
		nr         int32
		arch       uint32
		ip         uint64
		args       [6]uint64
		room       [128]byte
	}
	answer struct {
		id    uint64
		val   int64
		errno int32
		flags uint32
		room  [128]byte
	}
)

// serve answers until nobody is left who could ask.
func (c *clocks) serve(listener int) error {
	for {
		fds := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if fds[0].Revents&unix.POLLHUP != 0 {
			return nil
		}
		if fds[0].Revents&unix.POLLIN == 0 {
			continue
		}
		var n notification
		if err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); err != nil {
			if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINTR) {
				continue // a signal took the caller away
			}
			return fmt.Errorf("receive: %w", err)
		}
		a := answer{id: n.id}
		if err := c.fill(listener, &n); err != nil {
			a.errno = -int32(unix.EFAULT)
		}
		if err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&a)); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("answer: %w", err)
		}
	}
}

// fill writes the time into the caller's memory. The caller waits for us, but
// may be killed, and its number be another's: so its memory is opened first,
// and then the kernel asked whether it waits still.
func (c *clocks) fill(listener int, n *notification) error {
	now, err := c.time(int32(n.args[0]))
	if err != nil {
		return err
	}
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", n.pid), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer memory.Close()
	if err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&n.id)); err != nil {
		return err
	}
	b := binary.NativeEndian.AppendUint64(nil, uint64(now/1e9))
	b = binary.NativeEndian.AppendUint64(b, uint64(now%1e9))
	_, err = memory.WriteAt(b, int64(n.args[1]))
	return err
}

func ioctl(fd int, request uint, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
