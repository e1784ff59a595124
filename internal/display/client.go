package display

import (
	"errors"
	"syscall"
	"time"

	"xexit/internal/display/x11"
	"xexit/internal/linux"
)

// Properties. The token and the value are on the root window; the mark is on a
// hidden window whose id is the first one of each watcher's range, so that
// watchers recognise each other without a list that somebody would have to
// keep. It dies with the connection.
const (
	propertyValue = "LTSP_XEXIT"
	propertyToken = "XEXIT_GENERATION"
	propertyMark  = "XEXIT_WATCHER"
	markValue     = "1"

	maxValue  = 16 // of LTSP_XEXIT: longer means nothing
	tokenSize = 32 // hexadecimal digits
)

// Questions, by tag. From tagMark on: is this client a watcher?
const (
	tagAtomValue x11.Tag = iota + 1
	tagAtomToken
	tagAtomMark
	tagExtension
	tagVersion
	tagToken
	tagValue
	tagClients
	tagMark
)

// listener is told what happens to a client's connection.
type listener interface {
	reached(c *client)                      // the transport stands
	joined(c *client)                       // the introduction is over
	heard(c *client)                        // bytes came, after joined
	said(c *client, e x11.Event)            // what they meant
	lost(c *client, o Outcome, cause error) // the connection is of no more use
}

// client is one connection to a display, from connect to close.
//
//	connect ─▶ set-up ─▶ atoms, extension, hidden window ─▶ token ─▶ value ─▶ joined
type client struct {
	loop *loop
	to   listener
	conn *x11.Conn

	sock      *linux.Socket // nil once closed
	key       uint64
	link      Link
	addr      address
	connected bool
	writing   bool // waits to be writable
	ready     bool // joined

	setup x11.SetupDone
	root  uint32
	want  string // token to find; "" on the first connection, which sets one
	token string
	atoms [3]uint32 // value, token, mark
	xres  bool      // clients can be counted
	value string    // LTSP_XEXIT

	screen int
}

// errOther reports a display that is not the one of before.
var errOther = errors.New("another display answers there: its " + propertyToken + " is not ours")

// dial connects to c.addr.
func (c *client) dial() (err error) {
	var pending bool
	if c.sock, pending, err = c.addr.dial(); err != nil {
		c.sock = nil
		return err
	}
	want := linux.EpollIn
	if pending {
		want, c.writing = linux.EpollOut, true
	}
	if c.key, err = c.loop.watch(c.sock.FD(), want, c.handle); err != nil {
		_ = c.sock.Close() // nothing was sent on it
		c.sock = nil
		return err
	}
	c.connected = !pending
	return nil
}

// close ends the connection; nothing is reported of it any more.
func (c *client) close() {
	if c.sock == nil {
		return
	}
	c.loop.forget(c.sock.FD(), c.key)
	_ = c.sock.Close() // nothing of ours is lost by it
	c.sock = nil
}

// fail closes the connection and says why.
func (c *client) fail(o Outcome, cause error) {
	if c.sock == nil {
		return
	}
	c.close()
	c.to.lost(c, o, cause)
}

func (c *client) handle(r linux.EpollReady) {
	if !c.connected {
		if err := c.sock.Err(); err != nil {
			c.fail(outcome(err), err)
			return
		}
		c.connected = true
		c.to.reached(c)
		c.flush()
		return
	}
	if r.In {
		c.read()
	}
	if r.Out && c.sock != nil {
		c.flush()
	}
}

// begin sends the set-up request on a transport that stands already.
func (c *client) begin() {
	if c.connected {
		c.to.reached(c)
		c.flush()
	}
}

// read takes in what there is, up to a burst.
func (c *client) read() {
	for range readBurst {
		if c.sock == nil {
			return
		}
		n, err := c.sock.Read(c.loop.buffer)
		if errors.Is(err, syscall.EAGAIN) {
			break
		}
		if err != nil {
			c.fail(outcome(err), err)
			return
		}
		if c.ready {
			c.to.heard(c)
		}
		if err := c.conn.Feed(c.loop.buffer[:n], c.event); err != nil {
			c.fail(eventOutcome(err), err)
			return
		}
		if n < len(c.loop.buffer) {
			break
		}
	}
	c.flush()
}

// flush sends what is to be sent, as far as it fits.
func (c *client) flush() {
	if c.sock == nil || !c.connected {
		return
	}
	for len(c.conn.Output()) > 0 {
		n, err := c.sock.Write(c.conn.Output())
		if errors.Is(err, syscall.EAGAIN) {
			break
		}
		if err != nil {
			// The other side is closed; what it said before may still be
			// waiting, and the read tells better why.
			c.unsent(err)
			return
		}
		c.conn.Sent(n)
	}
	if blocked := len(c.conn.Output()) > 0; blocked != c.writing {
		c.writing = blocked
		want := linux.EpollIn
		if blocked {
			want |= linux.EpollOut
		}
		if err := c.loop.epoll.Change(c.sock.FD(), want, c.key); err != nil {
			c.fail(Dropped, err)
		}
	}
}

func (c *client) unsent(cause error) {
	c.conn.Sent(len(c.conn.Output()))
	for {
		n, err := c.sock.Read(c.loop.buffer)
		if err != nil {
			if !errors.Is(err, syscall.EAGAIN) {
				cause = err
			}
			break
		}
		if err := c.conn.Feed(c.loop.buffer[:n], c.event); err != nil || c.sock == nil {
			break
		}
	}
	c.fail(outcome(cause), cause)
}

// event handles one event of the server.
func (c *client) event(e x11.Event) error {
	if c.sock == nil {
		return errClosed
	}
	if c.ready {
		c.to.said(c, e)
		if c.sock == nil {
			return errClosed
		}
		return nil
	}
	return c.introduce(e)
}

var errClosed = errors.New("connection closed on this side")

// ask sends the ping, which is the poll of LTSP_XEXIT too.
func (c *client) ask() {
	if !c.conn.Waiting(tagValue) {
		c.conn.GetProperty(tagValue, c.root, c.atoms[0], maxValue)
	}
	c.flush()
}

// outcome tells what an errno of connect or read means.
func outcome(err error) Outcome {
	for _, e := range []struct {
		errno syscall.Errno
		is    Outcome
	}{
		{syscall.ECONNREFUSED, NobodyThere},
		{syscall.ENOENT, NobodyThere},
		{syscall.EAGAIN, Full},
		{syscall.ETIMEDOUT, NoRoute},
		{syscall.EHOSTUNREACH, NoRoute},
		{syscall.ENETUNREACH, NoRoute},
		{syscall.ENETDOWN, NoRoute},
		{syscall.EHOSTDOWN, NoRoute},
	} {
		if errors.Is(err, e.errno) {
			return e.is
		}
	}
	return Dropped
}

// tune makes the kernel watch the link of a TCP connection.
func (c *client) tune(t Thresholds) error {
	if c.link == Local {
		return nil
	}
	const probes = 30 // GiveUp is what ends it
	return c.sock.TuneTCP(linux.Keepalive{
		Idle: t.Keepalive, Interval: t.Keepalive, Count: probes, GiveUp: t.Backstop,
	})
}

// sample is the kernel's view of the link.
func (c *client) sample() LinkSample {
	if c.sock == nil || c.link == Local {
		return LinkSample{}
	}
	info, err := c.sock.TCPInfo()
	if err != nil {
		return LinkSample{}
	}
	return LinkSample{
		Known: true, Unacked: info.Unacked, Retransmits: info.Retransmits, Probes: info.Probes,
		Silence: info.LastAckRecv / time.Millisecond * time.Millisecond,
	}
}
