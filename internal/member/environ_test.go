package member

import (
	"context"
	"sync/atomic"
	"testing"

	"xexit/internal/proc"
	"xexit/internal/proc/proctest"
	"xexit/internal/registry"
)

// TestBlockedEnvironment: one process whose environment never comes holds up
// neither the pass nor what is known of the others, and is asked again only
// when the read that is stuck has come back.
func TestBlockedEnvironment(t *testing.T) {
	fs := openProc(t)
	marked := func(name string) proctest.Spec {
		return proctest.Spec{Name: name, UID: spawnUID(), Env: []string{markerA}}
	}
	tree := proctest.Start(t, marked("before"), marked("blocked"), marked("after"))
	f := newFinder(t, fs, Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID()}})
	var reads atomic.Int32
	release, back := make(chan struct{}), make(chan struct{})
	f.env.environ = func(fs *proc.FS, pid int, names []string, visit func(int, []byte)) error {
		if pid == tree.PID("blocked") && reads.Add(1) == 1 {
			<-release
			defer close(back)
		}
		return fs.Environ(pid, names, visit)
	}
	for range 2 {
		pass := fullPass(t, f)
		for name, want := range map[string]bool{"before": true, "blocked": false, "after": true} {
			if got, ok := findingOf(pass, tree.PID(name)); !ok || got.Member != want || got.Undecided == want {
				t.Errorf("%s: %+v", name, got)
			}
		}
		if pass.Unknown == 0 || pass.Clean {
			t.Errorf("unknown %d, clean %v", pass.Unknown, pass.Clean)
		}
	}
	if n := reads.Load(); n != 1 {
		t.Errorf("%d reads while the first was stuck", n)
	}
	close(release)
	<-back
	for range 1000 {
		if got, ok := findingOf(fullPass(t, f), tree.PID("blocked")); ok && got.Member {
			return
		}
	}
	t.Error("never read again")
}

// TestBlockedForEver: so many reads are stuck that no more are begun.
func TestBlockedForEver(t *testing.T) {
	fs := openProc(t)
	var specs []proctest.Spec
	for range maxBlocked + 3 {
		specs = append(specs, proctest.Spec{Name: string(rune('a' + len(specs))), UID: spawnUID(), Env: []string{markerA}})
	}
	tree := proctest.Start(t, specs...)
	f := newFinder(t, fs, Target{Entry: entryA(t, fs), Bound: Bound{UID: testUID()}})
	var reads atomic.Int32
	release := make(chan struct{})
	defer close(release)
	ours := map[int]bool{}
	for _, s := range specs {
		ours[tree.PID(s.Name)] = true
	}
	f.env.environ = func(fs *proc.FS, pid int, names []string, visit func(int, []byte)) error {
		if ours[pid] {
			reads.Add(1)
			<-release
			return proc.ErrExecuting
		}
		return fs.Environ(pid, names, visit)
	}
	if pass := fullPass(t, f); pass.Clean || pass.Unknown < len(specs) {
		t.Errorf("%+v", pass)
	}
	if n := reads.Load(); n != maxBlocked {
		t.Errorf("%d reads, want %d", n, maxBlocked)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.All(ctx); err == nil {
		t.Log("finished before it was cancelled")
	}
}

// TestSlowEnvironmentsBelow: below a subreaper, with no other session, nobody
// waits long for environments: descent tells.
func TestSlowEnvironmentsBelow(t *testing.T) {
	fs := openProc(t)
	tree := proctest.Start(t, proctest.Spec{Name: "reaper", UID: spawnUID(), Subreaper: true, Below: []proctest.Spec{{Name: "one"}, {Name: "two"}}})
	target := targetBelow(t, fs, tree.PID("reaper"))
	for _, others := range []bool{false, true} {
		f := newFinder(t, fs, target)
		if others {
			f.SetOthers([]registry.Entry{{ID: sessionB, UID: testUID()}})
		}
		var reads atomic.Int32
		release := make(chan struct{})
		f.env.environ = func(*proc.FS, int, []string, func(int, []byte)) error {
			reads.Add(1)
			<-release
			return nil
		}
		pass := fullPass(t, f)
		close(release)
		// With another session each environment could speak for that one, so that
		// patience is had with each.
		if n := reads.Load(); (n > 1) != others {
			t.Errorf("others %v: %d environments were asked for", others, n)
		}
		for _, name := range []string{"one", "two"} {
			if got, _ := findingOf(pass, tree.PID(name)); !got.Member {
				t.Errorf("others %v: %s: %+v", others, name, got)
			}
		}
		if pass.Clean {
			t.Errorf("others %v: clean", others)
		}
	}
}
