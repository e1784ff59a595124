package reap

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"xexit/internal/proc"
)

// needRoot skips a test that only root can do.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "needs root")
	}
}

func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// openPTY opens a pseudo terminal (pty(7)).
func openPTY(t testing.TB) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	var number, unlock uint32
	for _, call := range []struct {
		request uintptr
		arg     *uint32
	}{{syscall.TIOCSPTLCK, &unlock}, {syscall.TIOCGPTN, &number}} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), call.request, uintptr(unsafe.Pointer(call.arg))); errno != 0 {
			t.Fatal(errno)
		}
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(int(number)), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

// The requests of the FUSE protocol that fuseServer knows (fuse(4)).
const (
	fuseGetattr = 3
	fuseInit    = 26
	fuseHeader  = 40 // bytes of a request before its own
)

// fuseServer mounts a file system on DIR in a mount namespace of its own, has
// a child look at it, and never answers: the child hangs in state D, and no
// signal reaches it before this server ends.
func fuseServer(args []string) error {
	dev, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", dev.Fd())
	if err := syscall.Mount("xexit-test", args[0], "fuse", 0, options); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	buf := make([]byte, 1<<18)
	// Raw reads, since the descriptor was made blocking by Fd.
	if _, err := syscall.Read(int(dev.Fd()), buf); err != nil {
		return fmt.Errorf("read the first request: %w", err)
	}
	if code := binary.NativeEndian.Uint32(buf[4:]); code != fuseInit {
		return fmt.Errorf("the first request is %d", code)
	}
	reply := make([]byte, 16+64)
	binary.NativeEndian.PutUint32(reply, uint32(len(reply)))
	copy(reply[8:16], buf[8:16]) // whose answer it is
	binary.NativeEndian.PutUint32(reply[16:], 7)
	binary.NativeEndian.PutUint32(reply[20:], 31)
	binary.NativeEndian.PutUint32(reply[36:], 4096) // max_write
	if _, err := syscall.Write(int(dev.Fd()), reply); err != nil {
		return fmt.Errorf("answer the first request: %w", err)
	}
	if err := again("stat", args[0]).Start(); err != nil {
		return err
	}
	for {
		n, err := syscall.Read(int(dev.Fd()), buf)
		if err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		if n >= fuseHeader && binary.NativeEndian.Uint32(buf[4:]) == fuseGetattr {
			return ready() // it waits for us now
		}
	}
}

// startFuse starts a nest with a fuseServer, whose child cannot be ended, and
// returns a Looker for that child alone.
func startFuse(t testing.TB) *descendants {
	t.Helper()
	needRoot(t)
	if _, err := os.Stat("/dev/fuse"); err != nil {
		skip(t, "needs /dev/fuse")
	}
	d := startNest(t, 1, "1", "fuse", t.TempDir())
	d.only = func(stat procStat) bool { return stat.ppid != d.root }
	return d
}

// asUser opens PID as root, gives root up and tries to end it with GRACE:
// what a process looks like that became another user's meanwhile. It says
// when it was denied, then it prints the report.
func asUser(args []string) error {
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	grace, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	fs, err := proc.New("/proc")
	if err != nil {
		return err
	}
	ref, err := fs.Open(pid)
	if err != nil {
		return err
	}
	if err := become(testUID); err != nil {
		return err
	}
	o := Options{Grace: grace, Force: 20 * time.Second}
	o.Events = func(e Event) {
		if e.Signal == "TERM" && e.Err != nil {
			fmt.Println("denied")
		}
	}
	rep, err := Run(context.Background(), fs, &fixed{targets: []Target{{Ref: ref}}}, anyone, o)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(rep)
}
