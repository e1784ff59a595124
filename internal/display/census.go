package display

import (
	"xexit/internal/display/x11"
)

// census counts the clients of a display that are not watchers.
//
//	QueryClientIds ─▶ every client ─▶ few? ask each for the watcher's mark ─▶ the others
//	                                     └─▶ one has no such window: QueryClientIds again
//
// A client without the window that the mark would be on is an ordinary one, or
// a watcher that has left since the list was made: watchers of one display tend
// to count, and to leave, at the same moment. The second list tells.
type census struct {
	open    int // marks not answered yet
	suspect [maxResident]x11.Client
	is      [maxResident]standing
	n       int
	again   bool // the list that is awaited is the second
}

// standing is what is known of one client.
type standing uint8

const (
	ordinary   standing = iota
	aWatcher            // it has the mark
	windowless          // ordinary, or gone
)

// count starts a census, unless one is under way.
func (x *x11Protocol) count() {
	if x.client.link == Relayed {
		_ = x.forwarded() // of the client that is gone nobody is told
		return
	}
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
	if s.again {
		return x.counted(e)
	}
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
func (x *x11Protocol) marked(tag x11.Tag, is standing) error {
	s := &x.census
	i := int(tag) - int(tagMark)
	if s.open == 0 || i < 0 || i >= s.n {
		return nil
	}
	s.is[i] = is
	s.again = s.again || is == windowless
	if s.open--; s.open > 0 {
		return nil
	}
	if s.again {
		x.QueryClients(tagClients)
		x.client.flush()
		return nil
	}
	return x.counted(x11.ClientsReply{})
}

// counted tells the result: the first list, less the watchers and those that
// the second list does not have any more. Who has come since is counted next
// time.
func (x *x11Protocol) counted(second x11.ClientsReply) error {
	s := &x.census
	o := Observation{Kind: Clients}
	for i, other := range s.suspect[:s.n] {
		if s.is[i] == aWatcher || s.is[i] == windowless && !second.More && !lists(second, other) {
			continue
		}
		o.Resident[o.Others] = name(other)
		o.Others++
	}
	s.again = false
	return x.client.tell(o)
}

func lists(list x11.ClientsReply, c x11.Client) bool {
	for _, other := range list.Clients {
		if other == c {
			return true
		}
	}
	return false
}

// name tells a client from a later one with the same range of ids, where pids
// are known.
func name(c x11.Client) uint64 { return uint64(c.Base)<<32 | uint64(c.PID) }
