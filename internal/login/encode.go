package login

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"xexit/internal/session"
)

// Version is the format of the state files. It grows when a reader of the
// older format would misunderstand one.
const Version = 1

// MaxState bounds a state file: what is longer is none of ours.
const MaxState = 16 << 10

// ErrForeign is wrapped where a text is no state of a login: torn, of a later
// version, or somebody else's. It says nothing of any login, so nobody is
// ended for it.
var ErrForeign = errors.New("not the state of a login")

// Encode is the text of a state file, one line of JSON.
func Encode(s State) ([]byte, error) {
	s.V = Version
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("login %s: %w", s.ID, err)
	}
	return append(text, '\n'), nil
}

// Decode reads what Encode wrote of the login id. The error wraps ErrForeign.
func Decode(id string, text []byte) (State, error) {
	var s State
	if len(text) > MaxState {
		return State{}, fmt.Errorf("%w: longer than %d bytes", ErrForeign, MaxState)
	}
	if !strings.HasSuffix(string(text), "\n") {
		return State{}, fmt.Errorf("%w: torn", ErrForeign)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return State{}, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	if err := s.check(id); err != nil {
		return State{}, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	return s, nil
}

func (s *State) check(id string) error {
	switch {
	case s.V != Version:
		return fmt.Errorf("version %d, not %d", s.V, Version)
	case s.ID != id:
		return fmt.Errorf("it is of login %q", s.ID)
	case !ValidID(s.ID):
		return fmt.Errorf("login id %q", s.ID)
	case s.Boot == "":
		return errors.New("no boot id")
	case s.Cgroup != "" && (path.Clean(s.Cgroup) != s.Cgroup || s.Cgroup[0] != '/' || s.Cgroup == "/"):
		return fmt.Errorf("control group %q", s.Cgroup)
	case s.Deadline < 0 || s.EndedAt < 0 || s.Attempts < 0 || s.Leader.PID < 0:
		return errors.New("a negative number")
	}
	if _, err := session.ParseID(string(s.Session)); err != nil {
		return err
	}
	switch s.Phase {
	case Open:
	case Ended, Ending, Done:
		if s.Record == "" || s.Reason == "" {
			return fmt.Errorf("phase %s without a reason or a record", s.Phase)
		}
	default:
		return fmt.Errorf("phase %q", s.Phase)
	}
	return nil
}

// ValidID: letters and digits, as logind makes them ("4", "c1"); it becomes
// part of a file's name.
func ValidID(id string) bool {
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return id != "" && len(id) <= 64
}

// SessionID makes the session id of a login: the same each time that it is
// asked for, and another one after the next boot, where ids count from 1 again.
func SessionID(boot, id string, uid uint32) (session.ID, error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "login %s %s %d", boot, id, uid))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // RFC 9562, version 8
	return session.ParseID(fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16]))
}
