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
	err    error
}

// shareFrom is how many strangers make the second reader worth its start.
const shareFrom = 64

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
		s.audit, s.scoped = session.NoAudit, false
		if s.owner, _, s.err = fs.Owner(s.pid); s.err != nil {
			continue
		}
		if s.err = fs.ReadStat(s.pid, &s.stat); s.err != nil {
			continue
		}
		f.readStray(fs, s)
	}
}

// elsewhere: whose process runs with that effective uid, outside of the login's
// scope, is no user's of the login, unless he has its audit id. A set-user-id
// program of root's may be anybody's.
func (f *Finder) elsewhere(owner uint32) bool {
	return f.t.Login && f.t.Entry.Audit != session.NoAudit && owner != 0 && !f.t.Bound.hasUID(owner)
}

// readStray reads what ties a stranger to the session's login. Where that says
// nothing of this session, a third of the work is saved: of who was there before
// the session only root's worker is told by it (isFirstOfLogin).
func (f *Finder) readStray(fs *proc.FS, s *stranger) {
	e := &f.t.Entry
	since := !f.t.Login && s.stat.Start >= e.Start && (e.Audit != session.NoAudit || e.Scope != "")
	worker := e.OwnsLogin && s.owner == 0
	if s.stat.Kernel() || !s.ours && !since && !worker {
		return
	}
	if audit, err := fs.Audit(s.pid); err == nil {
		s.audit = audit
	} else if s.ours {
		s.err = err
		return
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
		f.visitNear(r, s.pid, s.inode, s.owner)
		return
	}
	if r == nil || r.ID != s.stat.ID() {
		r = &record{}
	}
	r.stat = s.stat
	r.copyStat()
	r.exact = r.exact && r.owner == s.owner
	r.inode, r.owner, r.Denied = s.inode, s.owner, !s.ours
	r.UID, r.UIDKnown = s.owner, true
	r.keepAway(s.audit)
	if s.scoped {
		r.Cgroup = f.t.Entry.Scope
	}
	f.records[s.pid] = r
	f.seen(r)
}

// keepAway makes the process one that lies outside the bound.
func (r *record) keepAway(audit uint32) {
	r.Far = true
	r.Audit, r.Cgroup, r.Unique = audit, "", ""
	clear(r.Values)
}
