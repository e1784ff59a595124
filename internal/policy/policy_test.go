package policy

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"xexit/internal/session"
)

var (
	tmux = FileID{1, 10}
	sh   = FileID{1, 20}
	sim  = FileID{1, 30}
)

func member(pid, ppid int, exe FileID) Process {
	return Process{
		ID: session.ProcID{PID: pid, Start: uint64(pid)}, PPID: ppid, Member: true,
		Why: "its XEXIT_SESSION is this session's", Evidence: session.ByMarker, Exe: exe, ExeKnown: true,
	}
}

func with(p Plan, v session.Verdict) (items []Item) {
	for _, item := range p.Items {
		if item.Verdict == v {
			items = append(items, item)
		}
	}
	return items
}

func TestDecide(t *testing.T) {
	rules := []Rule{
		{Name: "terminals", Files: []FileID{tmux}},
		{Name: "science", Files: []FileID{sim}, After: []session.Reason{session.ReasonLinkLost}},
	}
	unreadable := member(7, 1, tmux)
	unreadable.ExeKnown = false
	undecided := Process{ID: session.ProcID{PID: 8, Start: 8}, Undecided: true, Why: "nothing says", Exe: tmux, ExeKnown: true}
	foreign := Process{ID: session.ProcID{PID: 9, Start: 9}, PPID: 2, Why: "belongs to session x", Exe: sh, ExeKnown: true}
	below := member(10, 9, sh)
	sudo := Process{ID: session.ProcID{PID: 11, Start: 11}, PPID: 2, Why: "child of 2", Unkillable: errors.New("not permitted")}
	reused := member(12, 13, sh) // 13 is younger: another process by that number
	younger := member(13, 1, tmux)
	processes := []Process{
		member(2, 1, tmux), member(3, 2, sh), member(4, 3, sh), member(5, 1, sh), member(6, 1, sim),
		unreadable, undecided, foreign, below, sudo, reused, younger,
	}
	for _, c := range []struct {
		reason session.Reason
		pid    int
		want   session.Verdict
		why    string
	}{
		{session.ReasonLogout, 2, session.VerdictKeep, `kept by rule "terminals"`},
		{session.ReasonLogout, 3, session.VerdictKeep, `child of kept 2 (rule "terminals")`},
		{session.ReasonLogout, 4, session.VerdictKeep, `child of kept 2 (rule "terminals")`},
		{session.ReasonLogout, 5, session.VerdictEnd, "its XEXIT_SESSION is this session's"},
		{session.ReasonLogout, 6, session.VerdictEnd, "its XEXIT_SESSION is this session's"},
		{session.ReasonLinkLost, 6, session.VerdictKeep, `kept by rule "science" after link-lost`},
		{session.ReasonLogout, 7, session.VerdictEnd, "its XEXIT_SESSION is this session's"},
		{session.ReasonLogout, 8, session.VerdictSpare, "undecided: nothing says"},
		{session.ReasonLogout, 9, session.VerdictSpare, "belongs to session x"},
		{session.ReasonLogout, 10, session.VerdictEnd, "its XEXIT_SESSION is this session's"},
		{session.ReasonLogout, 11, session.VerdictSpare, "child of 2; cannot be ended: not permitted"},
		{session.ReasonLogout, 12, session.VerdictEnd, "its XEXIT_SESSION is this session's"},
	} {
		plan := Decide(End{Session: "s", Reason: c.reason}, processes, rules)
		if plan.Session != "s" || plan.Reason != c.reason || len(plan.Items) != len(processes) {
			t.Fatalf("plan of %s for %s with %d items", plan.Session, plan.Reason, len(plan.Items))
		}
		for _, item := range plan.Items {
			if item.ID.PID == c.pid && (item.Verdict != c.want || item.Why != c.why) {
				t.Errorf("%s, %d: %s, %q; want %s, %q", c.reason, c.pid, item.Verdict, item.Why, c.want, c.why)
			}
		}
	}
	plan := Decide(End{}, processes, rules)
	ends, keeps := with(plan, session.VerdictEnd), with(plan, session.VerdictKeep)
	if len(ends) != 5 || len(keeps) != 4 {
		t.Errorf("%d to end, %d kept", len(ends), len(keeps))
	}
	for _, item := range keeps {
		if item.Root != (item.ID.PID == 2 || item.ID.PID == 13) || item.Rule != "terminals" {
			t.Errorf("%d: root %v, rule %q", item.ID.PID, item.Root, item.Rule)
		}
	}
}

// TestDecideAnything: whatever the forest and the rules, only members are
// ended or kept, none that cannot be ended is in the plan to end, and a parent
// ring does no harm.
func TestDecideAnything(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		var processes []Process
		for pid := 1; pid <= 30; pid++ {
			p := member(pid, 1+r.IntN(30), FileID{1, uint64(r.IntN(5))})
			p.ID.Start = uint64(r.IntN(3))
			p.Member, p.Undecided, p.ExeKnown = r.IntN(3) > 0, r.IntN(2) > 0, r.IntN(4) > 0
			if !p.Member && r.IntN(3) == 0 {
				p.Unkillable = errors.New("EPERM")
			}
			processes = append(processes, p)
		}
		rules := []Rule{{Name: "r", Files: []FileID{{1, 1}}}}
		for _, item := range Decide(End{Reason: session.ReasonLogout}, processes, rules).Items {
			switch {
			case item.Why == "":
				t.Fatalf("seed %d: %d has no reason", seed, item.ID.PID)
			case item.Verdict != session.VerdictSpare && (!item.Member || item.Unkillable != nil):
				t.Fatalf("seed %d: %s for %+v", seed, item.Verdict, item.Process)
			case item.Verdict == session.VerdictSpare && item.Member:
				t.Fatalf("seed %d: a member is spared: %s", seed, item.Why)
			case item.Verdict == session.VerdictKeep && !strings.Contains(item.Why, `"r"`):
				t.Fatalf("seed %d: kept because %q", seed, item.Why)
			}
		}
	}
}
