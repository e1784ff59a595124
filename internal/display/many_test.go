package display

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"xexit/internal/display/displaytest"
	"xexit/internal/linux"
	"xexit/internal/session"
)

// running is a Set whose Run is under way, and what it has reported.
type running struct {
	*Set
	t    *testing.T
	stop func() // ends Run and closes the Set

	mu   sync.Mutex
	news map[string][]News
}

func runSet(t *testing.T) *running {
	t.Helper()
	s, err := NewSet()
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Set: s, t: t, news: map[string][]News{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- s.Run(ctx, func(n News) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.news[n.Key] = append(r.news[n.Key], n)
		})
	}()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

func (r *running) add(key string, o Options) {
	r.t.Helper()
	if err := r.Add(r.t.Context(), key, o); err != nil {
		r.t.Fatal(err)
	}
}

// last is the newest report on a display.
func (r *running) last(key string) News {
	r.mu.Lock()
	defer r.mu.Unlock()
	if all := r.news[key]; len(all) > 0 {
		return all[len(all)-1]
	}
	return News{}
}

func (r *running) await(key string, what What) News {
	r.t.Helper()
	waitFor(r.t, func() bool { return r.last(key).What == what })
	return r.last(key)
}

// opened waits for a display to be watched. One that did not answer in time,
// on a busy machine, is added again, as every user of a Set does.
func (r *running) opened(key string, o Options) News {
	r.t.Helper()
	seen := 0
	waitFor(r.t, func() bool {
		r.mu.Lock()
		all := r.news[key]
		r.mu.Unlock()
		if len(all) == seen {
			return false
		}
		seen = len(all)
		last := all[seen-1]
		if last.What == Failed {
			var refused *RefusedError
			if errors.As(last.Err, &refused) {
				r.t.Fatalf("display %s: %v", key, last.Err)
			}
			r.t.Logf("display %s is added again: %v", key, last.Err)
			r.add(key, o)
		}
		return last.What == Opened
	})
	return r.last(key)
}

// comeback tells whether a display has come back to OK after it was in doubt.
type comeback struct {
	mu    sync.Mutex
	doubt bool
	back  bool
}

func (b *comeback) report(s State, _ string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.doubt = b.doubt || s == CONFIRM
	b.back = b.doubt && s == OK
}

func (b *comeback) healed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.back
}

// A thousand displays on real sockets, a fifth of them over TCP: each one's
// fate is told from the others'.
func TestThousandDisplays(t *testing.T) {
	const kinds, n = 5, 1000
	limit, err := linux.OpenFileLimit()
	if err != nil {
		t.Fatal(err)
	}
	if limit < 10*n {
		cannot(t, fmt.Errorf("RLIMIT_NOFILE is %d: the fake servers need as many descriptors again", limit))
	}
	s := runSet(t)
	servers := make([]*displaytest.Server, n)
	doubts, options := make([]comeback, n), make([]Options, n)
	for i := range servers {
		if i%kinds == 4 {
			if servers[i], err = displaytest.StartTCP("127.0.0.1:0", displaytest.Options{}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = servers[i].Close() })
		} else {
			servers[i] = fake(t, displaytest.Options{})
		}
		o := quick(servers[i])
		o.Interval, o.LostAfter = time.Second, 0 // a ping storm is another test's
		o.Report = doubts[i].report
		options[i] = o
		s.add(strconv.Itoa(i), o)
	}
	for i := range servers {
		if news := s.opened(strconv.Itoa(i), options[i]); i%kinds != 4 && news.ServerPID != os.Getpid() {
			t.Errorf("display %d: %+v", i, news)
		}
	}
	for i, srv := range servers {
		switch i % kinds {
		case 0:
			srv.PullCable()
		case 1, 4:
			srv.SetRootProperty("LTSP_XEXIT", "DIE")
		case 2:
			srv.DropClients()
		}
	}
	for i := range servers {
		key := strconv.Itoa(i)
		switch i % kinds {
		case 0:
			if e := s.await(key, Ended).End; e.Reason != session.ReasonServerGone {
				t.Errorf("display %d: %+v", i, e)
			}
		case 1, 4:
			if e := s.await(key, Ended).End; e.Reason != session.ReasonRequested || !e.Run {
				t.Errorf("display %d: %+v", i, e)
			}
		case 2:
			waitFor(t, doubts[i].healed)
		}
	}
	if got, want := s.Len(), 2*n/kinds; got != want {
		t.Errorf("%d displays are left, want %d", got, want)
	}
	for i := range servers {
		if k := i % kinds; (k == 2 || k == 3) && s.last(strconv.Itoa(i)).What != Opened {
			t.Errorf("display %d: %+v", i, s.last(strconv.Itoa(i)))
		}
	}
}

