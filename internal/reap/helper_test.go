package reap

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/linux"
)

// The test binary started with helperMode in its environment is one of the
// processes that the tests end; see helpers.
const helperMode = "XEXIT_REAP_HELPER"

// testUID is a user that nobody is, for tests as root.
const testUID = 24987

// helperLife bounds every helper, should a test fail to end it.
const helperLife = 90 * time.Second

func TestMain(m *testing.M) {
	mode, found := os.LookupEnv(helperMode)
	if !found {
		os.Exit(m.Run())
	}
	time.AfterFunc(helperLife, func() { os.Exit(3) })
	run, ok := helpers()[mode]
	if !ok {
		fmt.Fprintf(os.Stderr, "no helper %q\n", mode)
		os.Exit(2)
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "helper %s: %v\n", mode, err)
		os.Exit(1)
	}
}

func helpers() map[string]func(args []string) error {
	return map[string]func(args []string) error{
		"nest":        nest,
		"obedient":    func([]string) error { return ready() },
		"ignore-term": ignoring(syscall.SIGTERM),
		"ignore-both": ignoring(syscall.SIGTERM, syscall.SIGHUP),
		"restopping":  restopping,
		"never-reaps": neverReaps,
		"twin":        twin,
		"twin-ignore": func(args []string) error { signal.Ignore(syscall.SIGTERM); return twin(args) },
		"heir":        heir,
		"chain":       chain,
		"fuse":        fuseServer,
		"stat":        func(args []string) error { _, err := os.Stat(args[0]); return err },
		"as-user":     asUser,
	}
}

// again starts this binary in another mode, with the same standard output.
func again(mode string, args ...string) *exec.Cmd {
	// By the link, since another user may not walk the path to the binary.
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), helperMode+"="+mode)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if mode == "fuse" {
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	}
	return cmd
}

// ready tells the test that the helper is what it is to be, and waits.
func ready() error {
	fmt.Println("ready")
	<-time.After(helperLife)
	return nil
}

func ignoring(signals ...os.Signal) func([]string) error {
	return func([]string) error {
		signal.Ignore(signals...)
		return ready()
	}
}

// nest is the subreaper whose descendants a test ends: it starts COUNT times
// the rest of its arguments (a program if that has a slash, else a mode), and
// reaps whoever is orphaned until its standard input ends. With uid=N first it becomes that user, who may
// have 300 processes.
func nest(args []string) error {
	const prSetChildSubreaper = 36
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return errno
	}
	if text, found := strings.CutPrefix(args[0], "uid="); found {
		uid, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		if err := become(uid); err != nil {
			return err
		}
		args = args[1:]
		// The kernel reaps then (wait(2)); we would be too slow for a chain
		// of forks, and its zombies would use up what the user may have.
		signal.Ignore(syscall.SIGCHLD)
	} else {
		go reapAll()
	}
	count, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	for range count {
		cmd := exec.Command(args[1], args[2:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if !strings.Contains(args[1], "/") {
			cmd = again(args[1], args[2:]...)
		}
		if err := cmd.Start(); err != nil {
			return err
		}
	}
	fmt.Println("nest")
	_, _ = os.Stdin.Read(make([]byte, 1)) // the test's end
	return nil
}

// reapAll waits for every child that there is or will be.
func reapAll() {
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	for {
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(-1, &status, 0, nil); err == syscall.ECHILD {
			<-died
		}
	}
}

// become gives up root and limits the processes of the user to 300.
func become(uid int) error {
	const rlimitNproc = 6
	if err := syscall.Setrlimit(rlimitNproc, &syscall.Rlimit{Cur: 300, Max: 300}); err != nil {
		return err
	}
	if err := syscall.Setgroups(nil); err != nil {
		return err
	}
	if err := syscall.Setgid(uid); err != nil {
		return err
	}
	return syscall.Setuid(uid)
}

// restopping answers CONT by stopping itself, as a job with a guard does. A
// shell, since TERM is fatal to it in the kernel; a Go program handles TERM
// first, and on another thread than the one that stops it again.
func restopping([]string) error {
	return syscall.Exec("/bin/sh", []string{"sh", "-c", `trap 'kill -STOP $$' CONT; echo ready; while :; do kill -STOP $$; done`}, os.Environ())
}

// neverReaps has an obedient child that becomes a zombie, since nobody waits
// for it as long as this process lives, which ignores TERM.
func neverReaps([]string) error {
	signal.Ignore(syscall.SIGTERM)
	if err := again("obedient").Start(); err != nil {
		return err
	}
	return ready()
}

// twin and its twin start each other anew when one dies, 100 times at most.
func twin(args []string) error {
	mode := os.Getenv(helperMode)
	peer, generation := 0, 0
	if len(args) == 2 {
		peer, _ = strconv.Atoi(args[0])
		generation, _ = strconv.Atoi(args[1])
	}
	started := peer != 0
	for ; generation < 100; generation++ {
		if peer == 0 {
			cmd := again(mode, strconv.Itoa(os.Getpid()), strconv.Itoa(generation+1))
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := cmd.Start(); err != nil {
				return err
			}
			peer = cmd.Process.Pid
			go cmd.Wait()
		}
		other, err := linux.OpenPidFD(peer)
		peer = 0
		if err != nil {
			continue
		}
		if started || generation == 0 {
			fmt.Println("ready")
			started = false
		}
		poll, err := linux.NewEpoll()
		if err != nil {
			return err
		}
		if err := poll.Add(other.FD(), linux.EpollIn, 0); err != nil {
			return err
		}
		if _, err := poll.Wait(helperLife); err != nil {
			return err
		}
		poll.Close()
		other.Close()
	}
	return nil
}

// chain is never the same process for long: each link forks the next and
// exits. All ignore TERM and HUP; 100,000 links and no more.
func chain([]string) error {
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
	fmt.Println("ready")
	os.Stdin.Close()
	fork(100_000)
	return nil
}

// fork leaves the runtime behind: a forked child has one thread of it and may
// only make raw system calls.
//
//go:norace
//go:nosplit
func fork(links int) {
	for range links {
		pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 || pid != 0 {
			syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
}

// heir leaves a child behind when it is asked to go.
func heir([]string) error {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	fmt.Println("ready")
	<-asked
	return again("obedient").Start()
}
