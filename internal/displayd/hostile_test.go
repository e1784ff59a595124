package displayd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"xexit/internal/display"
	"xexit/internal/display/displaytest"
	"xexit/internal/linux"
	"xexit/internal/session"
)

// impostor is a worker that the test plays, on connections of its making.
type impostor struct {
	t     *testing.T
	conns chan *net.UnixConn
}

func (i *impostor) worker(ctx context.Context) (*net.UnixConn, error) {
	ours, theirs, err := linux.MessagePair()
	if err != nil {
		return nil, err
	}
	mine, err := seqpacket(theirs)
	if err != nil {
		return nil, err
	}
	i.t.Cleanup(func() { _ = mine.Close() })
	select {
	case i.conns <- mine:
		return seqpacket(ours)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// begin takes a connection up to the first thing that the daemon has to say.
func (i *impostor) begin() *link {
	i.t.Helper()
	l := newLink(<-i.conns)
	if err := l.hello(); err != nil {
		i.t.Fatal(err)
	}
	return l
}

func (i *impostor) say(l *link, m message) {
	i.t.Helper()
	if err := l.put(packet{m, none}); err != nil && !errors.Is(err, syscall.EPIPE) {
		i.t.Fatal(err)
	}
}

// A worker in somebody's hands can tell a wrong end of a display that it was
// given, and nothing else.
func TestHostileWorker(t *testing.T) {
	i := &impostor{t, make(chan *net.UnixConn)}
	var opened atomic.Int32
	r := runClient(t, Options{Worker: i.worker, Opener: func(ctx context.Context, _ Opening) error {
		opened.Add(1)
		<-ctx.Done()
		return ctx.Err()
	}})
	r.watch("4", here(":4"))
	n := 0
	for _, text := range []string{
		"", "nonsense", "{}", `{"say":"watch","login":"4"}`, `{"say":"news","login":"4","n":1}`,
		`{"say":"news","login":"4","n":1,"event":{"Kind":4}}`, `{"say":"news","login":"4","n":1,"event":{"Kind":99}}`,
		`{"say":"news","login":"4","n":1,"event":{"Kind":1,"Resume":"` + strings.Repeat("x", maxResume+1) + `"}}`,
		strings.Repeat("[", maxMessage+1),
	} {
		l := i.begin()
		_, n = r.await("", WorkerBack, n)
		if _, err := l.conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		_, n = r.await("", WorkerLost, n)
	}
	l := i.begin()
	_, n = r.await("", WorkerBack, n)
	ended := &Event{Kind: Ended, Reason: "because", Noticed: strings.Repeat("n", 3*maxText), NoticedAfter: -1, Login: "5", Resume: "r", Err: "e"}
	for _, m := range []message{
		{Say: sayNews, Login: "5", N: 1, Event: ended},         // it was given none of the name
		{Say: sayNews, Login: "../4", N: 1, Event: ended},      // nor of this
		{Say: sayNews, Login: "4", N: 99, Event: ended},        // an earlier one, or a later
		{Say: sayOpen, Login: "5", N: 1}, {Say: sayOpen, N: 2}, // of no login there is anything to open
	} {
		i.say(l, m)
	}
	for k := range 100 { // openers are few, however many are asked for
		i.say(l, message{Say: sayOpen, Login: "4", N: uint64(10 + k)})
	}
	i.say(l, message{Say: sayNews, Login: "4", N: 1, Event: ended})
	i.say(l, message{Say: sayNews, Login: "4", N: 1, Event: ended})
	i.say(l, message{Say: sayNews, Login: "4", N: 1, Event: &Event{Kind: Opened}})
	e, n := r.await("4", Ended, n)
	if e.Reason != session.ReasonOther || len(e.Noticed) != maxText || e.NoticedAfter != 0 || e.Resume != "" || e.Err != "" {
		t.Errorf("%+v", e)
	}
	if err := l.conn.Close(); err != nil {
		t.Fatal(err)
	}
	r.await("", WorkerLost, n)
	if r.count(Ended) != 1 || r.count(Opened) != 0 {
		t.Errorf("%d ends, %d displays opened", r.count(Ended), r.count(Opened))
	}
	if n := opened.Load(); n > openersALogin {
		t.Errorf("%d openers at once", n)
	}
}

// Who is not the worker is sent away, and the worker still gets in.
func TestOthersSentAway(t *testing.T) {
	s := newService(t)
	r := runClient(t, s.options())
	for range 20 {
		waitFor(t, func() bool {
			conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: s.socket, Net: "unixpacket"})
			if err != nil {
				return false
			}
			defer conn.Close()
			n, _ := conn.Read(make([]byte, 100))
			return n <= 0
		})
	}
	s.start()
	_, n := r.await("", WorkerBack, 0)
	if n != 1 {
		t.Errorf("%d events", n)
	}
	if err := IsWorker(os.Getpid(), uint32(os.Getuid())); err == nil {
		t.Error("this process counts as the worker's service")
	}
}

