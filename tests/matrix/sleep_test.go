package matrix

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"xexit/tests/machine"
)

func (c *cell) stopWatcher() error {
	if err := c.watcher.Signal(unix.SIGSTOP); err != nil {
		return err
	}
	return c.watcher.WaitState('T')
}

// asleep has both watchers stopped for a minute; proof is their state.
func (c *cell) asleep() error {
	both := []*machine.Ref{c.watcher, c.naive.ref}
	for _, r := range both {
		if err := r.Signal(unix.SIGSTOP); err != nil {
			return err
		}
		if err := r.WaitState('T'); err != nil {
			return err
		}
	}
	if err := c.quiet(time.Minute); err != nil {
		return err
	}
	for _, r := range both {
		if got := r.State(); got != 'T' {
			return fmt.Errorf("a watcher was not stopped: state %c", got)
		}
	}
	return nil
}

func (c *cell) awake() error {
	return errors.Join(c.watcher.Signal(unix.SIGCONT), c.naive.ref.Signal(unix.SIGCONT))
}

// watcherStopped: the display has no fault at all.
func (c *cell) watcherStopped() error {
	if err := errors.Join(c.asleep(), c.awake()); err != nil {
		return err
	}
	return errors.Join(c.naiveGone(), c.quiet(10*time.Second))
}

// suspended: xexit has asked and has no answer, as the server is stopped. Then
// its machine sleeps for a minute: it is stopped, and its CLOCK_MONOTONIC
// stands still. The server's host goes on. Awake again, the question is a
// minute old by every other clock, and still has no answer for a while.
func (c *cell) suspended() error {
	if err := c.server.Stop(); err != nil {
		return err
	}
	if err := c.notes("xexit misses an answer", unanswered, 1); err != nil {
		return err
	}
	before := c.told(answers)
	if err := c.clock.want("suspend", "ok"); err != nil {
		return err
	}
	if err := c.asleep(); err != nil {
		return err
	}
	if err := errors.Join(c.clock.want("resume", "ok"), c.awake()); err != nil {
		return err
	}
	if err := errors.Join(c.naiveGone(), c.quiet(10*time.Second)); err != nil {
		return err
	}
	if err := c.ahead(); err != nil {
		return err
	}
	if err := c.server.Continue(); err != nil {
		return err
	}
	return c.notes("xexit has its answer", answers, before+1)
}

// ahead proves that the watcher has read the clocks since, and was told of a
// minute asleep.
func (c *cell) ahead() error {
	answer, err := c.clock.say("ahead")
	if err != nil {
		return err
	}
	var ahead time.Duration
	var reads int
	if _, err := fmt.Sscan(answer, (*int64)(&ahead), &reads); err != nil {
		return err
	}
	if ahead < time.Minute || reads == 0 {
		return fmt.Errorf("the watcher has read its clocks %d times since, %v apart", reads, ahead)
	}
	return nil
}
