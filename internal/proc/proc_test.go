package proc_test

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"xexit/internal/proc"
	"xexit/internal/proc/proctest"
	"xexit/internal/session"
)

func TestMain(m *testing.M) {
	proctest.RunIfChild()
	os.Exit(m.Run())
}

func open(t testing.TB) *proc.FS {
	t.Helper()
	fs, err := proc.New("/proc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fs.Close() })
	return fs
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func TestSelf(t *testing.T) {
	fs := open(t)
	self := os.Getpid()
	s, err := fs.Stat(self)
	if err != nil {
		t.Fatal(err)
	}
	if s.PID != self || s.PPID != os.Getppid() || s.Start == 0 || s.Threads < 2 || s.EnvEnd == 0 || s.Dead() || s.Kernel() {
		t.Errorf("stat: %+v", s)
	}
	if uid, err := fs.UID(self); err != nil || int(uid) != os.Getuid() {
		t.Errorf("uid: %d, %v", uid, err)
	}
	if uid, ino, err := fs.Owner(self); err != nil || int(uid) != os.Geteuid() || ino < 2 {
		t.Errorf("owner: %d, inode %d, %v", uid, ino, err)
	}
	audit, err := fs.Audit(self)
	if err != nil || strconv.FormatUint(uint64(audit), 10) != readFile(t, "/proc/self/sessionid") {
		t.Errorf("audit: %d, %v", audit, err)
	}
	cgroup, err := fs.Cgroup(self)
	if err != nil || cgroup != "" && !strings.Contains(readFile(t, "/proc/self/cgroup")+"\n", "0::"+cgroup+"\n") {
		t.Errorf("cgroup: %q, %v", cgroup, err)
	}
	if args, err := fs.Cmdline(self); err != nil || strings.Join(args, "|") != strings.Join(os.Args, "|") {
		t.Errorf("cmdline: %q, %v", args, err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(exe, &st); err != nil {
		t.Fatal(err)
	}
	if path, dev, ino, err := fs.Exe(self); err != nil || path != exe || dev != uint64(st.Dev) || ino != st.Ino {
		t.Errorf("exe: %q %d:%d, %v", path, dev, ino, err)
	}
	signal.Ignore(syscall.SIGUSR2)
	defer signal.Reset(syscall.SIGUSR2)
	for sig, want := range map[syscall.Signal]bool{syscall.SIGUSR2: true, syscall.SIGKILL: false} {
		if ignored, err := fs.Ignores(self, sig); err != nil || ignored != want {
			t.Errorf("signal %d ignored: %v, %v; want %v", sig, ignored, err, want)
		}
	}
	if tracer, err := fs.TracerPID(self); err != nil || tracer != 0 {
		t.Errorf("tracer: %d, %v", tracer, err)
	}
	if _, err := fs.Wchan(self); err != nil {
		t.Errorf("wchan: %v", err)
	}
}

func TestGone(t *testing.T) {
	fs := open(t)
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	for name, ask := range map[string]func() error{
		"stat":    func() error { _, err := fs.Stat(pid); return err },
		"uid":     func() error { _, err := fs.UID(pid); return err },
		"owner":   func() error { _, _, err := fs.Owner(pid); return err },
		"audit":   func() error { _, err := fs.Audit(pid); return err },
		"cgroup":  func() error { _, err := fs.Cgroup(pid); return err },
		"environ": func() error { return fs.Environ(pid, []string{"A"}, func(int, []byte) {}) },
		"cmdline": func() error { _, err := fs.Cmdline(pid); return err },
		"exe":     func() error { _, _, _, err := fs.Exe(pid); return err },
		"wchan":   func() error { _, err := fs.Wchan(pid); return err },
		"open":    func() error { _, err := fs.Open(pid); return err },
	} {
		if err := ask(); !errors.Is(err, proc.ErrGone) || !errors.Is(err, syscall.ESRCH) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPids(t *testing.T) {
	fs := open(t)
	tree := proctest.Start(t, proctest.Spec{Name: "a"}, proctest.Spec{Name: "b"})
	list := func(from int) (pids []int) {
		if err := fs.Pids(from, func(pid int) error { pids = append(pids, pid); return nil }); err != nil {
			t.Fatal(err)
		}
		return pids
	}
	has := func(pids []int, pid int) bool {
		for _, p := range pids {
			if p == pid {
				return true
			}
		}
		return false
	}
	all := list(0)
	for i := 1; i < len(all); i++ {
		if all[i-1] >= all[i] {
			t.Fatalf("not ascending: %d before %d", all[i-1], all[i])
		}
	}
	a, b := tree.PID("a"), tree.PID("b")
	if !has(all, a) || !has(all, b) || !has(all, os.Getpid()) {
		t.Errorf("%d, %d or %d missing in %v", a, b, os.Getpid(), all)
	}
	if got := list(a); has(got, a) || has(got, b) != (b > a) {
		t.Errorf("newer than %d: %v", a, got)
	}
	if got := list(a - 1); len(got) == 0 || got[0] != a {
		t.Errorf("newer than %d: %v, want %d first", a-1, got, a)
	}
	stop := errors.New("stop")
	if err := fs.Pids(0, func(int) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("visit's error became %v", err)
	}
	if last, err := fs.LastPID(); err != nil || last < 1 {
		t.Errorf("last pid %d, %v", last, err)
	}
}

func TestEnvironReal(t *testing.T) {
	fs := open(t)
	env := []string{"OTHER=1", "XEXIT_SESSION=abc"}
	tree := proctest.Start(t,
		proctest.Spec{Name: "plain", Env: env},
		proctest.Spec{Name: "empty"},
		proctest.Spec{Name: "wiped", Env: env, Wipe: true},
		proctest.Spec{Name: "deadhead", Env: env, DeadHead: true},
	)
	for name, want := range map[string]string{"plain": "abc", "empty": "", "wiped": "", "deadhead": "abc"} {
		if name == "deadhead" {
			awaitState(t, fs, tree.PID(name), 'Z')
		}
		var got string
		err := fs.Environ(tree.PID(name), []string{"XEXIT_SESSION"}, func(_ int, v []byte) { got = string(v) })
		if err != nil || got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if s, err := fs.Stat(tree.PID("deadhead")); err != nil || s.Dead() {
		t.Errorf("a dead leader with threads: %+v, %v", s, err)
	}
}

// awaitState waits until the first thread of pid is in state.
func awaitState(t testing.TB, fs *proc.FS, pid int, state byte) {
	t.Helper()
	for range 1 << 20 {
		s, err := fs.Stat(pid)
		if err != nil {
			t.Fatal(err)
		}
		if s.State == state {
			return
		}
	}
	t.Fatalf("%d never came to state %c", pid, state)
}

func TestDenied(t *testing.T) {
	if os.Getuid() == 0 {
		// Root may read all: the same as a child under another uid.
		if os.Getenv("PROC_TEST_DENIED") != "" {
			t.Fatal("still root")
		}
		exe, err := os.Open("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		defer exe.Close()
		cmd := exec.Command("/proc/self/fd/3", "-test.run=^TestDenied$", "-test.v")
		cmd.ExtraFiles = []*os.File{exe}
		cmd.Dir = "/"
		cmd.Env = []string{"PROC_TEST_DENIED=1", "TMPDIR=/tmp"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 61234, Gid: 61234}}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestDenied") {
			t.Fatalf("as 61234: %v\n%s", err, out)
		}
		return
	}
	fs := open(t)
	tree := proctest.Start(t, proctest.Spec{Name: "agent", Env: []string{"XEXIT_SESSION=abc"}, NoDump: true})
	agent := tree.PID("agent")
	err := fs.Environ(agent, []string{"XEXIT_SESSION"}, func(int, []byte) { t.Error("a value") })
	if !errors.Is(err, proc.ErrDenied) {
		t.Errorf("environ: %v", err)
	}
	if uid, _, err := fs.Owner(agent); err != nil || int(uid) != os.Getuid() {
		t.Errorf("owner of what is not dumpable: %d, %v", uid, err)
	}
	if uid, err := fs.UID(agent); err != nil || int(uid) != os.Getuid() {
		t.Errorf("uid: %d, %v", uid, err)
	}
	if r, err := fs.Open(agent); err != nil {
		t.Error(err)
	} else if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := fs.Open(1); !errors.Is(err, syscall.EPERM) {
		t.Errorf("open of a process of root: %v", err)
	}
}

func TestFreshAudit(t *testing.T) {
	fs := open(t)
	if own, err := fs.Audit(os.Getpid()); err != nil || own != session.NoAudit {
		t.Logf("we have audit session %d already (%v): a child keeps it", own, err)
		return
	}
	tree := proctest.Start(t, proctest.Spec{Name: "a", Fresh: true}, proctest.Spec{Name: "b", Fresh: true})
	a, err := fs.Audit(tree.PID("a"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := fs.Audit(tree.PID("b"))
	if err != nil {
		t.Fatal(err)
	}
	if a == session.NoAudit && b == session.NoAudit {
		if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
			t.Fatal("this kernel gives no audit session ids")
		}
		t.Skip("this kernel gives no audit session ids")
	}
	if session.SameAudit(a, b) {
		t.Errorf("both have %d", a)
	}
}

func TestRef(t *testing.T) {
	fs := open(t)
	cmd := exec.Command("/bin/cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close(); _ = cmd.Wait() }()
	r, err := fs.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	s, err := fs.Stat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if r.ID() != s.ID() || r.FD() < 0 {
		t.Errorf("reference to %v, fd %d; stat says %v", r.ID(), r.FD(), s.ID())
	}
	if err := r.Signal(0); err != nil {
		t.Error(err)
	}
	if err := r.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	if err := r.Signal(0); !errors.Is(err, proc.ErrGone) || !errors.Is(err, syscall.ESRCH) {
		t.Errorf("signal to the dead: %v", err)
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if err := r.Signal(0); !errors.Is(err, proc.ErrClosed) || r.FD() != -1 {
		t.Errorf("closed: %v, fd %d", err, r.FD())
	}
}

func TestScanAllocatesNothing(t *testing.T) {
	fs := open(t)
	tree := proctest.Start(t, proctest.Spec{Name: "a", Env: []string{"XEXIT_SESSION=abc"}})
	var s proc.Stat
	names := []string{"XEXIT_SESSION", "DISPLAY"}
	found := 0
	scan := func() {
		_ = fs.Entries(0, func(pid int, _ uint64) error {
			if pid == os.Getpid() {
				return nil // its name changes with its threads' under -race
			}
			if pid != tree.PID("a") {
				_, _, _ = fs.Owner(pid)
				_, _ = fs.Audit(pid)
				return nil
			}
			_ = fs.ReadStat(pid, &s)
			_, _ = fs.Audit(pid)
			_, _ = fs.UID(pid)
			_, _ = fs.CgroupBytes(pid)
			_ = fs.Environ(pid, names, func(_ int, v []byte) { found += len(v) })
			return nil
		})
		_, _ = fs.LastPID()
	}
	if n := testing.AllocsPerRun(100, scan); n != 0 {
		t.Errorf("%v allocations a scan, want none", n)
	}
	if found == 0 {
		t.Error("the environment was not read")
	}
}
