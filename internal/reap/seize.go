package reap

import (
	"errors"
	"syscall"
	"time"

	"xexit/internal/linux"
	"xexit/internal/proc"
)

// Seizer is a Looker that can tell of a process the moment it sees it, before
// the look is over: what forks and exits all the time is dead by then, and its
// child not listed. seize stops it, and says whether it did, and whether all
// others of its process group pgid have been stopped with it in this look; that is
// tried unless pgid is 0. If one that was stopped turns out not to be one that
// the look will list, release lets it go on; the reference may be closed after
// that. One that was listed before may be told of once more, for its group. With
// starved only those are told of who keep the processor from the look. A nil
// seize ends it.
type Seizer interface {
	SeizeBy(seize func(ref *proc.Ref, pgid int) (one, group bool), release func(*proc.Ref), starved bool)
}

// hunt has who is found stopped at once, until the function that it returns is
// called.
func (r *run) hunt(starved bool) (over func()) {
	s, ok := r.looker.(Seizer)
	if !ok {
		return func() {}
	}
	r.seized, r.patience = map[*proc.Ref]bool{}, groupPatience
	s.SeizeBy(r.seize, r.release, starved)
	return func() { s.SeizeBy(nil, nil, false) }
}

// seize stops one that was found, and its process group.
func (r *run) seize(ref *proc.Ref, pgid int) (one, group bool) {
	if p := r.known[ref]; p != nil {
		if r.stopOne(p); p.dead || p.denied != nil || p.refusal != nil || p.killed {
			return false, false
		}
	} else if r.bound(ref) != nil || ref.Signal(syscall.SIGSTOP) != nil {
		return false, false
	} else {
		r.seized[ref] = true
	}
	return true, pgid != 0 && r.stopGroup(ref, pgid)
}

// groupPatience bounds in each look the wait for processes that were sent STOP to
// stop: one of 300 that compute has the processor again after half a second.
const groupPatience = time.Second

// stopGroup stops a process group through one of it that has stopped: the first
// that was seized, or if that has died ref. Nothing tells when it has, but its
// death.
func (r *run) stopGroup(ref *proc.Ref, pgid int) bool {
	g := r.groups[pgid]
	if g.pin == nil {
		g.pin = ref
	}
	begin := time.Now()
	for g.stopped != r.looks {
		err := r.fs.SignalGroup(g.pin, pgid, syscall.SIGSTOP)
		if err == nil {
			g.stopped = r.looks
			r.tell(Event{Kind: KindGroup, ID: g.pin.ID(), Signal: "STOP"})
			break
		}
		if !errors.Is(err, proc.ErrUnpinned) {
			if g.pin == ref {
				break
			}
			g.pin = ref
		} else if r.patience-time.Since(begin) <= 0 || r.ctx.Err() != nil || linux.Poll([]linux.PollFD{{FD: g.pin.FD()}}, time.Millisecond) != nil {
			break
		}
	}
	r.patience -= time.Since(begin)
	r.groups[pgid] = g
	return g.stopped == r.looks
}

// inPack reports whether p was stopped with its process group in this look.
func (r *run) inPack(p *process) bool { return r.groups[p.pgid].stopped == r.looks }

// goOn continues the process groups that this look has stopped, each as one: if
// each process were continued by itself, those that went on first would keep the
// processor from us. One that is deaf stays as it is until it is killed.
func (r *run) goOn(fresh []*process) {
	for pgid, g := range r.groups {
		if g.stopped != r.looks || r.deaf(pgid, fresh) {
			continue
		}
		g.stopped = 0
		r.groups[pgid] = g
		err := r.fs.SignalGroup(g.pin, pgid, syscall.SIGCONT)
		for _, p := range fresh {
			switch {
			case p.pgid != pgid || !p.waitedFor() || p.denied != nil:
			case err != nil:
				r.send(p, syscall.SIGCONT)
			default:
				p.signals = append(p.signals, signalName(syscall.SIGCONT))
				r.tell(Event{Kind: KindSignal, ID: p.id, Signal: signalName(syscall.SIGCONT)})
			}
		}
	}
	for _, p := range fresh {
		p.stopped = false
	}
}

// deafCrowd is how many make a process group one that keeps the processor from
// us; so many are stopped as one again before anybody else is looked at when the
// grace is over (member.Finder.SeizeBy).
const deafCrowd = 32

// deaf reports whether a process group is such a crowd and all of it ignores the
// polite signals: the grace would be of use to nobody but it.
func (r *run) deaf(pgid int, fresh []*process) bool {
	count := 0
	for _, p := range fresh {
		if p.pgid != pgid || !p.waitedFor() || p.denied != nil {
			continue
		}
		if ignored, err := r.fs.Ignores(p.id.PID, syscall.SIGTERM); p.tty || err != nil && !errors.Is(err, proc.ErrGone) || err == nil && !ignored {
			return false
		}
		count++
	}
	return count >= deafCrowd
}

// pinned is a process group that was stopped, or is to be.
type pinned struct {
	pin     *proc.Ref // one of it that was sent STOP
	stopped int       // the look in which the group was
}

// release lets go on who was stopped and is not to be ended.
func (r *run) release(ref *proc.Ref) {
	delete(r.seized, ref)
	_ = ref.Signal(syscall.SIGCONT) // it may be dead, or its reference closed
}

// settle follows a look: who was seized is one of those that it listed, or goes on.
func (r *run) settle() {
	for ref := range r.seized {
		p := r.known[ref]
		if p == nil || p.refusal != nil {
			r.release(ref)
			continue
		}
		delete(r.seized, ref)
		p.stopped = true
		p.signals = append(p.signals, signalName(syscall.SIGSTOP))
		r.tell(Event{Kind: KindSignal, ID: p.id, Signal: signalName(syscall.SIGSTOP)})
	}
}
