package display

import (
	"time"

	"xexit/internal/session"
)

// End is the end of a watch.
type End struct {
	Reason  session.Reason // server-gone, link-lost, blind, logout, requested
	Run     bool           // false: leave without running anything (LTSP_XEXIT=EXIT)
	Noticed string         // how it was noticed
	Took    time.Duration  // from the first sign to the decision
}

// doubt is why the machine is in CONFIRM.
type doubt uint8

const (
	noDoubt  doubt = iota
	broken         // the connection is gone
	silent         // it stands, and the link under it is silent
	unproved       // it stands, the carrier lives, and nothing comes from behind it
)

// Machine is the liveness of one display: a value, with Step as its only
// transition. It does no I/O and reads no clock.
type Machine struct {
	th    Thresholds
	link  Link
	state State
	end   End
	wake  time.Duration

	waiting  bool          // for an answer
	asked    time.Duration // since then, or since the age was discarded
	nextPing time.Duration
	nextNoOp time.Duration
	nextLook time.Duration
	grace    time.Duration // silence before this does not count
	sample   LinkSample
	peer     Peer
	notDead  bool // a dead peer process was seen to mean nothing here

	doubt     doubt
	cause     string
	linkError bool
	since     time.Duration // first sign
	tries     int
	resent    uint8 // retransmissions when the deciding one was begun to be waited for
	trying    bool
	opening   bool // what is tried has not begun: an opener is at it, whose time is not the display's
	tryFrom   time.Duration
	reached   bool
	nextTry   time.Duration
	stalled   bool // a server is there and does not let us in
	unable    bool // this process has no means left to try

	adopted   bool // a new connection took the old one's place
	adoptedAt time.Duration
	flaps     uint8 // how often it broke again at once

	received   uint64        // over the carrier, by the last sample
	heard      time.Duration // when that had grown
	atQuestion uint64        // received when the question went out
	questioned bool          // that is known
	pause      time.Duration // without a sign of the far end, before it is asked for one
	missed     uint8         // samples in a row that found no carrier
	under      Link          // Carried: what is left if the carrier is not the display's
	doubted    string        // why there is no carrier to see, or what was taken for it is none

	unread     bool // sshd has not read all
	unreadFrom time.Duration
	deafAt     time.Duration // when it was last seen not to read
	noOps      uint16        // since the last answer

	leaderGone bool
	leaderAt   time.Duration
	counts     bool // clients can be counted
	nextCount  time.Duration
	alone      bool
	aloneFrom  time.Duration
	settled    bool
	resident   [maxResident]resident

	looking   bool
	lookUntil time.Duration
}

// resident is one client and since when it is seen.
type resident struct {
	name uint64
	from time.Duration
}

// NewMachine begins in OK, at the moment of an answer. countable says that the
// server tells who is connected.
func NewMachine(th Thresholds, link Link, countable, leaderKnown bool, now time.Duration) Machine {
	m := Machine{th: th, link: link, counts: countable, nextPing: now + th.Ping, grace: now, nextCount: never, heard: now, pause: th.Prove, under: Relayed}
	if countable && !leaderKnown {
		m.nextCount = now
	}
	m.wake = m.due()
	return m
}

// never is a time that does not come.
const never = time.Duration(1<<63 - 1)

// State is the state after the last step.
func (m Machine) State() State { return m.state }

// End tells how it ended, in a final state.
func (m Machine) End() End { return m.end }

// Wake is when the next Tick is due; never in a final state.
func (m Machine) Wake() time.Duration { return m.wake }

// Watching tells whether Tick should carry LinkSample and Peer.
func (m Machine) Watching() bool { return m.waiting || m.doubt != noDoubt }

