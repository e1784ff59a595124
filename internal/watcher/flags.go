package watcher

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"xexit/internal/registry"
	"xexit/internal/session"
)

// markerFlag is one --marker: a value, or a name whose value the environment has.
type markerFlag struct {
	session.Marker
	given bool // with a value
}

// options are what the command line of `watch` or `session` asks for.
type options struct {
	foreground bool
	ownsLogin  bool
	noDisplay  bool
	display    string // --display: this one, whatever the environment says
	wayland    string // --wayland-display
	leader     int    // 0: not given
	markers    []markerFlag
	timing     timing
	forEnd     []string // flags that `session` passes on to `xexit end`
	command    []string // PROGRAM or CMD with its arguments; may be empty for watch
}

// timing overrides the display's thresholds; 0 means its default.
type timing struct{ interval, lostAfter, blindAfter, hungAfter time.Duration }

func (t timing) entry() registry.Timing {
	return registry.Timing{Interval: t.interval, LostAfter: t.lostAfter, BlindAfter: t.blindAfter, HungAfter: t.hungAfter}
}

var errHelp = errors.New("help asked for")

// parseFlags reads the flags of one verb up to "--" or the first word that is
// no flag. Package flag is not used: it would stay in every watcher's memory
// for ten flags.
func parseFlags(verb string, args []string) (o options, err error) {
	for len(args) > 0 {
		arg := args[0]
		if arg == "--" {
			o.command = args[1:]
			return o, o.contradiction()
		}
		if !strings.HasPrefix(arg, "-") || arg == "-" {
			o.command = args
			return o, o.contradiction()
		}
		args = args[1:]
		name, value, hasValue := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
		if name == "help" || name == "h" {
			return o, errHelp
		}
		if set := o.boolean(verb, name); set != nil {
			if hasValue {
				return o, usagef("--%s takes no value", name)
			}
			*set = true
			continue
		}
		set := o.valued(verb, name)
		if set == nil {
			return o, usagef("unknown flag %s (try: xexit %s --help)", arg, verb)
		}
		if !hasValue {
			if len(args) == 0 {
				return o, usagef("--%s needs a value", name)
			}
			value, args = args[0], args[1:]
		}
		if err := set(value); err != nil {
			return o, usagef("--%s: %v", name, err)
		}
	}
	return o, o.contradiction()
}

func (o *options) contradiction() error {
	named := 0
	for _, set := range []bool{o.display != "", o.wayland != "", o.noDisplay} {
		if set {
			named++
		}
	}
	if named > 1 {
		return usagef("--display, --wayland-display and --no-display exclude each other")
	}
	return nil
}

func (o *options) boolean(verb, name string) *bool {
	switch {
	case name == "foreground" && verb == verbWatch:
		return &o.foreground
	case name == "owns-login" && verb == verbWatch:
		return &o.ownsLogin
	case name == "no-display" && verb == verbSession:
		return &o.noDisplay
	}
	return nil
}

func (o *options) valued(verb, name string) func(string) error {
	switch name {
	case "interval":
		return durationInto(&o.timing.interval)
	case "lost-after":
		return durationInto(&o.timing.lostAfter)
	case "blind-after":
		return durationInto(&o.timing.blindAfter)
	case "hung-after":
		return durationInto(&o.timing.hungAfter)
	case "display":
		return textInto(&o.display)
	case "wayland-display":
		return textInto(&o.wayland)
	case "marker":
		return o.addMarker
	case "config", "progress":
		if verb == verbSession {
			return o.passOn(name)
		}
	case "leader":
		if verb == verbWatch {
			return o.setLeader
		}
	}
	return nil
}

func textInto(s *string) func(string) error {
	return func(text string) error {
		if text == "" {
			return errors.New("it is empty")
		}
		*s = text
		return nil
	}
}

func durationInto(d *time.Duration) func(string) error {
	return func(text string) error {
		v, err := time.ParseDuration(text)
		switch {
		case err != nil:
			return fmt.Errorf("%q is no duration (such as 5s or 1m30s)", text)
		case v <= 0:
			return fmt.Errorf("%q: a positive duration is needed", text)
		}
		*d = v
		return nil
	}
}

// passOn makes a file's name absolute: `xexit end` runs in another directory.
func (o *options) passOn(name string) func(string) error {
	return func(text string) error {
		path, err := filepath.Abs(text)
		o.forEnd = append(o.forEnd, "--"+name, path)
		return err
	}
}

func (o *options) addMarker(text string) error {
	m, given, err := session.ParseMarker(text)
	if err == nil {
		o.markers = append(o.markers, markerFlag{m, given})
	}
	return err
}

func (o *options) setLeader(text string) error {
	pid, err := strconv.Atoi(text)
	if err != nil || pid <= 1 {
		return fmt.Errorf("%q is no process id", text)
	}
	o.leader = pid
	return nil
}

// marked resolves the markers asked for, and those of names, against environ.
// One that the environment does not have marks nothing: a site's snippet names
// LTSP_CLIENT_HOSTNAME and serves logins at the console too.
func (o *options) marked(environ, names []string) []session.Marker {
	var found []session.Marker
	add := func(m session.Marker) {
		if m.Value == "" {
			return
		}
		for i := range found {
			if found[i].Name == m.Name {
				found[i] = m
				return
			}
		}
		found = append(found, m)
	}
	for _, name := range names {
		add(session.Marker{Name: name, Value: lookup(environ, name)})
	}
	for _, m := range o.markers {
		if !m.given {
			m.Value = lookup(environ, m.Name)
		}
		add(m.Marker)
	}
	return found
}

const (
	verbWatch   = "watch"
	verbSession = "session"

	displayHelp = `  --display NAME     watch this X display, whatever the environment says
  --wayland-display NAME
                     the same for a Wayland display
`
	timingHelp = `  --interval D       how often to ask the display (e.g. 5s)
  --lost-after D     a dead link is gone after this long (15s)
  --blind-after D    without an answer, where only answers can be seen (1m)
  --hung-after D     a local server that does not answer is gone after this long
                     (default: never)
  --marker NAME[=VALUE]
                     a variable that tells this session's processes; repeatable
`
	watchHelp = `usage: xexit watch [flags] [-- PROGRAM [ARG...]]

Watches this session's display in the background. When it is gone, runs PROGRAM
once, or without PROGRAM does what 'xexit end' does.

  --foreground       stay in the foreground and say there what happens
` + displayHelp + timingHelp + `  --leader PID       the session's first process; once it has left and nobody is
                     on the display, the session is over
  --owns-login       this display is the whole of its login
`
	sessionHelp = `usage: xexit session [flags] -- CMD [ARG...]

Runs CMD as a session of its own below xexit: whatever CMD starts stays below,
and is ended when CMD has exited or its display is gone. Exits as CMD does.

  --no-display       do not watch the display of the environment
  --config FILE      for the end: configuration instead of the system's
  --progress FILE    for the end: append each step to FILE, as a line of JSON
` + displayHelp + timingHelp
)
