package logins

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xexit/internal/member"
	"xexit/tests/agent"
	"xexit/tests/machine"
	"xexit/tests/system"
)

// bare is a container in which no systemd runs, nor logind, nor D-Bus: sshd and
// cron are started by their init scripts.
func bare(t *testing.T, groups machine.Groups) *rig {
	t.Helper()
	stage := staged(t)
	m, err := machine.BootBare(stage, groups)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(m.Path("/run/scenario/daemon.log"))
			t.Logf("the daemon: %s", text)
			text, _ = os.ReadFile(m.Path(machine.Syslog))
			t.Logf("syslog: %s", text)
		}
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	r := newRig(t, m, stage)
	r.root("sed -i /pam_systemd/d /etc/pam.d/common-session; for s in screen-cleanup ssh cron; do /etc/init.d/$s start; done; test ! -e /run/systemd -a ! -e /run/dbus")
	return r
}

// TestBare: the same suite, and the daemon with all it does, where there is no
// systemd.
func TestBare(t *testing.T) {
	t.Parallel()
	r := bare(t, machine.UnifiedGroups)
	suite(r, member.IsHookID)
	r.conflicts("note logind.none, note systemd.none")
	r.daemonWithoutSystemd()
}

// byHand starts the daemon as an init script does: from the login of somebody
// who is not to matter to it.
const byHand = `sudo -n start-stop-daemon --start --background --make-pidfile --pidfile /run/xexit-daemon.pid --startas /bin/sh -- ` +
	`-c 'exec xexit daemon --config /run/scenario/daemon.toml >>/run/scenario/daemon.log 2>&1'`

const (
	userHook = `#!/bin/sh
echo "uid $(id -u) in $(pwd), $(grep 0:: /proc/self/cgroup)"
kill -9 -1
setsid /usr/libexec/xexit-test/leftover hooks-own termignorer >/dev/null 2>&1 </dev/null &
head -c 200000 /dev/zero | tr '\\0' x
exec sleep 1000000
`
	rootHook = `#!/bin/sh
echo "uid $(id -u), $(grep 0:: /proc/self/cgroup)"
setsid /usr/libexec/xexit-test/leftover roots-own termignorer >/dev/null 2>&1 </dev/null &
read word </run/scenario/go
`
)

