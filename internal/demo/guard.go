package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"xexit/internal/proc"
	"xexit/internal/reap"
	"xexit/internal/session"
)

// guard sees everything below this process, and ends it when the demo is over:
// the demo's own net, which has no part in what it shows.
type guard struct {
	fs   *proc.FS
	self int
	refs map[session.ProcID]*proc.Ref
}

func newGuard() (*guard, error) {
	fs, err := proc.New("/proc")
	if err != nil {
		return nil, err
	}
	return &guard{fs: fs, self: os.Getpid(), refs: map[session.ProcID]*proc.Ref{}}, nil
}

func (g *guard) close() {
	for _, ref := range g.refs {
		_ = ref.Close()
	}
	_ = g.fs.Close()
}

// below lists what runs below this process now. whole is false if somebody may
// have been missed. An orphan's new parent is this process, or a session's
// xexit below it, so a pass in ascending order misses at most whom a process
// that vanished under it has just left behind.
func (g *guard) below() (found []proc.Stat, whole bool, err error) {
	all := map[int]proc.Stat{}
	whole = true
	err = g.fs.Pids(0, func(pid int) error {
		s, err := g.fs.Stat(pid)
		if err != nil {
			whole = false
			return nil // gone, or nobody of ours
		}
		all[pid] = s
		return nil
	})
	for _, s := range all {
		if !s.Dead() && g.descends(s, all) {
			found = append(found, s)
		}
	}
	return found, whole && err == nil, err
}

func (g *guard) descends(s proc.Stat, all map[int]proc.Stat) bool {
	for hops := 0; s.PID > 1 && hops < len(all); hops++ {
		if s.PPID == g.self {
			return true
		}
		parent, ok := all[s.PPID]
		if !ok {
			return false
		}
		s = parent
	}
	return false
}

// Look implements reap.Looker.
func (g *guard) Look(context.Context) (reap.Look, error) {
	found, whole, err := g.below()
	look := reap.Look{Clean: whole}
	for _, s := range found {
		ref := g.refs[s.ID()]
		if ref == nil {
			opened, err := g.fs.Open(s.PID)
			if err != nil {
				look.Clean = false
				continue
			}
			if opened.ID() != s.ID() {
				look.Clean = false
				_ = opened.Close()
				continue
			}
			ref, g.refs[s.ID()] = opened, opened
		}
		look.End = append(look.End, reap.Target{Ref: ref})
	}
	return look, err
}

// mine is the bound of what the guard may end.
func (g *guard) mine(ref *proc.Ref) error {
	pid := ref.ID().PID
	for pid > 1 {
		s, err := g.fs.Stat(pid)
		if errors.Is(err, proc.ErrGone) {
			return nil // the signal finds nobody
		}
		if err != nil {
			return err
		}
		if s.PPID == g.self {
			return nil
		}
		pid = s.PPID
	}
	return fmt.Errorf("process %d is not below the demo", ref.ID().PID)
}

// empty asks until a whole pass has found nobody, for two seconds at most:
// what has just been killed takes a moment to be dead.
func (g *guard) empty() (left []proc.Stat, err error) {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for range 100 {
		found, whole, err := g.below()
		if err != nil {
			return found, err
		}
		if len(found) == 0 && whole {
			return nil, nil
		}
		left = found
		<-again.C
	}
	if len(left) == 0 {
		err = errors.New("no scan was complete")
	}
	return left, err
}

// clear ends whatever is left, in vain or not.
func (g *guard) clear() (ended int, err error) {
	report, err := reap.Run(context.Background(), g.fs, g, g.mine, reap.Options{})
	if len(report.Survivors) > 0 {
		err = errors.Join(err, fmt.Errorf("%d of the demo's processes could not be ended", len(report.Survivors)))
	}
	return len(report.Processes), err
}
