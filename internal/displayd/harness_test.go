package displayd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"xexit/internal/display/displaytest"
	"xexit/internal/linux"
	"xexit/internal/session"
)

// guard is how long anything may take before the test is thought to hang.
const guard = 60 * time.Second

// The test's own binary is the worker and the opener.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case WorkerVerb:
			os.Exit(WorkerMain(os.Args[2:], os.Stderr))
		case OpenerVerb:
			os.Exit(OpenerMain(os.Args[2:], os.Stderr))
		case sleeperVerb:
			select {}
		}
	}
	remove, err := publish()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	remove()
	os.Exit(status)
}

// programVariable names a copy of the binary where every user can execute it.
const programVariable = "XEXIT_TEST_PROGRAM"

func publish() (remove func(), err error) {
	dir, err := os.MkdirTemp("", "xexit-displayd-")
	if err != nil {
		return nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	program := filepath.Join(dir, "xexit-main")
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(program, self, 0o755), os.Setenv(programVariable, program))
	}
	if err != nil {
		remove()
	}
	return remove, err
}

// sleeperVerb makes the binary a process that only has an environment.
const sleeperVerb = "sleep-with-an-environment"

func self() string { return os.Getenv(programVariable) }

// running is a Client whose Run is under way, and what it has told.
type running struct {
	*Client
	t    testing.TB
	stop func()

	mu     sync.Mutex
	events []Event
	seen   chan struct{} // closed and renewed at each event
}

// runClient starts a Client. Its worker and openers are children unless o says
// otherwise.
func runClient(t testing.TB, o Options) *running {
	t.Helper()
	if o.Worker == nil {
		o.Worker = ChildWorker(self())
	}
	if o.Opener == nil {
		o.Opener = ChildOpener(self())
	}
	if o.Notes == "" {
		o.Notes = filepath.Join(t.TempDir(), "notes")
	}
	r := &running{Client: New(o), t: t, seen: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		if err := r.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	all.Go(func() {
		for {
			select {
			case e := <-r.Events():
				r.note(e)
			case <-ctx.Done():
				return
			}
		}
	})
	r.stop = sync.OnceFunc(func() {
		cancel()
		all.Wait()
	})
	t.Cleanup(r.stop)
	return r
}

func (r *running) note(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.t.Logf("%q %v %s %s %s", e.Login, e.Kind, e.Reason, e.Noticed, e.Err)
	r.events = append(r.events, e)
	close(r.seen)
	r.seen = make(chan struct{})
}

// await waits for an event of a login, from the number from on, and returns it
// with the number after it.
func (r *running) await(login string, k Kind, from int) (Event, int) {
	r.t.Helper()
	over := time.After(guard)
	for {
		r.mu.Lock()
		events, seen := r.events, r.seen
		r.mu.Unlock()
		for i := from; i < len(events); i++ {
			if events[i].Login == login && events[i].Kind == k {
				return events[i], i + 1
			}
		}
		select {
		case <-seen:
		case <-over:
			r.t.Fatalf("login %s: no %v within %v after event %d of %+v", login, k, guard, from, events)
		}
	}
}

// count is how many events there were, of one kind.
func (r *running) count(k Kind) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == k {
			n++
		}
	}
	return n
}

func (r *running) watch(login string, s Spec) {
	r.t.Helper()
	if err := r.Watch(login, s); err != nil {
		r.t.Fatal(err)
	}
}

// here is a display of this user's, known by name.
func here(name string) Spec {
	return Spec{UID: uint32(os.Getuid()), Display: name, LostAfter: 150 * time.Millisecond}
}

func fake(t testing.TB, o displaytest.Options) *displaytest.Server {
	t.Helper()
	srv, err := displaytest.StartWith(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	return srv
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	over := time.After(guard)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-over:
			t.Fatalf("not within %v", guard)
		}
	}
}

// identity is a process that lives.
func identity(t *testing.T, pid int) session.ProcID {
	t.Helper()
	start, err := linux.Birth(pid)
	if err != nil {
		t.Fatal(err)
	}
	return session.ProcID{PID: pid, Start: start}
}

// ofUser is a user that the tests may be besides their own, if they are root.
const ofUser = 65534

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
		t.Fatal("needs root")
	}
	t.Skip("needs root")
}
