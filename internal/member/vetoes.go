package member

import "xexit/internal/session"

// veto is something that speaks against a process, whatever points at it.
type veto struct {
	name    string
	strikes session.Evidence // the kinds of evidence that it takes away
	// undecided: what it leaves is not somebody else's for certain.
	undecided bool
	// outside: the process belongs to the session all the same, and so do its
	// children, but it must not be ended.
	outside bool
	// exempt: it belongs to the session, and is to outlive it.
	exempt bool
	says   func(c *classifier, i int) (why, bool)
}

const (
	all      = session.ByDescent | session.ByScope | session.ByAudit | session.ByMarker | session.ByAmbient | session.BySole
	environ  = session.ByMarker | session.ByAmbient
	ambient  = session.ByAmbient
	sole     = session.BySole
	notSole  = all &^ session.BySole
	notBelow = all &^ session.ByDescent
)

// vetoes is all of them, in the order in which they are told to people.
func vetoes() []veto {
	return []veto{
		{name: "self", strikes: all, says: isSelf},
		{name: "other xexit", strikes: all, says: isOtherXexit},
		{name: "system", strikes: all, says: isSystem},
		{name: "other marker", strikes: all, says: hasOtherMarker},
		{name: "below other xexit", strikes: all, says: isBelowOther},
		{name: "hidden", strikes: all, undecided: true, says: isHidden},
		{name: "other session's audit id", strikes: all, says: hasOtherAudit},
		{name: "other session's scope", strikes: all, says: isInOtherScope},
		{name: "user manager", strikes: notSole, says: isUnderManager},
		{name: "system service", strikes: all, says: isInSystemService},
		{name: "foreign scope", strikes: notSole, undecided: true, says: isInForeignScope},
		{name: "foreign audit id", strikes: environ, undecided: true, says: hasForeignAudit},
		{name: "other daemon", strikes: environ, undecided: true, says: isOfOtherDaemon},
		{name: "root's worker", strikes: notBelow, says: isRootsWorker},
		{name: "founder", strikes: session.ByScope | session.ByAudit | sole, says: isFounder},
		{name: "before", strikes: ambient, says: startedBefore},
		{name: "after", strikes: ambient | sole, says: startedAfter},
		{name: "contradiction", strikes: ambient, undecided: true, says: hasContradiction},
		{name: "shared value", strikes: ambient, undecided: true, says: hasSharedValue},
		{name: "sole: manager", strikes: sole, says: isKeptByManager},
		{name: "sole: elsewhere", strikes: sole, says: isOutOfSlice},
		{name: "sole: live login", strikes: sole, says: isInLiveLogin},
		{name: "sole: other audit id", strikes: sole, says: hasAuditWithoutLogind},
		{name: "sole: other daemon", strikes: sole, says: isOfOtherDaemonWithoutLogind},
		{name: "not below", strikes: all, says: isNotBelowBound},
		{name: "denied", strikes: all, outside: true, says: isDenied},
		{name: "uid", strikes: all, outside: true, says: isOtherUser},
	}
}

func isSelf(c *classifier, i int) (why, bool) {
	p := c.s.Processes[i]
	for _, id := range c.t.Self {
		if p.ID == id {
			return why{rule: whySelf}, true
		}
	}
	return why{rule: whySelf}, p.ID == c.t.Entry.Watcher || p.ID == c.t.Entry.Subreaper
}

func isOtherXexit(c *classifier, i int) (why, bool) {
	p := c.s.Processes[i]
	for k := range c.t.Others {
		o := &c.t.Others[k]
		if p.ID == o.Watcher || p.ID == o.Subreaper {
			return why{rule: whyOtherXexit, text: string(o.ID)}, true
		}
	}
	return why{}, false
}

// isSystem: init and the kernel's threads, which no user's session holds.
func isSystem(c *classifier, i int) (why, bool) {
	p := c.s.Processes[i]
	return why{rule: whyKernel}, p.Kernel || p.ID.PID == 1
}

func hasOtherMarker(c *classifier, i int) (why, bool) {
	p := c.s.Processes[i]
	return why{rule: whyOtherMarker, text: p.Unique}, p.Unique != "" && p.Unique != string(c.t.Entry.ID)
}

func isBelowOther(c *classifier, i int) (why, bool) {
	if k := c.below[i]; k > ours {
		return why{rule: whyOtherBelow, text: string(c.t.Others[k-ours-1].ID)}, true
	}
	return why{}, false
}

