//go:build realtime

// The tests in this file take their time: faults last for as long as the
// thresholds say. They run with -tags realtime.

package display

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/session"
)

// fault lasts for d; an end meanwhile is a false one.
func (r *watching) fault(d time.Duration) {
	r.t.Helper()
	select {
	case <-r.done:
		r.t.Fatalf("false end: %+v, %v", r.end, r.err)
	case <-time.After(d):
	}
}

// sampled is the kernel's view of the link, asked for within the loop.
func (r *watching) sampled() LinkSample {
	r.t.Helper()
	answer := make(chan LinkSample, 1)
	r.set.loop.post(func() {
		if r.target.cur == nil {
			answer <- LinkSample{}
			return
		}
		answer <- r.target.cur.sample()
	})
	select {
	case s := <-answer:
		return s
	case <-r.done:
		r.t.Fatalf("ended: %+v, %v", r.end, r.err)
	case <-time.After(guard):
		r.t.Fatal("the loop does not answer")
	}
	return LinkSample{}
}

func TestRealStopped(t *testing.T) {
	t.Parallel()
	v := startXvfb(t, nil)
	w := start(t, Options{Name: v.name(), Interval: time.Second})
	v.signal(syscall.SIGSTOP)
	n := w.await(BUSY, 0)
	w.fault(40 * time.Second)
	if got := v.state(); got != 'T' {
		t.Errorf("server's state %c", got)
	}
	v.signal(syscall.SIGCONT)
	w.await(OK, n)
	v.signal(syscall.SIGKILL)
	w.over(session.ReasonServerGone)
}

func TestRealGrabbed(t *testing.T) {
	t.Parallel()
	v := startXvfb(t, nil)
	w := start(t, Options{Name: v.name(), Interval: time.Second})
	c := v.client()
	c.request(opGrabServer)
	n := w.await(BUSY, 0)
	w.fault(40 * time.Second)
	c.request(opUngrabServer)
	w.await(OK, n)
	v.signal(syscall.SIGKILL)
	w.over(session.ReasonServerGone)
}

// A connection that breaks while the server is stopped: whoever connects anew
// waits, and that is no end either.
func TestRealReconnectToStopped(t *testing.T) {
	t.Parallel()
	v := startXvfb(t, nil, "-noreset")
	w := start(t, Options{Name: v.name()})
	v.signal(syscall.SIGSTOP)
	w.set.loop.post(func() { w.target.cur.fail(Dropped, syscall.ECONNRESET) })
	n := w.await(CONFIRM, 0)
	w.fault(12 * time.Second)
	if got := v.state(); got != 'T' {
		t.Errorf("server's state %c", got)
	}
	v.signal(syscall.SIGCONT)
	w.await(OK, n)
	v.signal(syscall.SIGKILL)
	w.over(session.ReasonServerGone)
}

// far is an X server at the other end of a virtual cable: a network namespace
// and a veth pair.
//
//	here ── host side ═══ its side ── namespace ── Xvfb -listen tcp
type far struct {
	*xvfb
	t             *testing.T
	space, inside string
	address       string
}

func startFar(t *testing.T, net int) *far {
	t.Helper()
	need(t, "ip", "nft", "Xvfb")
	f := startSpace(t, net)
	f.xvfb = startXvfb(t, []string{"ip", "netns", "exec", f.space}, "-listen", "tcp", "-nolisten", "unix", "-ac", "-noreset")
	return f
}

// startSpace lays the cable.
func startSpace(t *testing.T, net int) *far {
	t.Helper()
	if os.Geteuid() != 0 {
		cannot(t, fmt.Errorf("network namespaces need root"))
	}
	id := fmt.Sprintf("%d", os.Getpid()%100000)
	f := &far{t: t, space: fmt.Sprintf("xexit-%s-%d", id, net), inside: fmt.Sprintf("xi%s%d", id, net)}
	outside := fmt.Sprintf("xo%s%d", id, net)
	f.address = there(net)
	f.do("ip", "netns", "add", f.space)
	t.Cleanup(func() { f.do("ip", "netns", "del", f.space) })
	f.do("ip", "link", "add", outside, "type", "veth", "peer", "name", f.inside, "netns", f.space)
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", outside).Run() }) // gone with the namespace, mostly
	f.do("ip", "addr", "add", here(net)+"/24", "dev", outside)
	f.do("ip", "link", "set", outside, "up")
	f.in("ip", "addr", "add", f.address+"/24", "dev", f.inside)
	f.in("ip", "link", "set", f.inside, "up")
	f.in("ip", "link", "set", "lo", "up")
	return f
}

