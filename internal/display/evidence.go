package display

import "time"

// What the samples say of the link, and of sshd on this machine.

// linkLives: everything sent was acknowledged. A carrier has others' data in
// flight at any time; what counts there is that none of it had to be sent again.
func (m *Machine) linkLives() bool {
	s := m.sample
	return s.Known && (s.Unacked == 0 || m.link == Carried) && s.Retransmits == 0 && s.Probes == 0
}

// quiet is for how long the link's other end said nothing, as far as that
// counts. A carrier says nothing while it is not asked to, be it that sshd did
// not pass the question on.
func (m *Machine) quiet(now time.Duration) time.Duration {
	quiet := min(m.sample.Silence, now-m.grace)
	if m.link == Carried {
		from := m.asked
		if !m.unread {
			from = max(from, m.deafAt)
		}
		quiet = min(quiet, now-from+m.th.Keepalive)
	}
	return quiet
}

func (m *Machine) linkDead(now time.Duration) bool {
	s := m.sample
	return s.Known && m.quiet(now) >= m.th.Confirm && (m.proved() || m.link == Direct && s.Retransmits > 0)
}

// proved: so much was sent in vain that loss alone does not explain it.
func (m *Machine) proved() bool {
	return m.sample.Retransmits >= m.th.Retries || m.sample.Probes >= m.th.Probes
}

// enoughNoOps is what may be sent without an answer before data that is unread
// says nothing of sshd: it stops reading when the channel's window is full,
// which is 16 kB in the smallest of ssh clients, of 4 bytes each.
const enoughNoOps = 4000

// relayed: sshd takes what is sent, with a carrier that is seen or without.
func (m *Machine) relayed() bool { return m.link == Carried || m.link == Relayed }

// hears takes in whether sshd reads. One that runs does so at once, whatever
// happens beyond.
func (m *Machine) hears(o Observation, a *Actions) {
	if o.Kind != Tick && o.Kind != Tried || !m.relayed() {
		return
	}
	before := m.deaf(m.deafAt)
	switch {
	case o.Link.Unread == 0:
		m.unread = false
	case !m.unread && m.noOps < enoughNoOps:
		m.unread, m.unreadFrom = true, o.Now
	}
	if m.deaf(o.Now) {
		m.deafAt = o.Now
		if !before {
			a.Note = deafWords
		}
	}
}

const deafWords = "no answer, and the sshd of this host does not read: it is stopped or hangs"

// deaf: sshd on this machine does not read, being stopped, frozen or hung, for
// so long that it is no chance. That is no end, and nothing that goes through
// sshd can tell of one.
func (m *Machine) deaf(now time.Duration) bool {
	return m.unread && now-m.unreadFrom >= m.th.Patience
}

// keepInUse sends something over the link, unless nobody takes it up: what
// lies there already keeps for as long.
func (m *Machine) keepInUse(a *Actions) {
	if m.sample.Unread > 0 {
		return
	}
	a.NoOp = true
	m.noOps = min(m.noOps+1, enoughNoOps)
}
