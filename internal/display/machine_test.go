package display

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"xexit/internal/session"
)

const s = time.Second

// steps is a little script: observations at given times, and the state after
// each.
type step struct {
	at   time.Duration
	o    Observation
	want State
}

// script is what a machine sees, and what it ends with.
type script struct {
	name   string
	link   Link
	tune   func(*Thresholds)
	steps  []step
	reason session.Reason
}

func (c script) play(t *testing.T) {
	m := machine(c.link, c.tune)
	for i, st := range c.steps {
		st.o.Now = st.at
		m, _ = m.Step(st.o)
		if m.State() != st.want {
			t.Fatalf("step %d, at %v: %v, want %v (%s)", i, st.at, m.State(), st.want, m.words())
		}
	}
	if m.End().Reason != c.reason {
		t.Errorf("reason %q, want %q", m.End().Reason, c.reason)
	}
}

func machine(link Link, tune func(*Thresholds)) Machine {
	th := NewThresholds(link, 0, 0, 0, 0)
	if tune != nil {
		tune(&th)
	}
	return NewMachine(th, link, true, true, 0)
}

func alive(silence time.Duration) LinkSample { return LinkSample{Known: true, Silence: silence} }

func cut(silence time.Duration, retransmits uint8) LinkSample {
	return LinkSample{Known: true, Unacked: 1, Retransmits: retransmits, Silence: silence}
}

func frozenCut(silence time.Duration, probes uint8) LinkSample {
	return LinkSample{Known: true, Probes: probes, Silence: silence}
}

