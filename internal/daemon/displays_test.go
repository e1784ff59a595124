package daemon

import (
	"context"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"xexit/internal/displayd"
	"xexit/internal/login"
	"xexit/internal/member"
	"xexit/internal/session"
)

// screens are displays that end when the test says so.
type screens struct {
	events chan displayd.Event

	mu      sync.Mutex
	watched map[string]displayd.Spec
	count   int // calls of Watch
}

func newScreens() *screens {
	return &screens{events: make(chan displayd.Event), watched: make(map[string]displayd.Spec)}
}

func (s *screens) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func (s *screens) Watch(id string, spec displayd.Spec) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched[id] = spec
	s.count++
	return nil
}

func (s *screens) Drop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watched, id)
}

func (s *screens) Events() <-chan displayd.Event { return s.events }

func (s *screens) spec(id string) (displayd.Spec, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	spec, ok := s.watched[id]
	return spec, ok
}

// openX11 logs in on a display.
func (b *bench) openX11(id string) *member.Login {
	b.t.Helper()
	l := b.login(id, "alice", b.sshd().Process.Pid)
	l.Type, l.Service, l.Display = "x11", "lightdm", ":"+id
	b.source.set(id, l)
	b.awaitPhase(id, login.Open)
	return l
}

func newScreenBench(t *testing.T, display string) (*bench, *screens) {
	t.Helper()
	b, s := newBench(t), newScreens()
	b.configure("types = [\"x11\", \"ssh\"]\n[display]\n" + display)
	b.o.Displays = s
	return b, s
}

// TestDisplays: the display of a graphical login is watched, of a shell's not;
// its end is the login's, and with that it is dropped.
func TestDisplays(t *testing.T) {
	b, s := newScreenBench(t, "")
	b.run()
	b.open("1", "alice")
	l := b.openX11("7")
	b.until("the display is watched", func() bool { _, ok := s.spec("7"); return ok })
	if spec, _ := s.spec("7"); spec.Display != ":7" || spec.UID != l.UID || spec.Leader.PID != l.Leader || spec.Cgroup != l.Cgroup || spec.Wayland || spec.Resume != "" {
		t.Errorf("%+v", spec)
	}
	if _, ok := s.spec("1"); ok {
		t.Error("a shell's display is watched")
	}
	b.openX11("8")
	for _, e := range []displayd.Event{
		{Kind: displayd.WorkerBack},
		{Login: "8", Kind: displayd.Failed, Err: "no such file"},
		{Kind: displayd.WorkerLost, Err: "killed"},
		{Login: "9", Kind: displayd.Ended, Reason: session.ReasonServerGone}, // nobody's
	} {
		s.events <- e
	}
	s.events <- displayd.Event{Login: "7", Kind: displayd.Opened, Resume: "token:01"}
	s.events <- displayd.Event{Login: "1", Kind: displayd.Ended, Reason: session.ReasonServerGone}
	s.events <- displayd.Event{Login: "7", Kind: displayd.Ended, Reason: session.ReasonServerGone, Noticed: "reset", NoticedAfter: 3 * time.Millisecond}
	b.awaitPhase("7", login.Done)
	asked := b.asked("7")
	if len(asked) != 1 || asked[0].Reason != session.ReasonServerGone || asked[0].Noticed != "reset" || asked[0].NoticedUS != 3000 || asked[0].Display != ":7" {
		t.Errorf("%+v", asked)
	}
	if _, ok := s.spec("7"); ok {
		t.Error("it is watched still")
	}
	if b.phase("1") != login.Open || b.phase("8") != login.Open {
		t.Error("ended: a shell for its display, or a login whose display nobody watched")
	}
	if !b.logged("no display is being watched until there is a worker again") {
		t.Error("that there was no worker was not said")
	}
}

// TestDisplayTimes: how long a lost display is waited for the configuration
// says, also the one that was read last.
func TestDisplayTimes(t *testing.T) {
	b, s := newScreenBench(t, "lost-after = \"20s\"\nhung-after = \"5m\"")
	b.run()
	times := func(id string) [3]time.Duration {
		spec, _ := s.spec(id)
		return [3]time.Duration{spec.LostAfter, spec.BlindAfter, spec.HungAfter}
	}
	b.openX11("7")
	b.until("the display is watched", func() bool { _, ok := s.spec("7"); return ok })
	if got, want := times("7"), [3]time.Duration{20 * time.Second, time.Minute, 5 * time.Minute}; got != want {
		t.Errorf("%v, want %v", got, want)
	}
	b.configure("types = [\"x11\"]\n[display]\nblind-after = \"2m\"")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	b.until("that is in force", func() bool { return b.logged("configuration reloaded") })
	b.openX11("8")
	b.until("the display is watched", func() bool { _, ok := s.spec("8"); return ok })
	if got, want := times("8"), [3]time.Duration{15 * time.Second, 2 * time.Minute, 0}; got != want {
		t.Errorf("after the reload: %v, want %v", got, want)
	}
}

// TestDisplayResumed: the next daemon has the display told from another of its
// name.
func TestDisplayResumed(t *testing.T) {
	b, s := newScreenBench(t, "")
	b.run()
	b.openX11("7")
	s.events <- displayd.Event{Login: "7", Kind: displayd.Opened, Resume: "token:01"}
	b.until("that is known", func() bool {
		state, err := login.Decode("7", mustRead(b.stateFile("7")))
		return err == nil && state.Resume == "token:01"
	})
	b.stop()
	next := newScreens()
	b.o.Displays = next
	b.run()
	b.until("the display is watched", func() bool { _, ok := next.spec("7"); return ok })
	if spec, _ := next.spec("7"); spec.Resume != "token:01" {
		t.Errorf("%+v", spec)
	}
	if len(b.asked("7")) > 0 {
		t.Error("the login was ended")
	}
}

// TestReconnect: a link that is back in time was no end.
func TestReconnect(t *testing.T) {
	b, s := newScreenBench(t, "reconnect = \"1h\"")
	b.run()
	b.openX11("7")
	lost := displayd.Event{Login: "7", Kind: displayd.Ended, Reason: session.ReasonLinkLost, Noticed: "no answer"}
	deadline := func() time.Duration {
		state, err := login.Decode("7", mustRead(b.stateFile("7")))
		if err != nil {
			t.Fatal(err)
		}
		return state.Deadline
	}
	s.events <- lost
	b.until("it is waited for", func() bool { return deadline() != 0 })
	b.until("it is watched again", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.count >= 2
	})
	s.events <- displayd.Event{Login: "7", Kind: displayd.Opened, Resume: "token:01"}
	b.until("it is back", func() bool { return deadline() == 0 })
	if b.phase("7") != login.Open || len(b.asked("7")) > 0 {
		t.Fatal("ended, though the link was back")
	}
	s.events <- lost
	s.events <- displayd.Event{Login: "7", Kind: displayd.Ended, Reason: session.ReasonServerGone}
	b.awaitPhase("7", login.Done)
	if asked := b.asked("7"); len(asked) != 1 || asked[0].Reason != session.ReasonServerGone {
		t.Errorf("%+v", asked)
	}
}
