package display

import (
	"net"
	"testing"

	"xexit/internal/display/displaytest"
	"xexit/internal/display/x11"
	"xexit/internal/linux"
)

// deaf is a listener that asks for whatever can be asked for.
type deaf struct{ joins int }

func (d *deaf) reached(*client) {}
func (d *deaf) joined(*client)  { d.joins++ }
func (d *deaf) heard(c *client) {
	c.protocol.ask()
	if c.countable {
		c.protocol.count()
	}
}
func (d *deaf) said(*client, Observation)    {}
func (d *deaf) lost(*client, Outcome, error) {}

// overheard is what a fake server says from the set-up until the watcher has
// joined, has asked and has counted.
func overheard(f *testing.F, srv *displaytest.Server) (said []byte) {
	f.Helper()
	conn, err := net.Dial("unix", srv.Display())
	if err != nil {
		f.Fatal(err)
	}
	defer conn.Close()
	d := &deaf{}
	c := &client{to: d, sock: &linux.Socket{}}
	x := newX11(c, 0, nil, "")
	c.protocol = x
	for rounds := 0; rounds < 4; {
		if _, err := conn.Write(x.Output()); err != nil {
			f.Fatal(err)
		}
		x.Sent(len(x.Output()))
		var piece [4096]byte
		n, err := conn.Read(piece[:])
		if err != nil {
			f.Fatal(err)
		}
		said = append(said, piece[:n]...)
		if err := x.feed(piece[:n]); err != nil {
			f.Fatal(err)
		}
		if c.ready {
			d.heard(c)
			rounds++
		}
	}
	return said
}

// FuzzConversation is a whole conversation with a server that says anything,
// from the set-up on: however the watcher answers, it does not crash, it joins
// once, and what it holds and has to send is bounded.
func FuzzConversation(f *testing.F) {
	const most = 3*x11.MaxKept + 4*x11.MaxUnsent
	srv, err := displaytest.Start(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	defer srv.PullCable()
	fresh := overheard(f, srv)
	f.Add(fresh, byte(0), false)
	f.Add(fresh, byte(255), false)
	f.Add(overheard(f, srv), byte(40), true)
	f.Fuzz(func(t *testing.T, stream []byte, size uint8, known bool) {
		d := &deaf{}
		// Never connected, so that nothing is sent; the descriptor is not used.
		c := &client{to: d, sock: &linux.Socket{}}
		want := ""
		if known {
			want = "31 8 0123456789abcdef0123456789abcdef"
		}
		x := newX11(c, 0, []byte("0123456789abcdef"), want)
		c.protocol = x
		for len(stream) > 0 {
			n := min(int(size)+1, len(stream))
			if err := x.feed(stream[:n]); err != nil {
				break
			}
			if c.ready {
				d.heard(c)
			}
			stream = stream[n:]
			if out := len(x.Output()); out > x11.MaxUnsent+1<<10 {
				t.Fatalf("%d bytes to be sent", out)
			}
			if kept := x.Kept(); kept > most {
				t.Fatalf("keeps %d bytes", kept)
			}
		}
		if d.joins > 1 {
			t.Errorf("joined %d times", d.joins)
		}
	})
}
