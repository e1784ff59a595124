package display

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"xexit/internal/display/displaytest"
	"xexit/internal/display/x11"
	"xexit/internal/linux"
	"xexit/internal/session"
)

func TestPulledCable(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	w := start(t, Options{Name: srv.Display()})
	if w.ServerPID() != os.Getpid() {
		t.Errorf("server's pid %d, want %d", w.ServerPID(), os.Getpid())
	}
	srv.PullCable()
	if e := w.over(session.ReasonServerGone); !e.Run || !strings.Contains(e.Noticed, "refused") {
		t.Errorf("%+v", e)
	}
}

func TestFrozenIsBusy(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	w := start(t, quick(srv))
	srv.SetMode(displaytest.Frozen)
	n := w.await(BUSY, 0)
	srv.SetMode(displaytest.Healthy)
	w.await(OK, n)
	w.alive()
	srv.PullCable()
	w.over(session.ReasonServerGone)
}

func TestHungAfter(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	o := quick(srv)
	o.HungAfter = time.Second
	w := start(t, o)
	srv.SetMode(displaytest.Frozen)
	if e := w.over(session.ReasonServerGone); !w.has(BUSY) || !strings.Contains(e.Noticed, "hung-after") {
		t.Errorf("%+v", e)
	}
}

func TestOnlyOurConnectionBreaks(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	w := start(t, quick(srv))
	n := 0
	for range 5 {
		srv.DropClients()
		n = w.await(CONFIRM, n)
		n = w.await(OK, n)
	}
	w.alive()
	srv.PullCable()
	w.over(session.ReasonServerGone)
}

func TestReset(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	w := start(t, Options{Name: srv.Display()})
	srv.Reset()
	if e := w.over(session.ReasonServerGone); !strings.Contains(e.Noticed, propertyToken) {
		t.Errorf("%+v", e)
	}
}

// A server on the same number, with a token that another watcher has set.
func TestOtherToken(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	w := start(t, Options{Name: srv.Display()})
	srv.SetRootProperty(propertyToken, strings.Repeat("0", tokenSize))
	srv.DropClients()
	w.over(session.ReasonServerGone)
}

func TestFullWhenReconnecting(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	w := start(t, quick(srv))
	srv.SetRefusal("Maximum number of clients reached")
	srv.DropClients()
	n := w.await(CONFIRM, 0)
	const setups = 3
	waitFor(t, func() bool { return srv.Refused() >= setups })
	w.alive()
	srv.SetMode(displaytest.Healthy)
	w.await(OK, n)
	srv.PullCable()
	w.over(session.ReasonServerGone)
}

func TestCookieChanged(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	w := start(t, Options{Name: srv.Display()})
	srv.SetRefusal("Invalid MIT-MAGIC-COOKIE-1 key")
	srv.DropClients()
	w.over(session.ReasonServerGone)
}

// waitFor looks again whenever the fake server did something; it has no event
// for that, so it is asked in short intervals.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	over := time.After(guard)
	for !ok() {
		select {
		case <-tick.C:
		case <-over:
			t.Fatalf("not within %v", guard)
		}
	}
}

func TestProperty(t *testing.T) {
	for _, c := range []struct {
		value  string
		before bool
		run    bool
	}{{"DIE", false, true}, {"EXIT", false, false}, {"DIE", true, true}, {"EXIT\x00", true, false}} {
		srv := fake(t, displaytest.Options{})
		if c.before {
			srv.SetRootProperty("LTSP_XEXIT", c.value)
		}
		w := start(t, Options{Name: srv.Display()})
		if !c.before {
			srv.SetRootProperty("LTSP_XEXIT", "DIED") // means nothing
			srv.SetRootProperty("LTSP_XEXIT", c.value)
		}
		if e := w.over(session.ReasonRequested); e.Run != c.run {
			t.Errorf("%q: %+v", c.value, e)
		}
	}
}

