package machine

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"xexit/tests/agent"
)

// Server is a real X server in a machine.
type Server struct {
	Ref       *Ref
	Display   string // as a client in the machine names it
	Authority string // path of the client's cookie file
	Remote    bool   // it runs at the far end of the network, as on a thin client
}

// Env is what its clients need in their environment.
func (s *Server) Env() []string {
	return []string{"DISPLAY=" + s.Display, "XAUTHORITY=" + s.Authority}
}

// TerminalNet is the network namespace at the far end of the cable.
const TerminalNet = "terminal"

// Xvfb starts an X server as the user and returns once it accepts clients.
// name makes its files its own; nothing else.
func (m *Machine) Xvfb(name, user string, remote bool, args ...string) (*Server, error) {
	uid, ok := Users[user]
	if !ok {
		return nil, fmt.Errorf("no user %q", user)
	}
	var secret [16]byte
	_, _ = rand.Read(secret[:])
	cookie := hex.EncodeToString(secret[:])
	s := &Server{Authority: fmt.Sprintf("/run/user/%d/%s.xauth", uid, name), Remote: remote}
	serverAuth := s.Authority + "-server"
	env := UserEnv(user)
	xauth := func(file, display string) error {
		r, err := m.Run(RootSocket, agent.Request{Argv: []string{"xauth", "-q", "-f", file, "add", display, ".", cookie}, UID: uid, Env: env})
		if err == nil && r.Status != 0 {
			err = fmt.Errorf("xauth: %s", r.Stderr)
		}
		return err
	}
	// A server takes every cookie of its file, whatever display it is for.
	if err := xauth(serverAuth, ":0"); err != nil {
		return nil, err
	}
	argv := append([]string{"Xvfb", "-displayfd", "3", "-screen", "0", "640x480x24", "-noreset", "-auth", serverAuth}, args...)
	serverUID := uid
	if remote {
		if err := m.cable(); err != nil {
			return nil, err
		}
		id := fmt.Sprint(uid)
		argv = append([]string{"ip", "netns", "exec", TerminalNet, "setpriv", "--reuid", id, "--regid", id, "--clear-groups"}, argv...)
		argv = append(argv, "-listen", "tcp", "-nolisten", "unix", "-nolisten", "local")
		serverUID = 0 // until setpriv(1)
	}
	number, err := m.displayNumber(agent.Request{Argv: argv, UID: serverUID, Env: env, NewSession: true}, s)
	if err != nil {
		return nil, err
	}
	s.Display = ":" + number
	if remote {
		s.Display = "10.9.0.2" + s.Display
	}
	return s, xauth(s.Authority, s.Display)
}

// displayNumber starts the server and reads what it says to -displayfd, which
// it does when it is ready.
func (m *Machine) displayNumber(r agent.Request, s *Server) (string, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer null.Close()
	log, err := os.Create(m.Path(fmt.Sprintf("/run/scenario/%s.log", strings.ReplaceAll(strings.Trim(s.Authority, "/"), "/", "-"))))
	if err != nil {
		return "", err
	}
	defer log.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer read.Close()
	p, err := agent.Start(m.Path(RootSocket), r, null, log, log, write)
	if err := errors.Join(err, write.Close()); err != nil {
		return "", err
	}
	if s.Ref, err = NewRef(p.PID, p.PidFD); err != nil {
		return "", err
	}
	go func() { _, _ = p.Wait() }()
	if ready, err := poll(read, Guard); err != nil || !ready {
		return "", fmt.Errorf("hang guard: the X server is not ready: %w", err)
	}
	// It writes the number and the end of the line apart.
	line, err := bufio.NewReader(read).ReadString('\n')
	if err != nil {
		text, _ := os.ReadFile(log.Name())
		return "", fmt.Errorf("the X server ended at once: %s", text)
	}
	return strings.TrimSpace(line), nil
}

// cable lays a network to a terminal of its own, once.
func (m *Machine) cable() error {
	if _, err := os.Stat(m.Path("/run/netns/" + TerminalNet)); err == nil {
		return nil
	}
	_, err := m.Root("sh", "-ec", `
		ip netns add terminal
		ip link add lan type veth peer name lan netns terminal
		ip addr add 10.9.0.1/24 dev lan
		ip link set lan up
		ip -n terminal addr add 10.9.0.2/24 dev lan
		ip -n terminal link set lan up
		ip -n terminal link set lo up`)
	return err
}

// Cut pulls the cable: what is sent vanishes without an answer, both ways.
// The rules are at the far end, because a local drop is an error to the sender.
func (m *Machine) Cut() error {
	_, err := m.Root("ip", "netns", "exec", TerminalNet, "nft", `add table inet cut
		add chain inet cut in { type filter hook input priority 0; policy drop; }
		add chain inet cut out { type filter hook output priority 0; policy drop; }`)
	return err
}

// Heal plugs it in again.
func (m *Machine) Heal() error {
	_, err := m.Root("ip", "netns", "exec", TerminalNet, "nft", "delete table inet cut")
	return err
}

// Unacked reports whether a connection from here to the terminal's X server
// has data in flight that nobody acknowledges.
func (m *Machine) Unacked() (bool, error) {
	out, err := m.Root("ss", "-Htin", "dst", "10.9.0.2")
	return strings.Contains(out, "unacked:"), err
}
