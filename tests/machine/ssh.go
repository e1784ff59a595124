package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"xexit/tests/agent"
)

// SSHLogin says how somebody comes in with `ssh -Y`, from a terminal with an X
// server of its own.
type SSHLogin struct {
	Name, User string
	Terminal   string   // its name; "": one for this login alone, called as the login is
	Relay      bool     // by way of a relay: the cable that sshd's end sees is not the terminal's
	Untrusted  bool     // ssh -X: the SECURITY extension's untrusted client
	Plain      bool     // without the start-up's snippets, so without xexit
	Server     []string // further arguments of the X server
}

// SSH is such a session. Its display is one of sshd's; the X server behind it
// is the terminal's.
type SSH struct {
	*Session
	Server     *Server   // at the terminal
	Terminal   *Terminal // its cable leads to the machine or to the relay
	Relay      *Terminal // nil: none. Its cable leads to the machine
	Client     *Ref      // ssh
	Carrier    *Ref      // the sshd that runs as the user and holds the connection
	Monitor    *Ref      // its parent, root's
	Display    string    // DISPLAY in the session: localhost:10.0 and up
	Connection string    // SSH_CONNECTION in the session
}

// Env is what a client in the machine needs to use the session's display.
func (s *SSH) Env() []string {
	return []string{"DISPLAY=" + s.Display, "XAUTHORITY=" + Home(s.User) + "/.Xauthority"}
}

const sshKeys = "/etc/ssh/machine"

// sshdConfig is Debian's as far as X11 goes. XDG_RUNTIME_DIR is what
// pam_systemd would set.
const sshdConfig = `HostKey ` + sshKeys + `/host
PidFile /run/sshd.pid
UsePAM yes
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile ` + sshKeys + `/user.pub
StrictModes no
X11Forwarding yes
X11UseLocalhost yes
X11DisplayOffset 10
MaxStartups 100
PrintMotd no
UseDNS no
`

// sshd starts the real one, once, with keys of its own.
func (m *Machine) sshd() error {
	m.laying.Lock()
	defer m.laying.Unlock()
	if m.serving {
		return nil
	}
	config := sshdConfig
	for name, uid := range Users {
		if uid >= 1000 {
			config += fmt.Sprintf("Match User %s\n\tSetEnv XDG_RUNTIME_DIR=/run/user/%d LANG=C.UTF-8\n", name, uid)
		}
	}
	if _, err := m.Root("sh", "-ec", `
		mkdir -p /run/sshd `+sshKeys+`
		ssh-keygen -q -t ed25519 -N '' -f `+sshKeys+`/host
		ssh-keygen -q -t ed25519 -N '' -f `+sshKeys+`/user
		chmod 644 `+sshKeys+`/user.pub
		chown guest: `+sshKeys+`/user`); err != nil {
		return err
	}
	for name, text := range map[string]string{
		sshKeys + "/config": config,
		// Keys, and an audit id for each login.
		"/etc/pam.d/sshd": "account required pam_permit.so\nsession required pam_loginuid.so\n",
	} {
		if err := os.WriteFile(m.Path(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if _, err := m.Spawn(RootSocket, "/run/scenario/sshd.log", agent.Request{
		Argv: []string{"/usr/sbin/sshd", "-D", "-e", "-f", sshKeys + "/config"}, Env: RootEnv(), NewSession: true,
	}); err != nil {
		return err
	}
	m.serving = true
	return m.WaitFile("/run/sshd.pid") // written once it listens
}

// SSH logs in and returns when the session's first program runs.
func (m *Machine) SSH(l SSHLogin) (*SSH, error) {
	if err := m.sshd(); err != nil {
		return nil, err
	}
	s := &SSH{Session: &Session{Name: l.Name, User: l.User, Socket: "/run/scenario/" + l.Name + ".sock"}}
	to, err := s.wire(m, l)
	if err != nil {
		return nil, err
	}
	if s.Server, err = s.Terminal.Xvfb(l.Name, "guest", l.Server...); err != nil {
		return nil, err
	}
	errorsTo, err := m.xsessionErrors(l.User)
	if err != nil {
		return nil, err
	}
	first := Program + " agent " + s.Socket
	if !l.Plain {
		first = "/bin/sh " + filepath.Dir(Program) + "/Xsession " + first
	}
	// Debian's ssh -X is its -Y.
	trust := "ForwardX11Trusted=yes"
	if l.Untrusted {
		trust = "ForwardX11Trusted=no"
	}
	_, number, _ := strings.Cut(s.Server.Display, ":")
	log := "/run/scenario/" + l.Name + ".ssh.log"
	if s.Client, err = m.Spawn(RootSocket, log, agent.Request{
		Argv: s.Terminal.Command("guest", "ssh", "-F", "none", "-X", "-o", trust, "-i", sshKeys+"/user", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
			"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", l.User+"@"+to,
			"exec "+first+" 2>>"+errorsTo),
		Env:        append(UserEnv("guest"), "DISPLAY=127.0.0.1:"+number, "XAUTHORITY="+s.Server.Authority),
		NewSession: true,
	}); err != nil {
		return nil, err
	}
	if err := m.WaitFile(s.Socket); err != nil {
		text, _ := os.ReadFile(m.Path(log))
		sshd, _ := os.ReadFile(m.Path("/run/scenario/sshd.log"))
		return nil, fmt.Errorf("%w: ssh: %s sshd: %s", err, text, sshd)
	}
	return s, s.look(m)
}

// wire makes the terminal and what lies between, and tells where ssh finds sshd.
func (s *SSH) wire(m *Machine, l SSHLogin) (to string, err error) {
	name := l.Terminal
	if name == "" {
		name = l.Name
	}
	if !l.Relay {
		if s.Terminal, err = m.Terminal(name); err != nil {
			return "", err
		}
		return s.Terminal.Near, nil
	}
	if s.Relay, err = m.Terminal(name + "-relay"); err != nil {
		return "", err
	}
	if s.Terminal, err = s.Relay.Beyond(name); err != nil {
		return "", err
	}
	m.laying.Lock()
	defer m.laying.Unlock()
	if !s.Relay.relays {
		_, err = m.Helper(RootSocket, agent.Request{
			Argv: s.Relay.Command("root", Program, "relay", s.Terminal.Near+":22", s.Relay.Near+":22"), Env: RootEnv(), UID: 0,
		}, "relaying")
		s.Relay.relays = err == nil
	}
	return s.Terminal.Near, err
}

// look finds who is who, and what sshd has told the session.
func (s *SSH) look(m *Machine) (err error) {
	if s.Leader, err = m.Listener(s.Socket); err != nil {
		return err
	}
	s.Display, s.Connection = m.getenv(s.Leader.PID, "DISPLAY"), m.getenv(s.Leader.PID, "SSH_CONNECTION")
	if s.Display == "" || s.Connection == "" {
		return errors.New("sshd has given the session no display or no address")
	}
	for child, ref := s.Leader.PID, &s.Carrier; ; ref = &s.Monitor {
		parent, err := m.parent(child)
		if err != nil {
			return err
		}
		if *ref, err = m.RefOf(parent); err != nil || ref == &s.Monitor {
			return err
		}
		child = parent
	}
}

func (m *Machine) parent(pid int) (int, error) {
	text, err := os.ReadFile(m.Path(fmt.Sprintf("/proc/%d/stat", pid)))
	if err != nil {
		return 0, err
	}
	after := string(text[strings.LastIndexByte(string(text), ')')+1:])
	return strconv.Atoi(strings.Fields(after)[1])
}
