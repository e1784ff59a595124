package ipc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"xexit/internal/linux"
)

// Patience is how long a client may take to say what it wants, and how long
// one step of an end may take to be read.
const Patience = 10 * time.Second

// Server answers on a socket. Its fields are set before Serve is called.
type Server struct {
	Handler Handler
	Limits  Limits
	// Known reports whether a user has a login here; nil: everybody has.
	// Those that have none share one user's limit. It answers from memory;
	// what it says of a user holds for a second.
	Known func(uid uint32) bool
	// Trouble hears what goes wrong besides what a client is told; nil:
	// nobody does. It is called concurrently.
	Trouble  func(error)
	Patience time.Duration // 0: Patience

	gate  gate
	known acquaintances // the accepting goroutine's
	logs  chan struct{} // how many ordinary users read records at once
}

// logsAtOnce: each reads the history's file.
const logsAtOnce = 2

// acceptPause follows on an accept that failed, for want of descriptors most
// often: they come back when somebody leaves.
const acceptPause = 100 * time.Millisecond

// Serve answers until ctx is over, and returns nil then, with all connections
// closed and no method of the handler running. It closes the listener. An error
// means that it could not go on. It is called once.
func (s *Server) Serve(ctx context.Context, l *net.UnixListener) error {
	s.gate = gate{limits: s.Limits.orDefault(), held: map[share]int{}}
	s.logs = make(chan struct{}, logsAtOnce)
	if s.Patience == 0 {
		s.Patience = Patience
	}
	ctx, cancel := context.WithCancel(ctx)
	var callers sync.WaitGroup
	defer callers.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("serve %s: %w", l.Addr(), err)
		case err != nil:
			s.trouble(fmt.Errorf("serve %s: %w", l.Addr(), err))
			pause(ctx, acceptPause)
			continue
		}
		if c := s.enter(conn); c != nil {
			callers.Go(func() {
				s.serve(ctx, c)
				if s.gate.leave(c) {
					_ = c.conn.Close()
				}
			})
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (s *Server) trouble(err error) {
	if s.Trouble != nil {
		s.Trouble(err)
	}
}

// caller is one connection.
type caller struct {
	conn  *net.UnixConn
	uid   uint32
	share share

	placed bool // the gate's
}

// enter asks the kernel who it is and gives him a place; nil if there is none.
func (s *Server) enter(conn *net.UnixConn) *caller {
	uid, err := peer(conn)
	if err != nil {
		_ = conn.Close() // who cannot be asked is nobody
		s.trouble(err)
		return nil
	}
	c := &caller{conn: conn, uid: uid, share: share{uid: uid}}
	if uid != 0 && s.Known != nil && !s.known.knows(uid, s.Known) {
		c.share = share{stranger: true}
	}
	evicted, ok := s.gate.admit(c)
	if evicted != nil {
		evicted.turnAway()
	}
	if !ok {
		c.turnAway()
		return nil
	}
	return c
}

// peer is the uid of whoever connected.
func peer(conn *net.UnixConn) (uid uint32, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("who connects: %w", err)
	}
	var cred linux.Cred
	var failed error
	if err := raw.Control(func(fd uintptr) { cred, failed = linux.PeerCred(int(fd)) }); err != nil {
		return 0, fmt.Errorf("who connects: %w", err)
	}
	if failed != nil {
		return 0, fmt.Errorf("who connects: %w", failed)
	}
	return cred.UID, nil
}

// turnAway says why and hangs up. Nothing has been written before, so there is
// room for it and it does not wait.
func (c *caller) turnAway() {
	_ = c.conn.SetWriteDeadline(time.Now().Add(acceptPause))
	_ = c.send(answer{Error: toWire(ErrBusy)})
	_ = c.conn.Close()
}

func (c *caller) send(a answer) error {
	line, err := encodeAnswer(a)
	if err != nil {
		return err
	}
	if _, err := c.conn.Write(line); err != nil {
		return fmt.Errorf("%w: %w", errHungUp, err)
	}
	return nil
}

// errHungUp ends the answer to a client that is gone or does not read.
var errHungUp = errors.New("the client is gone")

// serve reads the request and answers it. A client that does not read, or is
// gone, is none of the server's worries.
func (s *Server) serve(ctx context.Context, c *caller) {
	// One deadline for the whole of it: a byte now and then does not help.
	_ = c.conn.SetReadDeadline(time.Now().Add(s.Patience))
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetReadDeadline(time.Unix(1, 0)) })
	line, err := readLine(c.conn, make([]byte, 0, MaxRequest))
	stop()
	if !s.gate.spoke(c) || ctx.Err() != nil {
		return
	}
	if err != nil && !errors.Is(err, ErrBad) {
		return
	}
	var r request
	if err == nil {
		r, err = decodeRequest(line)
	}
	if err == nil {
		err = s.answer(ctx, c, r)
	}
	if errors.Is(err, errHungUp) {
		return
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(s.Patience))
	if err != nil {
		_ = c.send(answer{Error: s.shown(c, err)})
		return
	}
	_ = c.send(answer{End: true})
}

// readLine reads up to a newline, into what buf has room for. Nothing may
// follow it: a connection has one request. The error is ErrBad or the connection's.
func readLine(conn *net.UnixConn, buf []byte) ([]byte, error) {
	for len(buf) < cap(buf) {
		n, err := conn.Read(buf[len(buf):cap(buf)])
		end := indexNewline(buf[len(buf) : len(buf)+n])
		if end >= 0 && end < n-1 {
			return nil, fmt.Errorf("%w: something follows it", ErrBad)
		}
		buf = buf[:len(buf)+n]
		if end >= 0 {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: longer than %d bytes", ErrBad, cap(buf))
}

func indexNewline(b []byte) int {
	for i, c := range b {
		if c == '\n' {
			return i
		}
	}
	return -1
}

// shown is an error as this caller may see it: what went wrong inside the
// daemon may be about others.
func (s *Server) shown(c *caller, err error) *wireError {
	if c.uid == 0 {
		return toWire(err)
	}
	k := known(err)
	switch {
	case k == nil:
		s.trouble(fmt.Errorf("request of uid %d: %w", c.uid, err))
		return toWire(ErrFailed)
	case errors.Is(err, errStopping):
		return toWire(errStopping)
	case k.err == ErrNoLogin || k.err == ErrFailed:
		return toWire(k.err) // whatever else it says
	}
	return toWire(err)
}
