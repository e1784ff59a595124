package watcher_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"xexit/internal/linux"
	"xexit/internal/registry"
	"xexit/internal/watcher"
)

// hangGuard is how long a test waits for what must come; no test is about it.
const hangGuard = 60 * time.Second

// TestMain lets this binary be xexit and xexit-main, by the name it is linked
// to: real processes, with no build in between.
func TestMain(m *testing.M) {
	exe, err := watcher.Self()
	if err != nil {
		panic(err)
	}
	switch filepath.Base(exe) {
	case "xexit":
		os.Exit(playXexit(exe))
	case watcher.MainName:
		os.Exit(playMain())
	}
	os.Exit(m.Run())
}

func playXexit(exe string) int {
	w := watcher.World{Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr, Exe: exe}
	if os.Args[1] == "session" {
		return watcher.Session(os.Args[2:], w)
	}
	return watcher.Watch(os.Args[2:], w)
}

// playMain writes what it was asked to the fifo that FAKE_MAIN_LOG
// names.
func playMain() int {
	call := strings.Join(os.Args[1:], " ")
	if verb := os.Args[1]; verb == os.Getenv("FAKE_MAIN_HANGS") {
		<-time.After(2 * hangGuard)
	}
	// For both, so that it never waits for a reader that has left.
	f, err := os.OpenFile(os.Getenv("FAKE_MAIN_LOG"), os.O_RDWR|os.O_APPEND, 0o666)
	if err == nil {
		_, err = fmt.Fprintf(f, "%s [%s] reason=%s\n", call, os.Getenv("XEXIT_SESSION"), os.Getenv("XEXIT_REASON"))
		if strings.HasPrefix(call, "record done") {
			_, _ = f.WriteString("end\n")
		}
	}
	if err != nil {
		return 99
	}
	if os.Args[1] == os.Getenv("FAKE_MAIN_FAILS") {
		fmt.Println("no luck today")
		return 3
	}
	return 0
}

// install makes a directory with xexit and xexit-main in it.
func install(t *testing.T) (xexit string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "xexit-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"xexit", watcher.MainName} {
		if os.Link(exe, filepath.Join(dir, name)) != nil {
			copyFile(t, exe, filepath.Join(dir, name))
		}
	}
	return filepath.Join(dir, "xexit")
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o755); err != nil {
		t.Fatal(err)
	}
}

// fixture is a login on a display: a runtime directory, an environment, and a
// fifo that PROGRAM and the fake xexit-main write to.
type fixture struct {
	t       *testing.T
	xexit   string
	dir     string // scratch
	runtime string
	display string
	env     []string
	pipe    *os.File      // the fifo
	said    *bufio.Reader // what came through it
	fifo    string
	uid     int // -1: ours
}

func newFixture(t *testing.T, display string) *fixture {
	t.Helper()
	f := &fixture{t: t, xexit: install(t), display: display, uid: -1}
	f.dir = filepath.Dir(f.xexit)
	f.runtime = filepath.Join(f.dir, "run")
	if err := os.Mkdir(f.runtime, 0o700); err != nil {
		t.Fatal(err)
	}
	f.fifo = filepath.Join(f.dir, "said")
	if err := syscall.Mkfifo(f.fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(f.fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	// Open for both, so that neither side's open waits for the other's.
	file, err := os.OpenFile(f.fifo, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	f.pipe, f.said = file, bufio.NewReader(file)
	f.guard()
	f.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + f.dir, "LOGNAME=tester",
		"GORACE=atexit_sleep_ms=0", "XDG_RUNTIME_DIR=" + f.runtime, "SAID=" + f.fifo, "FAKE_MAIN_LOG=" + f.fifo,
	}
	if display != "" {
		f.env = append(f.env, "DISPLAY="+display)
	}
	t.Cleanup(f.endWatchers)
	return f
}

// as makes everything that follows happen as another user.
func (f *fixture) as(uid int) {
	f.t.Helper()
	needRoot(f.t)
	f.uid = uid
	for _, path := range []string{f.runtime, f.dir} {
		if err := os.Chown(path, uid, uid); err != nil {
			f.t.Fatal(err)
		}
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
		t.Fatal("needs root")
	}
	t.Skip("needs root")
}

// script writes a PROGRAM.
func (f *fixture) script(name, text string) string {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		f.t.Fatal(err)
	}
	return path
}

func (f *fixture) command(args ...string) *exec.Cmd {
	cmd := exec.Command(f.xexit, args...)
	cmd.Env, cmd.Dir = f.env, f.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if f.uid >= 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(f.uid), Gid: uint32(f.uid)}
	}
	return cmd
}

