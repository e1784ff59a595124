package member

import (
	"strings"
	"testing"

	"xexit/internal/registry"
	"xexit/internal/session"
)

// TestServices: what was restarted from a login of the PAM hook's, and what sudo
// left in it. The processes are written as "who: PID PPID UID", those outside
// of the login's control group with a star, those on file as services with the
// file.
func TestServices(t *testing.T) {
	t.Parallel()
	type process struct {
		pid, ppid int
		uid       uint32
		file      string
		outside   bool
		member    bool   // wanted
		says      string // wanted of one that is no member
	}
	const user, other = 1000, 1001
	cron := process{50, 1, 0, "/run/crond.pid", false, false, "exempt: services (/run/crond.pid)"}
	for _, c := range []struct {
		name    string
		list    []process
		unknown bool
		spare   bool // other-users = false
	}{
		{name: "sudo setsid, sudo -u other setsid", list: []process{{50, 1, 0, "", false, true, ""}, {51, 1, other, "", false, true, ""}}},
		{name: "a service and its jobs", list: []process{
			cron, {51, 50, 0, "", false, false, "exempt: services (started by 50)"}, {52, 51, user, "", false, false, "started by 51"}, {53, 52, other, "", false, false, "started by 52"},
		}},
		{name: "one beside it", list: []process{cron, {51, 1, 0, "", false, true, ""}, {52, 51, user, "", false, true, ""}}},
		{name: "its supervisor, and that one's other children", list: []process{
			{49, 48, 0, "", false, false, "exempt: services (started one)"},
			{48, 1, 0, "", false, false, "exempt: services (started one)"},
			{50, 49, other, "/run/mysqld/mysqld.pid", false, false, "mysqld.pid"},
			{51, 48, 0, "", false, false, "started by 48"},
		}},
		{name: "in the foreground, below the user's own sudo", list: []process{
			{48, 1, user, "", false, true, ""}, {49, 48, 0, "", false, true, ""}, {50, 49, 0, "/run/nginx.pid", false, false, "/run/nginx.pid"},
		}},
		{name: "the user's own service", list: []process{{50, 1, user, "/run/sync.pid", false, false, "/run/sync.pid"}}},
		{name: "which are services cannot be read", unknown: true, list: []process{
			{50, 1, 0, "", false, false, "cannot be read"}, {51, 1, user, "", false, false, "cannot be read"},
		}},
		{name: "other users are spared", spare: true, list: []process{
			{50, 1, 0, "", false, false, "runs as another user"}, {51, 1, other, "", false, false, "runs as another user"}, {52, 1, user, "", false, true, ""},
		}},
		{name: "a job of a service that has left the group", list: []process{
			{50, 1, 0, "", true, false, ""}, {51, 50, user, "", true, false, "started by 50"}, {52, 51, user, "", true, false, "started by 50"},
		}},
		{name: "what left the group by root's help", list: []process{{51, 1, user, "", true, true, ""}}},
		{name: "a service that has left the group, as the user", list: []process{{51, 1, user, "/run/sync.pid", true, false, "/run/sync.pid"}}},
	} {
		scope := HookCgroup("p7")
		target := &Target{
			Login: true, OtherUsers: !c.spare, Bound: Bound{UID: user},
			Entry: registry.Entry{ID: sessionA, Scope: scope, Audit: 7, OwnsLogin: true, Leader: session.ProcID{PID: 40, Start: 4}},
		}
		s := &Snapshot{}
		for _, p := range c.list {
			q := &Process{
				ID: session.ProcID{PID: p.pid, Start: 5}, PPID: p.ppid, UID: p.uid, UIDKnown: true, Audit: 7, Cgroup: scope,
				Service: Service{File: p.file, Unknown: c.unknown},
			}
			if p.outside {
				q.Cgroup, q.Far = "/", p.uid != user
			}
			s.Processes = append(s.Processes, q)
		}
		found := map[int]Finding{}
		for _, f := range Classify(target, s) {
			found[f.ID.PID] = f
		}
		for _, p := range c.list {
			f, told := found[p.pid]
			if f.Member != p.member || !p.member && p.says != "" && (!told || !strings.Contains(f.Why, p.says)) {
				t.Errorf("%s: %d: member %v (%q), want %v (%q)", c.name, p.pid, f.Member, f.Why, p.member, p.says)
			}
			if f.Unkillable != nil {
				t.Errorf("%s: %d: %v", c.name, p.pid, f.Unkillable)
			}
		}
	}
}
