package display

import (
	"strconv"
	"time"

	"xexit/internal/session"
)

// doubtBroken: the connection is gone; only a new one can tell more.
func (m *Machine) doubtBroken(now time.Duration, cause string, linkError bool, a *Actions) {
	if m.doubt == noDoubt {
		m.since = now
	}
	m.nextTry = now + m.flapped(now) // a silent carrier had no try coming
	m.doubt, m.state = broken, CONFIRM
	m.cause, m.linkError = cause, linkError
	m.tries, m.stalled = 0, false
	a.Drop = true
}

// flapped is how long to wait before connecting anew to a display that lets
// the watcher in, and then breaks the connection again: longer each time.
func (m *Machine) flapped(now time.Duration) time.Duration {
	if !m.adopted || now-m.adoptedAt >= m.th.Patience {
		m.flaps = 0
		return 0
	}
	m.flaps = min(m.flaps+1, 30)
	if m.flaps == 1 {
		return 0
	}
	return min(firstPause<<(m.flaps-2), m.th.Patience)
}

func (m *Machine) broke(o Observation, a *Actions) {
	if m.doubt != broken {
		over := m.link == Carried && m.sample.Retransmits > 1 // sshd gave up a link that was cut
		m.doubtBroken(o.Now, o.Cause, o.LinkError || over, a)
	}
}

// believe: the silent link spoke. The old connection was never given up.
func (m *Machine) believe(now time.Duration, a *Actions) {
	m.doubt, m.state = noDoubt, SUSPECT
	m.trying, m.opening, m.unable = false, false, false
	m.grace = now
	m.nextLook = now + m.th.Look
	a.Abort = true
}

// confirm does what is due while in CONFIRM.
func (m *Machine) confirm(now time.Duration, a *Actions) {
	if m.doubt == silent && !m.confirmSilent(now, a) || m.doubt == unproved && !m.prove(now, a) {
		return
	}
	if m.doubt == broken && m.trying && !m.opening && now >= m.tryFrom+m.th.Stall {
		m.trying = false
		a.Abort = true
		m.unserved(now, m.reached, "the new connection got no answer for "+seconds(m.th.Stall))
	}
	if !m.state.Final() && m.doubt != noDoubt && !m.trying && now >= m.nextTry {
		m.trying, m.opening, m.reached, m.tryFrom = true, false, false, now
		a.Connect = true
	}
}

// confirmSilent looks at the old connection while new ones are tried. false:
// there is no doubt any more, or it is decided.
func (m *Machine) confirmSilent(now time.Duration, a *Actions) bool {
	quiet := m.quiet(now)
	if m.linkLives() || quiet < m.th.Confirm {
		m.believe(now, a)
		return false
	}
	m.nextLook = now + m.th.Look
	if left := m.th.Decide - quiet; left > 0 {
		m.nextLook = now + min(m.th.Look, left)
	}
	if m.link == Carried {
		return m.confirmCarrier(now, quiet)
	}
	if m.trying && m.reached {
		// The host at the other end accepted: its link is alive. If nothing
		// more comes the server is busy, and that is no end.
		if now >= m.tryFrom+m.th.Stall {
			m.believe(now, a)
			return false
		}
		return true
	}
	if m.trying && !m.opening && now >= m.tryFrom+m.attempt() {
		m.trying, m.nextTry = false, now
		m.tries++
	}
	if quiet >= m.th.Decide && m.tries >= m.enough() {
		m.gone(now, m.silence(now)+"; "+strconv.Itoa(m.tries)+" new connections in vain")
		return false
	}
	return true
}

// enough tries have been in vain: two had their time, or a link that has just
// healed goes unseen. A kernel that once had to wait for an acknowledgement
// repeats itself at long intervals, such as 3, 6, 12, 24 s (RFC 6298); where it
// has not done so often enough, more tries of ours stand in.
func (m *Machine) enough() int {
	if m.proved() {
		return 2
	}
	return 2 + 2*int(m.th.Retries-m.sample.Retransmits)
}

