package display

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"xexit/internal/display/displaytest"
)

// kind is one kind of display, at a name of its own.
type kind interface {
	// options name the display for a watcher.
	options() Options
	// start starts a server under that name and returns once it serves. It
	// is started again only after the one before is dead.
	start(t *testing.T) *served
}

// served is the process behind a display.
type served struct {
	t      *testing.T
	cmd    *exec.Cmd
	exited chan struct{}
}

// launch starts a server. ready is the end of a pipe that it has as descriptor
// 3, on which it says a line when it serves; without one, ready is nil.
func launch(t *testing.T, env []string, argv ...string) (s *served, ready *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	t.Cleanup(func() { _ = read.Close() })
	s = &served{t: t, cmd: exec.Command(argv[0], argv[1:]...), exited: make(chan struct{})}
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.ExtraFiles = []*os.File{write}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait() // how it ended is the test's business
		close(s.exited)
	}()
	t.Cleanup(s.kill)
	return s, read
}

// serving waits for the line.
func (s *served) serving(ready *os.File) {
	s.t.Helper()
	if err := ready.SetReadDeadline(time.Now().Add(guard)); err != nil {
		s.t.Fatal(err)
	}
	if _, err := bufio.NewReader(ready).ReadString('\n'); err != nil {
		s.t.Fatalf("%s did not start: %v", s.cmd, err)
	}
}

func (s *served) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// stop stops it and proves it.
func (s *served) stop() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	waitFor(s.t, func() bool { return s.state() == 'T' })
}

// cont lets it go on; it must have been stopped until now.
func (s *served) cont() {
	s.t.Helper()
	if got := s.state(); got != 'T' {
		s.t.Errorf("it was not stopped all the while: state %c", got)
	}
	s.signal(syscall.SIGCONT)
}

func (s *served) kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// state is the process's, as in proc(5).
func (s *served) state() byte {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	return stat[bytes.LastIndexByte(stat, ')')+2]
}

// fakeVariable makes the test's own binary a server: "x11" or "wayland", and
// the directory of its socket.
const fakeVariable = "XEXIT_TEST_FAKE"

func TestMain(m *testing.M) {
	what, dir, fake := strings.Cut(os.Getenv(fakeVariable), " ")
	if !fake {
		os.Exit(m.Run())
	}
	begin := displaytest.Start
	if what == "wayland" {
		begin = displaytest.StartWayland
	}
	if _, err := begin(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.NewFile(3, "ready"))
	select {} // until it is killed
}

type fakeKind struct{ what, dir string }

func (k *fakeKind) options() Options {
	if k.what == "wayland" {
		return Options{Name: filepath.Join(k.dir, "wayland-0"), Wayland: true}
	}
	return Options{Name: filepath.Join(k.dir, "X")}
}

func (k *fakeKind) start(t *testing.T) *served {
	for _, name := range []string{"X", "wayland-0"} {
		_ = os.Remove(filepath.Join(k.dir, name)) // of one that was killed
	}
	s, ready := launch(t, []string{fakeVariable + "=" + k.what + " " + k.dir}, os.Args[0])
	s.serving(ready)
	return s
}

// xNumbers gives out display numbers that nobody else uses: servers that look
// for a free one may take it away from each other between two starts.
var xNumbers atomic.Int32

