package session

import (
	"fmt"
	"strings"
)

// Evidence is a set of reasons why a process belongs to a session.
type Evidence uint8

// The kinds of evidence, strongest first.
const (
	ByDescent Evidence = 1 << iota // below the session's subreaper, or child of a member
	ByScope                        // in the cgroup of a login that the session owns
	ByAudit                        // has the audit session id of a login that the session owns
	ByMarker                       // XEXIT_SESSION is this session's
	ByAmbient                      // an ambient marker is this session's
	BySole                         // belongs to the user, whose last session this is
)

var evidenceNames = [...]struct {
	bit  Evidence
	name string
}{
	{ByDescent, "descent"},
	{ByScope, "scope"},
	{ByAudit, "audit"},
	{ByMarker, "marker"},
	{ByAmbient, "ambient"},
	{BySole, "sole"},
}

// Has reports whether all of want is in e.
func (e Evidence) Has(want Evidence) bool { return e&want == want }

// String lists the kinds, strongest first: "scope+audit". The empty set is "none".
func (e Evidence) String() string {
	if e == 0 {
		return "none"
	}
	var names []string
	for _, n := range evidenceNames {
		if e.Has(n.bit) {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, "+")
}

// MarshalText is String.
func (e Evidence) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText reads what MarshalText wrote; a word of a later version is an error.
func (e *Evidence) UnmarshalText(text []byte) error {
	*e = 0
	if string(text) == "none" {
		return nil
	}
next:
	for word := range strings.SplitSeq(string(text), "+") {
		for _, n := range evidenceNames {
			if word == n.name {
				*e |= n.bit
				continue next
			}
		}
		return fmt.Errorf("unknown evidence %q", word)
	}
	return nil
}

// Verdict is what a plan says of one process.
type Verdict string

// The verdicts.
const (
	VerdictEnd   Verdict = "end"   // a member: to be ended
	VerdictKeep  Verdict = "keep"  // a member that a keep rule lets live
	VerdictSpare Verdict = "spare" // not a member, protected, or undecided
)
