package gauntlet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// client is the thin client that all of alice's logins come from: an ambient
// marker that they share.
const client = "LTSP_CLIENT_HOSTNAME=ltsp7"

const outlive = "/usr/libexec/xexit-test/outlive"

// Stage builds what is installed in the containers: xexit, the test programs,
// and outlive.
func Stage(repository, dir string) error {
	if err := machine.Stage(repository, dir); err != nil {
		return err
	}
	cc := exec.Command("gcc", "-O1", "-Wall", "-static", "-pthread", "-o", dir+outlive, filepath.Join(repository, "tests/gauntlet/outlive/outlive.c"))
	if out, err := cc.CombinedOutput(); err != nil {
		return fmt.Errorf("build outlive: %w: %s", err, out)
	}
	return os.WriteFile(dir+"/etc/xexit/xexit.toml", []byte("grace = \""+grace+"\"\n"), 0o644)
}

// Arena is a container in which one run follows the other, and those who must
// live through all of them.
type Arena struct {
	m      *machine.Machine
	count  atomic.Int64
	unhang func() error // the server that does not answer lives until this is called
	beside
}

// beside are the processes that belong to no session that a run ends.
type beside struct {
	other *machine.Session // another login of the same user's
	refs  map[string][]*machine.Ref
}

// NewArena boots a container. kill has logind end what logins leave
// (KillUserProcesses).
func NewArena(stage string, kill bool) (*Arena, error) {
	m, err := machine.Boot(stage)
	if err != nil {
		return nil, err
	}
	a := &Arena{m: m}
	if err := errors.Join(a.furnish(kill), a.hang(), a.settle()); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// Close ends everything.
func (a *Arena) Close() error { return a.m.Stop() }

// onlyOurs leaves one snippet of those that start an X session.
const onlyOurs = "find /etc/X11/Xsession.d -type f ! -name 90xexit -delete"

// furnish is what the ways need of the system.
func (a *Arena) furnish(kill bool) error {
	script := `echo "127.0.0.1 $(hostname)" >>/etc/hosts
		install -m 4755 ` + outlive + ` /usr/local/bin/outlive-root
		printf '[D-BUS Service]\nName=org.xexit.Test\nExec=/bin/false\nSystemdService=activated.service\n' >/usr/share/dbus-1/services/org.xexit.Test.service
		printf '[Service]\nExecStart=/bin/sleep 40091\n' >/etc/systemd/user/activated.service
		` + onlyOurs + `
		loginctl enable-linger alice
		mkdir -p /run/scenario/hung`
	if kill {
		script += `
		mkdir -p /etc/systemd/logind.conf.d
		printf '[Login]\nKillUserProcesses=yes\n' >/etc/systemd/logind.conf.d/kill.conf
		systemctl restart systemd-logind`
	}
	_, err := a.m.Root("sh", "-ec", script)
	return err
}

// hang mounts a file system that never answers.
func (a *Arena) hang() (err error) {
	a.unhang, err = a.m.Helper(machine.RootSocket, agent.Request{
		Argv: []string{machine.Program, "wedge", "/run/scenario/hung"}, Env: machine.RootEnv(), UID: -1,
	}, "hanging")
	return err
}

// answer lets go whoever waits for it, and mounts another one.
func (a *Arena) answer() error {
	err := a.unhang()
	_, unmounted := a.m.Root("umount", "-l", "/run/scenario/hung")
	return errors.Join(err, unmounted, a.hang())
}

// by is how a process of those beside is found: by what only it executes.
func (a *Arena) by(pattern string) ([]*machine.Ref, error) {
	var refs []*machine.Ref
	err := machine.Until(pattern+" runs", func() (bool, error) {
		r, err := a.m.Run(machine.RootSocket, agent.Request{Argv: []string{"pgrep", "-xf", "([^ ]*/)?" + pattern}, Env: machine.RootEnv(), UID: -1})
		if err != nil || r.Status != 0 {
			return false, err
		}
		for _, field := range strings.Fields(r.Stdout) {
			pid, _ := strconv.Atoi(field)
			// One that has a pid namespace of its own is not to be had.
			if ref, err := a.m.RefOf(pid); err == nil {
				refs = append(refs, ref)
			}
		}
		return len(refs) > 0, nil
	})
	return refs, err
}

// sh runs a script in a session, or as root outside of any.
func (a *Arena) sh(s *machine.Session, script string, env ...string) error {
	socket := machine.RootSocket
	r := agent.Request{Argv: []string{"sh", "-ec", script}, UID: -1, Add: env, Env: machine.RootEnv()}
	if s != nil {
		socket, r.Env = s.Socket, nil
	}
	out, err := a.m.Run(socket, r)
	if err == nil && out.Status != 0 {
		err = fmt.Errorf("%s: exit status %d: %s", script, out.Status, out.Stderr)
	}
	return err
}

// activate has D-Bus start a service. Where one was killed the bus may wait for
// that one still, so it is helped after two seconds.
const activate = `systemctl --user reset-failed activated 2>/dev/null || :
	busctl --user call org.xexit.Test / org.freedesktop.DBus.Peer Ping >/dev/null 2>&1 &
	n=0; until systemctl --user is-active -q activated; do
		n=$((n+1)); [ $n != 20 ] || systemctl --user start activated; [ $n -lt 100 ]; sleep 0.1
	done`

// settle starts whom nothing may touch, and is called again for those whom
// something did.
func (a *Arena) settle() error {
	a.refs = map[string][]*machine.Ref{}
	n := a.count.Add(1)
	var err error
	if a.other, err = a.m.SSHPlain(fmt.Sprintf("other%d", n), "alice", client); err != nil {
		return err
	}
	again, err := a.m.SSHPlain(fmt.Sprintf("again%d", n), "alice", client, "XEXIT_SESSION=0b5c2c7e-0000-4000-8000-00000000000a")
	if err != nil {
		return err
	}
	a.refs["another login of the same user"] = []*machine.Ref{a.other.Leader}
	a.refs["a re-login from the same client"] = []*machine.Ref{again.Leader}
	for _, one := range []struct {
		name, pattern, script string
		in                    *machine.Session
	}{
		{"its daemon", "sleep 40011", "setsid sleep 40011 >/dev/null 2>&1 &", a.other},
		{"a daemon of the re-login", "sleep 40021", "setsid sleep 40021 >/dev/null 2>&1 &", again},
		{"an at job", "sleep 40051", "echo 'exec sleep 40051' | at now", a.other},
		{"a cron job", "sleep 40061", "echo '@reboot exec sleep 40061' | crontab -u alice -; rm -f /run/crond.reboot; systemctl restart cron", nil},
		{"a system service that runs as the user", "sleep 40071", "systemctl stop svc 2>/dev/null || :; systemctl reset-failed svc 2>/dev/null || :; systemd-run -q --uid=alice --unit=svc --setenv=" + client + " sleep 40071", nil},
		{"a D-Bus-activated service", "sleep 40091", activate, a.other},
		{"a lingering user's service", "sleep 40101", "systemctl --user stop lingers 2>/dev/null || :; systemctl --user reset-failed lingers 2>/dev/null || :; systemd-run --user -q --unit=lingers sleep 40101", a.other},
		{"started before the session", "sleep 40111", "setsid setpriv --reuid 21001 --regid 21001 --clear-groups env " + client + " sleep 40111 >/dev/null 2>&1 &", nil},
		{"another user's with the same markers", "sleep 40041", "setsid setpriv --reuid 21002 --regid 21002 --clear-groups env " + client + " sleep 40041 >/dev/null 2>&1 &", nil},
	} {
		if err := a.sh(one.in, one.script); err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
		refs, err := a.by(one.pattern)
		if err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
		a.refs[one.name] = refs
	}
	return nil
}

// hurt names those beside who have been ended, and brings everybody back.
func (a *Arena) hurt() (names []string, err error) {
	for name, refs := range a.refs {
		if !slices.ContainsFunc(refs, (*machine.Ref).Alive) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		return nil, nil
	}
	// Whoever is left goes too, so that nobody is there twice.
	if err := a.sh(nil, "pkill -KILL -xf '([^ ]*/)?sleep 40[01][0-9]+' || :; atrm $(atq | cut -f1) 2>/dev/null || :"); err != nil {
		return names, err
	}
	return names, a.settle()
}

// inside is where the host finds a path of the container.
func (a *Arena) inside(path string) string { return a.m.Path(path) }

// scope is the control group of a login.
func (a *Arena) scope(id string) string {
	return fmt.Sprintf("/sys/fs/cgroup/user.slice/user-21001.slice/session-%s.scope", id)
}

// members are the processes in a control group and below it, in the host's
// numbers: those of the reader.
func (a *Arena) members(group string) (pids []int) {
	dir := a.inside(group)
	text, _ := os.ReadFile(dir + "/cgroup.procs") // gone: nobody
	for _, field := range strings.Fields(string(text)) {
		if n, err := strconv.Atoi(field); err == nil {
			pids = append(pids, n)
		}
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			pids = append(pids, a.members(group+"/"+e.Name())...)
		}
	}
	return pids
}
