// Package hook lists and runs a site's exit scripts: which files in the
// directory are hooks, whom they must belong to, how one is started, its
// deadline, its output, and the shield that keeps a hook from ending xexit
// together with everything else of the user.
//
// What a hook is told (Environ) and how it is run belong here. Which session
// ends, whose processes are members, what is recorded and where, and what the
// configuration says do not.
package hook

import (
	"context"
	"syscall"
	"time"
)

// What Options means where it says nothing.
const (
	DefaultDeadline  = 30 * time.Second
	DefaultGrace     = time.Second
	DefaultOutputCap = 64 << 10
)

// Spec is one hook as List found it. Run looks again, so a Spec may be old.
type Spec struct {
	Path    string // absolute
	Sourced bool   // not executable: a fragment that /bin/sh sources
}

// Options says how a hook is run.
type Options struct {
	Deadline  time.Duration // after it: TERM to the hook's process group; 0: DefaultDeadline
	Grace     time.Duration // after the TERM: KILL; 0: DefaultGrace
	OutputCap int           // bytes of output kept; 0: DefaultOutputCap, negative: none

	// Shield refuses the hook kill(-1, …), and signals to xexit and Protect:
	// the hook has the same uid as xexit, so kill -9 -1 in one would end xexit
	// before the session's processes are ended and the record is written.
	//
	// For a user without CAP_SYS_ADMIN it needs no_new_privs (prctl(2)), which
	// takes the set-id bit from every program that the hook starts: sudo(8),
	// su(1), mount(8) of a user mount do not work in a shielded hook. Where
	// hooks need them, Shield is false, and kill -9 -1 does what it says.
	//
	// It is made against mistakes, not against the user, who may end his own
	// processes any other way. What kernel or container refuses is done
	// without: see Result.Unshielded.
	Shield bool

	// Protect are processes, besides this one, that a shielded hook may not
	// signal, nor their process groups: the parent that waits for xexit, the
	// session's watcher. By number: they outlive the hook, or it does no harm
	// to spare their successor.
	Protect []int

	// As is who the hook runs as, if not the user of this process, which is root
	// then. The hook must be his or root's.
	As *syscall.Credential

	// Stage is the program whose StageInputMain RunBy has put the shield on; not
	// for Run, which takes this one.
	Stage string

	numbered bool // do without what kernel 6.9 can do for process groups
}

// Result is what one hook did.
type Result struct {
	Name   string         // the file's name in the directory
	Status int            // exit status; -1 if there is none
	Signal syscall.Signal // the signal that ended it; 0 if none

	TimedOut bool   // it was ended at its deadline
	Refused  string // why it was not run, as List says; "" if it was
	Failed   string // it could not be started, or was cut short by the context

	Output    []byte // what it wrote to stdout and stderr; escape before showing
	Truncated bool   // there was more of it
	Dropped   int64  // how many bytes more

	Left     []string // "PID (comm)" that it left in its process group; they were ended
	Survived []string // those of them that could not be ended

	Denied     []string // signals that the shield refused, readable; escape before showing
	Unshielded string   // why it ran without the shield although that was asked for

	Took time.Duration
}

func (o Options) withDefaults() Options {
	if o.Deadline == 0 {
		o.Deadline = DefaultDeadline
	}
	if o.Grace == 0 {
		o.Grace = DefaultGrace
	}
	if o.OutputCap == 0 {
		o.OutputCap = DefaultOutputCap
	}
	return o
}

// Run runs one hook with exactly the environment env, in /, with /dev/null as
// its input, in a session and process group of its own, and returns when it has
// exited and its process group is empty: at most o.Deadline + o.Grace + 5 s
// (the last for what even KILL does not end at once). Processes that left the
// group are not waited for; they carry XEXIT_SESSION. When Run is over nobody
// answers for the shield any more, and whatever still lives under it gets
// ENOSYS for every signal it sends.
//
// Cancelling ctx is a deadline at once. Hooks may run concurrently.
func Run(ctx context.Context, spec Spec, env []string, o Options) Result {
	o = o.withDefaults()
	started := time.Now()
	r := run(ctx, spec, env, o)
	if r.Unshielded == stageSilent {
		// The stage died before it could hand over to the hook, which is
		// started once more, without it.
		if again := o; ctx.Err() == nil && !r.TimedOut {
			again.Shield = false
			r = run(ctx, spec, env, again)
			r.Unshielded = stageSilent
		}
	}
	r.Took = time.Since(started)
	return r
}
