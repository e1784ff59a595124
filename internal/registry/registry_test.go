package registry_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"xexit/internal/linux"
	"xexit/internal/registry"
	"xexit/internal/session"
)

const (
	idA session.ID = "aaaaaaaa-0000-4000-8000-000000000001"
	idB session.ID = "bbbbbbbb-0000-4000-8000-000000000002"
	idC session.ID = "cccccccc-0000-4000-8000-000000000003"
)

// TestMain plays the watcher that a test kills: registers, says so, waits.
func TestMain(m *testing.M) {
	if dir := os.Getenv("REGISTRY_TEST_HOLD"); dir != "" {
		r, err := registry.Open(dir)
		if err == nil {
			_, err = r.Register(registry.Entry{ID: idA, Display: ":91", Phase: session.Phase(os.Getenv("REGISTRY_TEST_PHASE"))})
		}
		fmt.Println("registered", err)
		_, _ = os.Stdin.Read(make([]byte, 1))
		return
	}
	os.Exit(m.Run())
}

func open(t *testing.T, dir string) *registry.Registry {
	t.Helper()
	r, err := registry.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func register(t *testing.T, r *registry.Registry, e registry.Entry) *registry.Handle {
	t.Helper()
	h, err := r.Register(e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// self is this process, which exists.
func self(t *testing.T) session.ProcID {
	t.Helper()
	start, err := linux.Birth(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return session.ProcID{PID: os.Getpid(), Start: start}
}

// heldByChild registers idA in another process; kill ends that process.
func heldByChild(t *testing.T, dir string, phase session.Phase) (kill func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "REGISTRY_TEST_HOLD="+dir, "REGISTRY_TEST_PHASE="+string(phase))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); _ = stdin.Close() })
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "registered <nil>\n" {
		t.Fatalf("child: %q, %v", line, err)
	}
	return kill
}

func TestRegisterFindClose(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	want := registry.Entry{
		ID: idA, Marked: true, Display: ":91", Audit: 7, Scope: "/user.slice/session-7.scope", OwnsLogin: true,
		Markers: []session.Marker{{Name: "LTSP_CLIENT_HOSTNAME", Value: "ltsp101"}, {Name: "ODD", Value: "a=\"b\"\nend\n\x1b"}},
		Leader:  self(t), Watcher: self(t), Start: 12, UID: 1000,
		Program: "/opt/a b", Timing: registry.Timing{Interval: 1, LostAfter: 2e9, BlindAfter: 3e11, HungAfter: 4e15},
	}
	h := register(t, r, want)
	got, err := open(t, dir).Find(idA)
	if err != nil {
		t.Fatal(err)
	}
	want.Boot, want.Phase = got.Boot, session.PhaseWatching
	if !got.Live || fmt.Sprintf("%+v", got.Entry) != fmt.Sprintf("%+v", want) {
		t.Errorf("found %+v\nwant  %+v, live", got, want)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if err := h.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := r.Find(idA); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("after Close: %v", err)
	}
	left, _ := filepath.Glob(filepath.Join(dir, string(idA)+"*"))
	if len(left) > 0 {
		t.Errorf("files left: %v", left)
	}
}

func TestSecondWatcherOfADisplay(t *testing.T) {
	r := open(t, t.TempDir())
	register(t, r, registry.Entry{ID: idA, Display: ":91"})
	var watched *registry.WatchedError
	for _, id := range []session.ID{idA, idB} {
		if _, err := r.Register(registry.Entry{ID: id, Display: ":91"}); !errors.As(err, &watched) || watched.Entry.ID != idA {
			t.Errorf("same display as %s: %v", id, err)
		}
	}
	var taken *registry.TakenError
	if _, err := r.Register(registry.Entry{ID: idA, Display: ":92"}); !errors.As(err, &taken) || taken.Entry.Display != ":91" {
		t.Errorf("same id, other display: %v", err)
	}
	register(t, r, registry.Entry{ID: idB, Display: ":92"})
	// Sessions without a display are not in each other's way.
	register(t, r, registry.Entry{ID: idC})
	register(t, r, registry.Entry{ID: "dddddddd-0000-4000-8000-000000000004"})
}

