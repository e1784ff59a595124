package display

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"xexit/internal/display/x11"
	"xexit/internal/linux"
)

// Short names of what the loop is told.
type ready = linux.EpollReady

const readable = linux.EpollIn

// Options say what to watch and how. Times of 0 are the defaults.
type Options struct {
	Name      string // DISPLAY
	Authority string // XAUTHORITY; "" is Home/.Xauthority
	Home      string

	Interval   time.Duration // between pings; default a third of LostAfter, twice LostAfter on a unix socket
	LostAfter  time.Duration // silence of a link that is the end; 15 s
	BlindAfter time.Duration // missing answers that are the end where nothing else is known; 60 s
	HungAfter  time.Duration // the same for a server that is there; 0 is never

	LeaderPidFD int // of the session's leader, who stays the caller's; 0 or less: not known

	// Report is told every change of state, and what else is worth a line in
	// a log, from within Open and Run. It may be nil.
	Report func(State, string)
}

// openLimit bounds Open: a grabbed server stalls new connections, and
// resolvers and homes may hang.
const openLimit = 10 * time.Second

// Watch is a display being watched. Run is for one goroutine at a time; Probe
// may be called from any, and so may Close once Run has returned.
type Watch struct {
	loop   *loop
	target *target
	pid    int

	mu     sync.Mutex
	closed bool
}

// Open connects, sets or reads the display's token and reads LTSP_XEXIT, within
// ten seconds. A *RefusedError is final; after any other error a later try may
// succeed.
func Open(ctx context.Context, o Options) (*Watch, error) {
	if o.Name == "" {
		return nil, &RefusedError{
			Kind: NoDisplay, Err: errors.New("no display to watch: DISPLAY is not set"),
			Remedy: "start xexit from within the X session, or set DISPLAY",
		}
	}
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	l, err := newLoop(linux.Now)
	if err != nil {
		return nil, err
	}
	t, authErr, err := prepare(ctx, l, o)
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	w := &Watch{loop: l, target: t}
	if err := w.open(ctx, authErr); err != nil {
		return nil, errors.Join(fmt.Errorf("display %q: %w", o.Name, err), w.Close())
	}
	return w, nil
}

// prepare makes a display of a loop from options. authErr is why there may be
// no cookie.
func prepare(ctx context.Context, l *loop, o Options) (t *target, authErr, err error) {
	name, err := x11.ParseName(o.Name)
	if err != nil {
		return nil, nil, &RefusedError{Kind: BadName, Err: err, Remedy: "correct DISPLAY"}
	}
	addrs, err := resolve(ctx, name)
	if err != nil {
		return nil, nil, fmt.Errorf("display %q: %w", o.Name, err)
	}
	entries, authErr := authority(ctx, o)
	hostname, _ := os.Hostname() // without it local cookies are found by their number
	t = newTarget(l)
	t.number, t.addrs, t.tell = name.Number, addrs, o.Report
	t.speak = func(t *target, c *client) protocol {
		cookie := x11.FindCookie(entries, x11.Endpoint{IP: c.addr.ip, Hostname: hostname, Number: name.Number})
		return newX11(c, name.Screen, cookie, t.token)
	}
	t.times = func(link Link) Thresholds {
		return NewThresholds(link, o.Interval, o.LostAfter, o.BlindAfter, o.HungAfter)
	}
	if o.LeaderPidFD > 0 {
		t.leader = o.LeaderPidFD
	}
	return t, authErr, nil
}

func (w *Watch) open(ctx context.Context, authErr error) error {
	t := w.target
	defer context.AfterFunc(ctx, func() { w.loop.post(func() {}) })()
	t.connect()
	if err := w.loop.run(func() bool { return t.begun || t.failed != nil || ctx.Err() != nil }); err != nil {
		return err
	}
	var refused setupRefusal
	switch {
	case t.begun:
		w.pid = t.peer.pid
		return nil
	case errors.As(t.failed, &refused):
		return refusal(refused.Refused, authErr)
	case errors.Is(t.failed, io.EOF):
		return fmt.Errorf("closed the connection at once: %w", t.failed)
	case t.failed != nil:
		return t.failed
	}
	return errors.Join(ErrStalled, ctx.Err())
}

// Run watches until the display's end, which it returns; until ctx is done,
// which is the error then; or until a Probe finds no end: ErrAlive, and Run may
// be called again.
func (w *Watch) Run(ctx context.Context) (End, error) {
	t := w.target
	stop := context.AfterFunc(ctx, func() { w.loop.post(func() {}) })
	defer stop()
	t.alive = false
	if err := w.loop.run(func() bool { return t.settled() || ctx.Err() != nil }); err != nil {
		return End{}, err
	}
	switch {
	case t.machine.State().Final():
		return t.machine.End(), nil
	case t.alive:
		return End{}, ErrAlive
	}
	return End{}, ctx.Err()
}

// Probe makes Run look, for at most within, whether the display is gone: Run
// then returns its End, or ErrAlive. It waits the whole time for an end, since
// whoever ends the watcher may be about to end the display too.
func (w *Watch) Probe(within time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.loop.post(func() { w.target.observe(Observation{Kind: Look, Within: within}) })
	}
}

// Close disconnects. The display's token stays on it.
func (w *Watch) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	w.target.close()
	return w.loop.close()
}

// ServerPID is the process that serves the display's unix socket, as it was at
// Open; 0 if unknown.
func (w *Watch) ServerPID() int { return w.pid }
