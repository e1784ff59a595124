package x11

import "fmt"

// Each method appends one request to Output. Those with a Tag have a reply (or
// an ErrorReply), which carries it.

// send appends a request without a reply; false: the conversation is over.
func (c *Conn) send(opcode, data byte, words []uint32, tail []byte) bool {
	if len(c.out)-c.sent > MaxUnsent && c.dead == nil {
		c.dead = fmt.Errorf("answers to requests that it has not read: %w", ErrProtocol)
	}
	if c.dead != nil {
		return false
	}
	c.out = request(c.out, opcode, data, words, tail)
	c.seq++
	return true
}

// ask appends a request with a reply.
func (c *Conn) ask(tag Tag, opcode, data byte, words []uint32, tail []byte) {
	if !c.send(opcode, data, words, tail) {
		return
	}
	q := question{seq: c.seq, opcode: opcode, tag: tag}
	if opcode >= 128 {
		q.xres = data
	}
	if opcode == opGetProperty {
		q.most = uint16(4 * words[len(words)-1])
	}
	c.pending = append(c.pending, q)
}

// InternAtom asks for the atom of a name, and makes it if there is none.
func (c *Conn) InternAtom(tag Tag, name string) {
	c.ask(tag, opInternAtom, 0, []uint32{uint32(len(name))}, []byte(name))
}

// FindAtom asks for the atom of a name; 0 is the answer where there is none.
func (c *Conn) FindAtom(tag Tag, name string) {
	const onlyIfExists = 1
	c.ask(tag, opInternAtom, onlyIfExists, []uint32{uint32(len(name))}, []byte(name))
}

// GetProperty asks for at most bytes (rounded up to words; up to 65532) of a
// property, of whatever type. A longer answer is Unexpected.
func (c *Conn) GetProperty(tag Tag, window, property uint32, bytes int) {
	c.ask(tag, opGetProperty, 0, []uint32{window, property, AtomAny, 0, uint32(pad4(bytes) / 4)}, nil)
}

// How ChangeProperty treats what is there.
const (
	Replace byte = 0
	Append  byte = 2
)

// ChangeProperty sets a property of format 8.
func (c *Conn) ChangeProperty(mode byte, window, property, kind uint32, value []byte) {
	c.send(opChangeProperty, mode, []uint32{window, property, kind, 8, uint32(len(value))}, value)
}

// CreateHiddenWindow makes a window that is never shown (InputOnly, unmapped),
// to hang properties on.
func (c *Conn) CreateHiddenWindow(id, parent uint32) {
	const one, inputOnly = 1, 2
	c.send(opCreateWindow, 0, []uint32{id, parent, 0, one | one<<16, inputOnly << 16, 0, 0}, nil)
}

// WatchProperties asks for PropertyNotify of a window.
func (c *Conn) WatchProperties(window uint32) {
	const valueEventMask = 1 << 11
	c.send(opChangeWindowAttributes, 0, []uint32{window, valueEventMask, eventMaskPropertyChg}, nil)
}

// NoOperation sends four bytes that mean nothing.
func (c *Conn) NoOperation() { c.send(opNoOperation, 0, nil, nil) }

// QueryExtension asks whether the server has an extension.
func (c *Conn) QueryExtension(tag Tag, name string) {
	n := uint32(len(name))
	c.ask(tag, opQueryExtension, 0, []uint32{n}, []byte(name))
}

// QueryResourceVersion tells the X-Resource extension, with the major opcode
// of ExtensionReply, that the client speaks version 1.2, and asks for the
// server's. Client ids came with 1.2.
func (c *Conn) QueryResourceVersion(tag Tag, major byte) {
	c.xres = major
	c.ask(tag, major, xresQueryVersion, []uint32{1 | 2<<8}, nil)
}

// QueryClients asks who is connected, after QueryResourceVersion.
func (c *Conn) QueryClients(tag Tag) {
	const specs, anyClient = 1, 0
	c.ask(tag, c.xres, xresQueryClientIDs, []uint32{specs, anyClient, idXID | idPID}, nil)
}

// Raw appends any request without a reply, for tests and tools that need one
// of the others. body is padded.
func (c *Conn) Raw(opcode, data byte, body []byte) { c.send(opcode, data, nil, body) }
