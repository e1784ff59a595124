package daemon

import (
	"context"
	"strings"
	"sync"
	"testing"

	"xexit/internal/displayd"
	"xexit/internal/linux"
	"xexit/internal/login"
	"xexit/internal/session"
)

// screens are displays that the test makes.
type screens struct {
	events chan displayd.Event

	mu      sync.Mutex
	watched map[string]displayd.Spec
}

func newScreens() *screens {
	return &screens{events: make(chan displayd.Event), watched: make(map[string]displayd.Spec)}
}

func (s *screens) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (s *screens) Watch(id string, spec displayd.Spec) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched[id] = spec
	return nil
}

func (s *screens) Drop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watched, id)
}

func (s *screens) Events() <-chan displayd.Event { return s.events }

func (s *screens) of(id string) (displayd.Spec, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	spec, ok := s.watched[id]
	return spec, ok
}

// TestDisplay: the end of a login's own display ends it; that it is not
// watched, or nobody watches, does not.
func TestDisplay(t *testing.T) {
	b := newBench(t)
	b.configure(`types = ["x11", "ssh"]`)
	displays := newScreens()
	b.o.Displays = displays
	b.run()
	for _, id := range []string{"4", "5", "6"} {
		l := b.login(id, "alice", b.sshd().Process.Pid)
		if id != "6" {
			l.Type, l.Service, l.Display = "x11", "lightdm", ":"+id+".0"
		}
		b.source.set(id, l)
		b.awaitPhase(id, login.Open)
	}
	b.until("the displays are watched", func() bool { _, ok := displays.of("5"); return ok })
	spec, _ := displays.of("4")
	if spec.Display != ":4" || spec.UID != 1000 || spec.Leader.PID == 0 || spec.Cgroup == "" || spec.Wayland || spec.Resume != "" {
		t.Errorf("%+v", spec)
	}
	for _, e := range []displayd.Event{
		{Kind: displayd.WorkerBack},
		{Kind: displayd.Failed, Login: "4", Err: "no such file"},
		{Kind: displayd.Opened, Login: "4", Resume: "token:1"},
		{Kind: displayd.Opened, Login: "5", Resume: "token:2"},
		{Kind: displayd.WorkerLost, Err: "killed"},
		{Kind: displayd.Ended, Login: "6", Reason: session.ReasonServerGone}, // a shell's
		{Kind: displayd.Ended, Login: "7", Reason: session.ReasonServerGone}, // nobody's
		{Kind: displayd.Ended, Login: "4", Reason: session.ReasonServerGone, Noticed: "EOF", NoticedAfter: 5},
	} {
		displays.events <- e
	}
	b.awaitPhase("4", login.Done)
	if r := b.asked("4"); len(r) != 1 || r[0].Reason != session.ReasonServerGone || r[0].Noticed != "EOF" {
		t.Errorf("%+v", r)
	}
	if _, ok := displays.of("4"); ok {
		t.Error("it is still being watched")
	}
	for _, id := range []string{"5", "6"} {
		if b.phase(id) != login.Open || len(b.asked(id)) > 0 {
			t.Errorf("login %s is %s", id, b.phase(id))
		}
	}
	if !strings.Contains(b.log.String(), "no display is being watched until there is a worker again") {
		t.Error("that there was no worker was not said")
	}
}

// TestDisplayResumed: the next daemon knows which display it was.
func TestDisplayResumed(t *testing.T) {
	b := newBench(t)
	b.configure(`types = ["x11"]`)
	displays := newScreens()
	b.o.Displays = displays
	leader := b.sshd().Process.Pid
	start, err := linux.Birth(leader)
	if err != nil {
		t.Fatal(err)
	}
	s := b.state("5", "alice", login.Open, session.ProcID{PID: leader, Start: start})
	s.Type, s.Resume = "x11", "token:2"
	b.put(s)
	l := b.login("5", "alice", leader)
	l.Type = "x11"
	b.source.set("5", l)
	b.run()
	b.until("the display is watched again", func() bool { spec, _ := displays.of("5"); return spec.Resume == "token:2" })
}
