package member

import (
	"fmt"

	"xexit/internal/registry"
	"xexit/internal/session"
)

// populate makes the machine: the ending session, others, and strangers of
// every kind that the rules know.
func (f *forest) populate() {
	init := f.spawn(nil, 0)
	f.pid, init.ID.PID, init.kind = 1, 1, untouched
	f.byPID[1] = init
	if f.systemd {
		init.Cgroup = "/init.scope"
	}
	sshd, cron := f.daemon(init, "sshd"), f.daemon(init, "cron")

	shell := f.open(sshd)
	shell.kind = untouched // the session is started from it
	host := "ltsp101"
	for range f.r.IntN(2) {
		f.before(init, host)
	}
	f.clock += 10
	f.a = f.begin(shell, host)
	f.target.Entry = f.a.entry
	f.clock++ // what starts within the tick of the session may be the session's

	alone := f.chance(40)
	worlds := []*world{f.a}
	for range 4 + f.r.IntN(8) {
		f.grow(f.a)
	}
	if !alone {
		for range 1 + f.r.IntN(2) {
			from := f.otherPlace(sshd, shell)
			w := f.begin(from, []string{host, host, "ltsp101-b"}[f.r.IntN(3)])
			f.target.Others = append(f.target.Others, w.entry)
			worlds = append(worlds, w)
		}
	}
	for range f.r.IntN(25) {
		f.grow(worlds[f.r.IntN(len(worlds))])
	}
	f.own(worlds)
	f.self()
	f.strangers(alone, init, sshd, cron)
	if f.chance(50) {
		f.clock += 5
		f.target.Entry.EndedAt = uint64(1000 + f.clock)
		f.clock += 5
		f.after(init, host)
	}
	if f.chance(20) {
		f.containerInit(init)
	}
	f.ask(alone)
}

// otherPlace is where another session starts: in a login of its own, in that
// of the ending session, or in a login that was opened below it.
func (f *forest) otherPlace(sshd, shell *tree) *tree {
	switch f.r.IntN(4) {
	case 0:
		t := f.open(sshd)
		t.kind = alien
		return t
	case 1:
		return shell
	case 2:
		return f.a.members[0]
	}
	if !f.audit && !f.systemd && !f.elogind {
		return shell // a login that cannot be told from this one
	}
	f.scoped = true // without systemd's names a scope has to be registered
	t := f.open(f.a.members[0])
	t.kind, t.truth = alien, 1+len(f.target.Others)
	return t
}

// own says whether the ending session owns its login. A stale yes, from before
// another one started there, shows in what the two have in common.
func (f *forest) own(worlds []*world) {
	a := &f.target.Entry
	a.OwnsLogin = f.chance(60)
	for _, w := range worlds[1:] {
		if w.login == f.a.login && !session.SameAudit(w.entry.Audit, a.Audit) && w.entry.Scope != a.Scope {
			a.OwnsLogin = false
		}
	}
}

// self is xexit at work: a process below the session, and a hook of its own.
func (f *forest) self() {
	t := f.spawn(f.a.members[0], f.uid)
	t.set(f.a.env)
	t.kind = untouched
	hook := f.spawn(t, f.uid)
	hook.kind = untouched
	f.target.Self = append(f.target.Self, t.ID, hook.ID)
}

// containerInit: number 1 in a container is anybody's, with any environment.
func (f *forest) containerInit(init *tree) {
	init.UID = f.uid
	init.set(f.a.env)
}

func (f *forest) before(init *tree, host string) {
	t := f.spawn(init, f.uid)
	t.Cgroup, t.kind = "", earlier
	t.set(envOf{values: [3]string{host, "", ""}})
}

// after is a new login from the same thin client.
func (f *forest) after(init *tree, host string) {
	t := f.spawn(init, f.uid)
	t.Cgroup, t.kind = "", alien
	t.set(envOf{values: [3]string{host, "", ""}})
}

func (f *forest) strangers(alone bool, init, sshd, cron *tree) {
	if f.chance(50) { // at(1) copies the environment; so may a job of cron's
		t := f.spawn(cron, f.uid)
		t.kind = alien
		if f.audit {
			f.audits++
			t.Audit = uint32(f.audits)
			if f.chance(50) {
				f.orphan(t)
			}
		}
		t.set(f.a.env)
	}
	if f.chance(50) { // sudo -u other, or a forger
		parent := init
		if f.chance(50) {
			parent = f.a.members[f.r.IntN(len(f.a.members))]
		}
		t := f.spawn(parent, 1001)
		t.set(f.a.env)
		t.kind = alien
		t.Denied = f.chance(50)
	}
	if f.chance(20) {
		f.restarted(init)
	}
	if f.chance(30) { // ours by uid, and the kernel says no
		t := f.spawn(f.a.members[0], f.uid)
		t.set(f.a.env)
		t.Denied, t.kind = true, untouched
	}
	if f.chance(50) {
		f.unregistered(alone, sshd)
	}
	if f.chance(20) { // a batch system with a tree of its own
		t := f.spawn(init, f.uid)
		t.kind, t.Cgroup = alien, "/slurm/uid_1000/job_7"
	}
	if f.systemd {
		f.services(init)
	}
}

