package ending

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"xexit/internal/display/wayland"
	"xexit/internal/logindefs"
	"xexit/internal/registry"
	"xexit/internal/session"
)

// resolve finds the session that is meant: the one asked for by id or by the
// beginning of an id, else the one of the environment, by its unique marker or
// by its display. A session that is not in the registry can still be ended by
// its unique marker, which is all that is known of it then.
// For root it may also be a login, by logind's id.
func (h Host) resolve(reg *registry.Registry, asked string) (subject, error) {
	listed, err := reg.List()
	if err != nil {
		return subject{}, err
	}
	if asked != "" {
		return h.resolveAsked(listed, asked)
	}
	if h.EUID == 0 {
		return subject{}, fmt.Errorf("%w: root must name the session with --session ID (`xexit ps` lists them)", ErrUsage)
	}
	if text := h.getenv(session.MarkerName); text != "" {
		id, err := session.ParseID(text)
		if err != nil {
			return subject{}, fmt.Errorf("%w: %s in the environment: %w", ErrUsage, session.MarkerName, err)
		}
		for _, l := range listed {
			if l.ID == id {
				return subject{Entry: l.Entry, known: true}, nil
			}
		}
		return h.unregistered(id), nil
	}
	// Where one session is within another, each on a display of its own, both
	// may be named here.
	if here := h.shown(listed); len(here) > 0 && here[0].Display == here[len(here)-1].Display {
		return subject{Entry: here[0].Entry, known: true}, nil
	}
	return subject{}, fmt.Errorf("%w: this is no session that xexit knows (no %s in the environment, no single registered session on this display); name one with --session ID: %s",
		ErrUsage, session.MarkerName, sessionList(listed))
}

// shown lists the sessions on the displays that the environment names, those on
// its X display first.
func (h Host) shown(listed []registry.Listed) (found []registry.Listed) {
	x := session.CanonicalDisplay(h.getenv("DISPLAY"))
	w, _ := wayland.Path(h.getenv("WAYLAND_DISPLAY"), h.getenv("XDG_RUNTIME_DIR")) // what names none is none
	for _, name := range []string{x, w} {
		for _, l := range listed {
			if name != "" && l.Display == name {
				found = append(found, l)
			}
		}
	}
	return found
}

func (h Host) resolveAsked(listed []registry.Listed, asked string) (subject, error) {
	if h.EUID == 0 {
		// A login's id is not taken for the beginning of another session's.
		if s, err := h.login(asked); !errors.Is(err, fs.ErrNotExist) {
			return s, err
		}
	}
	var found []registry.Listed
	for _, l := range listed {
		if strings.HasPrefix(string(l.ID), strings.ToLower(asked)) {
			found = append(found, l)
		}
	}
	switch {
	case len(found) == 1:
		return subject{Entry: found[0].Entry, known: true}, nil
	case len(found) > 1:
		return subject{}, fmt.Errorf("%w: %q is the beginning of %d sessions: %s", ErrUsage, asked, len(found), sessionList(found))
	}
	id, err := session.ParseID(asked)
	if err != nil {
		there := sessionList(listed)
		if h.EUID == 0 {
			there += "; logins: " + h.logins()
		}
		return subject{}, fmt.Errorf("%w: no session %q: %s", ErrUsage, asked, there)
	}
	return h.unregistered(id), nil
}

// unregistered is a session of which nothing but the marker is known.
func (h Host) unregistered(id session.ID) subject {
	return subject{Entry: registry.Entry{ID: id, Marked: true, Audit: session.NoAudit, UID: h.UID, Phase: session.PhaseWatching}}
}

func sessionList(listed []registry.Listed) string {
	if len(listed) == 0 {
		return "there are none"
	}
	var names []string
	for _, l := range listed {
		name := l.ID.Short()
		if l.Display != "" {
			name += " on " + l.Display
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// refuse says why a session of this user must not be ended, if so. A system
// user's processes are told apart by nothing but the subreaper they are below.
func (h Host) refuse(s subject, limits logindefs.Range, scope session.Scope) error {
	e := &s.Entry
	if scope == session.ScopeUser && (h.EUID == 0 && s.login == "" || !limits.Has(e.UID)) {
		return fmt.Errorf("%w: --scope user is for ordinary users (uid %d to %d), not for uid %d", ErrUsage, limits.Min, limits.Max, e.UID)
	}
	if e.Subreaper.IsZero() && limits.System(e.UID) {
		return fmt.Errorf("%w: uid %d is a system user (UID_MIN in /etc/login.defs is %d); start the session with `xexit session -- CMD` if it must be ended", ErrUsage, e.UID, limits.Min)
	}
	return nil
}
