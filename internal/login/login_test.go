package login

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"xexit/internal/session"
)

const testBoot = "0d5f1c5e-7a3f-4d1c-9b39-0d6a7e8a2c11"

func fresh(t *testing.T) State {
	t.Helper()
	id, err := SessionID(testBoot, "4", 1000)
	if err != nil {
		t.Fatal(err)
	}
	return State{
		V: Version, ID: "4", Boot: testBoot, Session: id, Phase: Open,
		Info: Info{
			UID: 1000, User: "alice", Cgroup: "/user.slice/user-1000.slice/session-4.scope", Scope: "session-4.scope",
			Audit: 17, Leader: session.ProcID{PID: 100, Start: 5}, Type: "tty", Service: "sshd",
		},
	}
}

// TestOver: each way in which a login can be over ends it once, written first,
// with its reason; and what is no end of it does not.
func TestOver(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fact  Fact
		want  session.Reason // "": it stays open
		rules Rules
	}{
		{name: "the source says closing", fact: Fact{Kind: Closing}, want: session.ReasonLogout},
		{name: "the leader exited", fact: Fact{Kind: LeaderExited}, want: session.ReasonLogout},
		{name: "gone from the source", fact: Fact{Kind: Gone}, want: session.ReasonLogout},
		{name: "requested", fact: Fact{Kind: Requested, Reason: session.ReasonRequested}, want: session.ReasonRequested},
		{name: "its display's server is gone", fact: Fact{Kind: DisplayEnded, Reason: session.ReasonServerGone}, rules: Rules{OnLost: true}, want: session.ReasonServerGone},
		{name: "its display's link is lost", fact: Fact{Kind: DisplayEnded, Reason: session.ReasonLinkLost}, rules: Rules{OnLost: true}, want: session.ReasonLinkLost},
		{name: "the server, within a grace for links", fact: Fact{Kind: DisplayEnded, Reason: session.ReasonServerGone}, rules: Rules{true, time.Minute}, want: session.ReasonServerGone},
		{name: "the link, within the grace", fact: Fact{Kind: DisplayEnded, Reason: session.ReasonLinkLost}, rules: Rules{true, time.Minute}},
		{name: "a forwarded display is gone", fact: Fact{Kind: DisplayEnded, Reason: session.ReasonServerGone}},
		{name: "seen", fact: Fact{Kind: Seen}},
		{name: "resumed", fact: Fact{Kind: Resumed}},
		{name: "reloaded", fact: Fact{Kind: Reloaded}},
		{name: "a timer", fact: Fact{Kind: Timer, Now: time.Hour}},
		{name: "its display opened", fact: Fact{Kind: DisplayOpened}},
		{name: "an end that is not its own finished", fact: Fact{Kind: Finished}},
		{name: "an end that is not its own was lost", fact: Fact{Kind: Lost}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.fact.Record, tt.fact.Rules = "r1", tt.rules
			s, actions := Next(fresh(t), tt.fact)
			if tt.want == "" {
				if s.Phase != Open || slices.Contains(actions, StartEnd) {
					t.Errorf("phase %s, %v", s.Phase, actions)
				}
				return
			}
			if s.Phase != Ended || s.Reason != tt.want || s.Record != "r1" {
				t.Errorf("phase %s, reason %s, record %s", s.Phase, s.Reason, s.Record)
			}
			if want := []Action{Persist, DropLeader, DropDisplay, StartEnd}; !slices.Equal(actions, want) {
				t.Errorf("actions %v, want %v", actions, want)
			}
		})
	}
}

// TestAfter: how long it took to notice an end is said where it is known, and
// is never nothing then; a display's end has its own figure.
func TestAfter(t *testing.T) {
	now := time.Hour
	for name, tt := range map[string]struct {
		fact Fact
		want time.Duration
	}{
		"known":              {Fact{Kind: LeaderExited, Now: now, Happened: now - 3*time.Millisecond}, 3 * time.Millisecond},
		"at once":            {Fact{Kind: Requested, Now: now, Happened: now}, time.Microsecond},
		"after the decision": {Fact{Kind: Closing, Now: now, Happened: now + time.Millisecond}, time.Microsecond},
		"not known":          {Fact{Kind: Gone, Now: now}, 0},
		"a display":          {Fact{Kind: DisplayEnded, Now: now, After: 14 * time.Second, Rules: Rules{OnLost: true}}, 14 * time.Second},
	} {
		if s, _ := Next(fresh(t), tt.fact); s.Phase != Ended || s.After != tt.want {
			t.Errorf("%s: phase %s, after %v, want %v", name, s.Phase, s.After, tt.want)
		}
	}
}

