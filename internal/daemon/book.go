package daemon

import (
	"errors"
	"io/fs"
	"log/slog"
	"path"
	"time"

	"xexit/internal/config"
	"xexit/internal/conflict"
	"xexit/internal/history"
	"xexit/internal/ipc"
	"xexit/internal/linux"
	"xexit/internal/login"
	"xexit/internal/logindefs"
	"xexit/internal/member"
	"xexit/internal/session"
)

// fact is one for a login.
type fact struct {
	id string
	login.Fact
}

// tell brings a fact to a login, and carries out what follows. What that
// brings up itself comes after it.
func (d *Daemon) tell(id string, f login.Fact) {
	d.facts = append(d.facts, fact{id, f})
	if d.telling {
		return
	}
	d.telling = true
	for len(d.facts) > 0 {
		f := d.facts[0]
		d.facts = d.facts[1:]
		d.transit(f.id, f.Fact)
	}
	d.facts, d.telling = nil, false
}

func (d *Daemon) transit(id string, f login.Fact) {
	e := d.book[id]
	if e == nil {
		return
	}
	was := e.state
	f.Now, f.Rules = d.now(), d.rules(&e.state)
	f.Record = history.NewID()
	next, actions := login.Next(was, f)
	e.state = next
	if e.watched && next.Leader != was.Leader {
		d.leaders.drop(id)
		e.watched = false
	}
	if was.Phase == login.Open && next.Phase == login.Ended {
		d.log(e).Info("login ended", "reason", next.Reason, "noticed", next.Noticed, "after", next.After)
	}
	for _, a := range actions {
		d.act(e, a)
	}
}

func (d *Daemon) act(e *entry, a login.Action) {
	id := e.state.ID
	switch a {
	case login.Persist:
		// Where it cannot be written the end still is to happen. What a crash
		// would lose then is which record it belongs to.
		if err := d.states.write(&e.state); err != nil {
			d.log(e).Error("write the state", "error", err)
		}
	case login.WatchLeader:
		d.watchLeader(e)
	case login.DropLeader:
		d.leaders.drop(id)
		e.watched = false
	case login.WatchDisplay:
		d.watchDisplay(e)
	case login.DropDisplay:
		d.dropDisplay(id)
	case login.StartEnd:
		d.queue = append(d.queue, id)
	case login.Forget:
		d.leaders.drop(id)
		d.dropDisplay(id)
		delete(d.book, id)
		if err := d.states.remove(id); err != nil {
			d.log(e).Error("forget the login", "error", err)
		}
		e.told(ipc.Result{Exit: login.ExitDone, Record: e.state.Record}) // nobody is left to wait for
	}
}

func (d *Daemon) watchLeader(e *entry) {
	if e.watched {
		return
	}
	gone, err := d.leaders.watch(e.state.ID, e.state.Leader)
	switch {
	case err != nil:
		d.log(e).Error("watch the leader", "error", err)
		e.relook = d.now() + relookAfter
	case gone:
		d.tell(e.state.ID, login.Fact{Kind: login.LeaderExited})
	default:
		e.watched = true
	}
}

// leaderExited: the leader that was watched is dead. Where the login has
// another by now, that one counts.
func (d *Daemon) leaderExited(x exit) {
	e := d.book[x.login]
	if e == nil || !e.watched {
		return
	}
	e.watched = false
	if leaderLives(&e.state) {
		d.watchLeader(e)
		return
	}
	d.tell(x.login, login.Fact{Kind: login.LeaderExited, Happened: x.heard})
}

func leaderLives(s *login.State) bool {
	start, err := linux.Birth(s.Leader.PID)
	return err == nil && start == s.Leader.Start
}

func (d *Daemon) log(e *entry) *slog.Logger {
	return d.o.Log.With("login", e.state.ID, "user", e.state.User)
}

// rules are what the configuration says of a login's display.
func (d *Daemon) rules(s *login.State) login.Rules {
	r := login.Rules{Reconnect: d.config.Display.Reconnect}
	switch d.config.Display.OnLost {
	case config.LostEnd:
		r.OnLost = true
	case config.LostAuto:
		r.OnLost = s.Type == config.TypeX11 || s.Type == config.TypeWayland
	}
	return r
}

// look finds out about one login, or all of them. told is when its source said
// that there is something new of that one, in CLOCK_BOOTTIME; 0: it did not.
func (d *Daemon) look(id string, told time.Duration) {
	if id != "" {
		d.lookAt(id, told)
		return
	}
	list, err := d.o.Source.List()
	if err != nil {
		d.o.Log.Error("list the logins", "error", err)
		d.later("")
	}
	known := make(map[string]bool, len(list))
	for i := range list {
		known[list[i].ID] = true
		d.see(&list[i])
	}
	if err != nil {
		return // who is missing may only be unreadable
	}
	for id := range d.left {
		if !known[id] {
			delete(d.left, id)
		}
	}
	for id := range d.book {
		if !known[id] {
			d.gone(id, 0)
		}
	}
}

