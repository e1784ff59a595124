package display

import "time"

// Kind says what was observed.
type Kind uint8

// The observations.
const (
	Tick      Kind = iota // time passed; with Link and Peer if there is no answer, and always with a carrier's Link
	Answer                // the question was answered; with a carrier's Link
	Traffic               // the server sent something else
	Broken                // the connection ended; Cause, LinkError
	Command               // LTSP_XEXIT was read; Value
	LeaderEnd             // the session's leader exited
	Clients               // the server's clients were counted; Others, Resident
	Opening               // somebody else has been asked to begin the new connection
	Begun                 // that has happened: its time counts from now
	Reached               // the new connection's transport stands
	Tried                 // the new connection came to a result; Outcome, Cause
	Look                  // look now, and say within Within what is known
)

// Outcome is the result of one try to connect anew.
type Outcome uint8

// The outcomes.
const (
	SameDisplay  Outcome = iota // the token is the one that was set at the start
	OtherDisplay                // the token is another, or there is none
	NoEntry                     // our cookie is refused
	NobodyThere                 // connection refused, no such socket
	NoRoute                     // no route to host and the like
	Dropped                     // it broke, or spoke nonsense, before it could be told
	Full                        // no room for another client, or to queue for one
	Unable                      // this process has no means left to try; the display was not asked
)

// Peer is what is known of the process that serves a unix socket.
type Peer uint8

// The peer's states.
const (
	PeerUnknown Peer = iota
	PeerAlive
	PeerStopped // by a signal or a debugger
	PeerFrozen  // in an uninterruptible sleep, or by its cgroup
	PeerDead
)

// LinkSample is the kernel's view of a TCP connection: of ours, or of the one
// that carries it.
type LinkSample struct {
	Known       bool
	Unacked     uint32
	Retransmits uint8
	Probes      uint8
	Silence     time.Duration // since the peer's kernel last acknowledged anything
	RTT         time.Duration

	// Of a relayed display, with a carrier or without: what the watcher sent
	// and sshd has not read. 0, too, where that cannot be known.
	Unread uint32

	// Of a carrier only.
	Vanished bool
	Received uint64        // bytes that came
	Sent     time.Duration // since the kernel last transmitted
	Next     time.Duration // until it transmits again what was not acknowledged; 0: at once, or never
}

// Observation is one input of the machine. Now is the monotonic clock, which
// stands still in suspend; Slept is for how long it did so since the last
// observation.
type Observation struct {
	Kind  Kind
	Now   time.Duration
	Slept time.Duration

	Link LinkSample
	Peer Peer

	Cause     string
	LinkError bool // Broken: ETIMEDOUT, no route: the link died, not the server

	Value   string // Command
	Outcome Outcome

	Others   int                 // Clients: those that are not watchers
	Resident [maxResident]uint64 // names of the first of them, 0 for none

	Within time.Duration // Look
}

// maxResident is how many clients are told apart to see that one stays.
const maxResident = 8

// Actions are the outputs of one step.
type Actions struct {
	Ping    bool          // ask
	NoOp    bool          // send something that needs no answer
	Connect bool          // try a new connection, dropping a try under way
	Abort   bool          // drop the try under way
	Drop    bool          // close the old connection
	Adopt   bool          // the new connection takes the old one's place
	Count   bool          // count the clients
	Alive   bool          // the answer to Look: no end is known
	Wake    time.Duration // next Tick, on the clock of Now
	Note    string        // what changed, in words
}
