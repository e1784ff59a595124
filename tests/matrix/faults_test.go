package matrix

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"xexit/tests/machine"
)

// serverDies sends a signal and waits until the server is dead.
func (c *cell) serverDies(sig syscall.Signal) error {
	c.fault = time.Now()
	if err := c.server.Ref.Signal(sig); err != nil {
		return err
	}
	if !c.server.Ref.Gone(machine.Guard) {
		return errors.New("hang guard: the server still runs")
	}
	return nil
}

func (c *cell) exits() error { return c.serverDies(unix.SIGTERM) }

func (c *cell) killed() error { return c.serverDies(unix.SIGKILL) }

func (c *cell) reset() error { return c.server.Ref.Signal(unix.SIGHUP) }

// replaced has another server in the place of the first before the watcher
// can look: it is stopped for that long.
func (c *cell) replaced() error {
	if err := c.stopWatcher(); err != nil {
		return err
	}
	if err := c.serverDies(unix.SIGKILL); err != nil {
		return err
	}
	if _, err := c.m.Again(c.server); err != nil {
		return err
	}
	c.fault = time.Now()
	return c.watcher.Signal(unix.SIGCONT)
}

// stopped: the server is in state T, and the watcher says that it has no
// answer. That lasts until the naive one must have given up.
func (c *cell) stopped() error {
	if err := c.server.Stop(); err != nil {
		return err
	}
	if err := c.unanswered(); err != nil {
		return err
	}
	return c.server.Continue() // which it must have been stopped for until now
}

// unanswered: the watcher says that it waits for an answer, and goes on
// waiting for longer than the naive one does.
func (c *cell) unanswered() error {
	if err := c.notes("xexit misses an answer", unanswered, 1); err != nil {
		return err
	}
	return c.quiet(max(40*time.Second-time.Since(c.fault), 10*time.Second))
}

// grabbed: while one client holds the grab, the answer to another's request
// does not come.
func (c *cell) grabbed() error {
	holder, err := c.client("holder")
	if err != nil {
		return err
	}
	c.fault = time.Now()
	if err := errors.Join(holder.want("grab", "ok"), c.desk.want("ask", "asked")); err != nil {
		return err
	}
	if err := c.unanswered(); err != nil {
		return err
	}
	if err := errors.Join(c.desk.want("answered", "no"), holder.want("ungrab", "ok")); err != nil {
		return err
	}
	return machine.Until("another client has its answer", func() (bool, error) {
		answer, err := c.desk.say("answered")
		return answer == "yes", err
	})
}

// dropped: our connection breaks and the display lives. The watcher says that
// it connects anew, and then that it has an answer.
func (c *cell) dropped() error {
	before := c.told(answers)
	restore, err := c.drop(c.desk)
	if err != nil {
		return err
	}
	if err := c.notes("xexit connects anew", confirming, 1); err != nil {
		return err
	}
	if err := c.notes("xexit has found its display again", answers, before+1); err != nil {
		return err
	}
	if err := c.naiveGone(); err != nil {
		return err
	}
	return errors.Join(restore(), c.quiet(10*time.Second))
}

// naiveGone waits for the naive watcher: its connection was dropped as well.
func (c *cell) naiveGone() error {
	select {
	case <-c.naive.ended:
		return nil
	case <-time.After(machine.Guard):
		return errors.New("hang guard: the naive watcher's connection was not dropped")
	}
}

