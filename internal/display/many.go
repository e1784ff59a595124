package display

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"syscall"
	"time"

	"xexit/internal/linux"
)

// Set watches any number of displays in one loop, in one goroutine: each costs
// a socket, a reference to its server's process and a few kB. Add, Remove and
// Probe may be called from any goroutine, also from within Run's report; Run is
// for one goroutine at a time.
type Set struct {
	loop     *loop
	room     int // displays that RLIMIT_NOFILE is enough for
	limit    int
	happened func(*target, What)
	news     []News // not reported yet; of Run's goroutine alone

	mu      sync.Mutex
	members map[string]*target
	closed  bool
}

// What tells what happened to a display of a Set.
type What uint8

// The happenings. After Failed and Ended the Set has forgotten the display.
const (
	Opened What = iota + 1 // it answered and is being watched from now on
	Failed                 // it could not be opened; Err says why
	Lives                  // the answer to Probe: no end is known
	Ended                  // End says how
)

// News is what a Set has to report of one of its displays.
type News struct {
	Key       string // as given to Add
	What      What
	ServerPID int     // Opened: who serves its unix socket; 0 if unknown
	Token     string  // Opened, through an Opener: what tells it from another display; "" for Wayland
	Err       error   // Failed: a *RefusedError is final, after any other a later Add may succeed
	Outcome   Outcome // Failed: the same, of an X or Wayland server that was asked
	End       End     // Ended
}

// Errors of Add.
var (
	ErrKnown  = errors.New("a display of this key is being watched")
	ErrClosed = errors.New("no more displays are watched")
)

// LimitError reports that the process may not open the descriptors that
// another display would need.
type LimitError struct {
	Limit int // RLIMIT_NOFILE
	Room  int // displays that it is enough for
}

func (e *LimitError) Error() string {
	return "RLIMIT_NOFILE is " + strconv.Itoa(e.Limit) + ", enough for " + strconv.Itoa(e.Room) +
		" displays and not for another: raise it (LimitNOFILE= of the service, or ulimit -n)"
}

// Descriptors. While a display is confirmed it has two sockets; beside it and
// its server's process there is its leader, which is the caller's.
const (
	perDisplay  = 4
	setOwn      = 3  // epoll, wake-up, spare
	forTheRest  = 64 // of the process, or a quarter where there are few
	roomAtLeast = 1
)

func room(limit int) int {
	return max(roomAtLeast, (limit-setOwn-min(forTheRest, limit/4))/perDisplay)
}

// NewSet makes a Set that watches nothing yet.
func NewSet() (*Set, error) {
	limit, err := linux.OpenFileLimit()
	if err != nil {
		return nil, err
	}
	l, err := newLoop(linux.Now)
	if err != nil {
		return nil, err
	}
	s := &Set{loop: l, limit: limit, room: room(limit), members: map[string]*target{}}
	s.happened = s.note
	return s, nil
}

// Add starts to watch a display under a key of the caller's. It looks up the
// display's host and cookie, which may take until ctx is done where a resolver
// or a home hangs; whether the display can be opened Run reports, within ten
// seconds. Its errors are *RefusedError, *LimitError, ErrKnown, ErrClosed, and
// those of the look-up.
func (s *Set) Add(ctx context.Context, key string, o Options) error {
	_, err := s.add(ctx, key, o)
	return err
}

func (s *Set) add(ctx context.Context, key string, o Options) (*target, error) {
	t := newTarget(s.loop)
	t.key, t.happened = key, s.happened
	if err := s.enter(t); err != nil {
		return nil, err
	}
	if err := t.prepare(ctx, o); err != nil {
		s.leave(t)
		return nil, err
	}
	s.loop.post(func() {
		if s.has(t) { // else it was removed meanwhile
			t.open()
		}
	})
	return t, nil
}

func (s *Set) enter(t *target) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.members[t.key] != nil:
		return fmt.Errorf("%q: %w", t.key, ErrKnown)
	case len(s.members) >= s.room:
		return &LimitError{Limit: s.limit, Room: s.room}
	}
	s.members[t.key] = t
	return nil
}

func (s *Set) has(t *target) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.members[t.key] == t
}

