package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"xexit/internal/ipc"
	"xexit/internal/login"
	"xexit/internal/session"
)

func (b *bench) client() ipc.Client {
	b.t.Helper()
	path := filepath.Join(b.o.Dir, "control")
	b.until("the socket is there", func() bool { _, err := os.Lstat(path); return err == nil })
	return ipc.Client{Path: path, Server: uint32(os.Geteuid())}
}

// ask has the daemon asked as a client's message would have it.
func (b *bench) ask(d *Daemon, caller uint32, id string) (r ipc.Result, steps []string) {
	b.t.Helper()
	r, err := handler{d}.End(b.t.Context(), caller, id, ipc.EndRequest{}, func(s ipc.Step) { steps = append(steps, s.Step) })
	if err != nil {
		b.t.Fatal(err)
	}
	return r, steps
}

// TestRequested: who asks for an end hears its steps and what came of it. Root
// may have it again, under a record of its own; the user is told what came of
// the first.
func TestRequested(t *testing.T) {
	b := newBench(t)
	d := b.run()
	b.open("4", "alice")
	var records []string
	for n := 1; n <= 2; n++ {
		r, steps := b.ask(d, 0, "4")
		if r.Exit != login.ExitDone || !r.Verified || r.Ended != 3 || len(r.Survivors) != 1 || r.Record == "" {
			t.Errorf("%+v", r)
		}
		if want := []string{"claim", "begin"}; !slices.Equal(steps, want) {
			t.Errorf("steps %v, want %v", steps, want)
		}
		asked := b.asked("4")
		if len(asked) != n || asked[n-1].Reason != session.ReasonRequested || asked[n-1].Record != r.Record {
			t.Errorf("%d: %+v", n, asked)
		}
		records = append(records, r.Record)
	}
	if records[0] == records[1] {
		t.Error("two ends have one record")
	}
	if r, steps := b.ask(d, ordinary(), "4"); r.Record != records[1] || r.Exit != login.ExitDone || len(steps) > 0 || len(b.asked("4")) != 2 {
		t.Errorf("asked again by its user: %+v, steps %v, %d ends", r, steps, len(b.asked("4")))
	}
	for caller, id := range map[uint32]string{0: "5", ordinary() + 1: "4"} {
		if _, err := (handler{d}).End(t.Context(), caller, id, ipc.EndRequest{}, nil); !errors.Is(err, ipc.ErrNoLogin) {
			t.Errorf("login %s for user %d: %v", id, caller, err)
		}
	}
}

// TestJoin: who asks for the end of a login whose end is under way waits for
// that one; and who goes away does no harm.
func TestJoin(t *testing.T) {
	b := newBench(t)
	if err := syscall.Mkfifo(filepath.Join(b.dir, "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.run()
	b.end(b.open("4", "waits"))
	b.awaitPhase("4", login.Ending)
	c := b.client()
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := c.End(ctx, "4", ipc.EndRequest{}, nil)
		left <- err
	}()
	joined := make(chan error, 1)
	go func() {
		r, err := c.End(t.Context(), "4", ipc.EndRequest{}, nil)
		if err == nil && !r.Verified {
			err = errors.New("not verified")
		}
		joined <- err
	}()
	b.until("both have asked", func() bool { return strings.Count(b.log.String(), "end requested") == 2 })
	cancel()
	if err := <-left; err == nil {
		t.Error("who went away has an answer")
	}
	f, err := os.OpenFile(filepath.Join(b.dir, "go"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if err := <-joined; err != nil {
		t.Error(err)
	}
	if asked := b.asked("4"); len(asked) != 1 {
		t.Errorf("ended %d times", len(asked))
	}
}

// TestShown: what the daemon says of its logins and of itself.
func TestShown(t *testing.T) {
	b := newBench(t)
	b.run()
	b.open("4", "alice")
	tty := b.login("5", "alice", 0)
	tty.Service = "login"
	b.source.set("5", tty)
	c := b.client()
	all := os.Getuid() == 0
	var list []ipc.Login
	b.until("both logins are shown", func() bool {
		var err error
		if list, err = c.Logins(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		return len(list) == 2
	})
	if l := list[0]; l.ID != "4" || l.User != "alice" || l.Phase != ipc.PhaseOpen || l.Fate != ipc.FateEnd || l.State != "active" || l.Session == "" {
		t.Errorf("%+v", l)
	}
	if l := list[1]; l.ID != "5" || l.Phase != "" || l.Fate != ipc.FateLeave || l.Why == "" {
		t.Errorf("%+v", l)
	}
	if _, err := c.End(t.Context(), "5", ipc.EndRequest{}, nil); !errors.Is(err, ipc.ErrTaken) {
		t.Errorf("the end of a login that is not taken on: %v", err)
	}
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.PID != os.Getpid() || !slices.Equal(s.Types, []string{"ssh"}) || len(s.Sources) != 1 || !s.Sources[0].Alive || len(s.ConfigProblems) > 0 {
		t.Errorf("%+v", s)
	}
	b.configure(`types = ["nonsense"]`)
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	b.until("the bad configuration is shown", func() bool {
		s, err := c.Status(t.Context())
		return err == nil && len(s.ConfigProblems) > 0 && slices.Equal(s.Types, []string{"ssh"})
	})
}
