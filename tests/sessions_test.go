package tests

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

func (s *scene) session(ts *testscript.TestScript, name string) *machine.Session {
	session := s.sessions[name]
	if session == nil {
		ts.Fatalf("no session %q", name)
	}
	return session
}

// session NAME [on SERVER] [as USER] [in OUTER] [through PROGRAM] [without xexit] [without audit] [VAR=VALUE…] – logs in and
// runs the session's start-up as Xsession does; returns when the session's
// first program runs. 'without xexit' leaves the start-up's snippets out: a
// control run. 'without audit': a login manager whose PAM stack lacks
// pam_loginuid. 'in OUTER': no login, but `xexit session` typed in another
// session. 'through PROGRAM': PROGRAM starts the login (with "$@"), and gives
// it namespaces of its own, say.
func cmdSession(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 1, "session NAME [on SERVER] [as USER] [in OUTER] [through PROGRAM] [without xexit] [without audit] [VAR=VALUE…]")
	s := sceneOf(ts)
	login := machine.Login{Name: args[0], User: "alice"}
	for args = args[1:]; len(args) > 0; {
		two := len(args) > 1
		switch {
		case assignment.MatchString(args[0]):
			login.Env, args = append(login.Env, args[0]), args[1:]
			continue
		case two && args[0] == "on":
			login.Env = append(login.Env, serverOf(ts, args[1:2]).Env()...)
		case two && args[0] == "as":
			login.User = args[1]
		case two && args[0] == "through":
			login.Through = args[1]
		case two && args[0] == "in":
			login.Outer = s.session(ts, args[1])
			login.User = login.Outer.User
		case two && args[0] == "without" && args[1] == "xexit":
			login.Plain = true
		case two && args[0] == "without" && args[1] == "audit":
			login.NoAudit = true
		default:
			ts.Fatalf("session: what is %q?", args[0])
		}
		args = args[2:]
	}
	session, err := s.m.Login(login)
	ts.Check(err)
	s.meet(ts, session)
}

func (s *scene) meet(ts *testscript.TestScript, session *machine.Session) {
	s.sessions[session.Name] = session
	s.m.Know(session.Name, session.Leader)
	nameIt(ts, session.Name, session.Leader)
}

// opened NAME [as USER] – waits for a session that something else opens (xinit, a display manager), whose first
// program is `/usr/libexec/xexit-test/machine agent /run/scenario/NAME.sock`; from here on it is like any other.
func cmdOpened(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 1, "opened NAME [as USER]")
	s := sceneOf(ts)
	user := "alice"
	if len(args) == 3 && args[1] == "as" {
		user = args[2]
	}
	session, err := s.m.Opened(args[0], user)
	ts.Check(err)
	s.meet(ts, session)
}

// logout SESSION – its first program ends.
func cmdLogout(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 1, "logout SESSION")
	session := sceneOf(ts).session(ts, args[0])
	ts.Check(session.Leader.Signal(unix.SIGTERM))
	if !session.Leader.Gone(machine.Guard) {
		ts.Fatalf("hang guard: the session's first program still runs")
	}
}

// watcher SESSION [NAME] – waits until the session's display is watched; $SESSION_id is its id from here
// on, and NAME remembers the watcher.
func cmdWatcher(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, args, 1, "watcher SESSION [NAME]")
	s := sceneOf(ts)
	session := s.session(ts, args[0])
	if neg {
		if entry := s.m.Registered(session); entry != nil {
			ts.Fatalf("it is registered: %v", entry)
		}
		return
	}
	entry, err := s.m.Watched(session)
	ts.Check(err)
	ts.Setenv(session.Name+"_id", entry["id"])
	if len(args) > 1 {
		number, _, _ := strings.Cut(entry["watcher"], " ")
		pid, err := strconv.Atoi(number)
		ts.Check(err)
		ref, err := s.m.RefOf(pid)
		ts.Check(err)
		s.m.Know(args[1], ref)
		nameIt(ts, args[1], ref)
	}
}

