package x11

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// longSetup is the longest consent there can be: 256 kB, screen after screen.
func longSetup() []byte {
	const visuals = 100
	p := setupOK()
	screen := make([]byte, 40)
	binary.LittleEndian.PutUint32(screen, 0x100)
	screen[39] = 1
	p = p[:8+32+8+8] // without its own screens
	count := 0
	for ; len(p)+48+24*visuals <= 8+4*65535; count++ {
		p = append(p, screen...)
		p = append(p, 24, 0, visuals, 0, 0, 0, 0, 0)
		p = append(p, make([]byte, 24*visuals)...)
	}
	p[28] = byte(count)
	p = append(p, make([]byte, 8+4*65535-len(p))...)
	binary.LittleEndian.PutUint16(p[6:], 65535)
	return p
}

// However much a server says, only little of it is kept, and nothing is asked
// of it without end.
func TestBounded(t *testing.T) {
	const (
		little = 2 << 10  // while it is let in, and between answers
		most   = 96 << 10 // MaxKept, and what append holds in reserve
	)
	refusal := func(kind byte) []byte {
		p := []byte{kind, 255, 11, 0, 0, 0, 255, 255}
		return append(p, bytes.Repeat([]byte("\x1b]0;evil\x07 "), 4*65535/10)...)
	}
	claim := func(words uint32) []byte {
		p := reply(8, 1, nil)
		binary.LittleEndian.PutUint32(p[4:], words)
		return p
	}
	generic := append([]byte{35, 0, 1, 0, 255, 255, 255, 255}, make([]byte, 24)...)
	for _, c := range []struct {
		name         string
		start, again []byte // start once, again many times
		bound        int
		events       int // at most
	}{
		{"the longest consent", longSetup(), nil, little, 1},
		{"the longest refusal", refusal(0), nil, little, 1},
		{"the longest dialogue", refusal(2), nil, little, 1},
		{"a reply of 16 GB", append(setupOK(), claim(1<<32-1)...), make([]byte, 4<<10), little, 2},
		{"an event of 16 GB", append(setupOK(), generic...), make([]byte, 4<<10), little, 2},
		{"a reply as long as is kept", append(setupOK(), claim(MaxKept/4-8)...), bytes.Repeat([]byte{22}, 4<<10), most, 2},
		{"events", setupOK(), bytes.Repeat(append([]byte{22}, make([]byte, 31)...), 128), little, 1},
		{"events sent by clients", setupOK(), bytes.Repeat(append([]byte{28 | 0x80}, make([]byte, 31)...), 128), little, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []int{1, 31, 4096, 1 << 20} {
				conn := NewConn(nil)
				events, worst := 0, 0
				feed := func(p []byte) {
					for piece := range slices.Chunk(p, size) {
						err := conn.Feed(piece, func(e Event) error {
							if events++; events == 1 {
								conn.GetProperty(1, 1, 1, 16)
							}
							return nil
						})
						if err != nil && !errors.Is(err, ErrProtocol) {
							t.Fatal(err)
						}
						worst = max(worst, conn.Kept())
					}
				}
				feed(c.start)
				for range 200 {
					feed(c.again)
				}
				if worst > c.bound {
					t.Errorf("pieces of %d: keeps %d bytes, want at most %d", size, worst, c.bound)
				}
				if events > c.events {
					t.Errorf("pieces of %d: %d events, want at most %d", size, events, c.events)
				}
			}
		})
	}
}

// The longest consent is understood.
func TestLongestConsent(t *testing.T) {
	var got SetupDone
	if err := NewConn(nil).Feed(longSetup(), func(e Event) error { got = e.(SetupDone); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got.Roots) != 107 || got.ResourceBase != 0x400000 {
		t.Errorf("%d screens, %+v", len(got.Roots), got)
	}
}

// More of a property than was asked for is no answer.
func TestMoreThanAsked(t *testing.T) {
	c := NewConn(nil)
	var got []Event
	visit := func(e Event) error { got = append(got, e); return nil }
	if err := c.Feed(setupOK(), visit); err != nil {
		t.Fatal(err)
	}
	c.GetProperty(1, 1, 1, 15)
	c.GetProperty(2, 1, 1, 16)
	err := c.Feed(slices.Concat(reply(8, 1, le(31, 0, 16), make([]byte, 16)...), reply(8, 2, le(31, 0, 20), make([]byte, 20)...)), visit)
	if want := []Event{PropertyReply{1, 31, 8, make([]byte, 16)}, Unexpected{2}}; err != nil || fmt.Sprint(got[1:]) != fmt.Sprint(want) {
		t.Errorf("%v, %v; want %v", got[1:], err, want)
	}
}

// A server that answers without reading is found out before its questions pile
// up.
func TestAnswersUnread(t *testing.T) {
	c := NewConn(nil)
	if err := c.Feed(setupOK(), func(Event) error { return nil }); err != nil {
		t.Fatal(err)
	}
	var err error
	answers := 0
	for ; err == nil && answers < 100_000; answers++ {
		c.GetProperty(1, 1, 1, 16)
		err = c.Feed(reply(8, uint16(answers+1), nil), func(Event) error { return nil })
	}
	if !errors.Is(err, ErrProtocol) || len(c.Output()) > MaxUnsent+1<<10 {
		t.Errorf("after %d answers: %v, %d bytes to be sent", answers, err, len(c.Output()))
	}
}
