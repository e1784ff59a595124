package history

import (
	"fmt"
	"strings"
	"time"

	"xexit/internal/session"
	"xexit/internal/term"
)

// Summary says in one escaped line what became of an end.
func (r Record) Summary() string {
	var out strings.Builder
	fmt.Fprintf(&out, "session %s of %s", r.Session.Short(), r.who())
	if r.Display != "" {
		fmt.Fprintf(&out, " on %s", r.Display)
	}
	if r.Client != "" {
		fmt.Fprintf(&out, " from %s", r.Client)
	}
	fmt.Fprintf(&out, ": %s", r.Reason)
	switch {
	case r.Interrupted():
		out.WriteString(": the end was begun")
	case r.Kind == KindProgram:
		out.WriteString(": " + r.program())
	case r.Kind == KindAudit:
		out.WriteString(": " + r.audited())
	default:
		out.WriteString(": " + r.outcome())
	}
	for _, problem := range r.Problems {
		out.WriteString("; " + problem)
	}
	return term.Escape(out.String())
}

func (r Record) who() string {
	if r.User != "" {
		return r.User
	}
	return fmt.Sprintf("uid %d", r.UID)
}

func (r Record) program() string {
	name := "the program"
	if len(r.Program) > 0 {
		name = r.Program[0]
	}
	switch {
	case r.Status == nil:
		return name + " was started"
	case *r.Status > 128:
		return fmt.Sprintf("%s was ended by signal %d after %s", name, *r.Status-128, term.Duration(time.Duration(r.Took)))
	}
	return fmt.Sprintf("%s exited with %d after %s", name, *r.Status, term.Duration(time.Duration(r.Took)))
}

func (r Record) outcome() string {
	var ended, killed, kept int
	for _, p := range r.Processes {
		switch {
		case p.Verdict == session.VerdictKeep:
			kept++
		case p.Ended != "":
			ended++
			if p.Ended == "kill" {
				killed++
			}
		}
	}
	parts := []string{fmt.Sprintf("%d ended", ended)}
	if killed > 0 {
		parts[0] += fmt.Sprintf(" (%d by KILL)", killed)
	}
	if kept > 0 {
		parts = append(parts, fmt.Sprintf("%d kept", kept))
	}
	if n := len(r.Undecided); n > 0 {
		parts = append(parts, fmt.Sprintf("%d undecided and spared", n))
	}
	for _, s := range r.Survivors {
		parts = append(parts, fmt.Sprintf("NOT ended: %d %s (%s)", s.PID, s.Comm, s.Cause))
	}
	if bad := r.badHooks(); bad > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d hooks failed", bad, len(r.Hooks)))
	} else if len(r.Hooks) > 0 {
		parts = append(parts, fmt.Sprintf("hooks: %d", len(r.Hooks)))
	}
	if r.Verified {
		parts = append(parts, "verified")
	} else {
		parts = append(parts, "NOT verified")
	}
	return strings.Join(parts, ", ") + " in " + term.Duration(time.Duration(r.Took))
}

// audited counts what would have become of the processes.
func (r Record) audited() string {
	var end, keep int
	for _, p := range r.Processes {
		switch p.Verdict {
		case session.VerdictEnd:
			end++
		case session.VerdictKeep:
			keep++
		}
	}
	return fmt.Sprintf("audit only: %d would be ended, %d kept, %d undecided and spared", end, keep, len(r.Undecided))
}

func (r Record) badHooks() (bad int) {
	for _, h := range r.Hooks {
		if h.Status != 0 || h.TimedOut || h.Refused != "" || h.Failed != "" {
			bad++
		}
	}
	return bad
}

// alarming reports whether an administrator should look at it.
func (r Record) alarming() bool {
	switch r.Kind {
	case KindAudit:
		return len(r.Problems) > 0
	case KindProgram:
		return r.Status != nil && *r.Status != 0 || len(r.Problems) > 0
	}
	return r.Event == Done && (!r.Verified || len(r.Survivors) > 0 || r.badHooks() > 0 || len(r.Problems) > 0)
}