// TestReconnect: a link that comes back within the grace was no end; one that
// does not is, for the reason for which it was lost.
func TestReconnect(t *testing.T) {
	rules := Rules{OnLost: true, Reconnect: 30 * time.Second}
	lost := Fact{Kind: DisplayEnded, Now: time.Minute, Reason: session.ReasonLinkLost, Noticed: "no reply", Rules: rules, Record: "r0"}
	s, actions := Next(fresh(t), lost)
	if s.Phase != Open || s.Deadline != 90*time.Second || !slices.Equal(actions, []Action{Persist, WatchDisplay}) {
		t.Fatalf("phase %s, deadline %s, %v", s.Phase, s.Deadline, actions)
	}
	if again, _ := Next(s, Fact{Kind: DisplayEnded, Now: 80 * time.Second, Reason: session.ReasonServerGone, Rules: Rules{OnLost: true}}); again.Phase != Ended {
		t.Errorf("without a grace any more: phase %s", again.Phase)
	}
	back, _ := Next(s, Fact{Kind: DisplayOpened, Now: 80 * time.Second, Rules: rules})
	if back.Phase != Open || back.Deadline != 0 || back.Reason != "" {
		t.Errorf("back: phase %s, deadline %s, reason %s", back.Phase, back.Deadline, back.Reason)
	}
	early, _ := Next(s, Fact{Kind: Timer, Now: 89 * time.Second, Rules: rules})
	if early.Phase != Open {
		t.Errorf("a second early: phase %s", early.Phase)
	}
	over, _ := Next(s, Fact{Kind: Timer, Now: 90 * time.Second, Rules: rules, Record: "r1"})
	if over.Phase != Ended || over.Reason != session.ReasonLinkLost || over.Noticed != "no reply" || over.Record != "r1" {
		t.Errorf("over: %+v", over)
	}
}

// TestDisplayKnown: a display that is watched is told from another of its name.
func TestDisplayKnown(t *testing.T) {
	rules := Rules{OnLost: true}
	s, actions := Next(fresh(t), Fact{Kind: Seen, Info: fresh(t).Info, Rules: rules})
	if !slices.Contains(actions, WatchDisplay) {
		t.Errorf("seen: %v", actions)
	}
	s, actions = Next(s, Fact{Kind: DisplayOpened, Resume: "token:01", Rules: rules})
	if s.Resume != "token:01" || !slices.Equal(actions, []Action{Persist}) {
		t.Errorf("opened: %q, %v", s.Resume, actions)
	}
	if _, actions = Next(s, Fact{Kind: DisplayOpened, Resume: "token:01", Rules: rules}); len(actions) > 0 {
		t.Errorf("opened again: %v", actions)
	}
}

// TestRemembered: what can be learnt only while the leader lives is not
// forgotten when it is dead.
func TestRemembered(t *testing.T) {
	info := fresh(t).Info
	info.Leader, info.Audit, info.Display = session.ProcID{}, session.NoAudit, ":7"
	s, _ := Next(fresh(t), Fact{Kind: Seen, Info: info})
	if s.Leader.PID != 100 || s.Audit != 17 || s.Display != ":7" {
		t.Errorf("leader %v, audit %d, display %q", s.Leader, s.Audit, s.Display)
	}
}

// world is what stands around a login in a random walk: a daemon that carries
// out the actions, dies and comes back, and ends that take their time.
type world struct {
	t       *testing.T
	state   State
	file    *State // nil: none
	running bool   // an end's process
	asked   bool   // StartEnd has been given and not been answered
	ended   int    // ends that were carried out
	over    bool   // something has ended the login
	gone    bool
	now     time.Duration
}

func (w *world) tell(f Fact) {
	if w.gone {
		return
	}
	f.Now, f.Record, f.Rules = w.now, "r", Rules{OnLost: true, Reconnect: 20 * time.Second}
	next, actions := Next(w.state, f)
	if w.state.Phase != Open && next.Phase == Open {
		w.t.Fatalf("%s: open again", f.Kind)
	}
	w.state = next
	for i, a := range actions {
		switch a {
		case Persist:
			written := next
			w.file = &written
		case StartEnd:
			if w.running || w.asked {
				w.t.Fatalf("%s: two ends at once", f.Kind)
			}
			if !w.over {
				w.t.Fatalf("%s: the end of a live login", f.Kind)
			}
			if w.file == nil || w.file.Phase != Ended || w.file.Record == "" {
				w.t.Fatalf("%s: the end is started, and the file says %+v", f.Kind, w.file)
			}
			w.asked = true
		case Forget:
			if i != len(actions)-1 {
				w.t.Fatalf("%s: %v", f.Kind, actions)
			}
			if w.running || w.asked || w.over && w.ended < 1 {
				w.t.Fatalf("%s: forgotten before its end", f.Kind)
			}
			w.gone, w.file = true, nil
		}
	}
	if w.state.Phase == Ended && w.state.Deadline == 0 && !w.asked {
		w.t.Fatalf("%s: due, and nobody was asked", f.Kind)
	}
}

