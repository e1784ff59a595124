package reap

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"xexit/internal/proc"
	"xexit/internal/session"
)

// script is a Looker with one step for each look, the last one repeated.
type script []func() Look

func (s *script) Look(context.Context) (Look, error) {
	step := (*s)[0]
	if len(*s) > 1 {
		*s = (*s)[1:]
	}
	return step(), nil
}

func clean() Look { return Look{Clean: true} }

// A clean look that began while somebody lived confirms nothing: he may have
// left a child behind that it was too late for, and died before it was over.
func TestDiesDuringLook(t *testing.T) {
	d := startNest(t, 2, "2", "ignore-term")
	look, err := d.Look(hangGuard(t))
	if err != nil {
		t.Fatal(err)
	}
	parent, child := look.End[0], look.End[1]
	l := &script{
		func() Look { return Look{End: []Target{parent}} },
		func() Look {
			killAndReap(t, parent.Ref)
			return clean()
		},
		func() Look { return Look{End: []Target{child}} },
		clean,
	}
	rep, err := Run(hangGuard(t), d.fs, l, anyone, noGrace)
	if err != nil {
		t.Fatal(err)
	}
	wantVerified(t, d, rep)
	if len(rep.Processes) != 2 {
		t.Errorf("%+v", rep.Processes)
	}
}

// killAndReap returns when the process is dead and its parent knows.
func killAndReap(t *testing.T, ref *proc.Ref) {
	t.Helper()
	if err := ref.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(hang); ref.Signal(0) == nil; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("it is not reaped")
		}
	}
}

// Who is dead before the first signal counts once.
func TestReapedBeforeSignal(t *testing.T) {
	d := startNest(t, 2, "2", "ignore-term")
	look, err := d.Look(hangGuard(t))
	if err != nil {
		t.Fatal(err)
	}
	first := look.End[0].Ref
	bound := func(ref *proc.Ref) error {
		if ref == first {
			killAndReap(t, ref)
		}
		return nil
	}
	rep, err := Run(hangGuard(t), d.fs, &fixed{targets: look.End}, bound, noGrace)
	if err != nil {
		t.Fatal(err)
	}
	wantVerified(t, d, rep)
	if rep.Processes[0].How != HowGone || rep.Processes[1].How != HowKill {
		t.Errorf("%+v", rep.Processes)
	}
}

// An end that is cut short in the sweep leaves nobody stopped.
func TestCancelledInSweep(t *testing.T) {
	d := startNest(t, 2, "2", "ignore-term")
	ctx, cancel := context.WithCancel(hangGuard(t))
	o := noGrace
	o.Events = func(e Event) {
		if e.Kind == KindSignal && e.Signal == "STOP" {
			cancel()
		}
	}
	rep, err := Run(ctx, d.fs, d, anyone, o)
	if !errors.Is(err, context.Canceled) || rep.Verified || len(rep.Survivors) != 2 {
		t.Errorf("%v, %+v", err, rep)
	}
	for _, out := range rep.Processes {
		if last := out.Signals[len(out.Signals)-1]; !slices.Contains(out.Signals, "STOP") || last != "CONT" {
			t.Errorf("%+v", out)
		}
	}
	for _, stat := range d.living(t) {
		if stat.state == "T" {
			t.Errorf("left stopped: %+v", stat)
		}
	}
}

// The end of the context ends the wait.
func TestCancelledInGrace(t *testing.T) {
	d := startNest(t, 1, "1", "ignore-term")
	look, err := d.Look(hangGuard(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	looks := 0
	o := Options{Grace: 10 * hang}
	o.Events = func(e Event) {
		if e.Kind == KindLook {
			if looks++; looks == 2 { // it sleeps after this one
				time.AfterFunc(200*time.Millisecond, cancel)
			}
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		rep, err := Run(ctx, d.fs, &fixed{targets: look.End}, anyone, o)
		if !errors.Is(err, context.Canceled) || len(rep.Survivors) != 1 {
			t.Errorf("%v, %+v", err, rep)
		}
	}()
	select {
	case <-done:
	case <-time.After(hang):
		t.Error("it sleeps on")
		if err := look.End[0].Ref.Signal(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		<-done
	}
	if len(d.living(t)) != 1 {
		t.Error("it is gone")
	}
}

// batches is a Looker that can hold size references at a time.
type batches struct {
	d     *descendants
	size  int
	held  map[*proc.Ref]bool
	dead  map[session.ProcID]bool
	worst int
}

func (b *batches) Look(ctx context.Context) (Look, error) {
	all, err := b.d.Look(ctx)
	look := Look{Clean: all.Clean}
	for _, target := range all.End {
		if b.dead[target.Ref.ID()] {
			continue
		}
		if !b.held[target.Ref] {
			if look.Clean = false; len(b.held) == b.size {
				continue
			}
			b.held[target.Ref] = true
		}
		look.End = append(look.End, target)
	}
	b.worst = max(b.worst, len(b.held))
	return look, err
}

func (b *batches) Release(ref *proc.Ref) {
	delete(b.held, ref)
	b.dead[ref.ID()] = true
	ref.Close()
}

func TestBatches(t *testing.T) {
	for _, test := range []struct {
		mode string
		how  How
	}{{"obedient", HowTerm}, {"ignore-term", HowKill}} {
		t.Run(test.mode, func(t *testing.T) {
			d := startNest(t, 20, "20", test.mode)
			b := &batches{d: d, size: 6, held: map[*proc.Ref]bool{}, dead: map[session.ProcID]bool{}}
			o := longGrace
			if test.how == HowKill {
				o = noGrace
			}
			rep, err := Run(hangGuard(t), d.fs, b, anyone, o)
			if err != nil {
				t.Fatal(err)
			}
			wantVerified(t, d, rep)
			if len(rep.Processes) != 20 || b.worst != 6 || len(b.held) > 0 {
				t.Errorf("%d processes, at most %d at a time, %d not released", len(rep.Processes), b.worst, len(b.held))
			}
			for _, out := range rep.Processes {
				if out.How != test.how {
					t.Errorf("%+v", out)
				}
			}
		})
	}
}

// The timeline tells each thing once and in order.
func TestEvents(t *testing.T) {
	d := startNest(t, 1, "1", "ignore-term")
	var kinds []string
	var last time.Duration
	o := noGrace
	o.Events = func(e Event) {
		if e.At < last {
			t.Errorf("%+v comes before %v", e, last)
		}
		last = e.At
		text := string(e.Kind)
		if e.Kind == KindSignal {
			text = e.Signal
		}
		if e.Kind != KindLook && e.Kind != KindSweep {
			kinds = append(kinds, text)
		}
	}
	wantVerified(t, d, mustRun(t, d, o))
	want := []string{"found", "TERM", "CONT", "grace over", "STOP", "KILL", "gone", "verified"}
	if !slices.Equal(kinds, want) {
		t.Errorf("%v, want %v", kinds, want)
	}
}
