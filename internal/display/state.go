package display

import (
	"time"
)

// State is what is known of a display.
type State uint8

// The states. ENDED, LEFT and GONE are final.
const (
	OK      State = iota // it answers
	BUSY                 // it does not answer, and its end of the line is known to be alive
	SUSPECT              // it does not answer, and the link may be dead
	BLIND                // it does not answer, and nothing else can be known
	CONFIRM              // the connection broke or its link or far end is silent: trying to see
	ENDED                // LTSP_XEXIT says so
	LEFT                 // its leader is gone and only watchers are connected
	GONE                 // it is no more, or out of reach for good
)

var stateNames = [...]string{"OK", "BUSY", "SUSPECT", "BLIND", "CONFIRM", "ENDED", "LEFT", "GONE"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "other"
}

// Final reports whether nothing can follow.
func (s State) Final() bool { return s >= ENDED }

// Link is what lies between the watcher and the display, and so what can be
// known when no answer comes.
type Link uint8

// The links.
const (
	Local   Link = iota // a unix socket: no link that could die
	Direct              // TCP to the server's host: TCP_INFO tells of the link
	Relayed             // TCP to a relay (sshd): its kernel acknowledges whatever happens beyond
	Carried             // the same, and the ssh connection that carries it further can be seen
)

var linkNames = [...]string{"local", "direct", "relayed", "carried"}

func (l Link) String() string {
	if int(l) < len(linkNames) {
		return linkNames[l]
	}
	return "other"
}

// Thresholds are all the times of the machine. They follow from LostAfter; see
// NewThresholds.
type Thresholds struct {
	LostAfter time.Duration // silence of the link's kernel after which it is dead
	Ping      time.Duration // between an answer and the next question
	Patience  time.Duration // no answer for so long is worth a look
	Look      time.Duration // between looks, while there is no answer
	Keepalive time.Duration // of the kernel; also how stale an acknowledgement may be on a healthy link
	Confirm   time.Duration // silence after which new connections are tried, beside the old one
	Decide    time.Duration // silence that is the end: just before LostAfter
	Attempt   time.Duration // one try on a silent link, each with a SYN of its own
	Await     time.Duration // Carried: for a retransmission of sshd's kernel that is due, more than Decide
	Stall     time.Duration // how long a new connection may take after the old one broke
	Late      time.Duration // woken so much too late, the watcher was held up itself
	Backstop  time.Duration // after this the kernel gives the connection up
	Blind     time.Duration // no answer for so long is the end where nothing else is known
	Prove     time.Duration // without a sign of the far end for so long, behind a carrier that lives, it is asked for one
	Hung      time.Duration // the same as Blind for a display that is known to be there; 0: never
	Settled   time.Duration // a client that stayed so long was a session, without one so long it is over
	Retries   uint8         // retransmissions in a row
	Probes    uint8         // or keepalive probes: as many must be unanswered besides
}

// Defaults of Options.
const (
	DefaultLostAfter  = 15 * time.Second
	DefaultBlindAfter = 60 * time.Second
)

// NewThresholds derives the times. With the default of 15 s a dead link is
// decided 13 to 15 s after it died: silence is measured from the last
// acknowledgement, which is at most 1 s old when it happens. From the twelfth
// second of silence on a new connection is tried each half second, and after
// 14.5 s it is decided. So a link which heals within 12 s is seen to. Where the
// kernel repeats itself slowly, more tries make up for it, and take longer. Over a
// carrier up to 10 s more pass if none was retransmitted of late: on a link with
// a round trip of 20 to 150 ms.
// Zero is the default; interval replaces Ping.
func NewThresholds(link Link, interval, lostAfter, blindAfter, hungAfter time.Duration) Thresholds {
	if lostAfter <= 0 {
		lostAfter = DefaultLostAfter
	}
	if blindAfter <= 0 {
		blindAfter = DefaultBlindAfter
	}
	unit := lostAfter / 15
	t := Thresholds{
		LostAfter: lostAfter,
		Ping:      5 * unit,
		Patience:  5 * unit,
		Look:      unit,
		Keepalive: unit,
		Confirm:   12 * unit,
		Decide:    lostAfter - unit/2,
		Attempt:   max(unit/2, time.Second/4),
		Await:     10 * unit,
		Stall:     max(4*unit, time.Second),
		Late:      max(2*unit, time.Second),
		Backstop:  max(4*lostAfter, time.Minute),
		Blind:     blindAfter,
		Prove:     max(blindAfter-2*lostAfter, 5*unit),
		Hung:      max(hungAfter, 0),
		Settled:   time.Minute,
		Retries:   4,
		Probes:    3,
	}
	if lostAfter < 6*time.Second {
		// Time-outs double from 0.2 s: the fourth comes 3 s after the segment,
		// the third after 1.4 s. Keepalive cannot go below 1 s.
		t.Retries, t.Probes, t.Await = 3, 2, 5*unit
	}
	switch link {
	case Local:
		t.Ping = 30 * unit // it shows only whether the server is busy
	case Carried:
		// The carrier's socket is sshd's, with no keepalive to speak of.
		t.Keepalive = max(unit, time.Second)
		t.Ping = t.Keepalive
	}
	if interval > 0 {
		t.Ping = interval
	}
	return t
}
