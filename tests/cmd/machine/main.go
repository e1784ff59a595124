// Command machine is what runs inside a test machine: its first process, and
// the agents through which the tests start everything else. See packages
// agent and machine. It tests nothing itself.
//
//	machine init            first process of the namespaces; lives until its stdin ends
//	machine bare            the same of a Debian tree, where no systemd runs
//	machine agent SOCKET    an agent as whoever it is started
//	machine login UID SOCKET   the same as a login's leader: with an audit session id
//	machine stamp FILE      write the monotonic time of its own start, in nanoseconds
//	machine relay FROM TO   pass TCP connections on, byte for byte
//	machine hang DIR        mount a file system on DIR that never answers
//	machine wedge DIR       the same, and who asks it cannot even be killed
//	machine unchroot CMD…   run it where a chroot(2) is not felt
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "machine: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "init":
		return first(machine.Furnish)
	case len(args) == 1 && args[0] == "bare":
		return bare()
	case len(args) == 1 && args[0] == "reap":
		return first(func() error { return nil })
	case len(args) == 1 && args[0] == "root":
		if err := machine.CollectSyslog(); err != nil {
			return err
		}
		return agent.Serve(machine.RootSocket)
	case len(args) == 2 && args[0] == "agent":
		return agent.Serve(args[1])
	case len(args) == 3 && args[0] == "login":
		return login(args[1], args[2])
	case len(args) == 2 && args[0] == "stamp":
		return stamp(args[1])
	case len(args) == 3 && args[0] == "relay":
		return relay(args[1], args[2])
	case len(args) == 2 && args[0] == "hang":
		return hang(args[1], false)
	case len(args) == 2 && args[0] == "wedge":
		return hang(args[1], true)
	case len(args) > 1 && args[0] == "unchroot":
		return unchroot(args[1:])
	}
	return fmt.Errorf("unknown arguments %q", args)
}

// login does what pam_loginuid does and becomes an agent. The id belongs to a
// thread (the kernel refuses to set another's) and children have that of the
// thread that starts them, so the rest is up to a program that this thread
// executes. A login without an id would pass tests for the wrong reason.
func login(uid, socket string) error {
	runtime.LockOSThread()
	if err := os.WriteFile("/proc/thread-self/loginuid", []byte(uid), 0); err != nil {
		return fmt.Errorf("give the login an audit id: %w", err)
	}
	return syscall.Exec("/proc/self/exe", []string{"machine", "agent", socket}, os.Environ())
}

// first sets the machine up, starts root's agent and then only reaps: whoever
// is orphaned here becomes its child. When the test that made the machine
// ends, however it ends, stdin does too, and with this process everything else.
func first(furnish func() error) error {
	if err := furnish(); err != nil {
		return err
	}
	// Not ignored: that would be inherited by all that is ever started here.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	files := []uintptr{0, 1, 2}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	files[0] = null.Fd()
	if _, err := syscall.ForkExec(machine.Program, []string{"machine", "root"}, &syscall.ProcAttr{
		Dir: "/", Env: machine.RootEnv(), Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
	}); err != nil {
		return fmt.Errorf("start root's agent: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for {
		if _, err := syscall.Wait4(-1, nil, 0, nil); err != nil && err != syscall.EINTR {
			return fmt.Errorf("root's agent and all others are gone: %w", err)
		}
	}
}

// bare is first for a machine whose root and control groups are at first those
// of one thread: by execve(2) they become the process's.
func bare() error {
	runtime.LockOSThread()
	if err := machine.FurnishBare(); err != nil {
		return err
	}
	return syscall.Exec(machine.Program, []string{"machine", "reap"}, os.Environ())
}

func stamp(name string) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return err
	}
	return os.WriteFile(name, fmt.Appendln(nil, now.Nano()), 0o644)
}

// hang mounts a FUSE file system whose server reads no request: every access
// blocks until the caller is killed, as on an NFS server that went away.
// With hard it takes the requests and keeps them: whoever waits for an answer
// then does so whatever signal comes (fuse(4)).
func hang(dir string, hard bool) error {
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fuse.Fd())
	if err := syscall.Mount("hung", dir, "fuse", 0, options); err != nil {
		return err
	}
	if hard {
		if err := greet(int(fuse.Fd())); err != nil {
			return err
		}
		go func() {
			request := make([]byte, 1<<18)
			for {
				if _, err := syscall.Read(int(fuse.Fd()), request); err != nil {
					return
				}
			}
		}()
	}
	fmt.Println("hanging")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return fuse.Close()
}

// greet answers the first request, FUSE_INIT, with protocol 7.31.
func greet(fuse int) error {
	request := make([]byte, 1<<18)
	if _, err := syscall.Read(fuse, request); err != nil {
		return fmt.Errorf("read FUSE_INIT: %w", err)
	}
	reply := make([]byte, 16+64)
	ne := binary.NativeEndian
	ne.PutUint32(reply, uint32(len(reply)))
	copy(reply[8:16], request[8:16]) // whose answer it is
	ne.PutUint32(reply[16:], 7)
	ne.PutUint32(reply[20:], 31)
	ne.PutUint32(reply[36:], 4096) // max_write
	_, err := syscall.Write(fuse, reply)
	return err
}
