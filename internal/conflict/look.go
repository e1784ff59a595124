package conflict

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"xexit/internal/cgroup"
	"xexit/internal/logind"
	"xexit/internal/member"
	"xexit/internal/proc"
	"xexit/internal/session"
)

// Host is the machine that is looked at.
type Host struct {
	Root  string // of the file system
	Proc  string // root of proc(5)
	Keeps int    // keep rules in the configuration
}

// ThisHost is the machine that the program runs on.
func ThisHost(keeps int) Host { return Host{Root: "/", Proc: "/proc", Keeps: keeps} }

// Look finds out what Judge judges. It needs no privilege; what it cannot see
// is in the facts.
func (h Host) Look(ctx context.Context) Facts {
	f := Facts{Keeps: h.Keeps}
	_, err := os.Stat(filepath.Join(h.Root, "run/systemd/system")) // sd_booted(3)
	f.Systemd = err == nil
	h.groups(&f)
	if f.Logind {
		f.Kills, err = logind.KillsUserProcesses(ctx, h.Root)
		if err != nil {
			f.KillsUnsure = err.Error()
		}
	}
	stacks, err := readStacks(os.DirFS(h.Root))
	if err != nil {
		f.doubt(err)
	}
	f.Unmarked, f.Hooked = stacks.unmarked(), stacks.hooked()
	h.logins(&f)
	return f
}

func (f *Facts) doubt(err error) { f.Unsure = append(f.Unsure, err.Error()) }

// groups looks which control groups there are, and in them for logind.
func (h Host) groups(f *Facts) {
	mounts := filepath.Join(h.Proc, "self/mountinfo")
	tree, err := cgroup.Mounted(h.Proc)
	if errors.Is(err, cgroup.ErrNoHierarchy) {
		f.Hierarchy, f.Logind = None, f.Systemd // its group cannot be looked at
		return
	}
	if err != nil {
		f.doubt(err)
		return
	}
	f.Hierarchy = Unified
	if version, freezes := tree.Version(); version == 1 {
		f.Hierarchy, f.NoFreezer = Legacy, !freezes
	} else if text, err := os.ReadFile(mounts); err == nil && oldControllers(string(text)) {
		f.Hierarchy = Hybrid
	}
	if f.Logind, err = logind.Running(tree); err != nil {
		f.doubt(err)
	}
}

// oldControllers reports whether a controller is mounted as of cgroups v1; the
// hierarchy that only has a name (systemd's) has none.
func oldControllers(mountinfo string) bool {
	for line := range strings.SplitSeq(mountinfo, "\n") {
		_, kind, _ := strings.Cut(line, " - ")
		fields := strings.Fields(kind)
		if len(fields) < 3 || fields[0] != "cgroup" {
			continue
		}
		for option := range strings.SplitSeq(fields[2], ",") {
			switch option {
			case "cpu", "memory", "pids", "blkio":
				return true
			}
		}
	}
	return false
}

// Words are a login in words.
func Words(l *member.Login) string { return fmt.Sprintf("%s of %s (%s)", l.ID, l.User, l.Service) }

// logins looks at the audit ids of those who are logged in.
func (h Host) logins(f *Facts) {
	processes, err := proc.New(h.Proc)
	if err != nil {
		f.doubt(err)
		return
	}
	defer processes.Close()
	if _, err := os.Stat(filepath.Join(h.Proc, "self/sessionid")); err != nil {
		f.NoAudit = true
		return
	}
	list, err := member.ListLogins(os.DirFS(h.Root))
	if err != nil {
		f.doubt(err)
	}
	by := map[uint32][]string{}
	for _, l := range list {
		if !l.IsUser() || l.State == "closing" || l.Leader == 0 {
			continue
		}
		group, err := processes.Cgroup(l.Leader)
		if err != nil || !member.Within(group, l.Cgroup) {
			continue // dead, or not where it will be
		}
		audit, err := processes.Audit(l.Leader)
		name := Words(&l)
		switch {
		case err != nil:
		case audit == session.NoAudit:
			f.WithoutAudit = append(f.WithoutAudit, name)
		default:
			by[audit] = append(by[audit], name)
		}
	}
	for _, names := range by {
		if len(names) > 1 {
			f.SharedAudit = append(f.SharedAudit, names...)
		}
	}
}