// Step is the transition. In a final state nothing happens any more.
func (m Machine) Step(o Observation) (Machine, Actions) {
	if m.state.Final() {
		return m, Actions{Wake: never}
	}
	var a Actions
	before := m.state
	if m.late(o) {
		m.discardAge(o.Now)
		a.Note = "the watcher was held up or the machine slept: the time without an answer starts anew"
	}
	if o.Kind == Tick || o.Kind == Tried {
		m.sample, m.peer = o.Link, o.Peer
	}
	m.overCarrier(o, &a)
	m.hears(o, &a)
	m.take(o, &a)
	if !m.state.Final() {
		m.advance(o.Now, &a)
	}
	if m.state.Final() {
		a = Actions{Note: a.Note, Wake: never}
	}
	m.wake = m.due()
	a.Wake = m.wake
	if m.state != before {
		a.Note = m.words()
	}
	return m, a
}

// late reports whether the watcher itself was asleep: what it did not hear in
// that time says nothing.
func (m *Machine) late(o Observation) bool {
	return o.Slept >= m.th.Late || m.wake != never && o.Now-m.wake >= m.th.Late
}

func (m *Machine) discardAge(now time.Duration) {
	m.grace = now
	m.asked = now
	if m.alone {
		m.aloneFrom = now
	}
	for i := range m.resident {
		m.resident[i].from = now
	}
	m.heard, m.unreadFrom = now, now
	if m.doubt != noDoubt {
		m.since = now
		m.tryFrom = now
	}
	if m.doubt == unproved {
		m.trying, m.nextTry = false, now
	}
}

// take applies one observation.
func (m *Machine) take(o Observation, a *Actions) {
	switch o.Kind {
	case Answer:
		m.answered(o.Now, a)
	case Traffic:
		m.asked = o.Now
		if m.doubt == silent || m.doubt == unproved {
			m.believe(o.Now, a)
		}
	case Broken:
		m.broke(o, a)
	case Command:
		m.command(o)
	case LeaderEnd:
		if !m.leaderGone {
			m.leaderGone, m.leaderAt, m.alone = true, o.Now, false
			if m.counts {
				m.nextCount = o.Now
			}
		}
	case Clients:
		m.counted(o)
	case Opening:
		m.opening = m.trying
	case Begun:
		m.opening, m.tryFrom = false, o.Now
	case Reached:
		m.reached = m.trying
	case Tried:
		if m.trying {
			m.tried(o, a)
		}
	case Look:
		m.looking, m.lookUntil = true, o.Now+o.Within
		if m.leaderGone && m.counts {
			m.nextCount = o.Now
		}
		if m.doubt == noDoubt {
			m.nextPing = o.Now
		}
	}
}

// answered: the display lives.
func (m *Machine) answered(now time.Duration, a *Actions) {
	m.waiting, m.noOps = false, 0
	m.nextPing = now + m.th.Ping
	m.grace, m.pause = now, m.th.Prove
	if m.doubt == silent || m.doubt == unproved {
		m.believe(now, a)
	}
	if m.doubt == noDoubt {
		m.state = OK
	}
}

// command: LTSP_XEXIT was read. A value that means nothing is passed over.
func (m *Machine) command(o Observation) {
	if o.Value == "DIE" || o.Value == "EXIT" {
		m.finish(ENDED, End{
			Reason:  session.ReasonRequested,
			Run:     o.Value == "DIE",
			Noticed: "LTSP_XEXIT=" + o.Value,
		})
	}
}

func (m *Machine) finish(s State, e End) {
	m.state, m.end = s, e
	m.end.Took = max(m.end.Took, 0)
}

