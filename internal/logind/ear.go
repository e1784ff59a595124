package logind

import (
	"context"
	"sync"

	"github.com/godbus/dbus/v5"
)

// ear takes in what the bus sends. Anybody may send us a signal: one that is
// neither the bus's own nor logind's is dropped before it takes any room, and
// of logind's only the ids are kept, each once.
type ear struct {
	wake chan struct{} // of size 1: there is something to take

	mu    sync.Mutex
	owner string              // logind's name on the connection, ":1.7"; "": it does not run
	ids   map[string]struct{} // "": all of them
}

func newEar() *ear { return &ear{wake: make(chan struct{}, 1), ids: map[string]struct{}{}} }

// DeliverSignal implements dbus.SignalHandler: the connection's reader calls it
// for one signal after the other.
func (e *ear) DeliverSignal(iface, member string, s *dbus.Signal) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case s.Sender == busItem && iface == busItem && member == "NameOwnerChanged":
		var who, before, now string
		if dbus.Store(s.Body, &who, &before, &now) == nil && who == name {
			e.owner = now
			e.note("")
		}
	case s.Sender == e.owner && e.owner != "" && iface == manager && (member == "SessionNew" || member == "SessionRemoved"):
		if len(s.Body) > 0 {
			if id, ok := s.Body[0].(string); ok {
				e.note(id)
			}
		}
	}
}

func (e *ear) note(id string) {
	e.ids[id] = struct{}{}
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// know says who logind is, from what the bus answered. A signal that came
// meanwhile is the newer word, and so is not replaced.
func (e *ear) know(owner string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.owner == "" {
		e.owner = owner
	}
}

// take returns the ids that were told since the last time.
func (e *ear) take() map[string]struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	ids := e.ids
	e.ids = map[string]struct{}{}
	return ids
}

// subscribe has the bus send us what logind says, and finds out who logind is.
func (e *ear) subscribe(ctx context.Context, conn *dbus.Conn) error {
	for _, rule := range [][]dbus.MatchOption{
		{dbus.WithMatchSender(busItem), dbus.WithMatchInterface(busItem), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, name)},
		{dbus.WithMatchSender(name), dbus.WithMatchInterface(manager), dbus.WithMatchMember("SessionNew")},
		{dbus.WithMatchSender(name), dbus.WithMatchInterface(manager), dbus.WithMatchMember("SessionRemoved")},
	} {
		if err := conn.AddMatchSignalContext(ctx, rule...); err != nil {
			return err
		}
	}
	var owner string
	err := conn.BusObject().CallWithContext(ctx, busItem+".GetNameOwner", 0, name).Store(&owner)
	if err == nil {
		e.know(owner)
	}
	if refused, ok := err.(dbus.Error); ok && refused.Name == busItem+".Error.NameHasNoOwner" {
		err = nil // logind does not run; we hear when it does
	}
	return err
}
