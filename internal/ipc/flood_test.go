package ipc

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestFloodHarmsNobody: bob opens connections for as long as it lasts, in
// several processes, and says nothing or half a word. alice and root are served.
func TestFloodHarmsNobody(t *testing.T) {
	needRoot(t)
	path := run(t, newKeeper(), nil)
	before := openFiles(t)
	for range 2 {
		start(t, bob, path, "flood")
	}
	for range 3 {
		if got := as(t, alice, path, "logins"); ids(got.Logins) != "1 c3" {
			t.Fatalf("alice sees %q: %s", ids(got.Logins), got.Err)
		}
		if got, err := here(path).Logins(t.Context(), true); ids(got) != "1 2 c3" {
			t.Fatalf("root sees %q: %v", ids(got), err)
		}
	}
	if got := as(t, alice, path, "end c3"); !got.Result.Verified {
		t.Errorf("alice ends her login: %+v", got)
	}
	if now := openFiles(t); now > before+64+10 {
		t.Errorf("%d descriptors are open, %d were before", now, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestHangingClients: places that are held by who says nothing are free for
// who says something, also of the same user, and everywhere.
func TestHangingClients(t *testing.T) {
	needRoot(t)
	path := run(t, newKeeper(), func(s *Server) { s.Limits = Limits{User: 2, Users: 3, Total: 4} })
	start(t, bob, path, "hold")
	start(t, bob+1, path, "hold")
	for _, tt := range []struct {
		uid  uint32
		want string
	}{{bob, "2"}, {alice, "1 c3"}, {0, ""}} {
		if got := as(t, tt.uid, path, "logins"); ids(got.Logins) != tt.want || got.Err != "" {
			t.Errorf("uid %d sees %q: %s; want %q", tt.uid, ids(got.Logins), got.Err, tt.want)
		}
	}
}

// TestStrangersShareAPlace: with a user namespace one user has many uids. They
// have no login, and what they hold together is one user's.
func TestStrangersShareAPlace(t *testing.T) {
	needRoot(t)
	busy := make(chan struct{})
	k := &slow{keeper: newKeeper(), until: busy}
	path := run(t, k, func(s *Server) {
		s.Limits = Limits{User: 2, Users: 6, Total: 8}
		s.Known = func(uid uint32) bool { return uid == alice || uid == bob }
	})
	// Five strangers ask for what takes long: the first two are served, others are not.
	answers := make(chan said, 5)
	for i := range 5 {
		cmd := roleCommand(t, 100000+uint32(i), path, "logins")
		go func() {
			text, err := cmd.Output()
			if err != nil {
				t.Error(err)
			}
			answers <- parseSaid(t, text)
		}()
	}
	for range 3 {
		if got := <-answers; got.Kind != "busy" {
			t.Errorf("a stranger too many: %+v", got)
		}
	}
	k.pass.Store(true)
	if got := as(t, alice, path, "logins"); ids(got.Logins) != "1 c3" {
		t.Errorf("alice sees %q: %s", ids(got.Logins), got.Err)
	}
	close(busy)
	for range 2 {
		if got := <-answers; got.Err != "" {
			t.Errorf("a stranger that was served: %+v", got)
		}
	}
}

// slow answers when it is allowed to.
type slow struct {
	*keeper
	until chan struct{}
	pass  atomic.Bool
}

func (s *slow) Logins(ctx context.Context, q LoginQuery) ([]Login, error) {
	if !s.pass.Load() {
		<-s.until
	}
	return s.keeper.Logins(ctx, q)
}

// TestRootsShare: with every place of the users in use, root gets through.
func TestRootsShare(t *testing.T) {
	needRoot(t)
	release := make(chan struct{})
	k := newKeeper()
	k.during = func(ctx context.Context, progress func(Step)) (Result, error) {
		progress(Step{Step: "begin"})
		select {
		case <-release:
		case <-ctx.Done():
		}
		return Result{Verified: true}, nil
	}
	path := run(t, k, func(s *Server) { s.Limits = Limits{User: 1, Users: 2, Total: 3} })
	ended := make(chan said, 2)
	for _, who := range []struct {
		uid   uint32
		login string
	}{{alice, "1"}, {bob, "2"}} {
		cmd := roleCommand(t, who.uid, path, "end "+who.login)
		go func() {
			text, err := cmd.Output()
			if err != nil {
				t.Error(err)
			}
			ended <- parseSaid(t, text)
		}()
	}
	until(t, "both ends are under way", func() bool { return len(strings.Fields(k.endedLogins())) == 2 })
	for _, uid := range []uint32{alice, bob + 1} {
		if got := as(t, uid, path, "logins"); got.Kind != "busy" {
			t.Errorf("uid %d, with no place left: %+v", uid, got)
		}
	}
	if got, err := here(path).Logins(t.Context(), true); ids(got) != "1 2 c3" {
		t.Errorf("root sees %q: %v", ids(got), err)
	}
	close(release)
	for range 2 {
		if got := <-ended; !got.Result.Verified || len(got.Steps) != 1 {
			t.Errorf("an end beside all that: %+v", got)
		}
	}
}

// until waits for what no descriptor tells of.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(wait)
	for !is() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: never", what)
		}
	}
}

