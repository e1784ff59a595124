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
	// are counted through and become Unexpected. A set-up reply cannot be
	// longer than 8 bytes and 65535 words, and those are allowed.
	MaxKept = 64 << 10
	// MaxClients bounds ClientsReply.
	MaxClients = 2048
	maxPending = 64 // questions that wait for an answer
)

// Tag is the caller's name for a question; 0 is none.
type Tag uint32

// question is a request that has a reply.
type question struct {
	seq    uint16
	opcode byte
	xres   byte // the minor opcode, where opcode is X-Resource's
	tag    Tag
}

// Conn is one client's conversation with a server, without the socket: the
// caller sends Output and feeds what it receives. It is not safe for
// concurrent use.
type Conn struct {
	out     []byte // not sent yet
	in      []byte // an incomplete packet
	skip    uint64 // bytes of a packet that is not kept
	set     bool   // the set-up reply has come
	seq     uint16 // of the last request
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
func MakeConn(cookie []byte) Conn { return Conn{out: setupRequest(cookie)} }

// Output is what is to be sent. It is valid until the next call.
func (c *Conn) Output() []byte { return c.out }

// Sent takes n bytes off Output.
func (c *Conn) Sent(n int) {
	c.out = c.out[n:]
	if len(c.out) == 0 {
		c.out = nil
	}
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
		packet, rest, err := c.packet(p)
		if err != nil {
			c.dead = err
			break
		}
		p = rest
		if packet == nil {
			continue // incomplete, or to be skipped
		}
		event, err := c.decode(packet)
		if err != nil {
			c.dead = err
			break
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
func (c *Conn) packet(p []byte) (packet, rest []byte, err error) {
	head := packetSize
	if !c.set {
		head = setupHead
	}
	if len(c.in) == 0 && len(p) >= head {
		size := c.size(p)
		if uint64(len(p)) >= size {
			return p[:size], p[size:], nil
		}
	}
	if n := head - len(c.in); n > 0 {
		n = min(n, len(p))
		c.in, p = append(c.in, p[:n]...), p[n:]
		if len(c.in) < head {
			return nil, p, nil
		}
	}
	size := c.size(c.in)
	if c.set && size > MaxKept {
		c.skip = size - uint64(len(c.in))
		packet, c.in = c.in, nil
		return packet, p, nil // its head alone; decode sees that it is short
	}
	n := min(size-uint64(len(c.in)), uint64(len(p)))
	c.in, p = append(c.in, p[:n]...), p[n:]
	if uint64(len(c.in)) < size {
		return nil, p, nil
	}
	packet, c.in = c.in, nil
	return packet, p, nil
}

// size is the length of the packet that begins with head.
func (c *Conn) size(head []byte) uint64 {
	if !c.set {
		return uint64(setupSize(head))
	}
	if code := head[0] &^ 0x80; head[0] == packetReply || code == eventGeneric {
		return packetSize + 4*uint64(binary.LittleEndian.Uint32(head[4:]))
	}
	return packetSize
}

func (c *Conn) decode(p []byte) (Event, error) {
	if !c.set {
		c.set = true
		return parseSetup(p)
	}
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
	return nil, nil // an event that nobody asked for
}

// answered finds the question with a sequence number. The server answers in
// order, so those before it will never be; it need not be the first only where
// one was refused in a way that did not name it.
func (c *Conn) answered(seq uint16) (question, bool) {
	for i, q := range c.pending {
		if q.seq == seq {
			c.pending = append(c.pending[:0], c.pending[i+1:]...)
			if len(c.pending) == 0 {
				c.pending = nil
			}
			return q, true
		}
	}
	return question{}, false
}
