package machine

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
)

// The Debian trees that tests/image.sh makes for Boot.
const (
	Debian12 = "/var/cache/xexit-test/debian-12"
	Debian13 = "/var/cache/xexit-test/debian-13" // with a desktop
)

// Boot is BootImage with Debian 12.
func Boot(stage string) (*Machine, error) { return BootImage(Debian12, stage) }

// BootImage makes a machine that a real systemd boots: logind, PAM, sshd, D-Bus
// and one user manager a user, in a container of systemd-nspawn(1). What is
// staged is bound into it; all that it writes is gone when it stops. Logins
// come in by SSHPlain, and Root's commands run in a service.
func BootImage(image, stage string) (m *Machine, err error) {
	m = &Machine{known: make(map[string][]*Ref), terminals: make(map[string]*Terminal), changed: make(chan struct{})}
	if m.base, err = os.MkdirTemp("/var/tmp", "xexit-boot-"); err != nil {
		return nil, err
	}
	m.base = filepath.Join(m.base, "base") // Run's files lie beside it
	name := strings.ReplaceAll(filepath.Base(filepath.Dir(m.base)), "_", "-")
	group, err := unifiedGroup(name)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(filepath.Dir(m.base)))
	}
	if m.halt, err = guard(group, filepath.Dir(m.base)); err != nil {
		return nil, errors.Join(err, os.Remove(group), os.RemoveAll(filepath.Dir(m.base)))
	}
	if err := m.nspawn(name, group, image, stage); err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	// Its socket is there when the system is up: see agentUnit.
	if err := errors.Join(m.WaitFile(RootSocket), m.hear()); err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	return m, nil
}

// staged are the places of what an installed xexit and the tests have.
func staged() []string {
	return []string{
		"/usr/bin/xexit", "/usr/bin/EndXSession", "/usr/libexec/xexit", filepath.Dir(Program),
		"/etc/xexit", "/etc/Xexit.d", "/etc/X11/Xsession.d/90xexit",
		"/usr/lib/systemd/system/xexit*", "/usr/lib/sysusers.d/xexit*", "/usr/lib/tmpfiles.d/xexit*",
	}
}

// nspawn starts the container and finds its first process.
func (m *Machine) nspawn(name, group, image, stage string) error {
	dir, err := os.Open(group)
	if err != nil {
		return err
	}
	defer dir.Close()
	args := []string{
		"unchroot", "systemd-nspawn", "--register=no", "--keep-unit", "-b", "-D", image, "--volatile=overlay", "--read-only", "--quiet",
		"--bind=/dev/fuse", "--machine=" + name, "--private-network", "--kill-signal=SIGRTMIN+3", "--console=pipe",
	}
	unit := filepath.Join(filepath.Dir(m.base), agentService)
	if err := os.WriteFile(unit, []byte(agentUnit), 0o644); err != nil {
		return err
	}
	args = append(args, "--bind-ro="+unit+":/run/systemd/system/"+agentService)
	for _, pattern := range staged() {
		found, err := filepath.Glob(stage + pattern)
		if err != nil {
			return err
		}
		for _, path := range found {
			args = append(args, "--bind-ro="+path+":"+strings.TrimPrefix(path, stage))
		}
	}
	args = append(args, "systemd.wants="+agentService) // for systemd: systemd-debug-generator(8)
	m.init = exec.Command(stage+Program, args...)
	m.init.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	m.init.SysProcAttr = &unix.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	log, err := os.Create(filepath.Join(filepath.Dir(m.base), "console"))
	if err != nil {
		return err
	}
	defer log.Close()
	m.init.Stdout, m.init.Stderr = log, log
	if err := m.init.Start(); err != nil {
		return err
	}
	go func() { _ = m.init.Wait() }()
	err = Until("the container's first process runs", func() (bool, error) {
		m.first = firstProcess(m.init.Process.Pid)
		return m.first != 0, nil
	})
	if err != nil {
		text, _ := os.ReadFile(log.Name())
		err = fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// firstProcess is systemd in a pid namespace below a process; 0: not yet.
func firstProcess(above int) int {
	for _, child := range childrenOf(above) {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", child))
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child))
		if statusField(string(status), "NSpid:", 1) == 1 && string(comm) == "systemd\n" {
			return child
		}
		if found := firstProcess(child); found != 0 {
			return found
		}
	}
	return 0
}

