package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
)

// Login says how somebody comes in.
type Login struct {
	Name, User string
	Env        []string // beyond the user's plain environment: a display's, markers
	Plain      bool     // without the start-up's snippets, so without xexit
	NoAudit    bool     // by a login manager whose PAM stack lacks pam_loginuid
	Through    string   // program that starts the login's leader; "": none
	Outer      *Session // no login: typed in this session, below `xexit session` unless Plain
}

// Session is somebody's session in a machine. Its first program is an agent,
// so that what is started through Socket is its child and has its environment.
type Session struct {
	Name, User string
	Socket     string
	Leader     *Ref
}

// Home is a user's home directory.
func Home(user string) string {
	if user == "root" {
		return "/root"
	}
	return "/home/" + user
}

// Login opens a session and returns when its first program runs.
func (m *Machine) Login(l Login) (*Session, error) {
	first := []string{Program, "agent", socketOf(l.Name)}
	home := Home(l.User)
	if l.Outer != nil {
		if !l.Plain {
			first = append(below(l.Env), first...)
		}
		log, err := m.xsessionErrors(l.User)
		if err != nil {
			return nil, err
		}
		if _, err := m.Spawn(l.Outer.Socket, log, agent.Request{
			Argv: first, Add: l.Env, UID: -1, Dir: home, NewSession: true,
		}); err != nil {
			return nil, err
		}
	} else if err := m.throughPAM(l, first); err != nil {
		return nil, err
	}
	return m.Opened(l.Name, l.User)
}

func socketOf(session string) string { return "/run/scenario/" + session + ".sock" }

// Opened waits for the first program of a session, which is an agent that
// listens at /run/scenario/NAME.sock, whoever starts it.
func (m *Machine) Opened(name, user string) (*Session, error) {
	s := &Session{Name: name, User: user, Socket: socketOf(name)}
	if err := m.WaitFile(s.Socket); err != nil {
		return nil, err
	}
	var err error
	s.Leader, err = m.Listener(s.Socket)
	return s, err
}

func below(env []string) []string {
	for _, entry := range env {
		if strings.HasPrefix(entry, "DISPLAY=") {
			return []string{"xexit", "session", "--"}
		}
	}
	return []string{"xexit", "session", "--no-display", "--"}
}

// throughPAM starts the session's first program below a leader of root's, as
// a display manager does.
func (m *Machine) throughPAM(l Login, first []string) error {
	uid, home := Users[l.User], Home(l.User)
	socket := "/run/scenario/" + l.Name + ".login"
	leader := []string{Program, "login", strconv.Itoa(uid), socket}
	if l.NoAudit {
		leader = []string{Program, "agent", socket}
	}
	if l.Through != "" {
		leader = append([]string{l.Through}, leader...)
	}
	if _, err := m.Spawn(RootSocket, "", agent.Request{Argv: leader, Env: RootEnv(), NewSession: true}); err != nil {
		return err
	}
	if err := m.WaitFile(socket); err != nil {
		return err
	}
	if !l.Plain {
		first = append([]string{"/bin/sh", filepath.Dir(Program) + "/Xsession"}, first...)
	}
	log, err := m.xsessionErrors(l.User)
	if err != nil {
		return err
	}
	_, err = m.Spawn(socket, log, agent.Request{
		Argv: first, Env: append(UserEnv(l.User), l.Env...), UID: uid, Dir: home, NewSession: true,
	})
	return err
}

// xsessionErrors is where a user's sessions say what went wrong: a file of his.
func (m *Machine) xsessionErrors(user string) (string, error) {
	name := Home(user) + "/.xsession-errors"
	f, err := os.OpenFile(m.Path(name), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	return name, errors.Join(f.Chown(Users[user], Users[user]), f.Close())
}

// Spawn starts a program that stays, with its output in a file of the machine.
func (m *Machine) Spawn(socket, log string, r agent.Request) (*Ref, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	out := null
	if log != "" {
		out, err = os.OpenFile(m.Path(log), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o666)
		if err != nil {
			return nil, err
		}
		defer out.Close()
	}
	p, err := agent.Start(m.Path(socket), r, null, out, out)
	if err != nil {
		return nil, err
	}
	go func() { _, _ = p.Wait() }()
	return NewRef(p.PID, p.PidFD)
}

// Watched waits until the session's display is watched, and returns what the
// registry says of the session.
func (m *Machine) Watched(s *Session) (entry map[string]string, err error) {
	err = Until("the session "+s.Name+" is registered", func() (bool, error) {
		entry = m.Registered(s)
		return entry != nil, nil
	})
	if err != nil {
		return nil, err
	}
	id, _, _ := strings.Cut(entry["id"], "-")
	said := regexp.MustCompile("session " + id + ".*: watching")
	return entry, Until("the watcher of "+s.Name+" says that it watches", func() (bool, error) {
		text, err := os.ReadFile(m.Path(Syslog))
		return said.Match(text), err
	})
}

// Registered is what the registry says of a session: found by its marker, or
// by its display where its processes carry none. nil: nothing.
func (m *Machine) Registered(s *Session) map[string]string {
	marker, display := m.getenv(s.Leader.PID, "XEXIT_SESSION"), m.getenv(s.Leader.PID, "DISPLAY")
	files, _ := filepath.Glob(m.Path(fmt.Sprintf("/run/user/%d/xexit/*", Users[s.User])))
	for _, name := range files {
		text, _ := os.ReadFile(name)
		entry := make(map[string]string)
		for line := range strings.SplitSeq(string(text), "\n") {
			if key, quoted, ok := strings.Cut(line, "="); ok {
				entry[key], _ = strconv.Unquote(quoted)
			}
		}
		if marker != "" && entry["id"] == marker || marker == "" && display != "" && entry["display"] == strings.TrimSuffix(display, ".0") {
			return entry
		}
	}
	return nil
}

// Getenv is a variable in the environment of a session's first program.
func (m *Machine) Getenv(s *Session, name string) string { return m.getenv(s.Leader.PID, name) }

func (m *Machine) getenv(pid int, name string) string {
	text, _ := os.ReadFile(m.Path(fmt.Sprintf("/proc/%d/environ", pid)))
	for entry := range strings.SplitSeq(string(text), "\x00") {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// RefOf makes a reference to a process by its number in the machine. The
// caller knows that it lives.
func (m *Machine) RefOf(pid int) (*Ref, error) {
	ours, err := os.Readlink(m.Path("/proc/1/ns/pid"))
	if err != nil {
		return nil, err
	}
	stats, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, name := range stats {
		text, _ := os.ReadFile(name)
		_, rest, _ := strings.Cut(string(text), "\nNSpid:")
		if line, _, ok := strings.Cut(rest, "\n"); !ok || !strings.HasSuffix(line, "\t"+strconv.Itoa(pid)) {
			continue
		}
		if ns, _ := os.Readlink(filepath.Dir(name) + "/ns/pid"); ns != ours {
			continue
		}
		host, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		fd, err := unix.PidfdOpen(host, 0)
		if err != nil {
			return nil, fmt.Errorf("pidfd_open %d: %w", host, err)
		}
		return NewRef(pid, os.NewFile(uintptr(fd), "pidfd"))
	}
	return nil, fmt.Errorf("no process %d in the machine", pid)
}