// here and there are the ends of a cable: of this run, lest another one's be in
// the way.
func here(net int) string  { return fmt.Sprintf("10.%d.%d.1", 100+os.Getpid()%100, net) }
func there(net int) string { return fmt.Sprintf("10.%d.%d.2", 100+os.Getpid()%100, net) }

func (f *far) do(args ...string) {
	f.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		f.t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func (f *far) in(args ...string) {
	f.t.Helper()
	f.do(append([]string{"ip", "netns", "exec", f.space}, args...)...)
}

func (f *far) name() string { return fmt.Sprintf("%s:%d", f.address, f.number) }

// The ways to cut the cable.
var cuts = []struct {
	name      string
	cut, heal func(*far)
}{
	{
		"pulled", // the carrier is lost
		func(f *far) { f.in("ip", "link", "set", f.inside, "down") },
		func(f *far) { f.in("ip", "link", "set", f.inside, "up") },
	},
	{
		"swallowed", // a switch further on: packets vanish without a word
		func(f *far) {
			f.in("nft", "add table inet cut; add chain inet cut in { type filter hook input priority 0; policy drop; }; "+
				"add chain inet cut out { type filter hook output priority 0; policy drop; }")
		},
		func(f *far) { f.in("nft", "delete table inet cut") },
	},
}

func TestRealCutForGood(t *testing.T) {
	t.Parallel()
	for i, c := range cuts {
		for k, lost := range []time.Duration{DefaultLostAfter, 3 * time.Second} {
			t.Run(fmt.Sprint(c.name, " ", lost), func(t *testing.T) {
				t.Parallel()
				f := startFar(t, 10+2*i+k)
				w := start(t, Options{Name: f.name(), LostAfter: lost})
				w.fault(lost / 2) // it works
				at := time.Now()
				c.cut(f)
				e := w.over(session.ReasonLinkLost)
				t.Logf("decided %.1f s after the cut: %s", time.Since(at).Seconds(), e.Noticed)
			})
		}
	}
}

func TestRealFrozenThenCut(t *testing.T) {
	t.Parallel()
	f := startFar(t, 20)
	w := start(t, Options{Name: f.name()})
	f.signal(syscall.SIGSTOP)
	w.await(BUSY, 0)
	w.fault(20 * time.Second)
	if got := f.state(); got != 'T' {
		t.Errorf("server's state %c", got)
	}
	at := time.Now()
	cuts[1].cut(f)
	e := w.over(session.ReasonLinkLost)
	t.Logf("decided %.1f s after the cut: %s", time.Since(at).Seconds(), e.Noticed)
}

func TestRealCutAndHealed(t *testing.T) {
	t.Parallel()
	for i, c := range cuts {
		for k, length := range []time.Duration{8 * time.Second, 12 * time.Second} {
			t.Run(fmt.Sprint(c.name, " ", length), func(t *testing.T) {
				t.Parallel()
				f := startFar(t, 30+2*i+k)
				w := start(t, Options{Name: f.name()})
				w.fault(2 * time.Second) // it works
				c.cut(f)
				w.fault(length)
				if s := w.sampled(); s.Unacked == 0 || s.Retransmits == 0 {
					t.Errorf("the cut had no effect: %+v", s)
				}
				c.heal(f)
				w.fault(25 * time.Second)
				if s := w.sampled(); s.Unacked != 0 || s.Silence > DefaultLostAfter/3 {
					t.Errorf("not healed: %+v", s)
				}
				f.signal(syscall.SIGKILL)
				w.over(session.ReasonServerGone)
			})
		}
	}
}

// The host loses its power and comes back with another server.
func TestRealPowerCycle(t *testing.T) {
	t.Parallel()
	f := startFar(t, 40)
	w := start(t, Options{Name: f.name()})
	w.fault(2 * time.Second)
	cuts[1].cut(f)
	f.signal(syscall.SIGKILL)
	<-f.exited
	again := startXvfb(t, []string{"ip", "netns", "exec", f.space}, "-listen", "tcp", "-nolisten", "unix", "-ac", "-noreset", fmt.Sprintf(":%d", f.number))
	if again.number != f.number {
		t.Fatalf("display %d, want %d", again.number, f.number)
	}
	cuts[1].heal(f)
	w.over(session.ReasonServerGone)
}
