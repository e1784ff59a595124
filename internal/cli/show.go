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
		fmt.Fprintln(env.Stdout, style.Paint(term.Bold, planTitle(p)))
		if err := planTable(p, style).Write(env.Stdout); err != nil {
			return failed(err)
		}
		fmt.Fprintf(env.Stdout, "  %s\n", planSum(p, mood))
	}
	return nil
}

func planTitle(p ending.Plan) string {
	title := "session " + string(p.Entry.ID)
	if p.Entry.Display != "" {
		title += " on " + p.Entry.Display
	}
	title += " of " + p.User
	if !p.Known {
		title += " (not registered: known by its marker alone)"
	}
	return title
}

// planJSON is the plan in the form of a record: what an end writes and what
// would be written have one shape.
func planJSON(plans []ending.Plan) []history.Record {
	records := make([]history.Record, 0, len(plans))
	for _, p := range plans {
		r := history.Record{
			Kind: history.KindEnd, Session: p.Entry.ID, User: p.User, UID: p.Entry.UID,
			Display: p.Entry.Display, Reason: p.Reason,
		}
		for _, item := range shown(p.Items) {
			process := ending.RecordProcess(item)
			if item.Undecided {
				r.Undecided = append(r.Undecided, process)
			} else {
				r.Processes = append(r.Processes, process)
			}
		}
		records = append(records, r)
	}
	return records
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
			term.Cell{Text: fate(p)},
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
	case r.Event != history.Done:
		title += "; interrupted, or under way"
	case r.Verified && len(r.Survivors) == 0:
		title += fmt.Sprintf("; verified empty after %s", term.Duration(time.Duration(r.Took)))
	default:
		title += fmt.Sprintf("; not verified after %s", term.Duration(time.Duration(r.Took)))
	}
	return title
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
	return term.Escape(text) + ", " + term.Duration(time.Duration(h.Took))
}

func programText(r history.Record) string {
	if r.Status == nil {
		return "its exit status is not known"
	}
	return "status " + strconv.Itoa(*r.Status)
}

// fate says in words what became of a process.
func fate(p history.Process) string {
	switch {
	case p.Ended != "":
		return "gone after " + term.Duration(time.Duration(p.After))
	case p.Verdict == session.VerdictEnd:
		return "alive"
	}
	return string(p.Verdict) + "d: " + p.Why
}
