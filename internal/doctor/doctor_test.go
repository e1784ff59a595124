package doctor_test

import (
	"strings"
	"testing"
	"time"

	"xexit/internal/doctor"
	"xexit/internal/session"
)

const (
	idA = session.ID("0d75dae3-267e-4772-b1e5-0dbf9c080aa1")
	idB = session.ID("f1af4e39-4e16-4937-8a3c-7b9bc3866201")
)

// healthy is an X session of alice's on this machine, as it should be.
func healthy() doctor.Facts {
	return doctor.Facts{
		User: doctor.User{Name: "alice", UID: 1001, UIDMin: 1000},
		Sessions: []doctor.Session{{
			ID: idA, Display: ":21", Current: true, Registered: true, Phase: session.PhaseWatching,
			Watcher: doctor.Process{PID: 37, Name: "xexit", State: doctor.Running}, Since: 2 * time.Hour,
			Marked: true, Ambient: []string{"XDG_SESSION_ID", "DISPLAY"}, Audit: 5, Scope: "/user.slice/user-1001.slice/session-5.scope", OwnsLogin: true, Leader: true,
			Start: doctor.Startup{Marker: idA, Display: ":21", Snippet: true, InPath: true},
			Sight: doctor.Sight{
				Name: ":21", Link: doctor.LinkUnix, Answer: doctor.Answered, Took: time.Millisecond,
				Server: doctor.Process{PID: 14, Name: "Xorg", State: doctor.Running}, Countable: true,
			},
			Times: doctor.Times{Lost: 15 * time.Second, Heals: 12 * time.Second, Blind: time.Minute, Gone: time.Minute},
		}},
		Login:   doctor.Login{Audit: 5, Scope: "session-5.scope", Logind: true},
		Machine: doctor.Machine{Host: "lab", Kernel: "6.1.0", CgroupV2: true},
		SSH:     doctor.SSH{Installed: true, Interval: 15 * time.Second, Count: 3, From: "/etc/ssh/sshd_config:3"},
		Config:  doctor.Config{Files: []string{"/etc/xexit/xexit.toml"}, Hooks: 3, Syslog: true, File: true},
		Records: doctor.Records{Runtime: "/run/user/1001/xexit", State: "/home/alice/.local/state/xexit/lab.jsonl", Syslog: "/dev/log"},
	}
}

// find returns the finding of that key.
func find(r doctor.Report, key string) (doctor.Finding, bool) {
	for _, s := range r.Sections {
		for _, f := range s.Findings {
			if f.Key == key {
				return f, true
			}
		}
	}
	return doctor.Finding{}, false
}

func TestHealthy(t *testing.T) {
	t.Parallel()
	r := doctor.Examine(healthy())
	if r.Problems != 0 || r.Notes != 0 {
		t.Errorf("%d problems, %d notes: %+v", r.Problems, r.Notes, r)
	}
	lines := 0
	for _, s := range r.Sections {
		lines += 2
		for _, f := range s.Findings {
			lines++
			if f.Level != doctor.Fine || f.Means != "" || f.Do != "" || f.Text == "" {
				t.Errorf("%s: %+v", s.Title, f)
			}
		}
	}
	if lines > 40 {
		t.Errorf("%d lines are more than a screenful", lines)
	}
}