// attempt is for how long a try on a silent link waits: the next one sends its
// SYN at once, where the kernel would wait for a second. A long way takes its
// time.
func (m *Machine) attempt() time.Duration {
	return min(max(m.th.Attempt, 2*m.sample.RTT), m.th.Stall)
}

// confirmCarrier decides over a silent carrier. To connect anew shows nothing
// there, sshd accepts whatever happens beyond; the kernel's retransmissions are
// the only tries, and there are few. So if the last one is long ago the next one
// is waited for, and its answer.
func (m *Machine) confirmCarrier(now, quiet time.Duration) bool {
	const often = 100 * time.Millisecond
	m.nextTry = never
	if quiet < m.th.Decide {
		return true
	}
	s := m.sample
	if m.tries == 0 {
		m.tries, m.resent, m.tryFrom = 1, s.Retransmits, now
		if quiet-s.Sent < m.th.Confirm+m.th.Keepalive && s.Next <= m.th.Await {
			// The last one may have been lost in a cut that has healed since. The kernel's timers are coarse, by an eighth at most: 0 is 'any moment', too.
			m.tryFrom += s.Next + min((s.Sent+s.Next)/8, m.th.Look)
		}
	}
	answer := 2*s.RTT + often/2
	switch {
	case s.Retransmits == m.resent && now < m.tryFrom:
		m.nextLook = now + min(often, m.tryFrom-now)
	case s.Sent < answer && now < m.tryFrom+m.th.Look:
		m.nextLook = now + answer - s.Sent
	default:
		m.gone(now, m.silence(now)+" on the ssh connection")
		return false
	}
	return true
}

func (m *Machine) dueSilent() time.Duration {
	at := m.nextLook
	if m.trying && m.reached {
		return min(at, m.tryFrom+m.th.Stall)
	}
	if m.trying && m.opening {
		return at
	}
	if m.trying {
		return min(at, m.tryFrom+m.attempt())
	}
	return min(at, m.nextTry)
}

// tried: the new connection came to a result.
func (m *Machine) tried(o Observation, a *Actions) {
	m.trying, m.opening = false, false
	if o.Outcome == Unable {
		m.couldNot(o, a)
		return
	}
	m.tries++
	m.unable = false
	switch o.Outcome {
	case SameDisplay:
		m.adopt(o.Now, a)
	case OtherDisplay, NoEntry:
		m.linkError = false
		m.gone(o.Now, m.cause+"; "+o.Cause)
	case Full:
		if m.doubt == silent || m.doubt == unproved {
			m.believe(o.Now, a)
			return
		}
		m.tries = 0 // it lives; one refusal after that is not the last of several
		m.nextTry = o.Now + m.th.Look
		m.unserved(o.Now, true, o.Cause)
	case NobodyThere, NoRoute, Dropped:
		m.failed(o)
	}
}

// couldNot: this process was not able to try. That says nothing of the display,
// and the time until it can is not the display's.
func (m *Machine) couldNot(o Observation, a *Actions) {
	if !m.unable {
		m.unable = true
		a.Note = o.Cause + "; trying again until it can"
	}
	m.tries = 0
	m.nextTry = o.Now + m.th.Look
	if m.doubt != silent {
		m.since = o.Now
	}
}

// adopt: the new connection leads to the same display.
func (m *Machine) adopt(now time.Duration, a *Actions) {
	m.adopted, m.adoptedAt = true, now
	if m.peer == PeerDead {
		m.notDead = true // who called listen need not be who serves
	}
	m.doubt, m.state = noDoubt, OK
	m.waiting, m.stalled, m.linkError, m.unread, m.noOps = false, false, false, false, 0
	m.nextPing, m.grace = now+m.th.Ping, now
	if m.leaderGone && m.counts {
		m.nextCount = now
	}
	a.Adopt = true
}

