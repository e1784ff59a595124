package reap

import (
	"context"
	"fmt"
	"time"

	"xexit/internal/proc"
)

const (
	// Looks that a death causes take at most one part in lookShare+1 of the
	// time, so that a hundred deaths in a row do not cost a hundred passes.
	// The one after the last death does not wait.
	lookShare = 3
	// A look that found nobody and was not clean is repeated at once so many
	// times, and as long as processes are born. After that the cause is likely
	// to last, and the pauses grow up to maxPause.
	quickRepeats = 8
	maxPause     = 100 * time.Millisecond
	// A sweep gives up on a clean look after so many in a row that found
	// nobody new: to kill who is stopped matters more.
	idleRounds = 3
	// The first look asks everybody to go. It may outlast the grace so long.
	firstLook = 2 * time.Second
	// The last look may begin when the time is over, and has so long.
	lookExtra = time.Second
	// Who was killed only when the time was over has so long to die.
	lastWait = time.Second
)

// run is the state of one Run.
type run struct {
	ctx                       context.Context
	fs                        *proc.FS
	looker                    Looker
	bound                     func(*proc.Ref) error
	watch                     *watch
	wrap                      wrapWatch
	group                     Group
	events                    func(Event)
	start, graceEnd, forceEnd time.Time
	force                     time.Duration

	known  map[*proc.Ref]*process
	seized map[*proc.Ref]bool // during a look: stopped, and not known yet
	groups map[int]pinned     // process groups that were stopped as one
	// patience is what is left of groupPatience in a look.
	patience time.Duration
	order    []*process // as found; the index is the key in watch
	dying    []int      // reused by collect
	// Who is alive and ours to end, and how many of these may not be signalled.
	living, barred int

	alone  bool // of the last look
	frozen bool // the group is
	iced   int  // were killed in it, since the last thaw

	groupErr error // it could not be thawed

	looks     int
	lookErr   error     // of the last look
	lookUntil time.Time // one that takes longer is cut short
	lookCost  time.Duration
	lookEnd   time.Time
	confirms  int // clean looks in a row that began when nobody was left
	needed    int // how many of them verify
	idle      int // pauses since a look found somebody, or somebody was born
}

// end does it all and reports whether a clean look confirmed that nobody is
// left who could be ended. The error is fatal; that of a look is not.
func (r *run) end() (verified bool, err error) {
	if verified, err = r.polite(); verified || err != nil {
		return verified, err
	}
	r.tell(Event{Kind: KindGrace, Alive: r.alive()})
	return r.forced()
}

// polite asks everybody to go, newborns too as looks find them, and waits
// until all are gone or the grace is over. It also waits for those that may
// not be signalled: they often follow the ones they work for.
func (r *run) polite() (bool, error) {
	over := r.hunt(true)
	for {
		fresh, _, err := r.look()
		over() // those that follow find newborns only
		if err != nil {
			return false, err
		}
		r.lookUntil = r.graceEnd // all have been asked, but for newborns
		r.request(fresh)
		if r.confirmed() && r.alive() == 0 {
			return true, nil
		}
		if r.alive() == 0 {
			err = r.pause(r.graceEnd)
		} else {
			// A look that found somebody may have missed his children.
			err = r.await(r.alive, r.graceEnd, len(fresh) > 0)
		}
		if err != nil || !time.Now().Before(r.graceEnd) {
			return false, err
		}
	}
}

// forced stops everybody, then kills everybody, again and again until nobody
// is left or the deadline is over. A stopped process cannot fork, so that the
// sweep gets ahead of what breeds faster than it could be killed.
func (r *run) forced() (bool, error) {
	r.forceEnd = time.Now().Add(r.force) // a look may have outlasted the grace
	r.lookUntil = r.forceEnd.Add(lookExtra)
	for {
		if err := r.seizeGroup(); err != nil {
			return false, err
		}
		if err := r.sweep(); err != nil {
			return false, err
		}
		killed := r.iced + r.kill()
		r.iced = 0
		r.thawGroup()
		if r.confirmed() {
			return true, nil
		}
		if now := time.Now(); !now.Before(r.forceEnd) {
			if killed > 0 {
				if err := r.awaitAll(r.mortal, now.Add(lastWait)); err != nil {
					return false, err
				}
			}
			return r.lastLook()
		}
		var err error
		if r.mortal() == 0 {
			err = r.pause(r.forceEnd)
		} else {
			err = r.await(r.mortal, r.forceEnd, false)
		}
		if err != nil {
			return false, err
		}
	}
}

// lastLook comes when the time is over: who was killed at the end of it is dead
// now, or not.
func (r *run) lastLook() (bool, error) {
	r.lookUntil = time.Now().Add(lookExtra)
	for r.mortal() == 0 && !r.confirmed() {
		if _, clean, err := r.look(); err != nil || !clean {
			return false, err
		}
	}
	return r.confirmed(), nil
}

// sweep stops who is not stopped yet and looks for more, until a clean look
// finds nobody new. It is content with less where no look is clean, and ends
// half-way to the deadline, since the killing is still to come.
func (r *run) sweep() error {
	halfway := r.forceEnd.Add(-r.force / 2)
	idle := 0
	defer r.hunt(false)()
	for round := 1; ; round++ {
		r.tell(Event{Kind: KindSweep, Round: round, Alive: r.alive()})
		r.stop()
		r.killFrozen()
		fresh, clean, err := r.look()
		if err != nil {
			return err
		}
		r.stop()
		r.killFrozen()
		if len(fresh) > 0 {
			idle = 0
		} else if idle++; clean || idle == idleRounds || r.mortal() == 0 {
			return nil
		}
		if time.Now().After(halfway) {
			return nil
		}
	}
}

