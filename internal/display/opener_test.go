package display

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"xexit/internal/display/displaytest"
	"xexit/internal/linux"
	"xexit/internal/session"
)

// through has somebody else connect.
func through(o Options) Options {
	asked := o
	o.Name, o.Authority, o.Home, o.Connection, o.Wayland = "through an opener", "", "", "", false
	o.Opener = func(done func(Connection, error)) {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), guard)
			defer cancel()
			done(Connect(ctx, asked))
		}()
	}
	return o
}

// openedKind is a kind of display that is watched through an opener.
type openedKind struct{ kind }

func (k openedKind) options() Options { return through(k.kind.options()) }

// scripted is an opener that does what it is told, a request at a time, and
// what Connect does once it is told nothing more.
type scripted struct {
	inner Options

	mu    sync.Mutex
	steps []func(done func(Connection, error))
	asked int
}

func (s *scripted) next(steps ...func(done func(Connection, error))) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = steps
}

func (s *scripted) open(done func(Connection, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if len(s.steps) == 0 {
		through(s.inner).Opener(done)
		return
	}
	step := s.steps[0]
	s.steps = s.steps[1:]
	go step(done)
}

func (s *scripted) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func fails(err error) func(func(Connection, error)) {
	return func(done func(Connection, error)) { done(Connection{}, err) }
}

// watchScripted watches a server through a scripted opener.
func watchScripted(t *testing.T, srv *displaytest.Server) (*watching, *scripted) {
	s := &scripted{inner: Options{Name: srv.Display()}}
	o := quick(srv)
	o.Opener = s.open
	return start(t, o), s
}

// What an opener says of a display is what a connect of one's own would.
func TestOpenerOutcomes(t *testing.T) {
	unable := fails(fmt.Errorf("the worker has no daemon: %w", ErrUnable))
	refused := fails(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	t.Run("unable", func(t *testing.T) {
		srv := fake(t, displaytest.Options{})
		w, s := watchScripted(t, srv)
		s.next(unable, unable, unable)
		srv.DropClients()
		n := w.await(CONFIRM, 0)
		w.await(OK, n)
		if s.count() != 5 {
			t.Errorf("asked %d times, want 5", s.count())
		}
		s.next(unable, unable, unable, unable)
		srv.PullCable()
		w.over(session.ReasonServerGone)
	})
	t.Run("refused", func(t *testing.T) {
		srv := fake(t, displaytest.Options{})
		w, s := watchScripted(t, srv)
		s.next(refused, refused)
		srv.DropClients()
		w.await(OK, w.await(CONFIRM, 0))
		s.next(refused, refused, refused)
		srv.DropClients()
		if e := w.over(session.ReasonServerGone); !strings.Contains(e.Noticed, "refused") {
			t.Errorf("%+v", e)
		}
	})
	t.Run("another kind", func(t *testing.T) {
		srv := fake(t, displaytest.Options{})
		w, s := watchScripted(t, srv)
		s.next(func(done func(Connection, error)) {
			c, err := Connect(t.Context(), s.inner)
			c.Wayland = true
			done(c, err)
		})
		srv.DropClients()
		w.await(OK, w.await(CONFIRM, 0))
	})
	t.Run("no socket", func(t *testing.T) {
		srv := fake(t, displaytest.Options{})
		w, s := watchScripted(t, srv)
		s.next(func(done func(Connection, error)) {
			fifo := filepath.Join(t.TempDir(), "fifo")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Error(err)
			}
			fd, err := syscall.Open(fifo, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
			done(Connection{FD: fd}, err)
		})
		srv.DropClients()
		w.await(OK, w.await(CONFIRM, 0))
	})
	t.Run("never connected", func(t *testing.T) {
		o := quick(fake(t, displaytest.Options{}))
		o.Opener = unable
		if _, err := Open(t.Context(), o); !errors.Is(err, ErrUnable) {
			t.Error(err)
		}
		o.Opener = fails(&RefusedError{Kind: NoDisplay, Err: errors.New("nowhere a display")})
		var refused *RefusedError
		if _, err := Open(t.Context(), o); !errors.As(err, &refused) {
			t.Error(err)
		}
	})
}

// An opener takes its time: that is not the display's, on whatever link.
func TestSlowOpener(t *testing.T) {
	for _, link := range []Link{Local, Direct, Relayed} {
		m := machine(link, nil)
		now := m.Wake()
		m, _ = m.Step(Observation{Kind: Broken, Now: now, Cause: "EOF"})
		for range 3 {
			m, _ = m.Step(Observation{Kind: Opening, Now: now})
			for range 100 { // ticks that nobody has asked for
				now += s
				m, _ = m.Step(Observation{Kind: Tick, Now: now})
				if m.State() != CONFIRM {
					t.Fatalf("%v: %v: %s", link, m.State(), m.words())
				}
			}
			m, _ = m.Step(Observation{Kind: Tried, Outcome: Unable, Now: now, Cause: "it was killed"})
			now = m.Wake()
			var a Actions
			if m, a = m.Step(Observation{Kind: Tick, Now: now}); !a.Connect {
				t.Fatalf("%v: %+v", link, a)
			}
		}
		m, _ = m.Step(Observation{Kind: Opening, Now: now})
		now += time.Hour
		m, _ = m.Step(Observation{Kind: Begun, Now: now})
		if want := now + m.th.Stall; m.Wake() != want {
			t.Errorf("%v: woken at %v, want %v", link, m.Wake(), want)
		}
		if m, _ = m.Step(Observation{Kind: Tried, Outcome: SameDisplay, Now: now + s}); m.State() != OK {
			t.Errorf("%v: %v", link, m.State())
		}
	}
	t.Run("silent", func(t *testing.T) {
		m := machine(Direct, nil)
		var opening time.Duration // since then the first try has not begun
		for at := 5 * s; !m.State().Final() && at < 100*s; at += s / 4 {
			var a Actions
			m, a = m.Step(Observation{Kind: Tick, Now: at, Link: cut(at, 6)})
			switch {
			case a.Connect && opening == 0:
				opening = at
				m, _ = m.Step(Observation{Kind: Opening, Now: at})
			case opening > 0 && at < opening+30*s:
				if m.State() != CONFIRM {
					t.Fatalf("%v at %v: %s", m.State(), at, m.words())
				}
			case at == opening+30*s, a.Connect:
				m, _ = m.Step(Observation{Kind: Begun, Now: at})
			}
		}
		if m.State() != GONE || m.End().Reason != session.ReasonLinkLost {
			t.Errorf("%v, %+v", m.State(), m.End())
		}
	})
}

// What comes after nobody waits for it any more is closed.
func TestLateOpener(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	warm := runSet(t)
	warm.add("warm", quick(srv))
	warm.await("warm", Opened)
	warm.stop()
	waitFor(t, func() bool { return srv.Clients() == 0 })
	before := descriptors(t)
	for name, stop := range map[string]func(*running){
		"removed": func(r *running) { r.Remove("late") },
		"closed":  func(r *running) { r.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			asked, again := make(chan func(Connection, error), 1), make(chan struct{})
			s := runSet(t)
			o := quick(srv)
			o.Opener = func(done func(Connection, error)) { asked <- done }
			s.add("late", o)
			done := <-asked
			stop(s)
			go func() {
				defer close(again)
				done(Connect(t.Context(), Options{Name: srv.Display()}))
			}()
			<-again
			waitFor(t, func() bool { return srv.Clients() == 0 })
			s.stop()
			waitFor(t, func() bool { return descriptors(t) <= before })
		})
	}
}

// A host with several addresses: each but the last is given up if it is dead.
func TestConnectAddresses(t *testing.T) {
	srv, err := displaytest.StartTCP("127.0.0.1:0", displaytest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	name := strings.Replace(srv.Display(), "127.0.0.1", "localhost", 1)
	c, err := Connect(t.Context(), Options{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	defer linux.CloseFD(c.FD)
	if len(c.IP) != 4 || c.Wayland || c.Pending {
		t.Errorf("%+v", c)
	}
	if _, err := Connect(t.Context(), Options{Name: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, syscall.ENOENT) {
		t.Error(err)
	}
}

// A display that was watched before is told from another one of its name.
func TestToken(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	s := runSet(t)
	o := through(quick(srv))
	s.add("first", o)
	token := s.opened("first", o).Token
	if token == "" {
		t.Fatal("no token")
	}
	s.Remove("first")
	o.Token = token
	s.add("again", o)
	if n := s.opened("again", o); n.Token != token {
		t.Errorf("%+v, want token %q", n, token)
	}
	other := through(quick(fake(t, displaytest.Options{})))
	other.Token = token
	s.add("other", other)
	if n := s.await("other", Failed); n.Outcome != OtherDisplay {
		t.Errorf("%+v", n)
	}
	srv.PullCable()
	s.add("none", o)
	if n := s.await("none", Failed); n.Outcome != NobodyThere {
		t.Errorf("%+v", n)
	}
}
