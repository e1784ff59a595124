package system

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// Login is somebody's login. Its first program is an agent.
type Login struct {
	*machine.Session
	ID     string       // logind's
	Leader *machine.Ref // logind's: who closes the login
	Group  string       // its control group
	Server *machine.Ref // of its display; nil: it has none
	// cut breaks the link that it came by; nil: it has none.
	cut func() error
	// after is done when it has ended.
	after func() error
}

// Kind is a way to log in.
type Kind struct {
	Name string
	Ends []End
	// server is what the X server in the login calls itself; "": there is none.
	server string
	// own: its display is the login's own, so that its loss ends the login.
	own bool
	// halved: `make test` has half of its cells, see due.
	halved bool
	// noticed are the reasons that must be on record, of ends that nobody
	// notices but the daemon.
	noticed map[End]string
	open    func(h *Host, name, user string) (*Login, error)
}

// End is a way in which a login ends.
type End string

// The ends.
const (
	Logout       End = "logout"
	LeaderKilled End = "leader killed"
	LinkCut      End = "link cut"
	ServerKilled End = "X server killed"
)

// Kinds are all of them.
func Kinds() []Kind {
	return []Kind{
		{Name: "ssh", Ends: []End{Logout, LeaderKilled, LinkCut}, open: (*Host).ssh},
		{Name: "login on a terminal", Ends: []End{Logout, LeaderKilled, LinkCut}, open: (*Host).terminal},
		{Name: "Xvnc", Ends: []End{Logout, LeaderKilled, ServerKilled}, server: "Xtigervnc", own: true, open: (*Host).vnc},
		{Name: "ssh -X", Ends: []End{Logout, LeaderKilled, LinkCut}, open: (*Host).forwarded},
		{Name: "xrdp", Ends: []End{Logout, LeaderKilled, ServerKilled}, server: "Xvnc", own: true, halved: true, open: (*Host).xrdp},
		{
			Name: "XDMCP", Ends: []End{Logout, LeaderKilled, LinkCut, ServerKilled}, own: true, halved: true, open: (*Host).xdmcp,
			noticed: map[End]string{LinkCut: "link-lost", ServerKilled: "server-gone"},
		},
	}
}

// Open logs a user in, and returns when his first program runs and logind has
// the login.
func (h *Host) Open(kind Kind, user string) (*Login, error) {
	name := h.name("l")
	l, err := kind.open(h, name, user)
	if err != nil {
		return nil, fmt.Errorf("log in by %s: %w", kind.Name, err)
	}
	l.Name = name // what is left behind is called by it
	err = machine.Until("the login is in a scope of its own", func() (bool, error) {
		var err error
		l.ID, err = h.m.LoginID(l.Session)
		return err == nil, nil
	})
	if err != nil {
		return nil, err
	}
	l.Group = fmt.Sprintf("/user.slice/user-%d.slice/session-%s.scope", machine.Users[user], l.ID)
	err = machine.Until("logind has login "+l.ID, func() (bool, error) {
		pid, err := strconv.Atoi(h.said(l.ID, "LEADER"))
		if err != nil {
			return false, nil
		}
		l.Leader, err = h.m.RefOf(pid)
		return err == nil, err
	})
	if err == nil && kind.server != "" {
		l.Server, err = h.called(l.Group, kind.server)
	}
	return l, err
}

// said is what logind says of a login; "": nothing.
func (h *Host) said(id, key string) string {
	text, _ := os.ReadFile(h.m.Path("/run/systemd/sessions/" + id))
	for line := range strings.SplitSeq(string(text), "\n") {
		if value, ok := strings.CutPrefix(line, key+"="); ok {
			return value
		}
	}
	return ""
}

// end ends a login.
func (l *Login) end(how End) error {
	switch how {
	case Logout:
		return l.Session.Leader.Signal(unix.SIGTERM)
	case LeaderKilled:
		return l.Leader.Signal(unix.SIGKILL)
	case LinkCut:
		return l.cut()
	case ServerKilled:
		return l.Server.Signal(unix.SIGKILL)
	}
	return fmt.Errorf("unknown end %q", how)
}

