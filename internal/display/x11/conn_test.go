package x11

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// setupOK is a server's consent: two screens, one of them with visuals.
func setupOK() []byte {
	p := []byte{1, 0, 11, 0, 0, 0, 0, 0}
	p = binary.LittleEndian.AppendUint32(p, 7)
	p = binary.LittleEndian.AppendUint32(p, 0x400000)
	p = binary.LittleEndian.AppendUint32(p, 0x1fffff)
	p = binary.LittleEndian.AppendUint32(p, 0)
	p = binary.LittleEndian.AppendUint16(p, 5)
	p = binary.LittleEndian.AppendUint16(p, 65535)
	p = append(p, 2, 1, 0, 0, 32, 32, 8, 255, 0, 0, 0, 0)
	p = append(p, "maker\x00\x00\x00"...)
	p = append(p, make([]byte, 8)...)
	for i, visuals := range []byte{3, 0} {
		screen := make([]byte, 40)
		binary.LittleEndian.PutUint32(screen, uint32(0x100+i))
		screen[39] = 1
		p = append(p, screen...)
		p = append(p, 24, 0, visuals, 0, 0, 0, 0, 0)
		p = append(p, make([]byte, 24*int(visuals))...)
	}
	binary.LittleEndian.PutUint16(p[6:], uint16((len(p)-8)/4))
	return p
}

func reply(data byte, seq uint16, fixed []byte, tail ...byte) []byte {
	p := make([]byte, 32+len(tail))
	p[0], p[1] = 1, data
	binary.LittleEndian.PutUint16(p[2:], seq)
	binary.LittleEndian.PutUint32(p[4:], uint32(len(tail)/4))
	copy(p[8:], fixed)
	copy(p[32:], tail)
	return p
}

func le(words ...uint32) (p []byte) {
	for _, w := range words {
		p = binary.LittleEndian.AppendUint32(p, w)
	}
	return p
}

// conversation is what a server says in one, and what it means.
func conversation() (*Conn, []byte, []Event) {
	c := NewConn([]byte("0123456789abcdef"))
	c.WatchProperties(0x100)                                 // 1
	c.InternAtom(1, "LTSP_XEXIT")                            // 2
	c.QueryExtension(2, "X-Resource")                        // 3
	c.GetProperty(3, 0x100, 70, 16)                          // 4
	c.NoOperation()                                          // 5
	c.QueryResourceVersion(4, 150)                           // 6
	c.QueryClients(5)                                        // 7
	c.GetProperty(6, 0x999, 70, 16)                          // 8
	c.ChangeProperty(Append, 0x100, 71, 31, []byte("abcde")) // 9
	c.GetProperty(7, 0x100, 71, 16)                          // 10

	notify := append([]byte{28, 0, 1, 0}, le(0x100, 70, 12345, 0)...)
	notify = append(notify, make([]byte, 12)...)
	deleted := slices.Clone(notify)
	deleted[16] = 1
	sent := slices.Clone(notify)
	sent[0] |= 0x80 // by another client: it proves nothing
	generic := make([]byte, 32+8)
	generic[0], generic[4] = 35, 2
	fault := make([]byte, 32)
	fault[1], fault[2], fault[10] = 3, 8, 20
	keymap := bytes.Repeat([]byte{11}, 32)

	stream := slices.Concat(
		setupOK(), notify,
		reply(0, 2, le(70)), keymap,
		reply(0, 3, []byte{1, 150, 90, 140}), generic,
		reply(8, 4, le(31, 0, 3), 'D', 'I', 'E', 0), sent,
		reply(0, 6, []byte{1, 0, 2, 0}),
		reply(0, 7, le(5), le(0, 1, 0, 0, 2, 4, 99, 0x200000, 1, 0, 0x200000, 2, 4, 4242, 0x400000, 1, 0)...),
		fault, deleted,
		reply(0, 10, nil),
	)
	return c, stream, []Event{
		SetupDone{ResourceBase: 0x400000, ResourceMask: 0x1fffff, Roots: []uint32{0x100, 0x101}},
		PropertyNotify{Window: 0x100, Atom: 70},
		AtomReply{1, 70},
		ExtensionReply{2, true, 150},
		PropertyReply{3, 31, 8, []byte("DIE")},
		VersionReply{4, 1, 2},
		ClientsReply{Tag: 5, Clients: []Client{{0, 99}, {0x200000, 4242}, {0x400000, 0}}},
		ErrorReply{6, 3, 20},
		PropertyNotify{Window: 0x100, Atom: 70, Deleted: true},
		Absent{7},
	}
}

