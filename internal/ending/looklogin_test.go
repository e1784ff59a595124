package ending

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"xexit/internal/history"
	"xexit/internal/policy"
	"xexit/internal/session"
)

// While an end stands still, its login can be looked at: who is there now, by
// what evidence, and whom a rule keeps. That harms nobody.
func TestLookLogin(t *testing.T) {
	h := newEndHost(t)
	h.leader = h.start(h.scope, 0, waits)
	deaf, kept := h.start(h.scope, loginUID, stubborn), h.keeps()
	beside := h.start("", loginUID, waits)
	r := h.request()
	h.fault = session.StepRootHooks
	end := h.child(r)
	end.until(session.StepRootHooks)
	for round := range 2 {
		verdicts := map[int]session.Verdict{}
		look := h.look(r)
		for _, p := range look.Processes {
			verdicts[p.PID] = p.Verdict
			if !p.Evidence.Has(session.ByScope) || p.Why == "" || p.Comm == "" || p.Start == 0 {
				t.Errorf("%+v", p)
			}
		}
		for p, want := range map[*process]session.Verdict{deaf: session.VerdictEnd, kept: session.VerdictKeep, h.leader: "", beside: ""} {
			if got := verdicts[p.Process.Pid]; got != want {
				t.Errorf("look %d: %d: %q, want %q: %+v", round, p.Process.Pid, got, want, look)
			}
			if !p.lives() {
				t.Errorf("%d was ended", p.Process.Pid)
			}
		}
	}
	if _, err := end.stdin.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	end.over()
	left := h.look(r)
	for _, p := range left.Processes {
		if p.Verdict == session.VerdictEnd {
			t.Errorf("still there after the end: %+v", p)
		}
	}
	if !kept.lives() || deaf.lives() {
		t.Errorf("the end: kept lives %v, deaf lives %v", kept.lives(), deaf.lives())
	}
}

// look is what the hidden verb says.
func (h *endHost) look(r LoginRequest) (look LoginLook) {
	h.t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command(program(h.t, "shipped"), LookLoginVerb)
	cmd.Stdin = bytes.NewReader(text)
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &look)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return look
}

// What is not a login of this boot is refused, and nothing is told of it.
func TestLookLoginRefused(t *testing.T) {
	h := newEndHost(t)
	h.start(h.scope, loginUID, waits)
	for name, change := range map[string]func(*LoginRequest){
		"another boot":      func(r *LoginRequest) { r.Boot = "d6b3e6a4-9d4c-4b6f-8c8e-0a5f4e9f2a11" },
		"a group of others": func(r *LoginRequest) { r.Cgroup = "/user.slice" },
		"a later version":   func(r *LoginRequest) { r.V = 2 },
	} {
		r := h.request()
		change(&r)
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if status, err := h.LookLogin(t.Context(), bytes.NewReader(text), &out); status != 2 || err == nil || out.Len() > 0 {
			t.Errorf("%s: status %d, %v, %q", name, status, err, &out)
		}
	}
}

// A login of a thousand and some processes: what is not listed is counted, and
// who has nothing to do with it is not listed at all.
func TestSeenIsBounded(t *testing.T) {
	items := make([]policy.Item, mostSeen+7)
	for i := range items {
		items[i].ID.PID, items[i].Evidence = i+1, session.ByScope
		items[i].Comm, items[i].Why = strings.Repeat("\x01", 15), "in the login's scope"
	}
	items[3].Undecided, items[4].Evidence = true, 0
	look := seen(items)
	if len(look.Processes) != mostSeen-1 || len(look.Undecided) != 1 || look.Omitted != 6 {
		t.Errorf("%d, %d, %d", len(look.Processes), len(look.Undecided), look.Omitted)
	}
	text, err := json.Marshal(struct {
		Processes []history.Process
	}{look.Processes})
	const roomInAnAnswer = 512 << 10 // ipc.MaxAnswer
	if err != nil || len(text) > roomInAnAnswer/2 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}
