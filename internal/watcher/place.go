package watcher

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"xexit/internal/display/wayland"
	"xexit/internal/display/x11"
	"xexit/internal/linux"
	"xexit/internal/session"
)

// place is a display to be watched.
type place struct {
	display string // as DISPLAY spells it, or the path of a Wayland socket
	wayland bool
}

const (
	displayVar = "DISPLAY"
	waylandVar = "WAYLAND_DISPLAY"
	runtimeVar = "XDG_RUNTIME_DIR"
)

// place chooses the session's display. The zero value: there is none.
//
// In a Wayland session both variables are set, and a connection to DISPLAY,
// which is Xwayland, would keep that running. In an X server that somebody has
// started from within a Wayland session both are set too, and there it is the
// X server that the session lives on.
func (w World) place(o *options, h host) (place, error) {
	if o.display != "" {
		return place{display: o.display}, nil
	}
	name, x := w.getenv(waylandVar), w.getenv(displayVar)
	if o.wayland != "" {
		name, x = o.wayland, ""
	}
	if name == "" {
		return place{display: x}, nil
	}
	path, err := wayland.Path(name, w.getenv(runtimeVar))
	if x == "" {
		if err != nil {
			return place{}, usagef("%v", err)
		}
		return place{display: path, wayland: true}, nil
	}
	info, missing := os.Stat(path)
	switch {
	case err != nil, missing != nil || info.Mode()&os.ModeSocket == 0,
		w.getenv("XDG_SESSION_TYPE") == "x11", h.within(x, path):
		return place{display: x}, nil
	}
	return place{display: path, wayland: true}, nil
}

// within reports whether the X server of a display was started as a program of
// the Wayland session whose compositor listens at path: its own environment
// says so. Xwayland's does not: it is handed its connection (WAYLAND_SOCKET),
// and mostly it is the compositor that holds the lock for it. What cannot be
// read is no proof.
func (h host) within(display, path string) bool {
	name, err := x11.ParseName(display)
	if err != nil || !name.Local() || name.Path != "" {
		return false
	}
	text, err := os.ReadFile(filepath.Join(h.locks, ".X"+strconv.Itoa(name.Number)+"-lock"))
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return false
	}
	environ, err := h.environ(pid)
	if err != nil || lookup(environ, "WAYLAND_SOCKET") != "" {
		return false
	}
	its, err := wayland.Path(lookup(environ, waylandVar), lookup(environ, runtimeVar))
	return err == nil && its == path
}

// environ is what a process was started with.
func (h host) environ(pid int) ([]string, error) {
	text, err := os.ReadFile(h.proc + "/" + strconv.Itoa(pid) + "/environ")
	return strings.Split(string(text), "\x00"), err
}

// compositor is the process that listens at a Wayland socket; 0: unknown.
func compositor(path string) int {
	s, err := linux.DialUnix(path)
	if err != nil {
		return 0
	}
	defer func() { _ = s.Close() }() // nothing was sent on it
	pid, err := s.PeerPID()
	if err != nil {
		return 0
	}
	return pid
}

// around is what a Wayland session is in.
type around struct {
	login
	known bool     // it is in a login, or nobody has logins here
	names []string // variables of the watcher's that are the session's too
	owns  bool     // the login is this session's alone
}

// on describes the login that a Wayland session is in: its compositor's. The
// watcher's own need not be it: a user unit runs below the service manager,
// which all of the user's logins share, with an audit id of its own and the
// variables of whichever login came last.
func (h host) on(pid int, own login, uid uint32) around {
	nobody := around{login: login{audit: session.NoAudit}}
	if pid == 0 {
		return nobody
	}
	if owner, err := h.realUID(pid); err != nil || owner != uid {
		return nobody
	}
	a := around{login: h.login(strconv.Itoa(pid)), known: true}
	if a.manager {
		return nobody
	}
	if a.login == own {
		a.names = session.AmbientMarkers()
	}
	a.owns = h.first(pid) && h.isWayland(a.login, uid)
	return a
}

// first reports whether a compositor is nobody's client: one that was started
// within another session would have that one's display in its environment.
func (h host) first(pid int) bool {
	environ, err := h.environ(pid)
	return err == nil && lookup(environ, displayVar) == "" && lookup(environ, waylandVar) == "" &&
		lookup(environ, "WAYLAND_SOCKET") == ""
}

// marks are the ambient markers of a session on a Wayland display: of names,
// but DISPLAY, which may be another session's around this one, and the
// display's own. A socket elsewhere than in the user's runtime directory may
// have the name of one there.
func (p place) marks(names []string, value string, uid uint32) (kept []string) {
	for _, name := range names {
		if name != displayVar {
			kept = append(kept, name)
		}
	}
	usual := "/run/user/" + strconv.FormatUint(uint64(uid), 10)
	if strings.HasPrefix(value, "/") || filepath.Dir(p.display) == usual {
		kept = append(kept, waylandVar)
	}
	return kept
}
