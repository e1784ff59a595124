package demo

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"xexit/internal/history"
	"xexit/internal/session"
	"xexit/internal/term"
)

// tabulate shows what the record says of each process, and holds it against
// what is the case.
func (d *demo) tabulate(a *act, t *timeline) {
	r, err := d.stage.record(a.id)
	if err != nil {
		d.check(false, "the record of A's end: %v", err)
		return
	}
	table := &term.Table{Style: d.Style, Indent: "  "}
	table.Head("PROCESS", "PID", "WHAT IT IS", "FOUND BY", "SIGNALS", "GONE AT")
	for _, p := range r.Processes {
		name, what := p.Comm, ""
		if k, ok := kindOf(p.Comm); ok {
			name, what = k.name, k.what
		}
		when := term.Cell{Text: "NOT GONE", Colour: term.Red, Right: true}
		if p.Ended != "" && gone(d.guard.fs, p.ProcID) {
			when = term.Cell{Text: "gone, unknown when", Colour: term.Yellow, Right: true}
			if t.begun > 0 {
				after := millis(t.begun - t.zero + time.Duration(p.After))
				when = term.Cell{Text: strings.TrimSpace(after), Colour: term.Green, Right: true}
			}
		}
		table.Row(term.Cell{Text: name}, term.Cell{Text: strconv.Itoa(p.PID), Right: true}, term.Cell{Text: what},
			term.Cell{Text: p.Evidence.String()}, term.Cell{Text: strings.Join(p.Signals, " ")}, when)
	}
	if err := table.Write(d.Out); err != nil {
		d.failures = append(d.failures, err.Error())
	}
	fmt.Fprintln(d.Out)
	d.judge(a, r, t)
}

// judge says whether A has ended as it should.
func (d *demo) judge(a *act, r history.Record, t *timeline) {
	listed := map[session.ProcID]bool{}
	for _, p := range r.Processes {
		listed[p.ProcID] = p.Ended != ""
	}
	missed := 0
	for _, m := range a.members {
		if !listed[m.stat.ID()] {
			missed++
		}
	}
	left := d.alive(a)
	d.check(left == 0 && missed == 0 && r.Verified && t.verified > 0, "A is empty: %d of %d gone, verified %s after the pull",
		len(a.members)-left, len(a.members), term.Duration(t.verified-t.zero))
	if !r.Verified || t.verified == 0 {
		d.check(false, "that nobody of A is left was not verified")
	}
	if missed > 0 {
		d.check(false, "%d of A's processes are not in its record", missed)
	}
	for _, h := range r.Hooks {
		d.check(h.Status == 0 && h.Refused == "", "hook %s ran first: status %d, %s, and said %q",
			h.Name, h.Status, term.Duration(time.Duration(h.Took)), strings.TrimSpace(h.Output))
	}
	if len(r.Hooks) == 0 {
		d.check(false, "no hook was run")
	}
	for _, p := range r.Problems {
		d.check(false, "a problem: %s", p)
	}
}

// untouched looks at each process of B: the same number with the same start
// time, alive, and in particular the stopped one was not continued.
func (d *demo) untouched(b *act) {
	same := 0
	for _, m := range b.members {
		s, err := d.guard.fs.Stat(m.stat.PID)
		if err == nil && s.ID() == m.stat.ID() && !s.Dead() && (s.State == 'T') == (m.stat.State == 'T') {
			same++
		}
	}
	d.check(same == len(b.members) && d.stage.watching(b.id) && b.server.Clients() > 0,
		"B is untouched: %d of %d processes alive with the same number and start time", same, len(b.members))
}

// outcome is what the record of an end says of it as a whole.
func outcome(r history.Record, status int, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case status != 0:
		return fmt.Sprintf("but its exit status was %d", status)
	case !r.Verified:
		return "but that was not verified"
	}
	return "verified by a clean scan after " + term.Duration(time.Duration(r.Took))
}
