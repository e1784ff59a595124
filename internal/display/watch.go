package display

import (
	"context"
	"errors"
	"time"

	"xexit/internal/linux"
)

// Short names of what the loop is told.
type ready = linux.EpollReady

const readable = linux.EpollIn

// Options say what to watch and how. Times of 0 are the defaults.
type Options struct {
	Name      string // as in DISPLAY, or the path of a Wayland socket
	Wayland   bool   // it is the latter
	Authority string // XAUTHORITY; "" is Home/.Xauthority
	Home      string

	// Connection is the session's SSH_CONNECTION. It tells of the link under a
	// display that sshd forwards; one that is stale or another's does no harm.
	Connection string

	Interval   time.Duration // between pings; default a third of LostAfter, twice LostAfter on a unix socket
	LostAfter  time.Duration // silence of a link that is the end; 15 s
	BlindAfter time.Duration // missing answers that are the end where nothing else is known; 60 s
	HungAfter  time.Duration // the same for a server that is there; 0 is never

	// Opener connects in this process' stead. Name is only what the display
	// is called then; Wayland, Authority, Home and Connection are not used.
	Opener Opener

	// Token is what told the display, when it was watched before, from another
	// one of its name. Another one, or none, Fails with OtherDisplay.
	Token string

	// NoExit: LTSP_XEXIT=EXIT means nothing. It is for a watcher that the
	// display's user shall not send away.
	NoExit bool

	LeaderPidFD int // of the session's leader, who stays the caller's; 0 or less: not known

	// Report is told every change of state, and what else is worth a line in
	// a log, by the goroutine that is in Open or Run. It may be nil.
	Report func(State, string)
}

// openLimit bounds Open: a grabbed server stalls new connections, and
// resolvers and homes may hang.
const openLimit = 10 * time.Second

// Watch is a Set of one display. Run is for one goroutine at a time; Probe may
// be called from any, and so may Close once Run has returned.
type Watch struct {
	set    *Set
	target *target
	pid    int
}

// only is the key of a Watch's display.
const only = ""

// Open connects, sets or reads the display's token and reads LTSP_XEXIT, within
// ten seconds. A *RefusedError is final; after any other error a later try may
// succeed.
func Open(ctx context.Context, o Options) (*Watch, error) {
	w, err := attempt(ctx, o)
	if err != nil && w != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, err
}

// attempt is Open; where it fails, the Watch, if there is one, shows how far
// it came.
func attempt(ctx context.Context, o Options) (*Watch, error) {
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	s, err := NewSet()
	if err != nil {
		return nil, err
	}
	w := &Watch{set: s}
	return w, w.open(ctx, o)
}

func (w *Watch) open(ctx context.Context, o Options) (err error) {
	if w.target, err = w.set.add(ctx, only, o); err != nil {
		return err
	}
	n, err := w.next(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		w.target.failed = errors.Join(ErrStalled, err)
		return w.target.openError()
	case err != nil:
		return err
	}
	w.pid = n.ServerPID
	return n.Err
}

func (w *Watch) next(ctx context.Context) (News, error) {
	defer context.AfterFunc(ctx, w.set.loop.wake)()
	return w.set.next(ctx)
}

// Run watches until the display's end, which it returns; until ctx is done,
// which is the error then; or until a Probe finds no end: ErrAlive, and Run may
// be called again.
func (w *Watch) Run(ctx context.Context) (End, error) {
	n, err := w.next(ctx)
	switch {
	case err != nil:
		return End{}, err
	case n.What == Lives:
		return End{}, ErrAlive
	}
	return n.End, nil
}

// Probe makes Run look, for at most within, whether the display is gone: Run
// then returns its End, or ErrAlive. It waits the whole time for an end, since
// whoever ends the watcher may be about to end the display too.
func (w *Watch) Probe(within time.Duration) { w.set.Probe(only, within) }

// Close disconnects. The display's token stays on it.
func (w *Watch) Close() error { return w.set.Close() }

// ServerPID is the process that serves the display's unix socket, as it was at
// Open; 0 if unknown.
func (w *Watch) ServerPID() int { return w.pid }
