package display

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"xexit/internal/session"
)

// over is a carrier's sample.
func over(silence time.Duration, retransmits uint8, received uint64) LinkSample {
	l := LinkSample{Known: true, Retransmits: retransmits, Silence: silence, Received: received}
	if retransmits > 0 {
		l.Unacked, l.Sent = 1, s
	}
	return l
}

// dueIn is a sample with a retransmission due.
func dueIn(l LinkSample, sent, next time.Duration) LinkSample {
	l.Sent, l.Next = sent, next
	return l
}

// What the carrier says counts as on a direct link; and it must be the
// display's.
func TestCarriedSteps(t *testing.T) {
	tick := func(l LinkSample) Observation { return Observation{Kind: Tick, Link: l} }
	eof := Observation{Kind: Broken, Cause: "EOF"}
	tried := func(o Outcome, p Peer) Observation {
		return Observation{Kind: Tried, Outcome: o, Cause: "reconnect", Peer: p}
	}
	for _, c := range []script{
		{"the carrier's link is dead", Carried, nil, []step{
			{s, tick(over(0, 0, 0)), OK},
			{3 * s, tick(over(3*s, 1, 0)), OK},
			{9 * s / 2, tick(over(9*s/2, 2, 0)), OK},
			{6 * s, tick(over(6*s, 3, 0)), SUSPECT},
			{13 * s / 2, tick(over(13*s/2, 4, 0)), SUSPECT},
			{15 * s / 2, tick(over(15*s/2, 4, 0)), SUSPECT},
			{9 * s, tick(over(9*s, 5, 0)), SUSPECT},
			{10 * s, tick(over(10*s, 5, 0)), SUSPECT},
			{11 * s, tick(over(11*s, 5, 0)), SUSPECT},
			{12 * s, tick(over(12*s, 5, 0)), CONFIRM},
			{13 * s, tick(over(13*s, 5, 0)), CONFIRM},
			{14 * s, tick(over(14*s, 5, 0)), CONFIRM},
			{14*s + s/2, tick(over(14*s+s/2, 6, 0)), GONE},
		}, session.ReasonLinkLost},
		{"a retransmission that is due is waited for", Carried, nil, []step{
			{s, tick(over(0, 0, 0)), OK},
			{3 * s, tick(over(3*s, 1, 0)), OK},
			{9 * s / 2, tick(over(9*s/2, 2, 0)), OK},
			{6 * s, tick(over(6*s, 3, 0)), SUSPECT},
			{15 * s / 2, tick(over(15*s/2, 4, 0)), SUSPECT},
			{9 * s, tick(over(9*s, 5, 0)), SUSPECT},
			{10 * s, tick(over(10*s, 5, 0)), SUSPECT},
			{11 * s, tick(over(11*s, 5, 0)), SUSPECT},
			{12 * s, tick(over(12*s, 5, 0)), CONFIRM},
			{13 * s, tick(over(13*s, 5, 0)), CONFIRM},
			{14 * s, tick(over(14*s, 5, 0)), CONFIRM},
			{14*s + s/2, tick(dueIn(over(14*s+s/2, 5, 0), 6*s, 2*s)), CONFIRM},
			{15 * s, tick(dueIn(over(15*s, 5, 0), 6*s+s/2, 3*s/2)), CONFIRM},
			{16 * s, tick(dueIn(over(16*s, 5, 0), 7*s+s/2, s/2)), CONFIRM},
			{16*s + s/2, tick(dueIn(over(16*s+s/2, 6, 0), 0, 16*s)), CONFIRM}, // and its answer
			{16*s + 6*s/10, tick(alive(s / 20)), SUSPECT},
			{17 * s, Observation{Kind: Answer, Link: over(0, 0, 99)}, OK},
		}, ""},
		{"an answer that did not come over the carrier", Carried, nil, []step{
			{3 * s / 2, tick(over(s, 0, 500)), OK},
			{2 * s, Observation{Kind: Answer, Link: over(0, 0, 600)}, OK},
			{7 * s / 2, tick(over(s, 0, 600)), OK},
			{7 * s / 2, Observation{Kind: Answer, Link: over(0, 0, 600)}, OK}, // it is another's
			{17 * s / 2, tick(over(20*s, 9, 600)), OK},
			{27 * s / 2, tick(over(25*s, 9, 600)), BLIND}, // whose death means nothing
			{28 * s / 2, Observation{Kind: Answer}, OK},
		}, ""},
		{"the carrier vanishes, the display does not", Carried, nil, []step{
			{3 * s / 2, tick(over(s, 0, 500)), OK},
			{2 * s, Observation{Kind: Answer, Link: over(0, 0, 600)}, OK},
			{7 * s / 2, tick(LinkSample{Vanished: true}), OK},
			{5 * s, tick(LinkSample{Vanished: true}), OK},
			{17 * s / 2, tick(LinkSample{Vanished: true}), BLIND},
			{9 * s, Observation{Kind: Answer}, OK},
		}, ""},
		{"the carrier vanishes while it is in doubt", Carried, nil, []step{
			{s, tick(over(0, 0, 0)), OK},
			{3 * s, tick(over(3*s, 1, 0)), OK},
			{9 * s / 2, tick(over(9*s/2, 2, 0)), OK},
			{6 * s, tick(over(6*s, 3, 0)), SUSPECT},
			{15 * s / 2, tick(over(15*s/2, 4, 0)), SUSPECT},
			{9 * s, tick(over(9*s, 5, 0)), SUSPECT},
			{10 * s, tick(over(12*s, 5, 0)), SUSPECT},
			{12 * s, tick(over(14*s, 5, 0)), CONFIRM},
			{12*s + s/2, tick(LinkSample{Vanished: true}), SUSPECT},
			{13*s + s/2, tick(LinkSample{Vanished: true}), BLIND},
		}, ""},
		{"sshd gives up a link that was cut", Carried, nil, []step{
			{s, tick(over(0, 0, 0)), OK},
			{3 * s, tick(over(3*s, 3, 0)), OK},
			{4 * s, eof, CONFIRM},
			{4 * s, tried(NobodyThere, PeerUnknown), CONFIRM},
			{4*s + time.Millisecond, tick(LinkSample{}), CONFIRM},
			{4*s + time.Millisecond, tried(NobodyThere, PeerUnknown), CONFIRM},
			{4*s + 3*time.Millisecond, tick(LinkSample{}), CONFIRM},
			{4*s + 3*time.Millisecond, tried(NobodyThere, PeerUnknown), GONE},
		}, session.ReasonLinkLost},
	} {
		t.Run(c.name, c.play)
	}
}

