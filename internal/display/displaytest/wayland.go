package displaytest

import (
	"encoding/binary"
	"io"
)

// What a compositor says of wl_display and of a wl_callback.
const (
	wlDisplay  = 1
	wlSync     = 0
	wlError    = 0
	wlDeleteID = 1
	wlDone     = 0
	wlNothing  = 0xff000000 // an object that a client has never heard of
)

func wayland() language {
	var flood []byte
	for len(flood) < 32*1024 {
		flood = append(flood, message(wlNothing, 0, 1, 2)...)
	}
	return language{(*client).speakWayland, flood}
}

// message is an event with arguments of one word each.
func message(object uint32, opcode uint16, arguments ...uint32) []byte {
	p := binary.NativeEndian.AppendUint32(nil, object)
	p = binary.NativeEndian.AppendUint32(p, uint32(8+4*len(arguments))<<16|uint32(opcode))
	for _, a := range arguments {
		p = binary.NativeEndian.AppendUint32(p, a)
	}
	return p
}

// failure is wl_display.error of the display itself.
func failure(code uint32, text string) []byte {
	body := append([]byte(text), 0)
	p := message(wlDisplay, wlError, wlDisplay, code, uint32(len(body)))
	p = append(p, body...)
	p = append(p, make([]byte, (4-len(p)%4)%4)...)
	binary.NativeEndian.PutUint32(p[4:], uint32(len(p))<<16|wlError)
	return p
}

func (c *client) speakWayland() {
	c.begin()
	s := c.server
	var head [8]byte
	for {
		if _, err := io.ReadFull(c.conn, head[:]); err != nil {
			return
		}
		object, size := binary.NativeEndian.Uint32(head[:]), binary.NativeEndian.Uint32(head[4:])>>16
		body := make([]byte, max(int(size)-8, 0))
		if _, err := io.ReadFull(c.conn, body); err != nil {
			return
		}
		if s.thaw() != nil {
			return
		}
		if !c.obey(object, binary.NativeEndian.Uint32(head[4:])&0xffff, body) {
			return
		}
	}
}

// obey carries one request out; false: the client is thrown out.
func (c *client) obey(object, opcode uint32, body []byte) bool {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	const noObject, noMethod = 0, 1
	switch {
	case s.mode == Refuse:
		s.refused++
		_, _ = c.conn.Write(failure(noMethod, s.refusal)) // it is closed next in any case
		return false
	case object != wlDisplay || opcode != wlSync || len(body) != 4:
		_, _ = c.conn.Write(failure(noObject, "no such request here"))
		return false
	}
	s.requests[wlSync]++
	id := binary.NativeEndian.Uint32(body)
	c.enqueue(message(id, wlDone, uint32(s.requests[wlSync])))
	c.enqueue(message(wlDisplay, wlDeleteID, id))
	return true
}
