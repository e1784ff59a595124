// Package ipc is how a user talks to the daemon: one unix socket, its messages,
// the server that the daemon runs and the client that the commands use. Who
// asks is what the kernel says of the connection (SO_PEERCRED, unix(7)) and
// never what a message says; an ordinary user sees and ends his own logins
// only, and is not told whether another's exist. What a login is, and ending
// one, belong to the daemon: it implements Handler. Text for people belongs to
// the command line.
//
// A connection carries one request, a line of JSON, and its answer, lines of
// JSON up to end or error:
//
//	client                          server
//	  {"v":1,"op":"end",…} ───────▶
//	                        ◀─────── {"v":1,"step":{…}}        as they happen
//	                        ◀─────── {"v":1,"result":{…}}
//	                        ◀─────── {"v":1,"end":true}
//
// A request is read strictly: a field that is not known might have said "only
// show it". An answer may have fields that a later version added.
package ipc

import (
	"context"
	"errors"
	"time"

	"xexit/internal/history"
	"xexit/internal/session"
)

// Path is the daemon's socket. Anybody may connect.
const Path = "/run/xexit/control"

// Version is that of the messages. It grows when the other side would
// misunderstand one.
const Version = 1

// Bounds of one message, in bytes with its newline.
const (
	MaxRequest = 4 << 10
	MaxAnswer  = 512 << 10 // a record has at most half of it
)

// Errors of a request, which errors.Is knows on both sides of the socket.
var (
	ErrNoLogin = errors.New("no such login of yours") // nor is it said whether it is another's
	ErrDenied  = errors.New("only root may ask for that")
	ErrBusy    = errors.New("the daemon already serves as many requests as it will at once")
	ErrVersion = errors.New("the daemon and this program are of different versions")
	ErrBad     = errors.New("not a request that the daemon understands")
	ErrTaken   = errors.New("the login is not one that the daemon takes on")
	ErrFailed  = errors.New("the daemon could not do it; the system's log says why") // whatever else it was
)

// ErrAbsent is the client's: there is no daemon at the socket.
var ErrAbsent = errors.New("no daemon runs here")

// Handler is the daemon behind a Server. Its methods are called concurrently.
// What they return of logins that are not the caller's never leaves the server
// unless the caller is root. Errors other than those above are shown to root
// only.
type Handler interface {
	// Logins lists logins. Without Who in the query it answers from memory;
	// with it ctx bounds how long it looks.
	Logins(ctx context.Context, q LoginQuery) ([]Login, error)

	// End ends a login and returns when that is done. The caller is its user
	// or root: the server has seen to that, and a handler does so again when
	// it looks the login up (ErrNoLogin). A login whose end is under way is
	// waited for. ctx is over when nobody waits any more: the end goes on
	// then, and End returns. progress does not block and may be called until
	// End returns.
	End(ctx context.Context, caller uint32, login string, r EndRequest, progress func(Step)) (Result, error)

	// Log returns records of a user's ends, with all those of everybody,
	// oldest first. The server calls it a few times at once at the most.
	Log(uid uint32, all bool, q LogQuery) ([]history.Record, error)

	// Status is what an administrator wants to know. It answers from memory.
	// What is for root only in it is left out by the server.
	Status() Status
}

// Phase is how far a login has come: open, ended, ending, done. Others may be
// added.
type Phase string

// The phases.
const (
	PhaseOpen   Phase = "open"
	PhaseEnded  Phase = "ended"  // over; its end is due
	PhaseEnding Phase = "ending" // the end is under way
	PhaseDone   Phase = "done"
)

// Fate is what the daemon does when a login ends.
type Fate string

// The fates.
const (
	FateEnd   Fate = "end"   // what it leaves behind is ended
	FateAudit Fate = "audit" // that is planned and recorded, and not done
	FateLeave Fate = "leave" // nothing: it is not taken on
)

// LoginQuery chooses logins.
type LoginQuery struct {
	UID uint32
	All bool // everybody's, not only this user's
	Who bool // say who is still there of those that are over
}

