// Package proctest starts real processes for tests: trees of them, detached,
// with an empty or forged environment, not dumpable, under another uid or
// with an audit session id of their own. The processes are the test binary
// itself, started again; a TestMain calls RunIfChild first.
//
// All of them hold a pipe from the test and leave when it closes, so that
// none outlives the test process, however that ends.
package proctest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Spec describes one process and those below it.
type Spec struct {
	Name      string   // by which Start reports it
	Env       []string // its whole environment; nil: empty
	UID       uint32   // real, effective and saved uid and gid; 0: as its parent
	Setsid    bool     // leads a session of its own
	Orphan    bool     // its parent has exited (the double fork)
	Fresh     bool     // takes an audit session id, where it has none
	NoDump    bool     // PR_SET_DUMPABLE 0
	Wipe      bool     // overwrites its environment with zeros
	Subreaper bool     // PR_SET_CHILD_SUBREAPER
	DeadHead  bool     // its first thread has exited, another one runs
	Chain     bool     // forks and leaves, and so does its child, without an end
	Below     []Spec
}

// childArg marks a command line as ours, with the Spec behind it.
const childArg = "-proctest.child="

// Descriptors of a child: the pipe that keeps it alive, and the one it
// reports on.
const (
	lifeFD  = 3
	readyFD = 4
)

// RunIfChild does not return in a process that Start started. A TestMain
// calls it before anything else.
func RunIfChild() {
	if len(os.Args) != 2 || !strings.HasPrefix(os.Args[1], childArg) {
		return
	}
	var s Spec
	if err := json.Unmarshal([]byte(strings.TrimPrefix(os.Args[1], childArg)), &s); err != nil {
		fail(err)
	}
	life, ready := os.NewFile(lifeFD, "life"), os.NewFile(readyFD, "ready")
	if s.Orphan {
		s.Orphan, s.Fresh = false, false // which has taken place
		if err := s.command(life, ready).Start(); err != nil {
			fail(err)
		}
		os.Exit(0)
	}
	s.become()
	for _, below := range s.Below {
		cmd := below.command(life, ready)
		if err := cmd.Start(); err != nil {
			fail(err)
		}
		if below.Orphan {
			_ = cmd.Wait()
		}
	}
	report := fmt.Sprintf("%s %d\n", s.Name, os.Getpid())
	if _, err := ready.WriteString(report); err != nil {
		os.Exit(1)
	}
	if s.DeadHead {
		exitFirstThread()
	}
	if s.Chain {
		if err := syscall.SetNonblock(lifeFD, true); err != nil {
			fail(err)
		}
		forkChain()
	}
	var b [1]byte
	_, _ = life.Read(b[:])
	runtime.KeepAlive(ready)
	os.Exit(0)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "proctest child:", err)
	os.Exit(1)
}

// command starts s again as a process of its own.
func (s Spec) command(life, ready *os.File) *exec.Cmd {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // a Spec has no value that JSON has not
	}
	cmd := exec.Command("/proc/self/exe", childArg+string(text))
	if s.Fresh {
		// The shell writes for itself: the kernel takes it from the thread
		// itself only, and only from the first.
		cmd = exec.Command("/bin/sh", "-c", `echo `+strconv.Itoa(int(s.uid()))+
			` >/proc/self/loginuid; exec /proc/self/fd/5 "$1"`, "sh", childArg+string(text))
	}
	cmd.Env = append([]string{}, s.Env...)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{life, ready}
	if exe, err := os.Open("/proc/self/exe"); err == nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, exe)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: s.Setsid}
	if s.UID != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: s.UID, Gid: s.UID, NoSetGroups: os.Getuid() != 0}
	}
	return cmd
}

func (s Spec) uid() uint32 {
	if s.UID != 0 {
		return s.UID
	}
	return uint32(os.Getuid())
}

// From prctl(2).
const (
	prSetDumpable       = 4
	prSetChildSubreaper = 36
)

func (s Spec) become() {
	if s.Subreaper {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
			fail(errno)
		}
	}
	if s.Wipe {
		if err := wipeEnvironment(); err != nil {
			fail(err)
		}
	}
	if s.NoDump {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetDumpable, 0, 0); errno != 0 {
			fail(errno)
		}
	}
}

// wipeEnvironment does what a program does that writes its title there.
func wipeEnvironment() error {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	start, err := strconv.ParseInt(fields[47], 10, 64)
	if err != nil {
		return err
	}
	end, err := strconv.ParseInt(fields[48], 10, 64)
	if err != nil {
		return err
	}
	mem, err := os.OpenFile("/proc/self/mem", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	_, err = mem.WriteAt(make([]byte, end-start), start)
	return err
}

// Tree is what Start started.
type Tree struct {
	pids    map[string]int
	life    *os.File
	ready   *os.File
	started []*exec.Cmd
	over    chan struct{}
}

// PID of the process with that name.
func (t *Tree) PID(name string) int { return t.pids[name] }

// Over is closed when all of them are gone.
func (t *Tree) Over() <-chan struct{} { return t.over }

// Stop ends the processes and returns when they are gone.
func (t *Tree) Stop() {
	_ = t.life.Close()
	for _, cmd := range t.started {
		_ = cmd.Wait()
	}
	<-t.over
}

// Start starts the processes and returns when all have reported. At the end
// of the test they are gone.
func Start(t testing.TB, specs ...Spec) *Tree {
	t.Helper()
	lifeR, lifeW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	readyR, readyW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	tree := &Tree{pids: map[string]int{}, life: lifeW, ready: readyR, over: make(chan struct{})}
	t.Cleanup(tree.Stop)
	want := 0
	for _, s := range specs {
		cmd := s.command(lifeR, readyW)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		tree.started = append(tree.started, cmd)
		if s.Orphan {
			_ = cmd.Wait()
		}
		want += s.count()
	}
	_, _ = lifeR.Close(), readyW.Close()
	lines := bufio.NewReader(readyR)
	defer func() { go tree.await() }()
	for len(tree.pids) < want {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("%d of %d processes started, then: %v", len(tree.pids), want, err)
		}
		name, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		pid, err := strconv.Atoi(number)
		if err != nil {
			t.Fatalf("report %q: %v", line, err)
		}
		tree.pids[name] = pid
	}
	return tree
}

// await returns when the last of them has closed the other end.
func (t *Tree) await() {
	defer close(t.over)
	_, _ = io.Copy(io.Discard, t.ready)
	_ = t.ready.Close()
}

func (s Spec) count() int {
	n := 1
	for _, below := range s.Below {
		n += below.count()
	}
	return n
}
