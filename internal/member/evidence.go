package member

import (
	"path"

	"xexit/internal/registry"
	"xexit/internal/session"
)

// What points at the session. Descent is not here: it comes from the tree
// (classify.go).
//
//	scope    in the cgroup of a login that the session owns; a user cannot
//	         leave it without being delegated one
//	audit    carries the audit session id of such a login, which survives
//	         everything that a user can do
//	marker   was started with XEXIT_SESSION=this
//	ambient  was started with a marker that a login manager set
//	sole     is the user's, and this is his only session
//
// The session owns its login only as long as no other live session is in it.

// raw is what points at the session before anything speaks against it.
func (c *classifier) raw(p *Process) session.Evidence {
	if p.Far || p.Dead || p.Kernel {
		return 0
	}
	e := &c.t.Entry
	var found session.Evidence
	if c.owns && Within(p.Cgroup, e.Scope) {
		found |= session.ByScope
	}
	if c.owns && session.SameAudit(p.Audit, e.Audit) {
		found |= session.ByAudit
	}
	if p.Unique != "" && p.Unique == string(e.ID) {
		found |= session.ByMarker
	}
	if _, ok := c.ambient(p); ok {
		found |= session.ByAmbient
	}
	if c.sole {
		found |= session.BySole
	}
	return found
}

// ambient is the first ambient marker that is this session's.
func (c *classifier) ambient(p *Process) (name string, ok bool) {
	for i, m := range c.t.Entry.Markers {
		if sameMarker(m, value(p, i)) {
			return m.Name, true
		}
	}
	return "", false
}

func value(p *Process, i int) string {
	if i < len(p.Values) {
		return p.Values[i]
	}
	return ""
}

// sameMarker compares exactly, so that "ltsp101" is not "ltsp101-b"; only
// DISPLAY has several spellings of one thing.
func sameMarker(m session.Marker, v string) bool {
	switch {
	case v == "":
		return false
	case v == m.Value:
		return true
	}
	return m.Name == "DISPLAY" && session.CanonicalDisplay(v) == session.CanonicalDisplay(m.Value)
}

// sameSocket: WAYLAND_DISPLAY mostly is a name that only a runtime directory,
// which is not known here, makes a display of; so the name alone counts.
func sameSocket(name string, o *registry.Entry) bool {
	return o.Wayland && path.Base(name) == path.Base(o.Display)
}

// usedByOther reports whether another live session was registered with the
// same value of a marker.
func (c *classifier) usedByOther(m session.Marker) bool {
	for i := range c.t.Others {
		o := &c.t.Others[i]
		if m.Name == "DISPLAY" && sameMarker(m, o.Display) || m.Name == "WAYLAND_DISPLAY" && sameSocket(m.Value, o) {
			return true
		}
		for _, om := range o.Markers {
			if om.Name == m.Name && sameMarker(m, om.Value) {
				return true
			}
		}
	}
	return false
}

// ownsLogin reports whether scope and audit id still speak for the session
// alone.
func ownsLogin(t *Target) bool {
	e := &t.Entry
	if !e.OwnsLogin {
		return false
	}
	for i := range t.Others {
		o := &t.Others[i]
		if session.SameAudit(o.Audit, e.Audit) || Within(o.Scope, e.Scope) {
			return false
		}
	}
	return true
}
