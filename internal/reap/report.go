package reap

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"xexit/internal/proc"
	"xexit/internal/session"
)

// How says what became of a process.
type How string

// What may become of a process.
const (
	HowGone     How = "gone"     // was dead before its first signal
	HowTerm     How = "term"     // went after the polite signals: TERM, HUP, CONT
	HowKill     How = "kill"     // went after KILL
	HowSurvived How = "survived" // alive at the end; Report.Survivors says why
	HowRefused  How = "refused"  // not touched: outside the bound
)

// Outcome is what was done to one process, and what came of it.
type Outcome struct {
	ID      session.ProcID
	Signals []string // those that were sent to it, in order: "TERM", "HUP", "CONT", "STOP", "KILL"
	How     How
	After   time.Duration // from the start of Run until its death was seen; 0 if it was not
}

// Survivor is a process that could not be ended.
type Survivor struct {
	ID    session.ProcID
	Cause string // for people: "state D in rpc_wait_bit_killable", "EPERM", "traced by 4121"
}

// Report is what Run did.
type Report struct {
	Processes []Outcome  // in the order in which they were found
	Survivors []Survivor // alive at the end, or refused by the bound
	// Verified: everybody found is gone and a clean look after that found
	// nobody. Without it, "nobody was found any more" is all that is known.
	Verified bool
	Looks    int // passes over the processes
	Took     time.Duration
}

// Kind is what an Event tells.
type Kind string

// The kinds of events, with the fields that they set besides At.
const (
	KindLook     Kind = "look"       // a pass begins
	KindFound    Kind = "found"      // ID: somebody new
	KindRefused  Kind = "refused"    // ID, Err: outside the bound, not touched
	KindSignal   Kind = "signal"     // ID, Signal; Err if it could not be sent
	KindGone     Kind = "gone"       // ID is dead
	KindGrace    Kind = "grace over" // the polite part is over, Alive are left
	KindSweep    Kind = "sweep"      // Round: a STOP look begins
	KindGroup    Kind = "group"      // Signal: what was done to the control group; Err if it could not be
	KindSurvived Kind = "survived"   // ID, Err: its cause
	KindVerified Kind = "verified"   // nobody is left
)

// Event is one thing that happened, for a live timeline.
type Event struct {
	At     time.Duration // since the start of Run
	Kind   Kind
	ID     session.ProcID
	Signal string // of a group: "KILL", "FREEZE" or "THAW"
	Round  int    // of the sweep, from 1
	Alive  int
	Err    error
}

// signalName is sig without the SIG, of those that this package sends.
func signalName(sig syscall.Signal) string {
	switch sig {
	case syscall.SIGTERM:
		return "TERM"
	case syscall.SIGHUP:
		return "HUP"
	case syscall.SIGCONT:
		return "CONT"
	case syscall.SIGSTOP:
		return "STOP"
	case syscall.SIGKILL:
		return "KILL"
	}
	return sig.String()
}

// report sums up. Who is alive is asked once more first: it may have died
// while the last look was under way.
func (r *run) report(verified bool) Report {
	if _, err := r.collect(0); err != nil {
		verified = false
	}
	rep := Report{Looks: r.looks, Took: time.Since(r.start)}
	for _, p := range r.order {
		out := Outcome{ID: p.id, Signals: p.signals, How: p.how()}
		if p.dead {
			out.After = p.died
		}
		rep.Processes = append(rep.Processes, out)
		if p.dead {
			continue
		}
		reason := p.refusal
		if reason == nil {
			reason = cause(r.fs, p)
		}
		rep.Survivors = append(rep.Survivors, Survivor{ID: p.id, Cause: reason.Error()})
		r.tell(Event{Kind: KindSurvived, ID: p.id, Err: reason})
	}
	rep.Verified = verified && len(rep.Survivors) == 0
	if rep.Verified {
		r.tell(Event{Kind: KindVerified})
	}
	return rep
}

var errHidden = errors.New("unknown: /proc hides it (hidepid)")

// cause says why p is still there, from what the kernel shows of it now. The
// reading is only for people: it is by number, and may come too late.
func cause(fs *proc.FS, p *process) error {
	if p.denied != nil {
		if errors.Is(p.denied, syscall.EPERM) {
			return fmt.Errorf("EPERM (may not be signalled by this user)")
		}
		return p.denied
	}
	if !p.killed {
		return fmt.Errorf("was not killed: the end was cut short")
	}
	stat, err := fs.Stat(p.id.PID)
	if err != nil {
		if p.id.Start == 0 {
			return errHidden
		}
		return fmt.Errorf("unknown: %w", err)
	}
	if tracer, err := fs.TracerPID(p.id.PID); err == nil && tracer != 0 {
		return fmt.Errorf("traced by %d, state %c", tracer, stat.State)
	}
	if stat.State == 'D' {
		// "0" is what a reader sees that may not ptrace the process.
		if wchan, err := fs.Wchan(p.id.PID); err == nil && wchan != "" && wchan != "0" {
			return fmt.Errorf("state D in %s", wchan)
		}
		return fmt.Errorf("state D")
	}
	return fmt.Errorf("unknown: state %c", stat.State)
}
