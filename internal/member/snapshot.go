package member

import (
	"slices"

	"xexit/internal/session"
)

// Snapshot is what one pass has read, as far as Classify needs it.
type Snapshot struct {
	// Processes in any order; at most one for a number.
	Processes []*Process
	// Home has the cgroups in which the session's own xexit and its leader
	// live: what the session started there is no stranger there.
	Home []string
	// Logins is what logind says.
	Logins Logins
	// Past has the members that earlier passes found, also dead ones.
	Past map[session.ProcID]struct{}
	// Exempt has those that earlier passes found to be exempt, also dead ones,
	// and by which exemption.
	Exempt map[session.ProcID]string
}

// Process is one process of a Snapshot.
type Process struct {
	ID             session.ProcID
	PPID           int
	PGID, SID, TTY int
	Comm           string
	State          byte
	Kernel         bool // a kernel thread
	Dead           bool // a zombie, and no thread of it runs

	UID      uint32 // real
	UIDKnown bool
	Denied   bool // kill(2) says EPERM

	// Hidden: /proc tells nothing of it (hidepid, proc(5)). The number is known,
	// the parent perhaps (0 if not), and nothing else; ID.Start is 0 unless it
	// could be read once.
	Hidden bool

	// Far: it lies outside the bound for certain, and only descent was read, and
	// what ties it to the session's login. None of the fields below is set but
	// these two.
	Far bool

	Audit  uint32 // session.NoAudit if unset
	Cgroup string // "" where unknown; of Far ones the scope of the session's login, or ""
	Env    EnvState
	Unique string   // value of XEXIT_SESSION; "": none
	Values []string // of the target's ambient markers, in their order; "": none

	Image   Image   // read only where an exemption may depend on it
	Service Service // read only where a service may be in the login

	Born    session.ProcID   // its parent when it was first seen
	Known   session.Evidence // a member since an earlier pass
	Founder bool             // spared by an earlier pass as what the session came from
}

// EnvState says how far the environment of a process is known.
type EnvState uint8

// The states.
const (
	EnvRead    EnvState = iota // Unique and Values are what it says
	EnvDenied                  // not dumpable: it cannot be read
	EnvUnknown                 // it could not be read this time
)

// reserve makes room for n more processes. Where slices grow by themselves a
// first look at tens of thousands copies each of them a dozen times, into memory
// that has to be had page by page.
func (c *classifier) reserve(n int) {
	c.index.reserve(c.index.count + n)
	c.parent, c.groups, c.below = slices.Grow(c.parent, n), slices.Grow(c.groups, n), slices.Grow(c.below, n)
	c.inside, c.ancestor, c.origin = slices.Grow(c.inside, n), slices.Grow(c.ancestor, n), slices.Grow(c.origin, n)
	c.state, c.exempt, c.serves, c.rulings = slices.Grow(c.state, n), slices.Grow(c.exempt, n), slices.Grow(c.serves, n), slices.Grow(c.rulings, n)
}