func freshNumber(t *testing.T) int {
	for range 1000 {
		n := 1000 + (os.Getpid()*37+int(xNumbers.Add(1)))%25000
		// Nothing on any of its addresses, nor left over from anybody.
		if _, err := os.Lstat(fmt.Sprintf("/tmp/.X%d-lock", n)); err == nil {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", 6000+n))
		if err != nil {
			continue
		}
		_ = l.Close()
		return n
	}
	t.Fatal("no free display number")
	return 0
}

// xKind is a real X server: argv, with the number, -displayfd and -noreset
// added (a server that resets has another session, which is not the point).
type xKind struct {
	number int
	name   string // "" is ":number"
	env    []string
	argv   []string
}

func (k *xKind) options() Options {
	if k.name != "" {
		return Options{Name: k.name}
	}
	return Options{Name: fmt.Sprintf(":%d", k.number)}
}

func (k *xKind) start(t *testing.T) *served {
	argv := append([]string{k.argv[0], fmt.Sprintf(":%d", k.number), "-displayfd", "3", "-noreset"}, k.argv[1:]...)
	s, ready := launch(t, k.env, argv...)
	s.serving(ready)
	return s
}

func newX(t *testing.T, argv ...string) *xKind {
	need(t, argv[0])
	return &xKind{number: freshNumber(t), argv: argv}
}

func newXvfb(t *testing.T, args ...string) *xKind {
	return newX(t, append([]string{"Xvfb", "-screen", "0", "64x64x24"}, args...)...)
}

// newXorg is Xorg with its dummy driver, which takes no virtual terminal,
// whatever its arguments say: with none named it would look for a free one.
func newXorg(t *testing.T) *xKind {
	const config = `Section "ServerFlags"
	Option "AutoAddDevices" "false"
	Option "AutoEnableDevices" "false"
	Option "AutoAddGPU" "false"
EndSection
Section "Device"
	Identifier "nothing"
	Driver "dummy"
EndSection
Section "Screen"
	Identifier "screen"
	Device "nothing"
EndSection
`
	const driver = "/usr/lib/xorg/modules/drivers/dummy_drv.so"
	if _, err := os.Stat(driver); err != nil {
		cannot(t, err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "xorg.conf")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	// Not what is on PATH, which may be a wrapper.
	return newX(t, "/usr/lib/xorg/Xorg", "vt7", "-sharevts", "-novtswitch", "-keeptty", "-config", file, "-logfile", filepath.Join(dir, "log"))
}

func newXTCP(t *testing.T, host string) kind {
	k := newXvfb(t, "-listen", "tcp", "-nolisten", "unix", "-nolisten", "local", "-ac")
	k.name = fmt.Sprintf("%s:%d", host, k.number)
	return k
}

// westonKind is a real compositor without a screen.
type westonKind struct{ dir string }

func newWeston(t *testing.T) *westonKind {
	need(t, "weston")
	// Not t.TempDir(), whose name may be too long for a socket.
	dir, err := os.MkdirTemp("", "xexit-weston-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return &westonKind{dir}
}

func (k *westonKind) options() Options {
	return Options{Name: filepath.Join(k.dir, "wayland-9"), Wayland: true}
}

func (k *westonKind) env() []string {
	return []string{"XDG_RUNTIME_DIR=" + k.dir, "WAYLAND_DISPLAY=wayland-9"}
}

func (k *westonKind) start(t *testing.T) *served {
	// The default shell is a client, without which weston will not go on.
	s, _ := launch(t, k.env(), "weston", "--backend=headless-backend.so", "--shell=kiosk-shell.so",
		"--socket=wayland-9", "--idle-time=0", "--log="+filepath.Join(k.dir, "log"))
	t.Cleanup(func() {
		if log, _ := os.ReadFile(filepath.Join(k.dir, "log")); t.Failed() {
			t.Logf("%v %s", s.cmd.ProcessState, log)
		}
	})
	// One that was killed has left its socket, at which nobody listens.
	waitFor(t, func() bool {
		select {
		case <-s.exited:
			log, _ := os.ReadFile(filepath.Join(k.dir, "log"))
			t.Fatalf("weston did not start: %s", log)
		default:
		}
		c, err := net.Dial("unix", k.options().Name)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
	return s
}

// kinds are all that there is to be watched.
var kinds = []struct {
	name string
	make func(t *testing.T) kind
}{
	{"fake X", func(t *testing.T) kind { return &fakeKind{"x11", t.TempDir()} }},
	{"fake Wayland", func(t *testing.T) kind { return &fakeKind{"wayland", t.TempDir()} }},
	{"Xvfb by path", func(t *testing.T) kind {
		k := newXvfb(t, "-nolisten", "local")
		k.name = fmt.Sprintf("unix:/tmp/.X11-unix/X%d", k.number)
		return k
	}},
	{"Xvfb by abstract socket", func(t *testing.T) kind { return newXvfb(t, "-nolisten", "unix") }},
	{"Xvfb over TCP", func(t *testing.T) kind { return newXTCP(t, "127.0.0.1") }},
	{"Xvfb over TCP, IPv6", func(t *testing.T) kind { return newXTCP(t, "[::1]") }},
	{"Xorg, dummy driver", func(t *testing.T) kind { return newXorg(t) }},
	{"Xephyr", func(t *testing.T) kind {
		outer := newXvfb(t)
		outer.start(t)
		k := newX(t, "Xephyr", "-screen", "32x32")
		k.env = []string{"DISPLAY=" + outer.options().Name}
		return k
	}},
	{"Xvnc", func(t *testing.T) kind {
		return newX(t, "Xvnc", "-SecurityTypes", "None", "-rfbunixpath", filepath.Join(newWeston(t).dir, "rfb"))
	}},
	{"Xwayland", func(t *testing.T) kind {
		outer := newWeston(t)
		outer.start(t)
		k := newX(t, "Xwayland")
		k.env = outer.env()
		return k
	}},
	{"weston", func(t *testing.T) kind { return newWeston(t) }},
}
