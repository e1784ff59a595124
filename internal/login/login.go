// Package login is the life of one login as system mode sees it: open, ended,
// its end under way, done. Next is its only transition: facts go in, the state
// to be written and what to do come out. Nothing here touches the machine, the
// clock or a process; package daemon brings the facts and carries out the
// actions.
//
//	        Closing, LeaderExited, Gone,
//	        DisplayEnded, Requested           Started            Finished
//	open ───────────────────────────▶ ended ──────────▶ ending ─────────▶ done ──Gone──▶ (forgotten)
//	  │ ▲                              ▲ ▲                 │
//	  └─┘ DisplayEnded, and back       │ └─────────────────┘ Lost, failed or refused:
//	      within the reconnect grace   │                       tried again, later each time
//	                                   └─ Requested, when it is done: once more
//
// A login that is over stays over: nothing leads back to open.
package login

import (
	"time"

	"xexit/internal/session"
)

// Phase is how far a login's life has come.
type Phase string

// The phases, in their order.
const (
	Open   Phase = "open"   // alive
	Ended  Phase = "ended"  // over; its end is due: at once, or at the deadline
	Ending Phase = "ending" // a process carries out the end
	Done   Phase = "done"   // carried out; remembered for as long as the source knows the login
)

// Info is what is known of a login: everything that its end needs, since by
// then nobody else may know it any more.
type Info struct {
	UID     uint32         `json:"uid"`
	User    string         `json:"user"`
	Cgroup  string         `json:"cgroup"` // below the root of the hierarchy; "": it has none
	Scope   string         `json:"scope,omitempty"`
	Audit   uint32         `json:"audit"` // session.NoAudit: none
	Leader  session.ProcID `json:"leader"`
	Display string         `json:"display,omitempty"`
	Client  string         `json:"client,omitempty"` // the host that the user sits at
	Type    string         `json:"type"`
	Service string         `json:"service,omitempty"`
}

// State is one login. It is what the state file holds.
type State struct {
	V       int        `json:"v"` // Version
	ID      string     `json:"id"`
	Boot    string     `json:"boot"`    // boot_id: ids come back after a boot
	Session session.ID `json:"session"` // its name in records; SessionID
	Info
	Phase    Phase          `json:"phase"`
	Reason   session.Reason `json:"reason,omitempty"`
	Noticed  string         `json:"noticed,omitempty"`    // how its end was noticed, in words
	After    time.Duration  `json:"noticed_ns,omitempty"` // from the event to its being noticed; 0: not known
	EndedAt  time.Duration  `json:"ended_at,omitempty"`   // CLOCK_BOOTTIME
	Record   string         `json:"record,omitempty"`     // id of the end's record, one for all attempts
	Attempts int            `json:"attempts,omitempty"`   // that failed
	Deadline time.Duration  `json:"deadline,omitempty"`   // CLOCK_BOOTTIME; open: the display is given up, ended: the next attempt
	Exit     int            `json:"exit,omitempty"`       // of the last attempt; see ExitDone
	Vanished bool           `json:"vanished,omitempty"`   // the source does not know it any more
	Resume   string         `json:"resume,omitempty"`     // what tells its display from another one of its name
}

// Kind says what a fact is about.
type Kind string

// The kinds of facts.
const (
	Seen          Kind = "seen"           // the source has it, alive; Info
	Closing       Kind = "closing"        // the source says that it is over
	Gone          Kind = "gone"           // the source does not know it
	Unwanted      Kind = "unwanted"       // the configuration does not take it on any more
	LeaderExited  Kind = "leader-exited"  // whoever opened it is dead
	DisplayEnded  Kind = "display-ended"  // Reason, Noticed, After
	DisplayOpened Kind = "display-opened" // it answers (again); Resume
	Requested     Kind = "requested"      // somebody who may asks for its end; Reason, Noticed
	Started       Kind = "started"        // the end's process runs
	Finished      Kind = "finished"       // it said what it did; Exit
	Lost          Kind = "lost"           // it could not be started, or died without a word
	Timer         Kind = "timer"          // it may be time
	Resumed       Kind = "resumed"        // the state is an earlier daemon's, who is gone
	Reloaded      Kind = "reloaded"       // the configuration is new: what failed may work now
)

