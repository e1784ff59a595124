package demo

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"xexit/internal/linux"
	"xexit/internal/session"
)

// RoleVerb is the hidden verb under which the program plays one of the demo's
// processes.
const RoleVerb = "demo-role"

const (
	// lifetime is after how long the kernel ends a role, come what may.
	lifetime = 120 * time.Second
	// mostRevivals bounds what a pair of twins can bring forth.
	mostRevivals = 8
	// announceFD is where a role's parent has put the pipe to the demo.
	announceFD = 3
)

// kind is one way of being left behind.
type kind struct {
	name, what string
	count      int
}

func (k kind) comm() string { return "demo-" + k.name }

// kinds is the cast of each session. Names are at most ten bytes long, so that
// with "demo-" before them they are names that the kernel keeps whole.
func kinds() []kind {
	return []kind{
		{"leader", "the session's first process", 1},
		{"obedient", "goes when it is asked", 1},
		{"daemon", "double fork and setsid", 1},
		{"env-i", "has an empty environment", 1},
		{"hidden", "not dumpable", 1},
		{"stopped", "stopped (state T)", 1},
		{"ignorer", "ignores TERM, HUP, INT", 1},
		{"twin", "revives its twin", 2},
	}
}

func kindOf(comm string) (kind, bool) {
	for _, k := range kinds() {
		if k.comm() == comm {
			return k, true
		}
	}
	return kind{}, false
}

// castSize is how many processes a session has.
func castSize() int {
	sum := 0
	for _, k := range kinds() {
		sum += k.count
	}
	return sum
}

// RoleMain plays the role that args name until it is ended.
func RoleMain(args []string) int {
	if len(args) == 0 {
		return 2
	}
	left, err := timeLeft(args)
	if err == nil {
		err = linux.DieAfter(left)
	}
	if err != nil {
		return complain(args, err)
	}
	name, _, _ := strings.Cut(args[0], ":")
	// The thread group's leader gets the name (proc(5), comm), which is not
	// always the thread that runs this.
	if err := os.WriteFile("/proc/self/comm", []byte("demo-"+name), 0); err != nil {
		return complain(args, err)
	}
	return complain(args, play(args))
}

// timeLeft is what a role has to live: a revived twin what its reviver has,
// or a pair could hand on its time for ever.
func timeLeft(args []string) (time.Duration, error) {
	if len(args) < 4 {
		return lifetime, nil
	}
	now, err := linux.Now()
	if err != nil {
		return 0, err
	}
	deadline, err := strconv.ParseInt(args[3], 10, 64)
	return min(time.Duration(deadline)-now.Monotonic, lifetime), err
}

func complain(args []string, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "%s %s: %v\n", RoleVerb, strings.Join(args, " "), err)
	return 1
}

func play(args []string) error {
	switch args[0] {
	case "leader":
		return lead()
	case "daemon:first": // its parent leads a new session and leaves at once
		_, err := start("daemon:second", announcePipe(), nil)
		return err
	case "daemon:second":
		return stay("daemon")
	case "ignorer":
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	case "hidden":
		if err := linux.HideMemory(); err != nil {
			return err
		}
	case "stopped":
		if err := announce(announcePipe(), "stopped"); err != nil {
			return err
		}
		if err := linux.StopSelf(); err != nil {
			return err
		}
		wait()
		return nil
	case "twin":
		return twin(args[1:])
	case "obedient", "env-i":
	default:
		return fmt.Errorf("unknown role %q", args[0])
	}
	return stay(args[0])
}

func stay(name string) error {
	err := announce(announcePipe(), name)
	if err == nil {
		wait()
	}
	return err
}

// wait waits for a signal that ends the process.
func wait() {
	never := make(chan os.Signal, 1) // waiting for nothing at all, Go would call a deadlock
	signal.Notify(never, syscall.SIGUSR2)
	for {
		<-never
	}
}

func announcePipe() *os.File { return os.NewFile(announceFD, "announce") }

