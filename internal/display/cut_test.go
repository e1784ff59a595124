package display

import (
	"testing"
	"time"

	"xexit/internal/session"
)

// world is a link that is cut and may heal, with a kernel at both ends: one
// that keeps it alive on its own (Direct), or one that only carries what is
// asked of it (Carried, where the segments are sshd's); retransmissions that
// back off, the first after a tail loss probe; a SYN at each connect and one a
// second later.
type world struct {
	link            Link
	rtt, rto        time.Duration
	cutAt, healAt   time.Duration // healAt never: for good
	phase           time.Duration // of the keepalive
	acked           time.Duration // the last acknowledgement
	grabbed         bool          // the server answers no question
	sent            bool          // something is in flight
	retransmits     uint8
	nextRetransmit  time.Duration // 0: none
	timeout         time.Duration
	slack           time.Duration // of the kernel's timer
	lastSent        time.Duration
	syn             time.Duration // next SYN; 0: no try under way
	answers, result time.Duration // when they arrive; 0: none
	received        uint64
}

func (w *world) up(at time.Duration) bool { return at < w.cutAt || at >= w.healAt }

// touch lets the kernel's keepalive do its work up to now.
func (w *world) touch(now, keepalive time.Duration) {
	if w.link != Direct || w.sent {
		return // with data in flight there is none
	}
	for at := now; at > w.acked; at = w.cutAt - 1 {
		if at -= ((at-w.phase)%keepalive + keepalive) % keepalive; w.up(at) {
			w.acked = max(w.acked, at)
			return
		}
	}
}

func (w *world) sample(now, keepalive time.Duration) LinkSample {
	w.touch(now, keepalive)
	s := LinkSample{Known: true, Retransmits: w.retransmits, Silence: now - w.acked, RTT: w.rtt, Received: w.received}
	switch {
	case w.sent:
		s.Unacked = 1
	case w.link == Direct && s.Silence >= keepalive:
		s.Probes = uint8(min(s.Silence/keepalive, 30))
	}
	if w.link == Carried && w.nextRetransmit > 0 {
		s.Sent, s.Next = now-w.lastSent, max(w.nextRetransmit-w.slack-now, 0)
	}
	return s
}

// run drives a machine through the world until it ends or the time is over.
func (w *world) run(m Machine, until time.Duration) (Machine, time.Duration) {
	now := time.Duration(0)
	for now < until && !m.State().Final() {
		next := m.Wake()
		for _, at := range []time.Duration{w.answers, w.result, w.nextRetransmit, w.syn} {
			if at > 0 && at < next {
				next = at
			}
		}
		now = max(now, next)
		o := Observation{Kind: Tick, Now: now}
		switch now {
		case w.answers:
			w.answers = 0
			w.acked, w.sent, w.retransmits, w.nextRetransmit = now, false, 0, 0
			if w.grabbed {
				continue
			}
			w.received += 64
			o.Kind = Answer
		case w.result:
			o.Kind, o.Outcome, w.result, w.syn = Tried, SameDisplay, 0, 0
		case w.nextRetransmit:
			w.retransmits++
			w.transmit(now)
			continue
		case w.syn:
			w.syn += s
			if !w.up(now) {
				continue
			}
			w.syn = 0
			w.received += 116 // of a carrier: the far end confirms
			if !w.grabbed {
				w.result = now + 3*w.rtt
			}
			o.Kind = Reached
		}
		o.Link = w.sample(now, m.th.Keepalive)
		var a Actions
		m, a = m.Step(o)
		w.act(a, now, m.th.Keepalive)
	}
	return m, now
}

func (w *world) act(a Actions, now, keepalive time.Duration) {
	if a.Abort {
		w.syn, w.result = 0, 0
	}
	if a.Connect {
		w.syn, w.result = now+1, 0
	}
	if a.Adopt {
		w.sent, w.retransmits, w.nextRetransmit, w.acked = false, 0, 0, now
	}
	if (a.Ping || a.NoOp) && !w.sent {
		w.touch(now, keepalive)
		w.sent, w.retransmits, w.timeout = true, 0, w.rto
		w.transmit(now)
		if w.nextRetransmit > 0 {
			w.nextRetransmit += w.rto // the tail loss probe's turn first
		}
	}
}

func (w *world) transmit(now time.Duration) {
	w.lastSent = now
	if w.up(now) {
		w.answers, w.nextRetransmit = now+w.rtt, 0
		return
	}
	w.slack = w.timeout / 16
	w.nextRetransmit = now + w.timeout + w.slack
	w.timeout *= 2
}