// leave forgets t; false: it was forgotten before.
func (s *Set) leave(t *target) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.members[t.key] != t {
		return false
	}
	delete(s.members, t.key)
	return true
}

// Remove stops watching a display; nothing more is reported of it, but for what
// Run is about to say just now. Its connection is closed soon, by Run or Close.
func (s *Set) Remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.members[key]; t != nil {
		delete(s.members, key)
		s.loop.post(t.close)
	}
}

// Probe makes Run look, for at most within, whether the display is gone: it
// then reports Ended, or Lives. It waits the whole time for an end, since
// whoever asks may be about to end the display.
func (s *Set) Probe(key string, within time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.members[key]; t != nil {
		s.loop.post(func() { t.observe(Observation{Kind: Look, Within: within}) })
	}
}

// Len is how many displays there are.
func (s *Set) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.members)
}

// Run watches and reports until ctx is done, which is the error then, or until
// the kernel refuses to wait. It may be called again.
func (s *Set) Run(ctx context.Context, report func(News)) error {
	defer context.AfterFunc(ctx, s.loop.wake)()
	for {
		n, err := s.next(ctx)
		if err != nil {
			return err
		}
		report(n)
	}
}

// next waits for the next news. Whoever ends ctx wakes the loop.
func (s *Set) next(ctx context.Context) (News, error) {
	if err := s.loop.run(func() bool { return len(s.news) > 0 || ctx.Err() != nil }); err != nil {
		return News{}, err
	}
	if len(s.news) == 0 {
		return News{}, ctx.Err()
	}
	n := s.news[0]
	if s.news = s.news[1:]; len(s.news) == 0 {
		s.news = nil
	}
	return n, nil
}

// note is told by the displays what happened.
func (s *Set) note(t *target, what What) {
	known := s.has(t)
	if what == Failed || what == Ended {
		known = s.leave(t)
	}
	if !known {
		return
	}
	n := News{Key: t.key, What: what}
	switch what {
	case Opened:
		if n.ServerPID = t.peer.pid; t.opener != nil {
			n.Token = t.token
		}
	case Failed:
		n.Err, n.Outcome = t.openError(), t.failedAs
	case Ended:
		n.End = t.machine.End()
	case Lives:
	}
	s.news = append(s.news, n)
}

// Do has Run do f, soon; false: the Set is closed. It may be called from any
// goroutine.
func (s *Set) Do(f func()) bool { return s.loop.post(f) }

// Close disconnects from all displays, once Run has returned. Their tokens stay
// on them.
func (s *Set) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	members := s.members
	s.members = nil
	s.mu.Unlock()
	s.loop.runPosted() // what was removed is closed
	for _, t := range members {
		t.close()
	}
	return s.loop.close()
}

// prepare makes t ready to connect.
func (t *target) prepare(ctx context.Context, o Options) error {
	if o.Opener != nil {
		t.opener = o.Opener
	} else if o.Name == "" {
		return &RefusedError{
			Kind: NoDisplay, Err: errors.New("no display to watch: neither DISPLAY nor WAYLAND_DISPLAY is set"),
			Remedy: "start xexit from within the session, or set one of them",
		}
	}
	t.label, t.tell, t.token, t.noExit = o.Name, o.Report, o.Token, o.NoExit
	t.times = func(link Link) Thresholds {
		return NewThresholds(link, o.Interval, o.LostAfter, o.BlindAfter, o.HungAfter)
	}
	t.connection = o.Connection
	if o.LeaderPidFD > 0 {
		t.leader = o.LeaderPidFD
	}
	switch {
	case t.opener != nil:
		return nil
	case o.Wayland:
		return t.prepareWayland(o)
	}
	return t.prepareX11(ctx, o)
}

// openError is why t could not be opened, for the caller.
func (t *target) openError() error {
	err := t.failed
	var refused setupRefusal
	switch {
	case errors.As(err, &refused):
		err = refusal(refused.Refused, t.authErr)
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("closed the connection at once: %w", err)
	case errors.Is(err, syscall.EMFILE):
		limit, _ := linux.OpenFileLimit()
		err = fmt.Errorf("%w: RLIMIT_NOFILE is %d: raise it (LimitNOFILE= of the service, or ulimit -n)", err, limit)
	}
	return fmt.Errorf("display %q: %w", t.label, err)
}