// What cannot be opened is told from what can, each with its own error.
func TestSetFailures(t *testing.T) {
	s := runSet(t)
	secret := fake(t, displaytest.Options{Cookie: []byte("0123456789abcdef")})
	s.add("secret", Options{Name: secret.Display()})
	s.add("nobody", Options{Name: filepath.Join(t.TempDir(), "none")})
	s.add("good", Options{Name: fake(t, displaytest.Options{}).Display()})
	var refused *RefusedError
	if err := s.await("secret", Failed).Err; !errors.As(err, &refused) || refused.Kind != AuthFailed {
		t.Errorf("secret: %v", err)
	}
	if err := s.await("nobody", Failed).Err; errors.As(err, &refused) || !strings.Contains(err.Error(), "none") {
		t.Errorf("nobody: %v", err)
	}
	s.await("good", Opened)
	if err := s.Add(t.Context(), "name", Options{Name: "nonsense"}); !errors.As(err, &refused) || refused.Kind != BadName {
		t.Errorf("bad name: %v", err)
	}
	if err := s.Add(t.Context(), "good", Options{Name: secret.Display()}); !errors.Is(err, ErrKnown) {
		t.Errorf("twice: %v", err)
	}
	if s.Len() != 1 {
		t.Errorf("%d displays", s.Len())
	}
	s.Probe("good", time.Millisecond)
	s.await("good", Lives)
	s.stop()
	if err := s.Add(t.Context(), "late", Options{Name: secret.Display()}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	s.Remove("good") // too late, and harmless
	s.Probe("good", time.Second)
}

// A display that floods its watcher does not keep it from the others.
func TestFloodStarvesNobody(t *testing.T) {
	s := runSet(t)
	hostile := fake(t, displaytest.Options{})
	o := quick(hostile)
	s.add("hostile", o)
	s.await("hostile", Opened)
	hostile.SetMode(displaytest.Endless)
	waitFor(t, func() bool { return hostile.Flooded() > 1<<20 })
	for i := range 50 {
		srv := fake(t, displaytest.Options{})
		key := strconv.Itoa(i)
		s.add(key, quick(srv))
		s.await(key, Opened)
		const opGetProperty = 20
		before := srv.Requests(opGetProperty)
		waitFor(t, func() bool { return srv.Requests(opGetProperty) > before+2 })
		srv.PullCable()
		s.await(key, Ended)
	}
	flooded := hostile.Flooded()
	waitFor(t, func() bool { return hostile.Flooded() > flooded })
	if n := s.last("hostile"); n.What != Opened {
		t.Errorf("%+v", n)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// Displays come and go from many goroutines while others end: nothing is left
// behind of them.
func TestChurn(t *testing.T) {
	var servers []*displaytest.Server
	for range 8 {
		servers = append(servers, fake(t, displaytest.Options{}))
	}
	idle := func() bool {
		n := 0
		for _, srv := range servers {
			n += srv.Clients()
		}
		return n == 0
	}
	warm := runSet(t) // the runtime's own descriptors come with the first use
	warm.add("warm", quick(servers[0]))
	warm.await("warm", Opened)
	warm.stop()
	waitFor(t, idle)
	goroutines := runtime.NumGoroutine()
	before := descriptors(t)

	s := runSet(t)
	var all sync.WaitGroup
	for g, srv := range servers {
		all.Go(func() {
			for i := range 50 {
				key := fmt.Sprint(g, " ", i)
				s.add(key, quick(srv))
				switch i % 5 {
				case 0: // removed before it is open, mostly
				case 1:
					s.await(key, Opened)
					srv.DropClients() // one end of many for the others on this server
				case 2:
					s.await(key, Opened)
					s.Probe(key, time.Millisecond)
				case 3:
					s.await(key, Opened)
				case 4:
					if i == 49 {
						continue // left to Close
					}
				}
				s.Remove(key)
			}
		})
	}
	all.Wait()
	if s.Len() != len(servers) {
		t.Errorf("%d displays are left", s.Len())
	}
	s.stop()
	waitFor(t, idle)
	waitFor(t, func() bool { return runtime.NumGoroutine() <= goroutines })
	waitFor(t, func() bool { return descriptors(t) <= before })
}
