package member

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"xexit/internal/registry"
	"xexit/internal/session"
)

// TestStraysAreTheSessions: who is named for the login alone was started by the
// session, or by a session that shares its login, and never opened the login.
func TestStraysAreTheSessions(t *testing.T) {
	c := newClassifier(vetoes())
	named, unsure := 0, 0
	for seed := range forests(t, 20000) {
		f := newForest(seed)
		c.begin(&f.target, &f.snap)
		c.add(0)
		for i, p := range f.snap.Processes {
			r, truth := &c.rulings[i], f.byPID[p.ID.PID]
			if !p.Far || !c.reported(i) || r.evidence.Has(session.ByDescent) {
				continue
			}
			if r.undecided {
				unsure++
			} else {
				named++
			}
			if truth.login != f.a.login || truth.truth == none {
				t.Fatalf("seed %d: %d is named: %v\n%+v\ntruth %+v\ntarget %+v", seed, p.ID.PID, r.why, *p, truth, f.target)
			}
		}
	}
	if named == 0 || unsure == 0 {
		t.Errorf("%d named, %d undecided: the rule says nothing", named, unsure)
	}
	t.Logf("%d named, %d undecided", named, unsure)
}

// strayWorld is a login in which a session began at 100: root's worker, who
// opened it, a shell, and an orphan of root's.
func strayWorld(owns bool) (*Target, *Snapshot, *Process) {
	entry := registry.Entry{ID: "a", Audit: 7, OwnsLogin: owns, Start: 100, UID: 1000}
	process := func(pid, ppid int, start uint64, uid uint32) *Process {
		p := &Process{ID: session.ProcID{PID: pid, Start: start}, PPID: ppid, UID: uid, UIDKnown: true, Audit: 7}
		p.Far, p.Denied = uid == 0, uid == 0
		return p
	}
	orphan := process(50, 1, 150, 0)
	init := process(1, 0, 1, 0)
	init.Audit = session.NoAudit
	return &Target{Entry: entry, Bound: Bound{UID: 1000}},
		&Snapshot{Processes: []*Process{init, process(10, 1, 90, 0), process(11, 10, 100, 1000), orphan}}, orphan
}

func TestStray(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(t *Target, s *Snapshot, p *Process)
		want   string // "": it is not named
	}{
		{"an orphan", func(*Target, *Snapshot, *Process) {}, "does not let us signal it"},
		{"of another audit id", func(_ *Target, _ *Snapshot, p *Process) { p.Audit = 8 }, ""},
		{"without one", func(g *Target, _ *Snapshot, p *Process) { g.Entry.Audit, p.Audit = session.NoAudit, session.NoAudit }, ""},
		{"in the scope", func(g *Target, _ *Snapshot, p *Process) {
			g.Entry.Scope, p.Audit, p.Cgroup = "/user/session-7.scope", session.NoAudit, "/user/session-7.scope"
		}, "does not let us signal it"},
		{"there before the session", func(_ *Target, _ *Snapshot, p *Process) { p.ID.Start = 99 }, ""},
		{"started after its end", func(g *Target, _ *Snapshot, _ *Process) { g.Entry.EndedAt = 149 }, ""},
		{"started by the worker", func(_ *Target, _ *Snapshot, p *Process) { p.PPID = 10 }, ""},
		{"adopted by the user's own", func(_ *Target, _ *Snapshot, p *Process) { p.PPID = 11 }, "does not let us signal it"},
		{"its parent is not to be seen", func(_ *Target, _ *Snapshot, p *Process) { p.PPID = 40 }, ""},
		{"the session of a whole login", func(g *Target, _ *Snapshot, _ *Process) { g.Login = true }, ""},
		{"not below the bound", func(g *Target, _ *Snapshot, _ *Process) { g.Bound.ByDescentOnly = true }, ""},
	} {
		for _, owns := range []bool{true, false} {
			target, snap, p := strayWorld(owns)
			c.change(target, snap, p)
			got, named := findingIn(Classify(target, snap), p.ID.PID)
			switch {
			case named != (c.want != ""):
				t.Errorf("%s, owned %v: %+v", c.name, owns, got)
			case !named || got.Member:
			case owns && (!errors.Is(got.Unkillable, syscall.EPERM) || !strings.Contains(got.Why, c.want)):
				t.Errorf("%s: %+v", c.name, got)
			case !owns && (!got.Undecided || !strings.Contains(got.Why, "same login")):
				t.Errorf("%s, not owned: %+v", c.name, got)
			}
			if got.Member {
				t.Errorf("%s, owned %v: a member", c.name, owns)
			}
		}
	}
}

func findingIn(all []Finding, pid int) (Finding, bool) {
	for _, f := range all {
		if f.ID.PID == pid {
			return f, true
		}
	}
	return Finding{}, false
}

// Who logs in through a daemon that a stray is has a login of his own.
func TestStrayHandsNothingOn(t *testing.T) {
	t.Parallel()
	target, snap, p := strayWorld(true)
	shell := &Process{ID: session.ProcID{PID: 60, Start: 160}, PPID: p.ID.PID, UID: 1000, UIDKnown: true, Audit: 9}
	snap.Processes = append(snap.Processes, shell)
	if got, _ := findingIn(Classify(target, snap), 60); got.Member || got.Evidence != 0 {
		t.Errorf("%+v", got)
	}
}
