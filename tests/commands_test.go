package tests

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// command is one word of the scripts: README.md explains them all.
type command = func(ts *testscript.TestScript, neg bool, args []string)

func commands() map[string]command {
	return map[string]command{
		// Running things.
		"as": cmdAs, "root": cmdRoot, "in": cmdIn, "status": cmdStatus, "put": cmdPut, "program": cmdProgram,
		// Displays.
		"xvfb": cmdXvfb, "killserver": cmdKillServer, "stopserver": cmdStopServer, "contserver": cmdContServer,
		"grabserver": cmdGrab, "ungrabserver": cmdUngrab, "cut": cmdCut, "heal": cmdHeal, "unacked": cmdUnacked,
		"loss": cmdLoss, "dropped": cmdDropped, "poweroff": cmdPowerOff, "poweron": cmdPowerOn, "ssh": cmdSSH,
		// Sessions and what they leave behind.
		"session": cmdSession, "opened": cmdOpened, "logout": cmdLogout, "watcher": cmdWatcher, "leftover": cmdLeftover, "client": cmdClient,
		"alive": cmdAlive, "gone": cmdGone, "signal": cmdSignal, "state": cmdState, "announced": cmdAnnounced,
		// Looking.
		"waitfile": cmdWaitFile, "quiet": cmdQuiet, "record": cmdRecord, "found": cmdFound, "hang": cmdHang,
	}
}

// usage fails the script unless the number of arguments fits.
func usage(ts *testscript.TestScript, args []string, least int, text string) {
	if len(args) < least {
		ts.Fatalf("usage: %s", text)
	}
}

func noNeg(ts *testscript.TestScript, neg bool) {
	if neg {
		ts.Fatalf("! makes no sense here")
	}
}

// run runs a command in the machine, shows what it printed, and fails unless
// it ended as wanted.
func (s *scene) run(ts *testscript.TestScript, neg bool, socket string, r agent.Request) {
	result, err := s.m.Run(socket, r)
	ts.Check(err)
	_, _ = ts.Stdout().Write([]byte(result.Stdout))
	_, _ = ts.Stderr().Write([]byte(result.Stderr))
	s.status = result.Status
	if !neg && result.Status != 0 {
		ts.Fatalf("exit status %d", result.Status)
	}
	if neg && result.Status == 0 {
		ts.Fatalf("succeeded, and should not have")
	}
}

// vars takes leading NAME=VALUE words off.
func vars(args []string) (env, rest []string) {
	for len(args) > 0 && assignment.MatchString(args[0]) {
		env, args = append(env, args[0]), args[1:]
	}
	return env, args
}

var assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

// as USER [VAR=VALUE…] CMD… – outside of any session, with the user's plain environment.
func cmdAs(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, args, 2, "as USER [VAR=VALUE…] CMD…")
	user := args[0]
	uid, ok := machine.Users[user]
	if !ok {
		ts.Fatalf("no user %q", user)
	}
	add, argv := vars(args[1:])
	sceneOf(ts).run(ts, neg, machine.RootSocket, agent.Request{Argv: argv, Env: machine.UserEnv(user), Add: add, UID: uid, Dir: machine.Home(user)})
}

func cmdRoot(ts *testscript.TestScript, neg bool, args []string) {
	cmdAs(ts, neg, append([]string{"root"}, args...))
}

// in SESSION [VAR=VALUE…] CMD… – as a child of the session's first program, with its environment.
func cmdIn(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, args, 2, "in SESSION [VAR=VALUE…] CMD…")
	s := sceneOf(ts)
	session := s.session(ts, args[0])
	add, argv := vars(args[1:])
	s.run(ts, neg, session.Socket, agent.Request{Argv: argv, Add: add, UID: -1, Dir: machine.Home(session.User)})
}

// status N – of the last command.
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, args, 1, "status N")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := sceneOf(ts).status; (got == want) == neg {
		ts.Fatalf("exit status is %d", got)
	}
}

// put FILE PATH [MODE] [USER] – copies a file of the script into the machine.
func cmdPut(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 2, "put FILE PATH [MODE] [USER]")
	mode, owner := fs.FileMode(0o644), "root"
	if len(args) > 2 {
		n, err := strconv.ParseUint(args[2], 8, 16)
		ts.Check(err)
		mode = fs.FileMode(n)
	}
	if len(args) > 3 {
		owner = args[3]
	}
	s := sceneOf(ts)
	to := args[1]
	if dir := to[:strings.LastIndexByte(to, '/')]; dir != "" {
		_, err := s.m.Root("mkdir", "-p", dir)
		ts.Check(err)
	}
	path := s.m.Path(to)
	ts.Check(os.WriteFile(path, []byte(ts.ReadFile(args[0])), 0o600))
	ts.Check(os.Chown(path, machine.Users[owner], machine.Users[owner]))
	ts.Check(os.Chmod(path, mode))
}