// An X server that floods, lies or stalls costs nobody else his watcher.
func TestHostileServers(t *testing.T) {
	r := runClient(t, Options{})
	bad := map[string]displaytest.Mode{
		"garbage": displaytest.Garbage, "endless": displaytest.Endless, "truncate": displaytest.Truncate, "frozen": displaytest.Frozen,
	}
	for name, mode := range bad {
		srv := fake(t, displaytest.Options{})
		r.watch(name, here(srv.Display()))
		r.await(name, Opened, 0)
		srv.SetMode(mode)
	}
	early := fake(t, displaytest.Options{})
	early.SetMode(displaytest.Garbage)
	r.watch("early", here(early.Display()))
	r.await("early", Failed, 0)
	good := fake(t, displaytest.Options{})
	r.watch("good", here(good.Display()))
	_, n := r.await("good", Opened, 0)
	good.PullCable()
	r.await("good", Ended, n)
	if r.count(WorkerLost) != 0 {
		t.Error("the worker was lost")
	}
}

// Openers that hang, die or cannot be started are no display's end.
func TestOpenersHang(t *testing.T) {
	var broken, asked atomic.Int32
	children := ChildOpener(self())
	r := runClient(t, Options{Opener: func(ctx context.Context, o Opening) error {
		kind := broken.Load()
		if kind > 0 {
			asked.Add(1)
		}
		switch kind {
		case 1: // hangs
			<-ctx.Done()
			return errNotOver
		case 2: // dies
			return nil
		case 3: // cannot be started
			return errors.New("no more processes")
		}
		return children(ctx, o)
	}})
	srv := fake(t, displaytest.Options{})
	r.watch("4", here(srv.Display()))
	_, n := r.await("4", Opened, 0)
	for kind := range int32(3) {
		before := asked.Load()
		broken.Store(kind + 1)
		srv.DropClients()
		waitFor(t, func() bool { return asked.Load() > before })
		if kind != 1 { // why only the daemon knows, so it says it
			_, n = r.await("4", Failed, n)
		}
		broken.Store(0)
		waitFor(t, func() bool { return srv.Clients() == 1 })
	}
	if r.count(Ended) != 0 {
		t.Error("it counts as an end")
	}
	srv.PullCable()
	r.await("4", Ended, n)
}

