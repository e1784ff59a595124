package reap

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"xexit/internal/proc"
	"xexit/internal/session"
)

// process is one that a look found.
type process struct {
	ref     *proc.Ref
	id      session.ProcID
	pgid    int
	tty     bool
	in      bool // the group
	signals []string
	refusal error // by the bound
	denied  error // why the last signal could not be sent, unless it is dead
	stopped bool  // STOP was tried
	killed  bool  // KILL was tried
	dead    bool
	died    time.Duration
}

// waitedFor reports whether p is alive and ours to end.
func (p *process) waitedFor() bool { return !p.dead && p.refusal == nil }

func (p *process) how() How {
	switch {
	case p.refusal != nil:
		return HowRefused
	case !p.dead:
		return HowSurvived
	case slices.Contains(p.signals, "KILL"):
		return HowKill
	case slices.Contains(p.signals, "TERM"):
		return HowTerm
	}
	return HowGone
}

// adopt begins to watch a process that a look found for the first time.
func (r *run) adopt(t Target) (*process, error) {
	p := &process{ref: t.Ref, id: t.Ref.ID(), pgid: t.PGID, tty: t.TTY, in: t.In}
	if err := r.watch.add(t.Ref.FD(), len(r.order)); err != nil {
		return nil, fmt.Errorf("watch process %d: %w", p.id.PID, err)
	}
	r.known[t.Ref] = p
	r.order = append(r.order, p)
	r.living++
	r.tell(Event{Kind: KindFound, ID: p.id})
	return p, nil
}

// admit asks the bound about p.
func (r *run) admit(p *process) {
	if err := r.bound(p.ref); err != nil {
		p.refusal = fmt.Errorf("outside the bound, not touched: %w", err)
		r.living--
		r.tell(Event{Kind: KindRefused, ID: p.id, Err: err})
	}
}

// request sends the polite signals: to all TERM first, so that no two watchdogs
// can revive each other in between; HUP to those with a terminal, since an
// interactive shell ignores TERM; then CONT, so that a stopped one wakes up
// with TERM already waiting (the other way round a job that stops itself
// again would sleep through it). Process groups that the look has stopped go on
// last.
func (r *run) request(fresh []*process) {
	for _, step := range []struct {
		signal  syscall.Signal
		ttyOnly bool
	}{{syscall.SIGTERM, false}, {syscall.SIGHUP, true}, {syscall.SIGCONT, false}} {
		for _, p := range fresh {
			// Who may not be sent TERM is sent nothing: within a session
			// the kernel would let CONT through (kill(2)).
			if !p.waitedFor() || p.denied != nil || step.ttyOnly && !p.tty {
				continue
			}
			if step.signal != syscall.SIGCONT || !r.inPack(p) {
				r.send(p, step.signal)
			}
		}
	}
	r.goOn(fresh)
}

// stop stops who was not stopped yet.
func (r *run) stop() {
	for _, p := range r.order {
		r.stopOne(p)
	}
}

func (r *run) stopOne(p *process) {
	if p.waitedFor() && !p.stopped && !p.killed && !(p.in && r.frozen) {
		p.stopped = true
		r.send(p, syscall.SIGSTOP)
	}
}

// kill kills who was not killed yet, and returns how many that were.
func (r *run) kill() (killed int) {
	for _, p := range r.order {
		if p.waitedFor() && !p.killed {
			p.killed = true
			killed++
			r.send(p, syscall.SIGKILL)
		}
	}
	return killed
}

// thaw continues who was stopped and is not to be killed after all, because
// the end was cut short.
func (r *run) thaw() {
	for pgid, g := range r.groups {
		if g.stopped > 0 {
			_ = r.fs.SignalGroup(g.pin, pgid, syscall.SIGCONT) // or it was killed with all that are known
		}
	}
	for _, p := range r.order {
		if p.waitedFor() && p.stopped && !p.killed {
			r.send(p, syscall.SIGCONT)
		}
	}
}

// send sends one signal and notes what came of it.
func (r *run) send(p *process, sig syscall.Signal) {
	err := p.ref.Signal(sig)
	if errors.Is(err, syscall.ESRCH) {
		r.gone(p)
		return
	}
	r.bar(p, err)
	if err == nil {
		p.signals = append(p.signals, signalName(sig))
	}
	r.tell(Event{Kind: KindSignal, ID: p.id, Signal: signalName(sig), Err: err})
}

// bar notes that p may not be signalled, and why, or with nil that it may.
func (r *run) bar(p *process, why error) {
	if p.denied != nil {
		r.barred--
	}
	if p.denied = why; why != nil {
		r.barred++
	}
}

// gone notes that p is dead: its pidfd is readable, or it was reaped.
func (r *run) gone(p *process) {
	r.bar(p, nil)
	if p.refusal == nil {
		r.living--
	}
	p.dead = true
	p.died = time.Since(r.start)
	r.tell(Event{Kind: KindGone, ID: p.id, Alive: r.alive()})
	if releaser, ok := r.looker.(Releaser); ok {
		delete(r.known, p.ref)
		releaser.Release(p.ref)
		p.ref = nil
	}
}