// ssh comes from a terminal of its own, over a cable.
func (h *Host) ssh(name, user string) (*Login, error) {
	t, err := h.m.Terminal(name)
	if err != nil {
		return nil, err
	}
	return h.sshFrom(t, name, user, nil)
}

// sshFrom comes from a terminal, with further arguments of ssh and variables in
// its environment.
func (h *Host) sshFrom(t *machine.Terminal, name, user string, args []string, env ...string) (*Login, error) {
	socket := "/run/scenario/" + name + ".sock"
	log := "/run/scenario/" + name + ".ssh.log"
	if _, err := h.m.Spawn(machine.RootSocket, log, agent.Request{
		Argv: t.Command("root", slices.Concat([]string{"ssh", "-F", "none"}, args, []string{
			"-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "StrictHostKeyChecking=no",
			"-o", "UserKnownHostsFile=/dev/null", user + "@" + t.Near, "exec " + machine.Program + " agent " + socket,
		})...),
		Env: append(machine.RootEnv(), env...), UID: -1, NewSession: true,
	}); err != nil {
		return nil, err
	}
	s, err := h.m.Opened(name, user)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, h.text(log))
	}
	return &Login{Session: s, cut: t.Cut}, nil
}

// terminal is login(1) on a pty, as getty starts it.
func (h *Host) terminal(name, user string) (*Login, error) {
	master, slave, err := h.pty()
	if err != nil {
		return nil, err
	}
	defer slave.Close()
	p, err := agent.Start(h.m.Path(machine.RootSocket), agent.Request{
		Argv: []string{"login", "-p", "-f", user}, UID: -1, Terminal: true,
		Env: append(machine.RootEnv()[:1:1], "TERM=dumb", "XEXIT_TEST_AGENT=/run/scenario/"+name+".sock"),
	}, slave, slave, slave)
	if err != nil {
		return nil, errors.Join(err, master.Close())
	}
	_ = p.PidFD.Close()
	go func() { _, _ = p.Wait() }()
	s, err := h.m.Opened(name, user)
	return &Login{Session: s, cut: master.Close, after: func() error { _ = master.Close(); return nil }}, err
}

// pty makes one of the container's.
func (h *Host) pty() (master, slave *os.File, err error) {
	master, err = os.OpenFile(h.m.Path("/dev/pts/ptmx"), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	fd, err := unix.IoctlRetInt(int(master.Fd()), unix.TIOCGPTPEER)
	if err == nil {
		return master, os.NewFile(uintptr(fd), "terminal"), nil
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	slave, err = os.OpenFile(h.m.Path("/dev/pts/"+strconv.Itoa(n)), os.O_RDWR|unix.O_NOCTTY, 0)
	return master, slave, err
}

// vnc is a login by TigerVNC's own session service.
func (h *Host) vnc(name, user string) (*Login, error) {
	display := fmt.Sprintf(":%d", 20+h.count.Add(1))
	unit := "tigervncserver@" + display + ".service"
	if err := h.root(fmt.Sprintf("echo %s=%s >>/etc/tigervnc/vncserver.users; systemctl start %s", display, user, unit)); err != nil {
		return nil, err
	}
	s, err := h.m.Opened("x"+display, user)
	if err != nil {
		journal, _ := h.ask("journalctl -n 20 --no-pager; cat /home/" + user + "/.vnc/*.log || :")
		return nil, fmt.Errorf("%w: %s", err, journal)
	}
	return &Login{Session: s, after: func() error {
		return h.root("systemctl stop " + unit + "; systemctl reset-failed " + unit + " 2>/dev/null || :")
	}}, nil
}

// called finds the process of a name in a control group.
func (h *Host) called(group, comm string) (*machine.Ref, error) {
	for _, pid := range h.members(group) {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if strings.TrimSpace(string(name)) != comm {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return nil, fmt.Errorf("pidfd_open %d: %w", pid, err)
		}
		return machine.NewRef(0, os.NewFile(uintptr(fd), "pidfd"))
	}
	return nil, fmt.Errorf("no %s in %s", comm, group)
}