// relayed is a world in which the carrier always acknowledges, whatever the
// link behind it does.
type relayed struct {
	cutAt    time.Duration // the link behind
	busyAt   time.Duration // the server answers nothing from then on
	noise    func() bool   // other traffic of the session
	received uint64
	tries    int // connections that reached the server's queue
}

func (w *relayed) run(m Machine, until time.Duration) (Machine, time.Duration) {
	now, later := time.Duration(0), Observation{}
	for now < until && !m.State().Final() {
		o := Observation{Kind: Tick, Now: max(now, m.Wake())}
		if later.Now > 0 {
			o, later = later, Observation{}
		}
		now = o.Now
		up := now < w.cutAt
		if up && w.noise != nil && w.noise() {
			w.received += 50
		}
		if o.Kind == Answer {
			w.received += 64
		}
		o.Link = LinkSample{Known: true, Silence: s / 10, Received: w.received}
		var a Actions
		m, a = m.Step(o)
		if a.Connect && up {
			w.received += 116
			w.tries++
			if now < w.busyAt {
				later = Observation{Kind: Tried, Outcome: SameDisplay, Now: now + s/50}
			}
		}
		if a.Ping && up && now < w.busyAt {
			later = Observation{Kind: Answer, Now: now + s/100}
		}
	}
	return m, now
}