// Login is one login, as `xexit ps` shows it. Texts that a user can choose
// (Display, Client, what is in Processes) are as they were: escape them.
type Login struct {
	ID      string     `json:"id"`
	Session session.ID `json:"session,omitempty"` // its name in records
	UID     uint32     `json:"uid"`
	User    string     `json:"user,omitempty"`
	Type    string     `json:"type,omitempty"` // "x11", "tty", …
	Service string     `json:"service,omitempty"`
	Display string     `json:"display,omitempty"`
	TTY     string     `json:"tty,omitempty"`
	Client  string     `json:"client,omitempty"` // the machine that the user sits at
	State   string     `json:"state,omitempty"`  // logind's: "active", "closing", …
	Cgroup  string     `json:"cgroup,omitempty"`
	Leader  int        `json:"leader,omitempty"` // 0: not known, or dead

	Phase    Phase          `json:"phase,omitempty"` // "": not taken on
	Fate     Fate           `json:"fate"`
	Why      string         `json:"why,omitempty"` // that fate, or that it takes so long, in words
	Watched  string         `json:"watched,omitempty"`
	Reason   session.Reason `json:"reason,omitempty"`
	Noticed  string         `json:"noticed,omitempty"`
	Step     string         `json:"step,omitempty"`   // the last that the end under way has taken, see Step
	At       string         `json:"at,omitempty"`     // the one that it is at
	Record   string         `json:"record,omitempty"` // id of the end's record
	Attempts int            `json:"attempts,omitempty"`

	// Left is how long the step that it is at may take yet, at most; 0: not known.
	Left history.Millis `json:"left_ms,omitempty"`

	// Of a login that is over: who is there now, why he belongs, and what an
	// end would do about him. Undecided are spared though something points at
	// them.
	Looked    bool              `json:"looked,omitempty"` // it was looked: who is not in them is not there
	Unseen    string            `json:"unseen,omitempty"` // why it could not be
	Processes []history.Process `json:"processes,omitempty"`
	Undecided []history.Process `json:"undecided,omitempty"`
	Omitted   int               `json:"omitted,omitempty"` // processes that did not fit
}

// EndRequest is what may be said about an end that is asked for.
type EndRequest struct {
	Reason session.Reason `json:"reason"` // ReasonRequested unless the caller is root
}

// Step is one step of an end that is under way.
type Step struct {
	Step string         `json:"step"`
	At   history.Millis `json:"at_ms,omitempty"` // since the end was begun, if known
	Text string         `json:"text,omitempty"`
}

// Result is what became of an end.
type Result struct {
	Exit      int                `json:"exit"` // as the exit status of `xexit end`
	Verified  bool               `json:"verified"`
	Ended     int                `json:"ended"`
	Kept      int                `json:"kept"`
	Spared    int                `json:"spared"`
	Survivors []history.Survivor `json:"survivors,omitempty"`
	Problems  []string           `json:"problems,omitempty"`
	Record    string             `json:"record,omitempty"` // id of the end's record
	AuditOnly bool               `json:"audit_only,omitempty"`
}

// LogQuery chooses records.
type LogQuery struct {
	Count   int       `json:"count,omitempty"`   // the last ones; 0: all
	Since   time.Time `json:"since,omitzero"`    // zero: from the first
	Session string    `json:"session,omitempty"` // beginning of a session's id, or a login's id; "": any
}

// State is how one part of the daemon is.
type State struct {
	Name  string `json:"name"` // "logind", "pam", "display worker", …
	Alive bool   `json:"alive"`
	Text  string `json:"text,omitempty"` // since when, or why not
}

// Conflict is something on this machine that is in the daemon's way.
type Conflict struct {
	Key     string `json:"key"`  // for programs: "logind.kills"
	Text    string `json:"text"` // what is
	Means   string `json:"means,omitempty"`
	Do      string `json:"do,omitempty"`
	Problem bool   `json:"problem"` // it keeps the daemon from doing its job; else it is good to know
}

// Status is what the daemon says of itself.
type Status struct {
	Version   string    `json:"version"`
	PID       int       `json:"pid"`
	Since     time.Time `json:"since,omitzero"`
	Types     []string  `json:"types"` // that it takes on
	AuditOnly bool      `json:"audit_only"`
	Sources   []State   `json:"sources"`
	Worker    State     `json:"worker"` // of the displays
	// Conflicts are what on this machine is in the daemon's way. Of those that
	// may name others' logins, users other than root are told nothing.
	Conflicts []Conflict `json:"conflicts"`
	// ConfigProblems are those of the configuration that was not taken at the
	// last reload; empty if what is on disk is what holds. The lines are for
	// root, others are told that there are some.
	ConfigProblems []string         `json:"config_problems"`
	Counters       map[string]int64 `json:"counters,omitempty"` // for root
}
