package system

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// Ender is what ends what logins leave behind.
type Ender string

// The enders.
const (
	Daemon    Ender = "xexit daemon"
	Nobody    Ender = "nothing"
	Kill      Ender = "KillUserProcesses" // logind's
	Terminate Ender = "terminate-session" // loginctl's, instead of the login's own end
)

// Grace is the daemon's here: who ignores TERM gets KILL after it.
const Grace = "500ms"

// outlive is the gauntlet's program.
const outlive = "/usr/libexec/xexit-test/outlive"

const config = `grace = "` + Grace + `"
pam-close = "3s"
[daemon]
types = ["x11", "wayland", "ssh", "tty", "other"]
`

// Stage builds what is installed in the containers. faults: with the fault
// points of an end.
func Stage(repository, dir string, faults bool) error {
	if err := machine.Stage(repository, dir); err != nil {
		return err
	}
	if faults {
		build := exec.Command("go", "build", "-buildvcs=false", "-tags", "faultpoints", "-o", dir+"/usr/libexec/xexit/xexit-main", "./cmd/xexit-main")
		build.Dir, build.Env = repository, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build with fault points: %w: %s", err, out)
		}
	}
	cc := exec.Command("gcc", "-O1", "-static", "-pthread", "-o", dir+outlive, filepath.Join(repository, "tests/gauntlet/outlive/outlive.c"))
	if out, err := cc.CombinedOutput(); err != nil {
		return fmt.Errorf("build outlive: %w: %s", err, out)
	}
	// The start-up's watcher would do the daemon's work, as the user.
	snippet := dir + "/etc/X11/Xsession.d/90xexit"
	return errors.Join(os.WriteFile(snippet, nil, 0o644), os.WriteFile(dir+"/etc/xexit/xexit.toml", []byte(config), 0o644))
}

// Host is a container in which an Ender is at work.
type Host struct {
	m     *machine.Machine
	image string
	ender Ender
	count atomic.Int64 // makes names
}

// NewHost boots one.
func NewHost(image, stage string, ender Ender) (*Host, error) {
	m, err := machine.BootImage(image, stage)
	if err != nil {
		return nil, err
	}
	h := &Host{m: m, image: image, ender: ender}
	if err := h.furnish(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// Close ends everything.
func (h *Host) Close() error { return h.m.Stop() }

// xsession is the first program of a login on a display: an agent, called by
// the display.
const xsession = `#!/bin/sh
exec ` + machine.Program + ` agent "/run/scenario/x$DISPLAY.sock"
`

// profile is what login(1)'s shell does where it is to be an agent.
const profile = `[ -z "$XEXIT_TEST_AGENT" ] || exec ` + machine.Program + ` agent "$XEXIT_TEST_AGENT"
`

func (h *Host) furnish() error {
	script := `echo "127.0.0.1 localhost $(hostname)" >>/etc/hosts
		printf '%s\n' 'ClientAliveInterval 4' 'ClientAliveCountMax 2' >/etc/ssh/sshd_config.d/alive.conf
		systemctl reload ssh
		mkdir -p /etc/systemd/logind.conf.d
		printf '[Login]\nUserStopDelaySec=1\nKillUserProcesses=%s\n' "$KILL" >/etc/systemd/logind.conf.d/tests.conf
		systemctl restart systemd-logind
		printf '%s\n' '$localhost = "yes";' '$SecurityTypes = "None";' '$geometry = "64x64";' '1;' >/etc/tigervnc/vncserver-config-defaults
		for user in alice bob; do
			install -o $user -g $user -m 600 /root/.ssh/id_ed25519 /home/$user/.ssh/id_ed25519
			printf '%s' "$PROFILE" >/home/$user/.bash_profile
			printf '%s' "$XSESSION" >/home/$user/.xsession
			chmod 755 /home/$user/.xsession
		done`
	kill := "no"
	switch h.ender {
	case Daemon:
		script += "\nsystemctl start xexit.service"
	case Kill:
		kill = "yes"
	}
	return h.root(script, "PROFILE="+profile, "XSESSION="+xsession, "KILL="+kill)
}

// root runs a script as root, outside of any login.
func (h *Host) root(script string, env ...string) error {
	_, err := h.ask(script, env...)
	return err
}

// ask is what such a script prints.
func (h *Host) ask(script string, env ...string) (string, error) {
	out, err := h.m.Run(machine.RootSocket, agent.Request{Argv: []string{"/bin/sh", "-ec", script}, UID: -1, Env: append(machine.RootEnv(), env...)})
	if err == nil && out.Status != 0 {
		err = fmt.Errorf("exit status %d of %s: %s", out.Status, script, out.Stderr)
	}
	return out.Stdout, err
}

// text is a file of the container, what is wrong where it cannot be read.
func (h *Host) text(inside string) string {
	text, err := os.ReadFile(h.m.Path(inside))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// name makes one that is no other's in the container.
func (h *Host) name(prefix string) string { return fmt.Sprintf("%s%d", prefix, h.count.Add(1)) }

// members are the processes in a control group and below it, in the host's
// numbers.
func (h *Host) members(group string) (pids []int) {
	_ = filepath.WalkDir(h.m.Path("/sys/fs/cgroup"+group), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // it is gone, or no group
		}
		text, _ := os.ReadFile(path + "/cgroup.procs")
		for _, field := range strings.Fields(string(text)) {
			var pid int
			if _, err := fmt.Sscan(field, &pid); err == nil {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}