// A connection that is refused or breaks is tried again a few times at once:
// a server that exits closes its clients' sockets first and its listening ones
// then, and what was queued there in between says nothing.
const (
	quickTries = 3
	firstPause = time.Millisecond
)

// failed: the new connection was refused or broke.
func (m *Machine) failed(o Observation) {
	if m.doubt == silent {
		// Something answers for the host, but it is the old connection's
		// silence that decides.
		m.nextTry = m.tryFrom + m.th.Attempt
		m.linkError = o.Outcome != NobodyThere
		return
	}
	if m.doubt == unproved {
		m.nextTry = never // if the far end refused, its refusal came over the carrier
		return
	}
	dead := m.link == Local && m.peer == PeerDead && o.Outcome == NobodyThere
	if dead || m.tries >= quickTries {
		m.linkError = m.linkError || o.Outcome == NoRoute
		m.gone(o.Now, m.cause+"; "+o.Cause)
		return
	}
	m.nextTry = o.Now + firstPause<<(m.tries-1)
}

// unserved: something accepts connections and does not serve them. That is
// what a stopped, grabbed or full server does; it is also what is left of a
// dead one whose listening socket somebody inherited.
func (m *Machine) unserved(now time.Duration, reached bool, cause string) {
	age := now - m.since
	switch {
	case m.link == Local && m.peerLives():
		if m.th.Hung > 0 && age >= m.th.Hung {
			m.hung(age)
		}
	case !reached, m.link == Local && m.peer == PeerDead:
		m.linkError = m.linkError || m.link != Local
		m.gone(now, m.cause+"; "+cause)
	case age >= m.th.Blind:
		m.gone(now, m.cause+"; "+cause)
	}
	m.stalled = true
	m.nextTry = max(m.nextTry, now)
}

func (m *Machine) peerLives() bool {
	return m.peer == PeerAlive || m.peer == PeerStopped || m.peer == PeerFrozen
}

// gone: the end, for the reason that the doubt began with. A display manager
// and xinit end the server when the session's leader has exited: that is a
// logout, not a server that failed. In a crash it is the server that goes first.
func (m *Machine) gone(now time.Duration, how string) {
	reason := session.ReasonServerGone
	switch {
	case m.linkError:
		reason = session.ReasonLinkLost
	case m.leaderGone && m.leaderAt < m.since:
		reason = session.ReasonLogout
		how = "the session's leader exited, then: " + how
	}
	m.finish(GONE, End{Reason: reason, Run: true, Noticed: how, Took: now - m.since})
}

func (m *Machine) silence(now time.Duration) string {
	s := m.sample
	text := "no acknowledgement for " + seconds(m.quiet(now))
	if s.Retransmits > 0 {
		text += ", " + strconv.Itoa(int(s.Retransmits)) + " retransmissions"
	}
	if s.Probes > 0 {
		text += ", " + strconv.Itoa(int(s.Probes)) + " probes"
	}
	return text
}

// words say the state and why, for people.
func (m *Machine) words() string {
	switch m.state {
	case OK:
		return "it answers"
	case BUSY:
		if m.deaf(m.deafAt) {
			return deafWords
		}
		return "no answer, but it is there" + peerWords(m.peer)
	case SUSPECT:
		return "no answer, and the link may be dead"
	case BLIND:
		text := "no answer, and behind a relay nothing else can be known"
		if m.doubted != "" {
			text += ": " + m.doubted
		}
		return text
	case CONFIRM:
		return m.cause + "; connecting anew to see"
	}
	return m.end.Noticed
}

func peerWords(p Peer) string {
	switch p {
	case PeerStopped:
		return " (the server is stopped)"
	case PeerFrozen:
		return " (the server is frozen)"
	case PeerAlive:
		return " (the server runs)"
	}
	return ""
}

// seconds writes a time for people: whole seconds, or tenths below ten.
func seconds(d time.Duration) string {
	if d < 10*time.Second {
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	}
	return strconv.Itoa(int((d+time.Second/2)/time.Second)) + " s"
}
