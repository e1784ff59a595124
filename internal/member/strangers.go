package member

import (
	"errors"

	"xexit/internal/proc"
	"xexit/internal/session"
)

// stranger is a process that we may not signal, on its first sight: it lies
// outside the bound, and only its place in the tree is of interest. To root, who
// may signal all, others' processes outside of the login's scope are strangers.
// On a machine with many users most processes are, and reading them is most of a
// first pass: two readers share it.
type stranger struct {
	entry
	ours   bool    // to signal
	record *record // what is known by that number, nil if nothing
	stat   proc.Stat
	owner  uint32
	audit  uint32
	scoped bool // in the scope of the session's login
	bare   bool // nothing else was read: stat holds the number alone
	err    error
}

// shareFrom is how many strangers make the second reader worth its start, and
// mostAside how many are put aside before they are read.
const (
	shareFrom = 64
	mostAside = 2048
)

// putAside leaves a stranger to readStrangers. In a sweep all of them wait until
// the listing is over: whoever breeds is to be met as soon as can be.
func (f *Finder) putAside(s stranger) {
	f.strangers = append(f.strangers, s)
	if len(f.strangers) >= mostAside && !f.hunt.all() {
		f.readStrangers()
	}
}

// readStrangers reads those that the listing has put aside and puts them into
// the snapshot.
func (f *Finder) readStrangers() {
	list := f.strangers
	mine, done := list, make(chan struct{})
	if second := f.secondFS(len(list)); second != nil {
		half := len(list) / 2
		mine = list[:half]
		go func() {
			defer close(done)
			f.readEach(second, list[half:])
		}()
	} else {
		close(done)
	}
	f.readEach(f.fs, mine)
	<-done
	for i := range list {
		f.meet(&list[i])
	}
	clear(list)
	f.strangers = list[:0]
}

// secondFS is for the second reader: an FS serves one goroutine. nil if it is
// not worth it, or not to be had.
func (f *Finder) secondFS(strangers int) *proc.FS {
	if strangers < shareFrom {
		return nil
	}
	if f.second == nil {
		f.second, _ = proc.New(f.fs.Root())
	}
	return f.second
}

func (f *Finder) readEach(fs *proc.FS, list []stranger) {
	for i := range list {
		s := &list[i]
		s.audit, s.scoped, s.bare = session.NoAudit, false, false
		if s.ours {
			f.readElsewhere(fs, s)
			continue
		}
		if !f.ownerTells() {
			if s.owner, _, s.err = fs.Owner(s.pid); s.err != nil {
				continue
			}
		}
		if s.err = fs.ReadStat(s.pid, &s.stat); s.err == nil {
			f.readStray(fs, s)
		}
	}
}

// readElsewhere reads a stranger to root. Who has the audit id of another login
// has no evidence whatever he descends from, nor has anybody whom he starts
// (hasForeignAudit): where he is in the tree is read for those alone that have
// him for an ancestor (readAncestors). In a login of the PAM hook's such a child
// of a member is told of.
func (f *Finder) readElsewhere(fs *proc.FS, s *stranger) {
	if s.audit, s.err = fs.Audit(s.pid); s.err != nil {
		return
	}
	other := s.audit != session.NoAudit && s.audit != f.t.Entry.Audit
	if s.bare = other && (s.record == nil || s.record.Far) && !IsHookCgroup(f.t.Entry.Scope); s.bare {
		s.stat = proc.Stat{PID: s.pid}
		return
	}
	s.err = fs.ReadStat(s.pid, &s.stat)
}

// readAncestors reads the place in the tree of those strangers above whom it was
// not read, of who is in our reach, from an index on.
func (f *Finder) readAncestors(from int) {
	for _, r := range f.order[from:] {
		if r.Far {
			continue
		}
		for q := r; q != nil && q.walked != f.pass; q = f.parentOf(q) {
			q.walked = f.pass
			if !q.bare {
				continue
			}
			if err := f.fs.ReadStat(q.ID.PID, &q.stat); err != nil {
				q.Dead = true
				f.failed(q.ID.PID, err)
				break
			}
			q.bare = false
			q.copyStat()
			f.noteDeath(q)
		}
	}
}

