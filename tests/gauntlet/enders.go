package gauntlet

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// Ender is what is to end a session.
type Ender struct {
	Name     string
	What     string // as somebody would type it
	Position Position
	Kill     bool          // needs logind's KillUserProcesses
	Patience time.Duration // how long after End the way may take to be gone
	End      func(*trial) (status int, text string, err error)
}

// grace is xexit's in all runs: who ignores TERM gets KILL after it.
const grace = "500ms"

// Xexits are xexit in its three positions.
func Xexits() []Ender {
	return []Ender{
		{
			Name: "xexit, as root", What: "xexit end --session LOGIN", Position: Root, Patience: 2 * time.Second,
			End: func(t *trial) (int, string, error) {
				return t.root("xexit", "end", "--session", t.id, "--grace", grace, "--json")
			},
		},
		{
			Name: "xexit session", What: "xexit session -- CMD, and CMD exits", Position: Below, Patience: 2 * time.Second,
			End: func(t *trial) (int, string, error) { return t.atExit() },
		},
		{
			Name: "xexit, user mode", What: "90xexit, and the X server is killed", Position: User, Patience: 2 * time.Second,
			End: func(t *trial) (int, string, error) { return t.atDisplayLost() },
		},
	}
}

// Control is nothing: the session's connection is gone, as at a logout.
func Control() Ender {
	return Ender{
		Name: "nothing", What: "logout", Position: Nowhere, Patience: 1500 * time.Millisecond,
		End: func(t *trial) (int, string, error) { return 0, "", t.logout() },
	}
}

// Rivals are what else an admin may have.
func Rivals() []Ender {
	return []Ender{
		{
			Name: "classic script", What: "search environments for the client, CONT, TERM, 3 s, KILL", Position: Nowhere, Patience: 2 * time.Second,
			End: func(t *trial) (int, string, error) {
				// Not from within: it would end whoever started it.
				return t.run(machine.RootSocket, agent.Request{
					Argv: []string{"/usr/libexec/xexit-test/classic-by-session.sh"}, UID: machine.Users["alice"],
					Env: append(machine.UserEnv("alice"), client),
				})
			},
		},
		{
			Name: "pkill -u", What: "pkill -TERM -u alice; sleep 3; pkill -KILL -u alice", Position: Nowhere, Patience: 2 * time.Second,
			End: func(t *trial) (int, string, error) {
				return t.root("sh", "-c", "pkill -TERM -u alice; sleep 3; pkill -KILL -u alice; :")
			},
		},
		{
			Name: "terminate-session", What: "loginctl terminate-session LOGIN", Position: Nowhere, Patience: 10 * time.Second,
			End: func(t *trial) (int, string, error) { return t.root("loginctl", "terminate-session", t.id) },
		},
		{
			Name: "KillUserProcesses", What: "logind's KillUserProcesses=yes, and a logout", Position: Nowhere, Kill: true, Patience: 10 * time.Second,
			End: func(t *trial) (int, string, error) { return 0, "", t.logout() },
		},
	}
}

func (t *trial) run(socket string, r agent.Request) (int, string, error) {
	out, err := t.a.m.Run(socket, r)
	return out.Status, out.Stdout + out.Stderr, err
}

func (t *trial) root(argv ...string) (int, string, error) {
	return t.run(machine.RootSocket, agent.Request{Argv: argv, UID: -1, Env: machine.RootEnv()})
}

// logout ends the connection: the ssh client goes, and with it the shell.
func (t *trial) logout() error {
	refs, err := t.a.by("ssh .* alice@127.0.0.1 exec .* /run/scenario/" + t.name + ".sock.*")
	if err != nil {
		return err
	}
	for _, r := range refs {
		err = errors.Join(err, r.Signal(unix.SIGKILL))
	}
	return errors.Join(err, machine.Until("the login is closing", func() (bool, error) {
		text, err := os.ReadFile(t.a.inside("/run/systemd/sessions/" + t.id))
		return errors.Is(err, fs.ErrNotExist) || strings.Contains(string(text), "STATE=closing"), nil
	}))
}

// atExit ends the session's command and waits for the xexit above it.
func (t *trial) atExit() (int, string, error) {
	if err := t.in.Leader.Signal(unix.SIGKILL); err != nil {
		return 0, "", err
	}
	return t.record()
}

// atDisplayLost kills the X server and waits for what the watcher then does.
func (t *trial) atDisplayLost() (int, string, error) {
	if err := t.server.Signal(unix.SIGKILL); err != nil {
		return 0, "", err
	}
	return t.record()
}

// record waits for the record of the end, by the session's marker.
func (t *trial) record() (status int, text string, err error) {
	err = machine.Until("the end is recorded", func() (bool, error) {
		_, text, err = t.run(t.login.Socket, agent.Request{UID: -1, Argv: []string{"xexit", "log", "--json", "--session", t.marker}})
		return strings.Contains(text, `"event": "done"`) || strings.Contains(text, `"event":"done"`), err
	})
	return 0, text, err
}
