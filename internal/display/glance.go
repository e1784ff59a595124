package display

import (
	"context"
	"errors"
	"time"
)

// Sight is what one short look at a display showed. What could not be seen has
// its zero value.
type Sight struct {
	Link       Link
	NoCarrier  string // Relayed: why no ssh connection tells of the link
	Address    string // the socket; "" on TCP, where DISPLAY tells
	Connected  bool   // somebody accepts connections there
	Took       time.Duration
	Countable  bool   // it tells who is connected
	Command    string // LTSP_XEXIT, if it is one: DIE or EXIT
	Authority  error  // the file with the cookie could not be read
	ServerPID  int    // of the process that serves a unix socket; 0: unknown
	Server     Peer
	Thresholds Thresholds // of a watcher with these options
}

// Glance looks at a display as Open does and disconnects at once, so that it
// keeps no server from ending. Like a watcher it leaves the display's token
// where there is none, and it takes itself off the count of those who are
// connected. It waits for at most ten seconds, less if ctx says so; its errors
// are Open's, and what was seen until then is returned with them. A server
// without any other client resets when the look is over, as after any client
// (Xserver(1)).
func Glance(ctx context.Context, o Options) (Sight, error) {
	began := time.Now()
	w, err := attempt(ctx, o)
	if w == nil {
		return Sight{}, err
	}
	var s Sight
	if w.target != nil {
		s = w.target.sight()
		s.Took = time.Since(began)
	}
	return s, errors.Join(err, w.Close())
}

// sight is what the target knows right after open, successful or not.
func (t *target) sight() Sight {
	s := Sight{ServerPID: t.peer.pid, Authority: t.authErr}
	c := t.cur
	if c == nil {
		c = t.next
	}
	if len(t.addrs) > 0 {
		s.Link = t.addrs[0].link(t.number)
	}
	if c != nil {
		s.Link, s.Address, s.Connected = c.link, c.addr.socket, c.connected
		p := &t.peer
		if c != t.cur {
			p = &peer{}
			p.open(c)
			defer p.close()
		}
		s.ServerPID, s.Server = p.pid, p.look()
	}
	if t.begun {
		s.Connected, s.Link, s.Countable = true, t.machine.link, t.machine.counts
	} else {
		s.Link = t.seek(s.Link, c)
	}
	s.NoCarrier = t.noCarrier
	if t.begun && t.machine.State() == ENDED {
		s.Command = "EXIT"
		if t.machine.End().Run {
			s.Command = "DIE"
		}
	}
	s.Thresholds = t.times(s.Link)
	return s
}
