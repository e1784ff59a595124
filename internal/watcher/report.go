package watcher

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"xexit/internal/linux"
)

// reporter says what a watcher decides: to syslog, where there is one, and to
// a terminal if it has one.
type reporter struct {
	socket string    // of the log daemon: /dev/log
	stderr io.Writer // nil: detached
	now    func() time.Time
}

const devLog = "/dev/log"

// Priorities of syslog(3), with facility LOG_USER.
const (
	facilityUser = 1 << 3
	logErr       = 3
	logNotice    = 5
)

// notef reports something that happens in the course of things.
func (r reporter) notef(format string, args ...any) { r.say(logNotice, fmt.Sprintf(format, args...)) }

// failf reports something that an administrator may want to mend.
func (r reporter) failf(format string, args ...any) { r.say(logErr, fmt.Sprintf(format, args...)) }

func (r reporter) say(priority int, text string) {
	text = printable(text)
	if r.stderr != nil {
		_, _ = io.WriteString(r.stderr, "xexit: "+text+"\n")
	}
	// RFC 3164, as a local program sends it: no host name. Nobody may listen,
	// or not keep up: that is no reason to stop watching.
	line := "<" + strconv.Itoa(facilityUser|priority) + ">" + r.now().Format(time.Stamp) +
		" xexit[" + strconv.Itoa(os.Getpid()) + "]: " + text
	_ = linux.SendDatagram(r.socket, []byte(line))
}
