// Package member says which processes belong to a session, and why.
//
// Two things live here, and are kept apart: reading a snapshot of the
// processes (Finder), and deciding over it (Classify), which is a pure
// function. Nothing here sends a signal, and what becomes of a member is not
// decided here.
//
// The kinds of evidence and what each of them is worth are in evidence.go,
// what speaks against them in vetoes.go. When in doubt a process is spared
// and reported as undecided. No rule looks at the name of a program.
package member

import (
	"errors"
	"io/fs"

	"xexit/internal/proc"
	"xexit/internal/registry"
	"xexit/internal/session"
)

// ErrOutOfBound: it belongs to the session, but lies outside the bound.
var ErrOutOfBound = errors.New("outside the bound")

// Target says whose members are wanted.
type Target struct {
	Entry  registry.Entry   // the session
	Others []registry.Entry // the other live sessions of the user

	// Scope is ScopeUser to take whatever is the user's, if this session is
	// his only one; else only what belongs to the session.
	Scope session.Scope

	Bound Bound

	// Self is xexit itself: this process, its waiting parent, the watcher,
	// whoever runs hooks, running hooks. Always spared.
	Self []session.ProcID

	// Login: the session is a whole login that root ends. What is in its scope
	// belongs to it, whosever it is, and besides that what carries its audit id
	// or descends from it; the leader, who has to close the login, does not. No
	// environment is read, and so no marker counts.
	Login bool
	// InScope lists the processes of that scope, as numbers to be looked at.
	// nil: the kernel has no such list, and who runs as another user is not seen.
	InScope func() ([]int, error)

	// Exempt is what the end of a whole login spares.
	Exempt Exempt

	// OtherUsers: also what runs as another user in the login of the PAM hook's
	// that ends. In logind's it always is.
	OtherUsers bool
	// Services lists what the system itself has on file as its services: a
	// process's number, and the file that names it. nil: nobody is one.
	Services func() (map[int]string, error)

	// Delegated: also what the login moved into a scope of its own below the
	// user's service manager.
	Delegated bool

	// Root is the root of the file system, for what logind says in /run and
	// /var/lib (normally os.DirFS("/")). nil: this host has no logind.
	Root fs.FS
}

// Bound is what no evidence can reach across.
type Bound struct {
	UID     uint32     // the real uid of a process
	SubUIDs []UIDRange // uids that are delegated to that user (subuid(5)); see SubUIDs

	// ByDescentOnly: only what descends from Subreaper.
	ByDescentOnly bool
	Subreaper     session.ProcID
}

// UIDRange is Count uids from First.
type UIDRange struct{ First, Count uint32 }

func (b *Bound) hasUID(uid uint32) bool {
	if uid == b.UID {
		return true
	}
	for _, r := range b.SubUIDs {
		if uid >= r.First && uid-r.First < r.Count {
			return true
		}
	}
	return false
}

// Finding is what is known of one process.
type Finding struct {
	ID             session.ProcID
	PPID           int
	SID, PGID, TTY int
	Comm           string // chosen by the process: escape it before it is shown
	State          byte
	UID            uint32 // real
	Evidence       session.Evidence

	// Member: it belongs to the session and lies within the bound.
	Member bool
	// Undecided: something points at the session, but not enough, or nothing
	// points anywhere. Spared.
	Undecided bool
	// Why is the rule that decided, in words.
	Why string

	// InScope: it is in the scope of the login that the session owns.
	InScope bool

	// Ref is set for members that Full has found, and for nothing else. The
	// pidfd was opened first, then the evidence was read, then signal 0 went
	// through: the evidence is that of the process behind the pidfd. It
	// is the same *proc.Ref for the same process as long as the Finder lives.
	// Whoever has no more use for it may close it: the process is dead to the
	// Finder then.
	Ref *proc.Ref

	// Unkillable is set if it belongs to the session by evidence, but may not
	// be ended: the kernel says EPERM, or it lies outside the bound. Member is
	// false then.
	Unkillable error
}

// Pass is the result of one look at all processes. Findings belongs to the
// Finder, and is good until its next pass.
type Pass struct {
	// Findings has all members that live, what belongs to the session and
	// cannot be ended, and all other processes within the bound.
	Findings []Finding

	// Clean: every process that was there at the end of the pass was seen, and
	// none was found to be a member that was not known before. No entry was
	// unreadable, and the process numbers did not wrap.
	Clean bool

	// Alone: with Login, everybody in its scope is a member.
	Alone bool

	// Managed: somebody who is exempt runs below the user's service manager, and
	// would not outlive that.
	Managed bool

	Fresh    int // members that were found first in this pass
	Vanished int // entries that were gone when they were read
	Unknown  int // entries whose evidence could not be read this time
	Rounds   int // rounds over newer processes after the first
}
