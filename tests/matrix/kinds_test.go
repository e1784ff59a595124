package matrix

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"

	"xexit/tests/machine"
)

func startXvfb(c *cell) (err error) {
	c.server, err = c.m.Xvfb("screen", "alice", false, c.row.fault.server...)
	return errors.Join(err, c.login())
}

// inner starts a server that is another display's client.
func (c *cell) inner(program string, outer *machine.Server, args ...string) error {
	spec := machine.Spec{Name: "inner", User: "alice", Program: program, Args: append(args, c.row.fault.server...)}
	if outer != nil {
		spec.Env = outer.Env()
	}
	var err error
	c.server, err = c.m.Serve(spec)
	return errors.Join(err, c.login())
}

func startXephyr(c *cell) error {
	outer, err := c.m.Xvfb("outer", "alice", false)
	if err != nil {
		return err
	}
	return c.inner("Xephyr", outer, "-screen", "320x240")
}

func startXvnc(c *cell) error {
	return c.inner("Xvnc", nil, "-geometry", "320x240", "-SecurityTypes", "None", "-localhost")
}

func startXwayland(c *cell) error {
	outer, err := c.m.Weston("alice", 7)
	if err != nil {
		return err
	}
	return c.inner("Xwayland", outer, "-shm")
}

func startWeston(c *cell) (err error) {
	c.server, err = c.m.Weston("alice", 5)
	return errors.Join(err, c.login())
}

func startTCP(c *cell) error { return c.far(false) }

func startTCP6(c *cell) error { return c.far(true) }

func (c *cell) far(six bool) error {
	t, err := c.m.Terminal(machine.TerminalNet)
	if err != nil {
		return err
	}
	c.terminal = t
	if c.server, err = t.Xvfb("screen", "alice", c.row.fault.server...); err != nil {
		return err
	}
	if six {
		c.server.Display = c.server.Display6
	}
	return c.login()
}

func (c *cell) login() (err error) {
	if c.server == nil {
		return nil // it did not start
	}
	c.env = c.server.Env()
	c.session, err = c.m.Login(machine.Login{Name: "desk", User: "alice", Plain: true, Env: c.env})
	return err
}

func startSSH(c *cell) error { return c.overSSH(false) }

func startRelay(c *cell) error { return c.overSSH(true) }

func (c *cell) overSSH(relay bool) error {
	s, err := c.m.SSH(machine.SSHLogin{Name: "desk", User: "alice", Relay: relay, Plain: true, Server: c.row.fault.server})
	if err != nil {
		return err
	}
	c.ssh, c.session, c.server, c.terminal, c.env = s, s.Session, s.Server, s.Terminal, s.Env()
	return nil
}

// port is the local port of a process' connection to its display.
func (c *cell) port(r *machine.Ref) (string, error) {
	line, err := c.socket(r)
	if err != nil {
		return "", err
	}
	local := strings.Fields(line)[3]
	return local[strings.LastIndexByte(local, ':')+1:], nil
}

// socket is what ss(8) says of a process' one TCP connection.
func (c *cell) socket(r *machine.Ref) (string, error) {
	out, err := c.m.Root("ss", "-OHtinp", "state", "established")
	if err != nil {
		return "", err
	}
	var found []string
	for line := range strings.SplitSeq(out, "\n") {
		if strings.Contains(line, fmt.Sprintf("pid=%d,", r.PID)) {
			found = append(found, "ESTAB "+line) // ss leaves the state out when it is asked for one
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("process %d has %d TCP connections:\n%s", r.PID, len(found), out)
	}
	return found[0], nil
}

var listener = regexp.MustCompile(`pid=(\d+),`)

// listens is the process that listens for TCP at a terminal.
func (c *cell) listens(t *machine.Terminal, address string) (*machine.Ref, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	out, err := c.m.Root(t.Command("root", "ss", "-OHtlnp", "src", host, "and", "sport", "=", ":"+port)...)
	if err != nil {
		return nil, err
	}
	found := listener.FindStringSubmatch(out)
	if found == nil {
		return nil, fmt.Errorf("nobody listens at %s: %s", address, out)
	}
	pid, err := strconv.Atoi(found[1])
	if err != nil {
		return nil, err
	}
	return c.m.RefOf(pid)
}
