package reap

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"xexit/internal/cgroup"
	"xexit/internal/cgroup/cgrouptest"
	"xexit/internal/proc"
	"xexit/internal/session"
)

// flock is a control group of a test's own with processes in it, all of which
// but the spared one are to be ended. It is a Looker and, for the course of
// things, notes what Run does to the group.
type flock struct {
	*cgroup.Group
	t      *testing.T
	fs     *proc.FS
	dir    string
	spared int // pid; 0: nobody is
	refs   map[session.ProcID]*proc.Ref
	done   []string
	fail   error // of Freeze and Kill
}

func newFlock(t *testing.T) *flock {
	t.Helper()
	tree, err := cgroup.Mounted("/proc")
	if err != nil {
		skip(t, err.Error())
	}
	f := &flock{t: t, refs: map[session.ProcID]*proc.Ref{}}
	probe, err := tree.Make(fmt.Sprintf("/xexit-reap-%d-%s", os.Getpid(), strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())))
	if err != nil {
		skip(t, err.Error())
	}
	f.Group, f.dir = probe, tree.Directory(probe.Path())
	if f.fs, err = proc.New("/proc"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, ref := range f.refs {
			_ = ref.Close()
		}
		if err := errors.Join(f.Group.Kill(hangGuard(t)), os.Remove(f.dir), f.Close(), f.fs.Close()); err != nil {
			t.Error(err)
		}
	})
	return f
}

// add starts a shell script in the group that says so when it is ready.
func (f *flock) add(script string) int {
	f.t.Helper()
	c := exec.Command("/bin/sh", "-c", script)
	cgrouptest.Into(f.t, c, f.dir)
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		f.t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		f.t.Fatalf("the script did not start: %q, %v", line, err)
	}
	gone := make(chan struct{})
	go func() { _ = c.Wait(); close(gone) }()
	f.t.Cleanup(func() { _ = c.Process.Kill(); <-gone })
	return c.Process.Pid
}

// Look implements Looker.
func (f *flock) Look(context.Context) (Look, error) {
	pids, err := f.PIDs()
	look := Look{Clean: err == nil, Alone: err == nil && !slices.Contains(pids, f.spared)}
	for _, pid := range pids {
		if pid == f.spared {
			continue
		}
		ref, err := f.fs.Open(pid)
		if err != nil {
			look.Clean = false
			continue
		}
		if known := f.refs[ref.ID()]; known != nil {
			_ = ref.Close()
			ref = known
		} else {
			f.refs[ref.ID()] = ref
			look.Clean = false
		}
		look.End = append(look.End, Target{Ref: ref, In: true})
	}
	return look, err
}

func (f *flock) Kill(ctx context.Context) error {
	f.done = append(f.done, "kill")
	if f.fail != nil {
		return f.fail
	}
	return f.Group.Kill(ctx)
}

func (f *flock) Freeze(ctx context.Context) error {
	f.done = append(f.done, "freeze")
	if f.fail != nil {
		return f.fail
	}
	return f.Group.Freeze(ctx)
}

func (f *flock) Thaw() error {
	f.done = append(f.done, "thaw")
	return f.Group.Thaw()
}

func (f *flock) run() Report {
	f.t.Helper()
	rep, err := Run(hangGuard(f.t), f.fs, f, anyone, Options{Grace: 100 * time.Millisecond, Force: hang, Group: f})
	if err != nil {
		f.t.Fatal(err)
	}
	return rep
}

const (
	stubborn = `trap "" TERM HUP; echo; while :; do sleep 0.01; done`
	breeder  = `trap "" TERM HUP; echo; n=0; while [ $n -lt 30 ]; do (while :; do (exec sleep 0.01); done) & n=$((n+1)); done; wait`
)

// The same with the groups and the freezer of version 1 of cgroups(7), where
// KILL does not act on who is frozen.
func TestOldGroups(t *testing.T) {
	cgrouptest.Legacy(t, func(t *testing.T, why error) { skip(t, why.Error()) }, "^Test(Group|FrozenAreCulled|FrozenWithoutALookInside)")
}