// program PATH – what the site has written into 90xexit in place of EndXSession.
func cmdProgram(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 1, "program PATH")
	_, err := sceneOf(ts).m.Root("sed", "-i", "s,/usr/bin/EndXSession,"+strings.Join(args, " ")+",g", "/etc/X11/Xsession.d/90xexit")
	ts.Check(err)
}

// alive NAME… – every process known by the name runs (stopped counts, a zombie does not).
func cmdAlive(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 1, "alive NAME…")
	for _, name := range args {
		for _, ref := range known(ts, name) {
			if !ref.Alive() {
				ts.Fatalf("%s (process %d) is gone", name, ref.PID)
			}
		}
	}
}

// gone NAME… – waits until no process known by the name is left.
func cmdGone(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 1, "gone NAME…")
	s := sceneOf(ts)
	for _, name := range args {
		known(ts, name)
		// A twin may have been brought back meanwhile: look until none is new.
		for done := 0; done < len(s.m.Refs(name)); {
			ref := s.m.Refs(name)[done]
			if !ref.Gone(machine.Guard) {
				ts.Fatalf("hang guard: %s (process %d, state %c) still runs after %v", name, ref.PID, ref.State(), machine.Guard)
			}
			done++
		}
	}
}

func known(ts *testscript.TestScript, name string) []*machine.Ref {
	refs := sceneOf(ts).m.Refs(name)
	if len(refs) == 0 {
		ts.Fatalf("no process is known by the name %q", name)
	}
	return refs
}

// signal NAME SIGNAL
func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 2, "signal NAME SIGNAL")
	for _, ref := range known(ts, args[0]) {
		if err := ref.Signal(signalNumber(ts, args[1])); !errors.Is(err, unix.ESRCH) {
			ts.Check(err)
		}
	}
}

// state NAME LETTER – waits until proc(5) says so of all that live.
func cmdState(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 2, "state NAME LETTER")
	for _, ref := range known(ts, args[0]) {
		if ref.Alive() {
			waitState(ts, ref, args[1][0])
		}
	}
}

// announced NAME COUNT – waits until so many processes have ever called themselves NAME.
func cmdAnnounced(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 2, "announced NAME COUNT")
	count, err := strconv.Atoi(args[1])
	ts.Check(err)
	_, err = sceneOf(ts).m.Await(args[0], count)
	ts.Check(err)
}

func waitState(ts *testscript.TestScript, ref *machine.Ref, want byte) {
	ts.Check(ref.WaitState(want))
}

// waitfile PATH REGEXP [COUNT] – waits until a file of the machine has so many matches (lines are ^…$).
func cmdWaitFile(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 2, "waitfile PATH REGEXP [COUNT]")
	pattern, count := regexp.MustCompile("(?m)"+args[1]), 1
	if len(args) > 2 {
		n, err := strconv.Atoi(args[2])
		ts.Check(err)
		count = n
	}
	path := sceneOf(ts).m.Path(args[0])
	var text []byte
	err := machine.Until(args[0]+" matches "+args[1], func() (bool, error) {
		text, _ = os.ReadFile(path)
		return len(pattern.FindAllIndex(text, -1)) >= count, nil
	})
	if err != nil {
		ts.Fatalf("%v; it reads:\n%s", err, text)
	}
}

// quiet DURATION PATH… – lets time pass while none of the files may appear or change.
func cmdQuiet(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 2, "quiet DURATION PATH…")
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	read := func() (all string) {
		for _, path := range args[1:] {
			text, err := os.ReadFile(sceneOf(ts).m.Path(path))
			all += fmt.Sprintf("%s: %v\n%s", path, err == nil, text)
		}
		return all
	}
	before := read()
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if now := read(); now != before {
				ts.Fatalf("not quiet: before:\n%snow:\n%s", before, now)
			}
		case <-end.C:
			return
		}
	}
}

// hang DIR – mounts a file system there that never answers.
func cmdHang(ts *testscript.TestScript, neg bool, args []string) {
	noNeg(ts, neg)
	usage(ts, args, 1, "hang DIR")
	s := sceneOf(ts)
	release, err := s.m.Helper(machine.RootSocket, agent.Request{Argv: []string{machine.Program, "hang", args[0]}}, "hanging")
	ts.Check(err)
	s.helpers[args[0]] = release
}