// Behind a carrier that lives, a far end that is cut off is told from one that
// is only busy, whatever else goes over the link, and with few connections.
func TestBehindCarrier(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		often := r.IntN(300)
		noise := func() bool { return r.IntN(1000) < often }
		th := NewThresholds(Carried, 0, 0, 0, 0)
		begin := func() Machine { return NewMachine(th, Carried, false, true, 0) }
		at := 100*s + time.Duration(r.IntN(5000))*time.Millisecond
		for _, busy := range []time.Duration{never, at - 70*s, at - 7*s} {
			w := &relayed{cutAt: at, busyAt: busy, noise: noise}
			m, end := w.run(begin(), at+time.Hour)
			// What was silent for long already is asked again after a longer pause.
			longest := th.Blind + th.Ping + s
			if busy != never {
				longest += 2 * (at - busy)
			}
			if m.State() != GONE || m.End().Reason != session.ReasonBlind || end-at > longest {
				t.Fatalf("seed %d, busy at %v: %v %v, %v after the cut (%s)", seed, busy, m.State(), m.End().Reason, end-at, m.words())
			}
			if end-at < 2*th.LostAfter {
				t.Fatalf("seed %d: decided %v after the cut", seed, end-at)
			}
		}
		w := &relayed{cutAt: never, busyAt: at, noise: noise}
		if m, _ := w.run(begin(), at+24*time.Hour); m.State() != BUSY || w.tries > 12 {
			t.Fatalf("seed %d: %v (%s), %d connections", seed, m.State(), m.words(), w.tries)
		}
	}
}

func TestParseConnection(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.2 41910 10.0.0.1 22":                   "{[10 0 0 1] [10 0 0 2] 22 41910 0}",
		"::1 5 ::1 22":                                 "{[0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1] [0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1] 22 5 0}",
		"fe80::1%7 5 fe80::2%7 22":                     "{[254 128 0 0 0 0 0 0 0 0 0 0 0 0 0 2] [254 128 0 0 0 0 0 0 0 0 0 0 0 0 0 1] 22 5 7}",
		"":                                             "",
		"UNKNOWN 65535 UNKNOWN 65535":                  "",
		"10.0.0.2 41910 10.0.0.1":                      "",
		"10.0.0.2 41910 10.0.0.1 22 ":                  "",
		"10.0.0.2 0 10.0.0.1 22":                       "",
		"10.0.0.2 70000 10.0.0.1 22":                   "",
		"10.0.0.2 41910 ::1 22":                        "",
		"10.0.0.2 41910 10.0.0.1 22 10.0.0.2 41910 x ": "",
	} {
		f, ok := parseConnection(text)
		got := ""
		if ok {
			got = fmt.Sprint(f)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]error{
		"":                        errUnnamed,
		"x":                       errMisnamed,
		"127.0.0.1 1 127.0.0.1 2": errNoCarrier,
	} {
		if c, err := findCarrier(text); !errors.Is(err, want) {
			t.Errorf("%q: %v, %v", text, c, err)
		}
	}
}

// Whatever a carrier seems to be, a display that answers has no end.
func TestCarrierIsNotBelieved(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 9))
		m := NewMachine(NewThresholds(Carried, 0, 0, 0, 0), Carried, false, true, 0)
		answered, now := time.Duration(0), time.Duration(0)
		sick := time.Duration(1+r.IntN(60)) * s // from then on it looks dead
		for now < 10*time.Minute {
			now = max(now, min(m.Wake(), now+time.Duration(1+r.IntN(900))*time.Millisecond))
			o := Observation{Kind: Tick, Now: now, Link: over(0, 0, uint64(now/s))}
			if now > sick {
				o.Link = over(now-sick, uint8(min((now-sick)/s, 12)), 0)
				o.Link.Vanished = r.IntN(50) == 0
				o.Link.Known = !o.Link.Vanished && r.IntN(50) > 0
			}
			if m.waiting && now-answered > time.Duration(1+r.IntN(12))*s {
				o.Kind, answered = Answer, now
			}
			if m, _ = m.Step(o); m.State().Final() {
				t.Fatalf("seed %d, at %v: %v (%s)", seed, now, m.State(), m.words())
			}
		}
		if sick < 9*time.Minute && m.link != Relayed {
			t.Fatalf("seed %d: nothing came over it, and it is believed still", seed)
		}
	}
}