func childrenOf(pid int) (children []int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, field := range strings.Fields(string(text)) {
		if n, err := strconv.Atoi(field); err == nil {
			children = append(children, n)
		}
	}
	return children
}

// agentUnit is root's agent, which the container's own systemd starts when the
// system is up: nobody has to enter the container, which nsenter(1) cannot do
// where the host's root is a chroot(2).
const agentUnit = `[Unit]
Description=Agent of the tests
After=multi-user.target

[Service]
ExecStartPre=/bin/ip link set lo up
ExecStartPre=/usr/bin/install -d -m 1777 /run/scenario
ExecStart=` + Program + ` agent ` + RootSocket + `
Delegate=yes
`

const agentService = "xexit-test.service"

// SSHPlain logs a user in by ssh, through PAM and logind, and returns when the
// session's first program runs: an agent, whose parent is sshd.
func (m *Machine) SSHPlain(name, user string, env ...string) (*Session, error) {
	return m.SSHAt("22", name, user, env...)
}

// SSHAt is SSHPlain by the sshd at another port.
func (m *Machine) SSHAt(port, name, user string, env ...string) (*Session, error) {
	first := "exec " + Program + " agent " + socketOf(name)
	if len(env) > 0 {
		first = "exec env " + strings.Join(env, " ") + " " + Program + " agent " + socketOf(name)
	}
	if _, err := m.Spawn(RootSocket, "/run/scenario/"+name+".ssh.log", agent.Request{
		Argv: []string{
			"ssh", "-F", "none", "-p", port, "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "StrictHostKeyChecking=no",
			"-o", "UserKnownHostsFile=/dev/null", user + "@127.0.0.1", first + " 2>>$HOME/.xsession-errors",
		},
		Env: RootEnv(), UID: -1, NewSession: true,
	}); err != nil {
		return nil, err
	}
	s, err := m.Opened(name, user)
	if err != nil {
		text, _ := os.ReadFile(m.Path("/run/scenario/" + name + ".ssh.log"))
		err = fmt.Errorf("%w: ssh: %s", err, text)
	}
	return s, err
}

// LoginID is logind's id of the login that a session's first program is in.
func (m *Machine) LoginID(s *Session) (string, error) {
	text, err := os.ReadFile(m.Path(fmt.Sprintf("/proc/%d/cgroup", s.Leader.PID)))
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(text), "/session-")
	id, _, ok := strings.Cut(rest, ".scope")
	if !ok {
		return "", fmt.Errorf("session %s is in no login's scope: %s", s.Name, text)
	}
	return id, nil
}

// unifiedGroup makes a control group for a container.
func unifiedGroup(name string) (string, error) {
	for _, root := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(root + "/cgroup.procs"); err == nil {
			group := filepath.Join(root, name)
			return group, os.Mkdir(group, 0o755)
		}
	}
	return "", errors.New("no unified control group hierarchy is mounted")
}

// guard starts a process that ends everybody in a group, and removes it and a
// directory, when it is told to or when this process ends, however it ends: a
// container goes on without whoever started it.
func guard(group, dir string) (release func() error, err error) {
	sh := exec.Command("/bin/sh", "-c", `cat >/dev/null
		n=0
		while [ -e "$1" ] && [ $n -lt 600 ]; do
			echo 1 >"$1/cgroup.kill"
			find "$1" -depth -type d -exec rmdir {} + || sleep 0.1
			n=$((n+1))
		done 2>/dev/null
		# The container's manager makes one of the same name in version 1.
		for other in /sys/fs/cgroup/*/"${1##*/}"; do find "$other" -depth -type d -exec rmdir {} + 2>/dev/null; done
		rm -rf "$2"
		[ ! -e "$1" ]`, "sh", group, dir)
	sh.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	hold, err := sh.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := sh.Start(); err != nil {
		return nil, err
	}
	return func() error {
		if err := errors.Join(hold.Close(), sh.Wait()); err != nil {
			return fmt.Errorf("end the container in %s: %w", group, err)
		}
		return nil
	}, nil
}

// hear listens for the leftovers of a machine.
func (m *Machine) hear() (err error) {
	m.announce, err = net.ListenUnix("unix", &net.UnixAddr{Name: m.Path(Announce), Net: "unix"})
	if err != nil {
		return err
	}
	if err := os.Chmod(m.Path(Announce), 0o777); err != nil {
		return err
	}
	go m.listen()
	return nil
}
