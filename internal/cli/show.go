package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"xexit/internal/ending"
	"xexit/internal/history"
	"xexit/internal/ipc"
	"xexit/internal/policy"
	"xexit/internal/session"
	"xexit/internal/term"
)

// showPlans prints what an end of each session would do: the processes as a
// tree, the evidence, the verdict and why.
func showPlans(env Env, plans []ending.Plan, asJSON bool, mood string) error {
	if asJSON {
		return writeJSON(env, planJSON(plans))
	}
	style := term.NewStyle(isTerminal(env.Stdout), env.getenv)
	for i, p := range plans {
		if i > 0 {
			fmt.Fprintln(env.Stdout)
		}
		if err := showPlan(env, p, style, mood, ""); err != nil {
			return failed(err)
		}
	}
	return nil
}

// showPlan prints one. said is what else is known of the session, may be "".
func showPlan(env Env, p ending.Plan, style term.Style, mood, said string) error {
	fmt.Fprintln(env.Stdout, style.Paint(term.Bold, planTitle(p)))
	if said != "" {
		fmt.Fprintf(env.Stdout, "  %s\n", term.Escape(said))
	}
	if err := planTable(p, style).Write(env.Stdout); err != nil {
		return err
	}
	_, err := fmt.Fprintf(env.Stdout, "  %s\n", planSum(p, mood))
	return err
}

func planTitle(p ending.Plan) string {
	title := "session " + string(p.Entry.ID)
	if p.Login != "" {
		title = "login " + p.Login + " (session " + p.Entry.ID.Short() + ")"
	}
	if p.Entry.Display != "" {
		title += " on " + p.Entry.Display
	}
	title += " of " + p.User
	if !p.Known && p.Login == "" {
		title += " (not registered: known by its marker alone)"
	}
	return title
}

// planned is what `xexit ps --json` and --dry-run print of one session; its
// processes have the form that they have in a record.
type planned struct {
	Session   session.ID        `json:"session"`
	Login     string            `json:"login,omitempty"` // logind's id
	User      string            `json:"user"`
	UID       uint32            `json:"uid"`
	Display   string            `json:"display,omitempty"`
	Reason    session.Reason    `json:"reason"`
	Processes []history.Process `json:"processes"`
	Undecided []history.Process `json:"undecided"`
	Daemon    *ipc.Login        `json:"daemon,omitempty"` // what it says of the login
}

func planJSON(plans []ending.Plan) []planned {
	list := make([]planned, 0, len(plans))
	for _, p := range plans {
		out := planned{
			Session: p.Entry.ID, Login: p.Login, User: p.User, UID: p.Entry.UID, Display: p.Entry.Display, Reason: p.Reason,
			Processes: []history.Process{}, Undecided: []history.Process{},
		}
		for _, item := range shown(p.Items) {
			process := ending.RecordProcess(item)
			if item.Undecided {
				out.Undecided = append(out.Undecided, process)
			} else {
				out.Processes = append(out.Processes, process)
			}
		}
		list = append(list, out)
	}
	return list
}

// shown are the items that anything points at; the rest of what the user runs
// is nobody's business here.
func shown(items []policy.Item) []policy.Item {
	var list []policy.Item
	for _, item := range items {
		if item.Evidence != 0 || item.Undecided {
			list = append(list, item)
		}
	}
	return list
}

func planTable(p ending.Plan, style term.Style) *term.Table {
	t := &term.Table{Style: style, Indent: "  "}
	t.Head("VERDICT", "PID", "EVIDENCE", "PROCESS", "WHY")
	for _, row := range tree(shown(p.Items)) {
		verdict, colour := verdictText(row.item)
		t.Row(
			term.Cell{Text: verdict, Colour: colour},
			term.Cell{Text: strconv.Itoa(row.item.ID.PID), Right: true},
			term.Cell{Text: row.item.Evidence.String()},
			term.Cell{Text: strings.Repeat("  ", row.depth) + term.Cut(row.item.Comm, commWidth)},
			term.Cell{Text: row.item.Why, Colour: term.Faint},
		)
	}
	return t
}

const commWidth = 24

func verdictText(item policy.Item) (string, term.Colour) {
	switch {
	case item.Undecided:
		return "unknown, spared", term.Yellow
	case item.Verdict == session.VerdictEnd:
		return "end", term.Red
	case item.Verdict == session.VerdictKeep:
		return "keep", term.Green
	}
	return "spare", term.Green
}

func planSum(p ending.Plan, mood string) string {
	var end, keep, unknown int
	for _, item := range p.Items {
		switch {
		case item.Undecided:
			unknown++
		case item.Verdict == session.VerdictEnd:
			end++
		case item.Verdict == session.VerdictKeep:
			keep++
		}
	}
	return fmt.Sprintf("%d %s ended, %d kept by rule, %d unknown and spared", end, mood, keep, unknown)
}

// branch is an item and how deep below its nearest shown ancestor it stands.
type branch struct {
	item  policy.Item
	depth int
}