func TestStep(t *testing.T) {
	tick := func(l LinkSample) Observation { return Observation{Kind: Tick, Link: l} }
	unix := func(p Peer) Observation { return Observation{Kind: Tick, Peer: p} }
	eof := Observation{Kind: Broken, Cause: "EOF"}
	tried := func(o Outcome, p Peer) Observation {
		return Observation{Kind: Tried, Outcome: o, Cause: "reconnect", Peer: p}
	}
	reached := Observation{Kind: Reached}
	answer := Observation{Kind: Answer}
	nobody := Observation{Kind: Clients}
	somebody := Observation{Kind: Clients, Others: 1, Resident: [maxResident]uint64{7}}
	leader := Observation{Kind: LeaderEnd}

	for _, c := range []script{
		{"a stopped local server is busy for as long as it takes", Local, nil, []step{
			{30 * s, unix(PeerAlive), OK}, // the question goes out
			{35 * s, unix(PeerStopped), BUSY},
			{36 * s, unix(PeerStopped), BUSY},
			{40 * s, unix(PeerStopped), BUSY},
			{45 * s, answer, OK},
		}, ""},
		{"hung-after ends it where the site wants that", Local, func(th *Thresholds) { th.Hung = 20 * s }, []step{
			{30 * s, unix(PeerAlive), OK},
			{35 * s, unix(PeerAlive), BUSY},
			{40 * s, unix(PeerAlive), BUSY},
			{45 * s, unix(PeerAlive), BUSY},
			{50 * s, unix(PeerAlive), GONE},
		}, session.ReasonServerGone},
		{"EOF and nobody there", Local, nil, []step{
			{1 * s, eof, CONFIRM}, {1 * s, tried(NobodyThere, PeerDead), GONE},
		}, session.ReasonServerGone},
		{"EOF before the process is seen to be dead", Local, nil, []step{
			{1 * s, eof, CONFIRM},
			{1 * s, tried(NobodyThere, PeerAlive), CONFIRM},
			{1*s + time.Millisecond, tick(LinkSample{}), CONFIRM},
			{1*s + time.Millisecond, tried(NobodyThere, PeerAlive), CONFIRM},
			{1*s + 3*time.Millisecond, tick(LinkSample{}), CONFIRM},
			{1*s + 3*time.Millisecond, tried(NobodyThere, PeerAlive), GONE},
		}, session.ReasonServerGone},
		{"only our connection broke", Local, nil, []step{
			{1 * s, eof, CONFIRM},
			{1 * s, reached, CONFIRM},
			{1 * s, tried(SameDisplay, PeerAlive), OK},
			{5 * s, eof, CONFIRM},
			{5 * s, tried(OtherDisplay, PeerAlive), GONE},
		}, session.ReasonServerGone},
		{"our connection broke while the server is stopped", Local, nil, []step{
			{1 * s, eof, CONFIRM},
			{1 * s, reached, CONFIRM},
			{5 * s, unix(PeerStopped), CONFIRM},
			{5 * s, reached, CONFIRM},
			{9 * s, unix(PeerStopped), CONFIRM},
			{9 * s, reached, CONFIRM},
			{10 * s, tried(SameDisplay, PeerAlive), OK},
		}, ""},
		{"the server is full", Local, nil, []step{
			{1 * s, eof, CONFIRM},
			{1 * s, tried(Full, PeerAlive), CONFIRM},
			{2 * s, unix(PeerAlive), CONFIRM},
			{2 * s, tried(Full, PeerAlive), CONFIRM},
			{3 * s, unix(PeerAlive), CONFIRM},
			{3 * s, tried(SameDisplay, PeerAlive), OK},
		}, ""},
		{"a full server refuses once", Direct, nil, []step{
			{1 * s, eof, CONFIRM},
			{1 * s, tried(Full, PeerUnknown), CONFIRM},
			{2 * s, tick(alive(0)), CONFIRM},
			{2 * s, tried(Full, PeerUnknown), CONFIRM},
			{3 * s, tick(alive(0)), CONFIRM},
			{3 * s, tried(Full, PeerUnknown), CONFIRM},
			{4 * s, tick(alive(0)), CONFIRM},
			{4 * s, tried(NobodyThere, PeerUnknown), CONFIRM},
			{5 * s, tick(alive(0)), CONFIRM},
			{5 * s, tried(SameDisplay, PeerUnknown), OK},
		}, ""},
		{"a full server ends", Direct, nil, []step{
			{1 * s, eof, CONFIRM},
			{1 * s, tried(Full, PeerUnknown), CONFIRM},
			{2 * s, tick(alive(0)), CONFIRM},
			{2 * s, tried(NobodyThere, PeerUnknown), CONFIRM},
			{3 * s, tick(alive(0)), CONFIRM},
			{3 * s, tried(NobodyThere, PeerUnknown), CONFIRM},
			{4 * s, tick(alive(0)), CONFIRM},
			{4 * s, tried(NobodyThere, PeerUnknown), GONE},
		}, session.ReasonServerGone},
		{"another server that does not let us in", Local, nil, []step{
			{1 * s, eof, CONFIRM}, {1 * s, tried(NoEntry, PeerDead), GONE},
		}, session.ReasonServerGone},
		{"a listening socket that outlived its server", Local, nil, []step{
			{1 * s, eof, CONFIRM}, {1 * s, reached, CONFIRM}, {5 * s, unix(PeerDead), GONE},
		}, session.ReasonServerGone},
		{"the process died and somebody holds its connections open", Local, nil, []step{
			{30 * s, unix(PeerUnknown), OK}, {35 * s, unix(PeerDead), CONFIRM}, {35 * s, tried(NobodyThere, PeerDead), GONE},
		}, session.ReasonServerGone},
		{"who called listen need not be who serves", Local, nil, []step{
			{30 * s, unix(PeerUnknown), OK},
			{35 * s, unix(PeerDead), CONFIRM},
			{35 * s, tried(SameDisplay, PeerDead), OK},
			{65 * s, unix(PeerUnknown), OK},
			{70 * s, unix(PeerDead), BUSY},
			{71 * s, answer, OK},
		}, ""},
		{"a stopped server on TCP", Direct, nil, []step{
			{5 * s, tick(alive(0)), OK}, {10 * s, tick(alive(1 * s)), BUSY}, {11 * s, tick(alive(1 * s)), BUSY}, {12 * s, answer, OK},
		}, ""},
		{"a dead link", Direct, nil, []step{
			{5 * s, tick(alive(1 * s)), OK},
			{10 * s, tick(cut(6*s, 4)), SUSPECT},
			{11 * s, tick(cut(7*s, 5)), SUSPECT},
			{12 * s, tick(cut(8*s, 5)), SUSPECT},
			{13 * s, tick(cut(9*s, 5)), SUSPECT},
			{14 * s, tick(cut(10*s, 5)), SUSPECT},
			{15 * s, tick(cut(11*s, 5)), SUSPECT},
			{16 * s, tick(cut(12*s, 5)), CONFIRM},
			{16*s + s/2, tick(cut(12*s+s/2, 5)), CONFIRM},
			{17 * s, tick(cut(13*s, 5)), CONFIRM},
			{17*s + s/2, tick(cut(13*s+s/2, 6)), CONFIRM},
			{18 * s, tick(cut(14*s, 6)), CONFIRM},
			{18*s + s/2, tick(cut(14*s+s/2, 6)), GONE},
		}, session.ReasonLinkLost},
		{"no decision before two new connections had their time", Direct, nil, []step{
			{5 * s, tick(alive(1 * s)), OK},
			{10 * s, tick(cut(6*s, 0)), SUSPECT},
			{11 * s, tick(cut(7*s, 0)), SUSPECT},
			{12 * s, tick(cut(8*s, 0)), SUSPECT},
			{13 * s, tick(cut(9*s, 0)), SUSPECT},
			{14 * s, tick(cut(10*s, 0)), SUSPECT},
			{15 * s, tick(cut(11*s, 0)), SUSPECT},
			{16 * s, tick(cut(12*s, 0)), SUSPECT},
			{17 * s, tick(cut(13*s, 0)), SUSPECT},
			{18 * s, tick(cut(14*s, 0)), SUSPECT},
			{19 * s, tick(cut(15*s, 4)), CONFIRM},
			{19*s + s/2, tick(cut(15*s+s/2, 4)), CONFIRM},
			{20 * s, tick(cut(16*s, 4)), GONE},
		}, session.ReasonLinkLost},
		{"a link that is silent, and nothing was sent again yet", Direct, nil, []step{
			{5 * s, tick(alive(2 * s)), OK}, {10 * s, tick(cut(7*s, 0)), SUSPECT}, {11 * s, tick(cut(11*s, 0)), SUSPECT}, {12 * s, tick(cut(15*s, 0)), SUSPECT},
		}, ""},
		{"a kernel that repeats itself slowly: more tries of ours", Direct, nil, []step{
			{5 * s, tick(alive(2 * s)), OK},
			{10 * s, tick(cut(7*s, 1)), SUSPECT},
			{11 * s, tick(cut(11*s, 2)), SUSPECT},
			{12 * s, tick(cut(12*s, 2)), CONFIRM},
			{12*s + s/2, tick(cut(12*s+s/2, 2)), CONFIRM},
			{13 * s, tick(cut(13*s, 2)), CONFIRM},
			{13*s + s/2, tick(cut(13*s+s/2, 2)), CONFIRM},
			{14 * s, tick(cut(14*s, 2)), CONFIRM},
			{14*s + s/2, tick(cut(14*s+s/2, 2)), CONFIRM},
			{15 * s, tick(cut(15*s, 2)), GONE},
		}, session.ReasonLinkLost},
		{"frozen, then cut", Direct, nil, []step{
			{5 * s, tick(alive(2 * s)), OK},
			{10 * s, tick(alive(1 * s)), BUSY},
			{11 * s, tick(frozenCut(2*s, 1)), SUSPECT},
			{12 * s, tick(frozenCut(12*s, 5)), CONFIRM},
			{13 * s, tick(frozenCut(13*s, 5)), CONFIRM},
			{14 * s, tick(frozenCut(14*s, 6)), CONFIRM},
			{14*s + s/2, tick(frozenCut(14*s+s/2, 6)), GONE},
		}, session.ReasonLinkLost},
		{"the old connection speaks again", Direct, nil, []step{
			{5 * s, tick(alive(2 * s)), OK},
			{10 * s, tick(cut(7*s, 4)), SUSPECT},
			{12 * s, tick(cut(12*s, 5)), CONFIRM},
			{12*s + s/2, tick(alive(0)), SUSPECT},
			{13 * s, answer, OK},
		}, ""},
		{"the link heals and the server is frozen", Direct, nil, []step{
			{5 * s, tick(alive(2 * s)), OK},
			{10 * s, tick(cut(7*s, 4)), SUSPECT},
			{12 * s, tick(cut(12*s, 5)), CONFIRM},
			{13 * s, reached, CONFIRM},
			{14 * s, tick(cut(14*s, 5)), CONFIRM},
			{15 * s, tick(cut(15*s, 5)), CONFIRM},
			{16 * s, tick(cut(16*s, 5)), SUSPECT},
		}, ""},
		{"the terminal was power-cycled", Direct, nil, []step{
			{5 * s, tick(alive(2 * s)), OK},
			{10 * s, tick(cut(7*s, 4)), SUSPECT},
			{12 * s, tick(cut(12*s, 5)), CONFIRM},
			{13 * s, reached, CONFIRM},
			{13 * s, tried(OtherDisplay, PeerUnknown), GONE},
		}, session.ReasonServerGone},
		{"TCP broke and the host is off", Direct, nil, []step{
			{1 * s, eof, CONFIRM}, {3 * s, tick(LinkSample{}), CONFIRM}, {5 * s, tick(LinkSample{}), GONE},
		}, session.ReasonLinkLost},
		{"the kernel gave the connection up", Direct, nil, []step{
			{1 * s, Observation{Kind: Broken, Cause: "timed out", LinkError: true}, CONFIRM},
			{1 * s, tried(NoRoute, PeerUnknown), CONFIRM},
			{1 * s, tick(LinkSample{}), CONFIRM},
			{1*s + time.Millisecond, tick(LinkSample{}), CONFIRM},
			{1*s + time.Millisecond, tried(NoRoute, PeerUnknown), CONFIRM},
			{1*s + 3*time.Millisecond, tick(LinkSample{}), CONFIRM},
			{1*s + 3*time.Millisecond, tried(NoRoute, PeerUnknown), GONE},
		}, session.ReasonLinkLost},
		{"behind a relay", Relayed, nil, []step{
			{5 * s, tick(alive(0)), OK},
			{10 * s, tick(alive(0)), BLIND},
			{15 * s, tick(alive(0)), BLIND},
			{20 * s, tick(alive(0)), BLIND},
			{20 * s, answer, OK},
			{25 * s, tick(alive(0)), OK},
			{30 * s, tick(alive(0)), BLIND},
			{31 * s, Observation{Kind: Traffic}, BLIND},
			{36 * s, tick(alive(0)), BLIND},
			{41 * s, tick(alive(0)), BLIND},
			{46 * s, tick(alive(0)), BLIND},
			{51 * s, tick(alive(0)), BLIND},
			{56 * s, tick(alive(0)), BLIND},
			{61 * s, tick(alive(0)), BLIND},
			{66 * s, tick(alive(0)), BLIND},
			{71 * s, tick(alive(0)), BLIND},
			{76 * s, tick(alive(0)), BLIND},
			{81 * s, tick(alive(0)), BLIND},
			{86 * s, tick(alive(0)), BLIND},
			{91 * s, tick(alive(0)), GONE},
		}, session.ReasonBlind},
		{"LTSP_XEXIT says so", Local, nil, []step{
			{1 * s, Observation{Kind: Command, Value: "die"}, OK}, {2 * s, Observation{Kind: Command, Value: "DIE"}, ENDED},
		}, session.ReasonRequested},
		{"the leader left and nobody is there", Local, nil, []step{
			{1 * s, nobody, OK}, {2 * s, nobody, OK}, // counted, but the leader lives
			{3 * s, leader, OK}, {3 * s, somebody, OK}, {8 * s, nobody, OK}, {9 * s, nobody, LEFT},
		}, session.ReasonLogout},
		{"one count is not enough: somebody may be connecting just then", Local, nil, []step{
			{1 * s, nobody, OK}, {3 * s, leader, OK}, {3 * s, nobody, OK}, {4 * s, somebody, OK}, {9 * s, nobody, OK}, {10 * s, nobody, LEFT},
		}, session.ReasonLogout},
		{"the leader left and then the server", Local, nil, []step{
			{3 * s, leader, OK}, {3 * s, somebody, OK}, {4 * s, eof, CONFIRM}, {4 * s, tried(NobodyThere, PeerDead), GONE},
		}, session.ReasonLogout},
		{"the leader left, and the link was cut later", Direct, nil, []step{
			{3 * s, leader, OK},
			{3 * s, somebody, OK},
			{4 * s, Observation{Kind: Broken, Cause: "ETIMEDOUT", LinkError: true}, CONFIRM},
			{4 * s, tried(NoRoute, PeerUnknown), CONFIRM},
		}, ""},
		{"the server failed, and so the leader", Local, nil, []step{
			{4 * s, eof, CONFIRM}, {4 * s, leader, CONFIRM}, {4 * s, tried(NobodyThere, PeerDead), GONE},
		}, session.ReasonServerGone},
		{"final is final", Local, nil, []step{
			{1 * s, Observation{Kind: Command, Value: "EXIT"}, ENDED}, {2 * s, eof, ENDED}, {2 * s, answer, ENDED},
		}, session.ReasonRequested},
	} {
		t.Run(c.name, c.play)
	}
}

