package gather

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"

	"xexit/internal/display"
	"xexit/internal/display/wayland"
	"xexit/internal/doctor"
	"xexit/internal/linux"
	"xexit/internal/registry"
	"xexit/internal/session"
)

// sessions looks at those asked for; others are the user's remaining ones.
func (g *gatherer) sessions(ctx context.Context, listed []registry.Listed, req Request) (list []doctor.Session, others []doctor.Known, err error) {
	chosen, err := g.choose(listed, req)
	if err != nil {
		return nil, nil, err
	}
	here := g.here(listed)
	for _, l := range listed {
		if !chosen[l.ID] {
			if l.Live {
				others = append(others, doctor.Known{ID: l.ID, Display: l.Display})
			}
			continue
		}
		list = append(list, g.session(ctx, l.Entry, l.ID == here))
	}
	if len(list) == 0 {
		list = append(list, g.shell(ctx))
	}
	return list, others, nil
}

// choose finds the sessions that are meant; none: this shell's, which is not
// registered.
func (g *gatherer) choose(listed []registry.Listed, req Request) (map[session.ID]bool, error) {
	chosen := map[session.ID]bool{}
	switch {
	case req.All:
		for _, l := range listed {
			chosen[l.ID] = true
		}
	case req.Session != "":
		var names []string
		for _, l := range listed {
			names = append(names, strings.TrimSpace(l.ID.Short()+" "+l.Display))
			if strings.HasPrefix(string(l.ID), strings.ToLower(req.Session)) {
				chosen[l.ID] = true
			}
		}
		if len(chosen) != 1 {
			return nil, fmt.Errorf("%w: %q is the beginning of %d sessions' ids; there are: %s", ErrUsage, req.Session, len(chosen), strings.Join(names, ", "))
		}
	default:
		if id := g.here(listed); id != "" {
			chosen[id] = true
		}
	}
	return chosen, nil
}

// here is the registered session that this shell is in: by its marker, or
// where it has none by the display: the X one first, which is the inner one
// where a session in a Wayland session has its own.
func (g *gatherer) here(listed []registry.Listed) session.ID {
	marker := g.getenv(session.MarkerName)
	x := session.CanonicalDisplay(g.getenv("DISPLAY"))
	w, _ := wayland.Path(g.getenv("WAYLAND_DISPLAY"), g.getenv("XDG_RUNTIME_DIR")) // what names none is none
	for _, shown := range []string{x, w} {
		for _, l := range listed {
			if marker != "" && string(l.ID) == strings.ToLower(marker) || marker == "" && shown != "" && l.Display == shown {
				return l.ID
			}
		}
	}
	return ""
}

// compositor is the socket of the Wayland session that an environment is of;
// "" if it is of none. Its DISPLAY is not looked at then: that is Xwayland,
// which a connection would start, or keep running.
func (g *gatherer) compositor() string {
	path, err := wayland.Path(g.getenv("WAYLAND_DISPLAY"), g.getenv("XDG_RUNTIME_DIR"))
	if err != nil || g.getenv("XDG_SESSION_TYPE") == "x11" {
		return ""
	}
	if info, err := os.Stat(path); g.getenv("DISPLAY") != "" && (err != nil || info.Mode()&os.ModeSocket == 0) {
		return ""
	}
	return path
}

func (g *gatherer) startup() doctor.Startup {
	s := doctor.Startup{Display: g.getenv("DISPLAY"), Wayland: g.compositor()}
	s.Marker, _ = session.ParseID(g.getenv(session.MarkerName)) // what is none names nothing
	_, err := fs.Stat(g.Root, "etc/X11/Xsession.d/90xexit")
	s.Snippet = err == nil
	_, err = exec.LookPath("xexit")
	s.InPath = err == nil
	return s
}

// shell is this one, in no session that xexit knows.
func (g *gatherer) shell(ctx context.Context) doctor.Session {
	s := doctor.Session{Current: true, Audit: session.NoAudit, Start: g.startup()}
	s.ID, s.Display = s.Start.Marker, session.CanonicalDisplay(s.Start.Display)
	s.Marked = s.ID != ""
	at := place{name: s.Start.Display}
	if s.Start.Wayland != "" {
		at, s.Display = place{s.Start.Wayland, true}, s.Start.Wayland
	}
	s.Sight, s.Times = g.sight(ctx, at, g.Environ, registry.Timing{})
	return s
}

func (g *gatherer) session(ctx context.Context, e registry.Entry, current bool) doctor.Session {
	s := doctor.Session{
		ID: e.ID, Display: e.Display, Current: current, Registered: true, Phase: e.Phase,
		Watcher: g.process(e.Watcher), Program: e.Program, Marked: e.Marked,
		Audit: e.Audit, Scope: e.Scope, OwnsLogin: e.OwnsLogin, Leader: !e.Leader.IsZero(), Subreaper: !e.Subreaper.IsZero(),
	}
	if now := linux.BootTicks(); now > e.Watcher.Start {
		s.Since = time.Duration(now-e.Watcher.Start) * (time.Second / linux.TicksPerSecond)
	}
	for _, m := range e.Markers {
		s.Ambient = append(s.Ambient, m.Name)
	}
	environ := g.Environ
	if current {
		s.Start = g.startup()
	} else if theirs := g.environ(ctx, e.Leader); theirs != nil {
		environ = theirs
	}
	s.Sight, s.Times = g.sight(ctx, place{e.Display, e.Wayland}, environ, e.Timing)
	return s
}

