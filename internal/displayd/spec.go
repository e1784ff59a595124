package displayd

import (
	"fmt"
	"time"

	"xexit/internal/session"
)

// Verbs of xexit-main.
const (
	WorkerVerb = "__display-worker"
	OpenerVerb = "__open-display"
)

// WorkerUnit is the control group of the worker's service: whoever is in it is
// the worker, and only root can put anybody there.
const WorkerUnit = "/system.slice/xexit-display.service"

// Spec is a display to watch. Times of 0 are the defaults of package display.
type Spec struct {
	UID     uint32         `json:"uid"`
	Leader  session.ProcID `json:"leader"`
	Cgroup  string         `json:"cgroup"`  // of the login, below the root of its hierarchy
	Display string         `json:"display"` // the X display that logind names; "": to be found
	Wayland bool           `json:"wayland"` // it is a Wayland login by logind's Type

	LostAfter  time.Duration `json:"lost_after"`
	BlindAfter time.Duration `json:"blind_after"`
	HungAfter  time.Duration `json:"hung_after"`

	// Resume is what an Opened event said of this display before: another one
	// of its name, or nobody there, is then its end.
	Resume string `json:"resume"`
}

// Kind says what an Event tells.
type Kind uint8

// The kinds.
const (
	Opened     Kind = iota + 1 // the display is watched from now on
	Failed                     // it is not, for now: Err. It is tried again until Drop
	Ended                      // the display is gone, or says so: Reason, Noticed, NoticedAfter
	WorkerLost                 // no display is watched, for now: Err
	WorkerBack                 // they are handed over again
)

var kindNames = [...]string{"other", "opened", "failed", "ended", "worker lost", "worker back"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[0]
}

// Event is what a Client has to tell. Its texts come from a process that talks
// to X servers: escape them before they go to a terminal.
type Event struct {
	Login  string // "" for the worker's own
	Kind   Kind
	Err    string
	Resume string // Opened: for Spec.Resume, at most maxResume bytes

	Reason       session.Reason // server-gone, link-lost, blind, logout, requested
	Noticed      string
	NoticedAfter time.Duration // from the first sign to the decision
}

// Bounds of what one process says to another.
const (
	maxMessage = 8 << 10
	maxText    = 500
	maxResume  = 200
	maxLogin   = 64
)

// checkLogin: letters, digits, '-' and '_', so that it may be part of a file's
// or unit's name.
func checkLogin(login string) error {
	ok := login != "" && len(login) <= maxLogin
	for _, c := range []byte(login) {
		ok = ok && (c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_')
	}
	if !ok {
		return fmt.Errorf("login %q: not an id", login)
	}
	return nil
}

// short cuts a text that another process has chosen.
func short(text string, most int) string {
	if len(text) > most {
		return text[:most]
	}
	return text
}
