package member

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"xexit/internal/proc"
	"xexit/internal/session"
)

// Where /proc hides processes (proc.FS.Hides) a process that is not dumpable,
// as ssh-agent is, cannot be read by its own user. That it is there shows in
// two ways:
//
//   - It is in the list of its parent's children. Whatever is below a subreaper
//     comes to be its child once what is in between has died, so that with a
//     bound by descent nobody can stay hidden from the last look.
//   - kill(2) knows its number. Without a subreaper all numbers are asked, once,
//     and later on those that are new.
//
// What is a member by descent alone, below the subreaper, is ended like any
// other. Elsewhere too much would have to be read to rule out that it is
// somebody else's: it is undecided, and named.
type hiding struct {
	on       bool
	blind    bool        // the kernel has no lists of children
	denied   []int       // listed, ours to signal, not to be read
	parents  map[int]int // whom to look at: number, number of the parent or 0
	children []int       // of one process
	stat     proc.Stat   // of one that could be read after all
	asked    int         // all numbers up to this one were, of
	limit    int         // which is the greatest; 0: not begun
	last     int         // number given last when that began, or numbers were asked since
}

const hiddenName = "(hidden)"

func newHiding(fs *proc.FS) hiding {
	h := hiding{on: fs.Hides()}
	if h.on {
		h.blind = !fs.ListsChildren()
		h.parents = map[int]int{}
	}
	return h
}

// readHidden puts those that /proc hides into the snapshot, as far as they are
// not there yet.
func (f *Finder) readHidden(ctx context.Context, patience time.Duration) {
	h := &f.hide
	if !h.on {
		return
	}
	clear(h.parents)
	for pid, r := range f.records.all() {
		if r.pass != f.pass && !r.Far && !r.Dead {
			h.parents[pid] = 0 // seen before; it may have gone into hiding
		}
	}
	for _, pid := range h.denied {
		h.parents[pid] = 0
	}
	h.denied = h.denied[:0]
	if !f.t.Bound.ByDescentOnly {
		f.askNumbers(ctx, patience)
	}
	f.listChildren()
	for _, pid := range slices.Sorted(maps.Keys(h.parents)) {
		f.visitHidden(pid, h.parents[pid])
	}
}

// listChildren lists the children of the user's own processes, and notes those
// that are not in the snapshot.
func (f *Finder) listChildren() {
	h := &f.hide
	if h.blind {
		f.now.Unknown++
		return
	}
	for _, r := range f.order {
		if r.Far || r.Denied || r.Dead || r.Kernel || r.Hidden {
			continue
		}
		var err error
		h.children, err = f.fs.Children(r.ID.PID, h.children[:0])
		if err != nil {
			f.childless(r)
			continue
		}
		for _, pid := range h.children {
			if known := f.records.get(pid); known == nil || known.pass != f.pass {
				h.parents[pid] = r.ID.PID
			} else if known.Hidden {
				known.PPID = r.ID.PID
			}
		}
	}
}

// childless notes that the children of r could not be listed.
func (f *Finder) childless(r *record) {
	if errors.Is(f.fs.MaySignal(r.ID.PID), proc.ErrGone) {
		r.Dead, r.counted = true, true
		f.gone(r.ID.PID)
	} else {
		f.now.Unknown++
	}
}

// askNumbers asks kill(2) about the numbers that nobody of the snapshot has:
// about all of them once, and again after the numbers have wrapped, later on
// about those that were given since. There may be 4 million, so a pass goes on
// for patience and leaves the rest to the next one; until then none is clean.
func (f *Finder) askNumbers(ctx context.Context, patience time.Duration) {
	h := &f.hide
	last, err := f.fs.LastPID()
	if err == nil && h.asked >= h.limit && last < h.last {
		h.asked, h.limit = 0, 0
	}
	if err == nil && h.limit == 0 {
		h.last = last
		h.limit, err = f.fs.MaxPID()
	}
	if err != nil {
		f.now.Unknown++
		return
	}
	for start := time.Now(); h.asked < h.limit && time.Since(start) < patience && ctx.Err() == nil; {
		next := min(h.asked+numbersAtOnce, h.limit)
		f.askSome(h.asked, next)
		h.asked = next
	}
	if h.asked < h.limit {
		f.now.Unknown++
		return
	}
	f.askSome(h.last, last)
	h.last = last
}

const (
	numbersAtOnce   = 1 << 13               // about a millisecond
	firstPatience   = 50 * time.Millisecond // nobody has been asked to go yet
	numbersPatience = 500 * time.Millisecond
	allPatience     = time.Hour // of who waits for an answer, and has a ctx
)

