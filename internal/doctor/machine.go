package doctor

import (
	"fmt"
	"slices"
)

// machine is what does not depend on the session.
func (f Facts) machine() []Finding {
	m, l := f.Machine, f.Login
	list := []Finding{fine("kernel.pidfd", "Linux "+m.Kernel+": a signal cannot hit the wrong process")}
	if m.PidFD != "" {
		list[0] = problem("kernel.pidfd", "Linux "+m.Kernel+" gives no references to processes: "+m.PidFD,
			"nothing can be ended safely", "Linux 5.10 or newer; in a container, allow pidfd_open")
	}
	if m.HidePID != "" {
		list = append(list, note("proc.hidepid", "/proc hides what others run (hidepid="+m.HidePID+")",
			"of an X server that another user runs it cannot be seen whether it is stopped; what lets nobody look at it (ssh-agent) is ended below `xexit session`, and elsewhere named and left alone", ""))
	}
	list = append(list, f.logind()...)
	if l.Lingers {
		list = append(list, note("logind.linger", "linger is on for "+f.User.Name,
			"the user's services run on after the last logout, and are never ended by xexit", "if that is not wanted: loginctl disable-linger "+f.User.Name))
	}
	watched := slices.ContainsFunc(f.Sessions, func(s Session) bool { return s.Current && s.watching() && s.Sight.Name != "" })
	return append(list, f.SSH.findings(watched)...)
}

func (f Facts) logind() []Finding {
	l := f.Login
	switch {
	case !l.Logind:
		return []Finding{note("logind.none", "systemd-logind does not run here, or knows no login of "+f.User.Name,
			"no scope tells the processes of a login; descent, audit session and environment do", "")}
	case l.KillsFrom != "" && f.Config.Keeps > 0:
		return []Finding{problem("logind.kills", "logind ends what a login leaves (KillUserProcesses=yes, "+l.KillsFrom+")",
			"it takes what the keep rules in xexit.toml let live", "KillUserProcesses=no in /etc/systemd/logind.conf, and xexit ends the rest")}
	case l.KillsFrom != "":
		return []Finding{note("logind.kills", "logind itself ends what a login leaves (KillUserProcesses=yes, "+l.KillsFrom+")",
			"tmux and screen too; a crashed display below a living login it does not see, xexit does", "")}
	case l.KillUnsure != "":
		return []Finding{note("logind.unsure", "whether logind ends what a login leaves cannot be known: "+l.KillUnsure+" cannot be read", "", "")}
	}
	in := "cgroups v1"
	if f.Machine.CgroupV2 {
		in = "cgroups v2"
	}
	return []Finding{fine("logind.runs", fmt.Sprintf("logind, %s; what a login leaves is left to xexit (KillUserProcesses=no)", in))}
}

func (c Config) findings() []Finding {
	var list []Finding
	for i, p := range c.Problems {
		if i == maxShown {
			list[i-1].Text += fmt.Sprintf(" (and %d more)", len(c.Problems)-maxShown)
			break
		}
		list = append(list, problem("config.problem", p, "", ""))
	}
	if n := len(list); n > 0 {
		list[n-1].Means = "until it is mended nobody is ended, or what it is about is not done"
		list[n-1].Do = "xexit check"
		return list
	}
	text := "no configuration file: the defaults hold"
	if n := len(c.Files); n == 1 {
		text = c.Files[0]
	} else if n > 1 {
		text = fmt.Sprintf("%s and %d more", c.Files[0], n-1)
	}
	text += "; " + count(c.Keeps, "keep rule") + ", " + count(c.Hooks, "exit script")
	if c.Warnings > 0 {
		return []Finding{note("config.warning", text, "there is something odd about them: "+count(c.Warnings, "warning"), "xexit check")}
	}
	return []Finding{fine("config.fine", text)}
}

const maxShown = 3

func count(n int, what string) string {
	switch n {
	case 0:
		return "no " + what + "s"
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (r Records) findings(wanted Config) []Finding {
	var list []Finding
	switch {
	case r.RuntimeBad != "":
		list = append(list, problem("runtime.bad", r.RuntimeBad, "no session can be registered, and so none told from another", ""))
	case r.Fallback:
		list = append(list, note("runtime.tmp", "live sessions are kept in "+r.Runtime+": there is no XDG_RUNTIME_DIR", "a cleaner of /tmp must leave it alone",
			"pam_systemd, or another PAM module, makes /run/user/UID"))
	}
	switch {
	case !wanted.File:
		list = append(list, fine("history.off", "no history is kept: the configuration says so"))
	case r.State == "":
		list = append(list, problem("history.nowhere", "no history: neither HOME nor XDG_STATE_HOME is set", "what was ended and why is in the system's log alone", "set HOME"))
	case r.StateBad != "":
		list = append(list, problem("history.bad", "the history "+r.State+" cannot be written: "+r.StateBad,
			"an end happens all the same; its record stays in "+r.Runtime+" until a reboot", "make the directory writable, or free some space"))
	default:
		list = append(list, fine("history.written", "history: "+r.State))
	}
	switch {
	case !wanted.Syslog:
		list = append(list, fine("syslog.off", "no system log: the configuration says so"))
	case r.SyslogBad != "":
		list = append(list, note("syslog.bad", "nobody listens at "+r.Syslog+": "+r.SyslogBad, "what a watcher has to say is lost; ends are in the history",
			"run systemd-journald, rsyslog or another syslog daemon"))
	default:
		list = append(list, fine("syslog.heard", "system log: "+r.Syslog))
	}
	return list
}