// drop breaks the watchers' connections: on a unix socket the server closes
// them, asked by a client, or without knowing it; over TCP whatever they send is answered with a
// reset, until restore.
func (c *cell) drop(by *helper) (restore func() error, err error) {
	if c.server.Wayland {
		return func() error { return nil }, errors.Join(c.hangUp(c.watcher), c.hangUp(c.naive.ref))
	}
	if c.terminal == nil {
		for _, r := range []*machine.Ref{c.watcher, c.naive.ref} {
			if err := by.want(fmt.Sprintf("drop %d", r.PID), "dropped 1"); err != nil {
				return nil, err
			}
		}
		return func() error { return nil }, nil
	}
	var ports []string
	for _, r := range []*machine.Ref{c.watcher, c.naive.ref} {
		port, err := c.port(r)
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	// sshd's side of a forwarded display is the machine itself.
	at := func(argv ...string) []string { return argv }
	if c.ssh == nil {
		at = func(argv ...string) []string { return c.terminal.Command("root", argv...) }
	}
	_, err = c.m.Root(at("nft", fmt.Sprintf(`create table inet answer
		add chain inet answer in { type filter hook input priority 0; policy accept; }
		add rule inet answer in tcp sport { %s } counter reject with tcp reset`, strings.Join(ports, ", ")))...)
	return func() error {
		out, err := c.m.Root(at("nft", "list table inet answer")...)
		if err == nil && !counted.MatchString(out) {
			err = fmt.Errorf("no reset was sent: %s", out)
		}
		_, deleteErr := c.m.Root(at("nft", "delete table inet answer")...)
		return errors.Join(err, deleteErr)
	}, err
}

// hangUp shuts the server's end of a client's connection down.
func (c *cell) hangUp(client *machine.Ref) error {
	out, err := c.m.Root("ss", "-OHxnp", "state", "connected")
	if err != nil {
		return err
	}
	// Netid, state, receive and send queue, name and inode of one end and of the other, users.
	const local, remote, users = 5, 7, 8
	servers := make(map[string]string) // inode → descriptor
	var ends []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) <= users {
			continue
		}
		if found := descriptor.FindStringSubmatch(f[users]); found != nil && found[1] == strconv.Itoa(c.server.Ref.PID) {
			servers[f[local]] = found[2]
		}
		if strings.Contains(f[users], fmt.Sprintf("pid=%d,", client.PID)) {
			ends = append(ends, f[remote])
		}
	}
	for _, end := range ends {
		if text, ok := servers[end]; ok {
			fd, err := strconv.Atoi(text)
			if err != nil {
				return err
			}
			return c.server.Ref.HangUp(fd)
		}
	}
	return fmt.Errorf("the server holds no connection of process %d:\n%s", client.PID, out)
}

var descriptor = regexp.MustCompile(`pid=(\d+),fd=(\d+)`)

var counted = regexp.MustCompile(`counter packets [1-9]`)

// full: the server has no room, and none for the watcher's new connection
// when the old one is dropped. Others are refused for as long as that lasts.
func (c *cell) full() error {
	filler, err := c.client("filler")
	if err != nil {
		return err
	}
	c.fault = time.Now()
	answer, err := filler.say("fill")
	if err != nil || !strings.HasPrefix(answer, "full ") {
		return fmt.Errorf("the server cannot be filled: %q %w", answer, err)
	}
	if err := c.quiet(6 * time.Second); err != nil {
		return err
	}
	if c.naive.gone() {
		return errors.New("the naive watcher ended while its connection stood")
	}
	before := c.told(answers)
	restore, err := c.dropWhileFull(filler)
	if err != nil {
		return err
	}
	if err := c.notes("xexit connects anew", confirming, 1); err != nil {
		return err
	}
	if err := errors.Join(c.naiveGone(), c.quiet(20*time.Second), restore()); err != nil {
		return err
	}
	if c.told(answers) != before {
		return errors.New("xexit was let in: the server was not full")
	}
	var refused, taken int
	answer, err = filler.say("filled")
	if _, scanErr := fmt.Sscan(answer, &refused, &taken); err != nil || scanErr != nil || refused == 0 {
		return fmt.Errorf("nobody was refused: %q %w", answer, errors.Join(err, scanErr))
	}
	if err := filler.in.Close(); err != nil { // and with it go its connections
		return err
	}
	return c.notes("xexit has found its display again", answers, before+1)
}

// dropWhileFull drops the watchers' connections; their places are taken before
// xexit can connect anew.
func (c *cell) dropWhileFull(filler *helper) (restore func() error, err error) {
	if c.terminal != nil {
		return c.drop(filler) // the server does not know of it and keeps the places
	}
	if err := c.stopWatcher(); err != nil {
		return nil, err
	}
	restore, err = c.drop(filler)
	if err != nil {
		return nil, err
	}
	err = machine.Until("the places are taken", func() (bool, error) {
		var refused, taken int
		answer, err := filler.say("filled")
		if err != nil {
			return false, err
		}
		_, err = fmt.Sscan(answer, &refused, &taken)
		return taken >= 2, err
	})
	return restore, errors.Join(err, c.watcher.Signal(unix.SIGCONT))
}
