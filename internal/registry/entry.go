package registry

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"xexit/internal/session"
)

// Entry is what is known of one session. Times are clock ticks since boot.
type Entry struct {
	ID        session.ID
	Marked    bool             // the session's processes carry XEXIT_SESSION=ID
	Display   string           // session.CanonicalDisplay; "" if it has none
	Wayland   bool             // it is the path of a Wayland socket
	Markers   []session.Marker // ambient
	Audit     uint32           // audit session id; session.NoAudit: unset or unknown
	Scope     string           // the login's cgroup v2 path; "": unknown
	OwnsLogin bool             // Audit and Scope speak for this session alone
	Leader    session.ProcID   // zero: unknown
	Subreaper session.ProcID   // zero: none
	Watcher   session.ProcID   // who registered it and holds its lock
	Start     uint64
	Boot      string // /proc/sys/kernel/random/boot_id
	UID       uint32
	Phase     session.Phase
	EndedAt   uint64 // when the end was noticed; 0: not yet
	Program   string // what the watcher runs at the end; "": xexit end
	Timing    Timing
}

// Timing is what the watcher was told about times, in the flags of `xexit
// watch`; 0 is the default. It is kept for those who ask what is noticed when.
type Timing struct{ Interval, LostAfter, BlindAfter, HungAfter time.Duration }

// The first and the last line of a file: what lacks either is torn, or was
// written by a version that this one cannot read.
const (
	headLine = "xexit session 1"
	tailLine = "end"
)

var errTorn = errors.New("torn or not a session file")

// appendText appends the file form of e: a line KEY="value" for each field
// that is set.
func (e *Entry) appendText(b []byte) []byte {
	put := func(key, value string) {
		if value != "" {
			b = append(b, key...)
			b = append(b, '=')
			b = append(strconv.AppendQuote(b, value), '\n')
		}
	}
	b = append(b, headLine+"\n"...)
	put("id", string(e.ID))
	put("marked", flagText(e.Marked))
	put("display", e.Display)
	put("wayland", flagText(e.Wayland))
	for _, m := range e.Markers {
		put("marker", m.Name+"="+m.Value)
	}
	if e.Audit != session.NoAudit {
		put("audit", strconv.FormatUint(uint64(e.Audit), 10))
	}
	put("scope", e.Scope)
	put("owns-login", flagText(e.OwnsLogin))
	put("leader", procText(e.Leader))
	put("subreaper", procText(e.Subreaper))
	put("watcher", procText(e.Watcher))
	put("start", strconv.FormatUint(e.Start, 10))
	put("boot", e.Boot)
	put("uid", strconv.FormatUint(uint64(e.UID), 10))
	put("phase", string(e.Phase))
	if e.EndedAt != 0 {
		put("ended-at", strconv.FormatUint(e.EndedAt, 10))
	}
	put("program", e.Program)
	put("interval", spanText(e.Timing.Interval))
	put("lost-after", spanText(e.Timing.LostAfter))
	put("blind-after", spanText(e.Timing.BlindAfter))
	put("hung-after", spanText(e.Timing.HungAfter))
	return append(b, tailLine+"\n"...)
}

func spanText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func flagText(set bool) string {
	if set {
		return "yes"
	}
	return ""
}

func procText(p session.ProcID) string {
	if p.IsZero() {
		return ""
	}
	return strconv.Itoa(p.PID) + " " + strconv.FormatUint(p.Start, 10)
}

// parseEntry reads the file form. Keys of a later version are ignored.
func parseEntry(text string) (Entry, error) {
	body, ok := strings.CutPrefix(text, headLine+"\n")
	if !ok {
		return Entry{}, errTorn
	}
	body, ok = strings.CutSuffix(body, tailLine+"\n")
	if !ok {
		return Entry{}, errTorn
	}
	e := Entry{Audit: session.NoAudit, Phase: session.PhaseWatching}
	for line := range strings.SplitSeq(strings.TrimSuffix(body, "\n"), "\n") {
		key, quoted, _ := strings.Cut(line, "=")
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return Entry{}, fmt.Errorf("field %q: %w", key, errTorn)
		}
		if err := e.set(key, value); err != nil {
			return Entry{}, fmt.Errorf("field %q: %w", key, err)
		}
	}
	if e.ID == "" {
		return Entry{}, fmt.Errorf("no id: %w", errTorn)
	}
	return e, nil
}

func (e *Entry) set(key, value string) (err error) {
	switch key {
	case "id":
		e.ID, err = session.ParseID(value)
	case "marked":
		e.Marked = value == "yes"
	case "display":
		e.Display = value
	case "wayland":
		e.Wayland = value == "yes"
	case "marker":
		name, content, _ := strings.Cut(value, "=")
		e.Markers = append(e.Markers, session.Marker{Name: name, Value: content})
	case "audit":
		e.Audit, err = parse32(value)
	case "scope":
		e.Scope = value
	case "owns-login":
		e.OwnsLogin = value == "yes"
	case "leader":
		e.Leader, err = parseProc(value)
	case "subreaper":
		e.Subreaper, err = parseProc(value)
	case "watcher":
		e.Watcher, err = parseProc(value)
	case "start":
		e.Start, err = strconv.ParseUint(value, 10, 64)
	case "boot":
		e.Boot = value
	case "uid":
		e.UID, err = parse32(value)
	case "phase":
		e.Phase = session.ParsePhase(value)
	case "ended-at":
		e.EndedAt, err = strconv.ParseUint(value, 10, 64)
	case "program":
		e.Program = value
	case "interval":
		e.Timing.Interval, err = time.ParseDuration(value)
	case "lost-after":
		e.Timing.LostAfter, err = time.ParseDuration(value)
	case "blind-after":
		e.Timing.BlindAfter, err = time.ParseDuration(value)
	case "hung-after":
		e.Timing.HungAfter, err = time.ParseDuration(value)
	}
	return err
}

func parse32(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err
}

func parseProc(text string) (p session.ProcID, err error) {
	pid, start, _ := strings.Cut(text, " ")
	if p.PID, err = strconv.Atoi(pid); err != nil {
		return session.ProcID{}, err
	}
	if p.Start, err = strconv.ParseUint(start, 10, 64); err != nil {
		return session.ProcID{}, err
	}
	return p, nil
}
