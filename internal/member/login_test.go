package member

import (
	"fmt"
	"testing"

	"xexit/internal/session"
)

// asLogin makes a forest one in which root ends the whole login that its first
// session lives in. It reports false where nothing tells the logins apart, and
// for root, whose logins are not ended.
func (f *forest) asLogin() bool {
	if f.uid == 0 || f.elogind || !f.systemd && !f.audit {
		return false
	}
	e := &f.target.Entry
	e.Markers, e.Marked, e.OwnsLogin = nil, false, true
	e.Subreaper, e.Watcher = session.ProcID{}, session.ProcID{}
	e.Leader, e.Scope, e.Audit = session.ProcID{}, "", session.NoAudit
	for _, t := range f.trees {
		if t.login == f.a.login && t.UID == 0 && t.kind == untouched && e.Leader.IsZero() {
			e.Leader, e.Scope, e.Audit, e.Start = t.ID, t.Cgroup, t.Audit, t.ID.Start
		}
	}
	init := f.byPID[1]
	if f.systemd && f.chance(30) { // a container that somebody in it started, registered with systemd
		t := f.add(f.a.members[0], f.uid, alien)
		t.Cgroup = "/machine.slice/machine-box.scope"
	}
	if !f.systemd && f.chance(30) { // a batch job, where no audit id is given to any
		t := f.add(f.add(init, 0, untouched), f.uid, alien)
		t.Audit, t.login = session.NoAudit, none
	}
	f.exempting()
	f.target.Login = true
	f.target.Others = nil
	f.target.Bound = Bound{UID: f.uid}
	for _, t := range f.trees { // the environment is not read
		t.set(envOf{})
	}
	return true
}

// add is spawn for a forest that is made already.
func (f *forest) add(parent *tree, uid uint32, k kind) *tree {
	t := f.spawn(parent, uid)
	t.kind = k
	f.snap.Processes = append(f.snap.Processes, &t.Process)
	return t
}

// wrongLogin says why a process must not be ended with the login, if so.
func (f *forest) wrongLogin(t *tree) string {
	e := &f.target.Entry
	inScope := Within(t.Cgroup, e.Scope)
	for _, id := range f.target.Self {
		if t.ID == id {
			return "is xexit itself"
		}
	}
	switch {
	case t.ID.PID == 1:
		return "is init"
	case t.exemption.exempt:
		return "is exempt"
	case t.exemption.unknown:
		return "may be exempt"
	case t.ID == e.Leader:
		return "is the leader"
	case t.Denied:
		return "may not be signalled"
	case t.kind == shared && f.snap.Logins.Lingers:
		return "is a lingering user's"
	case t.login != f.a.login && !inScope && f.target.Scope != session.ScopeUser:
		return fmt.Sprintf("is of login %d, not %d", t.login, f.a.login)
	case t.UID != f.uid && !inScope:
		return "is another user's"
	case t.kind == alien && !inScope, t.kind == shared && !inScope && f.target.Scope != session.ScopeUser:
		return "is shared or of no login"
	case t.kind == delegated && !f.target.Delegated && f.target.Scope != session.ScopeUser:
		return "was delegated a scope of its own"
	}
	return ""
}

func loginVerdict(c *classifier, f *forest) (pid int, wrong string, ends int) {
	c.begin(&f.target, &f.snap)
	c.add(0)
	for i, p := range f.snap.Processes {
		if !c.rulings[i].member() {
			continue
		}
		ends++
		if w := f.wrongLogin(f.byPID[p.ID.PID]); w != "" && wrong == "" {
			pid, wrong = p.ID.PID, w
		}
	}
	return pid, wrong, ends
}

// TestNothingElseEndsWithLogin: whoever runs whatever, a login that root ends
// takes nobody with it who is not in it, and leaves nobody of the user's own
// in its scope.
func TestNothingElseEndsWithLogin(t *testing.T) {
	c := newClassifier(loginVetoes())
	logins, ends, own := 0, 0, 0
	for seed := range forests(t, 4000) {
		f := newForest(seed)
		if !f.asLogin() {
			continue
		}
		logins++
		pid, wrong, n := loginVerdict(c, f)
		ends += n
		for i, p := range f.snap.Processes {
			if Within(p.Cgroup, f.target.Entry.Scope) || session.SameAudit(p.Audit, f.target.Entry.Audit) {
				own++
			}
			if r := &c.rulings[i]; Within(p.Cgroup, f.target.Entry.Scope) && !r.member() &&
				p.ID != f.target.Entry.Leader && f.wrongLogin(f.byPID[p.ID.PID]) == "" && !p.Dead && !p.Kernel && !p.Denied {
				t.Fatalf("seed %d: %d is in the scope and is spared: %v", seed, p.ID.PID, r.why)
			}
		}
		if wrong != "" {
			i := c.at(pid)
			p := f.snap.Processes[i]
			t.Fatalf("seed %d: %d %s, but is a member: %v (%v)\n%+v\ntruth %+v\ntarget %+v\nlogins %+v",
				seed, pid, wrong, c.rulings[i].why, c.rulings[i].evidence, *p, f.byPID[pid], f.target, f.snap.Logins)
		}
	}
	if ends*2 < own || logins < 100 {
		t.Errorf("%d logins; %d processes of them, only %d members", logins, own, ends)
	}
	t.Logf("%d logins, %d members of %d processes", logins, ends, own)
}

// TestEveryLoginVetoIsNeeded: without any one of them somebody is ended who
// should live.
func TestEveryLoginVetoIsNeeded(t *testing.T) {
	const atMost = 40000
	for i, v := range loginVetoes() {
		t.Run(v.name, func(t *testing.T) {
			all := loginVetoes()
			c := newClassifier(append(all[:i:i], all[i+1:]...))
			for seed := range uint64(atMost) {
				f := newForest(seed)
				if !f.asLogin() {
					continue
				}
				if _, wrong, _ := loginVerdict(c, f); wrong != "" {
					return
				}
			}
			t.Errorf("%d forests, and nobody was ended wrongly without it", atMost)
		})
	}
}
