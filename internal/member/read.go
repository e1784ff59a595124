package member

import (
	"context"
	"errors"

	"xexit/internal/proc"
	"xexit/internal/session"
)

// visitEntry reads one process of the listing: of one that is out of our
// reach only its place in the tree, and that once (see stranger); of another
// one all but the environment, which readRest reads. It never fails: what cannot be read is
// counted.
func (f *Finder) visitEntry(pid int, inode uint64) error {
	r := f.records.get(pid)
	if r != nil && r.pass == f.pass && r.Hidden && f.stillHidden(r) {
		r.inode = inode
		return nil
	}
	if r != nil && r.pass == f.pass {
		r.Dead = true // it was read in this pass: its number has a new owner
		r = nil
	}
	_, listed := f.scope[pid]
	same := r != nil && r.inode == inode && inode > 1
	if f.ownerTells() && !listed {
		return f.visitByOwner(r, entry{pid, inode}, same)
	}
	may := f.fs.MaySignal(pid)
	if errors.Is(may, proc.ErrGone) {
		f.gone(pid)
		return nil
	}
	denied := may != nil
	if same && r.Far && r.Denied && denied {
		f.seen(r)
		return nil
	}
	switch {
	case denied:
		f.putAside(stranger{entry: entry{pid, inode}, record: r})
	case f.mayWait():
		f.near = append(f.near, entry{pid, inode})
	default:
		f.visitReachable(r, entry{pid, inode}, same, listed)
	}
	return nil
}

// visitReachable is visitEntry for one that may be signalled.
func (f *Finder) visitReachable(r *record, e entry, same, listed bool) {
	owner, _, err := f.fs.Owner(e.pid)
	switch {
	case err != nil:
		f.failed(e.pid, err)
	case same && r.Far && !r.Denied && !listed && owner == r.owner && owner != 0:
		f.seen(r)
	default:
		f.visitNear(r, e.pid, e.inode, owner)
	}
}

// starvedCheck is for how many that wait it is asked once whether we are starved.
const starvedCheck = 32

// mayWait reports whether those in our reach are read after the strangers. It is
// so in the first look, unless somebody breeds or keeps us from the processor:
// reading them takes references, and until there is room for more than 64 the
// kernel has every one wait that is opened (linux.GrowFDTable).
func (f *Finder) mayWait() bool {
	if !f.waits || f.hunt.all() {
		return false
	}
	if f.hunt.seize != nil && len(f.near)%starvedCheck == 0 && f.short(&f.hunt) {
		f.waits = false
	}
	return f.waits
}

// visitWaiting reads those that have waited.
func (f *Finder) visitWaiting() {
	f.waits = false
	for _, e := range f.near {
		_, listed := f.scope[e.pid]
		f.visitReachable(f.records.get(e.pid), e, false, listed)
	}
	f.near = nil
}

// visitNear reads one that may be in our reach. r is what is known of it, nil if
// nothing is.
func (f *Finder) visitNear(r *record, pid int, inode uint64, owner uint32) {
	_, listed := f.scope[pid]
	if r == nil {
		r = f.newRecord()
	}
	if err := f.readStat(r, pid, listed || f.t.Bound.hasUID(owner)); err != nil {
		if f.hide.on && errors.Is(err, proc.ErrDenied) {
			f.hide.denied = append(f.hide.denied, pid)
		} else {
			f.failed(pid, err)
		}
		return
	}
	if r.ID != r.stat.ID() {
		*r = record{stat: r.stat, held: r.held}
	}
	r.copyStat()
	r.Hidden = false
	r.exact = r.exact && r.owner == owner
	r.inode, r.owner, r.Denied = inode, owner, false
	f.records.set(pid, r)
	if err := f.place(r); err != nil {
		f.failed(pid, err)
		return
	}
	f.seen(r)
	f.pursue(r)
}

// place reads on, as far as the process is in our reach.
func (f *Finder) place(r *record) error {
	r.Far = false
	if r.Kernel {
		r.UID, r.UIDKnown, r.Far = r.owner, true, true
	} else if err := f.readUID(r, false); err != nil {
		return err
	} else {
		_, listed := f.scope[r.ID.PID]
		r.Far = !listed && !f.t.Bound.hasUID(r.UID)
	}
	if r.Far {
		audit, err := f.fs.Audit(r.ID.PID)
		if err != nil {
			audit = session.NoAudit
		}
		r.keepAway(audit)
		return nil
	}
	if r.Known != 0 || r.Dead || r.unchanged() && !f.t.Entry.OwnsLogin {
		return nil
	}
	return f.readNear(r)
}

// unchanged reports whether a process that did not belong executes the same
// image as when it was read, and so has the same environment: execve(2) lays
// the environment out anew, at an address of its own. An audit id that has
// been set since is not ours; a cgroup counts where the login is owned.
func (r *record) unchanged() bool { return r.image != 0 && r.image == r.stat.EnvEnd }

