package matrix

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// cell is one cell of the matrix, in a machine of its own.
type cell struct {
	kind kind
	row  row
	want outcome

	m        *machine.Machine
	server   *machine.Server   // the display's
	terminal *machine.Terminal // where it is; nil: in the machine itself
	ssh      *machine.SSH      // how one comes in from there; nil: not by ssh
	session  *machine.Session
	env      []string // of the display's clients
	watcher  *machine.Ref
	clock    *helper // the watcher's, for row.fault.clocks
	naive    *naive
	desk     *helper // an X client that stays, as a desktop's do
	fault    time.Time

	fooled   bool   // the naive watcher took the display for gone, and it was not
	starting func() // the cell has been set up, or not

	defers []func()
}

func (c *cell) name() string { return c.kind.name + "/" + c.row.name }

func (c *cell) onEnd(f func()) { c.defers = append(c.defers, f) }

func (c *cell) close() {
	for _, f := range c.defers {
		f()
	}
}

const reports = "/home/alice/report"

// setUp makes the display, logs in and has it watched, by both.
func (c *cell) setUp() error {
	if err := c.kind.start(c); err != nil {
		return fmt.Errorf("start the display: %w", err)
	}
	if err := c.watch(); err != nil {
		return fmt.Errorf("start the watcher: %w", err)
	}
	if err := c.startNaive(); err != nil {
		return err
	}
	if c.server.Wayland {
		return nil
	}
	var err error
	c.desk, err = c.client("desk")
	return err
}

// watch has the session watch its display as a user would, with a PROGRAM
// that reports.
func (c *cell) watch() error {
	argv := append([]string{"xexit", "watch"}, c.row.fault.flags...)
	argv = append(argv, "--", tools+"xclient", "report", reports)
	if c.row.fault.clocks {
		if err := c.watchWithClocks(argv); err != nil {
			return err
		}
	} else {
		r, err := c.m.Run(c.session.Socket, agent.Request{Argv: argv, UID: -1})
		if err == nil && r.Status != 0 {
			err = fmt.Errorf("exit status %d: %s", r.Status, r.Stderr)
		}
		if err != nil {
			return err
		}
	}
	if err := c.notes("xexit watches", regexp.MustCompile(`session .*: watching`), 1); err != nil {
		return err
	}
	files, err := filepath.Glob(c.m.Path(fmt.Sprintf("/run/user/%d/xexit/*", machine.Users["alice"])))
	if err != nil {
		return err
	}
	for _, name := range files {
		text, _ := os.ReadFile(name)
		if found := registered.FindSubmatch(text); found != nil {
			pid, err := strconv.Atoi(string(found[1]))
			if err != nil {
				return err
			}
			c.watcher, err = c.m.RefOf(pid)
			return err
		}
	}
	return errors.New("nobody is registered")
}

var registered = regexp.MustCompile(`(?m)^watcher="(\d+) `)

// watchWithClocks is that by a program that answers for the clocks. Whoever
// started the watcher has left by then, as always.
func (c *cell) watchWithClocks(argv []string) (err error) {
	environ, err := os.ReadFile(c.m.Path(fmt.Sprintf("/proc/%d/environ", c.session.Leader.PID)))
	if err != nil {
		return err
	}
	id := strconv.Itoa(machine.Users["alice"])
	c.clock, _, err = c.helper("clock", "ready", agent.Request{
		Argv: append([]string{tools + "clock", "setpriv", "--reuid", id, "--regid", id, "--clear-groups"}, argv...),
		Env:  strings.Split(strings.TrimRight(string(environ), "\x00"), "\x00"), UID: 0, NewSession: true,
	})
	return err
}

// syslog is what the watcher has said so far.
func (c *cell) syslog() string {
	text, _ := os.ReadFile(c.m.Path(machine.Syslog))
	return string(text)
}

// notes waits until the watcher has said so at least n times.
func (c *cell) notes(what string, said *regexp.Regexp, n int) error {
	return machine.Until(what, func() (bool, error) {
		return len(said.FindAllString(c.syslog(), n)) >= n, nil
	})
}

var (
	unanswered = regexp.MustCompile(`display is (BUSY|SUSPECT|BLIND)\b`)
	confirming = regexp.MustCompile(`display is CONFIRM\b`)
	answers    = regexp.MustCompile(`display is OK\b`)
)

