package doctor

import (
	"fmt"
	"time"

	"xexit/internal/term"
)

func (s Sight) title() string {
	title := "Display " + s.Name
	switch s.Link {
	case LinkUnix:
		title += ", on this machine"
	case LinkWayland:
		title += ", a Wayland compositor"
	case LinkTCP:
		title += ", over the network"
	case LinkSSH, LinkRelay:
		title += ", forwarded by sshd"
	}
	return title
}

// server is what serves the display.
func (s Sight) server() string {
	if s.Link == LinkWayland {
		return "compositor"
	}
	return "server"
}

// findings judge one look. watched: a watcher has a connection already.
func (s Sight) findings(watched bool) []Finding {
	var list []Finding
	switch s.Answer {
	case Answered:
		text := "answers in " + term.Duration(s.Took)
		if s.Server.PID != 0 {
			text += "; the " + s.server() + " is " + s.Server.words()
		}
		list = append(list, fine("display.answers", text))
		list = append(list, s.opened()...)
	case Silent:
		list = append(list, s.silent())
	case NoCookie:
		list = append(list, problem("display.cookie", "was not asked: the file with its cookie does not answer ("+s.Why+")",
			"a watcher that starts from here cannot connect either", "look whether the file system of XAUTHORITY, or else of the home, hangs"))
	case Full:
		f := problem("display.full", "the server has no room for another client",
			"a watcher that starts now keeps trying for a minute", "close programs, or give the server more (Xserver(1), -maxclients)")
		if watched {
			f.Level, f.Means = Note, "the watcher is connected; a broken connection could not be replaced"
		}
		list = append(list, f)
	case Refused:
		list = append(list, problem("display.refused", "refuses this shell: "+s.Why, "a watcher that starts from here would be refused too", s.Remedy))
	case Nobody:
		variable := "DISPLAY"
		if s.Link == LinkWayland {
			variable = "WAYLAND_DISPLAY"
		}
		list = append(list, problem("display.nobody", "does not answer: "+s.Why, "there is no display of that name now",
			"correct "+variable+"; a shell of tmux or screen may have outlived its session"))
	}
	return list
}

func (p Process) words() string {
	if p.Name == "" {
		return fmt.Sprintf("process %d", p.PID)
	}
	return fmt.Sprintf("%s, process %d", p.Name, p.PID)
}

// opened is what an open connection shows.
func (s Sight) opened() []Finding {
	var list []Finding
	if !s.Countable && s.Link != LinkWayland {
		list = append(list, note("display.uncounted", "does not tell who is connected: no X-Resource 1.2 (an untrusted cookie, or an old server)",
			"a logout that leaves the server running is not noticed; the server's end is", "nothing, if its sessions end with the server; else a trusted cookie (xauth(1))"))
	}
	if s.Command == "DIE" || s.Command == "EXIT" {
		list = append(list, problem("display.command", "LTSP_XEXIT="+s.Command+" is on its root window",
			"a watcher that starts here obeys it at once", "xprop -root -remove LTSP_XEXIT"))
	}
	return list
}

// silent: it is there and does not answer.
func (s Sight) silent() Finding {
	const meaning = "a server that does not answer is no end: its session lives"
	tried := "no answer within " + term.Duration(s.Took)
	switch {
	case s.Server.State == Stopped:
		return note("display.stopped", fmt.Sprintf("%s: its %s, %s, is stopped", tried, s.server(), s.Server.words()), meaning,
			fmt.Sprintf("kill -CONT %d", s.Server.PID))
	case s.Server.State == Frozen:
		return note("display.frozen", fmt.Sprintf("%s: its %s, %s, is frozen, or waits for a disk or a driver", tried, s.server(), s.Server.words()), meaning, "")
	case s.Server.PID != 0:
		return note("display.busy", fmt.Sprintf("%s: its %s, %s, is busy, or a program has grabbed it", tried, s.server(), s.Server.words()), meaning, "")
	}
	return note("display.silent", tried+": the server is stopped, grabbed or busy, or the link to it is dead", "", "look again in a while; a dead link is noticed by the watcher")
}

