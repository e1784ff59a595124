package display

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"xexit/internal/display/displaytest"
	"xexit/internal/session"
)

// guard is how long anything may take before the test is thought to hang.
const guard = 60 * time.Second

// journal collects what a watch reports.
type journal struct {
	t *testing.T

	mu     sync.Mutex
	states []State
	seen   chan struct{} // closed and renewed at each report
}

func newJournal(t *testing.T) *journal { return &journal{t: t, seen: make(chan struct{})} }

func (j *journal) report(s State, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.t.Logf("%v: %s", s, text)
	j.states = append(j.states, s)
	close(j.seen)
	j.seen = make(chan struct{})
}

// await waits until a state was reported, from the report number from on, and
// returns the number after it.
func (j *journal) await(s State, from int) int {
	j.t.Helper()
	over := time.After(guard)
	for {
		j.mu.Lock()
		states, seen := j.states, j.seen
		j.mu.Unlock()
		for i := from; i < len(states); i++ {
			if states[i] == s {
				return i + 1
			}
		}
		select {
		case <-seen:
		case <-over:
			j.t.Fatalf("no %v within %v after report %d of %v", s, guard, from, states)
		}
	}
}

// has reports whether a state was ever reported.
func (j *journal) has(s State) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, have := range j.states {
		if have == s {
			return true
		}
	}
	return false
}

// count is how many reports there were.
func (j *journal) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.states)
}

// watching is a Watch whose Run is under way.
type watching struct {
	*Watch
	*journal
	t    *testing.T
	done chan struct{}
	end  End
	err  error
}

func open(t *testing.T, o Options) (*Watch, *journal) {
	t.Helper()
	j := newJournal(t)
	if o.Report == nil {
		o.Report = j.report
	}
	w, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w, j
}

func start(t *testing.T, o Options) *watching {
	t.Helper()
	w, j := open(t, o)
	r := &watching{Watch: w, journal: j, t: t}
	r.run()
	return r
}

func (r *watching) run() {
	ctx, cancel := context.WithCancel(context.Background())
	r.done = make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		r.end, r.err = r.Run(ctx)
	}(r.done)
	r.t.Cleanup(func() {
		cancel()
		<-r.done
	})
}

// over waits for the end, and demands its reason.
func (r *watching) over(want session.Reason) End {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(guard):
		r.t.Fatalf("no end within %v", guard)
	}
	if r.err != nil || r.end.Reason != want {
		r.t.Fatalf("end %+v, %v; want %s", r.end, r.err, want)
	}
	return r.end
}

func (r *watching) alive() {
	r.t.Helper()
	select {
	case <-r.done:
		r.t.Fatalf("ended: %+v, %v", r.end, r.err)
	default:
	}
}

func fake(t *testing.T, o displaytest.Options) *displaytest.Server {
	t.Helper()
	srv, err := displaytest.StartWith(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	return srv
}

// quick are options with which unanswered questions are noticed soon.
func quick(srv *displaytest.Server) Options {
	return Options{Name: srv.Display(), Interval: 20 * time.Millisecond, LostAfter: 150 * time.Millisecond}
}

// relay passes on connections to an address of this host, whatever happens to one
// side of them: the other is kept.
func relay(t *testing.T, ip, to string) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				_ = a.Close()
				continue
			}
			t.Cleanup(func() { _, _ = a.Close(), b.Close() })
			go func() { _, _ = io.Copy(a, b); _ = a.Close() }()
			go func() { _, _ = io.Copy(b, a); _ = b.Close() }()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}