// leftover SESSION KIND NAME [COUNT] – starts it inside the session and returns when it is what it is to be.
func cmdLeftover(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 3, "leftover SESSION KIND NAME [COUNT]")
	s := sceneOf(ts)
	session := s.session(ts, args[0])
	kind, name, count := args[1], args[2], 1
	if len(args) > 3 {
		n, err := strconv.Atoi(args[3])
		ts.Check(err)
		count = n
	}
	before := len(s.m.Refs(name))
	if kind == "ptyshell" {
		ts.Check(s.ptyShell(session, name))
		nameIt(ts, name, s.m.Refs(name)[before])
		return
	}
	for range count {
		_, err := s.m.Spawn(session.Socket, "", agent.Request{Argv: leftoverArgs(kind, name), UID: -1})
		ts.Check(err)
	}
	each := 1
	if kind == "twins" {
		each = 2
	}
	refs, err := s.m.Await(name, before+count*each)
	ts.Check(err)
	nameIt(ts, name, refs[len(refs)-1])
	if kind == "stopped" || kind == "selfrestop" {
		for _, ref := range refs[before:] {
			waitState(ts, ref, 'T')
		}
	}
}

// client SESSION NAME [VAR=VALUE…] – a client of the session's display that stays connected, and is connected
// when this returns.
func cmdClient(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 2, "client SESSION NAME [VAR=VALUE…]")
	s := sceneOf(ts)
	session, name := s.session(ts, args[0]), args[1]
	add, rest := vars(args[2:])
	if len(rest) > 0 {
		ts.Fatalf("client: what is %q?", rest[0])
	}
	// xprop tells at once that there is no such property, then waits for it.
	const property = "XEXIT_TEST_NEVER_SET"
	log := "/run/scenario/" + name + ".client"
	ref, err := s.m.Spawn(session.Socket, log, agent.Request{
		Argv: []string{"xprop", "-root", "-spy", property}, Add: add, UID: -1, NewSession: true,
	})
	ts.Check(err)
	ts.Check(machine.Until(name+" is connected", func() (bool, error) {
		text, err := os.ReadFile(s.m.Path(log))
		if err == nil && !ref.Alive() {
			err = fmt.Errorf("the client has ended: %s", text)
		}
		return strings.Contains(string(text), property), err
	}))
	s.m.Know(name, ref)
	nameIt(ts, name, ref)
}

// nameIt lets the script use the process's number as $NAME_pid.
func nameIt(ts *testscript.TestScript, name string, ref *machine.Ref) {
	ts.Setenv(name+"_pid", strconv.Itoa(ref.PID))
}

// leftoverArgs is the command line of one kind: what a shell's user would
// write, around the program for the rest.
func leftoverArgs(kind, name string) []string {
	plain := []string{machine.Leftover, name}
	if rest, ok := strings.CutPrefix(kind, "setsid-"); ok { // any other kind, as a daemon
		return append([]string{"setsid", "--fork"}, append(plain, rest)...)
	}
	switch kind {
	case "setsid":
		return append([]string{"setsid", "--fork"}, append(plain, "obedient")...)
	case "nohup":
		return append([]string{"nohup"}, append(plain, "obedient")...)
	case "envi":
		return append([]string{"env", "-i", "setsid", "--fork"}, append(plain, "obedient")...)
	case "envichild": // it stays a child of the session
		return append([]string{"env", "-i"}, append(plain, "obedient")...)
	}
	return append(plain, kind)
}

// ptyShell is an interactive shell on a terminal whose other end is outside
// of the session, as sshd's or a terminal server's is.
func (s *scene) ptyShell(session *machine.Session, name string) error {
	master, err := os.OpenFile(s.m.Path("/dev/pts/ptmx"), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return err
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return err
	}
	slave, err := os.OpenFile(s.m.Path(fmt.Sprintf("/dev/pts/%d", number)), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer slave.Close()
	p, err := agent.Start(s.m.Path(session.Socket), agent.Request{
		Argv: []string{"/bin/sh", "-i"}, Add: []string{"PS1=ready$ "}, UID: -1, Terminal: true,
	}, slave, slave, slave)
	if err != nil {
		return err
	}
	ref, err := machine.NewRef(p.PID, p.PidFD)
	if err != nil {
		return err
	}
	prompt := make(chan error, 1)
	go func() { // reads on for as long as the machine lives, like a terminal
		var seen strings.Builder
		buffer := make([]byte, 1024)
		for {
			n, err := master.Read(buffer)
			if seen.Write(buffer[:n]); strings.Contains(seen.String(), "ready$ ") {
				select {
				case prompt <- nil:
				default:
				}
			}
			if err != nil {
				select {
				case prompt <- err:
				default:
				}
				_, _ = p.Wait()
				return
			}
		}
	}()
	select {
	case err := <-prompt:
		if err != nil {
			return fmt.Errorf("the shell's terminal: %w", err)
		}
	case <-time.After(machine.Guard):
		return errors.New("hang guard: the shell shows no prompt")
	}
	s.m.Know(name, ref)
	return nil
}