// step lets one random thing happen.
func (w *world) step(r *rand.Rand) {
	w.now += time.Duration(r.IntN(5000)) * time.Millisecond
	switch r.IntN(14) {
	case 0:
		w.tell(Fact{Kind: Seen, Info: w.state.Info})
	case 1, 2:
		w.over = true
		w.tell(Fact{Kind: []Kind{Closing, LeaderExited, Gone}[r.IntN(3)]})
	case 3:
		reason := []session.Reason{session.ReasonLinkLost, session.ReasonServerGone}[r.IntN(2)]
		w.over = true // at once, or when the grace runs out
		w.tell(Fact{Kind: DisplayEnded, Reason: reason})
		if w.state.Phase == Open && w.state.Deadline == 0 {
			w.t.Fatal("a lost display is nothing")
		}
	case 4:
		w.tell(Fact{Kind: DisplayOpened})
		if w.state.Phase == Open {
			w.over = false
		}
	case 5:
		w.over = true
		if w.state.Phase == Done && !w.gone {
			w.ended-- // once more, because somebody wants it
		}
		w.tell(Fact{Kind: Requested, Reason: session.ReasonRequested})
	case 6:
		w.tell(Fact{Kind: Reloaded})
	case 7:
		w.now += time.Duration(r.IntN(60)) * time.Second
		w.tell(Fact{Kind: Timer})
	case 8, 9:
		w.answer(r.IntN(4) > 0)
	case 10, 11:
		w.finish(r)
	case 12:
		w.crash()
	case 13:
		w.tell(Fact{Kind: Timer})
	}
}

// answer starts the end that was asked for, or fails to.
func (w *world) answer(works bool) {
	if !w.asked {
		return
	}
	w.asked = false
	if works {
		w.running = true
		w.tell(Fact{Kind: Started})
		return
	}
	w.tell(Fact{Kind: Lost})
}

func (w *world) finish(r *rand.Rand) {
	if !w.running {
		return
	}
	w.running = false
	if r.IntN(4) == 0 {
		w.tell(Fact{Kind: Lost})
		return
	}
	exit := r.IntN(4)
	if exit == ExitDone || exit == ExitUnverified {
		w.ended++
	}
	w.tell(Fact{Kind: Finished, Exit: exit})
}

// crash is the daemon's death, and its next start: what is not in the file is
// lost, and an end's process with it.
func (w *world) crash() {
	if w.file == nil {
		return
	}
	w.running, w.asked = false, false
	w.state = *w.file
	if w.state.Phase == Open && w.over && w.state.Deadline == 0 {
		w.t.Fatal("over, and not in the file")
	}
	w.tell(Fact{Kind: Resumed})
}

// TestWalk: whatever happens in whatever order, there are never two ends of a
// login at once, never one of a live one, what is due is in the file first, and
// in the end everybody whose login was over has had his end, once.
func TestWalk(t *testing.T) {
	for seed := range uint64(20_000) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := &world{t: t, state: fresh(t)}
		w.tell(Fact{Kind: Seen, Info: Info{UID: 1000, Audit: 17, Leader: session.ProcID{PID: 100, Start: 5}}})
		for range r.IntN(60) {
			w.step(r)
		}
		w.over = true
		w.tell(Fact{Kind: Gone})
		for i := 0; !w.gone; i++ {
			if i > 100 {
				t.Fatalf("seed %d: it does not come to an end: %+v", seed, w.state)
			}
			w.now += 10 * time.Minute
			w.tell(Fact{Kind: Timer})
			w.answer(true)
			if w.running {
				w.running = false
				w.ended++
				w.tell(Fact{Kind: Finished, Exit: ExitDone})
			}
		}
		if w.ended != 1 {
			t.Fatalf("seed %d: ended %d times", seed, w.ended)
		}
	}
}

func TestBackoff(t *testing.T) {
	last := time.Duration(0)
	for n := range 100 {
		b := Backoff(n)
		if b < last || b < time.Second || b > 5*time.Minute {
			t.Errorf("after %d attempts: %s", n, b)
		}
		last = b
	}
	if last != 5*time.Minute {
		t.Errorf("it does not become five minutes, but %s", last)
	}
}

// TestUnverified: an end that had to leave somebody is on record, and over;
// asked for again there is another one, under a record of its own.
func TestUnverified(t *testing.T) {
	s, _ := Next(fresh(t), Fact{Kind: Closing, Record: "r1"})
	s, _ = Next(s, Fact{Kind: Started})
	s, actions := Next(s, Fact{Kind: Finished, Exit: ExitUnverified})
	if s.Phase != Done || s.Exit != ExitUnverified || !slices.Equal(actions, []Action{Persist}) {
		t.Fatalf("phase %s, exit %d, %v", s.Phase, s.Exit, actions)
	}
	s, actions = Next(s, Fact{Kind: Requested, Reason: session.ReasonRequested, Record: "r2"})
	if s.Phase != Ended || s.Record != "r2" || !slices.Contains(actions, StartEnd) {
		t.Errorf("phase %s, record %s, %v", s.Phase, s.Record, actions)
	}
}