// TestDribblingClient: a byte now and then does not keep a connection.
func TestDribblingClient(t *testing.T) {
	path := run(t, newKeeper(), func(s *Server) { s.Patience = 200 * time.Millisecond })
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	closed := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(conn)
		closed <- err
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(wait)
	for {
		select {
		case <-tick.C:
			_, _ = conn.Write([]byte(" "))
		case <-closed:
			return
		case <-late:
			t.Fatal("the server still listens")
		}
	}
}

// TestSlowReader: who does not read a long answer is hung up on, and the
// server can stop.
func TestSlowReader(t *testing.T) {
	k := newKeeper()
	uid := uint32(os.Getuid())
	k.logins = nil
	for range 300 {
		k.logins = append(k.logins, Login{ID: "9", UID: uid, Why: strings.Repeat("x", 10_000)})
	}
	path := run(t, k, func(s *Server) { s.Patience = 100 * time.Millisecond })
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("{\"v\":1,\"op\":\"logins\"}\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil { // it has begun
		t.Fatal(err)
	}
	until(t, "the server hangs up", func() bool { return !serving() })
	_ = conn.SetReadDeadline(time.Now().Add(wait))
	text, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(string(text), `"end":true`) {
		t.Errorf("%d bytes, %v: the answer was not cut", len(text), err)
	}
}

// serving reports whether a connection is being served.
func serving() bool {
	stacks := make([]byte, 1<<20)
	return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "ipc.(*Server).serve(")
}

// TestHalfOpenClient: one that shuts its side is gone; its end goes on, and
// the one that it was in is none the worse.
func TestHalfOpenClient(t *testing.T) {
	left := make(chan error, 1)
	k := newKeeper()
	k.logins[0].UID = uint32(os.Getuid())
	k.during = func(ctx context.Context, progress func(Step)) (Result, error) {
		progress(Step{Step: "begin"})
		<-ctx.Done()
		left <- ctx.Err()
		progress(Step{Step: "done"}) // nobody hears it
		return Result{}, ctx.Err()
	}
	path := run(t, k, nil)
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(`{"v":1,"op":"end","login":"1","end":{"reason":"requested"}}` + "\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 200)); err != nil {
		t.Fatalf("the first step: %v", err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-left:
	case <-time.After(wait):
		t.Fatal("the handler is not told that nobody waits any more")
	}
	if rest, _ := io.ReadAll(conn); strings.Contains(string(rest), "result") {
		t.Errorf("a result for nobody: %s", rest)
	}
}

// TestEndNobodyReads: steps that are not read do not hold the end up.
func TestEndNobodyReads(t *testing.T) {
	k := newKeeper()
	k.logins[0].UID = uint32(os.Getuid())
	finished := make(chan struct{})
	k.during = func(_ context.Context, progress func(Step)) (Result, error) {
		for range 10_000 {
			progress(Step{Step: "term", Text: strings.Repeat("x", 1000)})
		}
		close(finished)
		return Result{Verified: true}, nil
	}
	path := run(t, k, func(s *Server) { s.Patience = 100 * time.Millisecond })
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(`{"v":1,"op":"end","login":"1","end":{"reason":"requested"}}` + "\n")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-finished:
	case <-time.After(wait):
		t.Fatal("the end waits for its reader")
	}
	until(t, "the server hangs up", func() bool { return !serving() })
}
