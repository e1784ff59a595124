package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/linux"
)

// hang guards every wait of these tests; nothing is asserted of it.
const hang = 60 * time.Second

// The verbs of this test binary besides StageVerb.
const (
	verbRun  = "__test-run"  // Run one hook as told in JSON, print the Result
	verbKill = "__test-kill" // send KILL to everybody, by way of the named call
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case StageVerb:
			os.Exit(StageMain(os.Args[2:]))
		case StageInputVerb:
			os.Exit(StageInputMain(os.Args[2:]))
		case verbRun:
			os.Exit(runMain(os.Args[2]))
		case verbKill:
			os.Exit(killMain(os.Args[2:]))
		}
	}
	// What the test was started with is not the hooks' to have: its number may
	// be the one that the shield takes.
	if err := linux.CloseOnExecFrom(3); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// order is one Run in a process of its own.
type order struct {
	UID     int
	Path    string
	Env     []string
	Options Options
}

// runMain carries out an order. It is where kill -9 -1 is tried out, so it does
// nothing at all unless it is the private user that it should be.
func runMain(text string) int {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if uid := os.Getuid(); uid == 0 || uid != o.UID || os.Geteuid() != uid {
		fmt.Fprintln(os.Stderr, "not the private user")
		return 2
	}
	r := Run(context.Background(), Spec{Path: o.Path}, o.Env, o.Options)
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return 1
	}
	return 0
}

// unable skips a test that this machine cannot run, or fails it where nothing
// may be skipped.
func unable(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// hookDir is an empty directory that every user can look into and only this
// one can write to. (That of t.TempDir is private.)
func hookDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "xexit-hook-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, path, text string, mode fs.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// script writes an executable hook and fragment one that is not.
func script(t *testing.T, text string) string {
	return write(t, filepath.Join(hookDir(t), "hook"), "#!/bin/sh\n"+text, 0o755)
}

func fragment(t *testing.T, text string) string {
	return write(t, filepath.Join(hookDir(t), "hook"), text, 0o644)
}

// selfCopy is this test binary where every user can execute it.
func selfCopy(t *testing.T) string {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(hookDir(t), "self")
	return write(t, path, string(self), 0o755)
}

// privateUser is a user id that is nobody else's on this machine: kill -9 -1
// under it reaches this test's processes only. They are ended with the test.
func privateUser(t *testing.T) int {
	t.Helper()
	if os.Getuid() != 0 {
		unable(t, "only root can become a user of whom nothing else runs")
	}
	uid := 600_000_000 + os.Getpid() // far above every range that useradd(8) gives out
	if left := processesOf(t, uid); len(left) > 0 {
		t.Fatalf("uid %d runs %v", uid, left)
	}
	t.Cleanup(func() {
		for _, pid := range processesOf(t, uid) {
			endPrivate(pid, uid)
		}
	})
	return uid
}

// endPrivate ends a process if it is the private user's, and waits for its death.
func endPrivate(pid, uid int) {
	fd, err := linux.OpenPidFD(pid)
	if err != nil {
		return
	}
	defer func() { _ = fd.Close() }()
	if uidOf(pid) == uid {
		_ = fd.Signal(syscall.SIGKILL)
		_ = linux.Poll([]linux.PollFD{{FD: fd.FD()}}, hang)
	}
}

func uidOf(pid int) int {
	var st syscall.Stat_t
	if err := syscall.Stat("/proc/"+strconv.Itoa(pid), &st); err != nil {
		return -1
	}
	return int(st.Uid)
}

// processesOf are the living processes of a user.
func processesOf(t *testing.T, uid int) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && uidOf(pid) == uid {
			if _, alive := livesStill(e.Name()); !alive {
				continue
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// as lets cmd run as the private user and end with this test.
func as(cmd *exec.Cmd, uid int) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)},
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true,
	}
	cmd.Dir = "/"
	return cmd
}

// runAs is Run in a process of the private user's. The state tells how that
// process ended; the Result is valid if it lived to tell.
func runAs(t *testing.T, uid int, path string, env []string, o Options) (Result, *os.ProcessState) {
	t.Helper()
	text, err := json.Marshal(order{uid, path, env, o})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	cmd := as(exec.CommandContext(ctx, "/proc/self/exe", verbRun, string(text)), uid)
	cmd.Env = plainEnv
	cmd.WaitDelay = hang
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("the runner hung: %v\n%s", err, stderr.String())
	}
	var r Result
	if cmd.ProcessState.Success() {
		if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
			t.Fatalf("%v: %q", err, stdout.String())
		}
	} else if stderr.Len() > 0 {
		t.Logf("runner: %s", stderr.String())
	}
	return r, cmd.ProcessState
}

// runHook is a way to call Run: as whom, with what of the kernel.
type runHook func(t *testing.T, path string, env []string, o Options) Result

// ways runs f once for every way: as this user and, if that is root, as an
// unprivileged one; with the shield and without; the last one by what kernels
// before 6.9 can do.
func ways(t *testing.T, f func(t *testing.T, run runHook)) {
	t.Helper()
	direct := func(t *testing.T, path string, env []string, o Options) Result {
		ctx, cancel := context.WithTimeout(t.Context(), hang)
		defer cancel()
		return Run(ctx, Spec{Path: path}, env, o)
	}
	shielded := func(run runHook) runHook {
		return func(t *testing.T, path string, env []string, o Options) Result {
			o.Shield = true
			r := run(t, path, env, o)
			if r.TimedOut && r.Unshielded == stageSilent {
				return r // the deadline came first: see runHanging
			}
			if r.Unshielded != "" {
				t.Errorf("unshielded: %s", r.Unshielded)
			}
			return r
		}
	}
	t.Run("plain", func(t *testing.T) { f(t, direct) })
	t.Run("shielded", func(t *testing.T) { f(t, shielded(direct)) })
	t.Run("before-6.9", func(t *testing.T) {
		f(t, func(t *testing.T, path string, env []string, o Options) Result {
			o.numbered = true
			return direct(t, path, env, o)
		})
	})
	if os.Getuid() != 0 {
		return
	}
	t.Run("unprivileged", func(t *testing.T) {
		uid := privateUser(t)
		f(t, shielded(func(t *testing.T, path string, env []string, o Options) Result {
			r, state := runAs(t, uid, path, env, o)
			if !state.Success() {
				t.Fatalf("the runner ended with %v", state)
			}
			return r
		}))
	})
}

// clean fails the test unless the hook ran undisturbed and ended with status.
func clean(t *testing.T, r Result, status int) {
	t.Helper()
	if r.Status != status || r.Signal != 0 || r.Refused != "" || r.Failed != "" || r.TimedOut ||
		len(r.Left)+len(r.Survived)+len(r.Denied) > 0 {
		t.Errorf("want status %d and nothing else, got %+v\noutput: %s", status, r, r.Output)
	}
}

// ended waits until pid is dead, and ends it if that takes for ever.
func ended(t *testing.T, pid int) {
	t.Helper()
	fd, err := linux.OpenPidFD(pid)
	if errors.Is(err, syscall.ESRCH) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = fd.Close() }()
	wait := []linux.PollFD{{FD: fd.FD()}}
	if err := linux.Poll(wait, hang); err != nil || !wait[0].In {
		t.Errorf("process %d lives: %v", pid, err)
		_ = fd.Signal(syscall.SIGKILL)
	}
}

// number reads the only number in a hook's output.
func number(t *testing.T, r Result) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(string(r.Output)))
	if err != nil {
		t.Fatalf("%+v\n%s", r, r.Output)
	}
	return n
}
