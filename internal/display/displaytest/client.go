package displaytest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
)

// client is the server's side of one connection.
type client struct {
	server *Server
	conn   net.Conn
	base   uint32

	// Under the server's lock:
	properties int      // that were asked for
	seq        uint16   // of the last request read
	queue      [][]byte // to be sent, in this order
	gone       bool
}

// Opcodes of the requests that are understood.
const (
	opCreateWindow     = 1
	opChangeAttributes = 2
	opInternAtom       = 16
	opChangeProperty   = 18
	opGetProperty      = 20
	opGetInputFocus    = 43
	opCreateGC         = 55
	opQueryExtension   = 98
	opNoOperation      = 127
	opXRes             = 150 // as this server numbers it
	errRequest         = 1
	errWindow          = 3
)

func (c *client) serve() {
	defer c.server.running.Done()
	defer c.leave()
	c.server.speak(c)
}

// begin lets what is queued be sent from now on.
func (c *client) begin() {
	c.server.running.Add(1)
	go c.write()
}

func x11() language {
	flood := make([]byte, 32*1024)
	for i := 0; i < len(flood); i += 32 {
		flood[i] = 22 // ConfigureNotify
	}
	return language{(*client).speakX11, flood}
}

func (c *client) speakX11() {
	if !c.setup() {
		return
	}
	c.begin()
	s := c.server
	var head [4]byte
	for {
		if s.hear() != nil {
			return
		}
		if _, err := io.ReadFull(c.conn, head[:]); err != nil {
			return
		}
		body := make([]byte, max(4*int(binary.LittleEndian.Uint16(head[2:]))-4, 0))
		if _, err := io.ReadFull(c.conn, body); err != nil {
			return
		}
		if s.thaw() != nil {
			return
		}
		s.mu.Lock()
		c.seq++
		s.requests[head[0]]++
		if reply := c.answer(head[0], head[1], body); reply != nil {
			c.enqueue(reply)
		}
		s.mu.Unlock()
	}
}

