package display

import (
	"context"
	"fmt"
	"os"

	"xexit/internal/display/x11"
)

// Properties. The token and the value are on the root window; the mark is on a
// hidden window whose id is the first one of each watcher's range, so that
// watchers recognise each other without a list that somebody would have to
// keep. It dies with the connection.
const (
	propertyValue = "LTSP_XEXIT"
	propertyToken = "XEXIT_GENERATION"
	propertyMark  = "XEXIT_WATCHER"
	markValue     = "1"
	atomOwn       = "XEXIT_GENERATION_" // and the token: an atom, for whom the root window is read-only

	maxValue  = 16 // of LTSP_XEXIT: longer means nothing
	tokenSize = 32 // hexadecimal digits
)

// Questions, by tag. From tagMark on: is this client a watcher?
const (
	tagAtomValue x11.Tag = iota + 1
	tagAtomToken
	tagAtomMark
	tagAtomOwn
	tagExtension
	tagVersion
	tagToken
	tagValue
	tagClients
	tagMark
)

// prepareX11 looks up where a display is and what lets one in.
func (t *target) prepareX11(ctx context.Context, o Options) error {
	name, err := x11.ParseName(o.Name)
	if err != nil {
		return &RefusedError{Kind: BadName, Err: err, Remedy: "correct DISPLAY"}
	}
	if t.addrs, err = resolve(ctx, name); err != nil {
		return fmt.Errorf("display %q: %w", o.Name, err)
	}
	entries, authErr := authority(ctx, o)
	t.number, t.screen, t.authErr = name.Number, name.Screen, authErr
	t.cookie = cookies(entries, t.addrs, name.Number)
	return nil
}

// cookies finds those of a display's addresses. The file they come from may
// hold a thousand others, which are not kept.
func cookies(entries []x11.Entry, addrs []address, number int) func(address) []byte {
	hostname, _ := os.Hostname() // without it local cookies are found by their number
	found := make([][]byte, len(addrs))
	same := true
	for i, a := range addrs {
		found[i] = x11.FindCookie(entries, x11.Endpoint{IP: a.ip, Hostname: hostname, Number: number})
		same = same && string(found[i]) == string(found[0])
	}
	if same {
		return func(address) []byte { return found[0] }
	}
	return func(want address) []byte {
		for i, a := range addrs {
			if string(a.ip) == string(want.ip) {
				return found[i]
			}
		}
		return nil
	}
}

// x11Protocol speaks X11 for a client.
//
//	set-up ─▶ atoms, extension, hidden window ─▶ token ─▶ value ─▶ joined
type x11Protocol struct {
	x11.Conn
	client *client
	screen int
	want   string // token to find; "" on the first connection, which sets one
	own    string // atom that is the token where the property cannot be

	base, mask uint32 // of this client's resource ids
	root       uint32
	atoms      [3]uint32 // value, token, mark
	census     census
}

func newX11(c *client, screen int, cookie []byte, want string) *x11Protocol {
	return &x11Protocol{Conn: x11.MakeConn(cookie), client: c, screen: screen, want: want}
}

func (x *x11Protocol) feed(p []byte) error { return x.Feed(p, x.event) }

// ask polls LTSP_XEXIT, which is the ping too.
func (x *x11Protocol) ask() {
	if !x.Waiting(tagValue) {
		x.GetProperty(tagValue, x.root, x.atoms[0], maxValue)
	}
}

func (x *x11Protocol) noOp() { x.NoOperation() }

// event handles one event of the server.
func (x *x11Protocol) event(e x11.Event) error {
	if err := x.client.gone(); err != nil {
		return err
	}
	if !x.client.ready {
		return x.introduce(e)
	}
	switch e := e.(type) {
	case x11.PropertyNotify:
		if e.Window == x.root && e.Atom == x.atoms[0] && !e.Deleted {
			x.client.ask() // an answer that is awaited will have it: replies and events come in order
		}
	case x11.Absent:
		return x.refused(e.Tag, ordinary)
	case x11.PropertyReply:
		if e.Tag == tagValue {
			return x.polled(command(e))
		}
		is := ordinary
		if e.Format == 8 && string(e.Value) == markValue {
			is = aWatcher
		}
		return x.marked(e.Tag, is)
	case x11.ErrorReply:
		return x.refused(e.Tag, windowless)
	case x11.Unexpected:
		return x.refused(e.Tag, ordinary)
	case x11.ClientsReply:
		return x.listed(e)
	}
	return nil
}

func (x *x11Protocol) polled(value string) error {
	if err := x.client.tell(Observation{Kind: Answer}); err != nil {
		return err
	}
	return x.client.tell(Observation{Kind: Command, Value: value})
}

// refused: the answer says nothing; that it came says that the server lives.
func (x *x11Protocol) refused(tag x11.Tag, is standing) error {
	switch {
	case tag == tagValue:
		return x.polled("")
	case tag >= tagMark:
		return x.marked(tag, is)
	}
	return nil
}