// A cut for good is decided in time, one that heals is survived, whenever it
// comes between two questions and two keepalives, and whether or not the
// server answers.
func TestCut(t *testing.T) {
	for _, c := range []struct {
		link             Link
		lost, rtt, rto   time.Duration // rto 0: what follows from rtt
		soonest, longest time.Duration // decision after a cut for good
		heals            []time.Duration
	}{
		{Direct, 15 * s, 2, 0, 13*s + s/2, 14*s + s/2, []time.Duration{s, 3 * s, 8 * s, 10 * s, 12 * s, 13 * s}},
		{Direct, 15 * s, 300, 0, 13*s + s/2, 16 * s, []time.Duration{s, 3 * s, 8 * s, 10 * s, 12 * s, 25 * s / 2}},
		{Direct, 15 * s, 2, 3000, 13*s + s/2, 17 * s, []time.Duration{s, 3 * s, 8 * s, 10 * s, 12 * s, 25 * s / 2}},
		{Direct, 15 * s, 500, 6000, 13*s + s/2, 28 * s, []time.Duration{s, 3 * s, 8 * s, 12 * s}},
		{Direct, 3 * s, 2, 0, 19 * s / 10, 7 * s / 2, []time.Duration{s / 2, s, 3 * s / 2}},
		{Direct, 60 * s, 2, 0, 54 * s, 58 * s, []time.Duration{8 * s, 30 * s, 48 * s, 52 * s}},
		{Carried, 15 * s, 2, 0, 13 * s, 15 * s, []time.Duration{s, 3 * s, 8 * s, 10 * s, 12 * s}},
		{Carried, 15 * s, 20, 0, 13 * s, 17 * s, []time.Duration{s, 3 * s, 8 * s, 10 * s, 12 * s}},
		{Carried, 15 * s, 60, 0, 13 * s, 20 * s, []time.Duration{s, 3 * s, 8 * s, 10 * s, 12 * s}},
		{Carried, 15 * s, 120, 0, 13 * s, 25 * s, []time.Duration{s, 3 * s, 8 * s, 10 * s, 12 * s}},
		{Carried, 15 * s, 200, 0, 13 * s, 25 * s, []time.Duration{s, 3 * s, 8 * s, 10 * s, 12 * s}},
		{Carried, 3 * s, 2, 0, 19 * s / 10, 4 * s, []time.Duration{s / 2, s}},
	} {
		th := NewThresholds(c.link, 0, c.lost, 0, 0)
		for _, grabbed := range []bool{false, true} {
			var first, last time.Duration = time.Hour, 0
			for step := range 300 {
				at := 20*s + time.Duration(step)*37*time.Millisecond
				begin := func(heal time.Duration) *world {
					w := &world{link: c.link, rtt: c.rtt * time.Millisecond, cutAt: at, healAt: heal, grabbed: grabbed}
					w.rto, w.phase = max(c.rto*time.Millisecond, w.rtt+s/5), time.Duration(step)*71*time.Millisecond
					return w
				}
				m, end := begin(never).run(NewMachine(th, c.link, false, true, 0), at+10*time.Minute)
				took := end - at
				first, last = min(first, took), max(last, took)
				if m.State() != GONE || m.End().Reason != session.ReasonLinkLost || took < c.soonest || took > c.longest {
					t.Fatalf("%v, lost-after %v, cut at %v, grabbed %v: %v %v after %v (%s)", c.link, c.lost, at, grabbed, m.State(), m.End().Reason, took, m.End().Noticed)
				}
				for _, heal := range c.heals {
					m, _ := begin(at+heal).run(NewMachine(th, c.link, false, true, 0), at+heal+2*c.lost)
					if m.State() == OK && !grabbed || m.State() == BUSY && grabbed {
						continue
					}
					if m.State().Final() || !grabbed {
						t.Fatalf("%v, rtt %d ms, lost-after %v, cut at %v for %v, grabbed %v: %v (%s)", c.link, c.rtt, c.lost, at, heal, grabbed, m.State(), m.words())
					}
				}
			}
			t.Logf("%v, rtt %d ms, lost-after %v, grabbed %v: decided %.1f to %.1f s after the cut", c.link, c.rtt, c.lost, grabbed, first.Seconds(), last.Seconds())
		}
	}
}
