// Package gather finds out on this machine what package doctor judges: it
// reads the registry, /proc, and the files of logind and sshd, and connects to
// displays for a moment. Whatever may hang is given up after a few seconds, and
// nothing is changed but what every connection to a display leaves there. What
// the facts mean does not belong here.
package gather

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"time"

	"xexit/internal/doctor"
	"xexit/internal/linux"
	"xexit/internal/logindefs"
	"xexit/internal/proc"
	"xexit/internal/registry"
)

// patience bounds each thing that may hang: a display, a home directory.
const patience = 3 * time.Second

// ErrUsage is wrapped by errors that the caller can mend.
var ErrUsage = errors.New("nothing was looked at")

// Host is the machine that is looked at.
type Host struct {
	Environ []string
	Proc    string // root of proc(5)
	Root    fs.FS  // of the file system, for configuration and state
	UID     uint32 // real uid
	EUID    uint32
}

// ThisHost is the machine that the program runs on.
func ThisHost(environ []string) Host {
	return Host{Environ: environ, Proc: "/proc", Root: os.DirFS("/"), UID: uint32(os.Getuid()), EUID: uint32(os.Geteuid())}
}

// Request says what to look at.
type Request struct {
	Session string // id or its beginning; "": the session of the environment
	All     bool   // all of the user's sessions
}

func (h Host) getenv(name string) string { return lookup(h.Environ, name) }

// lookup is getenv(3) over a list; the last one counts, as for os/exec.
func lookup(environ []string, name string) string {
	for i := len(environ) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(environ[i], name+"="); ok {
			return value
		}
	}
	return ""
}

// Facts gathers everything but what is configured, which is the caller's.
func (h Host) Facts(ctx context.Context, req Request) (doctor.Facts, error) {
	fs, err := proc.New(h.Proc)
	if err != nil {
		return doctor.Facts{}, err
	}
	defer func() { _ = fs.Close() }()
	g := &gatherer{Host: h, proc: fs}
	var f doctor.Facts
	if err := g.user(&f.User); err != nil {
		return f, err
	}
	f.Records = g.records(ctx)
	listed, err := g.listed(&f.Records)
	if err != nil {
		return f, err
	}
	if f.Sessions, f.Others, err = g.sessions(ctx, listed, req); err != nil {
		return f, err
	}
	f.Login = g.login(f.User.UID)
	f.Machine = g.machine()
	f.SSH = g.ssh(ctx)
	return f, nil
}

// gatherer is one look.
type gatherer struct {
	Host
	proc *proc.FS
}

func (g *gatherer) user(u *doctor.User) error {
	u.UID = g.UID
	u.Name = strconv.FormatUint(uint64(g.UID), 10)
	if known, err := user.LookupId(u.Name); err == nil {
		u.Name = known.Username
	}
	text, err := fs.ReadFile(g.Root, strings.TrimPrefix(logindefs.Path, "/"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	limits, err := logindefs.UIDs(string(text))
	if err != nil {
		return fmt.Errorf("read %s: %w", logindefs.Path, err)
	}
	u.UIDMin = limits.Min
	u.System = g.UID != 0 && limits.System(g.UID)
	return nil
}

// listed is the registry. Where there is none that can be used, that is a
// finding, and nothing is registered.
func (g *gatherer) listed(r *doctor.Records) ([]registry.Listed, error) {
	dir, err := registry.Dir(g.getenv, g.UID)
	if err != nil {
		r.RuntimeBad = err.Error()
		return nil, nil
	}
	r.Runtime, r.Fallback = dir, dir == fmt.Sprintf("/tmp/xexit-%d", g.UID)
	reg, err := registry.Open(dir)
	if err != nil {
		return nil, err
	}
	listed, err := reg.List()
	if err != nil {
		r.RuntimeBad = err.Error()
	}
	return listed, nil
}

func (g *gatherer) machine() doctor.Machine {
	m := doctor.Machine{}
	m.Host, _ = os.Hostname()
	release, _ := os.ReadFile(g.Proc + "/sys/kernel/osrelease")
	m.Kernel = strings.TrimSpace(string(release))
	if p, err := linux.OpenPidFD(os.Getpid()); err != nil {
		m.PidFD = err.Error()
	} else {
		_ = p.Close()
	}
	_, err := fs.Stat(g.Root, "sys/fs/cgroup/cgroup.controllers")
	m.CgroupV2 = err == nil
	mounts, _ := os.ReadFile(g.Proc + "/self/mountinfo")
	m.HidePID = proc.HidePID(string(mounts), "/proc")
	return m
}

func (g *gatherer) ssh(ctx context.Context) doctor.SSH {
	s := doctor.SSH{Session: g.getenv("SSH_CONNECTION") != ""}
	if _, err := fs.Stat(g.Root, sshdConfig); err != nil {
		return s
	}
	s.Installed = true
	if g.EUID == 0 {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if text, err := exec.CommandContext(ctx, "/usr/sbin/sshd", "-T").Output(); err == nil {
			return parseEffective(string(text), s)
		}
	}
	return readSSHD(g.Root, s)
}
