package tests

import (
	"strconv"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"xexit/tests/machine"
)

// xvfb NAME [as USER] [at TERMINAL [over IPv6]] [ARG…] – starts a real X server. $NAME is its display from here
// on, $NAME_number its number, and NAME its process. It does not reset unless an ARG says so (-reset, -terminate).
func cmdXvfb(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 1, "xvfb NAME [as USER] [at TERMINAL [over IPv6]] [ARG…]")
	name, args := args[0], args[1:]
	user, at, over := "alice", "", ""
	for words := map[string]*string{"as": &user, "at": &at, "over": &over}; len(args) > 1 && words[args[0]] != nil; args = args[2:] {
		*words[args[0]] = args[1]
	}
	s := sceneOf(ts)
	server, err := startXvfb(s.m, name, user, at, args)
	ts.Check(err)
	if over == "IPv6" {
		server.Display = server.Display6
	}
	s.servers[name] = server
	s.m.Know(name, server.Ref)
	nameIt(ts, name, server.Ref)
	ts.Setenv(name, server.Display)
	ts.Setenv(name+"_number", server.Display[strings.LastIndexByte(server.Display, ':')+1:])
}

func startXvfb(m *machine.Machine, name, user, at string, args []string) (*machine.Server, error) {
	if at == "" {
		return m.Xvfb(name, user, false, args...)
	}
	t, err := m.Terminal(at)
	if err != nil {
		return nil, err
	}
	return t.Xvfb(name, user, args...)
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
	ts.Check(server.Stop())
}

func cmdContServer(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	ts.Check(serverOf(ts, args).Continue())
}

// grabserver SERVER – a client holds XGrabServer and has the server's word for it.
func cmdGrab(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	s, server := sceneOf(ts), serverOf(ts, args)
	release, err := server.Grab(s.m)
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

// cut, heal [TERMINAL] – its cable; loss TERMINAL PERCENT – of its packets, until 0; dropped TERMINAL LEAST
// – so many were lost each way; unacked [TERMINAL] proves that data is in flight
// into the void, ! unacked that nothing is.
func cmdCut(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	ts.Check(terminal(ts, args).Cut())
}

func cmdHeal(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	ts.Check(terminal(ts, args).Heal())
}

// poweroff TERMINAL [SERVER…] – its programs die, its kernel forgets; poweron TERMINAL – it answers again, with resets.
func cmdPowerOff(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 1, "poweroff TERMINAL [SERVER|PROCESS…]")
	var refs []*machine.Ref
	for _, name := range args[1:] {
		if server := sceneOf(ts).servers[name]; server != nil {
			refs = append(refs, server.Ref)
			continue
		}
		refs = append(refs, known(ts, name)...)
	}
	ts.Check(terminal(ts, args).PowerOff(refs...))
}

func cmdPowerOn(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 1, "poweron TERMINAL")
	ts.Check(terminal(ts, args).PowerOn())
}

func cmdLoss(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 2, "loss TERMINAL PERCENT")
	percent, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(terminal(ts, args).Loss(percent))
}

func cmdDropped(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 2, "dropped TERMINAL LEAST")
	least, err := strconv.Atoi(args[1])
	ts.Check(err)
	to, from, err := terminal(ts, args).Dropped("loss")
	ts.Check(err)
	if to < least || from < least {
		ts.Fatalf("%d packets to the terminal were lost, %d from it", to, from)
	}
}

func cmdUnacked(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Check(machine.Until("all is acknowledged", terminal(ts, args).Settled))
		return
	}
	ts.Check(machine.Until("data to the terminal is unacknowledged", terminal(ts, args).Unacked))
}

func terminal(ts *testscript.TestScript, args []string) *machine.Terminal {
	name := machine.TerminalNet
	if len(args) > 0 {
		name = args[0]
	}
	t := sceneOf(ts).m.Laid(name)
	if t == nil {
		ts.Fatalf("no cable to a terminal %q", name)
	}
	return t
}

// ssh NAME [from TERMINAL] [as USER] [behind relay] [untrusted] [without xexit] – a session by `ssh -Y`. NAME is
// the session, and the X server at its terminal; NAME_client, NAME_sshd and NAME_monitor are processes; $NAME is its display.
func cmdSSH(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 1, "ssh NAME [from TERMINAL] [as USER] [behind relay] [untrusted] [without xexit]")
	l := machine.SSHLogin{Name: args[0], User: "alice"}
	for args = args[1:]; len(args) > 0; {
		two := len(args) > 1
		switch {
		case args[0] == "untrusted":
			l.Untrusted, args = true, args[1:]
			continue
		case two && args[0] == "from":
			l.Terminal = args[1]
		case two && args[0] == "as":
			l.User = args[1]
		case two && args[0] == "behind" && args[1] == "relay":
			l.Relay = true
		case two && args[0] == "without" && args[1] == "xexit":
			l.Plain = true
		default:
			ts.Fatalf("ssh: what is %q?", args[0])
		}
		args = args[2:]
	}
	s := sceneOf(ts)
	in, err := s.m.SSH(l)
	ts.Check(err)
	s.sessions[l.Name], s.servers[l.Name] = in.Session, in.Server
	ts.Setenv(l.Name, in.Display)
	for name, ref := range map[string]*machine.Ref{"": in.Leader, "_client": in.Client, "_sshd": in.Carrier, "_monitor": in.Monitor} {
		s.m.Know(l.Name+name, ref)
		nameIt(ts, l.Name+name, ref)
	}
}
