package display

import (
	"math/rand/v2"
	"testing"
	"time"

	"xexit/internal/session"
)

// An sshd of this host that does not read is no end, whatever else is seen,
// and its time does not count.
func TestUnreadSteps(t *testing.T) {
	unread := func(l LinkSample) Observation {
		l.Unread = 4
		return Observation{Kind: Tick, Link: l}
	}
	tick := func(l LinkSample) Observation { return Observation{Kind: Tick, Link: l} }
	short := func(th *Thresholds) { th.Blind, th.Prove = 12*s, 6*s }
	for _, c := range []script{
		{"behind a relay, stopped and not", Relayed, short, []step{
			{5 * s, tick(alive(0)), OK}, // the question
			{10 * s, unread(alive(0)), BLIND},
			{12 * s, unread(alive(0)), BLIND},
			{14 * s, unread(alive(0)), BLIND},
			{15 * s, unread(alive(0)), BUSY},
			{16 * s, unread(alive(0)), BUSY},
			{17 * s, unread(alive(0)), BUSY}, // blind-after has passed
			{18 * s, unread(alive(0)), BUSY},
			{19 * s, tick(alive(0)), BLIND}, // it reads: the age starts anew
			{24 * s, tick(alive(0)), BLIND},
			{29 * s, tick(alive(0)), BLIND},
			{30 * s, tick(alive(0)), GONE},
		}, session.ReasonBlind},
		{"behind a relay, stopped just before the end", Relayed, short, []step{
			{5 * s, tick(alive(0)), OK},
			{10 * s, tick(alive(0)), BLIND},
			{15 * s, unread(alive(0)), BLIND},
			{16 * s, unread(alive(0)), BLIND},
			{17 * s, unread(alive(0)), BLIND},
			{18 * s, tick(alive(0)), GONE},
		}, session.ReasonBlind},
		{"over a carrier, stopped while the far end is asked", Carried, short, []step{
			{1 * s, tick(over(0, 0, 9)), OK},
			{2 * s, tick(over(0, 0, 9)), OK},
			{4 * s, tick(over(0, 0, 9)), OK},
			{6 * s, tick(over(0, 0, 9)), BUSY},
			{7 * s, tick(over(0, 0, 9)), CONFIRM},
			{9 * s, tick(over(0, 0, 9)), CONFIRM},
			{11 * s, unread(over(0, 0, 9)), CONFIRM},
			{13 * s, unread(over(0, 0, 9)), CONFIRM},
			{15 * s, unread(over(0, 0, 9)), CONFIRM},
			{16 * s, unread(over(0, 0, 9)), BUSY}, // what was tried does not count
			{18 * s, unread(over(0, 0, 9)), BUSY},
			{19 * s, tick(over(0, 0, 9)), BUSY},
			{21 * s, tick(over(0, 0, 9)), BUSY},
			{23 * s, tick(over(0, 0, 9)), BUSY},
			{24 * s, tick(over(0, 0, 9)), CONFIRM},
		}, ""},
		{"over a carrier, stopped before the far end is asked", Carried, short, []step{
			{1 * s, tick(over(0, 0, 9)), OK},
			{2 * s, tick(over(0, 0, 9)), OK},
			{4 * s, tick(over(0, 0, 9)), OK},
			{6 * s, unread(over(0, 0, 9)), BUSY},
			{7 * s, unread(over(0, 0, 9)), BUSY},
			{8 * s, unread(over(0, 0, 9)), BUSY},
			{9 * s, tick(over(0, 0, 9)), CONFIRM}, // not for long
		}, ""},
		{"over a carrier, stopped just before the end", Carried, func(th *Thresholds) { th.LostAfter, th.Prove = 4*s, 6*s }, []step{
			{1 * s, tick(over(0, 0, 9)), OK},
			{3 * s, tick(over(0, 0, 9)), OK},
			{5 * s, tick(over(0, 0, 9)), OK},
			{7 * s, tick(over(0, 0, 9)), CONFIRM},
			{9 * s, tick(over(0, 0, 9)), CONFIRM},
			{11 * s, tick(over(0, 0, 9)), CONFIRM},
			{13 * s, unread(over(0, 0, 9)), CONFIRM},
			{15 * s, unread(over(0, 0, 9)), CONFIRM},
			{16 * s, unread(over(0, 0, 9)), CONFIRM},
			{17 * s, tick(over(0, 0, 9)), GONE},
		}, session.ReasonBlind},
		{"over a carrier, what the watcher did not see", Carried, short, []step{
			{1 * s, tick(over(0, 0, 9)), OK},
			{3 * s, tick(over(0, 0, 9)), OK},
			{5 * s, tick(over(0, 0, 9)), OK},
			{7 * s, tick(over(0, 0, 9)), CONFIRM},
			{8 * s, unread(over(0, 0, 9)), CONFIRM},
			{60 * s, unread(over(0, 0, 9)), CONFIRM}, // it was stopped itself
			{62 * s, unread(over(0, 0, 9)), CONFIRM},
			{64 * s, unread(over(0, 0, 9)), CONFIRM},
			{65 * s, unread(over(0, 0, 9)), BUSY},
		}, ""},
		{"over a carrier, the silence while sshd is stopped is not the link's", Carried, nil, []step{
			{1 * s, tick(over(0, 0, 9)), OK},
			{3 * s, unread(over(2*s, 0, 9)), OK},
			{5 * s, unread(over(4*s, 0, 9)), OK},
			{6 * s, unread(over(5*s, 0, 9)), BUSY},
			{8 * s, unread(over(7*s, 0, 9)), BUSY},
			{10 * s, unread(over(9*s, 0, 9)), BUSY},
			{12 * s, unread(over(11*s, 0, 9)), BUSY},
			{14 * s, unread(over(13*s, 0, 9)), BUSY},
			{16 * s, unread(over(15*s, 0, 9)), BUSY},
			{18 * s, tick(over(17*s, 4, 9)), SUSPECT}, // it was cut meanwhile
			{20 * s, tick(over(19*s, 4, 9)), SUSPECT},
			{22 * s, tick(over(21*s, 5, 9)), SUSPECT},
			{24 * s, tick(over(23*s, 5, 9)), SUSPECT},
			{26 * s, tick(over(25*s, 5, 9)), SUSPECT},
			{28 * s, tick(over(27*s, 6, 9)), CONFIRM},
			{30 * s, tick(over(29*s, 6, 9)), GONE},
		}, session.ReasonLinkLost},
		{"the carrier's link dies while sshd is stopped", Carried, nil, []step{
			{1 * s, tick(over(0, 0, 9)), OK},
			{3 * s, unread(over(3*s, 3, 9)), OK},
			{5 * s, unread(over(5*s, 4, 9)), OK},
			{6 * s, unread(over(6*s, 4, 9)), SUSPECT},
			{8 * s, unread(over(8*s, 5, 9)), SUSPECT},
			{10 * s, unread(over(10*s, 5, 9)), SUSPECT},
			{12 * s, unread(over(12*s, 6, 9)), CONFIRM},
			{13 * s, unread(over(13*s, 6, 9)), CONFIRM},
			{14*s + s/2, unread(over(14*s+s/2, 6, 9)), GONE},
		}, session.ReasonLinkLost},
	} {
		t.Run(c.name, c.play)
	}
}

