// Package config reads xexit.toml(5): strict TOML into typed values, and every
// mistake of every file at once, with its line, the key that was meant and
// what to do. It also resolves who and which files a keep rule means. What
// the values do, and defaults that belong to one command only, do not belong
// here.
//
// What the text of the files says wrong is an error, and then nobody is ended.
// What is wrong with the machine around it (a program that is missing, a user
// that is unknown) is a Warning: it comes and goes with packages and logins,
// and must not decide whether sessions are ended at all.
package config

import (
	"time"

	"xexit/internal/session"
)

// Config is the whole configuration, with defaults where nothing was said.
type Config struct {
	Scope     session.Scope
	Grace     time.Duration // between TERM and KILL
	PAMClose  time.Duration // that the leader of a login has for closing it
	Markers   []string      // names of further ambient markers
	Delegated bool          // also end what `systemd-run --user --scope` put aside
	Hooks     Hooks
	Log       Log
	Daemon    Daemon
	Display   Display
	Keep      []Keep

	Sources  []string  // the files that were read, in order
	Warnings []Warning // found while reading
}

// Hooks is about the exit scripts.
type Hooks struct {
	Dir     string        // of those that run as the user
	RootDir string        // of root's own, when the daemon ends a login
	Timeout time.Duration // for each
	Output  int64         // bytes kept of each one's output
	Shield  bool          // whether a hook is kept from signalling xexit
}

// Log says where ends are recorded besides the runtime directory.
type Log struct {
	Syslog bool
	File   bool
}

// Keep is one [[keep]] rule: which processes of whom may outlive a session,
// and for how much.
type Keep struct {
	Name     string
	Users    []string // names, uids, "@group"; empty: everybody
	Programs []string // absolute paths, with * and **
	After    []session.Reason
	Limits   Limits
	From     Position
}

// Limits bound what is kept. Zero is no limit.
type Limits struct {
	For    time.Duration
	Memory int64 // bytes
	CPU    int   // percent of one processor
	Tasks  int
	Count  int // processes kept by the rule, their descendants not counted
}

// Position is a place in a file. Line and Column start at 1; 0 is the file as
// a whole.
type Position struct {
	File         string
	Line, Column int
}

// Default is the configuration where there is no file.
func Default() Config {
	return Config{
		Scope: session.ScopeSession,
		Grace: 3 * time.Second, PAMClose: 10 * time.Second,
		Hooks: Hooks{Dir: "/etc/Xexit.d", RootDir: "/etc/xexit/end.d", Timeout: 30 * time.Second, Output: 64 << 10, Shield: true},
		Log:   Log{Syslog: true, File: true},

		Daemon:  Daemon{Types: []string{TypeX11, TypeWayland}, Exempt: Exemptions(), OtherUsers: true},
		Display: Display{OnLost: LostAuto, LostAfter: 15 * time.Second, BlindAfter: time.Minute},
	}
}

// Paths says what to read.
type Paths struct {
	File string
	Dir  string // then its *.toml, in the order of their names; "": none
	// System: the files are the host's. They need not be there, and must be
	// root's. Otherwise File must be there, and belong to root or the caller.
	System bool
}

// SystemPaths are the host's files.
func SystemPaths() Paths {
	return Paths{File: "/etc/xexit/xexit.toml", Dir: "/etc/xexit/conf.d", System: true}
}

// Load reads the files, later ones overriding earlier ones and adding to their
// keep rules. The error is an *Error with every problem of every file; there
// is no Config then.
func Load(paths Paths) (Config, error) {
	d := &decoder{config: Default(), names: make(map[string]Position)}
	for _, text := range d.read(paths) {
		d.file(text.name, text.content)
		d.config.Sources = append(d.config.Sources, text.name)
	}
	if len(d.problems) > 0 {
		return Config{}, &Error{Problems: d.problems}
	}
	return d.config, nil
}
