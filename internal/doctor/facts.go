package doctor

import (
	"time"

	"xexit/internal/session"
)

// Facts are what was found out. What could not be found out has its zero value
// unless a field says otherwise.
type Facts struct {
	User     User
	Sessions []Session // those asked for; one without an id is a shell in no session
	Others   []Known   // the user's other live sessions
	Login    Login
	Machine  Machine
	SSH      SSH
	Config   Config
	Records  Records
	Daemon   Daemon
}

// User is who asked.
type User struct {
	Name   string
	UID    uint32
	UIDMin uint32 // of login.defs(5)
	System bool   // a system user, root aside
}

// Known is a session by its name.
type Known struct {
	ID      session.ID
	Display string
}

// Session is one session and its watcher.
type Session struct {
	ID         session.ID
	Display    string // of the registry, else of the environment
	Current    bool   // that of the shell from which doctor was called
	Registered bool
	Phase      session.Phase
	Watcher    Process
	Since      time.Duration // the watcher runs
	Program    string        // what is run at the end; "": xexit end
	Marked     bool          // its processes carry XEXIT_SESSION
	Ambient    []string      // names of ambient markers
	Audit      uint32        // of its login
	Scope      string
	OwnsLogin  bool
	Leader     bool    // known
	Subreaper  bool    // it lives below `xexit session`
	Start      Startup // of the shell, if Current
	Sight      Sight
	Times      Times
}

// watching reports whether a watcher does its work.
func (s Session) watching() bool {
	return s.Registered && s.Phase == session.PhaseWatching && s.Watcher.State.Alive()
}

// Startup is what the shell tells of how its session began.
type Startup struct {
	Marker  session.ID // XEXIT_SESSION; "": unset
	Display string     // DISPLAY
	Wayland string     // socket of WAYLAND_DISPLAY, where that is the session's
	Snippet bool       // Xsession.d has 90xexit
	InPath  bool       // xexit is in PATH
}

// State is what is known of a process.
type State string

// The states.
const (
	Unknown State = "unknown" // there is none, or it is hidden
	Running State = "running"
	Stopped State = "stopped"
	Frozen  State = "frozen"
	Dead    State = "dead"
)

// Alive: stopped counts.
func (s State) Alive() bool { return s == Running || s == Stopped || s == Frozen }

// Process is one that matters. A PID of 0 means that it is not known.
type Process struct {
	PID   int
	Name  string
	State State
}

// Link is what lies between this machine and the display.
type Link string

// The links.
const (
	LinkUnknown Link = ""
	LinkUnix    Link = "unix socket"
	LinkWayland Link = "Wayland" // a compositor on this machine, by its socket
	LinkTCP     Link = "TCP"
	LinkSSH     Link = "ssh"   // of sshd, and the ssh connection that carries it can be watched
	LinkRelay   Link = "relay" // of sshd, and it cannot
)

// Answer is what became of one short connection to the display.
type Answer string

// The answers.
const (
	NotTried Answer = ""
	Answered Answer = "answered"
	Silent   Answer = "silent"    // it let us in line and did not answer in time
	Nobody   Answer = "nobody"    // nobody listens there, or the host is out of reach
	Refused  Answer = "refused"   // for good
	NoCookie Answer = "no cookie" // the file with its cookie does not answer, so it was not asked
	Full     Answer = "full"      // no room for another client now
)

// Sight is what a short connection to a display showed.
type Sight struct {
	Name      string // as DISPLAY spells it; "": there is no display
	Link      Link
	Answer    Answer
	Took      time.Duration
	Why       string // it did not answer
	Remedy    string // for a refusal
	Server    Process
	NoCarrier string // LinkRelay: why the ssh connection cannot be watched
	Countable bool   // it can be seen who is connected
	Command   string // LTSP_XEXIT
}

// Times are the thresholds of a watcher.
type Times struct {
	Lost  time.Duration // a dead link is decided at the latest
	Heals time.Duration // one that is back by then was never gone
	Blind time.Duration // no answer behind a relay
	Hung  time.Duration // no answer of a server that is there; 0: never the end
	Gone  time.Duration // nobody is on the display; then it is over, where the leader is not known
}

// Login is what the kernel and logind say of the shell's login.
type Login struct {
	Audit      uint32
	Scope      string // session-N.scope
	UserUnit   string // the unit below user@.service that the shell is in
	Logind     bool
	Lingers    bool
	KillsFrom  string // file that says KillUserProcesses=yes; "": it does not kill
	KillUnsure string // a file that could not be read
}

// Machine is what xexit stands on.
type Machine struct {
	Host     string
	Kernel   string
	PidFD    string // why there is none; "": it works
	CgroupV2 bool
	HidePID  string // of /proc; "": everything is visible
}

// SSH is what sshd does about a link that died while idle.
type SSH struct {
	Installed bool
	Session   bool          // this login came by ssh
	Interval  time.Duration // ClientAliveInterval; 0: it does not ask
	Count     int           // ClientAliveCountMax
	From      string        // file and line that say so; "": the default
	Unsure    string        // why it cannot be known
	Match     bool          // a Match block says something else for some
}

// Config is what `xexit check` found.
type Config struct {
	Files    []string
	Problems []string
	Warnings int
	Hooks    int
	Keeps    int // keep rules
	Syslog   bool
	File     bool // the history is kept
}

// Records is where records go.
type Records struct {
	Runtime    string // directory
	RuntimeBad string // why it cannot be used, with what to do
	Fallback   bool   // it is below /tmp
	State      string // the history's file; "": nowhere
	StateBad   string
	Syslog     string // socket
	SyslogBad  string
}
