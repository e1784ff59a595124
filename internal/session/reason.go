package session

import (
	"fmt"
	"strings"
)

// Reason says why a session ended.
type Reason string

// The reasons. Unknown texts become ReasonOther.
const (
	ReasonLogout     Reason = "logout"      // the session's leader left and nothing but watchers is on the display
	ReasonServerGone Reason = "server-gone" // the display server ended, crashed or was reset
	ReasonLinkLost   Reason = "link-lost"   // the link to the display is dead by its own evidence
	ReasonBlind      Reason = "blind"       // no answer for blind-after, where nothing but the ping can be seen
	ReasonRequested  Reason = "requested"   // LTSP_XEXIT=DIE, or somebody ran `xexit end`
	ReasonLeaderExit Reason = "leader-exit" // the command of `xexit session` ended
	ReasonLimit      Reason = "limit"       // a kept process used up what it was granted
	ReasonOther      Reason = "other"
)

// Reasons lists every reason, in the order of documentation.
func Reasons() []Reason {
	return []Reason{
		ReasonLogout, ReasonServerGone, ReasonLinkLost, ReasonBlind,
		ReasonRequested, ReasonLeaderExit, ReasonLimit, ReasonOther,
	}
}

// ParseReason accepts one of Reasons. Anything else is an error, with
// ReasonOther for the caller that must go on.
func ParseReason(text string) (Reason, error) {
	for _, r := range Reasons() {
		if text == string(r) {
			return r, nil
		}
	}
	return ReasonOther, fmt.Errorf("unknown reason %q (one of %s)", text, joinReasons())
}

func joinReasons() string {
	words := make([]string, 0, len(Reasons()))
	for _, r := range Reasons() {
		words = append(words, string(r))
	}
	return strings.Join(words, ", ")
}

// Scope says how far an end reaches.
type Scope string

// The scopes.
const (
	ScopeSession Scope = "session" // this session's processes only
	ScopeUser    Scope = "user"    // all of the user's, if this was his last session
)

// ParseScope accepts "session" or "user".
func ParseScope(text string) (Scope, error) {
	switch s := Scope(text); s {
	case ScopeSession, ScopeUser:
		return s, nil
	}
	return ScopeSession, fmt.Errorf("unknown scope %q (session or user)", text)
}

// Phase is how far a session's life has come. It only moves forward; see Next.
type Phase string

// The phases, in their order.
const (
	PhaseWatching Phase = "watching" // alive
	PhaseEnding   Phase = "ending"   // hooks, then members
	PhaseEnded    Phase = "ended"    // the end was carried out
)

// ParsePhase accepts a phase's text; an unknown one is read as PhaseWatching:
// what is not known to have ended is alive, and so spared.
func ParsePhase(text string) Phase {
	switch p := Phase(text); p {
	case PhaseEnding, PhaseEnded:
		return p
	}
	return PhaseWatching
}

func (p Phase) rank() int {
	switch p {
	case PhaseEnding:
		return 1
	case PhaseEnded:
		return 2
	}
	return 0
}

// Next is the one transition of a session: to the given phase if that lies
// ahead. moved is false, and the phase unchanged, if it does not.
func (p Phase) Next(to Phase) (next Phase, moved bool) {
	if to.rank() > p.rank() {
		return to, true
	}
	return p, false
}