// halting is a world in which sshd stops now and then, and the far end dies or
// stops answering. Of what the watcher sends, sshd takes up all that it can.
type halting struct {
	stops    [][2]time.Duration
	deadAt   time.Duration // the far end: nothing comes from it any more
	busyAt   time.Duration // the server: it answers nothing
	unread   uint32
	received uint64
	asked    bool
	stopped  time.Duration // since when sshd is; never: it runs
	tries    int
	false    bool // a try, or an end, after sshd had not read for long
}

func (w *halting) at(now time.Duration) {
	w.stopped = never
	for _, st := range w.stops {
		if now >= st[0] && now < st[1] {
			w.stopped = st[0]
		}
	}
	if w.stopped == never {
		w.unread = 0
	}
}

func (w *halting) run(m Machine, until time.Duration) (Machine, time.Duration) {
	now := time.Duration(0)
	for now < until && !m.State().Final() && !w.false {
		watching := m.Watching()
		o := Observation{Kind: Tick, Now: m.Wake()}
		w.at(o.Now)
		if w.asked && w.stopped == never && o.Now < w.deadAt && o.Now < w.busyAt {
			o.Kind, o.Now, w.asked = Answer, max(now, o.Now-s/2), false // it came before
			w.received += 64
		}
		now = o.Now
		o.Link = LinkSample{Known: true, Silence: s / 10, Received: w.received}
		if watching {
			o.Link.Unread = w.unread
		}
		var a Actions
		m, a = m.Step(o)
		long := w.stopped != never && now-w.stopped > 3*m.th.Patience+2*s
		w.false = w.false || long && (a.Connect || m.State().Final() || watching && m.State() != BUSY && m.State() != OK)
		if a.Ping || a.NoOp {
			w.asked = w.asked || a.Ping
			w.unread += 4
		}
		if w.at(now); a.Connect && w.stopped == never && now < w.deadAt {
			w.received += 116
			w.tries++
		}
	}
	return m, now
}

