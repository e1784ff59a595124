package member

import "xexit/internal/session"

// Without systemd a service that somebody restarts (sudo service cron restart)
// is started from his login. It stays in that login's control group, keeps its
// audit id, is root's or a service user's, and has lost parent and terminal: so
// does anything that sudo(8) has left behind. What tells a service is that the
// system has it on file: a pid file, where only root and service users can
// write. Its descendants are services as well, and what of root's started it
// and went into the background with it (a supervisor).

// ServicesExemption is the name that xexit.toml(5) has for it.
const ServicesExemption = "services"

// Service is what the system has on file of a process.
type Service struct {
	File    string // that names it; "": none does
	Unknown bool   // it could not be read
}

// readService looks a process up among the services.
func (f *Finder) readService(r *record) {
	r.Service = Service{}
	if f.t.Services == nil || r.Dead {
		return
	}
	if !f.listedServices {
		f.services, f.servicesErr = f.t.Services()
		f.listedServices = true
	}
	r.Service = Service{File: f.services[r.ID.PID], Unknown: f.servicesErr != nil}
	if r.Service.Unknown {
		f.now.Unknown++
	}
}

// markServing marks what is above service i in a tree of its own: other users'
// processes in the login's control group, up to one whose parent is not in there.
// Below a process of the login's user, or its leader, it is no such tree.
func (c *classifier) markServing(i int) {
	if c.s.Processes[i].Service.File == "" {
		return
	}
	top := i
	for range maxDepth {
		parent := int(c.parent[top])
		if parent < 0 || !Within(c.s.Processes[parent].Cgroup, c.t.Entry.Scope) {
			break
		}
		q := c.s.Processes[parent]
		if q.ID == c.t.Entry.Leader || !q.UIDKnown || c.t.Bound.hasUID(q.UID) {
			return
		}
		top = parent
	}
	for n := i; n != top; {
		n = int(c.parent[n])
		c.serves[n] = true
	}
}

// hasUnknownService: it may be one.
func hasUnknownService(c *classifier, i int) (why, bool) {
	return why{rule: whyUnknownService}, c.s.Processes[i].Service.Unknown
}

// isOtherUserIfSpared is isOtherUser where the configuration spares what runs as
// another user.
func isOtherUserIfSpared(c *classifier, i int) (why, bool) {
	if c.t.OtherUsers {
		return why{}, false
	}
	return isOtherUser(c, i)
}

// isOfDaemonOutside: outside of the login's control group, below a process of
// root's that is not of the login: a cron(8) that somebody restarted from there
// hands his audit id on to all jobs, where PAM gives them none of their own.
func isOfDaemonOutside(c *classifier, i int) (why, bool) {
	if Within(c.s.Processes[i].Cgroup, c.t.Entry.Scope) || c.parent[i] < 0 {
		return why{}, false
	}
	for n := 0; i >= 0 && n < maxDepth; n++ {
		p := c.s.Processes[i]
		if p.ID.PID == 1 || p.ID == c.t.Entry.Leader {
			return why{}, false
		}
		if p.UIDKnown && p.UID == 0 && !c.rulings[i].belongs() {
			return why{rule: whyOtherDaemon, number: p.ID.PID}, true
		}
		i = int(c.parent[i])
	}
	return why{}, false
}

// hookedVetoes is loginVetoes for a login of the PAM hook's.
func hookedVetoes() []veto {
	list := loginVetoes()
	for k := range list {
		if list[k].name == "exempt" {
			return append(list[:k+1:k+1], append([]veto{
				{name: "unknown service", strikes: all, undecided: true, says: hasUnknownService},
				{name: "another user's", strikes: all, undecided: true, says: isOtherUserIfSpared},
				{name: "another login's", strikes: all, undecided: true, says: hasOtherLoginsAudit},
				{name: "other daemon", strikes: session.ByAudit, undecided: true, says: isOfDaemonOutside},
			}, list[k+1:]...)...)
		}
	}
	return list
}
