package matrix

// kinds are the columns of the table.
var kinds = []kind{
	{"Xvfb, unix socket", startXvfb},
	{"Xephyr", startXephyr},
	{"Xvnc", startXvnc},
	{"Xwayland", startXwayland},
	{"weston, Wayland", startWeston},
	{"Xvfb, TCP", startTCP},
	{"Xvfb, TCP over IPv6", startTCP6},
	{"ssh -X", startSSH},
	{"ssh -X behind a relay", startRelay},
}

// What happens in a cell.
var (
	gone    = ends("server-gone")
	lost    = ends("link-lost")
	blind   = ends("blind")
	nothing = outcome{} // and the same watcher then sees a real end
)

// Why a cell cannot be.
var (
	noLink    = cannot("a unix socket has no link that could fail")
	noCarrier = cannot("nothing carries this display but its own connection")
	noGrab    = cannot("Wayland has no request that keeps the compositor from serving others")
	noReset   = cannot("a Wayland compositor knows no reset: SIGHUP ends it")
	noLimit   = cannot("weston has no limit of clients")
)

// table is the matrix: a row a fault, a column a kind, in the order of kinds.
// naive is what the naive watcher makes of it: right, wrong, or either.
//
//	Xvfb, Xephyr, Xvnc, Xwayland, weston, TCP, TCP over IPv6, ssh -X, ssh -X behind a relay
var table = []row{
	{"clean exit", exits, right, []outcome{gone, gone, gone, gone, gone, gone, gone, gone, gone}},
	{"kill", killed, right, []outcome{gone, gone, gone, gone, gone, gone, gone, gone, gone}},
	{"reset (SIGHUP)", reset, right, []outcome{gone, gone, gone, gone, noReset, gone, gone, gone, gone}},
	{"replaced at once", replaced, right, []outcome{gone, gone, gone, gone, gone, gone, gone, gone, gone}},
	{"stop", stopped, wrong, []outcome{nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing}},
	{"grab", grabbed, wrong, []outcome{nothing, nothing, nothing, nothing, noGrab, nothing, nothing, nothing, nothing}},
	{"RST of our connection only", dropped, wrong, []outcome{nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing}},
	{"max clients reached", full, wrong, []outcome{nothing, nothing, nothing, nothing, noLimit, nothing, nothing, nothing, nothing}},
	{"cut", cut, right, []outcome{noLink, noLink, noLink, noLink, noLink, lost, lost, lost, blind}},
	{"cut, healed after 3 s", cut3, right, []outcome{noLink, noLink, noLink, noLink, noLink, nothing, nothing, nothing, nothing}},
	{"cut, healed after 8 s", cut8, right, []outcome{noLink, noLink, noLink, noLink, noLink, nothing, nothing, nothing, nothing}},
	{"cut, healed after 12 s", cut12, right, []outcome{noLink, noLink, noLink, noLink, noLink, nothing, nothing, nothing, nothing}},
	{"frozen, then cut", frozenCut, right, []outcome{noLink, noLink, noLink, noLink, noLink, lost, lost, lost, blind}},
	{"power cycle", powerCycle, right, []outcome{noLink, noLink, noLink, noLink, noLink, gone, gone, lost, gone}},
	{"30 % loss", loss, either, []outcome{noLink, noLink, noLink, noLink, noLink, nothing, nothing, nothing, nothing}},
	{"carrier killed", carrierKilled, right, []outcome{
		noCarrier, noCarrier, noCarrier, noCarrier, noCarrier, noCarrier, noCarrier, gone, gone,
	}},
	{"watcher stopped 60 s", watcherStopped, wrong, []outcome{nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing}},
	{"suspend 60 s", suspended, wrong, []outcome{nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing}},
}

// kind is a kind of display.
type kind struct {
	name  string
	start func(c *cell) error
}

// row is a fault, and what comes of it for each kind.
type row struct {
	name  string
	fault fault
	naive verdict
	cells []outcome
}

// fault has it happen, proves that it did, and where nothing is to come of it
// lets it last and takes it back.
type fault struct {
	inject func(c *cell) error
	server []string // further arguments of the X server
	flags  []string // of xexit watch
	clocks bool     // the watcher runs under clocks of its own
}

// outcome is what must happen: an end with this reason, or nothing.
type outcome struct {
	reason string
	cannot string // why the cell cannot be
}

func ends(reason string) outcome { return outcome{reason: reason} }

func cannot(why string) outcome { return outcome{cannot: why} }

// verdict is the naive watcher's.
type verdict int

const (
	right  verdict = iota // it ends if and only if the display does
	wrong                 // it takes a display that lives for gone
	either                // that is a matter of luck
)

// often: a unix display is asked each 30 s only, too late for a naive watcher
// that is to be fooled by the sleep and not by what was before.
var often = []string{"--interval", "5s"}

var (
	exits          = fault{inject: (*cell).exits}
	killed         = fault{inject: (*cell).killed}
	reset          = fault{inject: (*cell).reset}
	replaced       = fault{inject: (*cell).replaced}
	stopped        = fault{inject: (*cell).stopped}
	grabbed        = fault{inject: (*cell).grabbed}
	dropped        = fault{inject: (*cell).dropped}
	full           = fault{inject: (*cell).full, server: []string{"-maxclients", "64"}}
	cut            = fault{inject: (*cell).cut}
	cut3           = fault{inject: func(c *cell) error { return c.healed(3) }}
	cut8           = fault{inject: func(c *cell) error { return c.healed(8) }}
	cut12          = fault{inject: func(c *cell) error { return c.healed(12) }}
	frozenCut      = fault{inject: (*cell).frozenCut}
	powerCycle     = fault{inject: (*cell).powerCycle}
	loss           = fault{inject: (*cell).loss}
	carrierKilled  = fault{inject: (*cell).carrierKilled}
	watcherStopped = fault{inject: (*cell).watcherStopped}
	suspended      = fault{inject: (*cell).suspended, clocks: true, flags: often}
)