// look makes a pass and takes on who is new: watched, within the bound, and
// not dead already. The error is fatal; that of the Looker is kept.
func (r *run) look() (fresh []*process, clean bool, err error) {
	fresh, clean, _, err = r.lookBy(func(ctx context.Context) (Look, bool, error) {
		look, err := r.looker.Look(ctx)
		return look, true, err
	})
	return fresh, clean, err
}

// lookBy is look by another pass; ok is what that says.
func (r *run) lookBy(pass func(context.Context) (Look, bool, error)) (fresh []*process, clean, ok bool, err error) {
	if err := r.ctx.Err(); err != nil {
		return nil, false, false, err
	}
	r.tell(Event{Kind: KindLook, Alive: r.alive()})
	r.looks++
	r.patience = groupPatience
	empty := r.mortal() == 0
	begin := time.Now()
	var found Look
	numbers := r.wrap.during(func() {
		ctx, cancel := context.WithDeadline(r.ctx, r.lookUntil)
		defer cancel()
		found, ok, err = pass(ctx)
	})
	r.lookEnd = time.Now()
	r.lookCost = r.lookEnd.Sub(begin)
	if r.lookErr = err; err != nil {
		r.lookErr = fmt.Errorf("look for who is to be ended: %w", err)
	}
	if err := r.ctx.Err(); err != nil {
		r.settle()
		return nil, false, ok, err
	}
	fresh, err = r.take(found.End)
	r.settle()
	if err != nil {
		return nil, false, ok, err
	}
	r.alone = found.Alone && r.lookErr == nil

	clean = found.Clean && r.lookErr == nil && !numbers.wrapped
	if !clean || !empty || len(fresh) > 0 {
		r.confirms, r.needed = 0, 1
	} else {
		r.confirms++
	}
	if numbers.near {
		r.needed = 2
	}
	// Births may be what made it unclean, and a chain of forks is caught
	// only by looking often.
	if len(fresh) > 0 || numbers.births {
		r.idle = 0
	}
	return fresh, clean, ok, nil
}

// take takes on those of a look that are new.
func (r *run) take(targets []Target) (fresh []*process, err error) {
	for _, target := range targets {
		if r.known[target.Ref] != nil {
			continue
		}
		p, err := r.adopt(target)
		if err != nil {
			return nil, err
		}
		fresh = append(fresh, p)
	}
	if _, err := r.collect(0); err != nil {
		return nil, err
	}
	for _, p := range fresh {
		if !p.dead {
			r.admit(p)
		}
	}
	return fresh, nil
}

// confirmed reports whether nobody is left and enough clean looks said so
// since the last one went.
func (r *run) confirmed() bool {
	return r.confirms > 0 && r.confirms >= r.needed && r.mortal() == 0
}

// await sleeps until nobody that count counts is left, until is over, or a
// look is due because somebody died (or again says that it is due anyway).
func (r *run) await(count func() int, until time.Time, again bool) error {
	for count() > 0 {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		wake := until
		// One that would not be over in time would hold up what comes then.
		if due := r.lookEnd.Add(lookShare * r.lookCost); again && due.Add(r.lookCost).Before(until) {
			wake = due
		}
		timeout := time.Until(wake)
		if timeout <= 0 {
			return nil
		}
		died, err := r.collect(timeout)
		if err != nil {
			return err
		}
		again = again || died > 0
	}
	return nil
}

// awaitAll sleeps until nobody that count counts is left, or until is over.
func (r *run) awaitAll(count func() int, until time.Time) error {
	for count() > 0 && time.Now().Before(until) {
		if err := r.await(count, until, false); err != nil {
			return err
		}
	}
	return nil
}

// pause comes before the next look where nobody is left to wait for, but the
// last look was not clean.
func (r *run) pause(until time.Time) error {
	if r.idle++; r.idle <= quickRepeats {
		return r.ctx.Err()
	}
	length := min(time.Duration(r.idle-quickRepeats)*max(r.lookCost, time.Millisecond), maxPause)
	if _, err := r.collect(min(length, time.Until(until))); err != nil {
		return err
	}
	return r.ctx.Err()
}

// collect notes who died, and waits for the first death up to timeout.
func (r *run) collect(timeout time.Duration) (died int, err error) {
	for {
		r.dying, err = r.watch.wait(timeout, r.dying[:0])
		for _, key := range r.dying {
			if p := r.order[key]; !p.dead {
				r.gone(p)
				died++
			}
		}
		if err != nil || len(r.dying) == 0 {
			return died, err
		}
		timeout = 0 // there may be more than one answer holds
	}
}

// alive counts who is there and ours to end.
func (r *run) alive() int { return r.living }

// mortal counts those of them that may be signalled, as far as is known.
func (r *run) mortal() int { return r.living - r.barred }

func (r *run) tell(e Event) {
	if r.events != nil {
		e.At = time.Since(r.start)
		r.events(e)
	}
}
