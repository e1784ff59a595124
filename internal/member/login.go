package member

import "xexit/internal/session"

// A whole login is simpler than a display's session: the kernel says who is in
// it, and neither he nor anybody else can change that. So nothing that a
// process says of itself counts, and whoever it runs as, what is in the
// login's scope belongs to it. Beyond the scope a process must be the user's
// own, and carry the audit id or descend from a member.

const unscoped = session.ByAudit | session.ByDescent

// loginVetoes is what speaks against a process where a whole login ends.
func loginVetoes() []veto {
	return []veto{
		{name: "self", strikes: all, says: isSelf},
		{name: "system", strikes: all, says: isSystem},
		{name: "leader", strikes: all, says: isLeader},
		{name: "hidden", strikes: all, undecided: true, says: isHidden},
		{name: "exempt", strikes: all, exempt: true, says: isExempt},
		{name: "unknown program", strikes: all, undecided: true, says: hasUnknownImage},
		{name: "manager", strikes: unscoped | sole, says: unlessJob(isUnderManager)}, // goes down through systemd
		{name: "other login", strikes: unscoped, says: isInForeignScope},
		{name: "service", strikes: unscoped, says: unlessJob(isInSystemService)},
		{name: "other audit id", strikes: session.ByDescent, says: hasForeignAudit},
		{name: "after", strikes: sole, says: startedAfter},
		{name: "sole: elsewhere", strikes: sole, says: isOutOfSlice},
		{name: "sole: live login", strikes: sole, says: isInLiveLogin},
		{name: "sole: other audit id", strikes: sole, says: hasAuditWithoutLogind},
		{name: "sole: other daemon", strikes: sole, says: isOfOtherDaemonWithoutLogind},
		{name: "denied", strikes: all, outside: true, says: isDenied},
		{name: "uid", strikes: all, outside: true, says: isOtherUserOutOfScope},
	}
}

// hasOtherLoginsAudit is hasForeignAudit where the login has an audit id: a
// process that has none can get itself one.
func hasOtherLoginsAudit(c *classifier, i int) (why, bool) {
	w, foreign := hasForeignAudit(c, i)
	return w, foreign && c.t.Entry.Audit != session.NoAudit
}

// isLeader: the worker that opened the login (sshd's monitor, login, the
// display manager's) closes it, and with it what was mounted for it.
func isLeader(c *classifier, i int) (why, bool) {
	return why{rule: whyLeader}, c.s.Processes[i].ID == c.t.Entry.Leader
}

// isOtherUserOutOfScope: what runs as another user is in reach only where the
// kernel says that it is in the login.
func isOtherUserOutOfScope(c *classifier, i int) (why, bool) {
	if Within(c.s.Processes[i].Cgroup, c.t.Entry.Scope) {
		return why{}, false
	}
	return isOtherUser(c, i)
}

// listScope reads the scope's list anew.
func (f *Finder) listScope() error {
	if f.t.InScope == nil {
		return nil
	}
	clear(f.scope)
	pids, err := f.t.InScope()
	for _, pid := range pids {
		f.scope[pid] = struct{}{}
	}
	return err
}

// alone reports whether all that was seen in the scope belongs.
func (f *Finder) alone() bool {
	if !f.t.Login || f.now.Unknown > 0 || f.partial {
		return false
	}
	for i, r := range f.order {
		if Within(r.Cgroup, f.t.Entry.Scope) && !r.Dead && (i >= len(f.class.rulings) || !f.class.rulings[i].member()) {
			return false
		}
	}
	return true
}
