package doctor

import (
	"fmt"
	"strings"
	"time"

	"xexit/internal/session"
	"xexit/internal/term"
)

func (s Session) title() string {
	switch {
	case s.ID == "":
		return "This shell"
	case s.Display == "":
		return "Session " + s.ID.Short()
	}
	return "Session " + s.ID.Short() + " on " + s.Display
}

// watched says whether the session's end would be noticed by anybody.
func (s Session) watched(f Facts) []Finding {
	var list []Finding
	if f.User.System && !s.Subreaper {
		list = append(list, problem("user.system",
			fmt.Sprintf("uid %d is a system user: UID_MIN in /etc/login.defs is %d", f.User.UID, f.User.UIDMin),
			"nothing of a system user's is ended because a display is gone",
			"start the session with: xexit session -- CMD"))
	}
	switch {
	case s.watching():
		list = append(list, s.watcher()...)
	case s.Registered:
		list = append(list, s.left())
	default:
		list = append(list, s.unwatched(f))
	}
	if s.Current && s.Registered && s.Start.Marker == "" && s.Marked {
		list = append(list, note("shell.unmarked", "this shell has no XEXIT_SESSION, unlike the rest of its session",
			"what is started here is known by other evidence, or not at all",
			"nothing, if su, sudo or ssh began it; else log in again"))
	}
	return list
}

func (s Session) watcher() []Finding {
	by := "watched by"
	if s.Subreaper {
		by = "it runs below"
	}
	list := []Finding{fine("session.watched", fmt.Sprintf("%s xexit, process %d, for %s", by, s.Watcher.PID, age(s.Since)))}
	if s.Watcher.State == Stopped {
		list[0] = problem("watcher.stopped", fmt.Sprintf("its watcher, process %d, is stopped", s.Watcher.PID),
			"the session's end will be noticed when the watcher is continued, and not before",
			fmt.Sprintf("kill -CONT %d", s.Watcher.PID))
	}
	then := "at its end the exit scripts run, and what it leaves is ended"
	if s.Program != "" {
		then = "at its end " + s.Program + " runs"
	}
	return append(list, fine("session.then", then))
}

// age is how long something is there; nobody wants to know it in milliseconds.
func age(d time.Duration) string {
	if d < time.Second {
		return "a moment"
	}
	return term.Duration(d)
}

// left: it is registered, and nobody watches.
func (s Session) left() Finding {
	again := "xexit end --session " + s.ID.Short()
	switch {
	case s.Phase == session.PhaseEnding && s.Watcher.State.Alive():
		return note("session.ending", "its end is under way", "", "")
	case s.Phase != session.PhaseWatching:
		return problem("session.notended", "its end was noticed and not carried out",
			"what it left behind still runs", "xexit log says why; then: "+again)
	}
	do := "in the session: xexit watch; what became of the watcher is in the system's log"
	if s.Subreaper {
		do = "what it left can be ended: " + again
	}
	return problem("watcher.dead", fmt.Sprintf("its watcher, process %d, is gone, and the session was not ended", s.Watcher.PID),
		"nothing notices the session's end", do)
}

// unwatched: xexit knows no such session. Why?
func (s Session) unwatched(f Facts) Finding {
	const meaning = "nothing notices the session's end"
	b := s.Start
	if other := f.onDisplay(s.Display); other != "" && b.Marker != "" {
		return problem("session.other", fmt.Sprintf("%s is watched for another session, %s", s.Display, other.Short()),
			"this shell has the name of a session that xexit does not know: it began in an earlier one (tmux, screen), or its watcher has left",
			"start tmux or screen anew in this session")
	}
	switch {
	case f.User.UID == 0:
		return note("session.root", "root's own session is not watched", "root's processes are the machine's too: a display does not tell which to end",
			"call this as the session's user; as root, start a session with: xexit session -- CMD")
	case f.Daemon.ends(f.Login.Scope):
		return fine("session.login", "it has no watcher of its own: the daemon ends what its login leaves behind")
	case b.Display == "" && b.Wayland == "" && b.Marker == "":
		return problem("session.none", "no DISPLAY and no XEXIT_SESSION here: this shell is in no session that xexit could watch",
			meaning, "call this inside of the session"+f.named()+", or start one with: xexit session -- CMD")
	case b.Marker != "":
		return problem("session.unwatched", "it has a name, XEXIT_SESSION, and no watcher: that did not start, has left or was ended",
			meaning, "xexit watch, which says what is in its way; what became of the watcher is in the system's log")
	case b.Wayland != "":
		return problem("startup.wayland", "a Wayland session, and nothing in it has started xexit",
			meaning, "systemctl --user enable --now xexit.service; without systemd, or a desktop that has graphical-session.target, 'xexit watch' from its autostart")
	case !b.Snippet:
		return problem("startup.missing", "nothing starts xexit at login: there is no /etc/X11/Xsession.d/90xexit",
			meaning, "put it there (make install) and log in again; for now: xexit watch")
	case !b.InPath:
		return problem("startup.path", "/etc/X11/Xsession.d/90xexit is there, but xexit is not in PATH",
			meaning, "install xexit in a directory of every login's PATH, such as /usr/bin")
	}
	return problem("startup.notread", "this session's start-up did not read /etc/X11/Xsession.d/90xexit, or is older than it",
		meaning, "log in again; where Xsession.d is not read (xinitrc, some VNC start-ups), begin the session with: exec xexit session -- CMD; for now: xexit watch")
}

// onDisplay is the other session that has the display.
func (f Facts) onDisplay(display string) session.ID {
	for _, k := range f.Others {
		if display != "" && k.Display == display {
			return k.ID
		}
	}
	return ""
}

// named is how the other sessions can be asked about.
func (f Facts) named() string {
	var names []string
	for _, k := range f.Others {
		name := "--session " + k.ID.Short()
		if k.Display != "" {
			name += " on " + k.Display
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return ""
	}
	return " (or of another: " + strings.Join(names, ", ") + ")"
}
