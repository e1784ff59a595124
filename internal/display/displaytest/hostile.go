package displaytest

import (
	"encoding/binary"
	"net"
	"os"
	"time"
)

// The modes of a server that means harm, besides those of Mode.
const (
	Dribble   Mode = iota + 100 // sends a byte every 10 ms, for ever
	Deaf                        // accepts connections and never reads
	Reset                       // resets every connection, old and new
	Flap                        // lets clients in, answers two questions for a property and closes
	Unasked                     // follows every answer with one to a request that was never made
	Boundless                   // says of every reply that it is 16 GB long, and goes on sending
	Forgetful                   // has no property, whatever was set
	Echo                        // follows every answer with the news that LTSP_XEXIT has changed
	Visuals                     // lets clients in with the longest set-up reply there can be
)

// Accepted is how many connections there have been.
func (s *Server) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// hear waits while the server is deaf. The error says that it is closed.
func (s *Server) hear() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.mode == Deaf && !s.closed {
		s.changed.Wait()
	}
	if s.closed {
		return net.ErrClosed
	}
	return nil
}

// reset breaks c, hard where the transport knows how.
func (c *client) reset() {
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // sends RST (socket(7))
	}
	_ = c.conn.Close()
}

// send writes a packet in the way of the mode.
func (c *client) send(p []byte) error {
	c.server.mu.Lock()
	mode := c.server.mode
	c.server.mu.Unlock()
	switch mode {
	case Garbage:
		for i := range p {
			p[i] = byte(i*7 + 1) // a reply to something that was never asked
		}
	case Slow:
		for i := range p {
			if _, err := c.conn.Write(p[i : i+1]); err != nil {
				return err
			}
		}
		return nil
	case Truncate:
		_, _ = c.conn.Write(p[:len(p)/2]) // and that is all
		return os.ErrClosed
	case Endless:
		return c.flood(p, c.server.flood)
	}
	if done, err := c.hostile(mode, p); done {
		return err
	}
	_, err := c.conn.Write(p)
	return err
}

// hostile sends a packet in the way of one of the modes above; false: it is
// none of them.
func (c *client) hostile(mode Mode, p []byte) (done bool, err error) {
	s := c.server
	switch mode {
	case Dribble:
		return true, c.dribble(p)
	case Reset:
		c.reset()
		return true, os.ErrClosed
	case Flap:
		s.mu.Lock()
		over := c.properties >= 2 && len(c.queue) == 0
		s.mu.Unlock()
		if _, err := c.conn.Write(p); err != nil || over {
			return true, os.ErrClosed
		}
		return true, nil
	case Unasked:
		more := make([]byte, 32)
		more[0] = 1
		binary.LittleEndian.PutUint16(more[2:], 0x7777)
		return true, c.writeAll(p, more)
	case Boundless:
		if isReply(p) {
			binary.LittleEndian.PutUint32(p[4:], 0xffffffff)
			return true, c.flood(p, make([]byte, 32<<10))
		}
	case Echo:
		s.mu.Lock()
		atom := s.atomLocked("LTSP_XEXIT")
		s.mu.Unlock()
		if isReply(p) {
			news := make([]byte, 32)
			news[0] = 28
			copy(news[2:4], p[2:4])
			binary.LittleEndian.PutUint32(news[4:], rootWindow)
			binary.LittleEndian.PutUint32(news[8:], atom)
			return true, c.writeAll(p, news)
		}
	}
	return false, nil
}

// isReply tells a reply from a set-up reply and from events.
func isReply(p []byte) bool { return p[0] == 1 && len(p) >= 32 && !isSetup(p) }

func isSetup(p []byte) bool { return p[0] == 1 && p[2] == 11 && p[3] == 0 && len(p) > 32+40 }

func (c *client) writeAll(packets ...[]byte) error {
	for _, p := range packets {
		if _, err := c.conn.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// dribble sends a byte at a time, for as long as the server is there.
func (c *client) dribble(p []byte) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := range p {
		<-tick.C
		if _, err := c.conn.Write(p[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}

// flood sends p and then more without end.
func (c *client) flood(p, more []byte) error {
	for _, err := c.conn.Write(p); err == nil; {
		var n int
		n, err = c.conn.Write(more)
		c.server.mu.Lock()
		c.server.flooded += n
		c.server.mu.Unlock()
	}
	return os.ErrClosed
}

// visuals blows a set-up reply up to the greatest length that its head can
// say: screen after screen, each with visuals.
func visuals(p []byte) []byte {
	const depth, visual, each = 8, 24, 100
	screen := append([]byte{}, p[len(p)-48:len(p)-8]...)
	p = p[:len(p)-48]
	count := 0
	for len(p)+len(screen)+depth+each*visual <= 8+4*65535 && count < 255 {
		p = append(p, screen...)
		p = append(p, 24, 0, each, 0, 0, 0, 0, 0)
		p = append(p, make([]byte, each*visual)...)
		count++
	}
	p[28] = byte(count)
	p = append(p, make([]byte, 8+4*65535-len(p))...)
	binary.LittleEndian.PutUint16(p[6:], 65535)
	return p
}