func (r *rig) daemonWithoutSystemd() {
	r.unwatch() // the daemon's source removes what is over
	r.must(os.WriteFile(r.m.Path("/run/scenario/daemon.toml"), []byte("grace = \"500ms\"\n[hooks]\ntimeout = \"5s\"\noutput = \"1K\"\n[daemon]\ntypes = [\"ssh\"]\n"), 0o644))
	r.root("rm /etc/Xexit.d/*; mkfifo /run/scenario/go")
	r.must(os.WriteFile(r.m.Path("/etc/Xexit.d/10-user"), []byte(userHook), 0o755))
	r.must(os.WriteFile(r.m.Path("/etc/xexit/end.d/10-root"), []byte(rootHook), 0o755))
	admin := r.login("admin-bare", "alice")
	r.in(admin, byHand)
	r.openInDaemon(admin.id)
	stays, leaver := r.login("stays-bare", "alice"), r.login("leaver-bare", "alice")
	r.openInDaemon(stays.id)
	r.openInDaemon(leaver.id)

	gone := map[string]*machine.Ref{"leftover": leaver.leftover}
	spared := map[string]*machine.Ref{}
	for _, kind := range system.Leftovers() {
		if kind.Inside {
			name := "bare-" + strings.Map(func(c rune) rune {
				if c == ' ' {
					return '-'
				}
				return c
			}, kind.Name)
			r.in(leaver, kind.Script, "N="+name, "P="+machine.Leftover, "L="+machine.Leftover+" "+name+" termignorer")
			refs, err := r.m.Await(name, 1)
			r.must(err)
			gone[kind.Name] = refs[len(refs)-1]
		}
	}
	// Root's word for another login: see hasOtherLoginsAudit.
	const rewritten = "sudo that rewrites loginuid"
	spared[rewritten] = gone[rewritten]
	delete(gone, rewritten)
	// The one leaves the login by its init script, the other is known by its pid file.
	r.in(leaver, "sudo -n service cron restart; sudo -n setsid /usr/sbin/sshd -p 2222 -o PidFile=/run/sshd-again.pid")
	r.must(r.m.WaitFile("/run/sshd-again.pid"))
	for _, file := range []string{"/run/crond.pid", "/run/sshd-again.pid", "/run/xexit-daemon.pid"} {
		spared[file] = r.pidOf(file)
	}
	if group := r.root("cat /proc/$(cat /run/crond.pid)/cgroup"); strings.Contains(group, "/xexit/") {
		r.Errorf("cron, restarted by its init script, is in %s", group)
	}
	if ps := r.root("xexit ps --session " + leaver.id); !strings.Contains(ps, "exempt: services (/run/sshd-again.pid)") {
		r.Errorf("xexit ps does not say why sshd is spared:\n%s", ps)
	}
	r.must(leaver.Leader.Signal(9))
	_, err := r.m.Await("roots-own", 1)
	r.must(err)
	r.must(os.WriteFile(r.m.Path("/run/scenario/go"), []byte("go\n"), 0o644))
	r.wantGone(gone)
	for name, ref := range spared {
		if !ref.Alive() {
			r.Errorf("%s was to live", name)
		}
	}
	r.hooked(r.recordOf(leaver.id))
	r.root("rm /etc/Xexit.d/10-user /etc/xexit/end.d/10-root")

	headless := r.login("headless-bare", "alice")
	r.openInDaemon(headless.id)
	leader, err := r.m.RefOf(headless.leader())
	r.must(err)
	r.must(leader.Signal(9))
	r.wantGone(map[string]*machine.Ref{"what a login left whose leader was killed": headless.leftover})
	r.recordOf(headless.id)

	if doctor := r.root("xexit doctor || :"); !strings.Contains(doctor, "systemd does not run this host") || !strings.Contains(doctor, "the daemon runs") {
		r.Errorf("xexit doctor:\n%s", doctor)
	}
	r.must(admin.Leader.Signal(9))
	r.wantGone(map[string]*machine.Ref{"what the admin left": admin.leftover})
	r.recordOf(admin.id)
	if !spared["/run/xexit-daemon.pid"].Alive() {
		r.Error("the daemon ended with the login that it was started from")
	}
	last, err := r.open("last-bare", "bob", "2222")
	if err != nil {
		r.Errorf("the restarted service does not serve: %v", err)
	} else {
		last.wipe()
	}
	if !stays.live() || !stays.leftover.Alive() || !stays.Leader.Alive() {
		r.Errorf("another login of the user's: %q", stays.state())
	}
	r.must(spared["/run/xexit-daemon.pid"].Signal(15))
	r.wantGone(map[string]*machine.Ref{"the daemon": spared["/run/xexit-daemon.pid"]})
}

// in runs a script in a login.
func (r *rig) in(o *opened, script string, env ...string) {
	r.Helper()
	got, err := r.m.Run(o.Socket, agent.Request{Argv: []string{"sh", "-ec", "exec >/dev/null </dev/null\n" + script}, UID: -1, Add: env})
	r.must(err)
	if got.Status != 0 {
		r.Fatalf("%s: %+v", script, got)
	}
}

func (r *rig) openInDaemon(id string) {
	r.Helper()
	r.must(machine.Until("the daemon knows login "+id, func() (bool, error) {
		text, err := os.ReadFile(r.m.Path("/run/xexit/sessions/" + id + ".json"))
		return err == nil && strings.Contains(string(text), `"open"`), nil
	}))
}

func (r *rig) pidOf(file string) *machine.Ref {
	r.Helper()
	text, err := os.ReadFile(r.m.Path(file))
	r.must(err)
	var pid int
	_, err = fmt.Sscan(string(text), &pid)
	r.must(err)
	ref, err := r.m.RefOf(pid)
	r.must(err)
	return ref
}

func (r *rig) wantGone(refs map[string]*machine.Ref) {
	r.Helper()
	for name, ref := range refs {
		if !ref.Gone(machine.Guard) {
			r.Errorf("%s lives", name)
		}
	}
}

