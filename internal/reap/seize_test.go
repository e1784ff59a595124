package reap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

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

func (h *hasty) SeizeBy(seize func(*proc.Ref, int) (one, group bool), release func(*proc.Ref)) {
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
