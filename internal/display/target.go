package display

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"time"
)

// target is one display in a loop: it turns what its connections say into
// observations, and the machine's actions into requests.
type target struct {
	loop     *loop
	key      string              // of its Set
	happened func(*target, What) // tells the Set
	label    string              // DISPLAY

	opener  Opener // nil: this process connects
	number  int    // as in :NUMBER.SCREEN
	screen  int
	addrs   []address
	cookie  func(address) []byte // of an X server
	authErr error                // why there may be no cookie
	times   func(Link) Thresholds
	tell    func(State, string) // may be nil
	noExit  bool                // LTSP_XEXIT=EXIT means nothing
	leader  int                 // pidfd, or -1

	connection string   // SSH_CONNECTION
	carrier    *carrier // nil: none that can be seen
	noCarrier  string   // why there is none, for a relayed display

	machine Machine
	begun   bool // the machine runs
	timer   *timer
	asleep  time.Duration // of loop.asleep, what the machine knows of
	queue   []Observation
	working bool // on the queue

	cur, next *client
	rest      []address // what next has not tried yet
	token     string
	tokenless bool // no token can be left: who listens tells the display from another
	peer      peer
	leaderKey uint64

	failed   error // it could not be opened
	failedAs Outcome
}

func newTarget(l *loop) *target {
	t := &target{loop: l, leader: -1}
	t.timer = newTimer(t.tick)
	return t
}

// open starts to connect for the first time.
func (t *target) open() {
	t.loop.schedule(t.timer, t.loop.now+openLimit)
	t.connect()
}

// connect starts a new connection.
func (t *target) connect() {
	t.abort()
	if t.opener != nil {
		t.request()
		return
	}
	t.rest = t.addrs
	t.connectNext(nil)
}

func (t *target) connectNext(cause error) {
	for len(t.rest) > 0 {
		c := &client{loop: t.loop, to: t, addr: t.rest[0]}
		t.rest = t.rest[1:]
		c.link = c.addr.link(t.number)
		c.protocol = t.speak(c)
		err := c.dial()
		if outcome(err) == Unable && t.loop.giveSpare() {
			err = c.dial()
		}
		if err == nil {
			t.next = c
			c.begin()
			return
		}
		if outcome(err) == Unable {
			t.rest, cause = nil, err // what the others say without it is not all
			break
		}
		cause = telling(cause, err)
	}
	t.result(outcome(cause), cause)
}

// telling keeps the error that tells more: that nobody is there tells least.
func telling(a, b error) error {
	if a == nil || outcome(a) == NobodyThere {
		return b
	}
	return a
}

// speak is the display's protocol, at its beginning.
func (t *target) speak(c *client) protocol {
	switch {
	case !t.tokenless:
		return newX11(c, t.screen, t.cookie(c.addr), t.token)
	case !t.begun:
		return newWayland(c, nil)
	}
	return newWayland(c, &t.peer)
}

func (t *target) abort() {
	if t.next != nil {
		t.next.close()
		t.next = nil
	}
}

// result is that of connect, if it failed.
func (t *target) result(o Outcome, cause error) {
	if !t.begun {
		t.failed, t.failedAs = cause, o
		t.close()
		t.happened(t, Failed)
		return
	}
	t.observe(Observation{Kind: Tried, Outcome: o, Cause: reconnectWords(o, cause)})
}

func (t *target) reached(c *client) {
	if err := c.tune(t.times(c.link)); err != nil {
		c.fail(Dropped, err)
		return
	}
	if t.begun {
		t.observe(Observation{Kind: Reached})
	}
}

func (t *target) joined(c *client) {
	value := c.value
	if !t.begun {
		t.next = nil
		t.start(c)
	} else {
		t.observe(Observation{Kind: Tried, Outcome: SameDisplay})
	}
	t.observe(Observation{Kind: Command, Value: value})
}

// start begins the machine on the first connection.
func (t *target) start(c *client) {
	t.cur, t.token = c, c.token
	if c.link != Local {
		t.addrs = []address{c.addr} // another address may lead another way
	}
	t.peer.open(c)
	leader := t.leader >= 0
	if leader {
		var err error
		t.leaderKey, err = t.loop.watch(t.leader, readable, func(ready) {
			t.loop.forget(t.leader, t.leaderKey)
			t.observe(Observation{Kind: LeaderEnd})
		})
		leader = err == nil
	}
	link := t.seek(c.link, c)
	t.machine = NewMachine(t.times(link), link, c.countable, leader, t.loop.now)
	t.machine.under, t.machine.doubted = c.link, t.noCarrier
	t.begun, t.asleep = true, t.loop.asleep
	t.loop.schedule(t.timer, t.round(t.machine.Wake()))
	t.happened(t, Opened)
}

func (t *target) heard(c *client) {
	if c == t.cur && t.machine.Watching() {
		t.observe(Observation{Kind: Traffic})
	}
}

func (t *target) said(c *client, o Observation) {
	if c == t.cur {
		t.observe(o)
	}
}