// announce tells the demo that the role is what it is to be, and closes the
// pipe. A line shorter than PIPE_BUF arrives whole (pipe(7)).
func announce(pipe *os.File, name string) error {
	_, err := fmt.Fprintf(pipe, "%s %d\n", name, os.Getpid())
	return errors.Join(err, pipe.Close())
}

// lead starts the others. What it says last is that it is ready: by then the
// daemon's parents are gone and the stopped one is stopped.
func lead() error {
	fmt.Printf("session %s\nleader %d\n", os.Getenv(session.MarkerName), os.Getpid())
	for _, name := range []string{"obedient", "ignorer", "hidden", "twin"} {
		if _, err := start(name, os.Stdout, nil); err != nil {
			return err
		}
	}
	if _, err := startIn("env-i", os.Stdout, nil, []string{}); err != nil {
		return err
	}
	first, err := start("daemon:first", os.Stdout, &syscall.SysProcAttr{Setsid: true})
	if err != nil {
		return err
	}
	if _, err := first.Wait(); err != nil {
		return err
	}
	stopped, err := start("stopped", os.Stdout, nil)
	if err != nil {
		return err
	}
	if err := linux.WaitStopped(stopped.Pid); err != nil {
		return err
	}
	fmt.Println("ready 0")
	wait()
	return nil
}

func start(name string, pipe *os.File, attr *syscall.SysProcAttr, args ...string) (*os.Process, error) {
	return startIn(name, pipe, attr, os.Environ(), args...)
}

// startIn starts another role; pipe may be nil.
func startIn(name string, pipe *os.File, attr *syscall.SysProcAttr, environ []string, args ...string) (*os.Process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }()
	files := []*os.File{null, null, null}
	if pipe != nil {
		files = append(files, pipe)
	}
	argv := append([]string{"xexit-demo", RoleVerb, name}, args...)
	return os.StartProcess("/proc/self/exe", argv, &os.ProcAttr{Env: environ, Files: files, Sys: attr})
}

// twin is one of two that ignore the polite signals and watch each other: the
// survivor starts a new one. args are the number of revivals so far, the other's
// process number, and when to be dead (CLOCK_MONOTONIC, ns); the first twin has
// none and starts the second.
func twin(args []string) error {
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	pipe := announcePipe()
	if len(args) == 0 {
		now, err := linux.Now()
		if err != nil {
			return err
		}
		deadline := strconv.FormatInt(int64(now.Monotonic+lifetime), 10)
		other, err := start("twin", pipe, nil, "0", strconv.Itoa(os.Getpid()), deadline)
		if err == nil {
			err = announce(pipe, "twin")
		}
		if err != nil {
			return err
		}
		return guardTwin(0, other.Pid, deadline)
	}
	revivals, err := strconv.Atoi(args[0])
	if err != nil || len(args) < 3 {
		return fmt.Errorf("arguments %q", args)
	}
	other, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	if revivals == 0 {
		if err := announce(pipe, "twin"); err != nil {
			return err
		}
	}
	return guardTwin(revivals, other, args[2])
}

// guardTwin revives the other twin each time that it is gone, if not too often.
func guardTwin(revivals, other int, deadline string) error {
	for ; revivals < mostRevivals; revivals++ {
		if err := awaitDeath(other); err != nil {
			return err
		}
		next, err := start("twin", nil, nil, strconv.Itoa(revivals+1), strconv.Itoa(os.Getpid()), deadline)
		if err != nil {
			return err
		}
		other = next.Pid
	}
	wait()
	return nil
}

// awaitDeath waits until the process that has pid now is dead.
func awaitDeath(pid int) error {
	p, err := linux.OpenPidFD(pid)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }()
	for fds := []linux.PollFD{{FD: p.FD()}}; !fds[0].In; {
		if err := linux.Poll(fds, lifetime); err != nil {
			return err
		}
	}
	return nil
}
