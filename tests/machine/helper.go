package machine

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"

	"xexit/tests/agent"
)

// Helper starts a program that prints a word when it is ready and lives until
// its stdin ends. release ends it, and fails if it had ended before.
func (m *Machine) Helper(socket string, r agent.Request, ready string) (release func() error, err error) {
	stdin, hold, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	p, err := agent.Start(m.Path(socket), r, stdin, stdout, stdout)
	if err != nil {
		return nil, err
	}
	ref, err := NewRef(p.PID, p.PidFD)
	if err != nil {
		return nil, err
	}
	_ = stdout.Close()
	line, err := bufio.NewReader(out).ReadString('\n')
	if strings.TrimSpace(line) != ready {
		return nil, fmt.Errorf("%s: said %q, %w", strings.Join(r.Argv, " "), line, err)
	}
	return func() error {
		defer out.Close()
		if !ref.Alive() {
			return fmt.Errorf("%s had ended before", r.Argv[0])
		}
		if err := hold.Close(); err != nil {
			return err
		}
		_, err := p.Wait()
		return err
	}, nil
}

// Stop stops the server and proves it: state T. What it has to say stays
// unsaid, and its kernel goes on to acknowledge.
func (s *Server) Stop() error {
	if err := s.Ref.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return s.Ref.WaitState('T')
}

// Continue continues it; it must have been stopped until now.
func (s *Server) Continue() error {
	if got := s.Ref.State(); got != 'T' {
		return fmt.Errorf("the server was not stopped all the while: state %c", got)
	}
	return s.Ref.Signal(syscall.SIGCONT)
}

// Grab has a client, beside the server, hold XGrabServer, with the server's
// word for it. release fails if it had not held it until then.
func (s *Server) Grab(m *Machine) (release func() error, err error) {
	r := agent.Request{Argv: []string{"/usr/libexec/xexit-test/grab"}, UID: Users[s.user], Env: append(UserEnv(s.user), s.Env()...)}
	if s.Terminal != nil {
		_, number, _ := strings.Cut(s.Display, ":")
		r.Argv, r.UID = s.Terminal.Command(s.user, r.Argv...), 0
		r.Env = append(r.Env, "DISPLAY=127.0.0.1:"+number)
	}
	return m.Helper(RootSocket, r, "grabbed")
}

// WaitState waits until proc(5) says so.
func (r *Ref) WaitState(want byte) error {
	return Until(fmt.Sprintf("process %d is in state %c", r.PID, want), func() (bool, error) {
		return r.State() == want, nil
	})
}
