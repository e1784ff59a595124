package x11

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrProtocol reports bytes that no X server sends. The connection is of no
// further use.
var ErrProtocol = errors.New("not the X11 protocol")

// Bounds on what a server can make the client keep.
const (
	// MaxKept is the most bytes of one packet that are kept; longer replies
	// are counted through and become Unexpected. Of a set-up reply it is some
	// hundred bytes at a time.
	MaxKept = 64 << 10
	// MaxClients bounds ClientsReply.
	MaxClients = 2048
	// MaxUnsent bounds Output. A server that does not read is not asked a
	// second time; one that answers what it has not read is none.
	MaxUnsent = 16 << 10

	// What a quiet connection keeps of its buffers for the next question.
	keptOut, keptPending = 64, 4
)

// Tag is the caller's name for a question; 0 is none.
type Tag uint32

// question is a request that has a reply.
type question struct {
	seq    uint16
	opcode byte
	xres   byte // the minor opcode, where opcode is X-Resource's
	tag    Tag
	most   uint16 // bytes of a property that were asked for
}

// Conn is one client's conversation with a server, without the socket: the
// caller sends Output and feeds what it receives. It is not safe for
// concurrent use.
type Conn struct {
	out     []byte       // of this
	sent    int          // so much is sent
	setup   *setupReader // nil once the set-up reply has come
	in      []byte       // an incomplete packet
	skip    uint64       // bytes of a packet that is not kept
	seq     uint16       // of the last request
	pending []question
	xres    byte // major opcode of X-Resource; 0 unknown
	dead    error
}

// NewConn begins a conversation with the set-up request. An empty cookie asks
// to be let in without.
func NewConn(cookie []byte) *Conn {
	c := MakeConn(cookie)
	return &c
}

// MakeConn is NewConn for a Conn that is part of something larger.
func MakeConn(cookie []byte) Conn {
	return Conn{out: setupRequest(cookie), setup: newSetupReader()}
}

// Output is what is to be sent. It is valid until the next call.
func (c *Conn) Output() []byte { return c.out[c.sent:] }

// Sent takes n bytes off Output.
func (c *Conn) Sent(n int) {
	c.sent += n
	if c.sent < len(c.out) {
		return
	}
	c.sent, c.out = 0, c.out[:0]
	if cap(c.out) > keptOut {
		c.out = nil
	}
}

// Kept is how many bytes are held for the conversation: what has come and is
// not complete, and what is not sent or not answered.
func (c *Conn) Kept() int {
	const questionSize = 12
	n := cap(c.in) + cap(c.out) + cap(c.pending)*questionSize
	if c.setup != nil {
		n += cap(c.setup.in) + 4*cap(c.setup.setup.Roots)
	}
	return n
}

// Waiting reports whether the question with this tag has no answer yet.
func (c *Conn) Waiting(tag Tag) bool {
	for _, q := range c.pending {
		if q.tag == tag {
			return true
		}
	}
	return false
}

// Feed takes received bytes, in pieces of any size, and hands every complete
// event to visit. An error of visit ends it and is returned; ErrProtocol,
// wrapped with what was seen, is final.
func (c *Conn) Feed(p []byte, visit func(Event) error) error {
	for c.dead == nil && len(p) > 0 {
		if c.skip > 0 {
			n := min(c.skip, uint64(len(p)))
			c.skip -= n
			p = p[n:]
			continue
		}
		var event Event
		if c.setup != nil {
			p, event, c.dead = c.setup.feed(p)
			if event != nil {
				c.skip, c.setup = uint64(c.setup.skip), nil
			}
		} else {
			var packet []byte
			if packet, p = c.packet(p); packet != nil {
				event, c.dead = c.decode(packet)
			}
		}
		if event == nil {
			continue
		}
		if err := visit(event); err != nil {
			return err
		}
	}
	return c.dead
}

// packet cuts one whole packet off p, together with what was kept of it from
// before. Without one it keeps p and returns nil.
func (c *Conn) packet(p []byte) (packet, rest []byte) {
	if len(c.in) == 0 && len(p) >= packetSize {
		size := packetLen(p)
		if uint64(len(p)) >= size {
			return p[:size], p[size:]
		}
	}
	if n := packetSize - len(c.in); n > 0 {
		n = min(n, len(p))
		c.in, p = append(c.in, p[:n]...), p[n:]
		if len(c.in) < packetSize {
			return nil, p
		}
	}
	size := packetLen(c.in)
	if size > MaxKept {
		c.skip = size - uint64(len(c.in))
		packet, c.in = c.in, nil
		return packet, p // its head alone; decode sees that it is short
	}
	n := min(size-uint64(len(c.in)), uint64(len(p)))
	c.in, p = append(c.in, p[:n]...), p[n:]
	if uint64(len(c.in)) < size {
		return nil, p
	}
	packet, c.in = c.in, nil
	return packet, p
}

// packetLen is the length of the packet that begins with head.
func packetLen(head []byte) uint64 {
	if code := head[0] &^ 0x80; head[0] == packetReply || code == eventGeneric {
		return packetSize + 4*uint64(binary.LittleEndian.Uint32(head[4:]))
	}
	return packetSize
}

// decode reads a packet; nil is an event that nobody asked for.
func (c *Conn) decode(p []byte) (Event, error) {
	switch code := p[0] &^ 0x80; { // the top bit: sent by another client
	case p[0] == packetError:
		q, _ := c.answered(binary.LittleEndian.Uint16(p[2:]))
		return ErrorReply{Tag: q.tag, Code: p[1], Opcode: p[10]}, nil
	case p[0] == packetReply:
		q, ok := c.answered(binary.LittleEndian.Uint16(p[2:]))
		if !ok {
			return nil, fmt.Errorf("reply to a request that was not made (sequence %d): %w", binary.LittleEndian.Uint16(p[2:]), ErrProtocol)
		}
		return q.parse(p), nil
	case code == eventPropertyNotify && p[0] == code:
		return PropertyNotify{
			Window:  binary.LittleEndian.Uint32(p[4:]),
			Atom:    binary.LittleEndian.Uint32(p[8:]),
			Deleted: p[16] != 0,
		}, nil
	}
	return nil, nil
}

// answered finds the question with a sequence number. The server answers in
// order, so those before it will never be; it need not be the first only where
// one was refused in a way that did not name it.
func (c *Conn) answered(seq uint16) (question, bool) {
	for i, q := range c.pending {
		if q.seq == seq {
			c.pending = append(c.pending[:0], c.pending[i+1:]...)
			if len(c.pending) == 0 && cap(c.pending) > keptPending {
				c.pending = nil
			}
			return q, true
		}
	}
	return question{}, false
}
