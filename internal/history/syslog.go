package history

import (
	"fmt"
	"net"
	"strings"
	"time"
	"unicode/utf8"

	"xexit/internal/term"
)

// DevLog is the socket of the system's log (syslog(3)).
const DevLog = "/dev/log"

// Syslog sends one line an end to the system's log.
type Syslog struct {
	Socket string // DevLog
	Tag    string // "xexit"
	PID    int    // of the process that speaks
}

// Priorities of RFC 3164: facility user (1), severity notice and warning.
const (
	userNotice  = 1<<3 | 5
	userWarning = 1<<3 | 4
)

// maxSyslog keeps a message whole in every log daemon (RFC 3164 has 1024
// bytes; rsyslog and journald take more).
const maxSyslog = 1024

// Send sends the summary of r, as a warning if something needs looking at.
func (s Syslog) Send(r Record) error {
	priority := userNotice
	if r.alarming() {
		priority = userWarning
	}
	return s.send(priority, r.Time, r.Summary())
}

// Warn sends a warning about the session of r, such as that its record could
// not be written.
func (s Syslog) Warn(r Record, text string) error {
	return s.send(userWarning, time.Now(), "session "+r.Session.Short()+": "+term.Escape(text))
}

// send never waits longer than a second: a log daemon that is stopped leaves
// its socket full.
func (s Syslog) send(priority int, at time.Time, text string) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.Socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("syslog: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return fmt.Errorf("syslog: %w", err)
	}
	if _, err := conn.Write(s.message(priority, at, text)); err != nil {
		return fmt.Errorf("syslog: %w", err)
	}
	return nil
}

// message is the datagram: priority, local time, tag, text.
func (s Syslog) message(priority int, at time.Time, text string) []byte {
	text = fmt.Sprintf("<%d>%s %s[%d]: %s", priority, at.Local().Format(time.Stamp), s.Tag, s.PID, text)
	if len(text) > maxSyslog {
		cut := maxSyslog - len("…")
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = strings.TrimSuffix(text[:cut], `\`) + "…"
	}
	return []byte(text)
}
