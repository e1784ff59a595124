package display

import (
	"xexit/internal/display/x11"
)

// census counts the clients of a display that are not watchers.
//
//	QueryClientIds ─▶ every client ─▶ few? ask each for the watcher's mark ─▶ the others
type census struct {
	open    int // marks not answered yet
	suspect [maxResident]x11.Client
	watcher [maxResident]bool
	n       int
}

// count starts a census, unless one is under way.
func (x *x11Protocol) count() {
	if x.Waiting(tagClients) || x.census.open > 0 {
		return
	}
	x.census = census{}
	x.QueryClients(tagClients)
}

// listed takes the list. With more clients than can be told apart nobody is
// asked: so many are no watchers.
func (x *x11Protocol) listed(e x11.ClientsReply) error {
	s := &x.census
	o := Observation{Kind: Clients}
	for _, other := range e.Clients {
		const server = 0
		if other.Base == server || other.Base == x.base {
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
	if o.Others == 0 || o.Others > maxResident {
		return x.client.tell(o)
	}
	s.n, s.open = o.Others, o.Others
	for i, other := range s.suspect[:s.n] {
		x.GetProperty(tagMark+x11.Tag(i), firstID(other.Base, x.mask), x.atoms[2], len(markValue))
	}
	x.client.flush()
	return nil
}

// marked takes the answer for one of them.
func (x *x11Protocol) marked(tag x11.Tag, watcher bool) error {
	s := &x.census
	i := int(tag) - int(tagMark)
	if s.open == 0 || i < 0 || i >= s.n {
		return nil
	}
	s.watcher[i] = watcher
	if s.open--; s.open > 0 {
		return nil
	}
	o := Observation{Kind: Clients}
	for i, other := range s.suspect[:s.n] {
		if !s.watcher[i] {
			o.Resident[o.Others] = name(other)
			o.Others++
		}
	}
	return x.client.tell(o)
}

// name tells a client from a later one with the same range of ids, where pids
// are known.
func name(c x11.Client) uint64 { return uint64(c.Base)<<32 | uint64(c.PID) }