// Each departure from health: what is said of it, what it means, what to do.
func TestFindings(t *testing.T) {
	t.Parallel()
	type change = func(f *doctor.Facts, s *doctor.Session)
	for _, c := range []struct {
		name   string
		change change
		key    string
		level  doctor.Level
		words  string // in the text
		do     string // in what to do; "": nothing is to be done
	}{
		// The session and its watcher.
		{"watched", func(_ *doctor.Facts, _ *doctor.Session) {}, "session.watched", doctor.Fine, "process 37, for 2 h", ""},
		{"watched a moment ago", func(_ *doctor.Facts, s *doctor.Session) { s.Since = 4e6 }, "session.watched", doctor.Fine, "for a moment", ""},
		{"the site's program", func(_ *doctor.Facts, s *doctor.Session) { s.Program = "/opt/kill" }, "session.then", doctor.Fine, "at its end /opt/kill runs", ""},
		{"below xexit", func(_ *doctor.Facts, s *doctor.Session) { s.Subreaper = true }, "session.watched", doctor.Fine, "runs below xexit, process 37", ""},
		{"what follows", func(_ *doctor.Facts, _ *doctor.Session) {}, "session.then", doctor.Fine, "the exit scripts run, and what it leaves is ended", ""},
		{"watcher stopped", func(_ *doctor.Facts, s *doctor.Session) { s.Watcher.State = doctor.Stopped }, "watcher.stopped", doctor.Problem, "process 37, is stopped", "kill -CONT 37"},
		{"watcher dead", func(_ *doctor.Facts, s *doctor.Session) { s.Watcher.State = doctor.Dead }, "watcher.dead", doctor.Problem, "process 37, is gone", "xexit watch"},
		{"subreaper dead", func(_ *doctor.Facts, s *doctor.Session) { s.Watcher.State, s.Subreaper = doctor.Dead, true }, "watcher.dead", doctor.Problem, "is gone", "xexit end --session 0d75dae3"},
		{"ending", func(_ *doctor.Facts, s *doctor.Session) { s.Phase = session.PhaseEnding }, "session.ending", doctor.Note, "under way", ""},
		{"not ended", func(_ *doctor.Facts, s *doctor.Session) { s.Phase, s.Watcher.State = session.PhaseEnding, doctor.Dead }, "session.notended", doctor.Problem, "not carried out", "xexit end --session 0d75dae3"},
		{"a shell without the marker", func(_ *doctor.Facts, s *doctor.Session) { s.Start.Marker = "" }, "shell.unmarked", doctor.Note, "no XEXIT_SESSION", "su, sudo or ssh"},
		{"system user", func(f *doctor.Facts, _ *doctor.Session) { f.User.System = true }, "user.system", doctor.Problem, "uid 1001 is a system user", "xexit session -- CMD"},

		// No session.
		{"no session at all", func(_ *doctor.Facts, s *doctor.Session) { *s = doctor.Session{Current: true} }, "session.none", doctor.Problem, "no DISPLAY", "inside of the session, or start one"},
		{"no session here, another there", func(f *doctor.Facts, s *doctor.Session) {
			*s, f.Others = doctor.Session{Current: true}, []doctor.Known{{ID: idB, Display: ":5"}}
		}, "session.none", doctor.Problem, "no DISPLAY", "--session f1af4e39 on :5"},
		{"root", func(f *doctor.Facts, s *doctor.Session) { *s, f.User.UID = doctor.Session{Current: true}, 0 }, "session.root", doctor.Note, "root's own", "as the session's user"},
		{"no snippet", func(_ *doctor.Facts, s *doctor.Session) { unregister(s); s.Start.Snippet = false }, "startup.missing", doctor.Problem, "90xexit", "make install"},
		{"not in PATH", func(_ *doctor.Facts, s *doctor.Session) { unregister(s); s.Start.InPath = false }, "startup.path", doctor.Problem, "not in PATH", "/usr/bin"},
		{"xinitrc", func(_ *doctor.Facts, s *doctor.Session) { unregister(s) }, "startup.notread", doctor.Problem, "did not read", "exec xexit session -- CMD"},
		{"Wayland, not started", func(_ *doctor.Facts, s *doctor.Session) { unregister(s); s.Start.Wayland = "/run/user/1001/wayland-0" }, "startup.wayland", doctor.Problem, "a Wayland session", "enable --now xexit.service"},
		{"watcher left", func(_ *doctor.Facts, s *doctor.Session) { unregister(s); s.Start.Marker = idA }, "session.unwatched", doctor.Problem, "no watcher", "xexit watch"},
		{"a shell of tmux from an earlier session", func(f *doctor.Facts, s *doctor.Session) {
			unregister(s)
			s.Start.Marker, f.Others = idA, []doctor.Known{{ID: idB, Display: ":21"}}
		}, "session.other", doctor.Problem, ":21 is watched for another session, f1af4e39", "tmux"},

		// The display.
		{"answers", func(_ *doctor.Facts, _ *doctor.Session) {}, "display.answers", doctor.Fine, "in 1.0 ms; the server is Xorg, process 14", ""},
		{"stopped", silent(doctor.Stopped), "display.stopped", doctor.Note, "within 3.0 s: its server, Xorg, process 14, is stopped", "kill -CONT 14"},
		{"frozen", silent(doctor.Frozen), "display.frozen", doctor.Note, "frozen", ""},
		{"grabbed", silent(doctor.Running), "display.busy", doctor.Note, "grabbed", ""},
		{"a silent link", func(_ *doctor.Facts, s *doctor.Session) {
			s.Sight = doctor.Sight{Name: "host:0", Link: doctor.LinkTCP, Answer: doctor.Silent, Took: 3e9}
		}, "display.silent", doctor.Note, "no answer within 3.0 s", "look again"},
		{"full, watched", func(_ *doctor.Facts, s *doctor.Session) { s.Sight.Answer = doctor.Full }, "display.full", doctor.Note, "no room", "maxclients"},
		{"full", func(_ *doctor.Facts, s *doctor.Session) { unregister(s); s.Sight.Answer = doctor.Full }, "display.full", doctor.Problem, "no room", "maxclients"},
		{"refused", func(_ *doctor.Facts, s *doctor.Session) {
			s.Sight.Answer, s.Sight.Why, s.Sight.Remedy = doctor.Refused, "no protocol", "look at XAUTHORITY"
		}, "display.refused", doctor.Problem, "no protocol", "look at XAUTHORITY"},
		{"a cookie on a file server that hangs", func(_ *doctor.Facts, s *doctor.Session) {
			s.Sight.Answer, s.Sight.Why = doctor.NoCookie, "read /net/x"
		}, "display.cookie", doctor.Problem, "does not answer (read /net/x)", "XAUTHORITY"},
		{"nobody", func(_ *doctor.Facts, s *doctor.Session) {
			s.Sight.Answer, s.Sight.Why = doctor.Nobody, "connection refused"
		}, "display.nobody", doctor.Problem, "connection refused", "correct DISPLAY"},
		{"no compositor", func(_ *doctor.Facts, s *doctor.Session) {
			s.Sight.Link, s.Sight.Answer, s.Sight.Why = doctor.LinkWayland, doctor.Nobody, "no such file or directory"
		}, "display.nobody", doctor.Problem, "no such file", "correct WAYLAND_DISPLAY"},
		{"no X-Resource", func(_ *doctor.Facts, s *doctor.Session) { s.Sight.Countable = false }, "display.uncounted", doctor.Note, "X-Resource", "nothing, if"},
		{"LTSP_XEXIT", func(_ *doctor.Facts, s *doctor.Session) { s.Sight.Command = "EXIT" }, "display.command", doctor.Problem, "LTSP_XEXIT=EXIT", "xprop -root -remove LTSP_XEXIT"},

		// What is noticed.
		{"a crash", func(_ *doctor.Facts, _ *doctor.Session) {}, "notice.server", doctor.Fine, "within milliseconds", ""},
		{"a logout, leader known", func(_ *doctor.Facts, _ *doctor.Session) {}, "notice.logout", doctor.Fine, "seconds after its last program", ""},
		{"a logout, leader unknown", func(_ *doctor.Facts, s *doctor.Session) { s.Leader = false }, "notice.logout", doctor.Fine, "a minute after its last program", ""},
		{"a hanging server", func(_ *doctor.Facts, _ *doctor.Session) {}, "notice.hung", doctor.Fine, "no end", ""},
		{"a hanging server, hung-after", func(_ *doctor.Facts, s *doctor.Session) { s.Times.Hung = 90 * time.Second }, "notice.hung", doctor.Fine, "for 90 seconds: taken for gone", ""},
		{"a cable", func(_ *doctor.Facts, s *doctor.Session) { s.Sight.Link = doctor.LinkTCP }, "notice.link", doctor.Fine, "cable is pulled: within 15 seconds", ""},
		{"a cable put back", func(_ *doctor.Facts, s *doctor.Session) { s.Sight.Link = doctor.LinkTCP }, "notice.heals", doctor.Fine, "back within 12 seconds", ""},
		{"over ssh", func(_ *doctor.Facts, s *doctor.Session) { s.Sight.Link = doctor.LinkSSH }, "notice.link", doctor.Fine, "cable is pulled: within 15 seconds", ""},
		{"over ssh, a server that hangs", func(_ *doctor.Facts, s *doctor.Session) { s.Sight.Link = doctor.LinkSSH }, "notice.hung", doctor.Fine, "no end", ""},
		{"behind a relay", func(_ *doctor.Facts, s *doctor.Session) { s.Sight.Link = doctor.LinkRelay }, "notice.blind", doctor.Note, "no answer for a minute: taken for gone", "--blind-after"},
		{"Wayland", wayland, "display.answers", doctor.Fine, "the compositor is weston, process 14", ""},
		{"Wayland, its end", wayland, "notice.server", doctor.Fine, "a logout, or the compositor crashes: within milliseconds", ""},
		{"Wayland, hanging", wayland, "notice.hung", doctor.Fine, "a compositor that hangs or is stopped: no end", ""},
		{"Wayland, stopped", func(f *doctor.Facts, s *doctor.Session) {
			wayland(f, s)
			silent(doctor.Stopped)(f, s)
		}, "display.stopped", doctor.Note, "its compositor, weston, process 14, is stopped", "kill -CONT 14"},
		{"a command", func(_ *doctor.Facts, s *doctor.Session) { s.Subreaper, s.Sight = true, doctor.Sight{} }, "notice.command", doctor.Fine, "at once", ""},

		// Evidence.
		{"descent", func(_ *doctor.Facts, s *doctor.Session) { s.Subreaper = true }, "evidence.descent", doctor.Fine, "stays below xexit", ""},
		{"marker", func(_ *doctor.Facts, _ *doctor.Session) {}, "evidence.marker", doctor.Fine, "besides it XDG_SESSION_ID, DISPLAY", ""},
		{"no marker", func(_ *doctor.Facts, s *doctor.Session) { s.Marked, s.Start.Marker = false, "" }, "evidence.unmarked", doctor.Note, "only XDG_SESSION_ID, DISPLAY", "xexit session"},
		{"owned login", func(_ *doctor.Facts, _ *doctor.Session) {}, "evidence.login", doctor.Fine, "audit session 5 and session-5.scope", ""},
		{"owned by audit id", func(_ *doctor.Facts, s *doctor.Session) { s.Scope = "" }, "evidence.login", doctor.Fine, "audit session 5;", ""},
		{"owned by scope", func(_ *doctor.Facts, s *doctor.Session) { s.Audit = session.NoAudit }, "evidence.login", doctor.Fine, "own: session-5.scope", ""},
		{"no audit id", func(_ *doctor.Facts, s *doctor.Session) { s.Audit, s.OwnsLogin = session.NoAudit, false }, "evidence.noaudit", doctor.Note, "no audit session", "pam_loginuid.so"},
		{"shared login", func(_ *doctor.Facts, s *doctor.Session) { s.OwnsLogin = false }, "evidence.shared", doctor.Note, "audit session 5 does not count", "--owns-login"},
		{"another login's shell", func(f *doctor.Facts, _ *doctor.Session) { f.Login.Audit = 6 }, "shell.elsewhere", doctor.Note, "audit session 6", ""},
		{"a terminal below user@", func(f *doctor.Facts, _ *doctor.Session) { f.Login.UserUnit = "app-term.scope" }, "shell.shared", doctor.Note, "app-term.scope, below user@.service", ""},

		// The machine.
		{"no pidfd", func(f *doctor.Facts, _ *doctor.Session) { f.Machine.PidFD = "ENOSYS" }, "kernel.pidfd", doctor.Problem, "ENOSYS", "5.10"},
		{"hidepid", func(f *doctor.Facts, _ *doctor.Session) { f.Machine.HidePID = "2" }, "proc.hidepid", doctor.Note, "hidepid=2", ""},
		{"logind", func(f *doctor.Facts, _ *doctor.Session) { f.Machine.CgroupV2 = false }, "logind.runs", doctor.Fine, "cgroups v1", ""},
		{"no logind", func(f *doctor.Facts, _ *doctor.Session) { f.Login.Logind = false }, "logind.none", doctor.Note, "does not run", ""},
		{"logind kills", func(f *doctor.Facts, _ *doctor.Session) { f.Login.KillsFrom = "/etc/x" }, "logind.kills", doctor.Note, "/etc/x", ""},
		{"logind kills what is kept", func(f *doctor.Facts, _ *doctor.Session) { f.Login.KillsFrom, f.Config.Keeps = "/etc/x", 1 }, "logind.kills", doctor.Problem, "/etc/x", "KillUserProcesses=no"},
		{"logind.conf unreadable", func(f *doctor.Facts, _ *doctor.Session) { f.Login.KillUnsure = "/etc/y" }, "logind.unsure", doctor.Note, "/etc/y", ""},
		{"linger", func(f *doctor.Facts, _ *doctor.Session) { f.Login.Lingers = true }, "logind.linger", doctor.Note, "linger is on for alice", "disable-linger alice"},
		{"sshd asks", func(_ *doctor.Facts, _ *doctor.Session) {}, "ssh.asks", doctor.Fine, "ends when its link dies while idle, after 45 seconds", ""},
		{"sshd asks, a Match block", func(f *doctor.Facts, _ *doctor.Session) { f.SSH.Match = true }, "ssh.match", doctor.Note, "45 seconds", ""},
		{"sshd does not ask", func(f *doctor.Facts, _ *doctor.Session) { f.SSH.Interval = 0 }, "ssh.idle", doctor.Note, "ClientAliveInterval is 0", "ClientAliveInterval 15"},
		{"sshd asks and counts nothing", func(f *doctor.Facts, _ *doctor.Session) { f.SSH.Count = 0 }, "ssh.idle", doctor.Note, "stays", "ClientAliveInterval 15"},
		{"this is an ssh login", func(f *doctor.Facts, s *doctor.Session) {
			f.SSH.Interval, f.SSH.Session, s.Sight = 0, true, doctor.Sight{}
		}, "ssh.idle", doctor.Note, "this ssh login stays", "ClientAliveInterval 15"},
		{"this is an ssh login, with a display", func(f *doctor.Facts, _ *doctor.Session) { f.SSH.Interval, f.SSH.Session = 0, true }, "ssh.idle", doctor.Note, "an ssh login without a display stays", "ClientAliveInterval 15"},
		{"sshd unsure", func(f *doctor.Facts, _ *doctor.Session) { f.SSH.Unsure = "/etc/z: permission denied" }, "ssh.unsure", doctor.Note, "/etc/z", "sshd -T"},

		// Configuration and records.
		{"configuration", func(_ *doctor.Facts, _ *doctor.Session) {}, "config.fine", doctor.Fine, "/etc/xexit/xexit.toml; no keep rules, 3 exit scripts", ""},
		{"two files", func(f *doctor.Facts, _ *doctor.Session) { f.Config.Files = []string{"/a", "/b"}; f.Config.Keeps = 1 }, "config.fine", doctor.Fine, "/a and 1 more; 1 keep rule", ""},
		{"no file", func(f *doctor.Facts, _ *doctor.Session) { f.Config.Files = nil }, "config.fine", doctor.Fine, "the defaults hold", ""},
		{"bad configuration", func(f *doctor.Facts, _ *doctor.Session) { f.Config.Problems = []string{"x.toml:1: grase"} }, "config.problem", doctor.Problem, "x.toml:1", "xexit check"},
		{"odd configuration", func(f *doctor.Facts, _ *doctor.Session) { f.Config.Warnings = 2 }, "config.warning", doctor.Note, "xexit.toml", "xexit check"},
		{"bad runtime directory", func(f *doctor.Facts, _ *doctor.Session) {
			f.Records.RuntimeBad = "/run/x is open to others (chmod 700)"
		}, "runtime.bad", doctor.Problem, "chmod 700", ""},
		{"no runtime directory", func(f *doctor.Facts, _ *doctor.Session) { f.Records.Fallback = true }, "runtime.tmp", doctor.Note, "XDG_RUNTIME_DIR", "pam_systemd"},
		{"history not writable", func(f *doctor.Facts, _ *doctor.Session) { f.Records.StateBad = "read-only" }, "history.bad", doctor.Problem, "read-only", "writable"},
		{"no home", func(f *doctor.Facts, _ *doctor.Session) { f.Records.State = "" }, "history.nowhere", doctor.Problem, "HOME", "HOME"},
		{"history off", func(f *doctor.Facts, _ *doctor.Session) { f.Config.File, f.Records.StateBad = false, "x" }, "history.off", doctor.Fine, "no history", ""},
		{"no syslog", func(f *doctor.Facts, _ *doctor.Session) { f.Records.SyslogBad = "no such file" }, "syslog.bad", doctor.Note, "/dev/log: no such file", "rsyslog"},
		{"syslog off", func(f *doctor.Facts, _ *doctor.Session) { f.Config.Syslog, f.Records.SyslogBad = false, "x" }, "syslog.off", doctor.Fine, "no system log", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := healthy()
			c.change(&f, &f.Sessions[0])
			r := doctor.Examine(f)
			got, ok := find(r, c.key)
			if !ok || got.Level != c.level || !strings.Contains(got.Text, c.words) {
				t.Fatalf("%s: %+v (%v), want %s with %q, in %+v", c.key, got, ok, c.level, c.words, r)
			}
			if !strings.Contains(got.Do, c.do) || (got.Do == "") != (c.do == "") {
				t.Errorf("do: %q, want %q", got.Do, c.do)
			}
			if got.Level == doctor.Problem && got.Means == "" && got.Do == "" && c.key != "runtime.bad" {
				t.Errorf("a problem without a meaning and without a remedy: %+v", got)
			}
			if (r.Problems > 0) != (c.level == doctor.Problem) {
				t.Errorf("%d problems: %+v", r.Problems, r)
			}
		})
	}
}

