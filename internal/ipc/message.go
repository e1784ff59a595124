package ipc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"xexit/internal/history"
	"xexit/internal/session"
)

// op is what a request asks for.
type op string

const (
	opLogins op = "logins"
	opEnd    op = "end"
	opLog    op = "log"
	opStatus op = "status"
)

// request is the client's message. There is no uid in it on purpose.
type request struct {
	V     int         `json:"v"`
	Op    op          `json:"op"`
	All   bool        `json:"all,omitempty"`   // logins, log: everybody's
	Login string      `json:"login,omitempty"` // end
	End   *EndRequest `json:"end,omitempty"`   // end
	Log   *LogQuery   `json:"log,omitempty"`   // log
}

// maxCount is the highest number of records that can be asked for; 0 means all.
const maxCount = 1 << 30

func encodeRequest(r request) ([]byte, error) {
	r.V = Version
	line, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	if len(line) >= MaxRequest {
		return nil, fmt.Errorf("encode request: %w: longer than %d bytes", ErrBad, MaxRequest)
	}
	return append(line, '\n'), nil
}

// decodeRequest reads one line. The error is ErrVersion or ErrBad.
func decodeRequest(line []byte) (request, error) {
	var r request
	if err := checkVersion(line); err != nil {
		return r, err
	}
	in := json.NewDecoder(bytes.NewReader(line))
	in.DisallowUnknownFields()
	if err := in.Decode(&r); err != nil {
		return request{}, fmt.Errorf("%w: %w", ErrBad, err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return request{}, fmt.Errorf("%w: something follows it", ErrBad)
	}
	if err := r.check(); err != nil {
		return request{}, fmt.Errorf("%w: %w", ErrBad, err)
	}
	return r, nil
}

// checkVersion comes before anything else is looked at: another version's
// message may have any form.
func checkVersion(line []byte) error {
	var version struct {
		V *int `json:"v"`
	}
	if err := json.Unmarshal(line, &version); err != nil {
		return fmt.Errorf("%w: %w", ErrBad, err)
	}
	if version.V == nil {
		return fmt.Errorf("%w: it has no version", ErrBad)
	}
	if *version.V != Version {
		return fmt.Errorf("%w: the message has version %d, known is %d", ErrVersion, *version.V, Version)
	}
	return nil
}

// check: each request has its own fields and no others.
func (r *request) check() error {
	if r.Op != opEnd && (r.Login != "" || r.End != nil) || r.Op != opLog && r.Log != nil ||
		r.Op != opLogins && r.Op != opLog && r.All {
		return fmt.Errorf("a field that does not go with %q", r.Op)
	}
	switch r.Op {
	case opLogins, opStatus:
	case opEnd:
		return r.checkEnd()
	case opLog:
		if r.Log == nil {
			return errors.New("log: nothing is asked for")
		}
		if r.Log.Count < 0 || r.Log.Count > maxCount {
			return fmt.Errorf("log: a count of %d", r.Log.Count)
		}
		if len(r.Log.Session) > maxName {
			return errors.New("log: that is no session's id")
		}
	default:
		return fmt.Errorf("unknown request %q", r.Op)
	}
	return nil
}

func (r *request) checkEnd() error {
	if !ValidLogin(r.Login) {
		return fmt.Errorf("end: %q is no login's id", r.Login)
	}
	if r.End == nil {
		return errors.New("end: no reason")
	}
	if _, err := session.ParseReason(string(r.End.Reason)); err != nil {
		return fmt.Errorf("end: %w", err)
	}
	return nil
}

const maxName = 64

// ValidLogin: letters and digits, as logind makes ids.
func ValidLogin(id string) bool {
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return id != "" && len(id) <= maxName
}

// answer is the server's message: one of its fields is set.
type answer struct {
	V      int             `json:"v"`
	Login  *Login          `json:"login,omitempty"`
	Record *history.Record `json:"record,omitempty"`
	Step   *Step           `json:"step,omitempty"`
	Result *Result         `json:"result,omitempty"`
	Status *Status         `json:"status,omitempty"`
	Error  *wireError      `json:"error,omitempty"`
	End    bool            `json:"end,omitempty"`
}

// wireError is an error on its way. Code says which of this package's it is.
type wireError struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// code is an error that the other side is to recognise.
type code struct {
	name string
	err  error
}

func codes() []code {
	return []code{
		{"no-login", ErrNoLogin},
		{"denied", ErrDenied},
		{"busy", ErrBusy},
		{"version", ErrVersion},
		{"bad-request", ErrBad},
		{"not-taken", ErrTaken},
		{"failed", ErrFailed},
	}
}

// known finds the one of this package's errors that err is; nil: none.
func known(err error) *code {
	for _, c := range codes() {
		if errors.Is(err, c.err) {
			return &c
		}
	}
	return nil
}

func toWire(err error) *wireError {
	if c := known(err); c != nil {
		return &wireError{c.name, err.Error()}
	}
	return &wireError{"failed", err.Error()}
}

// serverError is what the server said, in its words; it is one of this
// package's errors, ErrFailed if it is a later version's.
type serverError struct {
	text string
	kind error
}

func (e *serverError) Error() string { return e.text }
func (e *serverError) Unwrap() error { return e.kind }

func (w *wireError) err() error {
	kind := ErrFailed
	for _, c := range codes() {
		if c.name == w.Code {
			kind = c.err
		}
	}
	text := w.Text
	if text == "" {
		text = kind.Error()
	}
	return &serverError{text, kind}
}

// encodeAnswer makes a line of at most MaxAnswer bytes. What is too long loses
// what can be missed, which is counted.
func encodeAnswer(a answer) ([]byte, error) {
	a.V = Version
	line, err := json.Marshal(a)
	if err == nil && len(line) >= MaxAnswer {
		if a = a.shorter(); a.V != 0 {
			line, err = json.Marshal(a)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	if len(line) >= MaxAnswer {
		return nil, fmt.Errorf("encode answer: %w: longer than %d bytes", ErrFailed, MaxAnswer)
	}
	return append(line, '\n'), nil
}

// shorter leaves out what grows with what users do. Records are bounded by
// package history, and shortened only if their writer was another.
func (a answer) shorter() answer {
	switch {
	case a.Login != nil:
		l := *a.Login
		l.Omitted += len(l.Processes) + len(l.Undecided)
		l.Processes, l.Undecided = nil, nil
		return answer{V: Version, Login: &l}
	case a.Record != nil:
		r := *a.Record
		r.Omitted += len(r.Processes) + len(r.Undecided)
		r.Processes, r.Undecided, r.Output, r.Hooks, r.Truncated = nil, nil, "", nil, true
		return answer{V: Version, Record: &r}
	case a.Result != nil:
		r := *a.Result
		r.Survivors = r.Survivors[:min(len(r.Survivors), maxListed)]
		r.Problems = r.Problems[:min(len(r.Problems), maxListed)]
		return answer{V: Version, Result: &r}
	}
	return answer{}
}

const maxListed = 100

// decodeAnswer reads one line.
func decodeAnswer(line []byte) (answer, error) {
	var a answer
	if err := checkVersion(line); err != nil {
		return a, err
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return answer{}, fmt.Errorf("not an answer: %w", err)
	}
	set := 0
	for _, is := range []bool{a.Login != nil, a.Record != nil, a.Step != nil, a.Result != nil, a.Status != nil, a.Error != nil, a.End} {
		if is {
			set++
		}
	}
	if set > 1 {
		return answer{}, errors.New("not an answer: it says two things at once")
	}
	return a, nil // none: something that a later version says besides
}