// Nobody in the group is to be spared: it dies as one, what breeds in it too.
func TestGroupIsKilled(t *testing.T) {
	f := newFlock(t)
	pid := f.add(breeder)
	f.add(stubborn)
	rep := f.run()
	if !rep.Verified || len(rep.Survivors) > 0 {
		t.Errorf("verified %v, survivors %v", rep.Verified, rep.Survivors)
	}
	if is, err := f.Populated(); is || err != nil {
		t.Errorf("populated: %v, %v", is, err)
	}
	if !slices.Contains(f.done, "kill") || slices.Contains(f.done, "freeze") {
		t.Errorf("the group was %v", f.done)
	}
	for _, out := range rep.Processes {
		if out.ID.PID == pid && (out.How != HowKill || f.KillsFrozen() && slices.Contains(out.Signals, "STOP")) {
			t.Errorf("%+v", out)
		}
	}
}

// One in the group is to be spared: the others cannot breed while they are
// killed, and the spared one goes on.
func TestGroupWithOneToSpare(t *testing.T) {
	f := newFlock(t)
	f.spared = f.add(`echo; exec sleep 1000`)
	f.add(breeder)
	rep := f.run()
	if !rep.Verified || len(rep.Survivors) > 0 {
		t.Errorf("verified %v, survivors %v", rep.Verified, rep.Survivors)
	}
	if pids, err := f.PIDs(); err != nil || !slices.Equal(pids, []int{f.spared}) {
		t.Errorf("left in the group: %v, %v; want %d", pids, err, f.spared)
	}
	if slices.Contains(f.done, "kill") || !slices.Equal(f.done[:2], []string{"freeze", "thaw"}) {
		t.Errorf("the group was %v", f.done)
	}
	f.mustNotBeFrozen()
}

// mustNotBeFrozen: in version 1 of cgroups(7) a freezer's group is there only
// while it is used, and named after the test's.
func (f *flock) mustNotBeFrozen() {
	f.t.Helper()
	old, err := filepath.Glob("/sys/fs/cgroup/freezer/xexit/*" + filepath.Base(f.dir) + "/freezer.state")
	if err != nil {
		f.t.Fatal(err)
	}
	for _, file := range old { // somebody who is dying may hold it up
		if state, err := os.ReadFile(file); err == nil && string(state) != "THAWED\n" {
			f.t.Errorf("left %s", state)
		}
	}
	text, err := os.ReadFile(filepath.Join(f.dir, "cgroup.freeze"))
	if f.KillsFrozen() && (err != nil || string(text) != "0\n") {
		f.t.Errorf("left frozen: %q, %v", text, err)
	}
}

// neverClean is a flock beside which others come and go all the time.
type neverClean struct{ *flock }

func (n neverClean) Look(ctx context.Context) (Look, error) {
	look, err := n.flock.Look(ctx)
	look.Clean = false
	return look, err
}

