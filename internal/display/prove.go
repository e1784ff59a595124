package display

import (
	"time"

	"xexit/internal/session"
)

// A carrier that lives need not lead to a far end that does: behind a bastion,
// ssh -J or a TCP relay its other end is the relay's kernel. What proves the
// far end is any byte that comes over the carrier; and a new connection to the
// forwarded display makes one come. sshd passes it on as a channel, the user's
// ssh connects to its X server, whose kernel accepts even if the server is
// stopped or grabbed, and confirms:
//
//	watcher ─connect─▶ sshd ─CHANNEL_OPEN─▶ ssh ─connect─▶ X server's queue
//	                   bytes received ◀─CONFIRMATION─┘
//
// Each such connection stays in the queue of a server that is stopped, and ssh
// hangs once that is full. So they are not many: the pause doubles each time,
// and whatever else comes over the carrier saves one.

// overCarrier takes in what a sample of the carrier says beside its health.
func (m *Machine) overCarrier(o Observation, a *Actions) {
	if m.link != Carried || m.doubt == broken {
		return
	}
	switch {
	case o.Kind == Answer && o.Link.Known && m.questioned && o.Link.Received == m.atQuestion:
		m.disown(o.Now, "an answer came, and nothing came over the ssh connection that SSH_CONNECTION names: it is another's", a)
	case o.Kind != Tick && o.Kind != Tried:
	case o.Link.Vanished: // looked at again, lest one query decide
		if m.missed++; m.missed > 1 {
			m.disown(o.Now, "the ssh connection that SSH_CONNECTION names stands no more, and the display's does", a)
		}
	case o.Link.Known:
		m.missed = 0
		if o.Link.Received != m.received {
			m.received, m.heard = o.Link.Received, o.Now
		}
	}
}

// disown: what was taken for the carrier is none. Nothing is concluded from it,
// and what had been is taken back.
func (m *Machine) disown(now time.Duration, why string, a *Actions) {
	m.link, m.doubted = m.under, why
	m.th.Ping = max(m.th.Ping, m.th.Patience)
	if m.doubt != noDoubt {
		m.believe(now, a)
	}
	a.Note = why
}

// provable: the carrier lives; so does the far end if anything came of late.
func (m *Machine) provable(now time.Duration, a *Actions) {
	m.state = BUSY
	at := max(m.asked, m.heard, m.deafAt) + m.pause
	if now < at {
		m.nextLook = min(m.nextLook, at)
		return
	}
	if m.unread {
		return // sshd would not take a new connection up either
	}
	m.doubt, m.state = unproved, CONFIRM
	m.cause = "no answer for " + seconds(now-m.asked) + ", though the ssh connection acknowledges"
	m.since, m.tryFrom, m.tries, m.nextTry = now, now, 0, now
}

// prove does what is due while the far end is unproved. false: it is decided.
func (m *Machine) prove(now time.Duration, a *Actions) bool {
	lives, grace := m.heard > m.since, m.grace
	switch {
	case lives, !m.linkLives(), m.deaf(now):
		m.believe(now, a)
		m.grace = grace // of the carrier itself nothing was said
		if lives {
			m.pause *= 2
		}
		if lives || m.deaf(now) {
			m.state = BUSY
		}
		return false
	case now >= m.since+2*m.th.LostAfter && !m.unread && !m.opening:
		m.finish(GONE, End{
			Reason: session.ReasonBlind, Run: true, Took: now - m.asked,
			Noticed: "no answer for " + seconds(now-m.asked) + "; the ssh connection acknowledges, " +
				"and nothing came back over it, not even for a new connection (blind-after)",
		})
		return false
	case now >= m.since+m.th.LostAfter && m.tryFrom < m.since+m.th.LostAfter:
		m.trying, m.nextTry = false, now // a second and last one
	}
	m.nextLook = now + m.th.Look
	return true
}
