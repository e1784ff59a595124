package machine

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"xexit/tests/agent"
)

// Server is a real X server in a machine.
type Server struct {
	Ref       *Ref
	Display   string    // as a client in the machine names it
	Display6  string    // the same over IPv6; "" in the machine itself
	Authority string    // path of the client's cookie file
	Terminal  *Terminal // where it runs; nil: in the machine itself
	Wayland   bool      // no X server: Display is WAYLAND_DISPLAY
	user      string
	cookie    string
	spec      Spec
}

// Env is what its clients need in their environment.
func (s *Server) Env() []string {
	if s.Wayland {
		return []string{"WAYLAND_DISPLAY=" + s.Display}
	}
	return []string{"DISPLAY=" + s.Display, "XAUTHORITY=" + s.Authority}
}

// Xvfb starts an X server as the user and returns once it accepts clients;
// remote: at the terminal that is meant where none is named. name makes its
// files its own; nothing else.
func (m *Machine) Xvfb(name, user string, remote bool, args ...string) (*Server, error) {
	if !remote {
		return m.xvfb(name, user, nil, args)
	}
	t, err := m.Terminal(TerminalNet)
	if err != nil {
		return nil, err
	}
	return t.Xvfb(name, user, args...)
}

// Xvfb starts an X server at the terminal that listens for TCP, IPv4 and IPv6.
func (t *Terminal) Xvfb(name, user string, args ...string) (*Server, error) {
	return t.m.xvfb(name, user, t, args)
}

func (m *Machine) xvfb(name, user string, t *Terminal, args []string) (*Server, error) {
	return m.Serve(Spec{Name: name, User: user, Program: "Xvfb", Args: append([]string{"-screen", "0", "640x480x24"}, args...), Terminal: t})
}

// displayNumber starts the server and reads what it says to -displayfd, which
// it does when it is ready.
//
// One at a time: servers of the same number in different network namespaces
// would take away each other's /tmp/server-N.xkm.
func (m *Machine) displayNumber(r agent.Request, s *Server) (string, error) {
	m.starting.Lock()
	defer m.starting.Unlock()
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
