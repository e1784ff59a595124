package daemon

import (
	"context"
	"errors"

	"xexit/internal/config"
	"xexit/internal/displayd"
	"xexit/internal/login"
)

// Displays watches the displays of logins in a process without rights. What it
// tells is believed of displays, and of nothing else.
type Displays interface {
	Run(ctx context.Context) error
	Watch(login string, s displayd.Spec) error // idempotent
	Drop(login string)
	Events() <-chan displayd.Event
}

// runDisplays goes on without them if they cannot be watched at all.
func (d *Daemon) runDisplays(ctx context.Context) {
	if err := d.o.Displays.Run(ctx); ctx.Err() == nil {
		d.o.Log.Error("no display can be watched", "error", err)
	}
}

// watchDisplay has a login's display watched.
func (d *Daemon) watchDisplay(e *entry) {
	if d.o.Displays == nil {
		return
	}
	s, c := &e.state, &d.config.Display
	if err := d.o.Displays.Watch(s.ID, displayd.Spec{
		UID: s.UID, Leader: s.Leader, Cgroup: s.Cgroup, Display: s.Display, Wayland: s.Type == config.TypeWayland,
		Resume:    s.Resume,
		LostAfter: c.LostAfter, BlindAfter: c.BlindAfter, HungAfter: c.HungAfter,
	}); err != nil {
		d.log(e).Error("watch the display", "error", err)
	}
}

func (d *Daemon) dropDisplay(id string) {
	if d.o.Displays != nil {
		d.o.Displays.Drop(id)
	}
}

// displayEvents is nil, from which nothing comes, without displays.
func (d *Daemon) displayEvents() <-chan displayd.Event {
	if d.o.Displays == nil {
		return nil
	}
	return d.o.Displays.Events()
}

// shown takes what became of a display, or of who watches it.
func (d *Daemon) shown(e displayd.Event) {
	switch e.Kind {
	case displayd.WorkerLost:
		d.worker.ill(errors.New(e.Err))
		d.o.Log.Error("no display is being watched until there is a worker again", "error", e.Err)
		return
	case displayd.WorkerBack:
		d.worker.well()
		d.o.Log.Info("displays are being watched")
		return
	}
	entry := d.book[e.Login]
	if entry == nil {
		return
	}
	switch e.Kind {
	case displayd.Opened:
		d.log(entry).Info("the display is being watched")
		d.tell(e.Login, login.Fact{Kind: login.DisplayOpened, Resume: e.Resume})
	case displayd.Failed:
		d.log(entry).Warn("the display is not being watched; trying again", "error", e.Err)
	case displayd.Ended:
		d.tell(e.Login, login.Fact{Kind: login.DisplayEnded, Reason: e.Reason, Noticed: e.Noticed, After: e.NoticedAfter})
	}
}
