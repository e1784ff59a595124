package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/cgroup/cgrouptest"
)

// guard is how long anything may take before the test is thought to hang.
const guard = 30 * time.Second

// cannot skips a test on a machine that cannot run it, and fails it where
// nothing may be skipped.
func cannot(t *testing.T, why error) {
	t.Helper()
	if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// made makes a group of the test's own in the real hierarchy.
func made(t *testing.T) (*Group, string) {
	t.Helper()
	tree, err := Mounted("/proc")
	if err != nil {
		cannot(t, err)
	}
	dir, err := os.MkdirTemp(tree.root, "xexit-test-")
	if err != nil {
		cannot(t, fmt.Errorf("make a control group: %w", err))
	}
	g, err := tree.Open("/" + filepath.Base(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), guard)
		defer cancel()
		if err := g.Kill(ctx); err != nil {
			t.Error(err)
		}
		remove(t, dir)
		_ = g.Close()
	})
	return g, dir
}

// remove removes a group and those below it, the deepest first.
func remove(t *testing.T, dir string) {
	t.Helper()
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			remove(t, filepath.Join(dir, e.Name()))
		}
	}
	if err := os.Remove(dir); err != nil {
		t.Error(err)
	}
}

// inside starts a shell script in the group and reads its first line.
func inside(t *testing.T, dir, script string) *exec.Cmd {
	t.Helper()
	c := exec.Command("sh", "-c", script)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cgrouptest.Into(t, c, dir)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatalf("the script in the group did not start: %v", err)
	}
	// Not waited for here: it may be frozen until the group is killed.
	t.Cleanup(func() { _ = c.Process.Kill(); go func() { _ = c.Wait() }() })
	return c
}

func TestGroupHasWhoLivesBelowIt(t *testing.T) {
	g, dir := made(t)
	if is, err := g.Populated(); is || err != nil {
		t.Fatalf("a new group is populated: %v, %v", is, err)
	}
	below := filepath.Join(dir, "a", "b")
	if err := os.MkdirAll(below, 0o755); err != nil {
		t.Fatal(err)
	}
	top, deep := inside(t, dir, "echo; exec sleep 1000"), inside(t, below, "echo; exec sleep 1000")
	pids, err := g.PIDs()
	slices.Sort(pids)
	want := []int{top.Process.Pid, deep.Process.Pid}
	slices.Sort(want)
	if err != nil || !slices.Equal(pids, want) {
		t.Fatalf("processes %v, %v; want %v", pids, err, want)
	}
	if is, err := g.Populated(); !is || err != nil {
		t.Fatalf("populated: %v, %v", is, err)
	}
}

// Forty that ignore what can be ignored, each with a new child all the time.
const bomb = `trap "" TERM HUP INT; echo; n=0; while [ $n -lt 40 ]; do (trap "" TERM; while :; do (exec sleep 0.01); done) & n=$((n+1)); done; wait`

func TestKill(t *testing.T) {
	for _, way := range []struct {
		name string
		kill func(*Group, context.Context) error
	}{
		{"cgroup.kill", (*Group).Kill},
		{"freeze, kill, thaw", (*Group).KillFrozen},
	} {
		t.Run(way.name, func(t *testing.T) {
			g, dir := made(t)
			ctx, cancel := context.WithTimeout(t.Context(), guard)
			defer cancel()
			inside(t, dir, bomb)
			other := exec.Command("sleep", "1000") // not in the group
			if err := other.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
			if err := way.kill(g, ctx); err != nil {
				t.Fatal(err)
			}
			if err := g.AwaitEmpty(ctx); err != nil {
				t.Fatal(err)
			}
			if err := other.Process.Signal(syscall.Signal(0)); err != nil {
				t.Errorf("a process outside the group: %v", err)
			}
			if frozen(t, g) {
				t.Error("left frozen")
			}
		})
	}
}

