package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// DaemonState is what became of asking the daemon.
type DaemonState string

// The states.
const (
	DaemonNotAsked DaemonState = ""
	DaemonAbsent   DaemonState = "absent"  // it was never started here, since the boot
	DaemonStopped  DaemonState = "stopped" // its socket is there, and nobody listens
	DaemonSilent   DaemonState = "silent"  // it does not answer as it should: Why
	DaemonBusy     DaemonState = "busy"    // others ask it too much: Why
	DaemonAnswers  DaemonState = "answers"
)

// Daemon is what the daemon of system mode says of itself.
type Daemon struct {
	State     DaemonState
	Why       string
	Socket    string
	Version   string
	Runs      time.Duration // since when; 0: not known
	Types     []string      // of logins that it takes on
	AuditOnly bool
	Sources   []Part // who tells of logins
	Worker    Part   // of the displays; no name: there is none
	Conflicts []Finding
	Rejected  []string // what is wrong with the configuration that it did not take
	Counters  map[string]int64
	Logins    []DaemonLogin // of who asks; none for root
}

// DaemonLogin is a login as the daemon knows it.
type DaemonLogin struct {
	Scope string // its unit, or the last part of its control group's path
	Ends  bool   // what it leaves behind is ended
	Text  string // in words
}

// ends reports whether the daemon ends the login with this scope.
func (d Daemon) ends(scope string) bool {
	return scope != "" && slices.ContainsFunc(d.Logins, func(l DaemonLogin) bool { return l.Ends && l.Scope == scope })
}

// Part is one part of the daemon.
type Part struct {
	Name  string
	Alive bool
	Text  string
}

// daemon judges system mode. Elsewhere is what other sections have said.
func (d Daemon) findings(elsewhere []Finding) []Finding {
	const restart = "systemctl status xexit says why; then: systemctl restart xexit"
	switch d.State {
	case DaemonNotAsked:
		return nil
	case DaemonAbsent:
		return append([]Finding{fine("daemon.none", "no daemon runs on this machine: a session is ended if it is watched, or started below xexit")}, d.conflicting(elsewhere)...)
	case DaemonStopped:
		stopped := problem("daemon.stopped", "the daemon has ended: nobody listens at "+d.Socket, "no login is ended until it runs again", restart)
		return append([]Finding{stopped}, d.conflicting(elsewhere)...)
	case DaemonBusy:
		return []Finding{note("daemon.busy", "the daemon runs and would not say more: "+d.Why, "", "ask again later; who asks it so much is in the system's log")}
	case DaemonSilent:
		return []Finding{problem("daemon.silent", "the daemon does not answer: "+d.Why, "whether logins are ended is not known", restart)}
	}
	list := d.works()
	for _, p := range d.Rejected {
		list = append(list, problem("daemon.config", p, "the daemon goes on with the configuration that it had", "xexit check; then: systemctl reload xexit"))
	}
	list = append(list, d.conflicting(elsewhere)...)
	for _, l := range d.Logins {
		list = append(list, fine("daemon.login", l.Text))
	}
	return append(list, d.counted()...)
}

// conflicting is what is in the way, but for what is said elsewhere.
func (d Daemon) conflicting(elsewhere []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(d.Conflicts), func(c Finding) bool {
		return slices.ContainsFunc(elsewhere, func(f Finding) bool { return f.Key == c.Key })
	})
}

func (d Daemon) works() []Finding {
	runs := "the daemon runs"
	if d.Runs > 0 {
		runs += ", for " + age(d.Runs) + " by now"
	}
	list := []Finding{fine("daemon.runs", runs+", and takes on logins of the types "+strings.Join(d.Types, ", "))}
	if len(d.Types) == 0 {
		list[0] = note("daemon.notypes", runs+", and takes on no logins: [daemon] types is empty", "no login is ended", "types = [\"x11\", \"wayland\"] in xexit.toml")
	}
	if d.AuditOnly {
		list = append(list, note("daemon.audit", "audit-only: what logins leave behind is written down, and nobody is ended",
			"xexit log shows what would have been", "audit-only = false in xexit.toml, when that looks right"))
	}
	for _, s := range d.Sources {
		if s.Alive {
			list = append(list, fine("daemon.source", "logins are told by "+s.described()))
		} else {
			list = append(list, problem("daemon.source", "nothing is heard from "+s.described(), "logins are not noticed, or late", ""))
		}
	}
	switch {
	case d.Worker.Name == "":
	case d.Worker.Alive:
		list = append(list, fine("daemon.worker", "displays are watched by "+d.Worker.described()))
	default:
		list = append(list, problem("daemon.worker", d.Worker.described()+" does not run",
			"a login whose display is lost is ended when it is logged out, and not before", "systemctl status xexit-display"))
	}
	return list
}

func (p Part) described() string {
	if p.Text == "" {
		return p.Name
	}
	return p.Name + " (" + p.Text + ")"
}

func (d Daemon) counted() []Finding {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(d.Counters)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, d.Counters[name]))
	}
	if parts == nil {
		return nil
	}
	return []Finding{fine("daemon.counters", "since its start: "+strings.Join(parts, ", "))}
}