// However the stream is cut into pieces, the events are the same.
func TestFeedInPieces(t *testing.T) {
	_, stream, want := conversation()
	for size := 1; size <= len(stream); size++ {
		c, _, _ := conversation()
		var got []Event
		for piece := range slices.Chunk(stream, size) {
			if err := c.Feed(piece, func(e Event) error { got = append(got, e); return nil }); err != nil {
				t.Fatalf("pieces of %d: %v", size, err)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("pieces of %d:\n got %v\nwant %v", size, got, want)
		}
		if len(c.in) != 0 || len(c.pending) != 0 {
			t.Fatalf("pieces of %d: left %d bytes, %d questions", size, len(c.in), len(c.pending))
		}
	}
}

func TestOutput(t *testing.T) {
	c := NewConn([]byte("0123456789abcdef"))
	want := slices.Concat([]byte{'l', 0, 11, 0, 0, 0, 18, 0, 16, 0, 0, 0}, []byte(CookieProtocol+"\x00\x00"), []byte("0123456789abcdef"))
	if !bytes.Equal(c.Output(), want) {
		t.Errorf("set-up %q, want %q", c.Output(), want)
	}
	c.Sent(len(want))
	for _, r := range []struct {
		name string
		do   func()
		want []byte
	}{
		{"InternAtom", func() { c.InternAtom(1, "hello") }, append([]byte{16, 0, 4, 0, 5, 0, 0, 0}, "hello\x00\x00\x00"...)},
		{"GetProperty", func() { c.GetProperty(1, 0x100, 70, 15) }, append([]byte{20, 0, 6, 0}, le(0x100, 70, 0, 0, 4)...)},
		{"ChangeProperty", func() { c.ChangeProperty(Append, 0x100, 70, 31, []byte("x")) }, slices.Concat([]byte{18, 2, 7, 0}, le(0x100, 70, 31, 8, 1), []byte{'x', 0, 0, 0})},
		{"CreateHiddenWindow", func() { c.CreateHiddenWindow(0x400001, 0x100) }, slices.Concat([]byte{1, 0, 8, 0}, le(0x400001, 0x100, 0, 0x10001, 0x20000, 0, 0))},
		{"WatchProperties", func() { c.WatchProperties(0x100) }, slices.Concat([]byte{2, 0, 4, 0}, le(0x100, 0x800, 0x400000))},
		{"NoOperation", func() { c.NoOperation() }, []byte{127, 0, 1, 0}},
		{"QueryExtension", func() { c.QueryExtension(1, "abcd") }, append([]byte{98, 0, 3, 0, 4, 0, 0, 0}, "abcd"...)},
		{"QueryResourceVersion", func() { c.QueryResourceVersion(1, 150) }, []byte{150, 0, 2, 0, 1, 2, 0, 0}},
		{"QueryClients", func() { c.QueryClients(1) }, append([]byte{150, 4, 4, 0}, le(1, 0, 3)...)},
		{"Raw", func() { c.Raw(36, 0, nil) }, []byte{36, 0, 1, 0}},
	} {
		r.do()
		if !bytes.Equal(c.Output(), r.want) {
			t.Errorf("%s: % x, want % x", r.name, c.Output(), r.want)
		}
		c.Sent(len(c.Output()))
	}
	if len(c.Output()) > 0 {
		t.Error("output kept after it was sent")
	}
}

func TestRefusals(t *testing.T) {
	refuse := func(kind byte, reason string) []byte {
		padded := append([]byte(reason), make([]byte, pad4(len(reason))-len(reason))...)
		p := []byte{kind, byte(len(reason)), 11, 0, 0, 0, byte(len(padded) / 4), 0}
		return append(p, padded...)
	}
	for _, c := range []struct {
		kind          byte
		reason        string
		want          string
		tooMany, auth bool
	}{
		{0, "Maximum number of clients reached", "Maximum number of clients reached", true, false},
		{0, "Invalid MIT-MAGIC-COOKIE-1 key", "Invalid MIT-MAGIC-COOKIE-1 key", false, true},
		{0, "Authorization required, but no authorization protocol specified\n", "Authorization required, but no authorization protocol specified", false, true},
		{0, "Client is not authorized to connect to Server", "Client is not authorized to connect to Server", false, true},
		{0, "Protocol version mismatch", "Protocol version mismatch", false, false},
		{0, "\x1b]0;evil\x07 \xff", "]0;evil", false, false},
		{0, "", "", false, false},
		{2, "tell me more", "tell me more", false, true},
	} {
		var got []Event
		if err := NewConn(nil).Feed(refuse(c.kind, c.reason), func(e Event) error { got = append(got, e); return nil }); err != nil {
			t.Errorf("%q: %v", c.reason, err)
			continue
		}
		if len(got) != 1 {
			t.Errorf("%q: %v", c.reason, got)
			continue
		}
		r := got[0].(Refused)
		if r.Reason != c.want || r.TooMany() != c.tooMany || r.Auth() != c.auth {
			t.Errorf("%q: %+v, too many %v, auth %v", c.reason, r, r.TooMany(), r.Auth())
		}
	}
}

func TestNonsense(t *testing.T) {
	ok := setupOK()
	shortScreens := slices.Clone(ok)
	shortScreens[28] = 200
	noScreens := slices.Clone(ok)
	noScreens[28] = 0
	overlap := slices.Clone(ok)
	binary.LittleEndian.PutUint32(overlap[16:], 0x7fffff)
	for name, stream := range map[string][]byte{
		"unknown kind":      {7, 0, 11, 0, 0, 0, 0, 0},
		"empty consent":     {1, 0, 11, 0, 0, 0, 0, 0},
		"protocol 12":       append([]byte{1, 0, 12, 0}, ok[4:]...),
		"screens break off": shortScreens,
		"no screen":         noScreens,
		"base within mask":  overlap,
		"answer unasked":    append(slices.Clone(ok), reply(0, 77, nil)...),
		"http":              []byte("HTTP/1.1 400 Bad Request\r\n\r\n" + string(make([]byte, 1<<18))),
		"all ones":          bytes.Repeat([]byte{255}, 1<<19),
	} {
		c := NewConn(nil)
		err := c.Feed(stream, func(Event) error { return nil })
		if !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
		if again := c.Feed([]byte{1}, func(Event) error { return nil }); !errors.Is(again, ErrProtocol) {
			t.Errorf("%s: goes on after nonsense", name)
		}
	}
}

// A reply that claims to be 16 GB long costs nothing but patience, and what
// follows it is understood.
func TestOversized(t *testing.T) {
	c := NewConn(nil)
	c.GetProperty(1, 1, 1, 16)
	c.GetProperty(2, 1, 1, 16)
	var got []Event
	feed := func(p []byte) {
		t.Helper()
		if err := c.Feed(p, func(e Event) error { got = append(got, e); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	feed(setupOK())
	const words = 1 << 22 // 16 MB is enough to show it
	big := reply(8, 1, nil)
	binary.LittleEndian.PutUint32(big[4:], words)
	feed(big)
	chunk := make([]byte, 1<<16)
	for range 4 * words / len(chunk) {
		feed(chunk)
		if cap(c.in) > MaxKept {
			t.Fatalf("kept %d bytes", cap(c.in))
		}
	}
	feed(reply(8, 2, le(31, 0, 0)))
	if want := []Event{got[0], Unexpected{1}, PropertyReply{Tag: 2, Type: 31, Format: 8}}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestRepliesThatDoNotFit(t *testing.T) {
	ask := map[string]func(*Conn){
		"property": func(c *Conn) { c.GetProperty(9, 1, 1, 16) },
		"clients":  func(c *Conn) { c.xres = 150; c.QueryClients(9) },
	}
	for _, c := range []struct {
		name, ask string
		reply     []byte
	}{
		{"format 7", "property", reply(7, 1, le(31, 0, 1), 0, 0, 0, 0)},
		{"more units than bytes", "property", reply(32, 1, le(31, 0, 2), 0, 0, 0, 0)},
		{"units beyond counting", "property", reply(32, 1, le(31, 0, 1<<31))},
		{"ids that are not there", "clients", reply(0, 1, le(1<<31))},
		{"an id longer than the reply", "clients", reply(0, 1, le(1), le(0, 2, 400)...)},
		{"an id beyond counting", "clients", reply(0, 1, le(1), le(0, 2, 1<<32-1)...)},
	} {
		conn := NewConn(nil)
		var got []Event
		visit := func(e Event) error { got = append(got, e); return nil }
		if err := conn.Feed(setupOK(), visit); err != nil {
			t.Fatal(err)
		}
		ask[c.ask](conn)
		if err := conn.Feed(c.reply, visit); err != nil || len(got) != 2 || got[1] != (Unexpected{9}) {
			t.Errorf("%s: %v, %v", c.name, got[1:], err)
		}
	}
}

// The sequence numbers have 16 bits; a question that waits while more than
// that many others go out is still matched.
func TestSequenceWraps(t *testing.T) {
	c := NewConn(nil)
	if err := c.Feed(setupOK(), func(Event) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for range 65530 {
		c.NoOperation()
		c.Sent(4)
	}
	c.GetProperty(1, 1, 1, 16) // 65531
	for range 10 {
		c.NoOperation()
	}
	c.GetProperty(2, 1, 1, 16) // 65542, which is 6
	var got []Event
	err := c.Feed(slices.Concat(reply(0, 65531, nil), reply(0, 6, nil)), func(e Event) error { got = append(got, e); return nil })
	if err != nil || fmt.Sprint(got) != fmt.Sprint([]Event{Absent{1}, Absent{2}}) {
		t.Errorf("%v, %v", got, err)
	}
}
