package display

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"xexit/internal/linux"
)

// carrier is the ssh connection that a forwarded display comes over.
//
//	watcher ──loopback── sshd ══ carrier ══ ssh ──unix── X server
//	                          (relay, bastion)
//
// The watcher's own connection ends at sshd, whose kernel acknowledges whatever
// happens beyond. The carrier is named by SSH_CONNECTION (ssh(1)), and the
// kernel tells anyone how it fares.
type carrier struct {
	flow  linux.Flow
	inode uint32
}

// What makes a carrier one that cannot be used.
var (
	errUnnamed   = errors.New("SSH_CONNECTION is not set")
	errMisnamed  = errors.New("SSH_CONNECTION names no connection")
	errNoCarrier = errors.New("the connection that SSH_CONNECTION names does not stand on this machine")
)

// findCarrier finds the carrier that an SSH_CONNECTION names. Whether it is
// this display's is another question: see Machine.contradicted.
func findCarrier(connection string) (*carrier, error) {
	if connection == "" {
		return nil, errUnnamed
	}
	flow, ok := parseConnection(connection)
	if !ok {
		return nil, fmt.Errorf("%w: %q", errMisnamed, connection)
	}
	info, err := linux.LookFlow(flow)
	switch {
	case errors.Is(err, linux.ErrNoFlow), err == nil && !info.Established:
		return nil, fmt.Errorf("%w (%s)", errNoCarrier, connection)
	case err != nil:
		return nil, fmt.Errorf("the ssh connection cannot be looked at: %w", err)
	}
	return &carrier{flow, info.Inode}, nil
}

// seek looks for the carrier of a forwarded display. Where sshd forwards by
// this host's own address (X11UseLocalhost no), only a carrier tells it from a
// server of this host's.
func (t *target) seek(link Link, c *client) Link {
	here := false
	if link == Direct && t.number >= firstForwarded && t.connection != "" && c != nil && c.sock != nil {
		here, _ = c.sock.ToItself() // else it is what it looks like
	}
	if link != Relayed && !here {
		return link
	}
	var err error
	if t.carrier, err = findCarrier(t.connection); err == nil {
		return Carried
	}
	t.noCarrier = err.Error()
	return link
}

// parseConnection reads "client-address client-port server-address server-port".
func parseConnection(text string) (f linux.Flow, ok bool) {
	word := strings.Split(text, " ")
	if len(word) != 4 {
		return f, false
	}
	port := func(text string) uint16 {
		n, err := strconv.ParseUint(text, 10, 16)
		ok = ok && err == nil && n > 0
		return uint16(n)
	}
	var zone uint32
	f.Remote, f.Zone = parseIP(word[0])
	f.Local, zone = parseIP(word[2])
	f.Zone = max(f.Zone, zone)
	ok = f.Remote != nil && len(f.Local) == len(f.Remote)
	f.RemotePort, f.LocalPort = port(word[1]), port(word[3])
	return f, ok
}

// sample is the kernel's view of the carrier. Vanished: it stands no more, or
// another connection has its addresses. Neither that nor known: this process
// was not able to ask.
func (c *carrier) sample() LinkSample {
	info, err := linux.LookFlow(c.flow)
	if err != nil && !errors.Is(err, linux.ErrNoFlow) {
		return LinkSample{}
	}
	if err != nil || !info.Established || info.Inode != c.inode {
		return LinkSample{Vanished: true}
	}
	s := linkSample(info.TCPInfo)
	s.Received, s.Sent, s.Next = info.Received, info.LastSent, info.Next
	return s
}

// unread is how much of what was sent the process at the other end, on this
// machine, has not read. 0, too, if that cannot be known.
func (c *client) unread() uint32 {
	if c.sock == nil {
		return 0
	}
	flow, err := c.sock.Flow()
	if err != nil {
		return 0
	}
	info, err := linux.LookFlow(flow.Reversed())
	if err != nil {
		return 0
	}
	return info.Unread
}

func linkSample(info linux.TCPInfo) LinkSample {
	return LinkSample{
		Known: true, Unacked: info.Unacked, Retransmits: info.Retransmits, Probes: info.Probes, RTT: info.RTT,
		Silence: info.LastAckRecv / time.Millisecond * time.Millisecond,
	}
}

// Facts are what can be known of a display, and how soon.
type Facts struct {
	Link       Link
	Thresholds Thresholds
	Carrier    string // Carried: the ssh connection, as SSH_CONNECTION names it
	NoCarrier  string // Relayed: why no ssh connection tells of the link
}

// Facts tells what Open found and Run has learnt since. Not while Run is under
// way.
func (w *Watch) Facts() Facts {
	t := w.target
	f := Facts{Link: t.machine.link, Thresholds: t.machine.th}
	switch f.Link {
	case Carried:
		f.Carrier = t.connection
	case Relayed:
		f.NoCarrier = t.machine.doubted
	}
	return f
}
