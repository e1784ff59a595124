package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// Kinds of displays.
const (
	kindUnix = "unix"
	kindTCP  = "tcp"
	kindSSH  = "ssh"
)

// stamps is where each PROGRAM writes when and why it ran.
const stamps = "/home/alice/soak"

// patience is how long a real end may go unseen before it counts as missed.
// It is no goal: nothing that is seen comes near it.
const patience = 3 * time.Minute

// seat is a place for displays of one kind, one after another.
type seat struct {
	m      *machine.Machine
	t      *tally
	limits limits
	kind   string
	name   string
	rand   *rand.Rand
	lives  int
}

// life is one display with its session and watcher, from start to end.
type life struct {
	*seat
	name    string
	server  *machine.Server
	session *machine.Session
	ssh     *machine.SSH // nil: another kind
	watcher *machine.Ref
	id      string         // of the session
	others  []*machine.Ref // what else is killed when it is over
	during  string         // the fault that it is under
	unclear bool           // the fault went on for longer than nothing may happen
}

// live runs one life after another. A wrong decision is counted; an error is
// that of the soak itself.
func (s *seat) live(ctx context.Context) error {
	for {
		l, err := s.start()
		if err != nil {
			return err
		}
		again, err := l.run(ctx)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("%s (%s): %w", l.name, l.during, err)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err := l.clear(); err != nil || !again {
			return err
		}
	}
}

func (s *seat) start() (*life, error) {
	s.lives++
	l := &life{seat: s, name: fmt.Sprintf("%s-%d", s.name, s.lives), during: "start"}
	var err error
	switch s.kind {
	case kindUnix:
		l.server, err = s.m.Xvfb(l.name, "alice", false)
	case kindTCP:
		var t *machine.Terminal
		if t, err = s.m.Terminal(s.name); err == nil {
			l.server, err = t.Xvfb(l.name, "alice")
		}
	case kindSSH:
		if l.ssh, err = s.m.SSH(machine.SSHLogin{Name: l.name, User: "alice", Terminal: s.name, Plain: true}); err == nil {
			l.server, l.session = l.ssh.Server, l.ssh.Session
			l.others = append(l.others, l.ssh.Client, l.ssh.Carrier, l.ssh.Monitor)
		}
	}
	if err != nil {
		return nil, err
	}
	if l.session == nil {
		l.session, err = s.m.Login(machine.Login{Name: l.name, User: "alice", Plain: true, Env: l.server.Env()})
		if err != nil {
			return nil, err
		}
		leader, err := s.m.Listener("/run/scenario/" + l.name + ".login")
		if err != nil {
			return nil, err
		}
		l.others = append(l.others, leader)
	}
	l.others = append(l.others, l.session.Leader, l.server.Ref)
	return l, l.watch()
}

// watch starts the watcher as a user would, with a PROGRAM that leaves a note.
func (l *life) watch() error {
	const program = `f=$1; ` + machine.Program + ` stamp "$f.new" && echo "$XEXIT_REASON" >>"$f.new" && mv "$f.new" "$f"`
	argv := append([]string{"xexit", "watch"}, l.t.o.flags...)
	argv = append(argv, "--", "/bin/sh", "-c", program, "program", stamps+"/"+l.name)
	r, err := l.m.Run(l.session.Socket, agent.Request{Argv: argv, UID: -1})
	if err == nil && r.Status != 0 {
		err = fmt.Errorf("xexit watch: exit status %d: %s", r.Status, r.Stderr)
	}
	if err != nil {
		return err
	}
	entry, err := l.m.Watched(l.session)
	if err != nil {
		return err
	}
	number, _, _ := strings.Cut(entry["watcher"], " ")
	pid, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	l.id, _, _ = strings.Cut(entry["id"], "-")
	l.watcher, err = l.m.RefOf(pid)
	return err
}

// run lets faults happen until a real end. again: the seat gets a new display.
func (l *life) run(ctx context.Context) (again bool, err error) {
	for {
		l.during = "nothing"
		going := l.quiet(ctx, between(l.rand, l.limits.calm/4, l.limits.calm))
		if l.wrong(ctx) {
			return going, nil
		}
		if !going || l.rand.IntN(6) == 0 {
			if ctx.Err() != nil {
				return false, nil
			}
			return going, l.end()
		}
		if err := l.suffer(ctx); err != nil {
			return false, err
		}
		if l.wrong(ctx) {
			return time.Now().Before(l.limits.over), nil
		}
	}
}

// quiet lets time pass, less when the watch ends. false: the run is over.
func (l *life) quiet(ctx context.Context, d time.Duration) bool {
	end := time.Now().Add(min(d, time.Until(l.limits.over)))
	for time.Now().Before(end) && l.watcher.Alive() {
		if !rest(ctx, end, 250*time.Millisecond) && ctx.Err() != nil {
			return false
		}
	}
	return time.Now().Before(l.limits.over)
}

// wrong counts a watch that has ended though the display is there.
func (l *life) wrong(ctx context.Context) bool {
	if l.watcher.Alive() || ctx.Err() != nil {
		return false
	}
	_, reason, _ := l.stamp()
	if l.unclear {
		l.t.unclear(l.kind)
		return true
	}
	if reason == "" {
		reason = "none: the watcher ended without PROGRAM"
	}
	l.t.wrong(l.kind, fmt.Sprintf("FALSE END of %s under %s, reason %s\n%s", l.name, l.during, reason, l.log()))
	return true
}

// stamp is when and why PROGRAM ran.
func (l *life) stamp() (when int64, reason string, ok bool) {
	text, err := os.ReadFile(l.m.Path(stamps + "/" + l.name))
	if err != nil {
		return 0, "", false
	}
	first, rest, _ := strings.Cut(string(text), "\n")
	when, err = strconv.ParseInt(first, 10, 64)
	return when, strings.TrimSpace(rest), err == nil
}

// log is what the watcher said.
func (l *life) log() string {
	text, err := os.ReadFile(l.m.Path(machine.Syslog))
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "session "+l.id) {
			b.WriteString("    " + line)
		}
	}
	return b.String()
}

// clear removes what is left of it.
func (l *life) clear() error {
	for _, ref := range append(l.others, l.watcher) {
		if err := ref.Signal(unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		if !ref.Gone(machine.Guard) {
			return fmt.Errorf("hang guard: process %d still runs", ref.PID)
		}
	}
	_, err := l.m.Root("rm", "-f", stamps+"/"+l.name)
	return err
}

// monotonic is CLOCK_MONOTONIC in nanoseconds: the same in every namespace.
func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}
