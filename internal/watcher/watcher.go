// Package watcher is the composition root of the small binary's own verbs.
// `watch` waits in the background until a display is gone and then runs a
// program once; `session` runs a command as a session below itself. Launching,
// detaching, registering, running the program and saying so belong here. How a
// display is seen to be gone, and who belongs to a session, do not.
//
// A session may have a watcher for days, and a host hundreds of them: what is
// linked in here is paid for by each, so there is no flag, JSON, net or log
// package.
//
//	shell              xexit watch            resident, detached      xexit-main
//	  │ ──── runs ───────▶ │ checks              │                        │
//	  │                    │ ── job, environ ──▶ │ registers              │
//	  │                    │ ◀── one line ────── │ opens the display      │
//	  │ ◀── exit 0 or 2 ── │                     ┆ … hours …              │
//	  │                                          │ display gone           │
//	  │                                          │ ── PROGRAM, or end ──▶ │
package watcher

import (
	"fmt"
	"io"
	"strings"

	"xexit/internal/session"
)

// The exit statuses.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// World is what the verbs see of the world outside.
type World struct {
	Environ        []string
	Stdout, Stderr io.Writer
	Exe            string // this binary, resolved
}

// complain tells the person at the terminal what is wrong; messages carry
// names that others chose, so control characters are replaced.
func (w World) complain(err error) {
	_, _ = io.WriteString(w.Stderr, "xexit: "+printable(err.Error())+"\n")
}

func (w World) getenv(name string) string { return lookup(w.Environ, name) }

// lookup is getenv(3) over a list; the last one counts, as for os/exec.
func lookup(environ []string, name string) string {
	for i := len(environ) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(environ[i], name+"="); ok {
			return value
		}
	}
	return ""
}

// without returns environ less the variables that drop names.
func without(environ []string, drop func(name string) bool) []string {
	kept := make([]string, 0, len(environ)+16)
	for _, entry := range environ {
		if name, _, _ := strings.Cut(entry, "="); !drop(name) {
			kept = append(kept, entry)
		}
	}
	return kept
}

// printable replaces what could steer a terminal or break a line of a log.
// Several lines, such as joined errors, become one with "; " between them.
func printable(text string) string {
	text = strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}

// usageError is the caller's to mend: exit status 2.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// The environment variables between the start-up snippet and `xexit watch`,
// which are nobody else's business.
const (
	leaderVar = "XEXIT_LEADER"     // the process whose exit is the logout
	ownsVar   = "XEXIT_OWNS_LOGIN" // "1": the snippet gave this login its audit id
)

// ours reports whether xexit sets the variable for PROGRAM, or passes it to
// itself: whatever value it has in the session's environment is stale.
func ours(name string) bool {
	switch name {
	case session.MarkerName, leaderVar, ownsVar,
		"XEXIT_REASON", "XEXIT_USER", "XEXIT_DISPLAY", "XEXIT_CLIENT", "XEXIT_PHASE",
		"XEXIT_NOTICED", "XEXIT_NOTICED_US", "XEXIT_ENDED_AT":
		return true
	}
	return false
}
