package reap

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/linux"
	"xexit/internal/proc"
)

// hasty is a flock that tells of everybody in it the moment that it sees them,
// of the spared one too, and lets go of that one only if forgets is not set.
type hasty struct {
	*flock
	passerBy  *proc.Ref
	forgets   bool
	seize     func(*proc.Ref, int) (one, group bool)
	release   func(*proc.Ref)
	seized    int
	meanwhile func()
}

func (h *hasty) SeizeBy(seize func(*proc.Ref, int) (one, group bool), release func(*proc.Ref), starved bool) {
	if starved {
		return // it is not
	}
	h.seize, h.release = seize, release
}

func (h *hasty) Look(ctx context.Context) (Look, error) {
	look, err := h.flock.Look(ctx)
	if h.seize == nil {
		return look, err
	}
	h.seized++
	h.seize(h.passerBy, 0)
	for _, target := range look.End {
		h.seize(target.Ref, 0)
	}
	h.meanwhile()
	if !h.forgets {
		h.release(h.passerBy)
	}
	return look, err
}

func newHasty(t *testing.T) *hasty {
	f := newFlock(t)
	f.spared = f.add(`echo; exec sleep 1000`)
	ref, err := f.fs.Open(f.spared)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ref.Close() })
	return &hasty{flock: f, passerBy: ref, meanwhile: func() {}}
}

// stopped reports whether the one that is not to be ended has been stopped.
func (h *hasty) stopped() bool {
	stat, err := readStat(h.spared)
	return err == nil && stat.state == "T"
}

// Who is seized and not listed goes on, whether the Looker lets go of him or
// forgets him; who is listed was stopped before the look was over.
func TestSeized(t *testing.T) {
	for _, forgets := range []bool{false, true} {
		t.Run(fmt.Sprint("forgets ", forgets), func(t *testing.T) {
			h := newHasty(t)
			h.forgets = forgets
			h.add(stubborn)
			rep, err := Run(hangGuard(t), h.fs, h, anyone, Options{Force: hang})
			if err != nil || !rep.Verified {
				t.Fatalf("%+v, %v", rep, err)
			}
			if h.seized == 0 || h.seize != nil {
				t.Errorf("%d looks seized; still seizing: %v", h.seized, h.seize != nil)
			}
			if h.stopped() || h.passerBy.Signal(0) != nil {
				t.Error("who was not listed is stopped or dead")
			}
			for _, out := range rep.Processes {
				if out.How == HowKill && !slices.Contains(out.Signals, "STOP") {
					t.Errorf("%+v", out)
				}
			}
		})
	}
}

// Whom the bound refuses is not seized.
func TestSeizedWithinTheBound(t *testing.T) {
	h := newHasty(t)
	h.forgets = true
	touched := false
	h.meanwhile = func() { touched = touched || h.stopped() }
	h.add(stubborn)
	bound := func(ref *proc.Ref) error {
		if ref == h.passerBy {
			return errors.New("somebody else's")
		}
		return nil
	}
	if rep, err := Run(hangGuard(t), h.fs, h, bound, Options{Force: hang}); err != nil || !rep.Verified {
		t.Fatalf("%+v, %v", rep, err)
	}
	if h.seized == 0 || touched {
		t.Errorf("%d looks seized; the bound was overstepped: %v", h.seized, touched)
	}
}

