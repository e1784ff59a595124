package display

import (
	"xexit/internal/display/x11"
)

// census counts the clients of a display that are not watchers.
//
//	QueryClientIds ─▶ every client ─▶ few? ask each for the watcher's mark ─▶ the others
type census struct {
	of      *client // whose answers are awaited
	open    int     // marks not answered yet
	suspect [maxResident]x11.Client
	watcher [maxResident]bool
	n       int
}

// ask starts a count, unless one is under way on this connection.
func (s *census) ask(c *client) {
	if c.conn.Waiting(tagClients) || s.of == c && s.open > 0 {
		return
	}
	*s = census{of: c}
	c.conn.QueryClients(tagClients)
	c.flush()
}

// listed takes the list. With more clients than can be told apart nobody is
// asked: so many are no watchers.
func (s *census) listed(c *client, e x11.ClientsReply) (o Observation, complete bool) {
	if c != s.of {
		return o, false
	}
	o.Kind = Clients
	for _, other := range e.Clients {
		const server = 0
		if other.Base == server || other.Base == c.setup.ResourceBase {
			continue
		}
		if o.Others < maxResident {
			s.suspect[o.Others] = other
			o.Resident[o.Others] = name(other)
		}
		o.Others++
	}
	if e.More {
		o.Others = max(o.Others, maxResident+1)
	}
	s.n = o.Others
	if o.Others == 0 || o.Others > maxResident {
		return o, true
	}
	for i, other := range s.suspect[:s.n] {
		window := firstID(other.Base, c.setup.ResourceMask)
		c.conn.GetProperty(tagMark+x11.Tag(i), window, c.atoms[2], len(markValue))
	}
	s.open = s.n
	c.flush()
	return o, false
}

// marked takes the answer for one of them.
func (s *census) marked(c *client, tag x11.Tag, watcher bool) (o Observation, complete bool) {
	i := int(tag) - int(tagMark)
	if c != s.of || s.open == 0 || i < 0 || i >= s.n {
		return o, false
	}
	s.watcher[i] = watcher
	if s.open--; s.open > 0 {
		return o, false
	}
	o.Kind = Clients
	for i, other := range s.suspect[:s.n] {
		if !s.watcher[i] {
			o.Resident[o.Others] = name(other)
			o.Others++
		}
	}
	return o, true
}

// name tells a client from a later one with the same range of ids, where pids
// are known.
func name(c x11.Client) uint64 { return uint64(c.Base)<<32 | uint64(c.PID) }
