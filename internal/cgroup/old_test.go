package cgroup

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"xexit/internal/cgroup/cgrouptest"
)

// All that holds for groups of version 2 holds where there are only those of
// version 1, on the real freezer.
func TestOldHierarchy(t *testing.T) {
	cgrouptest.Legacy(t, cannot, "^(TestGroupHas|TestKill|TestFreeze|TestAwait|TestGone)")
}

// TestFreezerOfVersion1 is what is peculiar to it.
func TestFreezerOfVersion1(t *testing.T) {
	tree, err := Mounted("/proc")
	if version, _ := tree.Version(); err != nil || version != 1 {
		cgrouptest.Legacy(t, cannot, "^TestFreezerOfVersion1$")
		return
	}
	t.Run("the next one thaws", func(t *testing.T) {
		g, dir := made(t)
		ctx := guarded(t)
		c := inside(t, dir, "echo; exec sleep 1000")
		if err := g.Freeze(ctx); err != nil || !frozen(t, g) {
			t.Fatalf("frozen %v, %v", frozen(t, g), err)
		}
		// Whoever froze it is dead; what is left is the group's name.
		next, err := tree.Open(g.Path())
		if err != nil {
			t.Fatal(err)
		}
		defer next.Close()
		if err := c.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if is, err := g.Populated(); !is || err != nil { // the fact that KillsFrozen is about
			t.Errorf("a frozen process died: %v, %v", is, err)
		}
		if err := errors.Join(next.Thaw(), next.AwaitEmpty(ctx)); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(g.old.own(g.path)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the freezer's group: %v", err)
		}
	})
	t.Run("everybody is put back", func(t *testing.T) {
		g, dir := made(t)
		c := inside(t, dir, "echo; exec sleep 1000")
		if err := g.Freeze(guarded(t)); err != nil {
			t.Fatal(err)
		}
		if home, err := g.old.home(c.Process.Pid); err != nil || home != "/xexit/"+filepath.Base(g.old.own(g.path)) {
			t.Errorf("frozen in %q, %v", home, err)
		}
		if err := g.Thaw(); err != nil {
			t.Fatal(err)
		}
		if home, err := g.old.home(c.Process.Pid); err != nil || home != "/" {
			t.Errorf("after the thaw in %q, %v", home, err)
		}
	})
	t.Run("a job of somebody's freezer", func(t *testing.T) {
		g, dir := made(t)
		ctx := guarded(t)
		c := inside(t, dir, "trap '' TERM; echo; while :; do sleep 0.01; done")
		job := filepath.Join(g.old.freezer, "job-"+filepath.Base(dir))
		if err := os.Mkdir(job, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Remove(job); err != nil {
				t.Error(err)
			}
		})
		if err := join(job, c.Process.Pid); err != nil {
			t.Fatal(err)
		}
		inside(t, dir, bomb)
		if err := g.Freeze(ctx); err != nil {
			t.Fatal(err)
		}
		if home, err := g.old.home(c.Process.Pid); err != nil || home != "/"+filepath.Base(job) {
			t.Errorf("its job is now %q, %v", home, err)
		}
		if err := g.Kill(ctx); err != nil { // it too
			t.Error(err)
		}
	})
	t.Run("a number that is somebody else's by now", func(t *testing.T) {
		g, dir := made(t)
		inside(t, dir, "echo; exec sleep 1000")
		if err := g.Freeze(guarded(t)); err != nil {
			t.Fatal(err)
		}
		if did, err := g.old.enter(g.old.own(g.path), deadPID(t)); did || err != nil {
			t.Errorf("a number that nobody has: %v, %v", did, err)
		}
		if home, err := g.old.home(os.Getpid()); err != nil || home != "/" {
			t.Errorf("the test is in %q, %v", home, err)
		}
	})
}

func guarded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), guard)
	t.Cleanup(cancel)
	return ctx
}

// deadPID is the number of a process that is dead and waited for.
func deadPID(t *testing.T) int {
	t.Helper()
	c := exec.Command("sh", "-c", "echo $$")
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}
