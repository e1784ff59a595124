package doctor

import (
	"fmt"
	"strings"

	"xexit/internal/session"
)

// evidence says by what the session's processes are told from others, and what
// would escape. l is the login of this shell.
func (s Session) evidence(l Login) []Finding {
	var list []Finding
	if s.Subreaper {
		list = append(list, fine("evidence.descent", "descent: whatever it starts stays below xexit, also with an empty environment"))
	}
	switch {
	case s.Marked || s.Subreaper:
		list = append(list, fine("evidence.marker", "XEXIT_SESSION, in the environment of what it starts"+also(s.Ambient)))
	case s.ID != "":
		do := "begin the session through Xsession.d/90xexit, or with: xexit session -- CMD"
		if s.Sight.Link == LinkWayland {
			do = "begin the session with: xexit session -- CMD"
		}
		list = append(list, note("evidence.unmarked", "its processes have no XEXIT_SESSION"+only(s.Ambient),
			"a program that is started with another environment is not found", do))
	}
	if !s.Subreaper && s.Registered {
		list = append(list, s.login()...)
	}
	if s.Current && s.Registered {
		list = append(list, s.here(l)...)
	}
	return list
}

func also(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "; besides it " + strings.Join(names, ", ")
}

func only(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return ", only " + strings.Join(names, ", ")
}

// login: does what the kernel says of the login count?
func (s Session) login() []Finding {
	const escapes = "a program that has emptied its environment and lost its parent cannot be told from others, and is spared"
	audit := s.Audit != session.NoAudit
	switch {
	case s.OwnsLogin && audit && s.Scope != "":
		return []Finding{fine("evidence.login", fmt.Sprintf("its login is its own: audit session %d and %s; an empty environment hides nothing", s.Audit, base(s.Scope)))}
	case s.OwnsLogin && audit:
		return []Finding{fine("evidence.login", fmt.Sprintf("its login is its own: audit session %d; an empty environment hides nothing", s.Audit))}
	case s.OwnsLogin && s.Scope != "":
		return []Finding{fine("evidence.login", fmt.Sprintf("its login is its own: %s; an empty environment hides nothing", base(s.Scope)))}
	case !audit:
		return []Finding{note("evidence.noaudit", "its login has no audit session: PAM asks for none (xrdp's stack lacks pam_loginuid)", escapes,
			"'session required pam_loginuid.so' in the service's file in /etc/pam.d; or let 90xexit start the watcher, which asks for one itself")}
	}
	return []Finding{note("evidence.shared", fmt.Sprintf("audit session %d does not count: nothing says that the login is this session's alone", s.Audit), escapes,
		"if each login has one display here: 'xexit watch --owns-login' in 90xexit")}
}

func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// here: is this shell in the login that its session is in?
func (s Session) here(l Login) []Finding {
	if s.OwnsLogin && l.Audit != session.NoAudit && s.Audit != session.NoAudit && l.Audit != s.Audit {
		return []Finding{note("shell.elsewhere", fmt.Sprintf("this shell is in another login: audit session %d", l.Audit),
			"what is started here does not count as the session's", "")}
	}
	if l.UserUnit != "" {
		return []Finding{note("shell.shared", "this shell is in "+l.UserUnit+", below user@.service, which serves all of the user's logins",
			"what is started here outlives this session, and goes with the user's last login", "")}
	}
	return nil
}
