package daemon

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"xexit/internal/history"
	"xexit/internal/ipc"
	"xexit/internal/login"
	"xexit/internal/session"
)

// handler is the daemon as those see it who ask at its socket. Its methods are
// called from the server's goroutines; what is the main goroutine's it does.
type handler struct{ d *Daemon }

// do has the main goroutine call f, and returns when it has; false: it does
// not any more.
func (d *Daemon) do(f func()) bool {
	done := make(chan struct{})
	select {
	case d.calls <- func() { f(); close(done) }:
		<-done
		return true
	case <-d.over:
		return false
	}
}

// errStopping reports a daemon that hears nobody any more.
var errStopping = fmt.Errorf("%w: the daemon is stopping", ipc.ErrFailed)

// Logins implements ipc.Handler.
func (h handler) Logins(ctx context.Context, q ipc.LoginQuery) (list []ipc.Login, err error) {
	var asked []over
	if !h.d.do(func() {
		list = h.d.describe(q.UID, q.All)
		if q.Who {
			asked = h.d.askedOf(list)
		}
	}) {
		return nil, errStopping
	}
	h.d.lookouts.see(ctx, list, asked, q.UID == 0)
	return list, nil
}

func (d *Daemon) describe(uid uint32, all bool) (list []ipc.Login) {
	for _, e := range d.book {
		if all || e.state.UID == uid {
			list = append(list, d.describeTaken(e))
		}
	}
	for id, l := range d.left {
		if !all && l.UID != uid {
			continue
		}
		shown := ipc.Login{
			ID: id, UID: l.UID, User: l.User, Type: l.Type, Service: l.Service, Display: l.Display, TTY: l.TTY,
			Client: l.RemoteHost, State: l.State, Cgroup: l.Cgroup, Leader: l.Leader, Fate: ipc.FateLeave,
			Why: "not of a type that [daemon] types names",
		}
		if l.IsDoubtful() {
			shown.Why = "logind takes it for a background job"
		}
		shown.Session, _ = login.SessionID(d.boot, id, l.UID)
		list = append(list, shown)
	}
	slices.SortFunc(list, func(a, b ipc.Login) int {
		return cmp.Or(cmp.Compare(len(a.ID), len(b.ID)), cmp.Compare(a.ID, b.ID))
	})
	return list
}

func (d *Daemon) describeTaken(e *entry) ipc.Login {
	s := &e.state
	shown := ipc.Login{
		ID: s.ID, Session: s.Session, UID: s.UID, User: s.User, Type: s.Type, Service: s.Service, Display: s.Display,
		TTY: e.seen.TTY, Client: s.Client, State: e.seen.State, Cgroup: s.Cgroup, Leader: s.Leader.PID,
		Phase: ipc.Phase(s.Phase), Fate: ipc.FateEnd, Reason: s.Reason, Noticed: s.Noticed, Record: s.Record, Attempts: s.Attempts,
	}
	if d.config.Daemon.AuditOnly {
		shown.Fate, shown.Why = ipc.FateAudit, "[daemon] audit-only is set"
	}
	switch {
	case e.end != nil:
		at, left := e.at(d.now())
		shown.Step, shown.At, shown.Left = string(e.end.step), string(at), history.Millis(left)
	case s.Phase == login.Ended && s.Deadline != 0:
		shown.Why = fmt.Sprintf("the end has failed %d times; it is tried again in %s", s.Attempts, max(0, s.Deadline-d.now()).Round(1e9))
	case s.Phase == login.Open && s.Deadline != 0:
		shown.Why = fmt.Sprintf("the display's link is lost: it has %s to come back", max(0, s.Deadline-d.now()).Round(1e9))
	case e.orphan:
		shown.Why = "it is not listed any more, but its leader lives"
	}
	return shown
}

// listener is somebody who waits for an end.
type listener struct {
	progress func(ipc.Step) // the main goroutine's to call
	result   chan ipc.Result
}

// End implements ipc.Handler.
func (h handler) End(ctx context.Context, caller uint32, id string, r ipc.EndRequest, progress func(ipc.Step)) (ipc.Result, error) {
	came := h.d.now()
	l := &listener{progress: progress, result: make(chan ipc.Result, 1)}
	err := errStopping
	h.d.do(func() { err = h.d.request(caller, id, r, l, came) })
	if err != nil {
		return ipc.Result{}, err
	}
	select {
	case result := <-l.result:
		return result, nil
	case <-h.d.over:
		return ipc.Result{}, errStopping
	case <-ctx.Done():
		h.d.do(func() { h.d.unsubscribe(id, l) }) // progress is called no more
		return ipc.Result{}, ctx.Err()
	}
}