// run runs xexit and returns its exit status and what it said.
func (f *fixture) run(args ...string) (status int, output string) {
	f.t.Helper()
	cmd := f.command(args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		f.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// watch starts a watcher and returns once it has registered the session.
func (f *fixture) watch(args ...string) registry.Entry {
	f.t.Helper()
	if status, out := f.run(append([]string{"watch"}, args...)...); status != 0 {
		f.t.Fatalf("xexit watch: status %d: %s", status, out)
	}
	// The launcher does not wait for long: the login goes on (launchPatience).
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(hangGuard); ; {
		all := f.sessions()
		if len(all) == 1 && all[0].Live {
			return all[0].Entry
		}
		select {
		case <-tick.C:
		case <-late:
			f.t.Fatalf("registered: %+v", all)
		}
	}
}

func (f *fixture) registry() *registry.Registry {
	f.t.Helper()
	r, err := registry.Open(filepath.Join(f.runtime, "xexit"))
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

func (f *fixture) sessions() []registry.Listed {
	f.t.Helper()
	all, err := f.registry().List()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		f.t.Fatal(err)
	}
	return all
}

// line is the next thing said.
func (f *fixture) line() string {
	f.t.Helper()
	f.guard()
	line, err := f.said.ReadString('\n')
	if err != nil {
		f.t.Fatalf("nothing was said: %v", err)
	}
	return strings.TrimSuffix(line, "\n")
}

// guard bounds the next wait for something to be said.
func (f *fixture) guard() {
	f.t.Helper()
	if err := f.pipe.SetReadDeadline(time.Now().Add(hangGuard)); err != nil {
		f.t.Fatal(err)
	}
}

// lines is what is said up to a line "end".
func (f *fixture) lines() (lines []string) {
	f.t.Helper()
	for {
		line := f.line()
		if line == "end" {
			return lines
		}
		lines = append(lines, line)
	}
}

// leave waits until a watcher's process is gone.
func (f *fixture) leave(e registry.Entry) {
	f.t.Helper()
	ref, err := linux.OpenPidFD(e.Watcher.PID)
	if errors.Is(err, syscall.ESRCH) {
		return
	}
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = ref.Close() }()
	awaitExit(f.t, ref)
}

func awaitExit(t *testing.T, ref *linux.PidFD) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(ref.FD()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(hangGuard.Milliseconds()))
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			t.Fatalf("the process does not exit: %v", err)
		}
		return
	}
}

// signal sends to the watcher by a verified reference.
func (f *fixture) signal(e registry.Entry, sig syscall.Signal) {
	f.t.Helper()
	ref, err := linux.OpenPidFD(e.Watcher.PID)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = ref.Close() }()
	if start, err := linux.Birth(e.Watcher.PID); err != nil || start != e.Watcher.Start {
		f.t.Fatalf("not the watcher any more: %v", err)
	}
	if err := ref.Signal(sig); err != nil {
		f.t.Fatal(err)
	}
}

// endWatchers ends whatever a test has left, by the registry's word for it.
func (f *fixture) endWatchers() {
	r, err := registry.Open(filepath.Join(f.runtime, "xexit"))
	if err != nil {
		return
	}
	all, _ := r.List()
	for _, l := range all {
		if start, err := linux.Birth(l.Watcher.PID); err == nil && start == l.Watcher.Start {
			if ref, err := linux.OpenPidFD(l.Watcher.PID); err == nil {
				_ = ref.Signal(syscall.SIGKILL)
				_ = ref.Close()
			}
		}
	}
}

// xserver is a real X server.
type xserver struct {
	display string
	cmd     *exec.Cmd
}

func startX(t *testing.T, args ...string) *xserver {
	t.Helper()
	path, err := exec.LookPath("Xvfb")
	if err != nil {
		if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	x := &xserver{cmd: exec.Command(path, append([]string{"-displayfd", "3", "-nolisten", "tcp", "-noreset"}, args...)...)}
	x.cmd.ExtraFiles = []*os.File{w}
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	t.Cleanup(x.kill)
	_ = r.SetReadDeadline(time.Now().Add(hangGuard))
	number, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("Xvfb: %v", err)
	}
	x.display = ":" + strings.TrimSpace(number)
	return x
}

func (x *xserver) kill() {
	_ = x.cmd.Process.Kill()
	_ = x.cmd.Wait()
}

// set gives the root window the property LTSP_XEXIT.
func (x *xserver) set(t *testing.T, value string) {
	t.Helper()
	cmd := exec.Command("xprop", "-display", x.display, "-root", "-f", "LTSP_XEXIT", "8s", "-set", "LTSP_XEXIT", value)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("xprop: %v: %s", err, out)
	}
}
