package display

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"xexit/internal/display/x11"
	"xexit/internal/linux"
	"xexit/internal/session"
)

// need skips a test on a machine that cannot run it, and fails it where nothing
// may be skipped.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			cannot(t, err)
		}
	}
}

func cannot(t *testing.T, why error) {
	t.Helper()
	if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// xvfb is a real X server.
type xvfb struct {
	t      *testing.T
	cmd    *exec.Cmd
	number int
	exited chan struct{}
}

// starting is held while an X server starts: servers of one number in several
// network namespaces would take each other's compiled keymap away.
var starting sync.Mutex

// startXvfb starts one on a free display; prefix is a command to run it by.
func startXvfb(t *testing.T, prefix []string, args ...string) *xvfb {
	t.Helper()
	need(t, "Xvfb")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	all := append(prefix[:len(prefix):len(prefix)], "Xvfb", "-displayfd", "3", "-screen", "0", "64x64x24")
	all = append(all, args...)
	v := &xvfb{t: t, cmd: exec.Command(all[0], all[1:]...), exited: make(chan struct{})}
	v.cmd.ExtraFiles = []*os.File{write}
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	starting.Lock()
	defer starting.Unlock()
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	go func() {
		_ = v.cmd.Wait() // how it ended is the test's business
		close(v.exited)
	}()
	t.Cleanup(func() {
		_ = v.cmd.Process.Kill()
		<-v.exited
	})
	if err := read.SetReadDeadline(time.Now().Add(guard)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(read).ReadString('\n')
	if err != nil {
		t.Fatalf("Xvfb did not start: %v", err)
	}
	if v.number, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v *xvfb) name() string { return fmt.Sprintf(":%d", v.number) }

// abstract is the socket that is certainly this server's: a server in another
// network namespace on the same number takes the path away from it.
func (v *xvfb) abstract() string { return fmt.Sprintf("@/tmp/.X11-unix/X%d", v.number) }

func (v *xvfb) signal(s os.Signal) {
	v.t.Helper()
	if err := v.cmd.Process.Signal(s); err != nil {
		v.t.Fatal(err)
	}
}

// state is the server's process state, as in proc(5).
func (v *xvfb) state() byte {
	v.t.Helper()
	return processState(v.t, v.cmd.Process.Pid)
}

func processState(t *testing.T, pid int) byte {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	return stat[bytes.LastIndexByte(stat, ')')+2]
}

func (v *xvfb) xprop(args ...string) {
	v.t.Helper()
	need(v.t, "xprop")
	out, err := exec.Command("xprop", append([]string{"-display", v.name(), "-root"}, args...)...).CombinedOutput()
	if err != nil {
		v.t.Fatalf("xprop: %v: %s", err, out)
	}
}

// rawClient is a connection that the test itself speaks on.
type rawClient struct {
	t    *testing.T
	sock net.Conn
	conn *x11.Conn
}

func (v *xvfb) client() *rawClient {
	v.t.Helper()
	sock, err := net.Dial("unix", v.abstract())
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { _ = sock.Close() })
	return newRawClient(v.t, sock)
}

func newRawClient(t *testing.T, sock net.Conn) *rawClient {
	t.Helper()
	c := &rawClient{t, sock, x11.NewConn(nil)}
	c.until(func(e x11.Event) bool { _, ok := e.(x11.SetupDone); return ok })
	return c
}

// until sends what is to be sent and reads until an event is met.
func (c *rawClient) until(met func(x11.Event) bool) {
	c.t.Helper()
	if _, err := c.sock.Write(c.conn.Output()); err != nil {
		c.t.Fatal(err)
	}
	c.conn.Sent(len(c.conn.Output()))
	_ = c.sock.SetReadDeadline(time.Now().Add(guard))
	buffer := make([]byte, 4096)
	for done := false; !done; {
		n, err := c.sock.Read(buffer)
		if err != nil {
			c.t.Fatal(err)
		}
		if err := c.conn.Feed(buffer[:n], func(e x11.Event) error { done = done || met(e); return nil }); err != nil {
			c.t.Fatal(err)
		}
	}
}

// request sends one and waits until the server has carried it out.
func (c *rawClient) request(opcode byte) {
	c.t.Helper()
	c.conn.Raw(opcode, 0, nil)
	c.conn.InternAtom(1, "x")
	c.until(func(e x11.Event) bool { _, ok := e.(x11.AtomReply); return ok })
}

const (
	opGrabServer   = 36
	opUngrabServer = 37
)

func TestXvfbEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		sig  syscall.Signal
	}{
		{"killed", syscall.SIGKILL},
		{"terminated", syscall.SIGTERM},
		{"reset", syscall.SIGHUP}, // it accepts again: another session, not ours
	} {
		t.Run(c.name, func(t *testing.T) {
			v := startXvfb(t, nil)
			w := start(t, Options{Name: v.name() + ".0"})
			if w.ServerPID() != v.cmd.Process.Pid {
				t.Errorf("server's pid %d, want %d", w.ServerPID(), v.cmd.Process.Pid)
			}
			v.signal(c.sig)
			w.over(session.ReasonServerGone)
		})
	}
}