// wayland makes it a Wayland session; its compositor tells nobody's presence.
func wayland(_ *doctor.Facts, s *doctor.Session) {
	s.Display = "/run/user/1001/wayland-0"
	s.Sight.Name, s.Sight.Link, s.Sight.Countable, s.Sight.Server.Name = s.Display, doctor.LinkWayland, false, "weston"
}

// A compositor need not tell who is connected: its end is the logout.
func TestWaylandIsFine(t *testing.T) {
	t.Parallel()
	f := healthy()
	wayland(&f, &f.Sessions[0])
	if r := doctor.Examine(f); r.Problems != 0 || r.Notes != 0 {
		t.Errorf("%+v", r)
	}
}

// Behind a relay a server that hangs cannot be told from one that is gone.
func TestRelayPromisesNothingOfHanging(t *testing.T) {
	t.Parallel()
	f := healthy()
	f.Sessions[0].Sight.Link = doctor.LinkRelay
	if got, ok := find(doctor.Examine(f), "notice.hung"); ok {
		t.Errorf("%+v", got)
	}
}

// unregister makes it a shell of which xexit knows nothing.
func unregister(s *doctor.Session) {
	*s = doctor.Session{Current: true, Display: s.Display, Start: s.Start, Sight: s.Sight, Audit: session.NoAudit}
	s.Start.Marker = ""
}

