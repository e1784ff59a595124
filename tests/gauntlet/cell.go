package gauntlet

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// Outcome is what came of one run.
type Outcome struct {
	Started  int           // processes of the way when the end began
	Left     []string      // those that are left, in words
	LeftPIDs []int         // in the host's numbers
	Took     time.Duration // from the end's begin until nobody was left
	Hurt     []string      // of those beside
	Text     string        // what the ender said
	Status   int           // its exit status
}

// trial is one run: a session, the way in it, those beside it.
type trial struct {
	a      *Arena
	way    Way
	login  *machine.Session // what sshd started
	in     *machine.Session // the session's first program
	id     string           // logind's
	marker string           // XEXIT_SESSION, if it has one
	name   string
	before []int // who was in the login's control group before the way
	own    map[string][]*machine.Ref
	server *machine.Ref // of the display, in user mode
	began  time.Time    // the ender did, and its control group was empty: if the
	died   time.Time    // ender measures that by itself
}

// Run puts a way against an ender. The error is the test's own.
func (a *Arena) Run(way Way, e Ender) (out Outcome, err error) {
	t := &trial{a: a, way: way, name: fmt.Sprintf("t%d", a.count.Add(1)), own: map[string][]*machine.Ref{}}
	if err := t.open(e.Position); err != nil {
		return out, fmt.Errorf("open the session: %w", err)
	}
	defer func() { err = errors.Join(err, t.clear()) }()
	if err := t.start(); err != nil {
		return out, fmt.Errorf("start the way: %w", err)
	}
	out.Started = len(t.alive())
	if out.Started == 0 && !way.Bomb { // a list of those who are born and die all the time may be empty
		text, _ := os.ReadFile(a.inside("/run/scenario/" + t.name + ".errors"))
		return out, fmt.Errorf("the way has no process: %s", text)
	}
	begin := time.Now()
	done := make(chan struct{})
	over := make(chan time.Time, 1)
	go func() { over <- t.emptied(done) }()
	out.Status, out.Text, err = e.End(t)
	if err != nil {
		close(done)
		return out, err
	}
	limit := time.NewTimer(e.Patience)
	defer limit.Stop()
	select {
	case at := <-over:
		out.Took = at.Sub(begin)
	case <-limit.C:
	}
	close(done)
	out.LeftPIDs = t.alive()
	for _, pid := range out.LeftPIDs {
		out.Left = append(out.Left, t.describe(pid))
	}
	for name, refs := range t.own {
		if !slices.ContainsFunc(refs, (*machine.Ref).Alive) {
			out.Hurt = append(out.Hurt, name)
		}
	}
	hurt, err := a.hurt()
	out.Hurt = append(out.Hurt, hurt...)
	return out, err
}

// open starts the session in the position that is asked for.
func (t *trial) open(p Position) (err error) {
	a := t.a
	if t.login, err = a.m.SSHPlain(t.name, "alice", client); err != nil {
		return err
	}
	if t.id, err = a.m.LoginID(t.login); err != nil {
		return err
	}
	t.in = t.login
	if p.inside() {
		if err := t.within(p); err != nil {
			return err
		}
		// Another display of the same login, for as far as xexit can see.
		second := []string{"xexit", "session", "--no-display", "--", machine.Program, "agent", "/run/scenario/" + t.name + "-two.sock"}
		if _, err := a.m.Spawn(t.login.Socket, "/home/alice/.xsession-errors", agent.Request{Argv: second, UID: -1, NewSession: true}); err != nil {
			return err
		}
		two, err := a.m.Opened(t.name+"-two", "alice")
		if err != nil {
			return err
		}
		t.own["another session of the same login"] = []*machine.Ref{two.Leader}
	}
	// What the session put aside is the user's, not the login's.
	tag := t.name[1:]
	for name, one := range map[string]struct{ pattern, program string }{
		"systemd-run --user --scope":        {"sleep 4008" + tag, "sleep 4008" + tag},
		"a container in a scope of its own": {"bwrap .* sleep 4009" + tag, "bwrap --unshare-pid --dev-bind / / sleep 4009" + tag},
	} {
		if err := a.sh(t.in, "systemd-run --user --scope -q "+one.program+" >/dev/null 2>&1 &"); err != nil {
			return err
		}
		if t.own[name], err = a.by(one.pattern); err != nil {
			return err
		}
	}
	return t.still()
}

// within opens a session in the login: one below `xexit session`, or one that
// a watcher sees the display of.
func (t *trial) within(p Position) (err error) {
	a := t.a
	first := []string{machine.Program, "agent", "/run/scenario/" + t.name + "-in.sock"}
	if p == User {
		first, err = t.display(first)
		if err != nil {
			return err
		}
	} else {
		first = append([]string{"xexit", "session", "--no-display", "--"}, first...)
	}
	if _, err := a.m.Spawn(t.login.Socket, "/home/alice/.xsession-errors", agent.Request{Argv: first, UID: -1, NewSession: true}); err != nil {
		return err
	}
	if t.in, err = a.m.Opened(t.name+"-in", "alice"); err != nil {
		text, _ := os.ReadFile(a.inside("/home/alice/.xsession-errors"))
		return fmt.Errorf("%w: %s", err, text)
	}
	t.marker = a.m.Getenv(t.in, "XEXIT_SESSION")
	if p == User {
		return t.watched()
	}
	return nil
}