// process looks whether it is the one that is meant, and how it is.
func (g *gatherer) process(id session.ProcID) doctor.Process {
	p := doctor.Process{PID: id.PID, State: doctor.Dead}
	stat, err := g.proc.Stat(id.PID)
	if err != nil || stat.Start != id.Start || stat.Dead() {
		return p
	}
	p.Name, p.State = string(stat.Comm), doctor.Running
	if stat.State == 'T' || stat.State == 't' {
		p.State = doctor.Stopped
	}
	return p
}

// environ is what a session's leader began with: where its display's cookie
// is. nil: it cannot be read in time.
func (g *gatherer) environ(ctx context.Context, leader session.ProcID) []string {
	if leader.IsZero() || g.process(leader).State == doctor.Dead {
		return nil
	}
	text := bounded(ctx, func() string {
		text, _ := os.ReadFile(fmt.Sprintf("%s/%d/environ", g.Proc, leader.PID))
		return string(text)
	})
	if !strings.Contains(text, "\x00") {
		return nil
	}
	return strings.Split(text, "\x00")
}

// place is a display: as DISPLAY spells it, or the path of a Wayland socket.
type place struct {
	name    string
	wayland bool
}

// sight connects to a display for a moment. Times are those that a watcher
// with this timing has for such a link.
func (g *gatherer) sight(ctx context.Context, at place, environ []string, t registry.Timing) (doctor.Sight, doctor.Times) {
	if at.name == "" {
		return doctor.Sight{}, doctor.Times{}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	seen, err := display.Glance(ctx, display.Options{
		Name: at.name, Wayland: at.wayland, Authority: lookup(environ, "XAUTHORITY"), Home: lookup(environ, "HOME"), Connection: lookup(environ, "SSH_CONNECTION"),
		Interval: t.Interval, LostAfter: t.LostAfter, BlindAfter: t.BlindAfter, HungAfter: t.HungAfter,
	})
	s := doctor.Sight{
		Name: at.name, Took: seen.Took, Countable: seen.Countable, NoCarrier: seen.NoCarrier, Command: seen.Command,
		Link: map[display.Link]doctor.Link{
			display.Local: doctor.LinkUnix, display.Direct: doctor.LinkTCP, display.Relayed: doctor.LinkRelay, display.Carried: doctor.LinkSSH,
		}[seen.Link],
	}
	if seen.ServerPID != 0 {
		s.Server = g.server(seen)
	}
	s.Answer, s.Why, s.Remedy = answer(seen, err)
	s.Why = strings.TrimPrefix(s.Why, fmt.Sprintf("display %q: ", at.name))
	if at.wayland {
		s.Link = doctor.LinkWayland
	}
	return s, times(seen)
}

// times are what a watcher decides by; see display.NewThresholds.
func times(seen display.Sight) doctor.Times {
	th := seen.Thresholds
	t := doctor.Times{Lost: th.LostAfter, Heals: th.Confirm, Blind: th.Blind, Hung: th.Hung, Gone: th.Settled}
	if seen.Link == display.Carried {
		t.Lost += th.LostAfter / 3 // a retransmission of the carrier's that is due is waited for
	}
	return t
}

func (g *gatherer) server(seen display.Sight) doctor.Process {
	p := doctor.Process{PID: seen.ServerPID, State: map[display.Peer]doctor.State{
		display.PeerUnknown: doctor.Unknown, display.PeerAlive: doctor.Running, display.PeerStopped: doctor.Stopped,
		display.PeerFrozen: doctor.Frozen, display.PeerDead: doctor.Dead,
	}[seen.Server]}
	if stat, err := g.proc.Stat(p.PID); err == nil {
		p.Name = string(stat.Comm)
	}
	return p
}

// answer tells what became of the look.
func answer(seen display.Sight, err error) (a doctor.Answer, why, remedy string) {
	var refused *display.RefusedError
	switch {
	case err == nil:
		return doctor.Answered, "", ""
	case errors.As(err, &refused):
		return doctor.Refused, flat(err), refused.Remedy
	case !seen.Connected && errors.Is(seen.Authority, context.DeadlineExceeded):
		return doctor.NoCookie, strings.TrimSuffix(flat(seen.Authority), ": "+context.DeadlineExceeded.Error()), ""
	case errors.Is(err, display.ErrFull):
		return doctor.Full, flat(err), ""
	case errors.Is(err, display.ErrStalled), seen.Connected:
		return doctor.Silent, flat(err), ""
	}
	return doctor.Nobody, flat(err), ""
}

// flat brings joined errors into one line.
func flat(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