// Over a network the property is polled, with the ping.
func TestPropertyPolled(t *testing.T) {
	srv, err := displaytest.StartTCP("127.0.0.1:0", displaytest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	w := start(t, quick(srv))
	srv.SetRootProperty("LTSP_XEXIT", "DIE")
	w.over(session.ReasonRequested)
}

func TestBehindRelay(t *testing.T) {
	srv, err := displaytest.StartTCP("127.0.0.1:0", displaytest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	number, err := strconv.Atoi(strings.TrimPrefix(srv.Display(), "127.0.0.1:"))
	if err != nil {
		t.Fatal(err)
	}
	o := quick(srv)
	o.Name = fmt.Sprintf("localhost:%d", relay(t, "127.0.0.1", fmt.Sprintf("127.0.0.1:%d", number+6000))-6000)
	o.BlindAfter = time.Second
	w := start(t, o)
	srv.SetMode(displaytest.Frozen)
	n := w.await(BLIND, 0)
	srv.SetMode(displaytest.Healthy)
	w.await(OK, n)
	w.alive()
	srv.SetMode(displaytest.Frozen)
	w.over(session.ReasonBlind)
}

// What is at the other end of the port does not read: that is seen, and no end.
func TestDeafRelay(t *testing.T) {
	srv, err := displaytest.StartTCP("127.0.0.1:0", displaytest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	o := quick(srv)
	o.BlindAfter = time.Second
	w := start(t, o)
	srv.SetMode(displaytest.Frozen) // it takes one request, and no other
	n := w.await(BUSY, 0)
	w.Probe(3 * o.BlindAfter)
	<-w.done
	if !errors.Is(w.err, ErrAlive) {
		t.Fatalf("%+v, %v", w.end, w.err)
	}
	w.run()
	srv.SetMode(displaytest.Healthy)
	w.await(OK, n)
	srv.PullCable()
	w.over(session.ReasonServerGone)
}

func TestTwoWatchers(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	a := start(t, quick(srv))
	token := srv.RootProperty(propertyToken)
	b := start(t, quick(srv))
	if got := srv.RootProperty(propertyToken); len(token) != tokenSize || got != token {
		t.Errorf("token %q, then %q", token, got)
	}
	srv.DropClients()
	a.await(OK, a.await(CONFIRM, 0))
	b.await(OK, b.await(CONFIRM, 0))
	srv.SetRootProperty("LTSP_XEXIT", "DIE")
	a.over(session.ReasonRequested)
	b.over(session.ReasonRequested)
}

// Many watchers that come at once agree on one token.
func TestTokenRace(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	var all sync.WaitGroup
	tokens := make([]string, 8)
	for i := range tokens {
		all.Go(func() {
			w, err := Open(t.Context(), Options{Name: srv.Display()})
			if err != nil {
				t.Error(err)
				return
			}
			tokens[i] = w.target.token
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, token := range tokens {
		if token != tokens[0] || token == "" {
			t.Fatalf("%q", tokens)
		}
	}
}

// The token is appended, so that of two who both found none the first wins;
// it is read again to see who that was.
func TestTokenIsAppended(t *testing.T) {
	c := newX11(&client{}, 0, nil, "")
	c.root, c.atoms = 1, [3]uint32{70, 71, 72}
	c.Sent(len(c.Output()))
	if err := c.property(x11.PropertyReply{Tag: tagToken}); err != nil {
		t.Fatal(err)
	}
	const opChangeProperty = 18
	if out := c.Output(); out[0] != opChangeProperty || out[1] != x11.Append || !c.Waiting(tagToken) {
		t.Errorf("% x", out)
	}
}

// child is a process that lives until it is told to end, and a pidfd of it.
func child(t *testing.T) (*linux.PidFD, func()) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	end := func() {
		once.Do(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
	fd, err := linux.OpenPidFD(cmd.Process.Pid)
	if err != nil {
		end()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		end()
		_ = fd.Close()
	})
	return fd, end
}

// Two watchers, and a client that leaves last: neither keeps the other there.
func TestLeft(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	leader, exit := child(t)
	o := quick(srv)
	o.LeaderPidFD = leader.FD()
	a, b := start(t, o), start(t, o)
	other, err := displaytest.Dial(srv.Display())
	if err != nil {
		t.Fatal(err)
	}
	const opXRes = 150
	exit()
	before := srv.Requests(opXRes)
	waitFor(t, func() bool { return srv.Requests(opXRes) > before+10 })
	a.alive()
	b.alive()
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	a.over(session.ReasonLogout)
	b.over(session.ReasonLogout)
	waitFor(t, func() bool { return srv.Clients() == 0 })
}

func TestLeaderLivesAndNobodyIsThere(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	leader, _ := child(t)
	o := quick(srv)
	o.LeaderPidFD = leader.FD()
	w := start(t, o)
	const opGetProperty = 20
	before := srv.Requests(opGetProperty)
	waitFor(t, func() bool { return srv.Requests(opGetProperty) > before+50 })
	w.alive()
	srv.PullCable()
	w.over(session.ReasonServerGone)
}

func TestProbe(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	w := start(t, Options{Name: srv.Display()})
	w.Probe(50 * time.Millisecond)
	<-w.done
	if !errors.Is(w.err, ErrAlive) {
		t.Fatalf("%+v, %v", w.end, w.err)
	}
	w.run() // again
	srv.SetMode(displaytest.Frozen)
	w.Probe(50 * time.Millisecond)
	<-w.done
	if !errors.Is(w.err, ErrAlive) {
		t.Fatalf("frozen: %+v, %v", w.end, w.err)
	}
	w.run()
	w.Probe(guard)
	srv.PullCable()
	w.over(session.ReasonServerGone)
}

func TestContextEnds(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	w, _ := open(t, Options{Name: srv.Display()})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if e, err := w.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", e, err)
	}
}