// What an opener has in its hands the user's other processes cannot take.
func TestOpenerIsOutOfReach(t *testing.T) {
	needRoot(t)
	who := account{Credential: syscall.Credential{Uid: ofUser, Gid: ofUser}}
	readable := func(prepare func(*syscall.SysProcAttr)) bool {
		cmd := exec.Command(self(), sleeperVerb)
		cmd.Env = []string{"A=B"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		prepare(cmd.SysProcAttr)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
		// PTRACE_MODE_READ, which takes less than to attach (ptrace(2)).
		look := exec.Command("/bin/cat", fmt.Sprintf("/proc/%d/environ", cmd.Process.Pid))
		look.SysProcAttr = &syscall.SysProcAttr{Credential: &who.Credential}
		return look.Run() == nil
	}
	if !readable(func(p *syscall.SysProcAttr) { p.Credential = &who.Credential }) {
		t.Fatal("not even an ordinary process of the user's can be looked into")
	}
	if readable(who.become) {
		t.Error("the opener can be looked into by the user's other processes")
	}
}

// A real X server with a cookie, as another user.
func TestXvfbAsUser(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("Xvfb"); err != nil {
		if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := public(t)
	cookie := filepath.Join(dir, "cookie")
	cookieFile(t, cookie, []byte("0123456789abcdef"), 0o600, ofUser)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	srv := exec.Command("Xvfb", "-displayfd", "3", "-screen", "0", "64x64x24", "-nolisten", "tcp", "-noreset", "-auth", cookie)
	srv.ExtraFiles, srv.SysProcAttr = []*os.File{write}, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = srv.Process.Kill(), srv.Wait() }()
	_ = write.Close()
	if err := read.SetReadDeadline(time.Now().Add(guard)); err != nil {
		t.Fatal(err)
	}
	number := make([]byte, 16)
	n, err := read.Read(number)
	if err != nil {
		t.Fatal(err)
	}
	name := ":" + strings.TrimSpace(string(number[:n]))
	r := runClient(t, Options{})
	r.watch("without", someone(t, "DISPLAY="+name))
	r.await("without", Failed, 0)
	r.watch("4", someone(t, "DISPLAY="+name, "XAUTHORITY="+cookie))
	_, from := r.await("4", Opened, 0)
	_ = srv.Process.Kill()
	if e, _ := r.await("4", Ended, from); e.Reason != session.ReasonServerGone {
		t.Errorf("%+v", e)
	}
}

// FuzzResult: whatever an opener says is a connection that can be watched, or
// an error that is no display's end unless a connect(2) said so.
func FuzzResult(f *testing.F) {
	f.Add(`{"v":1,"socket":"/tmp/.X11-unix/X0","cookie":"AAAA"}`)
	f.Add(`{"v":1,"ip":"fwAAAQ==","port":6010,"number":10,"pending":true,"ssh":"a 1 b 2"}`)
	f.Add(`{"v":1,"error":"x","errno":111}`)
	f.Add(`{"v":1,"refused":1,"error":"nowhere","remedy":"none"}`)
	f.Fuzz(func(t *testing.T, text string) {
		var r result
		if json.Unmarshal([]byte(text), &r) != nil {
			return
		}
		if err := r.failed(); err == nil {
			t.Error("no error")
		}
		c, err := r.connection(7)
		if err != nil {
			if !errors.Is(err, display.ErrUnable) {
				t.Errorf("%v", err)
			}
			return
		}
		if c.FD != 7 || (c.Socket == "") == (len(c.IP) == 0) || c.Number < 0 || c.Screen < 0 || len(c.SSH) > maxText {
			t.Errorf("%+v", c)
		}
	})
}

// FuzzHeard: whatever a worker says, the daemon lives, and believes it of the
// one login that it was given.
func FuzzHeard(f *testing.F) {
	f.Add(`{"say":"news","login":"4","n":1,"event":{"Kind":3,"Reason":"logout"}}`)
	f.Add(`{"say":"open","login":"4","n":7,"again":true}`)
	f.Add(`{"say":"hello","v":1}`)
	f.Fuzz(func(t *testing.T, text string) {
		var m message
		if json.Unmarshal([]byte(text), &m) != nil || m.Say == sayOpen {
			return
		}
		c := New(Options{})
		if err := c.Watch("4", Spec{}); err != nil {
			t.Fatal(err)
		}
		_ = c.heard(t.Context(), nil, nil, m)
		for _, e := range c.events.close() {
			if e.Login != "4" || e.Kind < Opened || e.Kind > Ended || len(e.Noticed) > maxText || len(e.Err) > maxText || e.NoticedAfter < 0 {
				t.Errorf("%+v", e)
			}
		}
	})
}
