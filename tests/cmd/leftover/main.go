// Command leftover is what a session leaves behind: each kind is one way of
// not going by itself. It becomes what it is asked to be, announces itself by
// name to the test (which learns its number from the kernel) and then stays.
// The scenario leftovers.txtar proves each kind. Ways that the shell offers
// (setsid, nohup, env -i) are not repeated here.
//
//	leftover [-announce SOCKET] NAME KIND
package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// mostRevivals bounds what a pair of twins can do to the machine.
const mostRevivals = 200

type leftover struct {
	announceAt string
	name       string
}

func main() {
	announceAt := flag.String("announce", "/run/scenario/leftover.sock", "where to say that it is ready")
	flag.Parse()
	if flag.NArg() < 2 {
		fmt.Fprintln(os.Stderr, "usage: leftover [-announce SOCKET] NAME KIND")
		os.Exit(2)
	}
	l := leftover{*announceAt, flag.Arg(0)}
	if err := l.be(flag.Arg(1), flag.Args()[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "leftover %s: %v\n", strings.Join(os.Args[1:], " "), err)
		os.Exit(1)
	}
}

func (l leftover) be(kind string, args []string) error {
	switch kind {
	case "obedient":
		return l.stay()
	case "doublefork": // a daemon's way: the parent is gone, the session its own
		return l.again(&syscall.SysProcAttr{Setsid: true}, "doublefork2")
	case "doublefork2":
		return l.again(nil, "obedient")
	case "termignorer":
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
		return l.stay()
	case "stopped":
		if err := l.announce(); err != nil {
			return err
		}
		if err := unix.Kill(os.Getpid(), unix.SIGSTOP); err != nil {
			return err
		}
		return forever()
	case "selfrestop":
		return l.restop()
	case "nondumpable": // as ssh-agent and gpg-agent are
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
			return fmt.Errorf("prctl: %w", err)
		}
		return l.stay()
	case "overwritten":
		if err := overwriteEnviron(); err != nil {
			return err
		}
		return l.stay()
	case "busy":
		if err := l.announce(); err != nil {
			return err
		}
		//lint:ignore SA5002 a busy loop is what this is
		for {
		}
	case "twins":
		return l.twin(args)
	}
	return fmt.Errorf("unknown kind %q", kind)
}

func (l leftover) stay() error {
	if err := l.announce(); err != nil {
		return err
	}
	return forever()
}

// forever waits for something that does not come, in the kernel: a Go program
// without a runnable goroutine would call it a deadlock.
func forever() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, w.Close())
}

func (l leftover) announce() error {
	conn, err := net.Dial("unix", l.announceAt)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprintln(conn, l.name); err != nil {
		return err
	}
	_, err = bufio.NewReader(conn).ReadString('\n')
	return err
}

// again starts this program anew as the kind and ends this process.
func (l leftover) again(attr *syscall.SysProcAttr, kind string, args ...string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, append([]string{"-announce", l.announceAt, l.name, kind}, args...)...)
	cmd.SysProcAttr = attr
	return cmd.Start()
}

// restop stops itself again whenever it is continued, as a job does whose
// handler for SIGCONT goes on to wait for the terminal.
func (l leftover) restop() error {
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	if err := l.announce(); err != nil {
		return err
	}
	for {
		if err := unix.Kill(os.Getpid(), unix.SIGSTOP); err != nil {
			return err
		}
		<-continued
		_ = l.announce() // so that a test sees it awake, if one looks
		// A Go program dies of TERM by a handler of its own, on any thread:
		// stopped in the middle of that, it would seem to ignore TERM.
		<-time.After(20 * time.Millisecond)
	}
}

// overwriteEnviron wipes the memory that /proc/PID/environ shows (proc(5),
// stat fields 50 and 51), as programs do that set their title there.
func overwriteEnviron() error {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+2:])
	start, err1 := strconv.ParseInt(string(fields[50-3]), 10, 64)
	end, err2 := strconv.ParseInt(string(fields[51-3]), 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	mem, err := os.OpenFile("/proc/self/mem", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = mem.WriteAt(bytes.Repeat([]byte{'x'}, int(end-start)), start)
	return errors.Join(err, mem.Close())
}

// twin is one of two that ignore TERM; each brings the other back.
func (l leftover) twin(args []string) error {
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
	generation, other := 0, -1
	if len(args) == 2 {
		var err1, err2 error
		var pid int
		generation, err1 = strconv.Atoi(args[0])
		pid, err2 = strconv.Atoi(args[1])
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err == nil {
			other = fd
		}
	}
	if err := l.announce(); err != nil {
		return err
	}
	for ; generation < mostRevivals; generation++ {
		if other >= 0 {
			fds := []unix.PollFd{{Fd: int32(other), Events: unix.POLLIN}}
			if _, err := unix.Poll(fds, -1); err != nil {
				if errors.Is(err, unix.EINTR) {
					generation--
					continue
				}
				return err
			}
			_ = unix.Close(other)
		}
		var err error
		if other, err = l.revive(generation + 1); err != nil {
			return err
		}
	}
	return nil
}

func (l leftover) revive(generation int) (pidfd int, err error) {
	exe, err := os.Executable()
	if err != nil {
		return -1, err
	}
	cmd := exec.Command(exe, "-announce", l.announceAt, l.name, "twins", strconv.Itoa(generation), strconv.Itoa(os.Getpid()))
	cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &pidfd}
	if err := cmd.Start(); err != nil {
		return -1, err
	}
	own, err := unix.FcntlInt(uintptr(pidfd), unix.F_DUPFD_CLOEXEC, 0)
	go func() { _ = cmd.Wait() }()
	return own, err
}
