package doctor_test

import (
	"strings"
	"testing"
	"time"

	"xexit/internal/doctor"
)

// working is a daemon as it should be, that has alice's login.
func working() doctor.Daemon {
	return doctor.Daemon{
		State: doctor.DaemonAnswers, Socket: "/run/xexit/control", Runs: 3 * time.Hour, Types: []string{"x11", "ssh"},
		Sources: []doctor.Part{{Name: "logind", Alive: true}}, Worker: doctor.Part{Name: "the display worker", Alive: true},
		Logins: []doctor.DaemonLogin{{Scope: "session-5.scope", Ends: true, Text: "login 5 of alice"}},
	}
}

func TestDaemonHealthy(t *testing.T) {
	t.Parallel()
	f := healthy()
	f.Daemon = working()
	if r := doctor.Examine(f); r.Problems != 0 || r.Notes != 0 {
		t.Errorf("%+v", r)
	}
}

func TestDaemonFindings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(d *doctor.Daemon)
		key    string
		level  doctor.Level
		words  string
		do     string
	}{
		{"runs", func(*doctor.Daemon) {}, "daemon.runs", doctor.Fine, "for 3 h by now, and takes on logins of the types x11, ssh", ""},
		{"login", func(*doctor.Daemon) {}, "daemon.login", doctor.Fine, "login 5 of alice", ""},
		{"source", func(*doctor.Daemon) {}, "daemon.source", doctor.Fine, "told by logind", ""},
		{"worker", func(*doctor.Daemon) {}, "daemon.worker", doctor.Fine, "watched by the display worker", ""},
		{"none", func(d *doctor.Daemon) { d.State = doctor.DaemonAbsent }, "daemon.none", doctor.Fine, "no daemon", ""},
		{"ended", func(d *doctor.Daemon) { d.State = doctor.DaemonStopped }, "daemon.stopped", doctor.Problem, "/run/xexit/control", "restart xexit"},
		{"hangs", func(d *doctor.Daemon) { d.State, d.Why = doctor.DaemonSilent, "no answer" }, "daemon.silent", doctor.Problem, "no answer", "restart xexit"},
		{"busy", func(d *doctor.Daemon) { d.State, d.Why = doctor.DaemonBusy, "full" }, "daemon.busy", doctor.Note, "full", "later"},
		{"no types", func(d *doctor.Daemon) { d.Types = nil }, "daemon.notypes", doctor.Note, "no logins", "types ="},
		{"audit", func(d *doctor.Daemon) { d.AuditOnly = true }, "daemon.audit", doctor.Note, "nobody is ended", "audit-only = false"},
		{"deaf", func(d *doctor.Daemon) { d.Sources[0] = doctor.Part{Name: "logind", Text: "the bus is gone"} }, "daemon.source", doctor.Problem, "logind (the bus is gone)", ""},
		{"blind", func(d *doctor.Daemon) { d.Worker.Alive = false }, "daemon.worker", doctor.Problem, "does not run", "xexit-display"},
		{"rejected", func(d *doctor.Daemon) { d.Rejected = []string{"x.toml:3: grase"} }, "daemon.config", doctor.Problem, "x.toml:3", "xexit check"},
		{"conflict", func(d *doctor.Daemon) {
			d.Conflicts = []doctor.Finding{{Key: "pam.loginuid", Level: doctor.Note, Text: "no id", Do: "pam"}}
		}, "pam.loginuid", doctor.Note, "no id", "pam"},
		{"counters", func(d *doctor.Daemon) { d.Counters = map[string]int64{"ended": 2, "alive": 1} }, "daemon.counters", doctor.Fine, "alive 1, ended 2", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			facts := healthy()
			facts.Daemon = working()
			c.change(&facts.Daemon)
			got, ok := find(doctor.Examine(facts), c.key)
			if !ok || got.Level != c.level || !strings.Contains(got.Text, c.words) || !strings.Contains(got.Do, c.do) || (got.Do == "") != (c.do == "") {
				t.Errorf("%s: %+v; want %s, %q, to do %q", c.key, got, c.level, c.words, c.do)
			}
		})
	}
}

// TestDaemonEndsTheLogin: a shell without a session is in good hands where the
// daemon ends its login, and in this login only.
func TestDaemonEndsTheLogin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		scope string
		ends  bool
		key   string
	}{{"session-5.scope", true, "session.login"}, {"session-5.scope", false, "session.none"}, {"session-6.scope", true, "session.none"}, {"", true, "session.none"}} {
		facts := healthy()
		facts.Sessions = []doctor.Session{{Current: true}}
		facts.Daemon = working()
		facts.Login.Scope, facts.Daemon.Logins[0].Ends = c.scope, c.ends
		if _, ok := find(doctor.Examine(facts), c.key); !ok {
			t.Errorf("%+v: no %s", c, c.key)
		}
	}
}

// TestSaidOnce: what the machine's own section says already is not said again.
func TestSaidOnce(t *testing.T) {
	t.Parallel()
	facts := healthy()
	facts.Login.KillsFrom = "/etc/systemd/logind.conf"
	facts.Daemon = working()
	facts.Daemon.Conflicts = []doctor.Finding{{Key: "logind.kills", Level: doctor.Note, Text: "logind kills"}}
	if r := doctor.Examine(facts); r.Notes != 1 {
		t.Errorf("%d notes, want one: %+v", r.Notes, r)
	}
}