// lost: a connection is of no more use.
func (t *target) lost(c *client, o Outcome, cause error) {
	switch c {
	case t.cur:
		t.cur = nil
		t.observe(Observation{Kind: Broken, Cause: endWords(cause), LinkError: o == NoRoute})
	case t.next:
		t.next = nil
		if o == NobodyThere || !c.connected {
			t.connectNext(cause)
			return
		}
		if o == Dropped && t.tokenless && t.begun {
			if same, err := t.peer.serves(c); same || err != nil {
				o = Full // it is there, as far as can be seen, and does not let us in
			}
		}
		t.result(o, cause)
	}
}

func (t *target) tick() {
	if !t.begun {
		o := Dropped
		if c := t.next; c != nil && c.sock != nil && !c.connected {
			o = NoRoute
		}
		t.result(o, ErrStalled)
		return
	}
	t.observe(Observation{Kind: Tick})
}

// observe feeds the machine. What an action leads to at once comes behind what
// is waiting.
func (t *target) observe(o Observation) {
	if !t.begun {
		return
	}
	if t.working {
		t.queue = append(t.queue, o)
		return
	}
	t.working = true
	t.step(o)
	for len(t.queue) > 0 {
		o := t.queue[0]
		t.queue = t.queue[1:]
		t.step(o)
	}
	t.queue, t.working = nil, false
	if t.machine.State().Final() {
		t.close() // a watcher that stays connected would keep the server from ending
		t.happened(t, Ended)
		return
	}
	t.loop.schedule(t.timer, t.round(t.machine.Wake()))
}

func (t *target) step(o Observation) {
	if t.peer.unable && t.cur != nil {
		t.peer.open(t.cur)
	}
	if t.noExit && o.Value == "EXIT" {
		o.Value = ""
	}
	o.Now = t.loop.now
	o.Slept, t.asleep = t.loop.asleep-t.asleep, t.loop.asleep
	timely := o.Kind == Tick || o.Kind == Tried
	switch {
	case t.machine.link == Carried:
		if timely || o.Kind == Answer {
			o.Link = t.carrier.sample()
		}
	case t.machine.Watching() && timely:
		o.Peer = t.peer.look()
		if t.cur != nil {
			o.Link = t.cur.sample()
		}
	}
	if timely && t.cur != nil && t.machine.relayed() && t.machine.Watching() {
		o.Link.Unread = t.cur.unread()
	}
	var a Actions
	t.machine, a = t.machine.Step(o)
	t.act(a)
	if a.Note != "" && t.tell != nil {
		t.tell(t.machine.State(), a.Note)
	}
}

func (t *target) act(a Actions) {
	if a.Drop && t.cur != nil {
		t.cur.close()
		t.cur = nil
	}
	if a.Adopt && t.next != nil {
		if t.cur != nil {
			t.cur.close()
		}
		t.cur, t.next = t.next, nil
		t.peer.open(t.cur)
	}
	if a.Abort {
		t.abort()
	}
	if a.Connect {
		t.connect()
	}
	if a.Alive {
		t.happened(t, Lives)
	}
	if t.cur == nil {
		return
	}
	if a.Ping {
		t.cur.ask()
	}
	if a.NoOp && len(t.cur.protocol.Output()) == 0 {
		t.cur.protocol.noOp()
		t.cur.flush()
	}
	if a.Count {
		t.cur.protocol.count()
		t.cur.flush()
	}
}

// round moves a wake-up that is not urgent to the next half second, so that
// many displays are asked in one go.
func (t *target) round(wake time.Duration) time.Duration {
	const slot = time.Second / 2
	// A carrier's silence is measured from the last question.
	if wake == never || t.machine.State() != OK || t.machine.link == Carried || wake-t.loop.now < 2*slot {
		return wake
	}
	return (wake + slot - 1) / slot * slot
}

// close ends everything of the display.
func (t *target) close() {
	t.loop.schedule(t.timer, never)
	t.abort()
	if t.cur != nil {
		t.cur.close()
		t.cur = nil
	}
	if t.leaderKey != 0 {
		t.loop.forget(t.leader, t.leaderKey)
		t.leaderKey = 0
	}
	t.peer.close()
}

// endWords say how a connection ended.
func endWords(err error) string {
	switch {
	case errors.Is(err, io.EOF):
		return "EOF on the display's socket"
	case errors.Is(err, syscall.ECONNRESET):
		return "the display's connection was reset"
	case errors.Is(err, syscall.ETIMEDOUT):
		return "the display's connection timed out"
	}
	return "the display's connection broke (" + why(err) + ")"
}

// reconnectWords say how a new connection failed.
func reconnectWords(o Outcome, err error) string {
	switch o {
	case NobodyThere:
		return "reconnect refused (" + why(err) + ")"
	case Dropped:
		return "reconnect broke (" + why(err) + ")"
	case Unable:
		return "this process cannot connect (" + why(err) + ")"
	}
	return "reconnect: " + why(err)
}

// why is an error without the system call's name, in one line.
func why(err error) string {
	if err == nil {
		return "no address"
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	if errors.Is(err, io.EOF) {
		return "closed at once"
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}