// request has a login ended for a caller who may, or joins him to those who
// wait for it. came is when he asked, in CLOCK_BOOTTIME.
func (d *Daemon) request(caller uint32, id string, r ipc.EndRequest, l *listener, came time.Duration) error {
	e := d.book[id]
	if e == nil {
		if left, ok := d.left[id]; ok && (caller == 0 || left.UID == caller) {
			return ipc.ErrTaken
		}
		return ipc.ErrNoLogin
	}
	if caller != 0 && e.state.UID != caller {
		return ipc.ErrNoLogin
	}
	noticed := "root asked for it"
	if caller != 0 {
		noticed = "its user asked for it"
		// Who could have it ended again and again could fill the records.
		if s := &e.state; s.Phase == login.Done {
			l.result <- ipc.Result{Exit: s.Exit, Verified: s.Exit == login.ExitDone, Record: s.Record}
			return nil
		}
	}
	e.listeners = append(e.listeners, l)
	reason := r.Reason
	if reason == "" {
		reason = session.ReasonRequested
	}
	d.o.Log.Info("end requested", "login", id, "user", e.state.User, "by", caller)
	d.tell(id, login.Fact{Kind: login.Requested, Reason: reason, Noticed: noticed, Happened: came})
	return nil
}

func (d *Daemon) unsubscribe(id string, l *listener) {
	if e := d.book[id]; e != nil {
		e.listeners = slices.DeleteFunc(e.listeners, func(one *listener) bool { return one == l })
	}
}

// told tells those who wait how an attempt went. One that failed is tried
// again, without them.
func (e *entry) told(r ipc.Result) {
	for _, l := range e.listeners {
		l.result <- r // has room for the only one
	}
	e.listeners = nil
}

// Log implements ipc.Handler.
func (h handler) Log(uid uint32, all bool, q ipc.LogQuery) ([]history.Record, error) {
	host, _ := os.Hostname()
	paths := []string{history.RuntimeFile(h.d.o.Dir), history.StateFile(h.d.o.StateDir, host)}
	found, _, err := history.Read(paths...)
	if err != nil && len(found) == 0 {
		return nil, err
	}
	list := slices.DeleteFunc(found, func(r history.Record) bool {
		return !all && r.UID != uid || r.Time.Before(q.Since) || !matches(&r, q.Session)
	})
	if q.Count > 0 && len(list) > q.Count {
		list = list[len(list)-q.Count:]
	}
	return list, nil
}

// matches: wanted is a login's id or the beginning of a session's.
func matches(r *history.Record, wanted string) bool {
	return wanted == "" || r.Login == wanted || len(wanted) >= 4 && strings.HasPrefix(string(r.Session), strings.ToLower(wanted))
}

// Status implements ipc.Handler.
func (h handler) Status() (s ipc.Status) {
	if !h.d.do(func() { s = h.d.status() }) {
		s.Worker.Text = "the daemon is stopping"
	}
	return s
}

func (d *Daemon) status() ipc.Status {
	s := ipc.Status{
		Version: d.o.Version, PID: os.Getpid(), Since: d.since, Types: slices.Clone(d.config.Daemon.Types),
		AuditOnly: d.config.Daemon.AuditOnly, Sources: []ipc.State{d.health.state(d.o.SourceName)},
		Worker:    d.worker.state("display worker"),
		Conflicts: append(slices.Clone(d.conflicts), d.doubts()...), Counters: map[string]int64{
			"logins": int64(len(d.book)), "logins left alone": int64(len(d.left)), "ends under way": int64(d.running()),
		},
	}
	for name, n := range d.counts {
		s.Counters[name] = n
	}
	if d.rejected != nil {
		s.ConfigProblems = strings.Split(d.rejected.Error(), "\n")
	}
	return s
}

// known reports whether a user has a login here.
func (d *Daemon) known(uid uint32) (has bool) {
	d.do(func() {
		for _, e := range d.book {
			has = has || e.state.UID == uid
		}
		for _, l := range d.left {
			has = has || l.UID == uid
		}
	})
	return has
}

// serve answers at the socket until ctx is over. Without it logins are ended
// all the same.
func (d *Daemon) serve(ctx context.Context) {
	l, err := ipc.Listen(d.o.Dir + "/control")
	if err == nil {
		s := ipc.Server{Handler: handler{d}, Known: d.known, Trouble: func(err error) { d.o.Log.Warn("socket", "error", err) }}
		err = s.Serve(ctx, l)
	}
	if err != nil {
		d.o.Log.Error("nobody can ask the daemon", "error", err)
	}
}