// However often and long sshd stops, it is no end; and an end behind it is
// seen, after its time from when it read again.
func TestUnreadWorlds(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 5))
		random := func(most time.Duration) time.Duration { return time.Duration(r.Int64N(int64(most))) }
		w := &halting{deadAt: never, busyAt: never}
		for at := random(100 * s); len(w.stops) < 5; at += 30*s + random(200*s) {
			st := [2]time.Duration{at, at + 20*s + random(400*s)}
			w.stops, at = append(w.stops, st), st[1]
		}
		last := w.stops[4][1]
		link := []Link{Carried, Relayed}[seed%2]
		if link == Carried && r.IntN(2) == 0 {
			w.busyAt = random(last)
		}
		dies := r.IntN(2) == 0
		if dies {
			w.deadAt = last + random(60*s)
		}
		th := NewThresholds(link, 0, 0, 0, 0)
		m, end := w.run(NewMachine(th, link, false, true, 0), last+2*time.Hour)
		if w.false {
			t.Fatalf("seed %d, %v: a try or an end at %v while sshd was stopped, %v (%s)", seed, link, end, w.stops, m.words())
		}
		if !dies && m.State().Final() || dies && (m.State() != GONE || m.End().Reason != session.ReasonBlind || end < w.deadAt) {
			t.Fatalf("seed %d, %v, dead at %v: %v at %v (%s)", seed, link, w.deadAt, m.State(), end, m.words())
		}
		if w.tries > 16 {
			t.Errorf("seed %d: %d connections", seed, w.tries)
		}
	}
}

// A server that takes nothing for long fills its channel's window, and then a
// living sshd does not read either: that stops nothing from being proved.
func TestUnreadFullWindow(t *testing.T) {
	m := machine(Carried, nil)
	received, connects, unread := uint64(9), 0, uint32(0)
	for i := 0; m.Wake() < 3*time.Hour && !m.State().Final(); i++ {
		if m.noOps >= enoughNoOps {
			unread = 4
		}
		var a Actions
		m, a = m.Step(Observation{Kind: Tick, Now: m.Wake(), Link: LinkSample{Known: true, Received: received, Unread: unread}})
		if a.Connect {
			connects++
			if unread == 0 {
				received += 116
			}
		}
		if unread > 0 && a.NoOp {
			t.Fatal("more is sent that nobody reads")
		}
	}
	if unread == 0 || m.State() != GONE || m.End().Reason != session.ReasonBlind || connects < 4 {
		t.Errorf("%v, %d connections, unread %d (%s)", m.State(), connects, unread, m.words())
	}
}