// The questions of a stopped or grabbed server stay open, and that is no end;
// the same watcher sees the real one.
func TestXvfbBusy(t *testing.T) {
	often := Options{Interval: 20 * time.Millisecond, LostAfter: 300 * time.Millisecond}
	t.Run("stopped", func(t *testing.T) {
		v := startXvfb(t, nil)
		often.Name = v.name()
		w := start(t, often)
		v.signal(syscall.SIGSTOP)
		n := w.await(BUSY, 0)
		if got := v.state(); got != 'T' {
			t.Errorf("server's state %c", got)
		}
		v.signal(syscall.SIGCONT)
		n = w.await(OK, n)
		v.signal(syscall.SIGSTOP)
		w.await(BUSY, n)
		w.alive()
		v.signal(syscall.SIGKILL) // with a question unread: a reset, not an EOF
		w.over(session.ReasonServerGone)
	})
	t.Run("grabbed", func(t *testing.T) {
		v := startXvfb(t, nil)
		often.Name = v.name()
		w := start(t, often)
		c := v.client()
		c.request(opGrabServer)
		n := w.await(BUSY, 0)
		if got := v.state(); got == 'T' {
			t.Errorf("server's state %c", got)
		}
		c.request(opUngrabServer)
		n = w.await(OK, n)
		c.request(opGrabServer)
		w.await(BUSY, n)
		w.alive()
		v.signal(syscall.SIGKILL)
		w.over(session.ReasonServerGone)
	})
}

func TestXvfbProperty(t *testing.T) {
	v := startXvfb(t, nil, "-noreset")
	w := start(t, Options{Name: v.name()})
	v.xprop("-f", "LTSP_XEXIT", "32c", "-set", "LTSP_XEXIT", "4540740") // the bytes of DIE, but a number
	v.xprop("-f", "LTSP_XEXIT", "8s", "-set", "LTSP_XEXIT", "nothing")
	v.xprop("-remove", "LTSP_XEXIT")
	w.alive()
	v.xprop("-f", "LTSP_XEXIT", "8s", "-set", "LTSP_XEXIT", "DIE")
	if e := w.over(session.ReasonRequested); !e.Run || e.Noticed != "LTSP_XEXIT=DIE" {
		t.Errorf("%+v", e)
	}
	v.xprop("-f", "LTSP_XEXIT", "8s", "-set", "LTSP_XEXIT", "EXIT") // before the start
	w = start(t, Options{Name: v.name()})
	if e := w.over(session.ReasonRequested); e.Run {
		t.Errorf("%+v", e)
	}
}

