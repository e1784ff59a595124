// Package machine makes small test machines out of namespaces: one process
// tree, one file system, one network each, with the built xexit installed as
// `make install` does it, people of its own, and nothing that can reach the
// host's processes. When the test ends, even by a crash, the machine's first
// process does, and the kernel ends everything in it. Scenarios and their
// words belong to package scenario.
package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
)

// Guard bounds every wait: reached only when something hangs.
const Guard = 60 * time.Second

// Machine is one test machine.
type Machine struct {
	base  string
	init  *exec.Cmd
	first int // the host's number of the machine's first process
	stdin io.Closer
	halt  func() error // nil: the end of stdin is enough

	starting  sync.Mutex // an X server: see displayNumber
	laying    sync.Mutex
	terminals map[string]*Terminal // by name
	serving   bool                 // sshd runs

	announce *net.UnixListener
	mu       sync.Mutex
	known    map[string][]*Ref // leftovers by name, in the order they announced themselves
	changed  chan struct{}     // closed and replaced when known grows
}

// Start makes a machine with what lies in stage (a tree as made by `make
// install DESTDIR=stage`) laid over the host's /usr and /etc. base is an empty
// directory outside of /tmp, for its use.
func Start(stage, base string) (*Machine, error) {
	m := &Machine{base: base, known: make(map[string][]*Ref), terminals: make(map[string]*Terminal), changed: make(chan struct{})}
	m.init = exec.Command(stage+Program, "init")
	m.init.Env = append(RootEnv(), "XEXIT_STAGE="+stage, "XEXIT_BASE="+base)
	m.init.Stderr = os.Stderr
	m.init.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Setsid:     true,
	}
	stdin, err := m.init.StdinPipe()
	if err != nil {
		return nil, err
	}
	m.stdin = stdin
	if err := m.init.Start(); err != nil {
		return nil, fmt.Errorf("start a machine: %w", err)
	}
	m.first = m.init.Process.Pid
	if err := m.WaitFile(RootSocket); err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	if err := m.hear(); err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	return m, nil
}

// Stop ends the machine and everything in it.
func (m *Machine) Stop() error {
	if m.announce != nil {
		_ = m.announce.Close()
	}
	var err error
	if m.halt != nil {
		err = m.halt()
	} else {
		_ = m.stdin.Close() // its first process sees the end of file, and all others die with it
		err = m.init.Wait()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, refs := range m.known {
		for _, r := range refs {
			_ = r.fd.Close()
		}
	}
	return err
}

// Path is where the host finds a path of the machine. It follows symbolic
// links of the host: use it for plain paths.
func (m *Machine) Path(inside string) string {
	return filepath.Join("/proc", strconv.Itoa(m.first), "root", inside)
}

// WaitFile returns once the path exists inside the machine.
func (m *Machine) WaitFile(inside string) error {
	return Until(inside+" is there", func() (bool, error) {
		_, err := os.Lstat(m.Path(inside))
		return err == nil, nil
	})
}

// Until asks again and again whether something holds, where no event can be
// waited for: a process state, another's file. It gives up after Guard.
func Until(what string, holds func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), Guard)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := holds(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("hang guard: after %v it does not hold that %s", Guard, what)
		}
	}
}

// UserEnv is the environment that a login of that user begins with.
func UserEnv(user string) []string {
	if user == "root" {
		return RootEnv()
	}
	uid := Users[user]
	return []string{
		RootEnv()[0], "HOME=/home/" + user, "USER=" + user, "LOGNAME=" + user, "LANG=C.UTF-8",
		fmt.Sprintf("XDG_RUNTIME_DIR=/run/user/%d", uid),
	}
}

// Result is what a finished command left.
type Result struct {
	Status         int
	Stdout, Stderr string
}