// ownerTells: root ends a login that has an audit id. Whose process runs with
// another user's effective uid then, outside of the login's scope, is no user's
// of the login, unless he has its audit id.
func (f *Finder) ownerTells() bool { return f.t.Login && f.t.Entry.Audit != session.NoAudit }

// elsewhere is said of that uid. A set-user-id program of root's may be anybody's.
func (f *Finder) elsewhere(owner uint32) bool { return owner != 0 && !f.t.Bound.hasUID(owner) }

// visitByOwner is visitEntry for who is not in the scope of such a login. same:
// r is of the same process. kill(2) is asked about who may belong alone: it
// refuses root nothing.
func (f *Finder) visitByOwner(r *record, e entry, same bool) error {
	owner, _, err := f.fs.Owner(e.pid)
	if err != nil {
		f.failed(e.pid, err)
		return nil
	}
	if f.elsewhere(owner) {
		if same && r.Far && owner == r.owner {
			f.seen(r)
		} else {
			f.putAside(stranger{entry: e, record: r, ours: true, owner: owner})
		}
		return nil
	}
	switch may := f.fs.MaySignal(e.pid); {
	case errors.Is(may, proc.ErrGone):
		f.gone(e.pid)
	case may == nil:
		f.visitNear(r, e.pid, e.inode, owner)
	case same && r.Far && r.Denied:
		f.seen(r)
	default:
		f.putAside(stranger{entry: e, record: r, owner: owner})
	}
	return nil
}

// readStray reads what ties a stranger to the session's login. Where that says
// nothing of this session, a third of the work is saved: of who was there before
// the session only root's worker is told by it (isFirstOfLogin).
func (f *Finder) readStray(fs *proc.FS, s *stranger) {
	e := &f.t.Entry
	since := !f.t.Login && s.stat.Start >= e.Start && (e.Audit != session.NoAudit || e.Scope != "")
	worker := e.OwnsLogin && s.owner == 0
	if s.stat.Kernel() || !since && !worker {
		return
	}
	if audit, err := fs.Audit(s.pid); err == nil {
		s.audit = audit
	}
	if s.audit == session.NoAudit && since && e.Scope != "" {
		group, err := fs.CgroupBytes(s.pid)
		s.scoped = err == nil && Within(string(group), e.Scope)
	}
}

// meet enters a stranger.
func (f *Finder) meet(s *stranger) {
	if errors.Is(s.err, proc.ErrDenied) {
		return // hidepid=1 (proc(5)): neither ours to signal nor to read, as if hidepid=2 had left it out
	}
	if s.err != nil {
		f.failed(s.pid, s.err)
		return
	}
	r := s.record
	if s.ours && session.SameAudit(s.audit, f.t.Entry.Audit) {
		if s.ours = f.fs.MaySignal(s.pid) == nil; s.ours {
			f.visitNear(r, s.pid, s.inode, s.owner)
			return
		}
	}
	if r == nil || r.ID != s.stat.ID() {
		r = f.newRecord()
	}
	r.stat, r.bare = s.stat, s.bare
	r.copyStat()
	r.exact = r.exact && r.owner == s.owner
	r.inode, r.owner, r.Denied = s.inode, s.owner, !s.ours
	r.UID, r.UIDKnown = s.owner, true
	r.keepAway(s.audit)
	if s.scoped {
		r.Cgroup = f.t.Entry.Scope
	}
	f.records.set(s.pid, r)
	f.seen(r)
}

// keepAway makes the process one that lies outside the bound.
func (r *record) keepAway(audit uint32) {
	r.Far = true
	r.Audit, r.Cgroup, r.Unique = audit, "", ""
	clear(r.Values)
}