// tree orders items so that children follow their parents.
func tree(items []policy.Item) []branch {
	children := map[int][]policy.Item{}
	known := map[int]bool{}
	for _, item := range items {
		known[item.ID.PID] = true
	}
	for _, item := range items {
		parent := item.PPID
		if !known[parent] || parent == item.ID.PID {
			parent = 0
		}
		children[parent] = append(children[parent], item)
	}
	var rows []branch
	var grow func(parent, depth int)
	grow = func(parent, depth int) {
		list := children[parent]
		delete(children, parent) // a circle ends here: two reads of a changing table can show one
		slices.SortFunc(list, func(a, b policy.Item) int { return a.ID.PID - b.ID.PID })
		for _, item := range list {
			rows = append(rows, branch{item, depth})
			grow(item.ID.PID, depth+1)
		}
	}
	grow(0, 0)
	for len(children) > 0 { // what a circle hides from the root
		grow(slices.Min(slices.Collect(maps.Keys(children))), 0)
	}
	return rows
}

// showRecord prints one record in full.
func showRecord(env Env, r history.Record, style term.Style) {
	fmt.Fprintln(env.Stdout, style.Paint(term.Bold, recordTitle(r)))
	for _, h := range r.Hooks {
		fmt.Fprintf(env.Stdout, "  hook %s: %s\n", term.Escape(h.Name), hookText(h))
		for _, line := range term.Lines(h.Output) {
			fmt.Fprintf(env.Stdout, "    | %s\n", line)
		}
	}
	t := &term.Table{Style: style, Indent: "  "}
	for _, p := range slices.Concat(r.Processes, r.Undecided) {
		t.Row(
			term.Cell{Text: strconv.Itoa(p.PID), Right: true},
			term.Cell{Text: term.Cut(p.Comm, commWidth)},
			term.Cell{Text: p.Evidence.String()},
			term.Cell{Text: strings.Join(p.Signals, " ")},
			term.Cell{Text: fate(r.Kind, p)},
		)
	}
	_ = t.Write(env.Stdout)
	for _, s := range r.Survivors {
		fmt.Fprintf(env.Stdout, "  %s\n", style.Paint(term.Red, fmt.Sprintf("still there: %d %s: %s", s.PID, s.Comm, s.Cause)))
	}
	if r.Program != nil {
		fmt.Fprintf(env.Stdout, "  program %s: %s\n", term.Escape(strings.Join(r.Program, " ")), programText(r))
		for _, line := range term.Lines(r.Output) {
			fmt.Fprintf(env.Stdout, "    | %s\n", line)
		}
	}
	for _, p := range r.Problems {
		fmt.Fprintf(env.Stdout, "  %s\n", style.Paint(term.Yellow, "problem: "+p))
	}
}

func recordTitle(r history.Record) string {
	title := "session " + r.Session.Short()
	if r.Login != "" {
		title = "login " + r.Login
		if r.Service != "" {
			title += " (" + r.Service + ")"
		}
	}
	if r.Display != "" {
		title += " on " + r.Display
	}
	title += fmt.Sprintf(" of %s ended: %s", r.User, r.Reason)
	if r.Noticed != "" {
		title += " (" + r.Noticed
		if r.NoticedAfter > 0 {
			title += ", noticed in " + term.Duration(time.Duration(r.NoticedAfter))
		}
		title += ")"
	}
	switch {
	case r.Kind == history.KindProgram:
	case r.Kind == history.KindAudit && r.Event == history.Done:
		title += "; audit only, nobody was ended"
	case r.Event != history.Done:
		title += "; interrupted, or under way"
	case len(r.Survivors) > 0:
		title += fmt.Sprintf("; %d could not be ended in %s", len(r.Survivors), term.Duration(time.Duration(r.Took)))
	case r.Verified:
		title += fmt.Sprintf("; verified empty after %s", term.Duration(time.Duration(r.Took)))
	case r.Took == 0:
		title += "; NOT CARRIED OUT" + again(r)
	default:
		title += fmt.Sprintf("; not verified after %s", term.Duration(time.Duration(r.Took))) + again(r)
	}
	if r.Resumed {
		title += "; an earlier attempt was interrupted"
	}
	return title
}

// again says how to try once more. The daemon does so of itself.
func again(r history.Record) string {
	if r.Login != "" {
		return ""
	}
	return " (try again: xexit end --session " + string(r.Session) + ")"
}

func hookText(h history.Hook) string {
	var text string
	switch {
	case h.Refused != "":
		text = "refused: " + h.Refused
	case h.Failed != "":
		text = "failed: " + h.Failed
	case h.TimedOut:
		text = "ended at its deadline"
	case h.Signal != "":
		text = "ended by " + h.Signal
	default:
		text = "status " + strconv.Itoa(h.Status)
	}
	for _, d := range h.Denied {
		text += "; " + d
	}
	if len(h.Left) > 0 {
		text += "; it left and we ended " + strings.Join(h.Left, ", ")
	}
	if h.Unshielded != "" {
		text += "; unshielded: " + h.Unshielded
	}
	if h.Took > 0 {
		text += ", " + term.Duration(time.Duration(h.Took))
	}
	return term.Escape(text)
}

func programText(r history.Record) string {
	if r.Status == nil {
		return "its exit status is not known"
	}
	return "status " + strconv.Itoa(*r.Status)
}

// fate says in words what became of a process.
func fate(kind history.Kind, p history.Process) string {
	switch {
	case kind == history.KindAudit && p.Verdict == session.VerdictEnd:
		return "would be ended"
	case p.Ended != "":
		return "gone after " + term.Duration(time.Duration(p.After))
	case p.Verdict == session.VerdictEnd:
		return "alive"
	}
	return fates[p.Verdict] + ": " + p.Why
}

var fates = map[session.Verdict]string{
	session.VerdictKeep: "kept", session.VerdictSpare: "spared", session.VerdictEnd: "alive",
}