func hasOtherAudit(c *classifier, i int) (why, bool) {
	p := c.s.Processes[i]
	if session.SameAudit(p.Audit, c.t.Entry.Audit) {
		return why{}, false
	}
	for k := range c.t.Others {
		if o := &c.t.Others[k]; session.SameAudit(p.Audit, o.Audit) {
			return why{rule: whyOtherAudit, text: string(o.ID), number: int(p.Audit)}, true
		}
	}
	return why{}, false
}

func isInOtherScope(c *classifier, i int) (why, bool) {
	p := c.s.Processes[i]
	if Within(p.Cgroup, c.t.Entry.Scope) {
		return why{}, false
	}
	for k := range c.t.Others {
		if o := &c.t.Others[k]; Within(p.Cgroup, o.Scope) {
			return why{rule: whyOtherScope, text: string(o.ID)}, true
		}
	}
	return why{}, false
}

// isUnderManager: what runs under user@UID.service serves all logins of the
// user, and its environment names the login that was the last to update the
// manager's. A session that itself was started there is at home in its own
// unit.
func isUnderManager(c *classifier, i int) (why, bool) {
	p, g := c.s.Processes[i], &c.groups[i]
	if g.kind != cgroupManager || c.atHome(p) && !g.init {
		return why{}, false
	}
	delegated := c.t.Delegated && g.ownScope && c.owns && session.SameAudit(p.Audit, c.t.Entry.Audit)
	return why{rule: whyManager, text: g.unit}, !delegated
}

func isInSystemService(c *classifier, i int) (why, bool) {
	p, g := c.s.Processes[i], &c.groups[i]
	return why{rule: whySystem, text: g.unit}, g.kind == cgroupSystem && !c.atHome(p)
}

func isInForeignScope(c *classifier, i int) (why, bool) {
	p, g := c.s.Processes[i], &c.groups[i]
	foreign := g.kind == cgroupLogin && !Within(p.Cgroup, c.t.Entry.Scope) && !c.atHome(p)
	return why{rule: whyForeignScope, text: g.unit}, foreign
}

// hasForeignAudit: an environment is copied by at(1) and by the user's service
// manager, an audit id is not. A session without one has no process with one.
func hasForeignAudit(c *classifier, i int) (why, bool) {
	p := c.s.Processes[i]
	foreign := p.Audit != session.NoAudit && p.Audit != c.t.Entry.Audit
	return why{rule: whyForeignAudit, number: int(p.Audit)}, foreign
}

// isRootsWorker: sshd's monitor, login and the display manager's worker carry
// the audit id of the login that they opened. Those that are out of reach are
// told apart before (stray).
func isRootsWorker(c *classifier, i int) (why, bool) {
	p := c.s.Processes[i]
	return why{rule: whyWorker}, p.UIDKnown && p.UID == 0 && !p.Far
}

// isFounder: what the session was started from existed before it: the login
// shell, sshd's unprivileged half. The registered leader is the session's own
// first program, and what carries the unique marker was started in it.
func isFounder(c *classifier, i int) (why, bool) {
	p := c.s.Processes[i]
	if p.Founder {
		return why{rule: whyFounder}, true
	}
	if p.ID.Start >= c.t.Entry.Start || p.ID == c.t.Entry.Leader || c.raw(p).Has(session.ByMarker) {
		return why{}, false
	}
	return why{rule: whyFounder}, c.ancestor[i] || c.isFirstOfLogin(i)
}

// isFirstOfLogin: started by root's worker of the same login.
func (c *classifier) isFirstOfLogin(i int) bool {
	parent := int(c.parent[i])
	if parent < 0 {
		return false
	}
	q := c.s.Processes[parent]
	return q.UIDKnown && q.UID == 0 && q.ID.PID != 1 && session.SameAudit(q.Audit, c.s.Processes[i].Audit)
}

func startedBefore(c *classifier, i int) (why, bool) {
	return why{rule: whyBefore}, c.s.Processes[i].ID.Start < c.t.Entry.Start
}

func startedAfter(c *classifier, i int) (why, bool) {
	end := c.t.Entry.EndedAt
	return why{rule: whyAfter}, end != 0 && c.s.Processes[i].ID.Start > end
}

