//go:build realtime

package display

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/session"
)

// begin watches, over a carrier that must be seen.
func (f *forwarded) begin() *watching {
	f.t.Helper()
	w, j := open(f.t, f.options)
	facts := w.Facts()
	if facts.Link != Carried || facts.Carrier != f.options.Connection {
		f.t.Fatalf("%+v", facts)
	}
	r := &watching{Watch: w, journal: j, t: f.t}
	r.run()
	return r
}

func TestSSHServerKilled(t *testing.T) {
	t.Parallel()
	for i, name := range []string{"trusted", "untrusted"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := forward(t, 60+i, login{untrusted: i == 1})
			w := f.begin()
			w.fault(10 * time.Second) // it works
			w.never(BLIND)
			f.signal(syscall.SIGKILL)
			w.over(session.ReasonServerGone)
		})
	}
}

// never fails if a state was reported: of a healthy link nothing is.
func (r *watching) never(s State) {
	r.t.Helper()
	if r.has(s) {
		r.t.Errorf("%v was reported", s)
	}
}

func TestSSHBusy(t *testing.T) {
	t.Parallel()
	for i, c := range []struct {
		name    string
		relayed bool
		long    time.Duration
	}{{"direct", false, 90 * time.Second}, {"behind a relay", true, 100 * time.Second}} {
		t.Run(c.name+", stopped", func(t *testing.T) {
			t.Parallel()
			f := forward(t, 62+2*i, login{relayed: c.relayed})
			w := f.begin()
			f.signal(syscall.SIGSTOP)
			n := w.await(BUSY, 0)
			w.fault(c.long)
			if got := f.state(); got != 'T' {
				t.Errorf("server's state %c", got)
			}
			f.signal(syscall.SIGCONT)
			w.await(OK, n)
			w.never(BLIND)
			f.signal(syscall.SIGKILL)
			w.over(session.ReasonServerGone)
		})
		t.Run(c.name+", grabbed", func(t *testing.T) {
			t.Parallel()
			f := forward(t, 63+2*i, login{relayed: c.relayed})
			w := f.begin()
			ungrab := f.grab()
			n := w.await(BUSY, 0)
			w.fault(c.long)
			ungrab()
			w.await(OK, n)
			w.never(BLIND)
			_ = f.ssh.Process.Kill()
			w.over(session.ReasonServerGone)
		})
	}
}

func TestSSHCutForGood(t *testing.T) {
	t.Parallel()
	for i, c := range cuts {
		for k, lost := range []time.Duration{DefaultLostAfter, 3 * time.Second} {
			t.Run(c.name+" "+lost.String(), func(t *testing.T) {
				t.Parallel()
				f := forward(t, 66+2*i+k, login{})
				f.options.LostAfter = lost
				w := f.begin()
				w.fault(lost / 2) // it works
				at := time.Now()
				c.cut(f.far)
				e := w.over(session.ReasonLinkLost)
				t.Logf("decided %.1f s after the cut: %s", time.Since(at).Seconds(), e.Noticed)
			})
		}
	}
}

func TestSSHCutAndHealed(t *testing.T) {
	t.Parallel()
	for i, grabbed := range []bool{false, true} {
		name := "answering"
		if grabbed {
			name = "grabbed"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := forward(t, 70+i, login{})
			w := f.begin()
			w.fault(2 * time.Second) // it works
			if grabbed {
				f.grab()
				w.await(BUSY, 0)
			}
			cuts[1].cut(f.far)
			w.fault(12 * time.Second)
			if s := f.carried(); s.Unacked == 0 || s.Retransmits == 0 {
				t.Errorf("the cut had no effect: %+v", s)
			}
			cuts[1].heal(f.far)
			w.fault(25 * time.Second)
			if s := f.carried(); s.Unacked != 0 || s.Retransmits != 0 || s.LastAckRecv > DefaultLostAfter/3 {
				t.Errorf("not healed: %+v", s)
			}
			cuts[1].cut(f.far)
			w.over(session.ReasonLinkLost)
		})
	}
}

