package member

import (
	"context"
	"errors"
	"fmt"
	"math"
	"syscall"

	"xexit/internal/linux"
	"xexit/internal/proc"
)

// A member needs a reference that is verified: the pidfd is opened, then all
// that the membership rests on is read, then signal 0 goes through the pidfd.
// So it was all read of the process behind it.
//
// Most members are the user's own and seen for the first time. Of those the
// pidfd is opened before the first read (hold), which spares a second one, and
// closed again if they turn out to be no members. Where descriptors are
// scarce, and for whoever becomes a member later, it is opened and everything
// read once more when they are found to belong (refer).

// mostHeld bounds the references that are opened in case they are needed, and
// heldShare the part of the descriptors that they may take.
const (
	mostHeld  = 1024
	heldShare = 4
)

// Reading needs descriptors, the caller's too: whose the process is, who is in
// the control group. So many are left to that, or a share where there are few.
const (
	mostSpare  = 16
	spareShare = 8
)

var errNoneToSpare = fmt.Errorf("no descriptor to spare for a reference: %w", syscall.EMFILE)

// makeRoom sees how many references this pass may open.
func (f *Finder) makeRoom() {
	f.starved, f.room, f.most = nil, 0, math.MaxInt
	if limit, err := linux.OpenFileLimit(); err == nil {
		f.room, f.most = min(mostHeld, limit/heldShare), limit-min(mostSpare, limit/spareShare)
	}
}

// open is proc.FS.Hold as long as there are descriptors to spare. The kernel
// gives the lowest number that is free (open(2)), so that a high one says that
// few are left.
func (f *Finder) open(pid int, s *proc.Stat) (*proc.Ref, error) {
	ref, err := f.fs.Hold(pid, s)
	if err == nil && ref.FD() >= f.most {
		_ = ref.Close()
		return nil, errNoneToSpare
	}
	return ref, err
}

// readStat reads the first of all files of a process, behind a reference if it
// is new and may well become a member.
func (f *Finder) readStat(r *record, pid int, likely bool) error {
	if likely && f.room == 0 && f.hunt.all() {
		f.dropDead()
	}
	if !likely || f.room == 0 || r.ID.PID != 0 {
		return f.fs.ReadStat(pid, &r.stat)
	}
	ref, err := f.open(pid, &r.stat)
	switch {
	case err == nil:
		f.room--
		r.held = ref
		f.held = append(f.held, r)
		return nil
	case errors.Is(err, proc.ErrGone) || errors.Is(err, proc.ErrDenied):
		return err
	}
	f.letGo() // no descriptor left, most likely: reading needs one
	f.room = 0
	return f.fs.ReadStat(pid, &r.stat)
}

// letGo closes the references that were not needed.
func (f *Finder) letGo() {
	for _, r := range f.held {
		if r.held != nil {
			f.letFree(r, r.held)
			r.held = nil
			f.room++
		}
	}
	clear(f.held)
	f.held = f.held[:0]
}

// take makes members of those from an index on that were found to belong, each
// with a verified reference.
func (f *Finder) take(ctx context.Context, from int) {
	f.queue = f.queue[:0]
	decide := false
	for i := from; i < len(f.order); i++ {
		r := f.order[i]
		if r.Known != 0 || !f.class.rulings[i].member() {
			continue
		}
		decide = true
		if r.held != nil {
			f.adopt(r)
		}
	}
	f.letGo()
	if !decide {
		return
	}
	for i := from; i < len(f.order); i++ {
		r := f.order[i]
		if r.Known == 0 && r.ref == nil && !r.Dead && f.class.rulings[i].member() && f.refer(r) && !r.Hidden {
			f.queue = append(f.queue, r)
		}
	}
	if err := f.environments(ctx, f.queue); err != nil {
		f.now.Unknown++ // and so not clean; the caller meets the error again
	}
	f.class.again(from)
	for i := from; i < len(f.order); i++ {
		r := f.order[i]
		if r.ref == nil || r.Known != 0 {
			continue
		}
		ruled := &f.class.rulings[i]
		if r.Dead || !ruled.member() || r.ref.Signal(0) != nil {
			f.letFree(r, r.ref)
			r.ref = nil
			f.gone(r.ID.PID) // it changed under our eyes: look again
			continue
		}
		r.Known = ruled.evidence
		f.past[r.ID] = struct{}{}
		f.refs = append(f.refs, r.ref)
		f.now.Fresh++
		if f.hunt.all() && !r.seized {
			f.seize(r, r.ref)
		}
	}
}

// adopt takes the reference behind which r was read, and reads the one thing
// that a first read guesses: the real uid, which does not count in a login's
// scope.
func (f *Finder) adopt(r *record) {
	if f.t.Login && Within(r.Cgroup, f.t.Entry.Scope) {
		r.ref, r.held, r.refError = r.held, nil, nil
		return
	}
	if err := f.readUID(r, true); err != nil {
		r.Dead = errors.Is(err, proc.ErrGone)
		f.failed(r.ID.PID, err)
		return
	}
	r.ref, r.held = r.held, nil
	r.refError = nil
}

// refer opens the reference of r and reads again what its membership rests on.
func (f *Finder) refer(r *record) bool {
	if r.refError = f.starved; f.starved != nil {
		f.now.Unknown++
		return false
	}
	if r.Hidden {
		return f.referHidden(r)
	}
	ref, err := f.open(r.ID.PID, &r.stat)
	if err == nil && ref.ID() == r.ID {
		if err = ref.Signal(0); err == nil && f.readAgain(r) {
			r.ref = ref
			return true
		}
	} else if err == nil {
		err = proc.ErrGone
	}
	if ref != nil {
		_ = ref.Close()
	}
	switch {
	case err == nil: // readAgain has counted it
	case errors.Is(err, proc.ErrGone):
		r.Dead = true
		f.gone(r.ID.PID)
	case errors.Is(err, syscall.EPERM):
		r.Denied = true
	default: // no descriptor left, most likely: the others would fare no better
		r.refError, f.starved = err, err
		f.now.Unknown++
	}
	return false
}

// readAgain reads everything but the environment and stat a second time, while
// a pidfd holds the process, and reports whether it still is there.
func (f *Finder) readAgain(r *record) bool {
	r.copyStat()
	err := f.readUID(r, true)
	if err == nil {
		err = f.readNear(r)
	}
	if err != nil {
		r.Dead = errors.Is(err, proc.ErrGone)
		f.failed(r.ID.PID, err)
		return false
	}
	return true
}
