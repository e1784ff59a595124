package watcher

import (
	"strconv"
	"strings"

	"xexit/internal/display"
	"xexit/internal/session"
)

// facts are what a program is told of the end of a session.
type facts struct {
	id      session.ID
	end     display.End
	display string // as the environment spells it
	at      uint64 // clock ticks since boot
	uid     uint32

	user, client string // set by environ
}

// environ is the session's environment as it was given, with nothing in it
// that xexit passes to itself, and the XEXIT_* variables.
func (f *facts) environ(given []string) []string {
	f.user = firstOf(lookup(given, "LOGNAME"), lookup(given, "USER"), strconv.FormatUint(uint64(f.uid), 10))
	f.client = clientOf(given, f.display)
	return append(without(given, ours),
		session.MarkerName+"="+string(f.id),
		"XEXIT_REASON="+string(f.end.Reason),
		"XEXIT_USER="+f.user,
		"XEXIT_DISPLAY="+f.display,
		"XEXIT_CLIENT="+f.client,
		"XEXIT_PHASE="+string(session.PhaseEnding),
		"XEXIT_NOTICED="+f.end.Noticed,
		"XEXIT_NOTICED_US="+strconv.FormatInt(f.end.Took.Microseconds(), 10),
		"XEXIT_ENDED_AT="+strconv.FormatUint(f.at, 10),
	)
}

// fields are the arguments of `xexit-main record`.
func (f *facts) fields(p program, outputFile string) []string {
	fields := []string{
		"session=" + string(f.id),
		"user=" + f.user,
		"display=" + f.display,
		"client=" + f.client,
		"reason=" + string(f.end.Reason),
		"noticed=" + f.end.Noticed,
		"took-us=" + strconv.FormatInt(f.end.Took.Microseconds(), 10),
	}
	fields = append(fields, "program="+p.path)
	for _, arg := range p.argv[1:] {
		fields = append(fields, "program="+arg)
	}
	if outputFile != "" {
		fields = append(fields, "output-file="+outputFile)
	}
	return fields
}

// clientOf names the machine that the user sat at: a thin client by its own
// name, else by the host part of the display or of the ssh connection. "": this one.
func clientOf(environ []string, display string) string {
	if name := lookup(environ, "LTSP_CLIENT_HOSTNAME"); name != "" {
		return name
	}
	host := display
	if i := strings.LastIndexByte(display, ':'); i >= 0 {
		host = display[:i]
	}
	isPath := strings.HasPrefix(host, "/") // a display may be named by its socket
	if host != "" && host != "unix" && host != "localhost" && !isPath {
		return host
	}
	address, _, _ := strings.Cut(lookup(environ, "SSH_CONNECTION"), " ")
	return address
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}