// gone: the source does not know the login. While its leader lives that is no
// end of it: whoever removed a file has logged nobody out.
func (d *Daemon) gone(id string, told time.Duration) {
	delete(d.left, id)
	e := d.book[id]
	if e == nil {
		return
	}
	if e.state.Phase == login.Open && e.watched && leaderLives(&e.state) {
		if !e.orphan {
			d.log(e).Warn("the login is not known any more, but its leader lives: it counts as open until that exits")
		}
		e.orphan = true
		return
	}
	d.tell(id, login.Fact{Kind: login.Gone, Happened: told})
}

func (d *Daemon) lookAt(id string, told time.Duration) {
	l, err := d.o.Source.Read(id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.gone(id, told)
	case err != nil:
		d.o.Log.Error("read the login", "login", id, "error", err)
		d.later(id)
	default:
		d.see(&l)
	}
}

// see takes a login on, or brings what is new of it.
func (d *Daemon) see(l *member.Login) {
	written := d.wall.of(l.Written)
	e := d.book[l.ID]
	wanted, err := d.wanted(l)
	if e != nil && e.state.Phase == login.Open && !wanted && err == nil {
		wanted, err = d.stays(l, &e.state)
	}
	if err != nil {
		d.o.Log.Error("whose logins are ordinary users'", "error", err)
		d.later(l.ID)
		return
	}
	if !wanted {
		if _, known := d.left[l.ID]; !known && l.IsDoubtful() {
			f := conflict.Doubtful([]string{conflict.Words(l)})
			d.o.Log.Warn("in the way", "what", f.Text, "means", f.Means, "do", f.Do)
		}
		if l.IsUser() || l.IsDoubtful() {
			d.left[l.ID] = *l
		}
		d.tell(l.ID, login.Fact{Kind: login.Unwanted})
		return
	}
	info, late, gone, err := d.info(l)
	if err != nil {
		d.o.Log.Error("look at the login", "login", l.ID, "error", err)
		d.later(l.ID)
		return
	}
	if e == nil {
		id, err := login.SessionID(d.boot, l.ID, l.UID)
		if err != nil {
			d.o.Log.Error("name the login", "login", l.ID, "error", err)
			return
		}
		e = &entry{state: login.State{
			V: login.Version, ID: l.ID, Boot: d.boot, Session: id, Phase: login.Open,
			Info: login.Info{Audit: session.NoAudit},
		}}
		d.book[l.ID] = e
		d.counts["logins taken on"]++
		d.o.Log.Info("login taken on", "login", l.ID, "user", info.User, "type", info.Type, "service", info.Service)
	}
	delete(d.left, l.ID)
	e.seen, e.orphan = *l, false
	if late && e.relooks < maxRelooks {
		e.relook, e.relooks = d.now()+relookAfter, e.relooks+1
	}
	d.tell(l.ID, login.Fact{Kind: login.Seen, Info: info})
	switch {
	case l.State == "closing":
		d.tell(l.ID, login.Fact{Kind: login.Closing, Happened: written})
	case gone:
		d.tell(l.ID, login.Fact{Kind: login.LeaderExited})
	}
}

// wanted: an ordinary user's own login, of a type that the site names.
func (d *Daemon) wanted(l *member.Login) (bool, error) {
	if !l.IsUser() || !login.ValidID(l.ID) || !d.config.Daemon.TakesOn(l.Type, l.Service) {
		return false, nil
	}
	limits, err := readLimits(path.Join(d.o.Root, logindefs.Path))
	return err == nil && !limits.System(l.UID), err
}

// stays: a login that was taken on is let go by the configuration only. Its
// type is nothing to go by: a user may change his own (SetType, see
// org.freedesktop.login1(5)).
func (d *Daemon) stays(l *member.Login, s *login.State) (bool, error) {
	l.Type, l.Service, l.Class = s.Type, s.Service, "user"
	return d.wanted(l)
}

// relookAfter is more than logind needs to move a new login's leader into its
// scope.
const (
	relookAfter = 2 * time.Second
	maxRelooks  = 5
)

// later looks at a login again in a while.
func (d *Daemon) later(id string) {
	if e := d.book[id]; e != nil {
		e.relook = d.now() + relookAfter
		return
	}
	time.AfterFunc(relookAfter, func() { d.dirty.add(id, 0) })
}

// until is the wait for the next thing that is due by the clock.
func (d *Daemon) until() time.Duration {
	next := time.Hour
	now := d.now()
	for _, e := range d.book {
		for _, at := range []time.Duration{e.state.Deadline, e.relook} {
			if at != 0 {
				next = min(next, max(0, at-now))
			}
		}
		if len(d.queue) > 0 && e.end != nil && now < e.end.young {
			next = min(next, e.end.young-now)
		}
	}
	return next
}

// tick does what is due by the clock.
func (d *Daemon) tick() {
	now := d.now()
	for id, e := range d.book {
		if e.state.Deadline != 0 && now >= e.state.Deadline {
			d.tell(id, login.Fact{Kind: login.Timer})
		}
		if e.relook != 0 && now >= e.relook {
			e.relook = 0
			d.dirty.add(id, 0)
		}
	}
}