// Dial connects an ordinary client, which is let in and then does nothing.
func Dial(display string) (io.Closer, error) {
	conn, err := net.Dial("unix", display)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write([]byte{'l', 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	var head [8]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if head[0] != 1 {
		return nil, errors.Join(errors.New("fake display: not let in"), conn.Close())
	}
	return conn, nil
}

// leave forgets the client and what it owned.
func (c *client) leave() {
	_ = c.conn.Close()
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
	c.gone = true
	s.changed.Broadcast()
	for id, w := range s.windows {
		delete(w.watchers, c)
		if w.owner == c {
			delete(s.windows, id)
		}
	}
}

// thaw waits while the server is frozen. The error says that it is closed.
func (s *Server) thaw() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.mode == Frozen && !s.closed {
		s.changed.Wait()
	}
	if s.closed {
		return net.ErrClosed
	}
	return nil
}

// setup reads the set-up request and answers it.
func (c *client) setup() bool {
	if c.server.hear() != nil {
		return false
	}
	var head [12]byte
	if _, err := io.ReadFull(c.conn, head[:]); err != nil || head[0] != 'l' {
		return false
	}
	pad := func(n int) int { return (n + 3) &^ 3 }
	n, d := int(binary.LittleEndian.Uint16(head[6:])), int(binary.LittleEndian.Uint16(head[8:]))
	rest := make([]byte, pad(n)+pad(d))
	if _, err := io.ReadFull(c.conn, rest); err != nil || c.server.thaw() != nil {
		return false
	}
	cookie := rest[pad(n) : pad(n)+d]
	s := c.server
	s.mu.Lock()
	mode, refusal, count := s.mode, s.refusal, len(s.clients)
	s.mu.Unlock()
	switch {
	case mode == Refuse:
	case s.options.MaxClients > 0 && count > s.options.MaxClients:
		refusal = "Maximum number of clients reached"
	case s.options.Cookie != nil && d == 0:
		refusal = "Authorization required, but no authorization protocol specified\n"
	case s.options.Cookie != nil && !bytes.Equal(cookie, s.options.Cookie):
		refusal = "Invalid MIT-MAGIC-COOKIE-1 key"
	case mode == Reset:
		c.reset()
		return false
	case mode == Visuals:
		return c.send(visuals(setupReply(c.base))) == nil
	default:
		return c.send(setupReply(c.base)) == nil
	}
	s.mu.Lock()
	s.refused++
	s.mu.Unlock()
	_ = c.send(refusalReply(refusal)) // it is closed next in any case
	return false
}

func refusalReply(reason string) []byte {
	reason = reason[:min(len(reason), 255)]
	p := []byte{0, byte(len(reason)), 11, 0, 0, 0}
	p = binary.LittleEndian.AppendUint16(p, uint16((len(reason)+3)/4))
	p = append(p, reason...)
	return append(p, make([]byte, (4-len(reason)%4)%4)...)
}

func setupReply(base uint32) []byte {
	const vendor = "xexit fake display"
	p := []byte{1, 0, 11, 0, 0, 0, 0, 0}
	p = binary.LittleEndian.AppendUint32(p, 1) // release
	p = binary.LittleEndian.AppendUint32(p, base)
	p = binary.LittleEndian.AppendUint32(p, idMask)
	p = binary.LittleEndian.AppendUint32(p, 0) // motion buffer
	p = binary.LittleEndian.AppendUint16(p, uint16(len(vendor)))
	p = binary.LittleEndian.AppendUint16(p, 65535)        // longest request
	p = append(p, 1, 1, 0, 0, 32, 32, 8, 255, 0, 0, 0, 0) // one screen, one format, …
	p = append(p, vendor+"\x00\x00"...)                   // padded
	p = append(p, 24, 32, 32, 0, 0, 0, 0, 0)              // the format
	screen := make([]byte, 40)
	binary.LittleEndian.PutUint32(screen, rootWindow)
	screen[38], screen[39] = 24, 1 // depth; one list of visuals
	p = append(p, screen...)
	p = append(p, 24, 0, 0, 0, 0, 0, 0, 0) // which is empty
	binary.LittleEndian.PutUint16(p[6:], uint16((len(p)-8)/4))
	return p
}

// reply begins a reply of 32 bytes and extra ones.
func (c *client) reply(data byte, extra int) []byte {
	p := make([]byte, 32+(extra+3)&^3)
	p[0], p[1] = 1, data
	binary.LittleEndian.PutUint16(p[2:], c.seq)
	binary.LittleEndian.PutUint32(p[4:], uint32((extra+3)/4))
	return p
}

func (c *client) fault(code, opcode byte) []byte {
	p := make([]byte, 32)
	p[1], p[10] = code, opcode
	binary.LittleEndian.PutUint16(p[2:], c.seq)
	return p
}

// answer carries one request out, under the server's lock.
func (c *client) answer(opcode, data byte, body []byte) []byte {
	s := c.server
	word := func(i int) uint32 {
		if len(body) < 4*i+4 {
			return 0
		}
		return binary.LittleEndian.Uint32(body[4*i:])
	}
	switch opcode {
	case opCreateWindow:
		s.windows[word(0)] = newWindow(c)
	case opChangeAttributes:
		const valueEventMask, propertyChange = 1 << 11, 1 << 22
		if w := s.windows[word(0)]; w != nil && word(1) == valueEventMask && word(2)&propertyChange != 0 {
			w.watchers[c] = struct{}{}
		}
	case opInternAtom:
		p := c.reply(0, 0)
		binary.LittleEndian.PutUint32(p[8:], s.atomLocked(text(body, int(word(0)&0xffff), 4)))
		return p
	case opChangeProperty:
		return c.change(data, word, body)
	case opGetProperty:
		return c.property(word)
	case opQueryExtension:
		p := c.reply(0, 0)
		if !s.options.NoXRes && text(body, int(word(0)&0xffff), 4) == "X-Resource" {
			p[8], p[9] = 1, opXRes
		}
		return p
	case opXRes:
		return c.resources(data)
	case opGetInputFocus: // what XSync(3) asks
		return c.reply(0, 0)
	case opNoOperation, opCreateGC:
	default:
		return c.fault(errRequest, opcode)
	}
	return nil
}

func text(body []byte, n, from int) string {
	if len(body) < from+n {
		return ""
	}
	return string(body[from : from+n])
}

func (c *client) change(mode byte, word func(int) uint32, body []byte) []byte {
	const replace, prepend = 0, 1
	s := c.server
	w := s.windows[word(0)]
	if w == nil {
		return c.fault(errWindow, opChangeProperty)
	}
	n := int(word(4)) * int(word(3)&0xff) / 8
	value := []byte(text(body, n, 20))
	p := property{word(2), byte(word(3)), value}
	if old := w.property[word(1)]; mode != replace {
		p.value = append(append([]byte{}, old.value...), value...)
		if mode == prepend {
			p.value = append(value, old.value...)
		}
	}
	s.changeLocked(word(0), word(1), p)
	return nil
}

func (c *client) property(word func(int) uint32) []byte {
	c.properties++
	w := c.server.windows[word(0)]
	if w == nil {
		return c.fault(errWindow, opGetProperty)
	}
	have, ok := w.property[word(1)]
	if !ok || c.server.mode == Forgetful {
		return c.reply(0, 0)
	}
	value := have.value[:min(len(have.value), 4*int(word(4)))]
	p := c.reply(have.format, len(value))
	binary.LittleEndian.PutUint32(p[8:], have.kind)
	binary.LittleEndian.PutUint32(p[12:], uint32(len(have.value)-len(value)))
	binary.LittleEndian.PutUint32(p[16:], uint32(len(value)*8/int(have.format)))
	copy(p[32:], value)
	return p
}

// resources answers X-Resource 1.2: its version, and the ids of all clients.
func (c *client) resources(minor byte) []byte {
	if minor == 0 {
		p := c.reply(0, 0)
		binary.LittleEndian.PutUint16(p[8:], 1)
		binary.LittleEndian.PutUint16(p[10:], 2)
		return p
	}
	var ids []byte
	n := 1
	ids = appendID(ids, 0)
	for other := range c.server.clients {
		ids = appendID(ids, other.base)
		n++
	}
	p := c.reply(0, len(ids))
	binary.LittleEndian.PutUint32(p[8:], uint32(n))
	copy(p[32:], ids)
	return p
}

func appendID(ids []byte, base uint32) []byte {
	const xid = 1
	ids = binary.LittleEndian.AppendUint32(ids, base)
	ids = binary.LittleEndian.AppendUint32(ids, xid)
	return binary.LittleEndian.AppendUint32(ids, 0)
}

// notify tells the client of a change, under the server's lock. A client that
// does not read is not waited for.
func (c *client) notify(window, atom uint32) {
	p := make([]byte, 32)
	p[0] = 28
	binary.LittleEndian.PutUint16(p[2:], c.seq)
	binary.LittleEndian.PutUint32(p[4:], window)
	binary.LittleEndian.PutUint32(p[8:], atom)
	c.enqueue(p)
}

// enqueue sends a packet behind those before it, under the server's lock: a
// reply and an event come in the order in which they arose.
func (c *client) enqueue(p []byte) {
	const most = 1 << 16
	if len(c.queue) < most {
		c.queue = append(c.queue, p)
	}
	c.server.changed.Broadcast()
}

// write sends what is queued, until the connection is over.
func (c *client) write() {
	s := c.server
	defer s.running.Done()
	for {
		s.mu.Lock()
		for len(c.queue) == 0 && !c.gone && !s.closed {
			s.changed.Wait()
		}
		if c.gone || s.closed {
			s.mu.Unlock()
			return
		}
		p := c.queue[0]
		c.queue = c.queue[1:]
		s.mu.Unlock()
		if c.send(p) != nil {
			_ = c.conn.Close() // the reader then sees the end
			return
		}
	}
}
