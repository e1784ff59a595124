package display

import (
	"context"
	"errors"
	"fmt"
	"time"

	"xexit/internal/linux"
)

// Opener connects to a display for a Set that has not got the rights to: the
// cookie, the socket and the network are the session user's.
//
//	Set ──▶ Opener ──▶ somebody with the user's rights, who calls Connect
//	    ◀── done ◀──────── descriptor, cookie
//
// It returns at once, and calls done once, from any goroutine, within some
// seconds: whoever it asks may hang, and then it says ErrUnable. Any other
// error is Connect's.
type Opener func(done func(Connection, error))

// Connection is a connection to a display on which nothing has been said yet.
type Connection struct {
	FD      int  // a stream socket
	Pending bool // its connect(2) is under way, over when the socket is writable

	Wayland bool
	Socket  string // the unix socket's name; '@' starts an abstract one
	IP      []byte // TCP: where it leads to, 4 or 16 bytes
	Port    uint16
	Number  int // X: as in :NUMBER.SCREEN
	Screen  int

	// Of a display's first Connection. Later ones are to lead to the same
	// display, so what let one in then does still.
	Cookie    []byte
	Authority error  // why there may be none
	SSH       string // SSH_CONNECTION of the session
}

// Connect looks up where a display is and what lets one in, as Set.Add does,
// and connects. The descriptor is the caller's. Where a display has several
// addresses it waits for each but the last.
func Connect(ctx context.Context, o Options) (Connection, error) {
	t := newTarget(nil)
	o.Opener = nil
	if err := t.prepare(ctx, o); err != nil {
		if refused := (*RefusedError)(nil); !errors.As(err, &refused) {
			err = fmt.Errorf("%w: %w", ErrUnable, err) // a name server, say
		}
		return Connection{}, err
	}
	var cause error
	for i, addr := range t.addrs {
		sock, pending, err := addr.dial()
		if err == nil && pending && i < len(t.addrs)-1 {
			pending, err = false, settle(ctx, sock, len(t.addrs)-i)
		}
		if err == nil {
			c := Connection{
				FD: sock.FD(), Pending: pending, Wayland: o.Wayland, Socket: addr.socket, IP: addr.ip, Port: addr.port,
				Number: t.number, Screen: t.screen, Authority: t.authErr, SSH: o.Connection,
			}
			if !o.Wayland {
				c.Cookie = t.cookie(addr)
			}
			return c, nil
		}
		if cause = telling(cause, err); outcome(err) == Unable {
			cause = err // what the others say without it is not all
			break
		}
	}
	return Connection{}, cause
}

// settle waits for a connect that is under way, for its share of the time.
func settle(ctx context.Context, s *linux.Socket, share int) error {
	limit := openLimit
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline)
	}
	err := linux.Writable(s.FD(), limit/time.Duration(share))
	if err == nil {
		err = s.Err()
	}
	if err != nil {
		_ = s.Close() // nothing was sent on it
	}
	return err
}

// request asks the opener for a new connection.
func (t *target) request() {
	c := &client{loop: t.loop, to: t}
	t.next = c
	if t.begun {
		t.observe(Observation{Kind: Opening})
	}
	t.opener(func(got Connection, err error) {
		if !t.loop.post(func() { t.brought(c, got, err) }) && err == nil {
			linux.CloseFD(got.FD)
		}
	})
}

// brought takes what the opener has brought. It may be too late.
func (t *target) brought(c *client, got Connection, err error) {
	if t.next != c {
		if err == nil {
			linux.CloseFD(got.FD)
		}
		return
	}
	if err == nil {
		err = t.take(c, got)
	}
	if err != nil {
		t.next = nil
		t.result(outcome(err), err)
		return
	}
	if t.begun {
		t.observe(Observation{Kind: Begun})
	}
	if t.next == c {
		c.begin()
	}
}

// take makes c what the opener has connected. The descriptor is ours.
func (t *target) take(c *client, got Connection) (err error) {
	if c.sock, err = linux.TakeSocket(got.FD); err != nil {
		return errors.Join(ErrUnable, err)
	}
	c.addr = address{socket: got.Socket, ip: got.IP, port: got.Port}
	if !t.begun {
		t.number, t.screen, t.tokenless, t.authErr = got.Number, got.Screen, got.Wayland, got.Authority
		t.cookie = func(address) []byte { return got.Cookie }
		t.connection = got.SSH
		t.addrs = []address{c.addr}
	}
	if t.tokenless != got.Wayland {
		_ = c.sock.Close() // nothing was sent on it
		c.sock = nil
		return fmt.Errorf("the opener has connected to another kind of display: %w", ErrUnable)
	}
	c.link = c.addr.link(t.number)
	c.protocol = t.speak(c)
	return c.attach(got.Pending)
}