// readUID finds the real uid. The owner of the directory, which is the
// effective one, is good enough if it is the one that we look for, until the
// process is to be a member.
func (f *Finder) readUID(r *record, exactly bool) error {
	switch {
	case exactly:
	case r.exact && r.owner != 0:
		return nil
	case r.owner == f.t.Bound.UID:
		r.UID, r.UIDKnown = r.owner, true
		return nil
	}
	uid, err := f.fs.UID(r.ID.PID)
	if err != nil {
		return err
	}
	r.UID, r.UIDKnown, r.exact = uid, true, true
	return nil
}

// readNear reads what anyone may read of a process.
func (f *Finder) readNear(r *record) error {
	audit, err := f.fs.Audit(r.ID.PID)
	if err != nil {
		return err
	}
	r.Audit = audit
	group, err := f.fs.CgroupBytes(r.ID.PID)
	if err != nil {
		return err
	}
	if string(group) != r.Cgroup {
		r.Cgroup = string(group)
	}
	f.readImage(r)
	f.readService(r)
	return nil
}

// readOutside reads of a process that belongs, but is out of reach, what
// people want to know of it.
func (f *Finder) readOutside(r *record) {
	s := r.stat
	if err := f.fs.ReadStat(r.ID.PID, &s); err == nil && s.ID() == r.ID {
		r.stat = s
		r.copyStat()
	}
	if uid, err := f.fs.UID(r.ID.PID); err == nil {
		r.UID = uid
	}
}

func (r *record) copyStat() {
	s := &r.stat
	r.ID, r.PPID, r.PGID, r.SID, r.TTY = s.ID(), s.PPID, s.PGID, s.SID, s.TTY
	r.Comm, r.State, r.Kernel, r.Dead = s.Comm, s.State, s.Kernel(), s.Dead()
}

// seen puts a process into the snapshot. One that has died since the last
// pass may have left children after the listing, as one that is gone: it
// counts as such, once.
func (f *Finder) seen(r *record) {
	r.pass = f.pass
	f.noteDeath(r)
	f.order = append(f.order, r)
	f.snap.Processes = append(f.snap.Processes, &r.Process)
}

func (f *Finder) noteDeath(r *record) {
	if r.Dead && !r.counted {
		r.counted = true
		f.gone(r.ID.PID)
	}
}

func (f *Finder) failed(pid int, err error) {
	if errors.Is(err, proc.ErrGone) {
		f.gone(pid)
	} else {
		f.now.Unknown++
	}
}

// readRest completes the processes from an index on: parents, which may have
// been read after them, and environments.
func (f *Finder) readRest(ctx context.Context, from int) error {
	f.queue = f.queue[:0]
	f.readAncestors(from)
	for _, r := range f.order[from:] {
		parent := f.parentOf(r)
		if r.Far && parent == nil && r.PPID != 0 && !r.Dead {
			// What is out of reach is read once, so it may have got a new
			// parent since.
			if err := f.fs.ReadStat(r.ID.PID, &r.stat); err == nil && r.stat.ID() == r.ID {
				r.copyStat()
				parent = f.parentOf(r)
			}
		}
		if r.Born.IsZero() && parent != nil && !parent.bare && parent.ID.PID != 1 && parent.ID.MayBeParentOf(r.ID) {
			r.Born = parent.ID
		}
		if !f.t.Login && !r.Far && r.Known == 0 && !r.Dead && !r.Kernel && !r.Hidden && !r.unchanged() && !f.isSelf(r) {
			f.queue = append(f.queue, r)
		}
	}
	err := f.environments(ctx, f.queue)
	for _, r := range f.queue {
		r.image = 0
		if err == nil && r.Env == EnvRead {
			r.image = r.stat.EnvEnd // 0 where it is not ours to know: read again then
		}
	}
	return err
}

func (f *Finder) parentOf(r *record) *record {
	if parent := f.records.get(r.PPID); parent != nil && parent.pass == f.pass {
		return parent
	}
	return nil
}

func (f *Finder) isSelf(r *record) bool {
	for _, id := range f.t.Self {
		if r.ID == id {
			return true
		}
	}
	return r.ID == f.t.Entry.Watcher || r.ID == f.t.Entry.Subreaper
}

// refresh reads what lies outside of the processes and may have changed since
// the last pass.
func (f *Finder) refresh() {
	e := &f.t.Entry
	f.snap.Past, f.snap.Exempt, f.snap.Home = f.past, f.exempt, f.snap.Home[:0]
	for i, id := range [...]session.ProcID{e.Watcher, e.Leader, e.Subreaper} {
		if id.IsZero() {
			continue
		}
		// Where it lived last is kept when it is dead.
		if s, err := f.fs.Stat(id.PID); err == nil && s.ID() == id && !s.Dead() {
			if group, err := f.fs.CgroupBytes(id.PID); err == nil && string(group) != f.home[i] {
				f.home[i] = string(group)
			}
		}
		if f.home[i] != "" {
			f.snap.Home = append(f.snap.Home, f.home[i])
		}
	}
	if f.t.Scope == session.ScopeUser {
		f.snap.Logins, _ = ReadLogins(f.t.Root, f.t.Entry.UID) // an error shows in Unsure
	}
}
