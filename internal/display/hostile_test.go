package display

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"xexit/internal/display/displaytest"
	"xexit/internal/session"
)

// kept is what a watch holds of what its server said, and for it. It asks the
// loop.
func kept(w *watching) int {
	answer := make(chan int, 1)
	w.set.loop.post(func() {
		n := 0
		for _, c := range []*client{w.target.cur, w.target.next} {
			if c != nil {
				n += c.protocol.(*x11Protocol).Kept() + len(c.token) + len(c.value)
			}
		}
		answer <- n
	})
	select {
	case n := <-answer:
		return n
	case <-w.done:
		return 0
	}
}

// A server that turns hostile while it is watched: the watcher does not crash,
// keeps little, ends only when the server is lost, and then says what it saw.
func TestTurnsHostile(t *testing.T) {
	const bound = 4 << 10
	const opGetProperty = 20
	flooded := func(s *displaytest.Server) bool { return s.Flooded() > 1<<20 }
	asked := func(s *displaytest.Server) bool { return s.Requests(opGetProperty) > 6 }
	reconnects := func(s *displaytest.Server) bool { return s.Accepted() > 10 }
	for _, c := range []struct {
		name string
		mode displaytest.Mode
		drop bool                            // it takes a new connection to show
		seen func(*displaytest.Server) bool  // the fault had its effect
		says string                          // by itself: how it was noticed; "": it does not end
		stay func(w *watching, from int) int // what is reported meanwhile
	}{
		{name: "answers a byte at a time", mode: displaytest.Dribble, seen: asked},
		{name: "never reads", mode: displaytest.Deaf, stay: func(w *watching, n int) int { return w.await(BUSY, n) }},
		{name: "never reads new connections", mode: displaytest.Deaf, drop: true, seen: func(s *displaytest.Server) bool { return s.Accepted() > 2 }},
		{name: "resets every connection", mode: displaytest.Reset, drop: true, says: "reconnect broke"},
		{name: "lets in and closes", mode: displaytest.Flap, drop: true, seen: reconnects},
		{name: "answers what was not asked", mode: displaytest.Unasked, says: "not the X11 protocol"},
		{name: "answers with 16 GB", mode: displaytest.Boundless, seen: flooded},
		{name: "answers with 16 GB from the start", mode: displaytest.Boundless, drop: true, seen: flooded},
		{name: "has no properties", mode: displaytest.Forgetful, drop: true, says: propertyToken},
		{name: "brings news without end", mode: displaytest.Echo, seen: func(s *displaytest.Server) bool { return s.Requests(opGetProperty) > 300 }},
		{name: "lets in at great length", mode: displaytest.Visuals, drop: true, stay: func(w *watching, n int) int { return w.await(OK, n) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := fake(t, displaytest.Options{})
			w := start(t, quick(srv))
			srv.SetMode(c.mode)
			if c.drop {
				srv.DropClients()
			}
			if c.says != "" {
				if e := w.over(session.ReasonServerGone); !strings.Contains(e.Noticed, c.says) {
					t.Errorf("%q, want %q in it", e.Noticed, c.says)
				}
				return
			}
			worst := 0
			if c.seen != nil {
				waitFor(t, func() bool { worst = max(worst, kept(w)); return c.seen(srv) })
			}
			if c.stay != nil {
				c.stay(w, 0)
			}
			if worst = max(worst, kept(w)); worst > bound {
				t.Errorf("keeps %d bytes, want at most %d", worst, bound)
			}
			w.alive()
			srv.PullCable()
			w.over(session.ReasonServerGone)
		})
	}
}

// A server that is hostile from the start: opening it is bounded, and the error
// says what was seen.
func TestOpenHostile(t *testing.T) {
	for _, c := range []struct {
		name string
		mode displaytest.Mode
		want error
		text string
	}{
		{"a byte at a time", displaytest.Dribble, ErrStalled, ""},
		{"never reads", displaytest.Deaf, ErrStalled, ""},
		{"16 GB", displaytest.Boundless, ErrStalled, ""},
		{"floods", displaytest.Endless, ErrStalled, ""},
		{"resets", displaytest.Reset, nil, "closed the connection at once"},
		{"answers what was not asked", displaytest.Unasked, nil, "not the X11 protocol"},
		{"closes after two answers", displaytest.Flap, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := fake(t, displaytest.Options{})
			srv.SetMode(c.mode)
			ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
			defer cancel()
			w, err := Open(ctx, quick(srv))
			if err == nil {
				t.Fatal("opened", w.Close())
			}
			if c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v", err)
			}
		})
	}
}

// What a server gives as its reason is printed without what a terminal would
// obey.
func TestRefusalIsPrintable(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	srv.SetRefusal("\x1b[2J\x1b]0;evil\x07" + strings.Repeat("lots ", 50))
	_, err := Open(t.Context(), quick(srv))
	if err == nil || strings.ContainsAny(err.Error(), "\x1b\x07\n") || !strings.Contains(err.Error(), "evil") {
		t.Errorf("%q", err)
	}
}

// A connection over the brake is read again, and what came meanwhile is not
// lost.
func TestBrake(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	w := start(t, Options{Name: srv.Display()})
	braked := func() bool {
		answer := make(chan bool, 1)
		w.set.loop.post(func() { answer <- w.target.cur.brake.on })
		return <-answer
	}
	waitFor(t, func() bool {
		srv.SetRootProperty("OTHER", "x") // news that mean nothing
		return braked()
	})
	srv.SetRootProperty("LTSP_XEXIT", "DIE")
	w.over(session.ReasonRequested)
}
