package reap

import (
	"context"
	"syscall"
	"time"
)

// seizePatience bounds the wait for a group to die or to freeze: what sits in
// the kernel does neither, and must not hold up the end of the others. Nor does
// cgroup.kill end a process whose first thread is gone (seen on kernel 6.18: it
// signals that thread, not the process).
const seizePatience = 200 * time.Millisecond

// seizeGroup takes the group out of the race: it is killed if nobody in it is
// to be spared, else frozen until thawGroup. If neither can be, its processes
// are swept like all others.
func (r *run) seizeGroup() {
	if r.group == nil {
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, seizePatience)
	defer cancel()
	if !r.alone {
		err := r.group.Freeze(ctx)
		// Who does not stop in time is frozen when it leaves the kernel.
		r.frozen = err == nil || ctx.Err() != nil
		r.tell(Event{Kind: KindGroup, Signal: "FREEZE", Err: err})
		return
	}
	err := r.group.Kill(ctx)
	r.tell(Event{Kind: KindGroup, Signal: "KILL", Err: err})
	if err != nil && ctx.Err() == nil {
		return
	}
	for _, p := range r.order {
		if p.in && p.waitedFor() && !p.killed {
			p.signals = append(p.signals, "KILL") // and another one if it does not die of this
		}
	}
}

// killFrozen kills who is in the frozen group and known. They cannot breed, so
// that nothing is gained by waiting until the sweep has found everybody else:
// one look at a group that stands still is exact.
func (r *run) killFrozen() {
	if !r.frozen {
		return
	}
	for _, p := range r.order {
		if p.in && p.waitedFor() && !p.killed {
			p.killed = true
			r.iced++
			r.send(p, syscall.SIGKILL)
		}
	}
}

// thawGroup lets go on who was frozen and not killed: those that are spared.
func (r *run) thawGroup() {
	if !r.frozen {
		return
	}
	err := r.group.Thaw()
	r.frozen, r.groupErr = err != nil, err
	r.tell(Event{Kind: KindGroup, Signal: "THAW", Err: err})
}
