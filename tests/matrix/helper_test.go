package matrix

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"time"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// helper is a program of a cell that is spoken to.
type helper struct {
	name string
	ref  *machine.Ref
	in   *os.File
	out  *os.File
	rest *bufio.Reader
}

// helper starts a program in the machine and waits for its first line, which
// must begin with ready. Its stderr is in /run/scenario.
func (c *cell) helper(name, ready string, r agent.Request) (*helper, string, error) {
	stdin, hold, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	defer stdin.Close()
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	defer stdout.Close()
	stderr, err := os.Create(c.m.Path("/run/scenario/" + name + ".err"))
	if err != nil {
		return nil, "", err
	}
	defer stderr.Close()
	p, err := agent.Start(c.m.Path(machine.RootSocket), r, stdin, stdout, stderr)
	if err != nil {
		return nil, "", err
	}
	go func() { _, _ = p.Wait() }()
	ref, err := machine.NewRef(p.PID, p.PidFD)
	if err != nil {
		return nil, "", err
	}
	_ = stdout.Close() // so that its end is seen
	h := &helper{name: name, ref: ref, in: hold, out: out, rest: bufio.NewReader(out)}
	c.onEnd(func() { _, _ = hold.Close(), out.Close() })
	line, err := h.read()
	if err == nil && !strings.HasPrefix(line, ready) {
		err = fmt.Errorf("said %q", line)
	}
	if err != nil {
		text, _ := os.ReadFile(stderr.Name())
		err = fmt.Errorf("%s: %w: %s", name, err, text)
	}
	return h, line, err
}

func (h *helper) read() (string, error) {
	if err := h.out.SetReadDeadline(time.Now().Add(machine.Guard)); err != nil {
		return "", err
	}
	line, err := h.rest.ReadString('\n')
	return strings.TrimSpace(line), err
}

// say gives it a command and returns its answer.
func (h *helper) say(command string) (string, error) {
	if _, err := fmt.Fprintln(h.in, command); err != nil {
		return "", fmt.Errorf("tell %s to %s: %w", h.name, command, err)
	}
	answer, err := h.read()
	if err != nil {
		return "", fmt.Errorf("tell %s to %s: %w", h.name, command, err)
	}
	return answer, nil
}

// want is say with the answer that must come.
func (h *helper) want(command, answer string) error {
	got, err := h.say(command)
	if err == nil && got != answer {
		err = fmt.Errorf("%s answered %q to %s, not %q", h.name, got, command, answer)
	}
	return err
}

const tools = "/usr/libexec/xexit-test/"

// client starts a client of the cell's X display that is under command.
func (c *cell) client(name string) (*helper, error) {
	h, _, err := c.helper(name, "ready", agent.Request{
		Argv: []string{tools + "xclient"}, Env: append(machine.UserEnv("alice"), c.env...), UID: machine.Users["alice"],
	})
	return h, err
}

// naive is the naive watcher of a cell.
type naive struct {
	*helper
	ended chan struct{} // closed when it has said that the display is gone
	said  string
	at    time.Time
}

func (c *cell) startNaive() error {
	h, _, err := c.helper("naive", "watching", agent.Request{
		Argv: []string{tools + "naive"}, Env: append(machine.UserEnv("alice"), c.env...), UID: machine.Users["alice"],
	})
	if err != nil {
		return err
	}
	n := &naive{helper: h, ended: make(chan struct{})}
	c.naive = n
	go func() {
		defer close(n.ended)
		_ = h.out.SetReadDeadline(time.Time{})
		n.said, _ = h.rest.ReadString('\n')
		n.at = time.Now()
	}()
	return nil
}

func (n *naive) gone() bool {
	select {
	case <-n.ended:
		return true
	default:
		return false
	}
}
