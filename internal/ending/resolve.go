package ending

import (
	"fmt"
	"strings"

	"xexit/internal/logindefs"
	"xexit/internal/registry"
	"xexit/internal/session"
)

// resolve finds the session that is meant: the one asked for by id or by the
// beginning of an id, else the one of the environment, by its unique marker or
// by its display. A session that is not in the registry can still be ended by
// its unique marker, which is all that is known of it then.
func (h Host) resolve(reg *registry.Registry, asked string) (e registry.Entry, known bool, err error) {
	listed, err := reg.List()
	if err != nil {
		return e, false, err
	}
	if asked != "" {
		return h.resolveAsked(listed, asked)
	}
	if h.EUID == 0 {
		return e, false, fmt.Errorf("%w: root must name the session with --session ID (`xexit ps` lists them)", ErrUsage)
	}
	if text := h.getenv(session.MarkerName); text != "" {
		id, err := session.ParseID(text)
		if err != nil {
			return e, false, fmt.Errorf("%w: %s in the environment: %w", ErrUsage, session.MarkerName, err)
		}
		for _, l := range listed {
			if l.ID == id {
				return l.Entry, true, nil
			}
		}
		return h.unregistered(id), false, nil
	}
	if display := session.CanonicalDisplay(h.getenv("DISPLAY")); display != "" {
		for _, l := range listed {
			if l.Display == display {
				return l.Entry, true, nil
			}
		}
	}
	return e, false, fmt.Errorf("%w: this is no session that xexit knows (no %s in the environment, no registered session on this display); name one with --session ID: %s",
		ErrUsage, session.MarkerName, sessionList(listed))
}

func (h Host) resolveAsked(listed []registry.Listed, asked string) (registry.Entry, bool, error) {
	var found []registry.Listed
	for _, l := range listed {
		if strings.HasPrefix(string(l.ID), strings.ToLower(asked)) {
			found = append(found, l)
		}
	}
	switch {
	case len(found) == 1:
		return found[0].Entry, true, nil
	case len(found) > 1:
		return registry.Entry{}, false, fmt.Errorf("%w: %q is the beginning of %d sessions: %s", ErrUsage, asked, len(found), sessionList(found))
	}
	id, err := session.ParseID(asked)
	if err != nil {
		return registry.Entry{}, false, fmt.Errorf("%w: no session %q: %s", ErrUsage, asked, sessionList(listed))
	}
	return h.unregistered(id), false, nil
}

// unregistered is a session of which nothing but the marker is known.
func (h Host) unregistered(id session.ID) registry.Entry {
	return registry.Entry{ID: id, Marked: true, Audit: session.NoAudit, UID: h.UID, Phase: session.PhaseWatching}
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
func (h Host) refuse(e registry.Entry, limits logindefs.Range, scope session.Scope) error {
	if scope == session.ScopeUser && (h.EUID == 0 || !limits.Has(e.UID)) {
		return fmt.Errorf("%w: --scope user is for ordinary users (uid %d to %d), not for uid %d", ErrUsage, limits.Min, limits.Max, e.UID)
	}
	if e.Subreaper.IsZero() && limits.System(e.UID) {
		return fmt.Errorf("%w: uid %d is a system user (UID_MIN in /etc/login.defs is %d); start the session with `xexit session -- CMD` if it must be ended", ErrUsage, e.UID, limits.Min)
	}
	return nil
}
