package cli

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"xexit/internal/ending"
	"xexit/internal/history"
	"xexit/internal/ipc"
	"xexit/internal/session"
	"xexit/internal/term"
)

// showSessions prints plans, each with what the daemon says of its login, then
// the other logins, and of each who it is about where that is known.
func showSessions(env Env, plans []ending.Plan, logins []ipc.Login) error {
	style := term.NewStyle(isTerminal(env.Stdout), env.getenv)
	gap := func(first bool) {
		if !first {
			fmt.Fprintln(env.Stdout)
		}
	}
	for i, p := range plans {
		gap(i == 0)
		said := ""
		if l := findLogin(logins, p.Login); l != nil {
			said = loginText(*l)
		}
		if err := showPlan(env, p, style, "would be", said); err != nil {
			return err
		}
	}
	for i, l := range unplanned(logins, plans) {
		gap(i == 0 && len(plans) == 0)
		fmt.Fprintln(env.Stdout, style.Paint(term.Bold, loginTitle(l)))
		fmt.Fprintf(env.Stdout, "  %s\n", term.Escape(loginText(l)))
		if len(l.Processes) > 0 {
			if err := processTable(l.Processes, style).Write(env.Stdout); err != nil {
				return err
			}
		}
	}
	return nil
}

// loginTitle is "login 4 of alice (tty, sshd) from 10.0.0.7".
func loginTitle(l ipc.Login) string {
	title := "login " + l.ID + " of " + userOf(l)
	kind := l.Type
	if l.Service != "" && kind != "" {
		kind += ", "
	}
	if kind += l.Service; kind != "" {
		title += " (" + kind + ")"
	}
	if l.Display != "" {
		title += " on " + l.Display
	} else if l.TTY != "" {
		title += " on " + l.TTY
	}
	if l.Client != "" {
		title += " from " + l.Client
	}
	return title
}

func userOf(l ipc.Login) string {
	if l.User != "" {
		return l.User
	}
	return "uid " + strconv.FormatUint(uint64(l.UID), 10)
}

// loginText says how far it is and what will become of it.
func loginText(l ipc.Login) string {
	var text string
	switch l.Phase {
	case ipc.PhaseEnded:
		text = "over: " + overText(l) + "; its end is due"
	case ipc.PhaseEnding:
		text = "over: " + overText(l) + "; being ended"
		if l.Step != "" {
			text += ", after step " + l.Step
		}
	case ipc.PhaseDone:
		text = "over: " + overText(l) + "; ended"
	default: // also what a later daemon calls it
		text = fateText(l.Fate)
		if l.Watched != "" {
			text += "; " + l.Watched
		}
	}
	if l.Attempts > 0 {
		text += fmt.Sprintf("; attempts that did not end all: %d", l.Attempts)
	}
	if l.Why != "" {
		text += ": " + l.Why
	}
	return text
}

func overText(l ipc.Login) string {
	text := string(l.Reason)
	if text == "" {
		text = string(session.ReasonOther)
	}
	if l.Noticed != "" {
		text += " (" + l.Noticed + ")"
	}
	return text
}

func fateText(f ipc.Fate) string {
	switch f {
	case ipc.FateEnd:
		return "open; at its end, what it leaves behind is ended"
	case ipc.FateAudit:
		return "open; at its end it is noted what would be ended, and nobody is (audit-only)"
	case ipc.FateLeave:
		return "open; the daemon leaves it alone"
	}
	return "open; the daemon will " + string(f)
}

// processTable is planTable for processes in the form of a record.
func processTable(list []history.Process, style term.Style) *term.Table {
	t := &term.Table{Style: style, Indent: "  "}
	t.Head("VERDICT", "PID", "EVIDENCE", "PROCESS", "WHY")
	for _, p := range list {
		why := p.Why
		if p.Ended != "" {
			why = "gone after " + term.Duration(time.Duration(p.After))
		}
		t.Row(
			term.Cell{Text: string(p.Verdict)},
			term.Cell{Text: strconv.Itoa(p.PID), Right: true},
			term.Cell{Text: p.Evidence.String()},
			term.Cell{Text: term.Cut(p.Comm, commWidth)},
			term.Cell{Text: why, Colour: term.Faint},
		)
	}
	return t
}

// withLogins adds what the daemon says to plans, for JSON: to that of the same
// login, or as one of its own.
func withLogins(list []planned, logins []ipc.Login) []planned {
	for i := range logins {
		l := &logins[i]
		known := false
		for j := range list {
			if list[j].Login == l.ID {
				list[j].Daemon, known = l, true
			}
		}
		if !known {
			list = append(list, planned{
				Session: l.Session, Login: l.ID, User: l.User, UID: l.UID, Display: l.Display, Reason: l.Reason,
				Processes: orEmpty(l.Processes), Undecided: []history.Process{}, Daemon: l,
			})
		}
	}
	return list
}

func orEmpty(list []history.Process) []history.Process {
	if list == nil {
		return []history.Process{}
	}
	return list
}

// unplanned are the logins of which no plan is shown.
func unplanned(logins []ipc.Login, plans []ending.Plan) []ipc.Login {
	return slices.DeleteFunc(slices.Clone(logins), func(l ipc.Login) bool {
		return slices.ContainsFunc(plans, func(p ending.Plan) bool { return p.Login == l.ID })
	})
}