// An end that is cut short in the middle of a look leaves nobody stopped.
func TestSeizedWhenCutShort(t *testing.T) {
	h := newHasty(t)
	h.forgets = true
	h.add(stubborn)
	ctx, cancel := context.WithCancel(hangGuard(t))
	defer cancel()
	h.meanwhile = cancel
	if _, err := Run(ctx, h.fs, h, anyone, Options{Force: hang}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	pids, err := h.PIDs()
	if err != nil || len(pids) < 2 {
		t.Fatalf("%v, %v", pids, err)
	}
	for _, pid := range pids {
		if stat, err := readStat(pid); err == nil && stat.state == "T" {
			t.Errorf("%+v is left stopped", stat)
		}
	}
}

// newGroup starts a process group that sleeps, after the shell has done what first
// says; its leader is the last.
func newGroup(t *testing.T, fs *proc.FS, size int, first string) (refs []*proc.Ref, pgid int) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", first+strings.Repeat("sleep 1000 & echo $!; ", size-1)+"exec sleep 1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pids := make([]int, size-1)
	for i := range pids {
		if _, err := fmt.Fscan(out, &pids[i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, pid := range append(pids, cmd.Process.Pid) {
		ref, err := fs.Open(pid)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = ref.Signal(syscall.SIGKILL), ref.Close() })
		refs = append(refs, ref)
	}
	t.Cleanup(func() { _ = refs[size-1].Signal(syscall.SIGKILL); _ = cmd.Wait() })
	return refs, cmd.Process.Pid
}

// starved is short of the processor: it tells of one of a process group, and lists
// the group but for its leader.
type starved struct {
	refs  []*proc.Ref
	pgid  int
	seize func(*proc.Ref, int) (one, group bool)
	whole bool // the group was stopped
}

func (s *starved) SeizeBy(seize func(*proc.Ref, int) (one, group bool), _ func(*proc.Ref), starved bool) {
	if s.seize = nil; starved {
		s.seize = seize
	}
}

func (s *starved) Look(context.Context) (Look, error) {
	look := Look{Clean: true}
	if s.seize != nil {
		_, s.whole = s.seize(s.refs[0], s.pgid)
		look.Clean = false
	}
	for _, ref := range s.refs[:len(s.refs)-1] {
		if ref.Signal(0) == nil {
			look.End = append(look.End, Target{Ref: ref, PGID: s.pgid})
		}
	}
	return look, nil
}

// A process group that was stopped in the first look goes on when it was asked to
// go: who obeys does so within the grace, and who is not to be ended lives on.
func TestStoppedBeforeItIsAsked(t *testing.T) {
	fs := openProc(t)
	refs, pgid := newGroup(t, fs, 4, "")
	l := &starved{refs: refs, pgid: pgid}
	rep, err := Run(hangGuard(t), fs, l, anyone, longGrace)
	if err != nil || !rep.Verified || !l.whole || len(rep.Processes) != 3 {
		t.Fatalf("%+v, %v; stopped as one: %v", rep, err, l.whole)
	}
	for _, out := range rep.Processes {
		if out.How != HowTerm || !slices.Contains(out.Signals, "CONT") {
			t.Errorf("%+v", out)
		}
	}
	if stat, err := readStat(pgid); err != nil || stat.state == "T" || stat.state == "Z" {
		t.Errorf("who is not to be ended: %+v, %v", stat, err)
	}
}

// A crowd that keeps the processor from us and ignores what it is asked stands
// still until it is killed; one of whom anybody may obey goes on.
func TestDeafCrowd(t *testing.T) {
	for _, deaf := range []bool{true, false} {
		fs := openProc(t)
		first := ""
		if deaf {
			first = "trap '' TERM; "
		}
		refs, pgid := newGroup(t, fs, deafCrowd+2, first)
		standing := 0
		rep, err := Run(hangGuard(t), fs, &starved{refs: refs, pgid: pgid}, anyone, Options{Grace: 300 * time.Millisecond, Events: func(e Event) {
			for i := 0; e.Kind == KindGrace && i <= deafCrowd; i++ {
				if s, err := readStat(refs[i].ID().PID); err == nil && s.state == "T" {
					standing++
				}
			}
		}})
		if err != nil || !rep.Verified || len(rep.Processes) != deafCrowd+1 {
			t.Fatalf("deaf %v: %+v, %v", deaf, rep, err)
		}
		if want := map[bool]int{true: deafCrowd + 1}[deaf]; standing != want {
			t.Errorf("deaf %v: %d stand still at the end of the grace, want %d", deaf, standing, want)
		}
		for _, out := range rep.Processes {
			if went := slices.Contains(out.Signals, "CONT"); went == deaf || (out.How == HowKill) != deaf {
				t.Errorf("deaf %v: %+v", deaf, out)
			}
		}
	}
}

// A process group is stopped through one of it that was seized and has stopped;
// through another one when that is dead; and goes on when the end is cut short.
func TestSeizeGroup(t *testing.T) {
	fs := openProc(t)
	refs, pgid := newGroup(t, fs, 4, "")
	pids := make([]int, len(refs))
	for i, ref := range refs {
		pids[i] = ref.ID().PID
	}
	r := &run{fs: fs, bound: anyone, looks: 1, ctx: hangGuard(t), groups: map[int]pinned{}, seized: map[*proc.Ref]bool{}, known: map[*proc.Ref]*process{}}
	await := func(what string, is func() bool) {
		t.Helper()
		for ctx := hangGuard(t); !is(); {
			if ctx.Err() != nil {
				t.Fatal(what)
			}
			_ = linux.Poll(nil, time.Millisecond) // there is no event for it
		}
	}
	state := func(pid int) string { s, _ := readStat(pid); return s.state }

	await("the group was not stopped", func() bool { _, group := r.seize(refs[0], pgid); return group })
	await("not all of it have stopped", func() bool { return state(pids[1]) == "T" && state(pids[2]) == "T" })
	if one, group := r.seize(refs[1], 0); !one || group {
		t.Errorf("without a group: %v, %v", one, group)
	}
	r.thaw()
	await("the group does not go on", func() bool { return state(pids[1]) == "S" && state(pids[2]) == "S" })

	r.looks = 2
	if err := refs[0].Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await("it does not die", func() bool { return state(pids[0]) == "Z" || state(pids[0]) == "" })
	await("it was not stopped again", func() bool { _, group := r.seize(refs[1], pgid); return group })
	await("not all of it have stopped again", func() bool { return state(pids[2]) == "T" })
	if r.groups[pgid].pin != refs[1] {
		t.Error("a dead one pins it")
	}
}