// advance does what is due at now.
func (m *Machine) advance(now time.Duration, a *Actions) {
	if m.doubt == noDoubt {
		if !m.waiting && now >= m.nextPing {
			m.waiting, m.asked, m.nextNoOp = true, now, now+m.th.Patience
			if m.link == Carried {
				m.nextNoOp = now + m.th.Keepalive
			}
			m.questioned, m.atQuestion = m.sample.Known, m.sample.Received
			a.Ping = true
		}
		if m.waiting && now-m.asked >= m.th.Patience {
			m.judge(now, a)
		}
	}
	if m.waiting && m.link == Carried && now >= m.nextNoOp {
		// Nothing else keeps the carrier in use, and so its silence short.
		m.keepInUse(a)
		m.nextNoOp = now + m.th.Keepalive
	}
	if m.doubt != noDoubt {
		m.confirm(now, a)
	}
	if m.state.Final() {
		return
	}
	if m.counts && m.doubt == noDoubt && !m.waiting && now >= m.nextCount {
		a.Count = true
		m.nextCount = now + m.countEvery()
	}
	if m.looking && now >= m.lookUntil {
		m.looking = false
		if m.doubt == broken && !m.unable {
			m.gone(now, m.cause+"; no connection since")
			return
		}
		a.Alive = true
	}
}

// judge: no answer for some time. What else is known?
func (m *Machine) judge(now time.Duration, a *Actions) {
	from := max(m.asked, m.deafAt)
	age := now - from
	m.nextLook = now + m.th.Look
	// Something must be in flight, or a relay's link dies unnoticed. On a
	// direct one the kernel's keepalive does the same.
	if m.link == Relayed && now >= m.nextNoOp {
		m.keepInUse(a)
		m.nextNoOp = now + m.th.Patience
	}
	switch {
	case m.link == Relayed && m.deaf(now):
		m.state = BUSY
	case m.link == Relayed:
		m.state = BLIND
		if m.unread {
			break
		}
		m.nextLook = min(now+m.th.Patience, from+m.th.Blind)
		if age >= m.th.Blind {
			m.finish(GONE, End{
				Reason: session.ReasonBlind, Run: true, Took: age,
				Noticed: "no answer for " + seconds(age) + "; behind a relay nothing else can be known (blind-after)",
			})
		}
	case m.link == Local:
		m.state = BUSY
		m.nextLook = now + m.th.Patience // there is little to see
		if m.peer == PeerDead && !m.notDead {
			m.doubtBroken(now, "the server's process is dead", false, a)
		}
	case m.linkLives() && m.link == Carried:
		m.provable(now, a)
	case m.linkLives():
		m.state = BUSY
	case m.linkDead(now):
		m.doubt, m.state = silent, CONFIRM
		m.cause, m.linkError = m.silence(now), true
		m.since = now - m.quiet(now)
		m.tries, m.nextTry = 0, now
	default:
		m.state = SUSPECT
	}
	if m.state != BUSY || m.th.Hung == 0 {
		return
	}
	if age >= m.th.Hung {
		m.hung(age)
	}
	m.nextLook = min(m.nextLook, from+m.th.Hung)
}

func (m *Machine) hung(age time.Duration) {
	m.finish(GONE, End{
		Reason: session.ReasonServerGone, Run: true, Took: age,
		Noticed: "the server is there and did not answer for " + seconds(age) + " (hung-after)",
	})
}

// due is when the next Tick is needed.
func (m *Machine) due() time.Duration {
	if m.state.Final() {
		return never
	}
	at := never
	switch {
	case m.doubt == broken && m.trying && !m.opening:
		at = m.tryFrom + m.th.Stall
	case m.doubt == broken && m.trying: // the opener says when
	case m.doubt == broken:
		at = m.nextTry
	case m.doubt == silent:
		at = m.dueSilent()
	case m.doubt == unproved && m.trying:
		at = min(m.nextLook, m.nextNoOp)
	case m.doubt == unproved:
		at = min(m.nextLook, m.nextTry, m.nextNoOp)
	case m.waiting:
		at = max(m.asked+m.th.Patience, m.nextLook)
		if m.link == Carried {
			at = min(at, m.nextNoOp)
		}
	default:
		at = m.nextPing
	}
	if m.counts && m.doubt == noDoubt && !m.waiting {
		at = min(at, m.nextCount)
	}
	if m.looking {
		at = min(at, m.lookUntil)
	}
	return at
}
