// Package history keeps the record of every end: what a session left behind,
// what was done to it and why. Records, their file format, appending, reading
// and the line for syslog belong here. What is recorded is decided elsewhere,
// and what is shown of it too.
//
// An end makes two lines of JSON, joined by one id: begin, before anything is
// done, and done. Both go into the runtime directory at once, which is memory
// and cannot hang; the file that lasts is in the user's home, which can, and
// is written last, by a child that is given a deadline:
//
//	begin ──▶ RUNTIME/records.jsonl        hooks, members …
//	done ───▶ RUNTIME/records.jsonl
//	begin, done ─▶ child ─▶ STATE/HOST.jsonl
package history

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"xexit/internal/session"
)

// Version is the format of the lines that this package writes. It grows when
// a reader of the older format would misunderstand a line; new fields do not
// make it grow.
const Version = 1

// Event says which of an end's two lines a record is.
type Event string

// The events. A record whose done line is missing was interrupted, or is
// still under way: By tells whose doing it is.
const (
	Begin Event = "begin"
	Done  Event = "done"
)

// Kind says what a record is about.
type Kind string

// The kinds.
const (
	KindEnd     Kind = "end"     // the members of a session were ended
	KindProgram Kind = "program" // PROGRAM was run for a session
	KindAudit   Kind = "audit"   // what an end of a login would have done; nobody was ended
)

// Record is one line, or, as Read returns it, the lines of one end in one:
// then Event is done if there was a done line, and Time the beginning. Texts
// that processes chose (Comm, Output, …) are as they were: escape them before
// showing them.
type Record struct {
	V     int       `json:"v"`
	ID    string    `json:"id"` // joins the lines of an end; see NewID
	Event Event     `json:"event"`
	Time  time.Time `json:"time"` // RFC 3339 with nanoseconds
	Kind  Kind      `json:"kind"`
	Host  string    `json:"host,omitempty"`

	By      session.ProcID `json:"by,omitzero"` // the process that carries out the end
	Session session.ID     `json:"session,omitempty"`
	Login   string         `json:"login,omitempty"`   // logind's id, where a whole login ended
	Type    string         `json:"type,omitempty"`    // of the login: "x11", "tty", …
	Service string         `json:"service,omitempty"` // that opened the login: "sshd", …
	User    string         `json:"user,omitempty"`
	UID     uint32         `json:"uid"`
	Display string         `json:"display,omitempty"`
	Client  string         `json:"client,omitempty"` // the machine that the user sat at
	Reason  session.Reason `json:"reason,omitempty"`

	Noticed      string `json:"noticed,omitempty"`    // how the end was noticed, in words
	NoticedAfter Micros `json:"noticed_us,omitempty"` // from the event to its being noticed

	Hooks     []Hook     `json:"hooks,omitempty"`
	Processes []Process  `json:"processes,omitempty"`
	Survivors []Survivor `json:"survivors,omitempty"`
	Undecided []Process  `json:"undecided,omitempty"` // spared, though something pointed at them
	Verified  bool       `json:"verified"`            // a clean scan found no member left
	Took      Millis     `json:"took_ms,omitempty"`
	Problems  []string   `json:"problems,omitempty"` // what failed while the end went on
	// Resumed: an earlier attempt at this end was interrupted; what that one
	// had ended by then is not among the processes.
	Resumed bool `json:"resumed,omitempty"`

	Program   []string `json:"program,omitempty"` // with its arguments
	Status    *int     `json:"status,omitempty"`  // exit status of PROGRAM; 128+N: ended by signal N
	Output    string   `json:"output,omitempty"`
	Truncated bool     `json:"output_truncated,omitempty"`

	// Omitted counts processes that were left out to keep the line within bounds.
	Omitted int `json:"omitted,omitempty"`
}

// Hook is one exit script that was run or refused.
type Hook struct {
	Name       string   `json:"name"`
	Status     int      `json:"status"` // -1: ended by a signal or not run
	Signal     string   `json:"signal,omitempty"`
	TimedOut   bool     `json:"timed_out,omitempty"`
	Refused    string   `json:"refused,omitempty"`    // why it was not run
	Failed     string   `json:"failed,omitempty"`     // why it could not be started, or was cut short
	Denied     []string `json:"denied,omitempty"`     // signals that were refused to it
	Left       []string `json:"left,omitempty"`       // what it left in its process group, ended with it
	Unshielded string   `json:"unshielded,omitempty"` // why it ran without the shield
	Took       Millis   `json:"took_ms"`
	Output     string   `json:"output,omitempty"`
	Truncated  bool     `json:"truncated,omitempty"`
}

// Process is one process that an end looked at.
type Process struct {
	session.ProcID
	PPID     int              `json:"ppid"`
	Comm     string           `json:"comm"`
	UID      uint32           `json:"uid"`
	Evidence session.Evidence `json:"evidence"`
	Verdict  session.Verdict  `json:"verdict"`
	Why      string           `json:"why,omitempty"`
	Signals  []string         `json:"signals,omitempty"` // in the order they were sent
	Ended    string           `json:"ended,omitempty"`   // how it went: "term", "kill"; "": it lives
	After    Millis           `json:"after_ms,omitempty"`
}

// Survivor is a process that was to be ended and is still there.
type Survivor struct {
	session.ProcID
	Comm  string `json:"comm"`
	Cause string `json:"cause"`
}

// Interrupted reports whether the end was begun and not brought to its end.
func (r Record) Interrupted() bool { return r.Event == Begin }

// NewID makes the id that joins the lines of one end: 64 random bits.
func NewID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// Millis is a span of time, in JSON a number of milliseconds to a microsecond.
type Millis time.Duration

// MarshalJSON writes milliseconds.
func (m Millis) MarshalJSON() ([]byte, error) {
	us := time.Duration(m).Microseconds()
	return strconv.AppendFloat(nil, float64(us)/1e3, 'f', -1, 64), nil
}

// UnmarshalJSON reads milliseconds.
func (m *Millis) UnmarshalJSON(text []byte) error {
	d, err := parseSpan(text, time.Millisecond)
	*m = Millis(d)
	return err
}

// Micros is a span of time, in JSON a whole number of microseconds.
type Micros time.Duration

// MarshalJSON writes microseconds.
func (m Micros) MarshalJSON() ([]byte, error) {
	return strconv.AppendInt(nil, time.Duration(m).Microseconds(), 10), nil
}

// UnmarshalJSON reads microseconds.
func (m *Micros) UnmarshalJSON(text []byte) error {
	d, err := parseSpan(text, time.Microsecond)
	*m = Micros(d)
	return err
}

func parseSpan(text []byte, unit time.Duration) (time.Duration, error) {
	var number float64
	if err := json.Unmarshal(text, &number); err != nil {
		return 0, err
	}
	const longest = 1e17 // ns; three years, far below the largest Duration
	ns := number * float64(unit)
	if ns > longest || ns < -longest {
		return 0, fmt.Errorf("span of time %s is out of range", text)
	}
	return time.Duration(ns), nil
}
