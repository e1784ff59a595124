package x11

import (
	"errors"
	"fmt"
	"testing"
)

// cut calls f with p in pieces of the sizes that cuts says, again and again; 0
// is a piece of 256.
func cut(p, cuts []byte, f func([]byte) error) error {
	for i := 0; len(p) > 0; i++ {
		n := len(p)
		if len(cuts) > 0 {
			if n = int(cuts[i%len(cuts)]); n == 0 {
				n = 256
			}
		}
		n = min(n, len(p))
		if err := f(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// listen feeds a stream in pieces and writes down what it means.
func listen(t *testing.T, c *Conn, stream, cuts []byte) (text string, err error) {
	var out []byte
	err = cut(stream, cuts, func(piece []byte) error {
		err := c.Feed(piece, func(e Event) error {
			if s, ok := e.(SetupDone); ok && (len(s.Roots) == 0 || s.ResourceMask == 0) {
				t.Errorf("%+v", s)
			}
			if r, ok := e.(Refused); ok && r.Reason != printable([]byte(r.Reason)) {
				t.Errorf("%+v", r)
			}
			out = fmt.Append(out, e, "\n")
			return nil
		})
		if kept := c.Kept(); kept > 3*MaxKept || kept > 3*len(stream)+4<<10 {
			t.Fatalf("keeps %d bytes of %d", kept, len(stream))
		}
		return err
	})
	if err != nil && !errors.Is(err, ErrProtocol) {
		t.Error(err)
	}
	return string(out), err
}

// same: however a stream is cut into pieces, it means the same.
func same(t *testing.T, conn func() *Conn, stream, cuts []byte) {
	whole, err := listen(t, conn(), stream, nil)
	pieces, err2 := listen(t, conn(), stream, cuts)
	if whole != pieces || (err == nil) != (err2 == nil) {
		t.Errorf("whole (%v):\n%spieces of %v (%v):\n%s", err, whole, cuts, err2, pieces)
	}
}

// FuzzSetup is what a server says first.
func FuzzSetup(f *testing.F) {
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		same(t, func() *Conn { return NewConn(nil) }, stream, cuts)
	})
}

// FuzzStream is what it says then: replies, errors, events.
func FuzzStream(f *testing.F) {
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		same(t, func() *Conn {
			c, _, _ := conversation()
			if err := c.Feed(setupOK(), func(Event) error { return nil }); err != nil {
				t.Fatal(err)
			}
			return c
		}, stream, cuts)
	})
}
