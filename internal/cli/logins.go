package cli

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"xexit/internal/ending"
	"xexit/internal/history"
	"xexit/internal/ipc"
	"xexit/internal/policy"
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
		if err := showWho(env, l, style); err != nil {
			return err
		}
	}
	return nil
}

// showWho prints who is in a login that is over, as the daemon saw it.
func showWho(env Env, l ipc.Login, style term.Style) error {
	if l.Unseen != "" {
		fmt.Fprintf(env.Stdout, "  who is there is not known: %s\n", term.Escape(l.Unseen))
	}
	if !l.Looked {
		return nil
	}
	if len(l.Processes)+len(l.Undecided)+l.Omitted == 0 {
		_, err := fmt.Fprintln(env.Stdout, "  nobody is left")
		return err
	}
	p := planOf(l)
	if err := planTable(p, style).Write(env.Stdout); err != nil {
		return err
	}
	sum := planSum(p, "to be")
	if l.Omitted > 0 {
		sum += fmt.Sprintf("; %d more are not listed", l.Omitted)
	}
	_, err := fmt.Fprintf(env.Stdout, "  %s\n", sum)
	return err
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
		text = "over: " + overText(l) + "; ending" + atText(l)
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

// atText says in words where an end is: ": grace, 2 s left".
func atText(l ipc.Login) string {
	words, known := map[session.Step]string{
		session.StepClaim: "it starts", session.StepBegin: "it starts",
		session.StepLeader:    "its leader closes it",
		session.StepUserHooks: "exit scripts of the user (user-hooks)",
		session.StepRootHooks: "exit scripts of root (root-hooks)",
		session.StepFreeze:    "finding out who may stay", session.StepKeep: "finding out who may stay",
		session.StepThaw: "asking all to go", session.StepTerm: "asking all to go",
		session.StepGrace: "grace", session.StepKill: "killing who is left", session.StepSweep: "waiting for those killed to be gone",
		session.StepManager:  "waiting for its leader, and the user's services if they end too",
		session.StepVerified: "looking whether all are gone", session.StepDone: "writing its record",
	}[session.Step(l.At)]
	switch {
	case l.At == "":
		return ""
	case !known: // a later daemon's
		words = "step " + l.At
	}
	if l.Left > 0 {
		words += ", " + term.Duration(time.Duration(l.Left)) + " left"
	}
	return ": " + words
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

// planOf is what the daemon says of who is in a login, as a plan.
func planOf(l ipc.Login) ending.Plan {
	p := ending.Plan{Login: l.ID, User: l.User}
	p.Reason = l.Reason
	for _, list := range [][]history.Process{l.Processes, l.Undecided} {
		for _, r := range list {
			item := policy.Item{Verdict: r.Verdict}
			item.ID, item.PPID, item.Comm, item.UID = r.ProcID, r.PPID, r.Comm, r.UID
			item.Evidence, item.Why = r.Evidence, r.Why
			p.Items = append(p.Items, item)
		}
	}
	for i := len(l.Processes); i < len(p.Items); i++ {
		p.Items[i].Undecided = true
	}
	return p
}

// withLogins adds what the daemon says to plans, for JSON: to that of the same
// login, or as one of its own.
func withLogins(list []planned, logins []ipc.Login) []planned {
	for i := range logins {
		l := &logins[i]
		known := false
		for j := range list {
			if list[j].Login == l.ID {
				list[j].Daemon, known = withoutWho(l), true
			}
		}
		if !known {
			list = append(list, planned{
				Session: l.Session, Login: l.ID, User: l.User, UID: l.UID, Display: l.Display, Reason: l.Reason,
				Processes: orEmpty(l.Processes), Undecided: orEmpty(l.Undecided), Daemon: withoutWho(l),
			})
		}
	}
	return list
}

// withoutWho is a login without the processes that are told of elsewhere.
func withoutWho(l *ipc.Login) *ipc.Login {
	short := *l
	short.Processes, short.Undecided = nil, nil
	return &short
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