func silent(state doctor.State) func(*doctor.Facts, *doctor.Session) {
	return func(_ *doctor.Facts, s *doctor.Session) {
		s.Sight.Answer, s.Sight.Took, s.Sight.Server.State = doctor.Silent, 3*time.Second, state
	}
}

// What nobody watches is not said to be noticed.
func TestNothingIsPromised(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*doctor.Session){
		"unregistered": unregister,
		"dead":         func(s *doctor.Session) { s.Watcher.State = doctor.Dead },
		"ending":       func(s *doctor.Session) { s.Phase = session.PhaseEnding },
	} {
		f := healthy()
		change(&f.Sessions[0])
		for _, key := range []string{"notice.server", "notice.logout", "notice.hung", "session.watched"} {
			if got, ok := find(doctor.Examine(f), key); ok {
				t.Errorf("%s: %+v", name, got)
			}
		}
	}
}

func TestManyProblemsAreCut(t *testing.T) {
	t.Parallel()
	f := healthy()
	f.Config.Problems = []string{"one", "two", "three", "four", "five"}
	r := doctor.Examine(f)
	if r.Problems != 3 {
		t.Errorf("%d problems", r.Problems)
	}
	last := r.Sections[len(r.Sections)-2].Findings
	if got := last[len(last)-1]; !strings.Contains(got.Text, "three (and 2 more)") || got.Do != "xexit check" {
		t.Errorf("%+v", got)
	}
}

func TestSeveralSessions(t *testing.T) {
	t.Parallel()
	f := healthy()
	second := f.Sessions[0]
	second.ID, second.Display, second.Current = idB, ":22", false
	f.Sessions = append(f.Sessions, second)
	counts := map[session.ID]int{}
	for _, s := range doctor.Examine(f).Sections {
		counts[s.Session]++
	}
	if counts[idA] != 4 || counts[idB] != 4 || counts[""] != 3 {
		t.Errorf("sections by session: %v", counts)
	}
}