// Who is in a frozen group is killed without waiting for a look that is clean,
// which others may put off: those known before the freeze without any look,
// those born before it after one.
func TestFrozenAreKilledAtOnce(t *testing.T) {
	f := newFlock(t)
	f.spared = f.add(`echo; exec sleep 1000`)
	f.add(breeder)
	var frozen bool
	looks, first, killed, late := 0, -1, 0, 0
	_, err := Run(hangGuard(t), f.fs, neverClean{f}, anyone, Options{
		Grace: 100 * time.Millisecond, Force: 500 * time.Millisecond, Group: f,
		Events: func(e Event) {
			switch {
			case e.Kind == KindGroup:
				frozen, looks = e.Signal == "FREEZE", 0
			case e.Kind == KindLook:
				looks++
			case e.Kind == KindSignal && e.Signal == "KILL":
				if killed++; first < 0 {
					first = looks
				}
				if !frozen || looks > 1 {
					late++
				}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if first != 0 || killed == 0 || late > 0 {
		t.Errorf("the first of %d was killed after %d looks at the frozen group, %d after more than one", killed, first, late)
	}
	if pids, err := f.PIDs(); err != nil || !slices.Equal(pids, []int{f.spared}) {
		t.Errorf("left in the group: %v, %v; want %d", pids, err, f.spared)
	}
}

// A group that can be neither killed nor frozen is swept like any processes.
func TestGroupOutOfReach(t *testing.T) {
	f := newFlock(t)
	f.fail = errors.New("out of reach")
	f.add(stubborn)
	rep := f.run()
	if !rep.Verified || len(rep.Survivors) > 0 {
		t.Errorf("verified %v, survivors %v", rep.Verified, rep.Survivors)
	}
	for _, out := range rep.Processes {
		if out.How == HowKill && !slices.Contains(out.Signals, "STOP") {
			t.Errorf("%+v, want STOP before KILL", out)
		}
	}
}

// An end that is cut short leaves nobody frozen.
func TestGroupIsThawedWhenCutShort(t *testing.T) {
	f := newFlock(t)
	f.spared = f.add(`echo; exec sleep 1000`)
	f.add(stubborn)
	ctx, cancel := context.WithCancel(hangGuard(t))
	defer cancel()
	_, err := Run(ctx, f.fs, f, anyone, Options{Force: hang, Group: f, Events: func(e Event) {
		if e.Kind == KindGroup && e.Signal == "FREEZE" {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	f.mustNotBeFrozen()
}

// Who can be looked at alone is dead before anybody else is looked at, however
// fast it breeds, and who is spared goes on at once.
func TestFrozenAreCulled(t *testing.T) {
	f := newFlock(t)
	f.spared = f.add(`echo; exec sleep 1000`)
	f.add(breeder)
	f.add(stubborn)
	var course []string
	rep, err := Run(hangGuard(t), f.fs, culled{f, &course}, anyone, Options{
		Grace: 50 * time.Millisecond, Force: hang, Group: f,
		Events: func(e Event) {
			if e.Kind == KindGroup {
				course = append(course, e.Signal)
			}
		},
	})
	if err != nil || !rep.Verified {
		t.Fatalf("%+v, %v", rep, err)
	}
	freeze, thaw := slices.Index(course, "FREEZE"), slices.Index(course, "THAW")
	if freeze < 0 || thaw < freeze || slices.Contains(course[freeze:thaw], "everybody") || !slices.Contains(course[freeze:thaw], "inside") {
		t.Errorf("course %v", course)
	}
	if pids, err := f.PIDs(); err != nil || !slices.Equal(pids, []int{f.spared}) {
		t.Errorf("left in the group: %v, %v; want %d", pids, err, f.spared)
	}
}

// culled is a flock that can be looked into apart from everybody else, and
// notes which of the two is done.
type culled struct {
	*flock
	course *[]string
}

func (c culled) Look(ctx context.Context) (Look, error) {
	*c.course = append(*c.course, "everybody")
	return c.flock.Look(ctx)
}

func (c culled) LookIn(ctx context.Context) (Look, bool, error) {
	*c.course = append(*c.course, "inside")
	look, err := c.flock.Look(ctx)
	return look, true, err
}

// Where a look into the group does not tell whom to spare, it stays frozen
// until everybody has been looked at.
func TestFrozenWithoutALookInside(t *testing.T) {
	f := newFlock(t)
	f.spared = f.add(`echo; exec sleep 1000`)
	f.add(stubborn)
	rep, err := Run(hangGuard(t), f.fs, blindInside{f}, anyone, Options{Force: hang, Group: f})
	if err != nil || !rep.Verified || !slices.Contains(f.done, "freeze") {
		t.Errorf("%+v, %v, %v", rep, err, f.done)
	}
}

type blindInside struct{ *flock }

func (blindInside) LookIn(context.Context) (Look, bool, error) { return Look{}, false, nil }
