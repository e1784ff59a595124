package machine

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
)

// Spec says what server to start, and where.
type Spec struct {
	Name     string // makes its files its own; nothing else
	User     string
	Program  string   // Xvfb, Xephyr, Xvnc, Xwayland
	Args     []string // beyond those that all have
	Env      []string // beyond the user's plain environment: the display that it is a client of
	Terminal *Terminal
	Like     *Server // one that has ended: this one takes its number and its cookie over
}

// Serve starts an X server and returns once it accepts clients. It does not
// reset when its last client leaves.
func (m *Machine) Serve(spec Spec) (*Server, error) {
	uid, ok := Users[spec.User]
	if !ok {
		return nil, fmt.Errorf("no user %q", spec.User)
	}
	s := &Server{
		Authority: fmt.Sprintf("/run/user/%d/%s.xauth", uid, spec.Name), Terminal: spec.Terminal, user: spec.User, spec: spec,
	}
	env := append(UserEnv(spec.User), spec.Env...)
	argv := append([]string{spec.Program, "-displayfd", "3", "-noreset", "-auth", s.Authority + "-server"}, spec.Args...)
	if old := spec.Like; old != nil {
		s.cookie = old.cookie
		argv = append(argv, ":"+old.Number())
	} else {
		var secret [16]byte
		_, _ = rand.Read(secret[:])
		s.cookie = hex.EncodeToString(secret[:])
	}
	// A server takes every cookie of its file, whatever display it is for.
	if err := m.xauth(s, s.Authority+"-server", ":0"); err != nil {
		return nil, err
	}
	if t := spec.Terminal; t != nil {
		argv = t.Command(spec.User, append(argv, "-listen", "tcp", "-nolisten", "unix", "-nolisten", "local")...)
		uid = 0 // until setpriv(1)
	}
	number, err := m.displayNumber(agent.Request{Argv: argv, UID: uid, Env: env, NewSession: true}, s)
	if err != nil {
		return nil, err
	}
	s.Display = ":" + number
	names := []string{s.Display}
	if t := spec.Terminal; t != nil {
		s.Display, s.Display6 = t.IPv4+":"+number, "["+t.IPv6+"]:"+number
		names = []string{s.Display, s.Display6, "127.0.0.1:" + number}
	}
	for _, name := range names {
		if err := m.xauth(s, s.Authority, name); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (m *Machine) xauth(s *Server, file, display string) error {
	r, err := m.Run(RootSocket, agent.Request{
		Argv: []string{"xauth", "-q", "-f", file, "add", display, ".", s.cookie}, UID: Users[s.user], Env: UserEnv(s.user),
	})
	if err == nil && r.Status != 0 {
		err = fmt.Errorf("xauth: %s", r.Stderr)
	}
	return err
}

// Number is the display's, as text.
func (s *Server) Number() string { return s.Display[strings.LastIndexByte(s.Display, ':')+1:] }

// Again starts another server in the place of one that has ended.
func (m *Machine) Again(s *Server) (*Server, error) {
	if s.Wayland {
		number, _ := strconv.Atoi(strings.TrimPrefix(s.Display, "wayland-"))
		return m.Weston(s.user, number)
	}
	spec := s.spec
	spec.Like = s
	again, err := m.Serve(spec)
	if err == nil && s.Display == s.Display6 {
		again.Display = again.Display6
	}
	return again, err
}

// Weston starts a Wayland compositor without a screen, and returns once it
// accepts clients.
func (m *Machine) Weston(user string, number int) (*Server, error) {
	s := &Server{Display: fmt.Sprintf("wayland-%d", number), Wayland: true, user: user}
	var err error
	s.Ref, err = m.Spawn(RootSocket, "/run/scenario/"+s.Display+".log", agent.Request{
		Argv: []string{"weston", "--backend=headless-backend.so", "--no-config", "--idle-time=0", "--socket=" + s.Display},
		Env:  UserEnv(user), UID: Users[user], NewSession: true,
	})
	if err != nil {
		return nil, err
	}
	path := m.Path(fmt.Sprintf("/run/user/%d/%s", Users[user], s.Display))
	return s, Until("weston accepts clients", func() (bool, error) {
		if !s.Ref.Alive() {
			log, _ := m.Root("cat", "/run/scenario/"+s.Display+".log")
			return false, fmt.Errorf("weston has ended: %s", log)
		}
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return false, nil
		}
		defer conn.Close()
		who, err := peer(conn) // not one that was there before
		if err != nil {
			return false, err
		}
		return who.PID == s.Ref.PID, who.fd.Close()
	})
}

// HangUp shuts a socket of the process down, as if it had done that itself
// (pidfd_getfd(2), kernel 5.6).
func (r *Ref) HangUp(fd int) error {
	socket, err := unix.PidfdGetfd(int(r.fd.Fd()), fd, 0)
	if err != nil {
		return fmt.Errorf("pidfd_getfd %d of %d: %w", fd, r.PID, err)
	}
	return errors.Join(unix.Shutdown(socket, unix.SHUT_RDWR), unix.Close(socket))
}
