package ending

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xexit/internal/cgroup"
	"xexit/internal/hook"
	"xexit/internal/proc"
)

// TestHookGroup: a hook that hangs, or leaves somebody behind who ignores TERM,
// is ended with all that it started, and its group is gone.
func TestHookGroup(t *testing.T) {
	g := newGroupRunner(t)
	for _, c := range []struct {
		name, script string
		timedOut     bool
		status, left int
		output       string
	}{
		{"done", "pwd; exit 3", false, 3, 0, "/\n"},
		{"hangs", `trap "" TERM; setsid sleep 1000 & echo on; exec sleep 1000`, true, -1, 0, "on\n"},
		{"leaves", `(trap "" TERM HUP; exec setsid sleep 1000) & echo away`, false, 0, 1, "away\n"},
	} {
		exit, output, err := g.run(c.script, 2*time.Second)
		if err != nil || exit.TimedOut != c.timedOut || exit.Status != c.status || len(exit.Left) != c.left || output != c.output {
			t.Errorf("%s: %+v %q, %v", c.name, exit, output, err)
		}
		if _, err := g.tree.Open(g.name); err == nil {
			t.Errorf("%s: its group is still there", c.name)
		}
	}
}

// TestHookGroupTwice: what an earlier attempt has left in the group is ended
// before the hook runs again.
func TestHookGroupTwice(t *testing.T) {
	g := newGroupRunner(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	old, err := g.make(ctx)
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	first, err := g.start(old, hook.Command{Path: "/bin/sleep", Argv: []string{"sleep", "1000"}, Output: null})
	if err != nil {
		t.Fatal(err)
	}
	exit, output, err := g.run("echo again", time.Minute)
	if err != nil || exit.Status != 0 || output != "again\n" {
		t.Errorf("%+v %q, %v", exit, output, err)
	}
	<-first.exited
	if err := old.Close(); err != nil {
		t.Error(err)
	}
}

func newGroupRunner(t *testing.T) groupRunner {
	t.Helper()
	if os.Geteuid() != 0 {
		cannot(t, os.ErrPermission)
	}
	tree, err := cgroup.Mounted("/proc")
	if err != nil {
		cannot(t, err)
	}
	fs, err := proc.New("/proc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fs.Close() })
	return groupRunner{tree, fmt.Sprintf("%stest-%d-%s", hookGroups, os.Getpid(), t.Name()), nil, fs}
}

func (g groupRunner) run(script string, deadline time.Duration) (hook.Exit, string, error) {
	dir, err := os.MkdirTemp("", "hookgroup-")
	if err != nil {
		return hook.Exit{}, "", err
	}
	defer os.RemoveAll(dir)
	out, err := os.OpenFile(filepath.Join(dir, "out"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return hook.Exit{}, "", err
	}
	defer out.Close()
	exit, err := g.Run(context.Background(), hook.Command{
		Path: "/bin/sh", Argv: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}, Output: out,
		Deadline: deadline, Grace: 200 * time.Millisecond,
	})
	var text strings.Builder
	if _, seek := out.Seek(0, io.SeekStart); seek == nil {
		_, _ = io.Copy(&text, out)
	}
	return exit, text.String(), err
}
