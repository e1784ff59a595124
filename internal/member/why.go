package member

import (
	"fmt"
	"strconv"

	"xexit/internal/session"
)

// ruling is what was decided of one process. It is comparable and holds no
// text of its own making, so that an unchanged one costs nothing.
type ruling struct {
	evidence  session.Evidence // what stands; 0: not of this session
	outside   bool             // of this session, but not to be ended
	exempt    bool             // of this session, and to outlive it
	undecided bool
	why       why
}

// belongs reports whether the process is the session's by evidence, be it
// within the bound or not.
func (r *ruling) belongs() bool { return r.evidence != 0 && !r.exempt }

// member reports whether it may be ended.
func (r *ruling) member() bool { return r.belongs() && !r.outside }

// why is a rule and what it was applied to.
type why struct {
	rule   rule
	text   string
	number int
}

type rule uint8

const (
	whyNone rule = iota

	// It belongs.
	whyBelowSubreaper
	whyChild
	whyScope
	whyAudit
	whyMarker
	whyAmbient
	whySole

	// It does not, or may not.
	whyDenied
	whyDeniedHidden
	whyOutside
	whyNotBelow
	whySelf
	whyOtherXexit
	whyKernel
	whyOtherMarker
	whyOtherBelow
	whyOtherAudit
	whyOtherScope
	whyManager
	whySystem
	whyForeignScope
	whyForeignAudit
	whyWorker
	whyLeader
	whyOutOfLogin
	whyFounder
	whyBefore
	whyAfter
	whyContradiction
	whyShared
	whyElsewhere
	whyLingering
	whyOtherDaemon
	whyExempt
	whyExemptChild
	whyService

	// Nothing is known.
	whyHidden
	whySameLogin
	whyStray
	whyUnreadable
	whyUnknown
	whyNothing
	whyOtherValue
	whyUnknownImage
	whyUnknownService
)

// String is the rule in words, as it stands behind a process in a table.
func (w why) String() string {
	switch w.rule {
	case whyBelowSubreaper:
		return "below the session's own xexit"
	case whyChild:
		return "child of " + strconv.Itoa(w.number) + ", which belongs to the session"
	case whyScope:
		return "in the session's login scope"
	case whyAudit:
		return fmt.Sprintf("has the audit id %d of the session's login", w.number)
	case whyMarker:
		return "its " + session.MarkerName + " is this session's"
	case whyAmbient:
		return "its " + w.text + " is this session's, and nothing contradicts it"
	case whySole:
		return "belongs to the user, whose only session this is"
	case whyDenied:
		return fmt.Sprintf("belongs to the session, but the kernel does not let us signal it (uid %d)", w.number)
	case whyOutside:
		return fmt.Sprintf("belongs to the session, but runs as another user (uid %d)", w.number)
	case whyNotBelow:
		return "outside the bound: not below " + strconv.Itoa(w.number)
	case whySelf:
		return "part of xexit"
	case whyOtherXexit:
		return "xexit of session " + w.text
	case whyKernel:
		return "part of the system"
	case whyOtherMarker:
		return "belongs to session " + w.text + " (" + session.MarkerName + ")"
	case whyOtherBelow:
		return "below the xexit of session " + w.text
	case whyOtherAudit:
		return fmt.Sprintf("has the audit id %d of session %s", w.number, w.text)
	case whyOtherScope:
		return "in the login scope of session " + w.text
	case whyManager:
		return "runs under " + w.text + ", which all logins of the user share"
	case whySystem:
		return "runs in " + w.text + ", which is no part of a login"
	case whyForeignScope:
		return "in the scope of another login (" + w.text + ")"
	case whyForeignAudit:
		return fmt.Sprintf("has the audit id %d of another login", w.number)
	}
	return w.restString()
}

func (w why) restString() string {
	switch w.rule {
	case whyWorker:
		return "root's, and not started by the session"
	case whyLeader:
		return "opened the login, and closes it"
	case whyOutOfLogin:
		return "no part of this login"
	case whyFounder:
		return "the session was started from it"
	case whyBefore:
		return "started before the session"
	case whyAfter:
		return "started after the session's end"
	case whyContradiction:
		return "its " + w.text + " is another session's"
	case whyShared:
		return "its " + w.text + " is also that of another live session"
	case whyElsewhere:
		return "not in the user's slice (" + w.text + ")"
	case whyLingering:
		return "runs under " + w.text + ", and the user lingers"
	case whyOtherDaemon:
		return "started by " + strconv.Itoa(w.number) + ", which is root's and not this session's"
	case whyDeniedHidden:
		return "belongs to the session, but runs as another user, and /proc hides it (hidepid)"
	case whyHidden:
		return "hidden (hidepid): /proc tells its own user nothing of it"
	case whyExempt:
		return "exempt: " + w.text
	case whyExemptChild:
		return "exempt: " + w.text + " (started by " + strconv.Itoa(w.number) + ")"
	case whyService:
		if w.text == "" {
			return "exempt: " + ServicesExemption + " (started one)"
		}
		return "exempt: " + ServicesExemption + " (" + w.text + ")"
	case whyUnknownService:
		return "what runs as a service here cannot be read, and so not whether it is one"
	case whyUnknownImage:
		return "its executable cannot be read, and so not whether it is exempt"
	case whySameLogin:
		return "same login, but that is not this session's alone, and it has no marker"
	case whyStray:
		return fmt.Sprintf("same login, but that is not this session's alone; the kernel does not let us signal it (EPERM, uid %d)", w.number)
	case whyUnreadable:
		return "its environment cannot be read (not dumpable), and nothing else tells"
	case whyUnknown:
		return "its environment could not be read in time"
	case whyOtherValue:
		return "has no marker of this session (its " + w.text + " is another)"
	}
	return "nothing says that it belongs to this session"
}

// reason is the strongest evidence in words.
func (c *classifier) reason(p *Process, e session.Evidence, parent int) why {
	switch {
	case e.Has(session.ByDescent) && parent >= 0 && c.s.Processes[parent].ID != c.t.Entry.Subreaper:
		return why{rule: whyChild, number: c.s.Processes[parent].ID.PID}
	case e.Has(session.ByDescent) && parent < 0:
		return why{rule: whyChild, number: p.Born.PID}
	case e.Has(session.ByDescent):
		return why{rule: whyBelowSubreaper}
	case e.Has(session.ByScope):
		return why{rule: whyScope}
	case e.Has(session.ByAudit):
		return why{rule: whyAudit, number: int(p.Audit)}
	case e.Has(session.ByMarker):
		return why{rule: whyMarker}
	case e.Has(session.ByAmbient):
		name, _ := c.ambient(p)
		return why{rule: whyAmbient, text: name}
	}
	return why{rule: whySole}
}
