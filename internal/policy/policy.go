// Package policy turns the end of a session into a plan: for every process
// that was looked at, whether to end, keep or spare it, and why. It is pure:
// values in, a value out. Who belongs to the session was decided before
// (package member); finding processes, files and users, and carrying the plan
// out, is for others.
package policy

import (
	"slices"
	"strconv"

	"xexit/internal/session"
)

// End is the end of one session.
type End struct {
	Session session.ID
	Reason  session.Reason
}

// FileID is a file, whatever its name: device and inode, as stat(2) has them.
type FileID struct {
	Dev, Ino uint64
}

// Rule lets programs of the session's user outlive the session. Rules for
// other users were left out when the configuration was resolved.
type Rule struct {
	Name  string
	Files []FileID         // the executables themselves
	After []session.Reason // empty: whatever the reason
}

// covers reports whether the rule lets a program live after a reason.
func (r *Rule) covers(exe FileID, reason session.Reason) bool {
	return slices.Contains(r.Files, exe) && (len(r.After) == 0 || slices.Contains(r.After, reason))
}

// Process is what was found about one process.
type Process struct {
	ID       session.ProcID
	PPID     int
	SID      int
	PGID     int
	TTY      int
	Comm     string // chosen by the process: to be escaped when shown
	State    byte
	UID      uint32
	Evidence session.Evidence

	Member     bool
	Undecided  bool
	Why        string // the rule of membership, in words
	Unkillable error  // it belongs, but cannot be ended

	Exe      FileID
	ExeKnown bool // false: it could not be read, and matches no rule
}

// Item is a process and what is to become of it.
type Item struct {
	Process
	Verdict session.Verdict
	Why     string // in words; it covers Process.Why
	Rule    string // name of the keep rule; "" if none
	Root    bool   // kept by its own executable, not as a child of a kept one
}

// Plan is what is to become of all of them, in the order of the processes.
type Plan struct {
	Session session.ID
	Reason  session.Reason
	Items   []Item
}

// Decide makes the plan. Members are ended, unless a rule keeps them or one
// above them; all others are spared. The first rule that matches counts.
//
// A kept process keeps what descends from it, through members only: its
// children would be of no use without it, nor it without them (a kept tmux and
// its shells). What cannot be matched is not kept.
func Decide(end End, processes []Process, rules []Rule) Plan {
	d := decider{end: end, processes: processes, rules: rules, index: make(map[int]int, len(processes))}
	for i := range processes {
		d.index[processes[i].ID.PID] = i
	}
	plan := Plan{Session: end.Session, Reason: end.Reason, Items: make([]Item, 0, len(processes))}
	for i := range processes {
		plan.Items = append(plan.Items, d.decide(i))
	}
	return plan
}

type decider struct {
	end       End
	processes []Process
	rules     []Rule
	index     map[int]int // by number
}

func (d *decider) decide(i int) Item {
	p := &d.processes[i]
	item := Item{Process: *p, Verdict: session.VerdictSpare, Why: p.Why}
	switch {
	case p.Unkillable != nil:
		item.Why = p.Why + "; cannot be ended: " + p.Unkillable.Error()
		return item
	case !p.Member && p.Undecided:
		item.Why = "undecided: " + p.Why
		return item
	case !p.Member:
		return item
	}
	if rule := d.rule(i); rule != nil {
		item.Verdict, item.Rule, item.Root = session.VerdictKeep, rule.Name, true
		item.Why = "kept by rule " + strconv.Quote(rule.Name) + d.after(rule)
		return item
	}
	if keeper, rule := d.above(i); rule != nil {
		item.Verdict, item.Rule = session.VerdictKeep, rule.Name
		item.Why = "child of kept " + strconv.Itoa(keeper) + " (rule " + strconv.Quote(rule.Name) + ")"
		return item
	}
	item.Verdict = session.VerdictEnd
	return item
}

func (d *decider) after(r *Rule) string {
	if len(r.After) == 0 {
		return ""
	}
	return " after " + string(d.end.Reason)
}

// rule is the first rule that keeps process i for what it executes.
func (d *decider) rule(i int) *Rule {
	p := &d.processes[i]
	if !p.Member || !p.ExeKnown {
		return nil
	}
	for k := range d.rules {
		if d.rules[k].covers(p.Exe, d.end.Reason) {
			return &d.rules[k]
		}
	}
	return nil
}

// above is the nearest kept process that i descends from, through members. A
// parent that is younger than its child is another process by the same number.
func (d *decider) above(i int) (pid int, rule *Rule) {
	for range len(d.processes) { // the parents could form a ring
		p := &d.processes[i]
		parent, ok := d.index[p.PPID]
		if !ok || parent == i || !d.processes[parent].Member || !d.processes[parent].ID.MayBeParentOf(p.ID) {
			return 0, nil
		}
		if rule := d.rule(parent); rule != nil {
			return d.processes[parent].ID.PID, rule
		}
		i = parent
	}
	return 0, nil
}
