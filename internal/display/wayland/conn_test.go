package wayland

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// event is a message of the compositor's.
func event(object uint32, opcode uint16, arguments ...uint32) []byte {
	size := uint32(8 + 4*len(arguments))
	p := binary.NativeEndian.AppendUint32(nil, object)
	p = binary.NativeEndian.AppendUint32(p, size<<16|uint32(opcode))
	for _, a := range arguments {
		p = binary.NativeEndian.AppendUint32(p, a)
	}
	return p
}

// failure is wl_display.error.
func failure(object, code uint32, text string) []byte {
	body := append([]byte(text), 0)
	body = append(body, make([]byte, (4-len(body)%4)%4)...)
	p := event(1, 0, object, code, uint32(len(text)+1))
	binary.NativeEndian.PutUint32(p[4:], uint32(len(p)+len(body))<<16)
	return append(p, body...)
}

func join(messages ...[]byte) []byte { return bytes.Join(messages, nil) }

// sent takes the requests that are to be sent.
func sent(c *Conn) []byte {
	out := bytes.Clone(c.Output())
	c.Sent(len(out))
	return out
}

// at is the request sync with a new id.
func at(id uint32) []byte { return event(1, 0, id) }

func TestSync(t *testing.T) {
	var c Conn
	expect := func(want []byte) {
		t.Helper()
		if got := sent(&c); !bytes.Equal(got, want) {
			t.Fatalf("sent % x, want % x", got, want)
		}
	}
	feed := func(want bool, messages ...[]byte) {
		t.Helper()
		if got, err := c.Feed(join(messages...)); got != want || err != nil {
			t.Fatalf("answered %v, %v", got, err)
		}
	}
	c.Sync()
	expect(at(2))
	c.Sync() // is waited for
	expect(nil)
	feed(true, event(2, 0, 77), event(1, 1, 2))
	c.Sync()
	expect(at(2)) // deleted, so free again
	feed(false, event(1, 1, 2))
	if !c.Waiting() {
		t.Fatal("delete_id of what lives is no answer")
	}
	feed(true, event(2, 0, 0))
	c.Sync()
	expect(at(3)) // the compositor has not said that 2 is free
	feed(false, event(1, 1, 2), event(2, 0, 5), event(9, 3, 1, 2, 3))
	feed(true, event(3, 0, 5))
	feed(false, event(3, 0, 5)) // nobody asked
	c.Sync()
	c.Sent(5)         // in pieces
	expect(at(2)[5:]) // 2 is free by now
}

func TestSkipped(t *testing.T) {
	var c Conn
	c.Sync()
	long := event(4711, 9, make([]uint32, 16000)...)
	if got, err := c.Feed(join(long, event(1, 5, 1, 2), event(8, 0), long, event(2, 0, 1))); !got || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if cap(c.in) > 2*smallSize {
		t.Errorf("%d bytes kept", cap(c.in))
	}
}

func TestFatal(t *testing.T) {
	long := strings.Repeat("x", 9000)
	unterminated := failure(3, 1, "abc")
	binary.NativeEndian.PutUint32(unterminated[16:], 4000) // says more than there is
	for _, c := range []struct {
		name  string
		bytes []byte
		want  string
	}{
		{"words", failure(3, 1, "invalid object 9"), "the compositor reports error 1 of object 3: invalid object 9"},
		{"empty", failure(1, 0, ""), "the compositor reports error 0 of object 1: "},
		{"long", failure(7, 2, long), "the compositor reports error 2 of object 7: " + long[:MaxText]},
		{"unterminated", unterminated, "the compositor reports error 1 of object 3: abc\x00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var conn Conn
			_, err := conn.Feed(c.bytes)
			var fatal *FatalError
			if !errors.As(err, &fatal) || err.Error() != c.want {
				t.Errorf("%v", err)
			}
			if _, again := conn.Feed(event(2, 0, 1)); !errors.Is(again, err) {
				t.Errorf("then %v", again)
			}
		})
	}
}

func TestNonsense(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes []byte
		want  string
	}{
		{"size 0", make([]byte, 8), "a message of 0 bytes"},
		{"size 4", []byte{9, 0, 0, 0, 0, 0, 4, 0}, "a message of 4 bytes"},
		{"not of whole words", []byte{9, 0, 0, 0, 0, 0, 10, 0}, "a message of 10 bytes"},
		{"short error", event(1, 0, 3, 1), "wl_display.error of 16 bytes"},
		{"short delete_id", event(1, 1), "wl_display.delete_id without an id"},
		{"short done", event(2, 0), "event 0 of a wl_callback"},
		{"another event of the callback", event(2, 1, 7), "event 1 of a wl_callback"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var conn Conn
			conn.Sync()
			_, err := conn.Feed(c.bytes)
			if !errors.Is(err, ErrProtocol) || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// conversation is what a compositor may say to a first sync, an error at last.
func conversation() []byte {
	return join(event(5, 2, 1, 2, 3), event(6, 0), event(2, 0, 42), event(1, 1, 2), failure(3, 1, "that is all"))
}

// TestEverySplit: in whatever pieces the bytes come, they mean the same.
func TestEverySplit(t *testing.T) {
	whole := conversation()
	for i := range whole {
		for k := i; k < len(whole); k++ {
			if err := replay([][]byte{whole[:i], whole[i:k], whole[k:]}); err != nil {
				t.Fatalf("split at %d and %d: %v", i, k, err)
			}
		}
	}
	var single [][]byte
	for i := range whole {
		single = append(single, whole[i:i+1])
	}
	if err := replay(single); err != nil {
		t.Fatalf("byte by byte: %v", err)
	}
}

func replay(pieces [][]byte) error {
	var c Conn
	c.Sync()
	answers := 0
	for i, p := range pieces {
		answered, err := c.Feed(p)
		if answered {
			answers++
		}
		var fatal *FatalError
		switch last := i == len(pieces)-1; {
		case last && (!errors.As(err, &fatal) || fatal.Text != "that is all"):
			return fmt.Errorf("in the end: %w", err)
		case !last && err != nil:
			return err
		}
	}
	if answers != 1 || c.free != 2 {
		return fmt.Errorf("%d answers, id %d free", answers, c.free)
	}
	return nil
}

func TestPath(t *testing.T) {
	for _, c := range []struct{ name, dir, want string }{
		{"wayland-0", "/run/user/1000", "/run/user/1000/wayland-0"},
		{"wayland-0", "/run/user/1000/", "/run/user/1000/wayland-0"},
		{"sub/../wayland-1", "/run/user/1000", "/run/user/1000/wayland-1"},
		{"/tmp/w", "", "/tmp/w"},
		{"/tmp//w", "/run", "/tmp/w"},
		{"", "/run", ""},
		{"wayland-0", "", ""},
		{"wayland-0", "run", ""},
		{"a\x00b", "/run", ""},
		{strings.Repeat("w", 200), "/run", ""},
	} {
		got, err := Path(c.name, c.dir)
		if got != c.want || (err == nil) != (c.want != "") || err != nil && !errors.Is(err, ErrBadName) {
			t.Errorf("%q in %q: %q, %v", c.name, c.dir, got, err)
		}
	}
}
