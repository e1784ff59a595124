package displayd

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"xexit/internal/display"
	"xexit/internal/linux"
	"xexit/internal/session"
)

// worker watches the displays. One goroutine owns all of it.
type worker struct {
	log    *slog.Logger
	set    *display.Set
	inbox  *queue[func()]
	daemon *link // nil: none

	watches map[string]*watch // by login
	keys    map[string]*watch // by the Set's key
	waiting []*watch          // to be opened for the first time
	opening int               // that many are

	asked   map[uint64]request
	lastAsk uint64
	lastKey uint64
}

// watch is a login's display.
type watch struct {
	login  string
	n      uint64 // the daemon's number of it
	key    string // the Set's
	spec   Spec
	leader *linux.PidFD // nil: unknown

	synced bool   // the daemon has said it
	begun  bool   // it was opened in this process
	opens  bool   // it counts as opening
	told   *Event // the newest
	tries  int    // that have failed
	retry  *time.Timer

	refused   int       // Resume: how often in a row nobody was there
	unreached time.Time // Resume: since when there is no way to it
}

// request is a connection that was asked for.
type request struct {
	done func(display.Connection, error)
	over *time.Timer
}

func newWorker(log *slog.Logger) (*worker, error) {
	set, err := display.NewSet()
	if err != nil {
		return nil, err
	}
	return &worker{
		log: log, set: set, inbox: newQueue[func()](1 << 20),
		watches: map[string]*watch{}, keys: map[string]*watch{}, asked: map[uint64]request{},
	}, nil
}

// begin: there is a daemon.
func (w *worker) begin(l *link) {
	w.daemon = l
	for _, v := range w.watches {
		v.synced = false
	}
}

// end: it is gone. What is being watched goes on being watched.
func (w *worker) end(l *link) {
	if w.daemon != l {
		return
	}
	w.daemon = nil
	for n := range w.asked {
		w.answer(n, none)
	}
}

func (w *worker) heard(l *link, m message, fd int) {
	if w.daemon != l || m.Say != sayHere {
		closeFD(fd)
	}
	if w.daemon != l {
		return
	}
	switch m.Say {
	case sayWatch:
		if m.Spec != nil {
			w.watch(m.Login, m.N, *m.Spec)
		}
	case sayDrop:
		if v := w.watches[m.Login]; v != nil {
			w.drop(v)
		}
	case saySynced:
		for _, v := range w.watches {
			if !v.synced {
				w.drop(v)
			}
		}
	case sayHere:
		w.answer(m.N, fd)
	}
	w.admit()
}

// watch begins, unless a daemon before this one had it begun.
func (w *worker) watch(login string, n uint64, s Spec) {
	if v := w.watches[login]; v != nil {
		was, is := v.spec, s
		was.Resume, is.Resume = "", ""
		if was == is {
			v.n, v.synced = n, true
			if v.told != nil {
				w.tell(v, *v.told)
			}
			return
		}
		w.drop(v)
	}
	w.lastKey++
	v := &watch{login: login, n: n, spec: s, synced: true, key: strconv.FormatUint(w.lastKey, 10)}
	v.leader = openLeader(s.Leader)
	w.watches[login], w.keys[v.key] = v, v
	w.waiting = append(w.waiting, v)
}

// openLeader refers to the login's leader, if it is there and can be seen.
func openLeader(id session.ProcID) *linux.PidFD {
	if id.PID <= 0 {
		return nil
	}
	p, err := linux.OpenPidFD(id.PID)
	if err != nil {
		return nil
	}
	if start, err := linux.Birth(id.PID); err != nil || start != id.Start {
		_ = p.Close() // a reference only
		return nil
	}
	return p
}

func (w *worker) drop(v *watch) {
	delete(w.watches, v.login)
	delete(w.keys, v.key)
	w.opened(v)
	w.set.Remove(v.key)
	if v.retry != nil {
		v.retry.Stop()
	}
	if v.leader != nil {
		// The loop may be about to look at it.
		if leader := v.leader; !w.set.Do(func() { _ = leader.Close() }) {
			_ = leader.Close()
		}
	}
}

func (w *worker) closeAll() {
	for _, v := range w.watches {
		w.drop(v)
	}
	for n := range w.asked {
		w.answer(n, none)
	}
}

// admit opens displays, some at a time: for each a process is started.
func (w *worker) admit() {
	for len(w.waiting) > 0 && w.opening < openingsAtOnce {
		v := w.waiting[0]
		w.waiting = w.waiting[1:]
		if w.keys[v.key] != v {
			continue // it was dropped
		}
		v.opens = true
		w.opening++
		if err := w.set.Add(context.Background(), v.key, w.options(v)); err != nil {
			w.failed(v, display.News{Err: err, Outcome: display.Unable})
		}
	}
}

// opened: it does not count as opening any more.
func (w *worker) opened(v *watch) {
	if v.opens {
		v.opens = false
		w.opening--
	}
}

func (w *worker) options(v *watch) display.Options {
	name := v.spec.Display
	if name == "" {
		name = "of login " + v.login
	}
	o := display.Options{
		Name: name, LostAfter: v.spec.LostAfter, BlindAfter: v.spec.BlindAfter, HungAfter: v.spec.HungAfter,
		Token:  resumeToken(v.spec.Resume),
		NoExit: true,
		Opener: func(done func(display.Connection, error)) { w.do(func() { w.ask(v, done) }) },
		Report: func(s display.State, text string) {
			w.do(func() { w.log.Info("display", "login", v.login, "state", s.String(), "what", text) })
		},
	}
	if v.leader != nil {
		o.LeaderPidFD = v.leader.FD()
	}
	return o
}
