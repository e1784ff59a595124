package display

import (
	"errors"
	"syscall"
	"time"

	"xexit/internal/linux"
)

// listener is told what happens to a client's connection.
type listener interface {
	reached(c *client)                      // the transport stands
	joined(c *client)                       // the introduction is over
	heard(c *client)                        // bytes came, after joined
	said(c *client, o Observation)          // what they meant
	lost(c *client, o Outcome, cause error) // the connection is of no more use
}

// protocol is what is spoken on a connection: X11 or Wayland. It is given the
// bytes that came, and tells the client what they mean: joined when it knows
// enough of the display, and said from then on.
type protocol interface {
	wire
	// feed takes received bytes. An error ends the connection.
	feed(p []byte) error
	// ask puts the question that shows that the display lives, unless it is
	// put already.
	ask()
	// noOp says something that needs no answer.
	noOp()
	// count asks who is connected, where that can be asked.
	count()
}

// wire is what is to be sent: Output, of which Sent takes n bytes off.
type wire interface {
	Output() []byte
	Sent(n int)
}

// client is one connection to a display, from connect to close: the transport,
// below the protocol.
//
//	connect ─▶ introduction of the protocol ─▶ joined
type client struct {
	loop     *loop
	to       listener
	protocol protocol

	sock      *linux.Socket // nil once closed, and until an opener has brought it
	key       uint64
	link      Link
	addr      address
	server    int // pid of who listens on its unix socket; 0: unknown
	connected bool
	writing   bool // waits to be writable
	brake     brake
	ready     bool // joined

	countable bool   // clients can be counted
	token     string // what tells the display from another one of its name; "" where there is none
	value     string // LTSP_XEXIT when it joined
}

// errOther reports a display that is not the one of before.
var errOther = errors.New("another display answers there")

// dial connects to c.addr.
func (c *client) dial() (err error) {
	var pending bool
	if c.sock, pending, err = c.addr.dial(); err != nil {
		c.sock = nil
		return err
	}
	return c.attach(pending)
}

// attach takes the socket into the loop; pending: it does not stand yet.
func (c *client) attach(pending bool) (err error) {
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
	switch c.link {
	case Local:
		c.server, _ = c.sock.PeerPID() // in no pid namespace of ours: 0
	case Relayed:
		_ = c.sock.SetClass(watcherClass) // without it, this counts as a program for other watchers
	}
	return nil
}

// close ends the connection; nothing is reported of it any more.
func (c *client) close() {
	if c.sock == nil {
		return
	}
	c.loop.forget(c.sock.FD(), c.key)
	c.release()
	_ = c.sock.Close() // nothing of ours is lost by it
	c.sock = nil
	c.loop.keepSpare()
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
		c.brake.took += uint32(n)
		if c.ready {
			c.to.heard(c)
		}
		if err := c.protocol.feed(c.loop.buffer[:n]); err != nil {
			c.fail(feedOutcome(err), err)
			return
		}
		if n < len(c.loop.buffer) {
			break
		}
	}
	c.flush()
	c.slow()
}

// flush sends what is to be sent, as far as it fits.
func (c *client) flush() {
	if c.sock == nil || !c.connected {
		return
	}
	for len(c.protocol.Output()) > 0 {
		n, err := c.sock.Write(c.protocol.Output())
		if errors.Is(err, syscall.EAGAIN) {
			break
		}
		if err != nil {
			// The other side is closed; what it said before may still be
			// waiting, and the read tells better why.
			c.unsent(err)
			return
		}
		c.protocol.Sent(n)
	}
	if blocked := len(c.protocol.Output()) > 0; blocked != c.writing {
		c.writing = blocked
		if c.brake.on {
			return // release looks at it
		}
		if err := c.loop.epoll.Change(c.sock.FD(), c.wants(), c.key); err != nil {
			c.fail(Dropped, err)
		}
	}
}

// wants is what to wait for.
func (c *client) wants() linux.EpollEvents {
	if c.writing {
		return linux.EpollIn | linux.EpollOut
	}
	return linux.EpollIn
}

func (c *client) unsent(cause error) {
	c.protocol.Sent(len(c.protocol.Output()))
	for range readBurst {
		n, err := c.sock.Read(c.loop.buffer)
		if err != nil {
			if !errors.Is(err, syscall.EAGAIN) {
				cause = err
			}
			break
		}
		if err := c.protocol.feed(c.loop.buffer[:n]); err != nil || c.sock == nil {
			break
		}
	}
	c.fail(outcome(cause), cause)
}

// join: the protocol's introduction is over. An error says that the connection
// is closed now.
func (c *client) join() error {
	c.ready = true
	c.to.joined(c)
	return c.gone()
}

// tell passes on what the display said, after join.
func (c *client) tell(o Observation) error {
	c.to.said(c, o)
	return c.gone()
}

func (c *client) gone() error {
	if c.sock == nil {
		return errClosed
	}
	return nil
}

var errClosed = errors.New("connection closed on this side")

// ask sends the ping.
func (c *client) ask() {
	c.protocol.ask()
	c.flush()
}

// feedOutcome tells what it means that a protocol ends a connection.
func feedOutcome(err error) Outcome {
	var r setupRefusal
	switch {
	case errors.Is(err, errOther):
		return OtherDisplay
	case !errors.As(err, &r):
		return outcome(err)
	case r.TooMany():
		return Full
	}
	return NoEntry
}

// outcome tells what an errno of connect or read means.
func outcome(err error) Outcome {
	var refused *RefusedError // an opener found no display to ask
	if errors.Is(err, ErrUnable) || errors.As(err, &refused) {
		return Unable
	}
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
		{syscall.EMFILE, Unable},
		{syscall.ENFILE, Unable},
		{syscall.ENOMEM, Unable},
		{syscall.ENOBUFS, Unable},
		{syscall.ENOSPC, Unable},        // epoll_ctl(2)
		{syscall.EADDRNOTAVAIL, Unable}, // no local port is free
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
		Longest: max(t.LostAfter/5, time.Second),
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
	return linkSample(info)
}
