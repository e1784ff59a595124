package tests

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// xvfb NAME [as USER] [at terminal] [ARG…] – starts a real X server. $NAME is its display from here on.
func cmdXvfb(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 1, "xvfb NAME [as USER] [at terminal] [ARG…]")
	name, args := args[0], args[1:]
	user, remote := "alice", false
	for len(args) > 1 && (args[0] == "as" || args[0] == "at") {
		if args[0] == "as" {
			user = args[1]
		} else {
			remote = args[1] == machine.TerminalNet
		}
		args = args[2:]
	}
	s := sceneOf(ts)
	server, err := s.m.Xvfb(name, user, remote, args...)
	ts.Check(err)
	s.servers[name] = server
	ts.Setenv(name, server.Display)
}

func serverOf(ts *testscript.TestScript, args []string) *machine.Server {
	usage(ts, args, 1, "… SERVER")
	server := sceneOf(ts).servers[args[0]]
	if server == nil {
		ts.Fatalf("no X server %q", args[0])
	}
	return server
}

func signalNumber(ts *testscript.TestScript, name string) syscall.Signal {
	n := unix.SignalNum("SIG" + strings.TrimPrefix(name, "SIG"))
	if n == 0 {
		ts.Fatalf("no signal %q", name)
	}
	return n
}

// killserver SERVER [SIGNAL] – and waits until it is dead; KILL unless told.
func cmdKillServer(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	server, sig := serverOf(ts, args), syscall.SIGKILL
	if len(args) > 1 {
		sig = signalNumber(ts, args[1])
	}
	ts.Check(server.Ref.Signal(sig))
	if !server.Ref.Gone(machine.Guard) {
		ts.Fatalf("hang guard: the server still runs")
	}
}

// stopserver SERVER – stops it and proves it: state T.
func cmdStopServer(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	server := serverOf(ts, args)
	ts.Check(server.Ref.Signal(syscall.SIGSTOP))
	waitState(ts, server.Ref, 'T')
}

func cmdContServer(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	server := serverOf(ts, args)
	if got := server.Ref.State(); got != 'T' {
		ts.Fatalf("the server was not stopped all the while: state %c", got)
	}
	ts.Check(server.Ref.Signal(syscall.SIGCONT))
}

// grabserver SERVER – a client holds XGrabServer and has the server's word for it.
func cmdGrab(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	s, server := sceneOf(ts), serverOf(ts, args)
	release, err := s.startHelper(machine.RootSocket, machine.Users["alice"],
		append(machine.UserEnv("alice"), server.Env()...), []string{"/usr/libexec/xexit-test/grab"}, "grabbed")
	ts.Check(err)
	s.helpers[args[0]] = release
}

// ungrabserver SERVER – ends the client that held the grab; it must have held it until now.
func cmdUngrab(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	s := sceneOf(ts)
	serverOf(ts, args)
	release := s.helpers[args[0]]
	if release == nil {
		ts.Fatalf("%s is not grabbed", args[0])
	}
	delete(s.helpers, args[0])
	ts.Check(release())
}

// startHelper starts a program that prints a word when it is ready and lives
// until its stdin ends. release ends it, and fails if it had ended before.
func (s *scene) startHelper(socket string, uid int, env, argv []string, ready string) (release func() error, err error) {
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
	p, err := agent.Start(s.m.Path(socket), agent.Request{Argv: argv, Env: env, UID: uid}, stdin, stdout, stdout)
	if err != nil {
		return nil, err
	}
	ref, err := machine.NewRef(p.PID, p.PidFD)
	if err != nil {
		return nil, err
	}
	_ = stdout.Close()
	line, err := bufio.NewReader(out).ReadString('\n')
	if strings.TrimSpace(line) != ready {
		return nil, fmt.Errorf("%s: said %q, %w", strings.Join(argv, " "), line, err)
	}
	return func() error {
		if !ref.Alive() {
			return fmt.Errorf("%s had ended before", argv[0])
		}
		if err := hold.Close(); err != nil {
			return err
		}
		_, err := p.Wait()
		return err
	}, nil
}

// cut, heal – the cable to the terminal; unacked proves that data is in flight into the void.
func cmdCut(ts *testscript.TestScript, neg bool, _ []string) {
	noNeg(ts, neg)
	ts.Check(sceneOf(ts).m.Cut())
}

func cmdHeal(ts *testscript.TestScript, neg bool, _ []string) {
	noNeg(ts, neg)
	ts.Check(sceneOf(ts).m.Heal())
}

func cmdUnacked(ts *testscript.TestScript, neg bool, _ []string) {
	noNeg(ts, neg)
	ts.Check(machine.Until("data to the terminal is unacknowledged", sceneOf(ts).m.Unacked))
}