// noticed says what the session's watcher would notice, and how fast.
func (s Session) noticed() []Finding {
	var list []Finding
	if s.Subreaper {
		list = append(list, fine("notice.command", "its command ends: at once"))
	}
	if s.Sight.Name == "" {
		return list
	}
	ends, hangs := "the X server ends, crashes or is reset", "a server that hangs, is stopped or is grabbed"
	if s.Sight.Link == LinkWayland {
		ends, hangs = "a logout, or the compositor crashes", "a compositor that hangs or is stopped"
	}
	list = append(list, fine("notice.server", ends+": within milliseconds"))
	if f, known := s.logout(); known {
		list = append(list, f)
	}
	switch t := s.Times; s.Sight.Link {
	case LinkTCP, LinkSSH:
		list = append(list,
			fine("notice.link", fmt.Sprintf("the terminal is switched off or its cable is pulled: within %s", span(t.Lost))),
			fine("notice.heals", fmt.Sprintf("a cable that is back within %s: the session lives", span(t.Heals))))
	case LinkRelay:
		return append(list, note("notice.blind", fmt.Sprintf("no answer for %s: taken for gone, be it a pulled cable or a server that hangs", span(t.Blind)),
			"the ssh connection that carries it cannot be watched: "+s.Sight.NoCarrier,
			"start xexit where ssh has set SSH_CONNECTION (su and an older tmux have not); --blind-after sets the time"))
	}
	if s.Times.Hung > 0 {
		return append(list, fine("notice.hung", fmt.Sprintf("a server that does not answer for %s: taken for gone (--hung-after)", span(s.Times.Hung))))
	}
	return append(list, fine("notice.hung", hangs+": no end, the session lives"))
}

// logout is one that leaves the server running, as display managers' do.
func (s Session) logout() (f Finding, known bool) {
	switch {
	case s.Subreaper || s.Sight.Answer != Answered || !s.Sight.Countable:
		return f, false // its command's exit says it; or it is not known; or the display's section says that it is not seen
	case s.Leader:
		return fine("notice.logout", "a logout that leaves the server running: seconds after its last program"), true
	}
	return fine("notice.logout", fmt.Sprintf("a logout that leaves the server running: %s after its last program", span(s.Times.Gone))), true
}

// span writes a time as people say it.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return term.Duration(d)
	case d == time.Second:
		return "1 second"
	case d < 2*time.Minute && d != time.Minute:
		return fmt.Sprintf("%d seconds", (d+time.Second-1)/time.Second)
	case d == time.Minute:
		return "a minute"
	}
	return term.Duration(d)
}

// findings say what becomes of a login whose link dies while nothing is sent.
// watched: this login has a display that xexit watches, and with it its link.
func (s SSH) findings(watched bool) []Finding {
	who := "an ssh login without a display"
	if s.Session && !watched {
		who = "this ssh login"
	}
	const when = " when its link dies while idle"
	const do = "ClientAliveInterval 15 in /etc/ssh/sshd_config.d/*.conf: such a login ends after 45 s"
	switch {
	case !s.Installed:
		return nil
	case s.Unsure != "":
		return []Finding{note("ssh.unsure", "whether "+who+" ends"+when+" cannot be known: "+s.Unsure,
			"without ClientAliveInterval sshd does not notice", "as root: sshd -T | grep -i clientalive")}
	case s.Interval == 0 || s.Count == 0:
		from := "the default"
		if s.From != "" {
			from = "says " + s.From
		}
		return []Finding{note("ssh.idle", who+" stays"+when+": ClientAliveInterval is 0, "+from,
			"sshd does not ask whether the other end lives, and without a display nobody else does", do)}
	}
	text := fmt.Sprintf("%s ends%s, after %s: ClientAliveInterval, says %s", who, when, span(s.Interval*time.Duration(s.Count)), s.From)
	if s.Match {
		return []Finding{note("ssh.match", text, "a Match block says something else for some logins", "")}
	}
	return []Finding{fine("ssh.asks", text)}
}