func TestLeaderUnknown(t *testing.T) {
	m := NewMachine(NewThresholds(Local, 0, 0, 0, 0), Local, true, false, 0)
	count := func(at time.Duration, names ...uint64) State {
		o := Observation{Kind: Clients, Now: at, Others: len(names)}
		copy(o.Resident[:], names)
		for m.Wake() < at-s { // answered in between, so never late
			m, _ = m.Step(Observation{Kind: Tick, Now: m.Wake()})
			m, _ = m.Step(Observation{Kind: Answer, Now: m.asked})
		}
		m, _ = m.Step(o)
		return m.State()
	}
	for i, c := range []struct {
		at    time.Duration
		names []uint64
		want  State
	}{
		{1 * s, []uint64{1}, OK},
		{30 * s, nil, OK},
		{60 * s, nil, OK},
		{90 * s, nil, OK},
		{120 * s, nil, OK}, // nobody had settled
		{150 * s, []uint64{2, 3}, OK},
		{180 * s, []uint64{3}, OK},
		{210 * s, []uint64{4, 3}, OK}, // 3 has
		{240 * s, nil, OK},
		{270 * s, nil, OK},
		{280 * s, []uint64{5}, OK}, // somebody came back
		{310 * s, nil, OK},
		{340 * s, nil, OK},
		{370 * s, nil, LEFT},
	} {
		if got := count(c.at, c.names...); got != c.want {
			t.Fatalf("%d: %v, want %v", i, got, c.want)
		}
	}
}

