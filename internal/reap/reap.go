// Package reap ends processes and makes sure of it: politely first, then for
// certain, and it says what it did to each and what it could not end. The
// order of signals, the waiting, the sweep and the report belong here. Who is
// to be ended does not: that is a Looker's answer, within a bound that the
// caller must give. Cgroups, hooks, configuration and logging do not either.
//
//	         ┌───────────── a member died, newborns ─────────────┐
//	         ▼                                                   │
//	start ─▶ look ─▶ TERM, HUP, CONT to who is new ─▶ wait on the pidfds ─▶ all gone
//	                                                   │ grace over            │
//	         ┌─────────────────────────────────────────┘                       │
//	         ▼                                                                 ▼
//	       look, STOP who is new  (until a look finds nobody new)          clean look
//	         │             ▲                                                   │
//	         ▼             └── not all gone, or newborns ──┐                   ▼
//	       KILL all ─▶ wait on the pidfds ─────────────────┴─▶ all gone ─▶ verified
//	                     └─ force over ─▶ survivors, each with its cause
//
// Where a control group holds those that are to be ended, they cannot breed
// faster than they die: with nobody else in it it is killed as one, otherwise
// frozen, looked into and killed one by one before anybody else is looked at.
// What has left the group is swept as above. In a sweep a Looker that can
// (Seizer) has each stopped the moment that it is seen.
//
// Every signal goes through a pidfd, so that it cannot reach a process that
// was given the number of a dead one. Who is dead is learnt from the pidfd
// too, never from /proc: a zombie that its parent does not reap is gone.
package reap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"xexit/internal/proc"
)

// DefaultForce is how long to wait after the first KILL for what it was sent
// to. A process that takes longer sits in the kernel and may do so for ever.
const DefaultForce = 5 * time.Second

// ErrNoBound is returned by Run without a bound: nothing limits then what a
// faulty look could end.
var ErrNoBound = errors.New("reap: no bound was given, so nobody is ended")

// Target is one process to be ended.
type Target struct {
	Ref  *proc.Ref // the Looker's; Run signals and polls it, and does not close it
	PGID int       // its process group, as the look saw it
	TTY  bool      // it has a controlling terminal: HUP is for these
	In   bool      // it is in the Group of the Options
}

// Look is the answer of one pass over the processes.
type Look struct {
	// End lists who is to be ended: at least those that no earlier look
	// listed. Once listed, a process is ended whether or not it is listed
	// again (it may have lost its evidence with its parent).
	End []Target
	// Clean says that nobody can have been missed: no member that no earlier
	// pass knew, no entry that vanished while it was read, none that could
	// not be read, no wrap of the process numbers meanwhile.
	Clean bool
	// Alone says that nobody is in the Group of the Options but whom this look
	// or an earlier one listed, and their children.
	Alone bool
}

// Group is a control group. The process that calls Run is not in it.
type Group interface {
	// Kill kills everybody in it at once, those included who are being born,
	// and returns when nobody is left or ctx is over.
	Kill(ctx context.Context) error
	// Freeze stops everybody in it, so that KILL alone still acts on them, and
	// returns when all have stopped or ctx is over; Thaw lets them go on.
	Freeze(ctx context.Context) error
	Thaw() error
	// KillsFrozen: or that not even KILL does before Thaw.
	KillsFrozen() bool
}

// Looker finds who is to be ended. The same process comes with the same
// *proc.Ref each time. A pass with an error counts as not clean, and what it
// found is used; if no later pass is clean, Run returns that error. A Looker
// that runs out of descriptors returns what it has, not clean; see Releaser.
type Looker interface {
	Look(ctx context.Context) (Look, error)
}

// Releaser is a Looker that wants its descriptors back: Run calls Release
// once for each process that is dead, and does not use the reference again.
// This is how thousands of processes are ended, a batch at a time, where
// RLIMIT_NOFILE allows fewer pidfds than there are processes.
type Releaser interface {
	Release(ref *proc.Ref)
}

// Options are the two deadlines, and who wants to watch.
type Options struct {
	// Grace is how long the processes have for going by themselves. 0: none;
	// they get the polite signals all the same.
	Grace time.Duration
	// Force is how long to wait at most once the polite part is over, which is
	// at the end of the grace, or of a look under way by then. 0: DefaultForce.
	Force time.Duration
	// Group holds all or some of those that are to be ended, perhaps with
	// others; nil: there is none, or it is out of reach.
	Group Group
	// Events, if set, is told what happens as it happens, by the goroutine
	// that called Run, which waits for it.
	Events func(Event)
}

// Run ends whom l finds, and returns the moment that they are gone and a
// clean look has confirmed it. bound is asked once about each process, before
// its first signal; whom it refuses is not touched, and reported.
//
// The Report is complete whatever the error; it may say that somebody
// survived, or that nothing could be verified, without an error. An error is
// ErrNoBound, the end of ctx (what is stopped by then is continued, unless it
// was killed already), a failure of epoll, that of the last look if none could
// verify, or that of a group which could not be thawed.
//
// Run is for one goroutine at a time per Looker. The caller has left the
// session and the cgroup that it ends, and keeps the references open until
// Run returns, other than through Releaser.
func Run(ctx context.Context, fs *proc.FS, l Looker, bound func(*proc.Ref) error, o Options) (Report, error) {
	if bound == nil {
		return Report{}, ErrNoBound
	}
	if o.Force <= 0 {
		o.Force = DefaultForce
	}
	w, err := newWatch(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("reap: %w", err)
	}
	defer w.close()

	start := time.Now()
	r := &run{
		ctx: ctx, fs: fs, looker: l, bound: bound, watch: w, wrap: newWrapWatch(fs), group: o.Group, events: o.Events, start: start,
		graceEnd: start.Add(o.Grace), force: o.Force, lookUntil: start.Add(o.Grace + firstLook),
		known: make(map[*proc.Ref]*process), groups: make(map[int]pinned),
	}
	verified, err := r.end()
	r.thaw()
	r.thawGroup()
	if err == nil && !verified {
		err = r.lookErr
	}
	if err = errors.Join(err, r.groupErr); err != nil {
		err = fmt.Errorf("reap: %w", err)
	}
	return r.report(verified), err
}
