package reap

import (
	"syscall"

	"xexit/internal/proc"
)

// Seizer is a Looker that can tell of a process the moment it sees it, before
// the look is over: what forks and exits all the time is dead by then, and its
// child not listed. seize stops it. If it turns out not to be one that the look
// will list, release lets it go on; the reference may be closed after that. A
// nil seize ends it.
type Seizer interface {
	SeizeBy(seize, release func(*proc.Ref))
}

// hunt has who is found stopped at once, until the function that it returns is
// called.
func (r *run) hunt() (over func()) {
	s, ok := r.looker.(Seizer)
	if !ok {
		return func() {}
	}
	r.seized = map[*proc.Ref]bool{}
	s.SeizeBy(func(ref *proc.Ref) {
		within := r.known[ref] == nil && r.bound(ref) == nil
		if within && ref.Signal(syscall.SIGSTOP) == nil {
			r.seized[ref] = true
		}
	}, r.release)
	return func() { s.SeizeBy(nil, nil) }
}

// release lets go on who was stopped and is not to be ended.
func (r *run) release(ref *proc.Ref) {
	if r.seized[ref] {
		delete(r.seized, ref)
		_ = ref.Signal(syscall.SIGCONT) // it may be dead, or its reference closed
	}
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