func TestSSHEnds(t *testing.T) {
	t.Parallel()
	for i, c := range []struct {
		name string
		end  func(*forwarded)
	}{
		{"ssh killed", func(f *forwarded) { _ = f.ssh.Process.Kill() }},
		{"sshd killed", func(f *forwarded) { _ = f.sshd.Kill() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := forward(t, 72+i, login{})
			w := f.begin()
			w.fault(3 * time.Second) // it works
			c.end(f)
			w.over(session.ReasonServerGone)
		})
	}
}

// sshd's display at this host's own address looks like a server of this host.
func TestSSHNamedDisplay(t *testing.T) {
	t.Parallel()
	f := forward(t, 78, login{named: true})
	w := f.begin()
	f.signal(syscall.SIGSTOP)
	n := w.await(BUSY, 0)
	f.signal(syscall.SIGCONT)
	w.await(OK, n)
	cuts[1].cut(f.far)
	w.over(session.ReasonLinkLost)
}

// The carrier ends at the relay, which lives; the cable behind it is cut.
func TestSSHRelayedCut(t *testing.T) {
	t.Parallel()
	f := forward(t, 74, login{relayed: true})
	w := f.begin()
	w.fault(5 * time.Second) // it works
	at := time.Now()
	cuts[1].cut(f.far)
	w.fault(40 * time.Second)
	if s := f.carried(); !s.Established || s.Unacked != 0 {
		t.Errorf("the carrier should know nothing of it: %+v", s)
	}
	e := w.over(session.ReasonBlind)
	t.Logf("decided %.1f s after the cut: %s", time.Since(at).Seconds(), e.Noticed)
}

// No carrier that can be seen, or one that is not the display's: nothing is
// concluded from it.
func TestSSHNoCarrier(t *testing.T) {
	t.Parallel()
	t.Run("not set", func(t *testing.T) {
		t.Parallel()
		f := forward(t, 75, login{})
		f.options.Connection = ""
		w := start(t, f.options)
		if facts := w.Facts(); facts.Link != Relayed || !strings.Contains(facts.NoCarrier, "not set") {
			t.Errorf("%+v", facts)
		}
		at := time.Now()
		cuts[1].cut(f.far)
		w.await(BLIND, 0)
		w.fault(40 * time.Second)
		e := w.over(session.ReasonBlind)
		t.Logf("decided %.1f s after the cut: %s", time.Since(at).Seconds(), e.Noticed)
	})
	t.Run("another login's", func(t *testing.T) {
		t.Parallel()
		f, other := forward(t, 76, login{}), forward(t, 77, login{})
		f.options.Connection = other.options.Connection
		w := start(t, f.options)
		w.await(OK, 0) // as it is disowned, at the first answer
		f.signal(syscall.SIGSTOP)
		n := w.await(BLIND, 0)
		cuts[1].cut(other.far)
		w.fault(40 * time.Second)
		f.signal(syscall.SIGCONT)
		w.await(OK, n)
		cuts[1].cut(f.far)
		w.fault(40 * time.Second)
		w.over(session.ReasonBlind)
	})
}

// The login's sshd on this host is stopped: nothing comes, whatever the far end
// does, and that is no end.
func TestSSHDStopped(t *testing.T) {
	t.Parallel()
	for i, c := range []struct {
		name           string
		hidden, killed bool
	}{{"then not", false, false}, {"then killed", false, true}, {"no carrier to see", true, false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := forward(t, 85+i, login{})
			if c.hidden {
				f.options.Connection = ""
			}
			w := start(t, f.options)
			w.fault(3 * time.Second) // it works
			if err := f.sshd.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			n := w.await(BUSY, 0)
			w.fault(100 * time.Second)
			if got := processState(t, f.sshd.Pid); got != 'T' {
				t.Errorf("sshd's state %c", got)
			}
			if w.has(CONFIRM) {
				t.Error("the far end was asked, through an sshd that does not read")
			}
			if c.killed {
				_ = f.sshd.Kill()
				w.over(session.ReasonServerGone)
				return
			}
			if err := f.sshd.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			w.await(OK, n)
			_ = f.ssh.Process.Kill()
			w.over(session.ReasonServerGone)
		})
	}
}