// Fact is one thing that was learnt about a login.
type Fact struct {
	Kind    Kind
	Now     time.Duration // CLOCK_BOOTTIME
	Info    Info
	Reason  session.Reason
	Noticed string
	// Happened is when, in CLOCK_BOOTTIME: After is what has passed since then.
	// 0: that is not known, and After says what is.
	Happened time.Duration
	After    time.Duration
	Exit     int
	Resume   string
	Record   string // a fresh id, used if this fact ends the login
	Rules    Rules
}

// Rules are what the configuration says of the login.
type Rules struct {
	OnLost    bool          // its display's end is its own
	Reconnect time.Duration // that a link may stay lost
}

// Action is one thing to be done.
type Action string

// The actions. They are to be carried out in the order in which Next gives
// them: Persist comes before whatever rests on it. A Timer fact is due at each
// state's deadline, which needs no action.
const (
	Persist      Action = "persist"       // write the state
	WatchLeader  Action = "watch-leader"  // idempotent
	WatchDisplay Action = "watch-display" // idempotent
	DropDisplay  Action = "drop-display"
	DropLeader   Action = "drop-leader"
	StartEnd     Action = "start-end" // answered by Started or Lost
	Forget       Action = "forget"    // remove the state: the last action
)

// What an attempt's Exit says: the exit status of `xexit end`.
const (
	ExitDone       = 0
	ExitFailed     = 1
	ExitRefused    = 2 // by the configuration
	ExitUnverified = 3 // somebody could not be ended, or it could not be proven
)

// Next is the one transition. It returns the state as it is to be from now on;
// s is not changed.
func Next(s State, f Fact) (State, []Action) {
	was := s.Vanished
	switch f.Kind {
	case Gone:
		s.Vanished = true
	case Seen, Closing:
		s.Vanished = false
	}
	next, actions := s.next(f)
	if s.Vanished != was && actions == nil {
		actions = []Action{Persist}
	}
	return next, actions
}

func (s State) next(f Fact) (State, []Action) {
	switch s.Phase {
	case Open:
		return s.open(f)
	case Ended:
		return s.ended(f)
	case Ending:
		return s.ending(f)
	}
	switch {
	case f.Kind == Requested: // once more, for what came after or could not be ended then
		return s.end(f, f.Reason, f.Noticed)
	case s.Vanished:
		return s, []Action{Forget}
	}
	return s, nil
}

func (s State) open(f Fact) (State, []Action) {
	switch f.Kind {
	case Seen, Resumed:
		return s.seen(f)
	case Unwanted:
		return s, []Action{DropLeader, DropDisplay, Forget}
	case Closing:
		return s.end(f, session.ReasonLogout, "the login is closing")
	case Gone:
		return s.end(f, session.ReasonLogout, "the login is gone")
	case LeaderExited:
		return s.end(f, session.ReasonLogout, "the login's leader exited")
	case Requested:
		return s.end(f, f.Reason, f.Noticed)
	case DisplayEnded:
		return s.displayEnded(f)
	case DisplayOpened:
		if s.Deadline == 0 && s.Resume == f.Resume {
			return s, nil
		}
		s.Deadline, s.Reason, s.Noticed, s.After, s.Resume = 0, "", "", 0, f.Resume
		return s, []Action{Persist}
	case Timer:
		if s.Deadline != 0 && f.Now >= s.Deadline {
			f.After, f.Happened = s.After, 0
			return s.end(f, s.Reason, s.Noticed)
		}
	}
	return s, nil
}