// still waits until the login's control group has the same processes twice: a
// systemd-run has left it only when it is in a scope of its own.
func (t *trial) still() error {
	var last []int
	return machine.Until("the session has settled", func() (bool, error) {
		now := t.a.members(t.a.scope(t.id))
		same := slices.Equal(now, last)
		last, t.before = now, now
		return same, nil
	})
}

// display starts an X server in the login, and returns what starts a session
// on it as Debian's Xsession would.
func (t *trial) display(first []string) ([]string, error) {
	a := t.a
	r, err := a.m.Run(t.login.Socket, agent.Request{UID: -1, Argv: []string{"sh", "-ec", `
		f=/run/scenario/` + t.name + `.display
		mkfifo $f
		setsid Xvfb -displayfd 3 -screen 0 64x64x24 -nolisten tcp -noreset 3>$f >/dev/null 2>&1 &
		read n <$f; echo $n $!`}})
	if err != nil {
		return nil, err
	}
	f := strings.Fields(r.Stdout)
	if len(f) != 2 {
		return nil, fmt.Errorf("start the X server: %q %q", r.Stdout, r.Stderr)
	}
	pid, _ := strconv.Atoi(f[1])
	if t.server, err = a.m.RefOf(pid); err != nil {
		return nil, err
	}
	start := []string{"env", "DISPLAY=:" + f[0], "/bin/sh", "/usr/libexec/xexit-test/Xsession"}
	return append(start, first...), nil
}

// watched waits until the session's display is watched.
func (t *trial) watched() error {
	return machine.Until("the session is registered", func() (bool, error) { return t.a.m.Registered(t.in) != nil, nil })
}

// start has the session start the way, and waits until it is what it means to be.
func (t *trial) start() error {
	ready := "/run/scenario/" + t.name + ".ready"
	script := "exec >/dev/null 2>/run/scenario/" + t.name + ".errors </dev/null\n" + t.way.Script
	if err := t.a.sh(t.in, script, "O="+outlive, "R="+ready, "S="+t.a.scope(t.id)); err != nil {
		text, _ := os.ReadFile(t.a.inside("/run/scenario/" + t.name + ".errors"))
		return fmt.Errorf("%w: %s", err, text)
	}
	if t.way.Plain {
		return nil
	}
	if err := t.a.m.WaitFile(ready); err != nil {
		text, _ := os.ReadFile(t.a.inside("/run/scenario/" + t.name + ".errors"))
		return fmt.Errorf("%w: %s", err, text)
	}
	return nil
}

// alive are the way's processes: who is in the login's control group and was
// not before. A bomb's may have no number twice.
func (t *trial) alive() []int {
	return slices.DeleteFunc(t.a.members(t.a.scope(t.id)), func(pid int) bool { return slices.Contains(t.before, pid) })
}

// emptied returns when the way has no process any more, or when done. It looks
// again for a while: between two generations nobody may be seen.
func (t *trial) emptied(done <-chan struct{}) time.Time {
	pause, calm := time.Millisecond, 20*time.Millisecond
	if t.way.Bomb { // whose five hundred are not to be listed all the time: that takes the ender's processor
		pause, calm = bombPause, bombCalm
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	var since time.Time
	for {
		if len(t.alive()) > 0 {
			since = time.Time{}
		} else if since.IsZero() {
			since = time.Now()
		} else if time.Since(since) > calm {
			return since
		}
		select {
		case <-tick.C:
		case <-done:
			return time.Time{}
		}
	}
}

var spaces = regexp.MustCompile(`\s+`)

// describe says in words who is left.
func (t *trial) describe(pid int) string {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	state, _, _ := strings.Cut(rest, " ")
	return fmt.Sprintf("%d %s (%s)", pid, strings.TrimSpace(spaces.ReplaceAllString(strings.ReplaceAll(string(line), "\x00", " "), " ")), state)
}

// clear ends whatever the run has left.
func (t *trial) clear() error {
	for _, refs := range t.own {
		for _, r := range refs {
			_ = r.Signal(unix.SIGKILL)
		}
	}
	if t.id == "" {
		return nil
	}
	if t.way.Hung {
		if err := t.a.answer(); err != nil {
			return err
		}
	}
	scope := t.a.inside(t.a.scope(t.id))
	return machine.Until("the login's control group is empty", func() (bool, error) {
		_ = os.WriteFile(scope+"/cgroup.kill", []byte("1"), 0)
		for _, pid := range t.a.members(t.a.scope(t.id)) { // it does not reach all
			if fd, err := unix.PidfdOpen(pid, 0); err == nil {
				if slices.Contains(t.a.members(t.a.scope(t.id)), pid) {
					_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
				}
				_ = unix.Close(fd)
			}
		}
		left := t.a.members(t.a.scope(t.id))
		if len(left) == 0 {
			for _, own := range []string{"own", "ice"} {
				_ = os.Remove(scope + "/" + own)
			}
		}
		return len(left) == 0, nil
	})
}
