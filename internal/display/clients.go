package display

import (
	"time"

	"xexit/internal/session"
)

// A connected watcher keeps a server from resetting or terminating when its
// last client leaves, so it must leave itself once the session is over. Between
// xrdb's exit and a slow desktop's first client nobody else is connected for
// seconds, though, and that is no end: so either the session's leader has to be
// gone, or, where he is not known, somebody must have stayed for Settled and
// then nobody have come for as long.

// countEvery is the pause between two counts.
func (m *Machine) countEvery() time.Duration {
	if m.leaderGone {
		return 5 * m.th.Look
	}
	return 30 * m.th.Look
}

// counted: the server's clients are known.
func (m *Machine) counted(o Observation) {
	if o.Others > 0 {
		m.alone = false
		if !m.leaderGone {
			m.residents(o)
		}
		return
	}
	if !m.alone {
		m.alone, m.aloneFrom = true, o.Now
		if m.leaderGone {
			m.nextCount = o.Now + m.th.Look // twice, with a pause: one may be connecting just now
		}
		m.resident = [maxResident]resident{}
		return
	}
	if m.leaderGone {
		m.finish(LEFT, End{
			Reason: session.ReasonLogout, Run: true, Took: o.Now - m.leaderAt,
			Noticed: "the session's leader exited and only watchers are connected",
		})
		return
	}
	if m.settled && o.Now-m.aloneFrom >= m.th.Settled {
		m.finish(LEFT, End{
			Reason: session.ReasonLogout, Run: true, Took: o.Now - m.aloneFrom,
			Noticed: "only watchers are connected, for " + seconds(o.Now-m.aloneFrom),
		})
	}
}

// residents keeps since when each of the first few clients is seen.
func (m *Machine) residents(o Observation) {
	var now [maxResident]resident
	for i, name := range o.Resident {
		if name == 0 {
			continue
		}
		now[i] = resident{name, o.Now}
		for _, old := range m.resident {
			if old.name == name {
				now[i].from = old.from
			}
		}
		if o.Now-now[i].from >= m.th.Settled {
			m.settled = true
		}
	}
	m.resident = now
}