// ended is a finished record.
type endRecord struct {
	Event, Login, Reason string
	Verified             bool
	Hooks                []struct {
		Name, Output, Failed, Unshielded string
		Status                           int
		TimedOut                         bool `json:"timed_out"`
		Truncated                        bool
		Left, Denied                     []string
	}
	Processes, Undecided []struct{ Comm, Verdict, Why string }
	Survivors            []struct{ Comm, Cause string }
	Problems             []string
}

// recordOf waits for the record of a login's end, which must be verified.
func (r *rig) recordOf(id string) (done endRecord) {
	r.Helper()
	r.must(machine.Until("the end of login "+id+" is on record", func() (bool, error) {
		files, err := filepath.Glob(r.m.Path("/var/lib/xexit/*.jsonl"))
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				return false, err
			}
			for line := range strings.Lines(string(text)) {
				var e endRecord
				if err := json.Unmarshal([]byte(line), &e); err == nil && e.Event == "done" && e.Login == id {
					done = e
					return true, nil
				}
			}
		}
		return false, err
	}))
	if !done.Verified || len(done.Survivors) > 0 || len(done.Problems) > 0 {
		r.Errorf("the end of login %s: %+v", id, done)
	}
	return done
}

// hooked checks what a record says of the hooks, and of whom was spared.
func (r *rig) hooked(e endRecord) {
	r.Helper()
	if len(e.Hooks) != 2 {
		r.Fatalf("hooks: %+v", e.Hooks)
	}
	user, root := e.Hooks[0], e.Hooks[1]
	if !strings.HasPrefix(user.Output, fmt.Sprintf("uid %d in /, 0::/xexit/hook-", machine.Users["alice"])) || !user.TimedOut || !user.Truncated ||
		len(user.Denied) != 1 || user.Failed != "" || user.Unshielded != "" {
		r.Errorf("the user's: %.300q %+v", user.Output, user)
	}
	if !strings.HasPrefix(root.Output, "uid 0, 0::/xexit/hook-") || root.TimedOut || root.Status != 0 || root.Failed != "" || len(root.Left) != 1 {
		r.Errorf("root's: %+v", root)
	}
	for _, name := range []string{"hooks-own", "roots-own"} {
		refs, err := r.m.Await(name, 1)
		r.must(err)
		r.wantGone(map[string]*machine.Ref{name: refs[0]})
	}
	said := false
	for _, p := range e.Processes {
		said = said || p.Verdict == "spare" && p.Why == "exempt: services (/run/sshd-again.pid)"
	}
	if !said {
		r.Errorf("the record does not say why sshd was spared: %+v", e.Processes)
	}
}

// TestOldGroups: where only control groups of version 1 are mounted nobody is
// told from anybody, so nobody is ended, and it is said.
func TestOldGroups(t *testing.T) {
	t.Parallel()
	r := bare(t, machine.OldGroups)
	o := r.login("old", "alice")
	got, err := r.m.Run(machine.RootSocket, agent.Request{Argv: []string{"xexit", "daemon"}, Env: machine.RootEnv(), UID: 0})
	r.must(err)
	if got.Status != 1 || !strings.Contains(got.Stderr, "cgroup2") {
		r.Errorf("the daemon: %+v", got)
	}
	doctor, err := r.m.Run(machine.RootSocket, agent.Request{Argv: []string{"xexit", "doctor"}, Env: machine.RootEnv(), UID: 0})
	r.must(err)
	if doctor.Status != 1 || !strings.Contains(doctor.Stdout, "no control groups are mounted that tell of logins") || !strings.Contains(doctor.Stdout, "mount cgroup2") {
		r.Errorf("xexit doctor: %+v", doctor)
	}
	r.must(o.Leader.Signal(9))
	r.must(machine.Until("the hook has said why the login is not known", func() (bool, error) {
		text, err := os.ReadFile(r.m.Path(machine.Syslog))
		return strings.Contains(string(text), "nobody can be told from anybody"), err
	}))
	if list, err := r.all.List(); err != nil || len(list) > 0 {
		r.Errorf("logins: %+v, %v", list, err)
	}
	if !o.leftover.Alive() {
		r.Error("somebody was ended")
	}
}