func TestXvfbCookie(t *testing.T) {
	need(t, "xauth")
	dir := t.TempDir()
	right, wrong := filepath.Join(dir, "right"), filepath.Join(dir, "wrong")
	add := func(file, display, hex string) {
		if out, err := exec.Command("xauth", "-i", "-f", file, "add", display, ".", hex).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	const cookie = "00112233445566778899aabbccddeeff"
	add(right, ":0", cookie) // the server takes every cookie of its file
	v := startXvfb(t, nil, "-auth", right, "-noreset")
	add(right, v.name(), cookie)
	add(wrong, v.name(), "ff"+cookie[2:])
	for _, c := range []struct {
		o    Options
		kind Refusal
	}{
		{Options{Name: v.name(), Authority: wrong}, AuthFailed},
		{Options{Name: v.name(), Home: filepath.Join(dir, "home")}, AuthFailed},
		{Options{Name: v.name(), Authority: filepath.Join(dir, "none")}, AuthorityUnreadable},
	} {
		var refused *RefusedError
		w, err := Open(t.Context(), c.o)
		if !errors.As(err, &refused) || refused.Kind != c.kind {
			t.Errorf("%+v: %v, %v", c.o, w, err)
		}
	}
	w := start(t, Options{Name: v.name(), Authority: right})
	v.signal(syscall.SIGKILL)
	w.over(session.ReasonServerGone)
}

func TestXvfbFull(t *testing.T) {
	v := startXvfb(t, nil, "-maxclients", "64", "-noreset")
	full := false
	for !full {
		sock, err := net.Dial("unix", v.abstract())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sock.Close() })
		c := x11.NewConn(nil)
		if _, err := sock.Write(c.Output()); err != nil {
			t.Fatal(err)
		}
		var head [1]byte
		if _, err := sock.Read(head[:]); err != nil {
			t.Fatal(err)
		}
		full = head[0] == 0
	}
	var refused *RefusedError
	w, err := Open(t.Context(), Options{Name: v.name()})
	if !errors.Is(err, ErrFull) || errors.As(err, &refused) {
		t.Errorf("%v, %v", w, err)
	}
}

// A server that ends with its last client does so although it is watched, by
// two, once the leader is gone; and not before.
func TestXvfbTerminates(t *testing.T) {
	v := startXvfb(t, nil, "-terminate")
	leader, exit := child(t)
	o := Options{Name: v.name(), LostAfter: 300 * time.Millisecond, LeaderPidFD: leader.FD()}
	a, b := start(t, o), start(t, o)
	c := v.client()
	exit()
	// The counts that happen now see the client; its end is what changes them.
	c.request(opUngrabServer)
	a.alive()
	b.alive()
	_ = c.sock.Close()
	a.over(session.ReasonLogout)
	b.over(session.ReasonLogout)
	select {
	case <-v.exited:
	case <-time.After(guard):
		t.Fatal("the server is kept alive")
	}
}

// With a path only (another network namespace has another abstract name).
func TestXvfbPathSocket(t *testing.T) {
	// A number of its own, for which the server takes a lock: without an
	// abstract name nothing else would keep it off the path of another's.
	v := startXvfb(t, nil, "-nolisten", "local", fmt.Sprintf(":%d", 10000+os.Getpid()%40000))
	if s, err := linux.DialUnix(v.abstract()); err == nil {
		t.Error("abstract socket answers", s.Close())
	}
	w := start(t, Options{Name: fmt.Sprintf("unix:/tmp/.X11-unix/X%d.0", v.number)})
	v.signal(syscall.SIGTERM)
	w.over(session.ReasonServerGone)
}

func TestXvfbTCP(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "[::1]", "localhost"} {
		t.Run(host, func(t *testing.T) {
			v := startXvfb(t, nil, "-listen", "tcp", "-nolisten", "unix", "-nolisten", "local", "-ac")
			w := start(t, Options{Name: fmt.Sprintf("%s:%d", host, v.number), LostAfter: 300 * time.Millisecond})
			if v.number >= 10 {
				t.Fatalf("display %d is taken for a forwarded one", v.number)
			}
			v.signal(syscall.SIGSTOP)
			n := w.await(BUSY, 0)
			v.signal(syscall.SIGCONT)
			w.await(OK, n)
			v.signal(syscall.SIGKILL)
			w.over(session.ReasonServerGone)
		})
	}
}
