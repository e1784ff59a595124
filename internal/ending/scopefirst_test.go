package ending

import (
	"errors"
	"slices"
	"testing"

	"xexit/internal/policy"
	"xexit/internal/reap"
	"xexit/internal/session"
)

// TestRootLooksAtScopeFirst: who is in the login's control group is known, and
// can be asked to go, before anybody else on the machine was looked at; only a
// look at all can be clean.
func TestRootLooksAtScopeFirst(t *testing.T) {
	h := newLoginHost(t)
	scope := h.scope(loginUID, loginName())
	leader := h.start(scope, 0, waits)
	h.login(leader)
	member, free := h.start(scope, loginUID, waits), h.start("", loginUID, waits)

	c, err := h.load(Request{})
	reg, err2 := h.registry()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	s, err := h.resolve(reg, loginName())
	if err != nil {
		t.Fatal(err)
	}
	target, err := h.open(reg, s, c, session.ScopeSession, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer target.close()
	l := newLooker(target, session.ReasonRequested)
	look := func() reap.Look {
		t.Helper()
		look, err := l.Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(look.End) != 1 || look.End[0].Ref.ID().PID != member.Process.Pid || !look.End[0].In {
			t.Errorf("to be ended: %+v, want %d alone", look.End, member.Process.Pid)
		}
		return look
	}
	knows := func(p *process) bool {
		return slices.ContainsFunc(l.plan.Items, func(i policy.Item) bool { return i.ID.PID == p.Process.Pid })
	}
	first := look()
	if first.Clean || knows(free) {
		t.Errorf("the first look: clean %v, at the whole machine %v", first.Clean, knows(free))
	}
	if second := look(); !knows(free) || second.End[0].Ref != first.End[0].Ref {
		t.Error("the second look did not see the whole machine, or made another reference")
	}
}