func TestAfterAnEndTheDisplayIsFree(t *testing.T) {
	r := open(t, t.TempDir())
	register(t, r, registry.Entry{ID: idA, Display: ":91"})
	if err := r.SetPhase(idA, session.PhaseEnded, 5); err != nil {
		t.Fatal(err)
	}
	var taken *registry.TakenError
	if _, err := r.Register(registry.Entry{ID: idA, Display: ":91"}); !errors.As(err, &taken) {
		t.Errorf("the id is still locked by the old watcher: %v", err)
	}
	register(t, r, registry.Entry{ID: idB, Display: ":91"})
}

// An end that failed is made up for later, by all that was known.
func TestLeave(t *testing.T) {
	r := open(t, t.TempDir())
	h := register(t, r, registry.Entry{ID: idA, Display: ":91", Audit: 7, OwnsLogin: true})
	if err := r.SetPhase(idA, session.PhaseEnding, 5); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(h.Leave(), h.Close()); err != nil {
		t.Fatal(err)
	}
	all, err := r.List()
	if err != nil || len(all) != 1 || all[0].Live || all[0].Audit != 7 || !all[0].OwnsLogin {
		t.Errorf("left behind: %+v, %v", all, err)
	}
	if err := r.SetPhase(idA, session.PhaseEnded, 0); err != nil {
		t.Fatal(err)
	}
	if all, err := r.List(); err != nil || len(all) != 0 {
		t.Errorf("after the end: %+v, %v", all, err)
	}
}

// A thin client is back before its old session has ended, on the same number.
func TestWhileAnEndIsUnderWayTheDisplayIsFree(t *testing.T) {
	r := open(t, t.TempDir())
	register(t, r, registry.Entry{ID: idA, Display: ":91"})
	if err := r.SetPhase(idA, session.PhaseEnding, 5); err != nil {
		t.Fatal(err)
	}
	register(t, r, registry.Entry{ID: idB, Display: ":91"})
}

func TestRegisterRace(t *testing.T) {
	r := open(t, t.TempDir())
	var wg sync.WaitGroup
	won := make(chan *registry.Handle, 8)
	for i := range 8 {
		wg.Go(func() {
			id := session.ID(fmt.Sprintf("aaaaaaaa-0000-4000-8000-%012d", i))
			h, err := r.Register(registry.Entry{ID: id, Display: ":91"})
			var watched *registry.WatchedError
			switch {
			case err == nil:
				won <- h
			case !errors.As(err, &watched):
				t.Error(err)
			}
			_, _ = r.List() // its lock tests must not look like a watcher
		})
	}
	wg.Wait()
	close(won)
	n := 0
	for h := range won {
		n++
		_ = h.Close()
	}
	if n != 1 {
		t.Errorf("%d watchers of one display", n)
	}
}

func TestKilledWatcher(t *testing.T) {
	gone := session.ProcID{PID: os.Getpid(), Start: 1} // the number lives, the process does not
	for _, c := range []struct {
		name   string
		leader session.ProcID
		phase  session.Phase
		live   bool
		listed int
	}{
		{"leader there", self(t), session.PhaseWatching, true, 1},
		{"leader gone", gone, session.PhaseWatching, false, 1},
		{"leader unknown", session.ProcID{}, session.PhaseWatching, true, 1},
		{"while ending", session.ProcID{}, session.PhaseEnding, false, 1},
		{"while ending, leader there", self(t), session.PhaseEnding, true, 1},
		{"ended", self(t), session.PhaseEnded, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			r := open(t, dir)
			kill := heldByChild(t, dir, session.PhaseWatching)
			if l, err := r.Find(idA); err != nil || !l.Live {
				t.Fatalf("while held: %+v, %v", l, err)
			}
			rewrite(t, dir, func(text string) string {
				if !c.leader.IsZero() {
					text = strings.Replace(text, "start=", fmt.Sprintf("leader=\"%d %d\"\nstart=", c.leader.PID, c.leader.Start), 1)
				}
				return strings.Replace(text, `"watching"`, `"`+string(c.phase)+`"`, 1)
			})
			kill()
			all, err := r.List()
			if err != nil || len(all) != c.listed {
				t.Fatalf("listed %+v, %v; want %d", all, err, c.listed)
			}
			if len(all) == 1 && all[0].Live != c.live {
				t.Errorf("live = %v, want %v", all[0].Live, c.live)
			}
			// Whatever is left of it, a new watcher can take over.
			register(t, r, registry.Entry{ID: idA, Display: ":91"})
		})
	}
}

