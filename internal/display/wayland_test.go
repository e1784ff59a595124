package display

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xexit/internal/display/displaytest"
	"xexit/internal/session"
)

func compositor(t *testing.T) *displaytest.Server {
	t.Helper()
	srv, err := displaytest.StartWayland(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	return srv
}

// quickly is quick for a compositor.
func quickly(srv *displaytest.Server) Options {
	o := quick(srv)
	o.Wayland = true
	return o
}

func TestCompositorGone(t *testing.T) {
	srv := compositor(t)
	w := start(t, Options{Name: srv.Display(), Wayland: true})
	if w.ServerPID() != os.Getpid() {
		t.Errorf("compositor's pid %d, want %d", w.ServerPID(), os.Getpid())
	}
	srv.PullCable()
	if e := w.over(session.ReasonServerGone); !e.Run || !strings.Contains(e.Noticed, "refused") {
		t.Errorf("%+v", e)
	}
}

func TestCompositorFrozen(t *testing.T) {
	srv := compositor(t)
	w := start(t, quickly(srv))
	srv.SetMode(displaytest.Frozen)
	n := w.await(BUSY, 0)
	srv.SetMode(displaytest.Healthy)
	w.await(OK, n)
	w.alive()
	srv.PullCable()
	w.over(session.ReasonServerGone)
}

// It is pinged again and again, on one connection.
func TestCompositorIsAsked(t *testing.T) {
	srv := compositor(t)
	w := start(t, quickly(srv))
	const sync = 0
	waitFor(t, func() bool { return srv.Requests(sync) > 20 })
	if n := srv.Clients(); n != 1 {
		t.Errorf("%d connections", n)
	}
	w.alive()
}

// A compositor that lives and closes our connections, with words or without,
// is no end for as long as its process is the one of before.
func TestCompositorThrowsUsOut(t *testing.T) {
	for name, mode := range map[string]func(*displaytest.Server){
		"with words": func(s *displaytest.Server) { s.SetRefusal("not permitted") },
		"garbage":    func(s *displaytest.Server) { s.SetMode(displaytest.Garbage); s.DropClients() },
		"truncated":  func(s *displaytest.Server) { s.SetMode(displaytest.Truncate); s.DropClients() },
	} {
		t.Run(name, func(t *testing.T) {
			srv := compositor(t)
			w := start(t, quickly(srv))
			n := 0
			for range 3 {
				mode(srv)
				n = w.await(CONFIRM, n)
				waitFor(t, func() bool { return srv.Clients() == 0 })
				w.alive()
				srv.SetMode(displaytest.Healthy)
				n = w.await(OK, n)
			}
			srv.PullCable()
			w.over(session.ReasonServerGone)
		})
	}
}

// Whatever it sends beside the answers, it is alive.
func TestCompositorTalks(t *testing.T) {
	for _, mode := range []displaytest.Mode{displaytest.Slow, displaytest.Endless} {
		srv := compositor(t)
		srv.SetMode(mode)
		w := start(t, quickly(srv))
		if mode == displaytest.Endless {
			waitFor(t, func() bool { return srv.Flooded() > 1<<20 })
		}
		w.alive()
		srv.PullCable()
		w.over(session.ReasonServerGone)
	}
}

func TestCompositorRefusesAtFirst(t *testing.T) {
	srv := compositor(t)
	srv.SetRefusal("go away\x1b[2J")
	_, err := Open(t.Context(), quickly(srv))
	var refused *RefusedError
	if err == nil || errors.As(err, &refused) || !strings.Contains(err.Error(), "go away") {
		t.Errorf("%v", err) // not final: it may think better of it
	}
}

func TestCompositorNames(t *testing.T) {
	for _, name := range []string{"wayland-0", "", "/" + strings.Repeat("x", 200)} {
		var refused *RefusedError
		if _, err := Open(t.Context(), Options{Name: name, Wayland: true}); !errors.As(err, &refused) {
			t.Errorf("%q: %v", name, err)
		}
	}
	_, err := Open(t.Context(), Options{Name: filepath.Join(t.TempDir(), "none"), Wayland: true})
	var refused *RefusedError
	if err == nil || errors.As(err, &refused) {
		t.Errorf("a compositor that is not there yet: %v", err)
	}
}
