package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// unified is where the unified hierarchy of control groups is mounted.
func unified() (string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if fields := strings.Fields(line); strings.Contains(line, " - cgroup2 ") && fields[3] == "/" {
			return fields[4], nil
		}
	}
	return "", errors.New("no unified control group hierarchy is mounted")
}

// loginEndAmong has root end a login of a hundred obedient processes. The login
// is a control group, an audit id and logind's word for it; nobody else of
// logind's is there.
func loginEndAmong(m *machine.Machine, size, rounds int) ([]row, error) {
	tree, err := unified()
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("login of 100 among %d, xexit end as root: ", size)
	empty := row{what: what + "command started → its control group is empty", unit: "ms"}
	whole := row{what: what + "the whole command, verified", unit: "ms"}
	for i := range rounds {
		// Groups are the host's: the name must be nobody else's.
		e, w, err := endLogin(m, tree, fmt.Sprintf("bench%dx%dx%d", os.Getpid(), size, i))
		if err != nil {
			return nil, err
		}
		empty.values, whole.values = append(empty.values, ms(e)), append(whole.values, ms(w))
	}
	return []row{empty, whole}, nil
}

// endLogin makes a login and ends it.
func endLogin(m *machine.Machine, tree, id string) (empty, whole time.Duration, err error) {
	uid := machine.Users["alice"]
	slice := filepath.Join(tree, "user.slice", fmt.Sprintf("user-%d.slice", uid))
	scope := filepath.Join(slice, "session-"+id+".scope")
	if err := os.MkdirAll(scope, 0o755); err != nil {
		return 0, 0, err
	}
	// What is above it may be somebody else's too, and stays then.
	defer func() { err = errors.Join(err, os.Remove(scope)); _ = os.Remove(slice) }()
	ready, audit := "/run/scenario/ready-"+id, "/run/scenario/audit-"+id
	if _, err := m.Spawn(machine.RootSocket, "", agent.Request{
		Argv: []string{
			"sh", "-c", `echo "$2" >/proc/self/loginuid && cat /proc/self/sessionid >"$1" && echo $$ >"$0/cgroup.procs" && shift 2 && exec "$@"`,
			scope, audit, strconv.Itoa(uid), crowdProgram, memberName, ready, strconv.Itoa(members - 1), strconv.Itoa(uid),
		},
		Env: machine.UserEnv("alice"), NewSession: true,
	}); err != nil {
		return 0, 0, err
	}
	if err := m.WaitFile(ready); err != nil {
		return 0, 0, err
	}
	number, err := os.ReadFile(m.Path(audit))
	if err != nil {
		return 0, 0, err
	}
	login := fmt.Sprintf("UID=%d\nCLASS=user\nTYPE=tty\nSTATE=active\nSCOPE=session-%s.scope\nAUDIT=%s\n", uid, id, strings.TrimSpace(string(number)))
	if _, err := m.Root("sh", "-c", `mkdir -p /run/systemd/sessions && printf '%s' "$1" >"/run/systemd/sessions/$0"`, id, login); err != nil {
		return 0, 0, err
	}
	events, err := os.Open(filepath.Join(scope, "cgroup.events"))
	if err != nil {
		return 0, 0, err
	}
	defer events.Close()
	start := time.Now()
	emptied := make(chan error, 1)
	go func() {
		err := awaitEmpty(events)
		empty = time.Since(start)
		emptied <- err
	}()
	r, err := m.Run(machine.RootSocket, agent.Request{Argv: []string{"xexit", "end", "--json", "--session", id}, Env: machine.RootEnv()})
	whole = time.Since(start)
	if err == nil && r.Status != 0 {
		err = fmt.Errorf("exit status %d: %s", r.Status, r.Stderr)
	}
	if err == nil {
		_, err = verifiedIn(r.Stdout)
	}
	if err != nil {
		return 0, 0, err
	}
	err = <-emptied
	return empty, whole, err
}

// awaitEmpty waits until the kernel says that nobody is in the group any more.
func awaitEmpty(events *os.File) error {
	text := make([]byte, 256)
	for over := time.Now().Add(machine.Guard); time.Now().Before(over); {
		n, err := events.ReadAt(text, 0)
		if n == 0 {
			return err
		}
		if strings.Contains(string(text[:n]), "populated 0") {
			return nil
		}
		change := []unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}}
		if _, err := unix.Poll(change, 1000); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return fmt.Errorf("hang guard: the control group is not empty after %v", machine.Guard)
}
