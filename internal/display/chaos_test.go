package display

import (
	"math/rand/v2"
	"testing"
	"time"

	"xexit/internal/session"
)

// TestSomethingIsAlwaysDue: whatever is observed in whatever order, a machine
// that has not decided wakes up again by itself; and once the connection is
// gone and nobody answers any more it decides that the display is.
func TestSomethingIsAlwaysDue(t *testing.T) {
	for seed := range uint64(4000) {
		r := rand.New(rand.NewPCG(seed, 17))
		link := []Link{Local, Direct, Relayed, Carried}[r.IntN(4)]
		m := NewMachine(NewThresholds(link, 0, 0, 0, 0), link, r.IntN(2) == 0, r.IntN(2) == 0, 0)
		now := time.Duration(0)
		trying := false
		step := func(o Observation) {
			o.Now = now
			var a Actions
			m, a = m.Step(o)
			trying = a.Connect || trying && !a.Abort && o.Kind != Tried
			if !m.State().Final() && m.Wake() == never {
				t.Fatalf("seed %d: %v over %d, and nothing is due (%s)", seed, m.State(), link, m.words())
			}
		}
		for n := 0; n < 400 && !m.State().Final(); n++ {
			now = max(now, min(m.Wake(), now+time.Duration(r.IntN(8000))*time.Millisecond))
			step(chaos(r, trying))
		}
		if m.State().Final() {
			continue
		}
		now += time.Second
		step(Observation{Kind: Broken, Cause: "EOF", Peer: PeerDead})
		for n := 0; n < 2000 && !m.State().Final(); n++ {
			if trying {
				step(Observation{Kind: Tried, Outcome: NobodyThere, Peer: PeerDead})
				continue
			}
			now = max(now, m.Wake())
			step(Observation{Kind: Tick, Peer: PeerDead})
		}
		if !m.State().Final() || m.End().Reason == session.ReasonBlind {
			t.Fatalf("seed %d: broken, nobody there: %v, %q (%s)", seed, m.State(), m.End().Reason, m.words())
		}
	}
}

// chaos is any observation that need not end anything.
func chaos(r *rand.Rand, trying bool) Observation {
	o := Observation{Kind: Tick, Peer: Peer(r.IntN(4)), Link: LinkSample{
		Known: r.IntN(8) > 0, Unacked: uint32(r.IntN(3)), Retransmits: uint8(r.IntN(7)), Probes: uint8(r.IntN(4)),
		Silence: time.Duration(r.IntN(20000)) * time.Millisecond,
		Sent:    time.Duration(r.IntN(9000)) * time.Millisecond, Next: time.Duration(r.IntN(9000)) * time.Millisecond,
		Received: uint64(r.IntN(4)), Vanished: r.IntN(40) == 0,
	}}
	switch r.IntN(12) {
	case 0:
		o.Kind = Answer
	case 1:
		o.Kind = Traffic
	case 2:
		o.Kind, o.Others = Clients, 1+r.IntN(3)
	case 3:
		o.Kind = Reached
	case 4:
		if r.IntN(10) == 0 {
			o.Kind, o.Cause = Broken, "EOF"
		}
	case 5, 6:
		if trying {
			o.Kind = Tried
			o.Outcome = []Outcome{SameDisplay, NobodyThere, NoRoute, Dropped, Full, Unable}[r.IntN(6)]
		}
	}
	return o
}
