package reap

import (
	"context"
	"errors"
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
func (r *run) seizeGroup() error {
	if r.group == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.ctx, seizePatience)
	defer cancel()
	if !r.alone {
		return r.freezeGroup(ctx)
	}
	err := r.group.Kill(ctx)
	r.tell(Event{Kind: KindGroup, Signal: "KILL", Err: err})
	if err != nil && ctx.Err() == nil {
		return nil
	}
	for _, p := range r.order {
		if p.in && p.waitedFor() && !p.killed {
			p.signals = append(p.signals, "KILL") // and another one if it does not die of this
		}
	}
	return nil
}

// Insider is a Looker that can look at the Group alone, which costs the same
// however many others there are. ok is false where that does not tell who in
// it is to be spared.
type Insider interface {
	LookIn(ctx context.Context) (look Look, ok bool, err error)
}

// freezeGroup freezes the group, and if the Looker can look into it, kills whom
// it finds there before anybody else is looked at.
func (r *run) freezeGroup(ctx context.Context) error {
	insider, ok := r.looker.(Insider)
	if r.freeze(ctx, !ok) && ok {
		return r.cull(ctx, insider)
	}
	return nil
}

// freeze freezes the group and reports whether it is. Nobody has to be waited
// for where the list is read again when the others are dead: from the moment
// that the kernel is told to freeze a group nobody in it begins a fork, since
// copy_process fails with a restart as long as that is pending, and who is born
// in a fork under way runs no more.
func (r *run) freeze(ctx context.Context, wait bool) bool {
	if !wait {
		told, cancel := context.WithCancel(ctx)
		cancel()
		ctx = told
	}
	err := r.group.Freeze(ctx)
	late := ctx.Err() != nil && errors.Is(err, ctx.Err())
	// Who does not stop in time is frozen when it leaves the kernel.
	r.frozen = err == nil || late
	if late && !wait {
		err = nil
	}
	r.tell(Event{Kind: KindGroup, Signal: "FREEZE", Err: err})
	return r.frozen
}

// cull kills who is in the frozen group and not to be spared, until a look into
// it finds nobody else, and thaws it then; for each look if nobody dies before.
// What does not come to an end is left frozen to the sweep.
func (r *run) cull(ctx context.Context, insider Insider) error {
	until := time.Now().Add(seizePatience)
	r.killFrozen()
	for {
		fresh, _, listed, err := r.lookBy(func(ctx context.Context) (Look, bool, error) {
			look, ok, err := insider.LookIn(ctx)
			look.Clean = false // nobody outside was looked at
			return look, ok, err
		})
		if err != nil || !listed {
			return err
		}
		r.killFrozen()
		if !r.group.KillsFrozen() {
			r.thawGroup()
		}
		if err := r.awaitAll(r.dyingIn, until); err != nil {
			return err
		}
		if r.dyingIn() > 0 || !time.Now().Before(until) {
			return nil
		}
		if len(fresh) == 0 {
			r.thawGroup()
			return nil
		}
		if !r.frozen && !r.freeze(ctx, false) {
			return nil
		}
	}
}

// dyingIn counts who was killed in the group and lives.
func (r *run) dyingIn() (n int) {
	for _, p := range r.order {
		if p.in && p.killed && p.waitedFor() && p.denied == nil {
			n++
		}
	}
	return n
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