// Run has an agent run a command to its end. A daemon that it leaves behind
// with its output open is not waited for.
func (m *Machine) Run(socket string, r agent.Request) (Result, error) {
	var files [3]*os.File
	for i, name := range []string{"stdin", "stdout", "stderr"} {
		f, err := os.CreateTemp(filepath.Dir(m.base), name)
		if err != nil {
			return Result{}, err
		}
		defer f.Close()
		if err := os.Remove(f.Name()); err != nil {
			return Result{}, err
		}
		files[i] = f
	}
	p, err := agent.Start(m.Path(socket), r, files[:]...)
	if err != nil {
		return Result{}, err
	}
	defer p.PidFD.Close()
	type ended struct {
		status int
		err    error
	}
	done := make(chan ended, 1)
	go func() {
		status, err := p.Wait()
		done <- ended{status, err}
	}()
	select {
	case e := <-done:
		if e.err != nil {
			return Result{}, fmt.Errorf("run %s: %w", strings.Join(r.Argv, " "), e.err)
		}
		out := Result{Status: e.status}
		for i, to := range []*string{&out.Stdout, &out.Stderr} {
			text, err := io.ReadAll(io.NewSectionReader(files[i+1], 0, 1<<30))
			if err != nil {
				return Result{}, err
			}
			*to = string(text)
		}
		return out, nil
	case <-time.After(2 * Guard):
		stack, _ := os.ReadFile(m.Path(fmt.Sprintf("/proc/%d/wchan", p.PID)))
		return Result{}, fmt.Errorf("hang guard: %s still runs after %v (waits in %q)", strings.Join(r.Argv, " "), 2*Guard, stack)
	}
}

// Root runs a command as root to its end and demands that it succeeds.
func (m *Machine) Root(argv ...string) (string, error) {
	r, err := m.Run(RootSocket, agent.Request{Argv: argv, UID: 0, Env: RootEnv()})
	if err == nil && r.Status != 0 {
		err = fmt.Errorf("%s: exit status %d: %s", strings.Join(argv, " "), r.Status, r.Stderr)
	}
	return r.Stdout, err
}

// Ref is a verified reference to a process inside the machine.
type Ref struct {
	PID  int // in the machine's numbers
	Host int // in the host's
	fd   *os.File
}

// NewRef takes over a pidfd.
func NewRef(pid int, fd *os.File) (*Ref, error) {
	r := &Ref{PID: pid, fd: fd}
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd.Fd()))
	if err != nil {
		return nil, err
	}
	r.Host = statusField(string(info), "Pid:", 0)
	if r.PID == 0 {
		r.PID = statusField(string(info), "NSpid:", 1)
	}
	return r, nil
}

func statusField(text, name string, index int) int {
	for line := range strings.SplitSeq(text, "\n") {
		if rest, ok := strings.CutPrefix(line, name); ok {
			if fields := strings.Fields(rest); index < len(fields) {
				n, _ := strconv.Atoi(fields[index])
				return n
			}
		}
	}
	return 0
}

// Alive reports whether the process still runs; a zombie does not.
func (r *Ref) Alive() bool {
	ready, err := poll(r.fd, 0)
	return err == nil && !ready
}

// Gone waits until the process has ended, or until the guard.
func (r *Ref) Gone(guard time.Duration) bool {
	ready, err := poll(r.fd, guard)
	return err == nil && ready
}

// Signal sends a signal.
func (r *Ref) Signal(sig syscall.Signal) error {
	return unix.PidfdSendSignal(int(r.fd.Fd()), sig, nil, 0)
}

// State is the letter of proc(5): T is stopped; 0 when it is gone.
func (r *Ref) State() byte {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.Host))
	if err != nil {
		return 0
	}
	if _, rest, ok := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), ") "); ok && rest != "" {
		return rest[0]
	}
	return 0
}

func poll(f *os.File, d time.Duration) (bool, error) {
	deadline := time.Now().Add(d)
	for {
		fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(max(time.Until(deadline), 0)/time.Millisecond))
		if !errors.Is(err, unix.EINTR) {
			return n > 0, err
		}
	}
}
