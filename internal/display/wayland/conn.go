package wayland

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// ErrProtocol reports bytes that no compositor sends. The connection is of no
// further use.
var ErrProtocol = errors.New("not the Wayland protocol")

// MaxText bounds the words of a FatalError.
const MaxText = 256

// FatalError is what a compositor says before it closes a connection
// (wl_display.error).
type FatalError struct {
	Object, Code uint32
	Text         string // its words, at most MaxText bytes of whatever it sent
}

func (e *FatalError) Error() string {
	return "the compositor reports error " + strconv.FormatUint(uint64(e.Code), 10) +
		" of object " + strconv.FormatUint(uint64(e.Object), 10) + ": " + e.Text
}

// The messages.
const (
	display      = 1 // the object that every connection has
	requestSync  = 0
	eventError   = 0
	eventDeleted = 1
	eventDone    = 0

	headSize  = 8
	smallSize = headSize + 4  // done, delete_id
	errorHead = headSize + 12 // before the text
	maxKept   = errorHead + MaxText
)

// Conn is one client's conversation with a compositor, without the socket: the
// caller sends Output and feeds what it receives. The zero value is ready to
// be used. It is not safe for concurrent use.
type Conn struct {
	out  []byte // not sent yet
	in   []byte // the beginning of a message, as far as it is kept
	left int    // bytes of that message that are still to come
	dead error

	callback uint32 // the sync that is not answered yet; 0: none
	last     uint32 // the highest id ever used
	spent    uint32 // an answered one that the compositor has not deleted yet
	free     uint32 // one that it has; 0: none
}

// Output is what is to be sent. It is valid until the next call.
func (c *Conn) Output() []byte { return c.out }

// Sent takes n bytes off Output.
func (c *Conn) Sent(n int) {
	c.out = c.out[n:]
	if len(c.out) == 0 {
		c.out = nil
	}
}

// Sync asks for an answer, unless one is awaited already.
func (c *Conn) Sync() {
	if c.callback != 0 {
		return
	}
	// Ids are given out without gaps, and again only once they are deleted.
	if c.free != 0 {
		c.callback, c.free = c.free, 0
	} else {
		c.last = max(c.last, display) + 1
		c.callback = c.last
	}
	for _, word := range [...]uint32{display, smallSize<<16 | requestSync, c.callback} {
		c.out = binary.NativeEndian.AppendUint32(c.out, word)
	}
}

// Waiting reports whether a Sync has no answer yet.
func (c *Conn) Waiting() bool { return c.callback != 0 }

// Feed takes received bytes, in pieces of any size, and reports whether the
// answer to Sync was among them. ErrProtocol, wrapped with what was seen, and
// *FatalError are final.
func (c *Conn) Feed(p []byte) (answered bool, err error) {
	for c.dead == nil && len(p) > 0 {
		if n := min(headSize-len(c.in), len(p)); n > 0 {
			c.in, p = append(c.in, p[:n]...), p[n:]
			if len(c.in) < headSize {
				break
			}
			size := int(binary.NativeEndian.Uint32(c.in[4:]) >> 16)
			if size < headSize || size%4 != 0 {
				c.dead = fmt.Errorf("a message of %d bytes: %w", size, ErrProtocol)
				break
			}
			c.left = size - headSize
		}
		n := min(c.left, len(p))
		if room := min(n, c.worth()-len(c.in)); room > 0 {
			c.in = append(c.in, p[:room]...)
		}
		if p, c.left = p[n:], c.left-n; c.left > 0 {
			break
		}
		var done bool
		done, c.dead = c.message()
		answered = answered || done
		c.reset()
	}
	return answered, c.dead
}

// worth is how much of the message is worth keeping, by its head.
func (c *Conn) worth() int {
	switch object := binary.NativeEndian.Uint32(c.in); {
	case object == display && c.opcode() == eventError:
		return maxKept
	case object == display, object == c.callback:
		return smallSize
	}
	return headSize // of an object that nobody here knows
}

func (c *Conn) opcode() uint32 { return binary.NativeEndian.Uint32(c.in[4:]) & 0xffff }

func (c *Conn) reset() {
	c.in = c.in[:0]
	if cap(c.in) > 2*smallSize {
		c.in = nil
	}
}

// message takes one whole message; answered: it is what Sync waits for.
func (c *Conn) message() (answered bool, err error) {
	object, opcode := binary.NativeEndian.Uint32(c.in), c.opcode()
	switch {
	case object == display && opcode == eventError:
		return false, c.fatal()
	case object == display && opcode == eventDeleted:
		if len(c.in) < smallSize {
			return false, fmt.Errorf("wl_display.delete_id without an id: %w", ErrProtocol)
		}
		if id := binary.NativeEndian.Uint32(c.in[headSize:]); id != 0 && id == c.spent {
			c.free, c.spent = id, 0
		}
	case object == c.callback && c.callback != 0:
		if opcode != eventDone || len(c.in) < smallSize {
			return false, fmt.Errorf("event %d of a wl_callback: %w", opcode, ErrProtocol)
		}
		c.spent, c.callback = c.callback, 0
		return true, nil
	}
	return false, nil
}

// fatal reads wl_display.error. A text that is cut off is told as far as it is
// there: that the connection ends is what matters.
func (c *Conn) fatal() error {
	if len(c.in) < errorHead {
		return fmt.Errorf("wl_display.error of %d bytes: %w", len(c.in), ErrProtocol)
	}
	e := &FatalError{Object: binary.NativeEndian.Uint32(c.in[8:]), Code: binary.NativeEndian.Uint32(c.in[12:])}
	text := c.in[errorHead:]
	if n := binary.NativeEndian.Uint32(c.in[16:]); n > 0 && uint64(n)-1 < uint64(len(text)) {
		text = text[:n-1] // without the NUL and the padding
	}
	e.Text = string(text)
	return e
}
