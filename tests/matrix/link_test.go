package matrix

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"xexit/tests/machine"
)

// wire is what ss(8) says of the sockets at this end of the cable that carry
// the display: the watcher's own, or those of the carrier.
func (c *cell) wire() (string, error) {
	if c.ssh == nil {
		return c.socket(c.watcher)
	}
	argv := []string{"ss", "-OHtin", "state", "established", "dst", c.terminal.IPv4}
	if c.ssh.Relay != nil {
		argv = c.ssh.Relay.Command("root", argv...)
	}
	return c.m.Root(argv...)
}

var lastSent = regexp.MustCompile(`\blastsnd:(\d+)`)

// soon waits until the watcher is about to ask: it does each five seconds. So
// even a short cut meets a question on its way.
func (c *cell) soon() error {
	if c.ssh != nil {
		return nil // the desk asks, on the same carrier
	}
	return machine.Until("the watcher is about to ask", func() (bool, error) {
		line, err := c.wire()
		if err != nil {
			return false, err
		}
		found := lastSent.FindStringSubmatch(line)
		if found == nil {
			return false, fmt.Errorf("no lastsnd: %s", line)
		}
		ms, err := strconv.Atoi(found[1])
		return ms >= 3500 && ms < 4500, err
	})
}

// inVain waits until there is data on its way that nobody acknowledges. The
// display must not have ended before, and the cut be still in effect.
func (c *cell) inVain() error {
	return machine.Until("data is on its way in vain", func() (bool, error) {
		line, err := c.wire()
		return strings.Contains(line, "unacked:"), err
	})
}

// pull cuts the cable for good, with proof.
func (c *cell) pull() error {
	if err := c.soon(); err != nil {
		return err
	}
	c.fault = time.Now()
	if err := c.terminal.Cut(); err != nil {
		return err
	}
	if c.ssh != nil {
		if err := c.desk.want("ask", "asked"); err != nil {
			return err
		}
	}
	return c.inVain()
}

func (c *cell) cut() error { return c.pull() }

// errUnclear reports that the machine was too loaded for a fault to be what
// it is called.
var errUnclear = errors.New("the cell is not clear")

// healed: out for that many seconds, and then for long enough that an end
// which the cut has begun would be decided.
func (c *cell) healed(n int) error {
	if err := c.pull(); err != nil {
		return err
	}
	if err := c.quiet(time.Until(c.fault.Add(time.Duration(n) * time.Second))); err != nil {
		return err
	}
	if to, _, err := c.terminal.Dropped("cut"); err != nil || to == 0 {
		return fmt.Errorf("the cut was not in effect: %d packets were lost %w", to, err)
	}
	if err := c.terminal.Heal(); err != nil {
		return err
	}
	if late := time.Since(c.fault) - time.Duration(n)*time.Second; late > time.Second/2 {
		return fmt.Errorf("healed %v late: %w", late, errUnclear)
	}
	return c.quiet(20 * time.Second)
}

// frozenCut: first the server stops, so that what was sent is acknowledged
// and not answered; then the cable is cut.
func (c *cell) frozenCut() error {
	if err := c.server.Stop(); err != nil {
		return err
	}
	if err := c.notes("xexit misses an answer", unanswered, 1); err != nil {
		return err
	}
	c.fault = time.Now()
	if err := c.terminal.Cut(); err != nil {
		return err
	}
	// Of what is sent now nothing may come to an end of the cable.
	err := machine.Until("packets are lost", func() (bool, error) {
		to, _, err := c.terminal.Dropped("cut")
		return to > 0, err
	})
	if got := c.server.Ref.State(); err == nil && got != 'T' {
		err = fmt.Errorf("the server was not stopped: state %c", got)
	}
	return err
}

// powerCycle: the terminal is off for five seconds, and has forgotten
// everything when it is back.
func (c *cell) powerCycle() error {
	programs := []*machine.Ref{c.server.Ref}
	if c.ssh != nil {
		programs = append(programs, c.ssh.Client)
	}
	c.fault = time.Now()
	if err := c.terminal.PowerOff(programs...); err != nil {
		return err
	}
	if err := c.quiet(5 * time.Second); err != nil {
		return err
	}
	if err := c.terminal.PowerOn(); err != nil {
		return err
	}
	if c.ssh != nil {
		return nil // nobody has logged in again yet
	}
	_, err := c.m.Again(c.server)
	return err
}

// loss: of all packets 30 %, both ways, for a minute.
func (c *cell) loss() error {
	if err := c.terminal.Loss(30); err != nil {
		return err
	}
	if err := c.quiet(time.Minute); err != nil {
		return err
	}
	to, from, err := c.terminal.Dropped("loss")
	if err == nil && (to == 0 || from == 0) {
		err = fmt.Errorf("%d packets to the terminal were lost, %d from it", to, from)
	}
	return errors.Join(err, c.terminal.Loss(0))
}

// carrierKilled: the sshd that carries the display, or the relay on its way.
func (c *cell) carrierKilled() (err error) {
	carrier := c.ssh.Carrier
	if c.ssh.Relay != nil {
		if carrier, err = c.listens(c.ssh.Relay, c.terminal.Near+":22"); err != nil {
			return err
		}
	}
	c.fault = time.Now()
	if err := carrier.Signal(unix.SIGKILL); err != nil {
		return err
	}
	if !carrier.Gone(machine.Guard) {
		return errors.New("hang guard: the carrier still runs")
	}
	return nil
}