// askSome asks about the numbers from+1..to.
func (f *Finder) askSome(from, to int) {
	f.fs.Signalable(from, to, func(pid int) {
		if r := f.records.get(pid); r == nil || r.pass != f.pass {
			f.hide.parents[pid] = 0
		}
	})
}

// visitHidden looks at a number that the listing does not have, or has as one
// that cannot be read. parent is 0 where it is not known.
func (f *Finder) visitHidden(pid, parent int) {
	may := f.fs.MaySignal(pid)
	if errors.Is(may, proc.ErrGone) {
		f.goneHidden(pid)
		return
	}
	if may != nil && parent == 0 {
		return // somebody else's, who is nobody's child here
	}
	is, dead, err := f.fs.IsProcess(pid)
	switch {
	case errors.Is(err, proc.ErrGone):
		f.goneHidden(pid)
		return
	case err != nil:
		f.now.Unknown++
		return
	case !is:
		return
	}
	err = f.fs.ReadStat(pid, &f.hide.stat)
	if err == nil {
		_ = f.visitEntry(pid, 1) // born meanwhile, or it has come out
		return
	}
	if !errors.Is(err, proc.ErrGone) && !errors.Is(err, proc.ErrDenied) {
		f.failed(pid, err)
		return
	}
	if errors.Is(f.fs.MaySignal(pid), proc.ErrGone) {
		f.goneHidden(pid)
		return
	}
	f.meetHidden(pid, parent, may != nil, dead)
}

// stillHidden: it was met in this pass before the listing came to it, and may
// not be read (hidepid=1).
func (f *Finder) stillHidden(r *record) bool {
	if r.ref != nil && r.ref.Signal(0) != nil {
		return false
	}
	return errors.Is(f.fs.ReadStat(r.ID.PID, &f.hide.stat), proc.ErrDenied)
}

// goneHidden is gone, once for a process that is remembered.
func (f *Finder) goneHidden(pid int) {
	if r := f.records.get(pid); r != nil {
		r.Dead = true
	}
	f.gone(pid)
}

// meetHidden enters a process of which nothing is known but its number, and
// perhaps its parent.
func (f *Finder) meetHidden(pid, parent int, denied, dead bool) {
	r := f.records.get(pid)
	if r == nil || !r.Hidden && r.ref == nil || r.ref != nil && r.ref.Signal(0) != nil || r.Dead && !dead {
		r = &record{Process: Process{ID: session.ProcID{PID: pid}, Comm: hiddenName}}
	}
	if parent != 0 {
		r.PPID = parent
	}
	r.Hidden, r.Dead, r.Denied, r.inode = true, dead, denied, 0
	r.UID, r.UIDKnown = f.t.Bound.UID, !denied // kill(2) is for the user's own
	r.State, r.Audit, r.Env = '?', session.NoAudit, EnvDenied
	f.records.set(pid, r)
	f.seen(r)
}

// referHidden is refer for a process of which nothing can be read.
func (f *Finder) referHidden(r *record) bool {
	parent := f.parentOf(r)
	if parent == nil {
		f.now.Unknown++
		return false
	}
	ref, err := f.fs.OpenChild(r.ID.PID, parent.ID)
	if err == nil && ref.FD() >= f.most {
		_ = ref.Close()
		err = errNoneToSpare
	}
	switch {
	case err == nil:
		r.ref = ref
		return true
	case !errors.Is(err, proc.ErrGone):
		r.refError, f.starved = err, err
		f.now.Unknown++
	case errors.Is(f.fs.MaySignal(r.ID.PID), proc.ErrGone):
		r.Dead = true
		f.gone(r.ID.PID)
	default:
		f.now.Unknown++ // it has another parent now: the next pass finds it there
	}
	return false
}

// isHidden: whether something speaks against it cannot be known. Below the
// session's own subreaper only another session that was started there could,
// and where that is the bound whatever is not below it is somebody else's.
func isHidden(c *classifier, i int) (why, bool) {
	if !c.s.Processes[i].Hidden || c.t.Bound.ByDescentOnly && !c.inside[i] {
		return why{}, false
	}
	return why{rule: whyHidden}, c.below[i] != ours || c.hostsOther()
}

// hostsOther reports whether another live session was started below this one.
func (c *classifier) hostsOther() bool {
	for k := range c.t.Others {
		o := &c.t.Others[k]
		for _, id := range [...]session.ProcID{o.Leader, o.Watcher} {
			i, ok := c.find(id)
			for n := 0; ok && i >= 0 && n < maxDepth; n++ {
				if c.s.Processes[i].ID == c.t.Entry.Subreaper {
					return true
				}
				i = int(c.parent[i])
			}
		}
	}
	return false
}
