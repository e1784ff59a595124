package display

import (
	"container/heap"
	"errors"
	"sync"
	"time"

	"xexit/internal/linux"
)

// loop is one epoll loop over any number of displays. All of it runs in the
// goroutine that calls run, except post and wake.
type loop struct {
	epoll    *linux.Epoll
	event    *linux.EventFD
	spare    *linux.EventFD // a descriptor for a connection when there are no others; nil: given away
	clock    func() (linux.Clocks, error)
	handlers map[uint64]func(linux.EpollReady)
	lastKey  uint64
	timers   timers
	buffer   []byte // for reads, shared: nothing is kept in it

	now    time.Duration // of this round
	asleep time.Duration // sum of all suspends seen
	ahead  time.Duration // boot clock minus monotonic clock

	mu     sync.Mutex
	posted []func()
	shut   bool // the descriptors' numbers may be others' now
}

// Size of one read, and how many a descriptor gets a round: what is left is
// read in the next, after the others. All but set-up replies and floods fits
// into one.
const (
	readSize  = 4 << 10
	readBurst = 16
)

func newLoop(clock func() (linux.Clocks, error)) (*loop, error) {
	l := &loop{clock: clock, handlers: map[uint64]func(linux.EpollReady){}, buffer: make([]byte, readSize)}
	start, err := clock()
	if err != nil {
		return nil, err
	}
	l.now, l.ahead = start.Monotonic, start.Boot-start.Monotonic
	if l.epoll, err = linux.NewEpoll(); err != nil {
		return nil, err
	}
	if l.event, err = linux.NewEventFD(); err != nil {
		return nil, errors.Join(err, l.epoll.Close())
	}
	l.keepSpare()
	_, err = l.watch(l.event.FD(), linux.EpollIn, func(linux.EpollReady) { _ = l.event.Clear() })
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *loop) close() error {
	l.mu.Lock()
	l.shut = true
	l.mu.Unlock()
	l.runPosted() // what came last has a descriptor to close
	l.giveSpare()
	return errors.Join(l.event.Close(), l.epoll.Close())
}

// keepSpare takes a descriptor that nobody needs, if there is none yet.
func (l *loop) keepSpare() {
	if l.spare == nil {
		l.spare, _ = linux.NewEventFD() // without: tried again when something is closed
	}
}

// giveSpare frees it: a display can be confirmed in a process, or on a machine,
// that has used all others up. false: there is none.
func (l *loop) giveSpare() bool {
	if l.spare == nil {
		return false
	}
	_ = l.spare.Close() // nothing was written to it
	l.spare = nil
	return true
}

// watch calls handler when fd is ready. The key is good until forget: a report
// for an earlier descriptor of the same number finds no handler.
func (l *loop) watch(fd int, want linux.EpollEvents, handler func(linux.EpollReady)) (key uint64, err error) {
	l.lastKey++
	if err := l.epoll.Add(fd, want, l.lastKey); err != nil {
		return 0, err
	}
	l.handlers[l.lastKey] = handler
	return l.lastKey, nil
}

func (l *loop) forget(fd int, key uint64) {
	if _, ok := l.handlers[key]; ok {
		delete(l.handlers, key)
		_ = l.epoll.Remove(fd) // fails only if it is not watched
	}
}

// post runs f in the loop, soon; false: the loop is closed. It may be called
// from any goroutine.
func (l *loop) post(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shut {
		return false
	}
	l.posted = append(l.posted, f)
	_ = l.event.Set() // cannot fail on an open eventfd
	return true
}

// wake makes run look whether it shall stop. It may be called from any
// goroutine, also late.
func (l *loop) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.shut {
		_ = l.event.Set() // cannot fail on an open eventfd
	}
}

// runPosted runs what was posted.
func (l *loop) runPosted() {
	l.mu.Lock()
	posted := l.posted
	l.posted = nil
	l.mu.Unlock()
	for _, f := range posted {
		f()
	}
}

// run goes on until stop says so.
func (l *loop) run(stop func() bool) error {
	for !stop() {
		timeout := time.Duration(-1)
		if len(l.timers) > 0 {
			timeout = max(l.timers[0].when-l.now, 0)
		}
		ready, err := l.epoll.Wait(timeout)
		if err != nil {
			return err
		}
		if err := l.readClock(); err != nil {
			return err
		}
		// What has arrived is taken in before any timer fires: a watcher that
		// was stopped for a minute has the answer in its socket.
		for _, r := range ready {
			if h, ok := l.handlers[r.Key]; ok {
				h(r)
			}
		}
		l.runPosted()
		for len(l.timers) > 0 && l.timers[0].when <= l.now {
			t := l.timers[0]
			l.schedule(t, never)
			t.fire()
		}
	}
	return nil
}

func (l *loop) readClock() error {
	c, err := l.clock()
	if err != nil {
		return err
	}
	ahead := c.Boot - c.Monotonic
	// The two readings are not of one instant; what matters are seconds.
	if d := ahead - l.ahead; d >= time.Second/2 {
		l.asleep += d
		l.ahead = ahead
	} else if d < 0 {
		l.ahead = ahead
	}
	l.now = c.Monotonic
	return nil
}

// timer is an entry of the heap; index is its place there, or -1.
type timer struct {
	when  time.Duration
	index int
	fire  func()
}

func newTimer(fire func()) *timer { return &timer{when: never, index: -1, fire: fire} }

// schedule moves a timer; never takes it out.
func (l *loop) schedule(t *timer, when time.Duration) {
	switch {
	case when == never && t.index >= 0:
		heap.Remove(&l.timers, t.index)
	case when == never:
	case t.index >= 0:
		t.when = when
		heap.Fix(&l.timers, t.index)
	default:
		t.when = when
		heap.Push(&l.timers, t)
	}
}

// timers is a heap by time.
type timers []*timer

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].when < h[j].when }
func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is part of heap.Interface.
func (h *timers) Push(x any) {
	t := x.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop is part of heap.Interface.
func (h *timers) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.index = -1
	return t
}