// A watcher that was stopped, or whose machine slept, discards the age of the
// unanswered question: the naive deadline has long passed.
func TestHeldUp(t *testing.T) {
	for _, c := range []struct {
		name string
		link Link
		o    Observation
	}{
		{"stopped, direct", Direct, Observation{Kind: Tick, Now: 70 * s, Link: cut(65*s, 9)}},
		{"asleep, direct", Direct, Observation{Kind: Tick, Now: 10 * s, Slept: 60 * s, Link: cut(65*s, 9)}},
		{"stopped, over a carrier", Carried, Observation{Kind: Tick, Now: 70 * s, Link: cut(65*s, 9)}},
		{"asleep, over a carrier", Carried, Observation{Kind: Tick, Now: 6 * s, Slept: 60 * s, Link: cut(65*s, 9)}},
		{"stopped, behind a carrier", Carried, Observation{Kind: Tick, Now: 170 * s, Link: alive(0)}},
		{"stopped, behind a relay", Relayed, Observation{Kind: Tick, Now: 170 * s, Link: alive(0)}},
		{"asleep, behind a relay", Relayed, Observation{Kind: Tick, Now: 10 * s, Slept: 600 * s, Link: alive(0)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := machine(c.link, nil)
			m, a := m.Step(Observation{Kind: Tick, Now: m.Wake(), Link: alive(0)})
			if !a.Ping {
				t.Fatal("no question asked")
			}
			m, a = m.Step(c.o)
			if m.State() != OK || !strings.Contains(a.Note, "anew") {
				t.Fatalf("%v, %q", m.State(), a.Note)
			}
			// The same evidence, and nobody late: now it counts, after its time.
			began, at := c.o.Now, c.o.Now
			for !m.State().Final() {
				if at = m.Wake(); at > began+5*time.Minute {
					t.Fatal("never noticed")
				}
				o := Observation{Kind: Tick, Now: at, Link: c.o.Link}
				if o.Link.Silence > 0 {
					o.Link.Silence += at - began
				}
				m, _ = m.Step(o)
			}
			if at-began < m.th.Decide {
				t.Errorf("decided %v later, on evidence of before", at-began)
			}
		})
	}
}

func TestThresholdsFollowLostAfter(t *testing.T) {
	for _, lost := range []time.Duration{s, 3 * s, 15 * s, time.Minute, time.Hour} {
		for _, link := range []Link{Local, Direct, Relayed, Carried} {
			th := NewThresholds(link, 0, lost, 0, 0)
			if th.Confirm >= th.Decide || th.Decide >= th.LostAfter || th.Look > th.Patience || th.Backstop <= th.LostAfter || th.Hung != 0 {
				t.Errorf("%v, link %d: %+v", lost, link, th)
			}
		}
	}
}

func TestStateNames(t *testing.T) {
	seen := map[string]bool{}
	for st := OK; st <= GONE; st++ {
		if n := st.String(); seen[n] || n == "" || n == "other" {
			t.Errorf("state %d is %q", st, n)
		} else {
			seen[n] = true
		}
	}
	if got := fmt.Sprint(State(99)); got != "other" {
		t.Errorf("unknown state is %q", got)
	}
}
