package displayd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"xexit/internal/session"
)

// Options of a Client.
type Options struct {
	Worker Worker  // how the worker is come by
	Opener Starter // how openers are started
	Notes  string  // a directory of root's, for what openers keep of a display; made if missing
}

// Worker waits for a connection from a worker, one at a time. It is called again
// when that is over.
type Worker func(ctx context.Context) (*net.UnixConn, error)

// Starter runs an opener and returns when it is over, or ctx is.
type Starter func(ctx context.Context, o Opening) error

// Opening is one run of the opener, with the session user's credentials.
type Opening struct {
	Login  string
	UID    uint32
	Argv   []string // after the program's path
	Socket *os.File // its standard input: what it has opened goes there
	Note   *os.File // its standard output: what it keeps until the next run
}

// Client has displays watched by a worker, whatever becomes of that: one that
// comes back is handed all of them over again. All methods may be called from
// any goroutine, and none waits for the worker.
type Client struct {
	o      Options
	events *queue[Event]
	told   chan Event
	slots  chan struct{} // for openers under way

	mu     sync.Mutex
	link   *link // nil: no worker
	logins map[string]*watched
	last   uint64 // n of the newest
}

// watched is a login's display.
type watched struct {
	spec    Spec   // Resume is the newest
	n       uint64 // tells it from an earlier one of the same login
	asked   Spec   // as given to Watch
	opened  bool
	ended   bool
	turn    chan struct{} // holds one for each opener under way
	opening int           // openers under way, and waiting for their turn
	trouble string
}

// Bounds of what a worker makes the daemon do.
const (
	openersAtOnce  = 8
	openersALogin  = 2 // one that was given up may hang
	waitingALogin  = 8
	openerLimit    = 3 * time.Second
	openerPatience = openerLimit + 5*time.Second // until it must be over, however it was started
	slotPatience   = 8 * time.Second             // for others to be over
	pauseOfWorkers = time.Second                 // between two of them
	eventsNotTaken = maxQueue
)

// New makes a Client that watches nothing yet.
func New(o Options) *Client {
	return &Client{
		o: o, events: newQueue[Event](eventsNotTaken), told: make(chan Event),
		slots: make(chan struct{}, openersAtOnce), logins: map[string]*watched{},
	}
}

// Events is what happens, in order. Whoever runs the Client reads them.
func (c *Client) Events() <-chan Event { return c.told }

// Watch has a login's display watched until Drop. One that is being watched
// already stays as it is; one that has Ended, or was not found yet and is now
// said to be another, is watched anew.
func (c *Client) Watch(login string, s Spec) error {
	if err := checkLogin(login); err != nil {
		return err
	}
	if len(s.Resume) > maxResume {
		return fmt.Errorf("login %s: what tells its display is longer than %d bytes", login, maxResume)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.logins[login]; w != nil {
		if !w.ended && (w.opened || w.asked == s) {
			return nil
		}
		c.say(message{Say: sayDrop, Login: login})
	}
	c.last++
	c.logins[login] = &watched{spec: s, asked: s, n: c.last, turn: make(chan struct{}, openersALogin)}
	c.say(message{Say: sayWatch, Login: login, N: c.last, Spec: &s})
	return nil
}

// Drop stops watching a login's display and forgets all about it.
func (c *Client) Drop(login string) {
	c.mu.Lock()
	_, known := c.logins[login]
	delete(c.logins, login)
	if known {
		c.say(message{Say: sayDrop, Login: login})
	}
	c.mu.Unlock()
	if known {
		c.forgetNote(login)
	}
}

// say is for holders of mu.
func (c *Client) say(m message) {
	if c.link != nil {
		c.link.send(m, none)
	}
}

// Run watches until ctx is done, which is the error then.
func (c *Client) Run(ctx context.Context) error {
	if err := c.makeNotes(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() { c.tell(ctx) })
	pause := time.NewTimer(0)
	defer pause.Stop()
	lost := ""
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		served, err := c.attend(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// One that cannot be had is said once, one that was there each time.
		if text := err.Error(); served || text != lost {
			lost = text
			c.events.put(Event{Kind: WorkerLost, Err: short(text, maxText)})
		}
		pause.Reset(pauseOfWorkers)
	}
}

// tell hands the events out.
func (c *Client) tell(ctx context.Context) {
	for {
		e, ok := c.events.take(ctx)
		if !ok {
			return
		}
		select {
		case c.told <- e:
		case <-ctx.Done():
			return
		}
	}
}

// attend waits for a worker and serves it until it is lost. The error says how.
func (c *Client) attend(ctx context.Context) (served bool, err error) {
	conn, err := c.o.Worker(ctx)
	if err != nil {
		return false, fmt.Errorf("the display worker: %w", err)
	}
	l := newLink(conn)
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	defer l.close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := l.hello(); err != nil {
		return false, fmt.Errorf("the display worker: %w", err)
	}
	all.Go(func() { l.write(ctx) })
	c.handOver(l)
	err = l.read(func(m message, fd int) error {
		closeFD(fd) // it has none to give
		return c.heard(ctx, &all, l, m)
	})
	c.mu.Lock()
	c.link = nil
	c.mu.Unlock()
	return true, fmt.Errorf("the display worker is gone: %w", err)
}

// handOver says all displays to a new worker.
func (c *Client) handOver(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for login, w := range c.logins {
		if !w.ended {
			s := w.spec
			l.send(message{Say: sayWatch, Login: login, N: w.n, Spec: &s}, none)
		}
	}
	l.send(message{Say: saySynced}, none)
	c.link = l
	c.events.put(Event{Kind: WorkerBack})
}

// heard takes what the worker says. It is believed in what it says of displays
// that it was given, and in nothing else.
func (c *Client) heard(ctx context.Context, all *sync.WaitGroup, l *link, m message) error {
	switch {
	case m.Say == sayOpen:
		return c.open(ctx, all, l, m)
	case m.Say == sayNews && m.Event != nil:
		return c.news(m.Login, m.N, *m.Event)
	}
	return fmt.Errorf("%w: it says %q", errProtocol, short(m.Say, maxText))
}

func (c *Client) news(login string, n uint64, e Event) error {
	e.Login, e.Err, e.Noticed = login, short(e.Err, maxText), short(e.Noticed, maxText)
	e.NoticedAfter = min(max(e.NoticedAfter, 0), 365*24*time.Hour)
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.logins[login]
	if w == nil || w.n != n || w.ended {
		return nil // it was dropped meanwhile
	}
	switch e.Kind {
	case Opened:
		if len(e.Resume) > maxResume {
			return fmt.Errorf("%w: a display is told by %d bytes", errProtocol, len(e.Resume))
		}
		w.spec.Resume, w.opened, w.trouble = e.Resume, true, ""
		e = Event{Login: login, Kind: Opened, Resume: e.Resume}
	case Failed:
		e = Event{Login: login, Kind: Failed, Err: e.Err}
	case Ended:
		if !isReason(e.Reason) {
			e.Reason = session.ReasonOther
		}
		w.ended = true
		e.Err, e.Resume = "", ""
	default:
		return fmt.Errorf("%w: news of kind %d", errProtocol, e.Kind)
	}
	if !c.events.put(e) {
		return errors.New("nobody takes the events")
	}
	return nil
}

// isReason: why a display's end may be one of a login's.
func isReason(r session.Reason) bool {
	switch r {
	case session.ReasonServerGone, session.ReasonLinkLost, session.ReasonBlind, session.ReasonLogout, session.ReasonRequested:
		return true
	}
	return false
}
