// Package session is the vocabulary of xexit: what a session is called, why it
// ended, why a process belongs to it and what is to become of that process.
// Pure values and their text forms belong here; anything that touches the
// machine, the clock or another package does not.
package session

import (
	"errors"
	"fmt"
	"strings"
)

// MarkerName is the environment variable that carries the unique marker: a
// fresh UUID at every session start, always overwritten, so that a nested
// session never answers to the name of the one around it.
const MarkerName = "XEXIT_SESSION"

// ID names one session on this machine, for ever: a random UUID in its 36
// character form. The zero value names none.
type ID string

// ErrBadID reports a text that is no session id.
var ErrBadID = errors.New("not a session id (expected a UUID such as 1b4e28ba-2fa1-41d2-883f-0016d3cca427)")

// ParseID accepts a UUID in lower or upper case hexadecimal and returns it in
// lower case. The error is ErrBadID, wrapped with the text.
func ParseID(text string) (ID, error) {
	lower := strings.ToLower(text)
	if len(lower) != 36 {
		return "", fmt.Errorf("%q: %w", text, ErrBadID)
	}
	for i := range len(lower) {
		c := lower[i]
		hyphen := i == 8 || i == 13 || i == 18 || i == 23
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f'
		if hyphen && c != '-' || !hyphen && !hex {
			return "", fmt.Errorf("%q: %w", text, ErrBadID)
		}
	}
	return ID(lower), nil
}

// Short is the first group of the id, for tables that people read.
func (id ID) Short() string {
	short, _, _ := strings.Cut(string(id), "-")
	return short
}

// ProcID identifies a process within one boot: its number and its start time
// in clock ticks since boot (field 22 of /proc/PID/stat, proc(5)). Two
// processes with one number differ in the start time unless the number was
// reused within one tick (10 ms), which is why signals go through a pidfd.
type ProcID struct {
	PID int `json:"pid"`
	// Start is 0 where it could not be read (hidepid, proc(5)).
	Start uint64 `json:"start"`
}

// IsZero reports whether id names no process.
func (id ProcID) IsZero() bool { return id.PID == 0 }

// MayBeParentOf reports whether the start times allow it: a parent that is
// younger than its child is another process by the same number.
func (id ProcID) MayBeParentOf(child ProcID) bool { return id.Start <= child.Start || child.Start == 0 }

// NoAudit is the audit session id of a process that has none (proc(5),
// /proc/PID/sessionid). It equals nothing, not even itself.
const NoAudit uint32 = 1<<32 - 1

// SameAudit reports whether a and b are the same, set, audit session id.
func SameAudit(a, b uint32) bool { return a == b && a != NoAudit }

// Marker is an environment variable that tells one session's processes from
// another's.
type Marker struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// ParseMarker reads NAME or NAME=VALUE; found tells which of the two it was.
func ParseMarker(text string) (m Marker, found bool, err error) {
	m.Name, m.Value, found = strings.Cut(text, "=")
	if m.Name == "" || strings.ContainsAny(m.Name, " \t\n\x00") {
		return Marker{}, false, fmt.Errorf("marker %q: expected NAME or NAME=VALUE", text)
	}
	if m.Name == MarkerName {
		return Marker{}, false, fmt.Errorf("marker %q: %s is the unique marker and cannot be an ambient one", text, MarkerName)
	}
	if found && m.Value == "" {
		return Marker{}, false, fmt.Errorf("marker %q: an empty value marks nothing", text)
	}
	return m, found, nil
}

// AmbientMarkers are the variables that login managers, LTSP and xrdp set for
// a session. Their values come back: a power-cycled client logs in again under
// the same name.
func AmbientMarkers() []string {
	return []string{"LTSP_CLIENT_HOSTNAME", "XDG_SESSION_ID", "XRDP_SESSION", "DISPLAY"}
}

// CanonicalDisplay brings the spellings of one X display to one: the screen
// is dropped (":21.0" is ":21"), "unix:21" is ":21", and so is the socket that
// it has by custom, "/tmp/.X11-unix/X21". The path of another socket, which a
// Wayland display is known by too, and what is no display's name are returned
// as they are.
func CanonicalDisplay(name string) string {
	if path := strings.TrimPrefix(name, "unix:"); strings.HasPrefix(path, "/") {
		number, usual := strings.CutPrefix(path, "/tmp/.X11-unix/X")
		number, _, _ = strings.Cut(number, ".")
		if usual && number != "" && strings.Trim(number, "0123456789") == "" {
			return ":" + number
		}
		return path
	}
	host, number, ok := cutLast(name, ':')
	if !ok {
		return name
	}
	number, _, _ = strings.Cut(number, ".")
	if host == "unix" {
		host = ""
	}
	return host + ":" + number
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}