// seen takes over what the source says. What was learnt of leader and audit id
// stays where it says nothing: neither can be asked for once the leader is dead.
func (s State) seen(f Fact) (State, []Action) {
	was := s.Info
	if f.Kind == Seen {
		s.Info = f.Info
		if s.Leader.IsZero() {
			s.Leader = was.Leader
		}
		if s.Audit == session.NoAudit {
			s.Audit = was.Audit
		}
	}
	actions := []Action{Persist}
	if f.Kind == Seen && s.Info == was {
		actions = nil
	}
	if !s.Leader.IsZero() {
		actions = append(actions, WatchLeader)
	}
	if f.Rules.OnLost {
		return s, append(actions, WatchDisplay)
	}
	return s, append(actions, DropDisplay)
}

// displayEnded: only a lost link may come back. A server that is gone takes
// its clients with it.
func (s State) displayEnded(f Fact) (State, []Action) {
	if !f.Rules.OnLost {
		return s, []Action{DropDisplay}
	}
	link := f.Reason == session.ReasonLinkLost || f.Reason == session.ReasonBlind
	if !link || f.Rules.Reconnect <= 0 {
		return s.end(f, f.Reason, f.Noticed)
	}
	if s.Deadline != 0 { // lost still
		return s, []Action{WatchDisplay}
	}
	s.Deadline, s.Reason, s.Noticed, s.After = f.Now+f.Rules.Reconnect, f.Reason, f.Noticed, f.After
	return s, []Action{Persist, WatchDisplay}
}

// end: the login is over, and that is written before anything is done about it.
func (s State) end(f Fact, reason session.Reason, noticed string) (State, []Action) {
	if reason == "" {
		reason = session.ReasonOther
	}
	s.Phase, s.Deadline = Ended, 0
	s.Reason, s.Noticed, s.After = reason, noticed, f.After
	if f.Happened != 0 {
		s.After = max(f.Now-f.Happened, time.Microsecond) // 0 would mean that it is not known
	}
	s.EndedAt, s.Record, s.Attempts, s.Exit = f.Now, f.Record, 0, 0
	return s, []Action{Persist, DropLeader, DropDisplay, StartEnd}
}

// ended: with a deadline it waits for that; without one the end's process has
// been asked for.
func (s State) ended(f Fact) (State, []Action) {
	switch f.Kind {
	case Started:
		s.Phase = Ending
		return s, []Action{Persist}
	case Lost, Finished:
		return s.again(f)
	case Resumed:
		return s.restart()
	case Timer:
		if s.Deadline != 0 && f.Now >= s.Deadline {
			return s.restart()
		}
	case Reloaded, Requested:
		if s.Deadline != 0 {
			return s.restart()
		}
	}
	return s, nil
}

func (s State) restart() (State, []Action) {
	s.Phase, s.Deadline = Ended, 0
	return s, []Action{Persist, StartEnd}
}

func (s State) ending(f Fact) (State, []Action) {
	switch f.Kind {
	case Finished, Lost:
		return s.again(f)
	case Resumed:
		return s.restart()
	}
	return s, nil
}

// again decides what follows on an attempt. What was refused or failed is tried
// for as long as it takes. An end that was carried out is on record, also where
// it had to leave somebody, whom it has named: what is in the kernel's hands
// does not change by being asked again.
func (s State) again(f Fact) (State, []Action) {
	s.Exit = f.Exit
	if f.Kind == Finished && (f.Exit == ExitDone || f.Exit == ExitUnverified) {
		s.Phase, s.Deadline = Done, 0
		if s.Vanished {
			return s, []Action{Persist, Forget}
		}
		return s, []Action{Persist}
	}
	if f.Kind == Lost {
		s.Exit = ExitFailed
	}
	s.Attempts++
	s.Phase, s.Deadline = Ended, f.Now+Backoff(s.Attempts)
	return s, []Action{Persist}
}

// Backoff is the wait after that many attempts: a second, twice as long each
// time, five minutes at most.
func Backoff(attempts int) time.Duration {
	const longest = 5 * time.Minute
	if attempts > 9 {
		return longest
	}
	return min(time.Second<<max(0, attempts-1), longest)
}
