package display

import (
	"testing"
	"time"

	"xexit/internal/session"
)

// world is a TCP link that is cut and may heal, with a kernel at both ends:
// keepalive, retransmissions that back off, SYNs each second.
type world struct {
	rtt             time.Duration
	cutAt, healAt   time.Duration // healAt never: for good
	sent            time.Duration // the unanswered question; 0 none
	retransmits     uint8
	nextRetransmit  time.Duration
	rto             time.Duration
	syn             time.Duration // next SYN; 0: no try under way
	answers, result time.Duration // when they arrive; 0: none
}

func (w *world) up(at time.Duration) bool { return at < w.cutAt || at >= w.healAt }

// silence is how long ago the last acknowledgement came.
func (w *world) silence(at, keepalive time.Duration) time.Duration {
	switch {
	case at < w.cutAt:
		return at % keepalive
	case at >= w.healAt && w.sent == 0:
		return (at - w.healAt) % keepalive
	}
	return at - (w.cutAt - w.cutAt%keepalive)
}

// run drives a machine through the world until it ends or the time is over.
func (w *world) run(m Machine, until time.Duration) (Machine, time.Duration) {
	w.rtt = 2 * time.Millisecond
	now := time.Duration(0)
	for now < until && !m.State().Final() {
		next := m.Wake()
		for _, at := range []time.Duration{w.answers, w.result, w.nextRetransmit, w.syn} {
			if at > 0 && at < next {
				next = at
			}
		}
		now = max(now, next)
		o := Observation{Kind: Tick, Now: now, Link: LinkSample{Known: true, Retransmits: w.retransmits, Silence: w.silence(now, m.th.Keepalive)}}
		if w.sent > 0 {
			o.Link.Unacked = 1
		}
		switch now {
		case w.answers:
			o.Kind, w.answers, w.sent, w.retransmits, w.nextRetransmit = Answer, 0, 0, 0, 0
		case w.result:
			o.Kind, o.Outcome, w.result, w.syn = Tried, SameDisplay, 0, 0
		case w.nextRetransmit:
			w.transmit(now)
			continue
		case w.syn:
			w.syn += s
			if w.up(now) {
				w.syn, w.result = 0, now+3*w.rtt
				o.Kind = Reached
			} else {
				continue
			}
		}
		var a Actions
		m, a = m.Step(o)
		if a.Abort {
			w.syn, w.result = 0, 0
		}
		if a.Connect {
			w.syn, w.result = now+1, 0
		}
		if a.Adopt {
			w.sent, w.retransmits, w.nextRetransmit = 0, 0, 0
		}
		if a.Ping {
			w.sent, w.rto, w.retransmits = now, s/5, 0
			w.nextRetransmit = 0
			w.transmit(now)
			w.retransmits = 0
		}
	}
	return m, now
}

func (w *world) transmit(now time.Duration) {
	w.retransmits++
	if w.up(now) {
		w.answers, w.nextRetransmit = now+w.rtt, 0
		return
	}
	w.nextRetransmit = now + w.rto
	w.rto *= 2
}

func TestCutDirectLink(t *testing.T) {
	for _, c := range []struct {
		lost             time.Duration
		soonest, longest time.Duration // decision after a cut for good
		heals            []time.Duration
	}{
		{15 * s, 14 * s, 17*s + s/10, []time.Duration{s, 3 * s, 8 * s, 10 * s, 12 * s, 13 * s}},
		{3 * s, 2 * s, 4 * s, []time.Duration{s / 2, s, 3 * s / 2}},
		{60 * s, 40 * s, 69 * s, []time.Duration{8 * s, 30 * s, 40 * s}},
	} {
		th := NewThresholds(Direct, 0, c.lost, 0, 0)
		for phase := time.Duration(0); phase < 12*s; phase += 37 * time.Millisecond {
			at := 20*s + phase
			w := &world{cutAt: at, healAt: never}
			m, end := w.run(NewMachine(th, Direct, false, true, 0), at+10*time.Minute)
			took := end - at
			if m.State() != GONE || m.End().Reason != session.ReasonLinkLost || took < c.soonest || took > c.longest {
				t.Fatalf("lost-after %v, cut at %v: %v %v after %v (%s)", c.lost, at, m.State(), m.End().Reason, took, m.End().Noticed)
			}
			for _, heal := range c.heals {
				w := &world{cutAt: at, healAt: at + heal}
				m, _ := w.run(NewMachine(th, Direct, false, true, 0), at+heal+5*c.lost)
				if m.State() != OK {
					t.Fatalf("lost-after %v, cut at %v for %v: %v (%s)", c.lost, at, heal, m.State(), m.words())
				}
			}
		}
	}
}