func rewrite(t *testing.T, dir string, f func(string) string) {
	t.Helper()
	path := filepath.Join(dir, string(idA)+".session")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(f(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestPhaseOnlyMovesForwardAndUpdateKeepsIt(t *testing.T) {
	r := open(t, t.TempDir())
	h := register(t, r, registry.Entry{ID: idA, Display: ":91"})
	for _, c := range []struct {
		to   session.Phase
		at   uint64
		want session.Phase
		end  uint64
	}{
		{session.PhaseEnding, 50, session.PhaseEnding, 50},
		{session.PhaseEnded, 60, session.PhaseEnded, 50},
		{session.PhaseEnding, 70, session.PhaseEnded, 50},
	} {
		if err := r.SetPhase(idA, c.to, c.at); err != nil {
			t.Fatal(err)
		}
		// The watcher's own update must not bring its old view back.
		if err := h.Update(func(e *registry.Entry) { e.Marked = true }); err != nil {
			t.Fatal(err)
		}
		l, err := r.Find(idA)
		if err != nil || l.Phase != c.want || l.EndedAt != c.end || !l.Marked {
			t.Errorf("after %s: %+v, %v", c.to, l, err)
		}
	}
	if err := r.SetPhase(idB, session.PhaseEnded, 1); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("unknown session: %v", err)
	}
}

func TestUpdateRestoresARemovedFile(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	h := register(t, r, registry.Entry{ID: idA, Display: ":91"})
	if err := os.Remove(filepath.Join(dir, string(idA)+".session")); err != nil {
		t.Fatal(err)
	}
	if err := h.Update(func(e *registry.Entry) { e.Phase = session.PhaseEnding }); err != nil {
		t.Fatal(err)
	}
	if l, err := r.Find(idA); err != nil || l.Display != ":91" || l.Phase != session.PhaseEnding {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestBeginEnd(t *testing.T) {
	r := open(t, t.TempDir())
	register(t, r, registry.Entry{ID: idA})
	release, err := r.BeginEnd(idA)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.BeginEnd(idA); !errors.Is(err, registry.ErrEnding) {
		t.Errorf("second: %v", err)
	}
	other, err := r.BeginEnd(idB)
	if err != nil {
		t.Errorf("another session's: %v", err)
	} else {
		other()
	}
	release()
	again, err := r.BeginEnd(idA)
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	again()
}

func TestTwoInOneLoginOwnNothing(t *testing.T) {
	for _, c := range []struct {
		name           string
		first, second  registry.Entry
		firstO, secndO bool
	}{
		{"same audit", registry.Entry{Audit: 5}, registry.Entry{Audit: 5}, false, false},
		{"same scope", registry.Entry{Scope: "/a", Audit: session.NoAudit}, registry.Entry{Scope: "/a", Audit: session.NoAudit}, false, false},
		{"other login", registry.Entry{Audit: 5, Scope: "/a"}, registry.Entry{Audit: 6, Scope: "/b"}, true, true},
		{"unset is not equal", registry.Entry{Audit: session.NoAudit}, registry.Entry{Audit: session.NoAudit}, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := open(t, t.TempDir())
			c.first.ID, c.first.Display, c.first.OwnsLogin = idA, ":91", true
			c.second.ID, c.second.Display, c.second.OwnsLogin = idB, ":92", true
			register(t, r, c.first)
			second := register(t, r, c.second)
			l, err := r.Find(idA)
			if err != nil || l.OwnsLogin != c.firstO || second.Entry().OwnsLogin != c.secndO {
				t.Errorf("first owns %v, second owns %v, %v", l.OwnsLogin, second.Entry().OwnsLogin, err)
			}
		})
	}
}

// A process that was stopped while it held the lock must not stop an end.
func TestHeldDirectoryLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, dir)
	h := register(t, r, registry.Entry{ID: idA})
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if got, err := linux.TryFlock(int(f.Fd()), true); !got {
		t.Fatal(err)
	}
	if all, err := r.List(); err != nil || len(all) != 1 || !all[0].Live {
		t.Errorf("List: %+v, %v", all, err)
	}
	if err := r.SetPhase(idA, session.PhaseEnding, 1); !errors.Is(err, registry.ErrBusy) {
		t.Errorf("SetPhase: %v", err)
	}
	if err := h.Close(); !errors.Is(err, registry.ErrBusy) {
		t.Errorf("Close: %v", err)
	}
	if all, err := r.List(); err != nil || len(all) != 0 {
		t.Errorf("after Close: %+v, %v", all, err)
	}
}
