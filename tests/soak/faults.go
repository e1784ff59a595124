package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"xexit/tests/machine"
)

// limits are the longest that faults last, and how often they come.
type limits struct {
	over  time.Time // nothing begins after it
	calm  time.Duration
	stop  time.Duration // servers and the like stopped or grabbed
	sleep time.Duration // watchers stopped
	loss  time.Duration
	cut   time.Duration
}

// healed is what a cut may last without being an end.
const healed = 12 * time.Second

// silent is what the user's ssh may be stopped for: nobody can tell that from a
// far end that is gone behind a relay, and blind-after (a minute) ends it.
const silent = 45 * time.Second

// limitsFor gives a short run short faults.
func limitsFor(length time.Duration) limits {
	part := length / 6
	return limits{
		calm: min(20*time.Second, part), stop: min(3*time.Minute, part), sleep: min(90*time.Second, part),
		loss: min(100*time.Second, part), cut: min(healed-time.Second/2, part),
	}
}

// fault is something that must not end a watch. begin proves that it is in
// effect; what it returns ends it and proves that it was until then.
type fault struct {
	name    string
	kinds   []string
	longest func(limits) time.Duration
	begin   func(*life) (end func() error, err error)
	with    []string // what else may happen at the same time
	link    bool     // the link has to recover from it
}

func faults() []fault {
	stop := func(l limits) time.Duration { return l.stop }
	sleep := func(l limits) time.Duration { return l.sleep }
	mute := func(l limits) time.Duration { return min(l.stop, silent) }
	loss := func(l limits) time.Duration { return l.loss }
	cut := func(l limits) time.Duration { return l.cut }
	far := []string{kindTCP, kindSSH}
	other := []string{"loss", "cut", "watcher stopped"}
	return []fault{
		{name: "server stopped", kinds: []string{kindUnix, kindTCP, kindSSH}, longest: stop, begin: stopServer, with: other},
		{name: "server grabbed", kinds: []string{kindUnix, kindTCP, kindSSH}, longest: stop, begin: grab, with: other},
		{name: "ssh stopped", kinds: []string{kindSSH}, longest: mute, with: other, begin: func(l *life) (func() error, error) { return halt(l.ssh.Client) }},
		{name: "sshd stopped", kinds: []string{kindSSH}, longest: stop, with: other, begin: func(l *life) (func() error, error) { return halt(l.ssh.Carrier) }},
		{name: "loss", kinds: far, longest: loss, begin: lose, with: []string{"watcher stopped"}, link: true},
		{name: "cut", kinds: far, longest: cut, begin: cutShort, with: []string{"watcher stopped"}, link: true},
		{name: "watcher stopped", kinds: []string{kindUnix, kindTCP, kindSSH}, longest: sleep, begin: func(l *life) (func() error, error) { return halt(l.watcher) }},
	}
}

// suffer picks a fault, now and then with a second one inside it, and sees it
// through.
func (l *life) suffer(ctx context.Context) error {
	var mine []fault
	for _, f := range faults() {
		if slices.Contains(f.kinds, l.kind) {
			mine = append(mine, f)
		}
	}
	first := mine[l.rand.IntN(len(mine))]
	d := between(l.rand, time.Second, first.longest(l.limits))
	var inner []fault
	for _, f := range mine {
		if slices.Contains(first.with, f.name) {
			inner = append(inner, f)
		}
	}
	l.unclear = false
	l.during = fmt.Sprintf("%s for %v", first.name, d.Round(time.Second/10))
	end, err := l.begin(first)
	if err != nil {
		return err
	}
	link := first.link
	if len(inner) > 0 && l.rand.IntN(3) == 0 {
		second := inner[l.rand.IntN(len(inner))]
		link = link || second.link
		if err := l.within(ctx, second, d); err != nil {
			return err
		}
	} else {
		l.quiet(ctx, d)
	}
	if err := end(); err != nil || ctx.Err() != nil {
		return err
	}
	if link {
		return l.recovered(ctx)
	}
	return nil
}

// within is a second fault during the first.
func (l *life) within(ctx context.Context, f fault, d time.Duration) error {
	inside := min(between(l.rand, time.Second, max(f.longest(l.limits), 2*time.Second)), d)
	l.during += fmt.Sprintf(", in it %s for %v", f.name, inside.Round(time.Second/10))
	l.quiet(ctx, (d-inside)/2)
	end, err := l.begin(f)
	if err != nil {
		return err
	}
	l.quiet(ctx, inside)
	if err := end(); err != nil {
		return err
	}
	l.quiet(ctx, (d-inside)/2)
	return nil
}

func (l *life) begin(f fault) (end func() error, err error) {
	l.t.fault(l.kind, f.name)
	return f.begin(l)
}

// recovered waits until all that was sent over the cable is acknowledged, so
// that one fault does not lengthen the next.
func (l *life) recovered(ctx context.Context) error {
	clean := 0
	for deadline := time.Now().Add(3 * machine.Guard); clean < 3 && l.watcher.Alive(); {
		l.quiet(ctx, time.Second)
		if ctx.Err() != nil {
			return nil
		}
		settled, err := l.server.Terminal.Settled()
		if err != nil {
			return err
		}
		if clean++; !settled {
			clean = 0
		}
		if time.Now().After(deadline) {
			return errors.New("hang guard: the link does not recover")
		}
	}
	return nil
}

func stopServer(l *life) (func() error, error) { return l.server.Continue, l.server.Stop() }

func grab(l *life) (func() error, error) { return l.server.Grab(l.m) }

// halt stops a process and later continues it.
func halt(ref *machine.Ref) (func() error, error) {
	if err := ref.Signal(unix.SIGSTOP); err != nil {
		return nil, err
	}
	return func() error {
		if got := ref.State(); got != 'T' {
			return fmt.Errorf("process %d was not stopped all the while: state %c", ref.PID, got)
		}
		return ref.Signal(unix.SIGCONT)
	}, ref.WaitState('T')
}

func lose(l *life) (func() error, error) {
	cable := l.server.Terminal
	return func() error {
		to, from, err := cable.Dropped("loss")
		if err == nil {
			l.t.dropped(l.kind, to+from)
		}
		return errors.Join(err, cable.Loss(0))
	}, cable.Loss(10 + l.rand.IntN(21))
}

// cutShort pulls the cable and plugs it in again. On a machine that is so
// loaded that this came too late, whatever the watcher decides is right.
func cutShort(l *life) (func() error, error) {
	cable, from := l.server.Terminal, time.Now()
	return func() error {
		to, back, err := cable.Dropped("cut")
		if err == nil {
			l.t.dropped(l.kind, to+back)
		}
		err = errors.Join(err, cable.Heal())
		l.unclear = l.unclear || time.Since(from) > healed
		return err
	}, cable.Cut()
}