// frozen is the kernel's word for it.
func frozen(t *testing.T, g *Group) bool {
	t.Helper()
	if g.old != nil {
		state, err := os.ReadFile(filepath.Join(g.old.own(g.path), "freezer.state"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(state)) == "FROZEN"
	}
	text, err := g.read("cgroup.events")
	is, ok := event(text, "frozen")
	if err != nil || !ok {
		t.Fatalf("%q, %v", text, err)
	}
	return is
}

func TestFreezeAndThaw(t *testing.T) {
	g, dir := made(t)
	ctx, cancel := context.WithTimeout(t.Context(), guard)
	defer cancel()
	c := inside(t, dir, `trap "echo polite; exit 0" TERM; echo; while :; do sleep 0.01; done`)
	if err := g.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	if !frozen(t, g) {
		t.Fatal("it is not frozen")
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil { // waits for the thaw
		t.Fatal(err)
	}
	if is, _ := g.Populated(); !is {
		t.Fatal("a frozen process took TERM")
	}
	if err := g.Thaw(); err != nil {
		t.Fatal(err)
	}
	if err := g.AwaitEmpty(ctx); err != nil {
		t.Fatal(err)
	}
}

// A wait is over when its context is, and when the group is removed.
func TestAwaitEnds(t *testing.T) {
	g, dir := made(t)
	below := filepath.Join(dir, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	inside(t, below, "echo; exec sleep 1000")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.AwaitEmpty(ctx) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled wait: %v", err)
	}
}

func TestGoneGroup(t *testing.T) {
	g, dir := made(t)
	name := filepath.Join(dir, "short")
	if err := os.Mkdir(name, 0o755); err != nil {
		t.Fatal(err)
	}
	short, err := At(dir).Open("/short")
	if err != nil {
		t.Fatal(err)
	}
	defer short.Close()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	// Another one by that name is not the one that was opened.
	if err := os.Mkdir(name, 0o755); err != nil {
		t.Fatal(err)
	}
	c := inside(t, name, "echo; exec sleep 1000")
	if is, err := short.Populated(); is || err != nil {
		t.Errorf("populated: %v, %v", is, err)
	}
	if pids, err := short.PIDs(); len(pids) != 0 || err != nil {
		t.Errorf("processes %v, %v", pids, err)
	}
	if err := short.Kill(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the process in the new group: %v", err)
	}
	if is, err := g.Populated(); !is || err != nil {
		t.Errorf("the group above: %v, %v", is, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	tree := At(t.TempDir())
	for _, name := range []string{"", "/", ".", "..", "/..", "/a/../..", "/a/../b", "//", "/a//b"} {
		if g, err := tree.Open(name); err == nil {
			_ = g.Close()
			t.Errorf("%q was opened", name)
		} else if errors.Is(err, ErrGone) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := tree.Open("/a"); !errors.Is(err, ErrGone) {
		t.Errorf("a group that is not there: %v", err)
	}
}

func TestMounted(t *testing.T) {
	const (
		systemd = "32 30 0:28 / /sys/fs/cgroup/systemd rw shared:5 - cgroup cgroup rw,xattr,name=systemd\n"
		freezer = "33 30 0:29 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n"
	)
	for _, c := range []struct {
		name, table, root string
		version           int
		freezes           bool
	}{
		{"unified", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup", 2, true},
		{"hybrid", "31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n32 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", "/sys/fs/cgroup/unified", 2, true},
		{"part of it", "30 23 0:26 /some/group /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "", 0, false},
		{"a blank", `30 23 0:26 / /mnt/a\040b rw - cgroup2 cgroup2 rw` + "\n", "/mnt/a b", 2, true},
		{"none", "32 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", "", 0, false},
		{"systemd's", systemd + freezer, "/sys/fs/cgroup/systemd", 1, true},
		{"systemd's, no freezer", systemd, "/sys/fs/cgroup/systemd", 1, false},
		{"systemd's of both", "31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n" + systemd + freezer, "/sys/fs/cgroup/unified", 2, true},
		{"somebody else's unified one", systemd + freezer + "31 30 0:27 / /mnt/cgroup2 rw - cgroup2 cgroup rw\n", "/sys/fs/cgroup/systemd", 1, true},
	} {
		proc := t.TempDir()
		err := os.Mkdir(filepath.Join(proc, "self"), 0o700)
		if err == nil {
			err = os.WriteFile(filepath.Join(proc, "self/mountinfo"), []byte(c.table), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		tree, err := Mounted(proc)
		if tree.root != c.root || (c.root == "") != errors.Is(err, ErrNoHierarchy) {
			t.Errorf("%s: %q, %v", c.name, tree.root, err)
		}
		if version, freezes := tree.Version(); c.root != "" && (version != c.version || freezes != c.freezes) {
			t.Errorf("%s: version %d, freezes %v", c.name, version, freezes)
		}
	}
}
