package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"xexit/tests/machine"
)

// ending is a real end of a display.
type ending struct {
	name  string
	kinds []string
	// make makes it happen, returns since when there is something to notice
	// (CLOCK_MONOTONIC), and what is to be put right when it was noticed.
	make func(*life) (since int64, after func() error, err error)
}

func endings() []ending {
	all := []string{kindUnix, kindTCP, kindSSH}
	far := []string{kindTCP, kindSSH}
	kill := func(who func(*life) *machine.Ref, sig unix.Signal) func(*life) (int64, func() error, error) {
		return func(l *life) (int64, func() error, error) {
			since := monotonic()
			return since, func() error { return nil }, who(l).Signal(sig)
		}
	}
	server := func(l *life) *machine.Ref { return l.server.Ref }
	return []ending{
		{"server killed", all, kill(server, unix.SIGKILL)},
		{"server terminated", all, kill(server, unix.SIGTERM)},
		{"server reset", all, kill(server, unix.SIGHUP)},
		{"ssh killed", []string{kindSSH}, kill(func(l *life) *machine.Ref { return l.ssh.Client }, unix.SIGKILL)},
		{"sshd killed", []string{kindSSH}, kill(func(l *life) *machine.Ref { return l.ssh.Carrier }, unix.SIGKILL)},
		{"cut for good", far, func(l *life) (int64, func() error, error) {
			since := monotonic()
			return since, l.server.Terminal.Heal, l.server.Terminal.Cut()
		}},
		{"power cycle", far, powerCycle},
	}
}

// powerCycle takes the power away for some seconds. Until it is back there is
// nothing but silence, as with a cut that heals.
func powerCycle(l *life) (int64, func() error, error) {
	running := []*machine.Ref{l.server.Ref}
	if l.ssh != nil {
		running = append(running, l.ssh.Client)
	}
	cable := l.server.Terminal
	if err := cable.PowerOff(running...); err != nil {
		return 0, nil, err
	}
	off := time.NewTimer(between(l.rand, time.Second, 8*time.Second))
	<-off.C
	return monotonic(), func() error { return nil }, cable.PowerOn()
}

// end makes a real end and waits until it is seen.
func (l *life) end() error {
	var mine []ending
	for _, e := range endings() {
		for _, kind := range e.kinds {
			if kind == l.kind {
				mine = append(mine, e)
			}
		}
	}
	e := mine[l.rand.IntN(len(mine))]
	l.during = e.name
	since, after, err := e.make(l)
	if err != nil {
		return err
	}
	seen := l.watcher.Gone(patience) // it waits for PROGRAM
	when, reason, ok := l.stamp()
	switch {
	case !seen || !ok:
		l.t.missed(l.kind, fmt.Sprintf("MISSED END of %s: %s\n%s", l.name, e.name, l.log()))
	case when < since:
		l.t.wrong(l.kind, fmt.Sprintf("FALSE END of %s before its %s, reason %s\n%s", l.name, e.name, reason, l.log()))
	default:
		l.t.seen(l.kind, e.name, reason, time.Duration(when-since))
	}
	return after()
}
