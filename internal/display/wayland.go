package display

import (
	"fmt"

	"xexit/internal/display/wayland"
)

func (t *target) prepareWayland(o Options) error {
	path, err := wayland.Path(o.Name, "")
	if err != nil {
		return &RefusedError{Kind: BadName, Err: err, Remedy: "correct WAYLAND_DISPLAY"}
	}
	t.addrs, t.tokenless = []address{{socket: path}}, true
	return nil
}

// waylandProtocol speaks Wayland for a client. wl_display.sync is all there is
// to ask, and there is nothing to leave a token on.
//
//	sync ─▶ done ─▶ by whom? ─▶ joined
type waylandProtocol struct {
	wayland.Conn
	client *client
	before *peer // who served the display before; nil on the first connection
}

func newWayland(c *client, before *peer) *waylandProtocol {
	w := &waylandProtocol{client: c, before: before}
	w.Sync()
	return w
}

func (w *waylandProtocol) feed(p []byte) error {
	answered, err := w.Feed(p)
	if !answered {
		return err
	}
	take := w.introduce
	if w.client.ready {
		take = func() error { return w.client.tell(Observation{Kind: Answer}) }
	}
	if over := take(); over != nil {
		return over
	}
	return err
}

// introduce: the display has answered for the first time.
func (w *waylandProtocol) introduce() error {
	if w.before != nil {
		same, err := w.before.serves(w.client)
		if err != nil {
			return err
		}
		if !same {
			return fmt.Errorf("%w: another process listens", errOther)
		}
	}
	return w.client.join()
}

func (w *waylandProtocol) ask() { w.Sync() }

// noOp: a compositor is at the end of no link.
func (w *waylandProtocol) noOp() {}

// count: a compositor tells nobody who its clients are, and its own life does
// not hang on them.
func (w *waylandProtocol) count() {}