// hasContradiction: one marker is the session's, another is somebody else's,
// as after a new login from the same thin client.
func hasContradiction(c *classifier, i int) (why, bool) {
	p := c.s.Processes[i]
	for k, m := range c.t.Entry.Markers {
		if v := value(p, k); v != "" && !sameMarker(m, v) {
			return why{rule: whyContradiction, text: m.Name}, true
		}
	}
	return why{}, false
}

// hasSharedValue: every marker of the session that it has is that of another
// live session, too.
func hasSharedValue(c *classifier, i int) (why, bool) {
	p := c.s.Processes[i]
	shared := why{}
	for k, m := range c.t.Entry.Markers {
		if !sameMarker(m, value(p, k)) {
			continue
		}
		if !c.shared[k] && !c.usedByOther(m) {
			return why{}, false
		}
		shared = why{rule: whyShared, text: m.Name}
	}
	return shared, shared.rule != whyNone
}

// isKeptByManager: a user manager's own init goes down through systemd and
// never by a signal; a lingering user's services are to stay.
func isKeptByManager(c *classifier, i int) (why, bool) {
	g := &c.groups[i]
	if g.kind != cgroupManager {
		return why{}, false
	}
	if c.s.Logins.Lingers {
		return why{rule: whyLingering, text: g.unit}, true
	}
	return why{rule: whyManager, text: g.unit}, g.init
}

// isOutOfSlice: with systemd, what is the user's and no batch job or service
// is in his slice.
func isOutOfSlice(c *classifier, i int) (why, bool) {
	p, g := c.s.Processes[i], &c.groups[i]
	if g.user || c.atHome(p) {
		return why{}, false
	}
	if g.kind == cgroupNone && !c.s.Logins.Known {
		return why{}, false // a host without systemd: "/" says nothing
	}
	return why{rule: whyElsewhere, text: orRoot(g.unit)}, true
}

func orRoot(unit string) string {
	if unit == "" {
		return "/"
	}
	return unit
}

// isInLiveLogin: a login that logind holds for live: cron and batch systems
// open some that are no user's (Class=background). One that logind does not
// know is spared as well.
func isInLiveLogin(c *classifier, i int) (why, bool) {
	p, g := c.s.Processes[i], &c.groups[i]
	if g.kind != cgroupLogin || Within(p.Cgroup, c.t.Entry.Scope) || c.atHome(p) {
		return why{}, false
	}
	return why{rule: whyForeignScope, text: g.unit}, !c.s.Logins.closing(g.unit)
}

// hasAuditWithoutLogind: without logind another login shows only by its audit
// id; so do at and cron.
func hasAuditWithoutLogind(c *classifier, i int) (why, bool) {
	if c.s.Logins.Known {
		return why{}, false
	}
	return hasForeignAudit(c, i)
}

// isOfOtherDaemon: below a daemon of root's (sshd, cron, a batch system) that
// neither belongs to the session nor started it. Where there is no audit and
// no systemd, this alone tells at and batch jobs, to which an environment is
// copied.
func isOfOtherDaemon(c *classifier, i int) (why, bool) {
	if c.t.Entry.Leader.IsZero() {
		return why{}, false // we cannot tell our own display manager either
	}
	for n := 0; i >= 0 && n < maxDepth; n++ {
		p := c.s.Processes[i]
		if p.ID.PID == 1 || c.origin[i] && p.UID == 0 {
			return why{}, false
		}
		if p.UIDKnown && p.UID == 0 && c.t.Bound.UID != 0 && !c.rulings[i].belongs() {
			return why{rule: whyOtherDaemon, number: p.ID.PID}, true
		}
		i = int(c.parent[i])
	}
	return why{}, false
}

func isOfOtherDaemonWithoutLogind(c *classifier, i int) (why, bool) {
	if c.s.Logins.Known {
		return why{}, false
	}
	return isOfOtherDaemon(c, i)
}

func isDenied(c *classifier, i int) (why, bool) {
	p := c.s.Processes[i]
	if p.Hidden {
		return why{rule: whyDeniedHidden}, p.Denied
	}
	return why{rule: whyDenied, number: int(p.UID)}, p.Denied
}

func isOtherUser(c *classifier, i int) (why, bool) {
	p := c.s.Processes[i]
	return why{rule: whyOutside, number: int(p.UID)}, !p.UIDKnown || !c.t.Bound.hasUID(p.UID)
}

func isNotBelowBound(c *classifier, i int) (why, bool) {
	return why{rule: whyNotBelow, number: c.t.Bound.Subreaper.PID}, c.t.Bound.ByDescentOnly && !c.inside[i]
}
