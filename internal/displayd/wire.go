package displayd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"xexit/internal/linux"
)

// version of the protocol between daemon and worker, which come from one
// installation but may have been started before and after an upgrade.
const version = 1

// What is said. A message has one of these words; each process knows which it
// may hear.
const (
	sayHello  = "hello"  // both, first: V
	sayWatch  = "watch"  // daemon: Login, Spec; N, which comes back with news
	sayDrop   = "drop"   // daemon: Login
	saySynced = "synced" // daemon: all logins have been said; others are to be dropped
	sayHere   = "here"   // daemon: N of open, and the descriptor on which an opener will answer; none: not now
	sayOpen   = "open"   // worker: Login, Again; N, its number: it needs a connection
	sayNews   = "news"   // worker: Login, N, Event
)

// message is one packet.
type message struct {
	Say   string `json:"say"`
	V     int    `json:"v,omitempty"`
	Login string `json:"login,omitempty"`
	Spec  *Spec  `json:"spec,omitempty"`
	Event *Event `json:"event,omitempty"`
	N     uint64 `json:"n,omitempty"`
	Again bool   `json:"again,omitempty"` // to the display that was connected to before
}

// errProtocol reports that the other side said what it may not.
var errProtocol = errors.New("not the protocol")

// link is one connection between daemon and worker. What is to be sent waits
// in a queue, so that neither waits for the other.
type link struct {
	conn *net.UnixConn
	out  *queue[packet]
}

type packet struct {
	m  message
	fd int // goes with it, and is closed; none: no descriptor
}

// none is no descriptor.
const none = -1

func newLink(conn *net.UnixConn) *link { return &link{conn: conn, out: newQueue[packet](maxQueue)} }

// maxQueue bounds what waits for another process: more than a thousand logins
// have to say at once.
const maxQueue = 1 << 14

// send queues a message. One that finds no room ends the connection.
func (l *link) send(m message, fd int) {
	if !l.out.put(packet{m, fd}) {
		closeFD(fd)
		_ = l.conn.Close() // the other side does not listen
	}
}

// write sends what is queued until the connection or ctx is over.
func (l *link) write(ctx context.Context) {
	for {
		p, ok := l.out.take(ctx)
		if !ok {
			return
		}
		err := l.put(p)
		closeFD(p.fd)
		if err != nil {
			_ = l.conn.Close() // the reader learns of it
			return
		}
	}
}

func (l *link) put(p packet) error {
	text, err := json.Marshal(p.m)
	if err != nil {
		return err
	}
	var rights []byte
	if p.fd != none {
		rights = syscall.UnixRights(p.fd)
	}
	_, _, err = l.conn.WriteMsgUnix(text, rights, nil)
	return err
}

// read hands on what the other side says until it is over, which is the error.
// A descriptor that comes along is the callee's.
func (l *link) read(take func(m message, fd int) error) error {
	buf := make([]byte, maxMessage)
	for {
		n, fd, err := receive(l.conn, buf)
		if err != nil {
			return err
		}
		var m message
		if err := json.Unmarshal(buf[:n], &m); err != nil {
			closeFD(fd)
			return fmt.Errorf("%w: %w", errProtocol, err)
		}
		if err := take(m, fd); err != nil {
			return err
		}
	}
}

// close ends the connection, and all that was to be sent.
func (l *link) close() {
	_ = l.conn.Close()
	for _, p := range l.out.close() {
		closeFD(p.fd)
	}
}

// receive takes one packet and the descriptor that came with it, if one did.
func receive(conn *net.UnixConn, buf []byte) (n, fd int, err error) {
	rights := make([]byte, syscall.CmsgSpace(4))
	n, got, flags, _, err := conn.ReadMsgUnix(buf, rights)
	if err != nil {
		return 0, none, err
	}
	if fd = descriptor(rights[:got]); fd != none {
		syscall.CloseOnExec(fd)
	}
	switch {
	case n == 0:
		err = io.EOF
	case flags&syscall.MSG_TRUNC != 0:
		err = fmt.Errorf("%w: longer than %d bytes", errProtocol, len(buf))
	}
	if err != nil {
		closeFD(fd)
		return 0, none, err
	}
	return n, fd, nil
}

func descriptor(rights []byte) int {
	messages, err := syscall.ParseSocketControlMessage(rights)
	if err != nil {
		return none
	}
	for _, m := range messages {
		if fds, err := syscall.ParseUnixRights(&m); err == nil && len(fds) > 0 {
			return fds[0] // the buffer holds one
		}
	}
	return none
}

func closeFD(fd int) {
	if fd != none {
		linux.CloseFD(fd)
	}
}

// seqpacket makes a connection of an end of a socket pair, which it takes over.
func seqpacket(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "socket pair")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%w: no unix socket", errProtocol), c.Close())
	}
	return conn, nil
}

// hello is said and heard first.
func (l *link) hello() error {
	const patience = 10 * time.Second
	if err := l.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := l.put(packet{message{Say: sayHello, V: version}, none}); err != nil {
		return err
	}
	buf := make([]byte, maxMessage)
	n, fd, err := receive(l.conn, buf)
	closeFD(fd)
	if err != nil {
		return err
	}
	var m message
	switch err := json.Unmarshal(buf[:n], &m); {
	case err != nil || m.Say != sayHello:
		return fmt.Errorf("%w: it does not begin with a hello", errProtocol)
	case m.V != version:
		return fmt.Errorf("%w: version %d on the other side, %d on this one", errProtocol, m.V, version)
	}
	return l.conn.SetDeadline(time.Time{})
}
