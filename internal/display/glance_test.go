package display

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"xexit/internal/display/displaytest"
)

func TestGlance(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	o := quick(srv)
	o.HungAfter = time.Minute
	s, err := Glance(t.Context(), o)
	if err != nil || !s.Connected || s.Link != Local || !s.Countable || s.Command != "" || s.Address == "" || s.Took <= 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if s.ServerPID != os.Getpid() || s.Server != PeerAlive {
		t.Errorf("server %d is %v, want this process", s.ServerPID, s.Server)
	}
	if s.Thresholds.Hung != time.Minute {
		t.Errorf("thresholds %+v", s.Thresholds)
	}
	waitFor(t, func() bool { return srv.Clients() == 0 }) // it keeps nobody from ending
	for _, command := range []string{"DIE", "EXIT", "other"} {
		srv.SetRootProperty("LTSP_XEXIT", command)
		s, err := Glance(t.Context(), o)
		if want := map[string]string{"DIE": "DIE", "EXIT": "EXIT"}[command]; err != nil || s.Command != want || !s.Connected || s.Link != Local {
			t.Errorf("%s: %+v, %v", command, s, err)
		}
	}
}

// What is there and does not answer is told from what is not there.
func TestGlanceInVain(t *testing.T) {
	srv := fake(t, displaytest.Options{})
	srv.SetMode(displaytest.Frozen)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second/4)
	defer cancel()
	s, err := Glance(ctx, quick(srv))
	if !errors.Is(err, ErrStalled) || !s.Connected || s.ServerPID != os.Getpid() || s.Server != PeerAlive {
		t.Errorf("frozen: %+v, %v", s, err)
	}
	srv.PullCable()
	s, err = Glance(t.Context(), quick(srv))
	if err == nil || s.Connected || s.Link != Local {
		t.Errorf("gone: %+v, %v", s, err)
	}
	if s, err := Glance(t.Context(), Options{Name: "nonsense"}); err == nil || s != (Sight{}) {
		t.Errorf("no name: %+v, %v", s, err)
	}
	s, err = Glance(t.Context(), Options{Name: "localhost:19999"})
	if err == nil || s.Connected || s.Link != Relayed || s.NoCarrier == "" {
		t.Errorf("nobody at a forwarded display: %+v, %v", s, err)
	}
}

// A stopped server does not hold a glance up, and is named as stopped.
func TestXvfbGlance(t *testing.T) {
	v := startXvfb(t, nil)
	v.signal(syscall.SIGSTOP)
	waitFor(t, func() bool { return v.state() == 'T' })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
	defer cancel()
	s, err := Glance(ctx, Options{Name: v.name()})
	if !errors.Is(err, ErrStalled) || s.Server != PeerStopped || s.ServerPID == 0 {
		t.Errorf("%+v, %v", s, err)
	}
	v.signal(syscall.SIGCONT)
	if s, err = Glance(t.Context(), Options{Name: v.name()}); err != nil || s.Server != PeerAlive || !s.Countable {
		t.Errorf("continued: %+v, %v", s, err)
	}
}