// restarted is a daemon of the system that the session has started anew through
// sudo, without systemd, and somebody who logs in through it.
func (f *forest) restarted(init *tree) {
	t := f.spawn(f.a.members[f.r.IntN(len(f.a.members))], 0)
	t.set(envOf{})
	t.parent, t.PPID, t.Born, t.kind = init, init.ID.PID, session.ProcID{}, alien
	shell := f.open(t)
	shell.kind = alien
	f.spawn(shell, f.uid)
}

// deny makes a machine's processes what they are to a user: those of others he
// can neither signal nor read, but for what ties them to his session's login.
func (f *forest) deny() {
	for _, t := range f.trees {
		if t.UID == f.uid && !t.Denied {
			continue
		}
		t.Denied, t.Far, t.Env, t.Unique = true, true, EnvRead, ""
		clear(t.Values)
		if !Within(t.Cgroup, f.target.Entry.Scope) {
			t.Cgroup = ""
		}
	}
}

// unregistered is a login that runs no xexit.
func (f *forest) unregistered(alone bool, sshd *tree) {
	t := f.open(sshd)
	t.kind = alien
	t.Values[0] = f.a.env.values[0] // the same thin client, a login at a time is not enforced
	class, state := "user", "active"
	switch {
	case f.chance(50):
		class = "background"
	case f.chance(30):
		state = "closing"
		t.kind = earlier
	}
	if f.systemd {
		f.snap.Logins.List = append(f.snap.Logins.List, Login{
			ID: fmt.Sprint(t.login), Scope: fmt.Sprintf("session-%d.scope", t.login), Class: class, State: state,
		})
	} else {
		t.kind = alien
	}
	for range f.r.IntN(3) {
		c := f.spawn(t, f.uid)
		if f.distinct(c) {
			c.set(f.a.env)
		} else if len(markerNames(f.a.entry)) < 2 {
			c.set(envOf{})
		}
		if !alone && f.chance(50) {
			f.orphan(c) // with 'sole', nothing would tell it from the session's
		}
	}
	if !f.distinct(t) && len(markerNames(f.a.entry)) < 2 {
		t.set(envOf{})
	}
}

// markerNames: which of the first two markers a session is registered with.
// Both are needed to tell two logins from one thin client apart.
func markerNames(e registry.Entry) (names []string) {
	for _, m := range e.Markers {
		if m.Name != "DISPLAY" {
			names = append(names, m.Name)
		}
	}
	return names
}

// services is what runs below the user's service manager, with the environment
// of whoever logged in last.
func (f *forest) services(init *tree) {
	base := fmt.Sprintf("/user.slice/user-%d.slice/user@%d.service/", f.uid, f.uid)
	manager := f.spawn(init, f.uid)
	manager.set(envOf{})
	manager.Cgroup, manager.kind, manager.subreaper = base+"init.scope", untouched, true
	if f.audit {
		f.audits++
		manager.Audit = uint32(f.audits)
	}
	for range f.r.IntN(3) {
		t := f.spawn(manager, f.uid)
		t.Cgroup, t.kind = base+"session.slice/dbus.service", shared
		t.set(f.a.env)
		f.lose(t)
	}
	if f.chance(50) { // a service of the system that runs as the user
		t := f.spawn(init, f.uid)
		t.set(f.a.env)
		t.Cgroup, t.kind = "/system.slice/app.service", alien
	}
}

// ask decides what is asked of the rules.
func (f *forest) ask(alone bool) {
	t := &f.target
	t.Bound.UID = f.uid
	t.Delegated = f.chance(20)
	f.snap.Logins.Known = f.systemd
	f.snap.Logins.Lingers = f.chance(30)
	if alone && f.chance(60) {
		t.Scope = session.ScopeUser
	}
	if f.chance(15) {
		t.Bound.ByDescentOnly = true
		t.Bound.Subreaper = f.a.entry.Subreaper
	}
}

// wrong says what is wrong with ending a process, if anything.
func (f *forest) wrong(found Finding) string {
	t := f.byPID[found.ID.PID]
	b := f.target.Bound
	switch {
	case t.kind == untouched:
		return "is never to be ended"
	case t.UID != b.UID || t.Denied:
		return "lies outside the bound"
	case b.ByDescentOnly && !t.below(b.Subreaper):
		return "is not below the bound's subreaper"
	case t.kind == alien:
		return "is no part of any session"
	case t.truth > 0:
		return "belongs to a live session"
	}
	if f.target.Scope == session.ScopeUser {
		if t.kind == shared && f.snap.Logins.Lingers {
			return "is a lingering user's"
		}
		return ""
	}
	switch {
	case t.kind == delegated && !f.target.Delegated:
		return "is in a scope of its own"
	case t.kind == earlier:
		return "was there before the session"
	case t.truth != 0 && t.kind != delegated:
		return "is not the session's"
	}
	return ""
}
