package member

import "xexit/internal/session"

// A process that the session started through sudo(8) or su(1) is another
// user's: its own user cannot signal it nor read its environment. As long as its
// parent lives, descent shows whose it is. When that has exited, only the
// login is left: the audit id, and the scope. It is named then, so that nobody
// takes the session for ended; it cannot be more than named.

// strays: a ruling that rests on being a stray. A daemon of the system that was
// started anew through sudo is one, too; whoever logs in through it has a login
// of his own, and is no part of this one.
func (r *ruling) strays(p *Process) bool { return p.Far && !r.evidence.Has(session.ByDescent) }

// stray is what ties a process that we may not signal to the session's login:
// 0 if nothing does.
//
// Root's worker, who opened the login, and what it runs to close it, have the
// audit id too. But the worker was there before the session, and what it starts
// has it for a parent; an orphan has init, one of the user's own that adopts
// orphans, or another stray.
func (c *classifier) stray(i int) session.Evidence {
	found := c.tied(c.s.Processes[i])
	if found == 0 || c.t.Login {
		return 0
	}
	for n := 0; n < maxDepth; n++ {
		j := int(c.parent[i])
		if j < 0 {
			return 0 // its parent has just changed, or is not to be seen
		}
		q := c.s.Processes[j]
		if q.ID.PID == 1 || !q.Far {
			return found
		}
		if c.tied(q) == 0 {
			return 0
		}
		i = j
	}
	return 0
}

// tied is what of the login's a single process carries that we may not signal
// and that was started while the session lived.
func (c *classifier) tied(p *Process) (found session.Evidence) {
	e := &c.t.Entry
	if !p.Far || !p.Denied || p.Dead || p.Kernel || p.ID.Start < e.Start || e.EndedAt != 0 && p.ID.Start > e.EndedAt {
		return 0
	}
	if session.SameAudit(p.Audit, e.Audit) {
		found |= session.ByAudit
	}
	if Within(p.Cgroup, e.Scope) {
		found |= session.ByScope
	}
	return found
}

// explainFar: a stray may be another session's of the same login.
func (c *classifier) explainFar(i int) ruling {
	elsewhere := c.below[i] > ours || c.t.Bound.ByDescentOnly && !c.inside[i]
	if elsewhere || c.stray(i) == 0 {
		return ruling{}
	}
	return ruling{undecided: true, why: why{rule: whyStray, number: int(c.s.Processes[i].UID)}}
}