// told counts what the watcher has said.
func (c *cell) told(said *regexp.Regexp) int { return len(said.FindAllString(c.syslog(), -1)) }

// report is what PROGRAM was told.
type report struct {
	at              time.Time
	parent          int
	reason, noticed string
}

func (c *cell) reports() (all []report, err error) {
	text, err := os.ReadFile(c.m.Path(reports))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 4)
		if len(fields) != 4 || !strings.HasSuffix(line, "\n") {
			continue // not written yet
		}
		at, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			return nil, err
		}
		parent, err := strconv.Atoi(fields[1])
		if err != nil {
			return nil, err
		}
		all = append(all, report{time.Unix(0, at), parent, fields[2], fields[3]})
	}
	return all, nil
}

// quiet lets time pass in which nothing happens.
func (c *cell) quiet(d time.Duration) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		switch all, err := c.reports(); {
		case err != nil:
			return err
		case len(all) > 0:
			return fmt.Errorf("a false end %.1f s after the fault: %s (%s)", time.Since(c.fault).Seconds(), all[0].reason, all[0].noticed)
		case !c.watcher.Alive():
			return errors.New("the watcher has ended and run nothing")
		}
	}
	return nil
}

// ended waits for the end that must come. A carrier's may take blind-after
// and the time that the kernels take to give up.
func (c *cell) ended(reason string) (r report, err error) {
	const guard = 150 * time.Second
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(guard); ; <-tick.C {
		all, err := c.reports()
		switch {
		case err != nil:
			return r, err
		case len(all) > 1:
			return r, fmt.Errorf("PROGRAM has run %d times", len(all))
		case len(all) == 1:
			r = all[0]
			if r.parent != c.watcher.PID {
				err = fmt.Errorf("PROGRAM was run by %d, not by the watcher, %d", r.parent, c.watcher.PID)
			}
			if r.reason != reason {
				err = errors.Join(err, fmt.Errorf("the end is %s (%s), not %s", r.reason, r.noticed, reason))
			}
			if r.at.Before(c.fault) {
				err = errors.Join(err, fmt.Errorf("it ended %.1f s before the fault: %s (%s)", c.fault.Sub(r.at).Seconds(), r.reason, r.noticed))
			}
			return r, err
		case !c.watcher.Alive():
			return r, errors.New("the watcher has ended and run nothing")
		case time.Now().After(end):
			return r, fmt.Errorf("hang guard: no end %v after the fault", guard)
		}
	}
}

// run is the whole cell. decision is a line for people.
func (c *cell) run() (decision string, err error) {
	if err := c.setUp(); err != nil {
		return "", err
	}
	c.starting()
	c.fault = time.Now()
	if err := c.row.fault.inject(c); err != nil {
		return "", err
	}
	if c.want.reason != "" {
		r, err := c.ended(c.want.reason)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%s after %s", r.reason, seconds(r.at.Sub(c.fault))), c.naiveEnds()
	}
	if err := c.quiet(0); err != nil {
		return "", err
	}
	lasted := time.Since(c.fault)
	c.fooled = c.naive.gone()
	if err := c.naiveIs(); err != nil {
		return "", err
	}
	c.fault = time.Now()
	if err := c.server.Ref.Signal(unix.SIGKILL); err != nil {
		return "", err
	}
	r, err := c.ended("server-gone")
	if err != nil {
		return "", fmt.Errorf("the real end: %w", err)
	}
	decision = fmt.Sprintf("nothing for %s, then %s after %s", seconds(lasted), r.reason, seconds(r.at.Sub(c.fault)))
	return decision, c.naiveEnds()
}

func (c *cell) naiveIs() error {
	switch {
	case c.row.naive == wrong && !c.fooled:
		return errors.New("the naive watcher was not fooled: this cell cannot fail")
	case c.row.naive == right && c.fooled:
		return fmt.Errorf("the naive watcher was fooled (%s), and the table does not expect it", strings.TrimSpace(c.naive.said))
	}
	return nil
}

// naiveEnds waits until the naive watcher knows what xexit does.
func (c *cell) naiveEnds() error {
	select {
	case <-c.naive.ended:
		return nil
	case <-time.After(machine.Guard):
		return errors.New("hang guard: the naive watcher does not see the end")
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
