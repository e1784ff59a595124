package logins

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"xexit/internal/logind"
	"xexit/internal/member"
	"xexit/internal/session"
	"xexit/tests/agent"
	"xexit/tests/machine"
)

// TestLogind: the PAM hook is configured, and keeps out of it.
func TestLogind(t *testing.T) {
	r := boot(t)
	r.root("sed -i '/pam_loginuid/a session optional pam_exec.so quiet /usr/bin/xexit pam-session' /etc/pam.d/sshd") // before logind has it, too
	suite(r, member.IsLogindID)
	r.conflicts("")
	r.logindRestarts()
	r.busAlone()
	r.inTheWay()
	if list, err := r.all[1].List(); err != nil || len(list) != 0 {
		t.Errorf("the hook has logins of its own: %+v, %v", list, err)
	}
}

// TestHook: logind is masked, and whoever logs in is told of by the hook.
func TestHook(t *testing.T) {
	r := boot(t)
	r.root("systemctl mask -q --now systemd-logind.service; sed -i /pam_systemd/d /etc/pam.d/common-session")
	suite(r, member.IsHookID)
	r.conflicts("note logind.none")
	r.passing()
	r.ended()
	r.liar()
	r.restarted()
	r.daemonEnds()
	r.broken()
	if list, err := r.all[0].List(); err != nil || len(list) != 0 {
		t.Errorf("logind has logins: %+v, %v", list, err)
	}
}

// suite is what both must do.
func suite(r *rig, ours func(string) bool) {
	early := r.login("early", "alice")
	r.watch(r.all)
	r.await("a login is there from the start", "", func() bool { return early.live() })
	early.describes(ours)

	late := r.login("late", "bob")
	r.await("another one has come", late.id, late.live)
	late.describes(ours)
	if late.id == early.id {
		r.Fatalf("both are %s", late.id)
	}

	// A logout: what the login left keeps it, closing.
	r.must(late.Leader.Signal(9))
	r.await(late.id+" is closing", late.id, func() bool { return late.state() == "closing" })
	if !late.leftover.Alive() {
		r.Error("the leftover did not outlive the logout")
	}
	r.must(late.leftover.Signal(9))
	late.gone()

	r.severalAtOnce()
	r.leaderKilled()
	r.withoutAudit(ours)
	r.console()

	// Another watcher begins where the first one left.
	r.unwatch()
	meanwhile := r.login("meanwhile", "bob")
	early.wipe()
	r.watch(r.all)
	r.await("what happened meanwhile is found", "", func() bool { return meanwhile.live() && early.state() == "" })
	meanwhile.wipe()
	meanwhile.gone()
}

// describes compares what is said of a login with what is so.
func (o *opened) describes(ours func(string) bool) {
	r := o.r
	r.Helper()
	l, ok := o.known()
	audit, err := os.ReadFile(r.m.Path(fmt.Sprintf("/proc/%d/sessionid", o.Leader.PID)))
	r.must(err)
	number, err := strconv.ParseUint(strings.TrimSpace(string(audit)), 10, 32)
	r.must(err)
	want := member.Login{
		ID: o.id, UID: uint32(machine.Users[o.User]), User: o.User, Class: "user", Type: "tty", Service: "sshd", State: l.State,
		RemoteHost: "127.0.0.1", Remote: true, Leader: o.leader(), Audit: uint32(number), Cgroup: o.cgroup,
		Written: l.Written,
	}
	if strings.HasPrefix(o.cgroup, "/user.slice/") {
		want.Scope = "session-" + o.id + ".scope"
		if l.Audit == session.NoAudit { // in a container a newer logind never asks the kernel
			want.Audit = l.Audit
		}
	}
	if !ok || l != want || l.Written.IsZero() || !l.IsUser() || !ours(o.id) {
		r.Errorf("login %s:\ngot  %+v\nwant %+v", o.id, l, want)
	}
	list, err := r.all.List()
	found := false
	for _, other := range list {
		found = found || other == l
	}
	if err != nil || !found {
		r.Errorf("login %s is not in the list: %+v, %v", o.id, list, err)
	}
}

func (r *rig) severalAtOnce() {
	const several = 6
	type result struct {
		o   *opened
		err error
	}
	results := make(chan result, several)
	for i := range several {
		go func() {
			o, err := r.open(fmt.Sprintf("one%d", i), []string{"alice", "bob"}[i%2], "22")
			results <- result{o, err}
		}()
	}
	ids := map[string]bool{}
	var all []*opened
	for range several {
		got := <-results
		r.must(got.err)
		ids[got.o.id], all = true, append(all, got.o)
	}
	if len(ids) != several {
		r.Errorf("%d ids for %d logins: %v", len(ids), several, ids)
	}
	r.awaitAll("all are there", all, (*opened).live)
	for _, o := range all {
		o.wipe()
	}
	r.awaitAll("all are gone", all, func(o *opened) bool { return o.state() == "" })
}

// awaitAll waits until something that was told of each login holds.
func (r *rig) awaitAll(what string, all []*opened, holds func(*opened) bool) {
	r.Helper()
	waiting := map[string]*opened{}
	for _, o := range all {
		waiting[o.id] = o
	}
	over := time.After(machine.Guard)
	for len(waiting) > 0 {
		select {
		case id := <-r.told:
			if o := waiting[id]; o != nil && holds(o) {
				delete(waiting, id)
			}
		case <-over:
			r.Fatalf("hang guard: nobody told that %s: %v", what, waiting)
		}
	}
}

// leaderKilled: no PAM session is closed. The login stays as long as somebody
// lives in it, and goes with the last one.
func (r *rig) leaderKilled() {
	o := r.login("headless", "alice")
	r.await("it is there", o.id, o.live)
	leader, err := r.m.RefOf(o.leader())
	r.must(err)
	r.must(leader.Signal(9))
	if !leader.Gone(machine.Guard) {
		r.Fatal("the leader outlives KILL")
	}
	l, ok := o.known()
	if !ok || l.Leader != leader.PID {
		r.Errorf("with a leftover in it, of a dead leader: %+v, %v", l, ok)
	}
	if !o.leftover.Alive() {
		r.Error("the leftover did not outlive its leader")
	}
	o.wipe()
	o.gone()
}

// withoutAudit: logins of a service whose PAM stack lacks pam_loginuid.
func (r *rig) withoutAudit(ours func(string) bool) {
	r.root("sed -i.saved /pam_loginuid/d /etc/pam.d/sshd")
	o := r.login("unmarked", "alice")
	r.await("it is there", o.id, o.live)
	o.describes(ours)
	if l, _ := o.known(); l.Audit != session.NoAudit || o.id[0] >= '0' && o.id[0] <= '9' {
		r.Errorf("%+v: want a login without an audit id", l)
	}
	o.wipe()
	o.gone()
	r.root("mv /etc/pam.d/sshd.saved /etc/pam.d/sshd")
}

// logindRestarts: neither its restart nor that of the bus loses a login.
func (r *rig) logindRestarts() {
	before := r.login("before", "alice")
	r.await("it is there", before.id, before.live)
	r.root("systemctl restart systemd-logind")
	r.await("logind is back", "", before.live)
	after := r.login("after", "bob")
	r.await("a login after logind's restart is there", after.id, after.live)
	for _, o := range []*opened{before, after} {
		o.wipe()
		o.gone()
	}
}

// busAlone: what the bus tells, without a look at logind's files, also after
// its restart.
func (r *rig) busAlone() {
	root := r.TempDir()
	r.must(os.MkdirAll(root+"/run", 0o755))
	r.must(os.Symlink(r.m.Path("/run/dbus"), root+"/run/dbus"))
	lost := make(chan error, 1000)
	r.unwatch()
	r.watch(logind.Source{Root: root, Trouble: func(err error) { lost <- err }})
	r.drain()
	o := r.login("heard", "alice")
	r.await("the bus tells of it", o.id, o.live)
	o.wipe()
	o.gone()
	r.root("systemctl restart dbus.service; systemctl restart systemd-logind")
	select {
	case <-lost:
	case <-time.After(machine.Guard):
		r.Fatal("hang guard: the bus restarts, and that is no trouble")
	}
	r.drain()
	o = r.login("again", "bob")
	r.await("the bus tells of it again", o.id, o.live)
	o.wipe()
	o.gone()
}

// drain forgets what was told so far.
func (r *rig) drain() {
	for {
		select {
		case <-r.told:
		default:
			return
		}
	}
}

// passing: who changes to another user within a login, or comes by the clock,
// has none of his own; what he starts is in the login.
func (r *rig) passing() {
	o := r.login("outer", "alice")
	r.await("it is there", o.id, o.live)
	const where = "cat /proc/self/cgroup"
	for _, how := range []string{"sudo -n -u bob " + where, "sudo -n -i " + where, "sudo -n su - bob -c '" + where + "'", "sudo -n runuser -l bob -c '" + where + "'"} {
		got, err := r.m.Run(o.Socket, agent.Request{Argv: []string{"sh", "-c", how}, UID: -1})
		r.must(err)
		if !strings.Contains(got.Stdout, "0::"+o.cgroup+"\n") {
			r.Errorf("%s: %+v, want to be in %s", how, got, o.cgroup)
		}
	}
	r.root("echo 'id >/run/scenario/by-at' | at now")
	r.must(r.m.WaitFile("/run/scenario/by-at"))
	list, err := r.all.List()
	if err != nil || len(list) != 1 || list[0].ID != o.id || !o.live() {
		r.Errorf("%+v, %v: want %s alone, live", list, err, o.id)
	}
	o.wipe()
	o.gone()
}

// console: login(1) on a terminal.
func (r *rig) console() {
	_, err := r.m.Spawn(machine.RootSocket, "", agent.Request{
		Argv: []string{"sh", "-c", "sleep 1000000 | script -qc 'login -f bob' /dev/null"}, Env: machine.RootEnv(), UID: -1, NewSession: true,
	})
	r.must(err)
	var l member.Login
	r.await("somebody logs in at a terminal", "", func() bool {
		list, _ := r.all.List()
		i := slices.IndexFunc(list, func(l member.Login) bool { return l.Service == "login" && l.State != "closing" })
		if i >= 0 {
			l = list[i]
		}
		return i >= 0
	})
	if l.UID != uint32(machine.Users["bob"]) || l.Type != "tty" || !strings.HasPrefix(l.TTY, "pts/") || l.Remote || l.Display != "" || l.Cgroup == "" {
		r.Errorf("%+v", l)
	}
	o := &opened{r: r, id: l.ID, cgroup: l.Cgroup}
	r.must(machine.Until("its control group is made", func() (bool, error) { // logind tells of it before
		text, _ := os.ReadFile(r.tree.Directory(l.Cgroup) + "/cgroup.procs")
		return len(text) > 0, nil
	}))
	o.wipe()
	o.gone()
}

// conflicts compares what is found to be in the way with what is.
func (r *rig) conflicts(want string) {
	r.Helper()
	var found []struct{ Key, Level, Text string }
	out := r.root(filepath.Dir(machine.Program) + "/conflicts")
	r.must(json.Unmarshal([]byte(out), &found))
	var got []string
	for _, f := range found {
		got = append(got, f.Level+" "+f.Key)
	}
	if strings.Join(got, ", ") != want {
		r.Errorf("in the way: %q, want %q: %s", got, want, out)
	}
}

// inTheWay: a logind that kills, a stack without pam_loginuid as xrdp's, and a
// login by it.
func (r *rig) inTheWay() {
	r.unwatch()
	r.watch(r.all)
	r.root("sed -i.saved /pam_loginuid/d /etc/pam.d/sshd; cp /etc/pam.d/sshd /etc/pam.d/xrdp-sesman; mkdir -p /etc/systemd/logind.conf.d")
	o := r.login("unset", "alice")
	r.await("it is there", o.id, o.live)
	r.root("mv /etc/pam.d/sshd.saved /etc/pam.d/sshd; printf '[Login]\\nKillUserProcesses=yes\\n' >/etc/systemd/logind.conf.d/kill.conf; systemctl restart systemd-logind")
	r.conflicts("note logind.kills, note pam.loginuid, note audit.unset")
	o.wipe()
	o.gone()
}

// ended: root ends a login that the hook has told of, and it goes as one that
// ended by itself.
func (r *rig) ended() {
	o, other := r.login("ended", "alice"), r.login("other", "alice")
	r.await("it is there", o.id, o.live)
	r.root("xexit end --session " + o.id)
	o.gone()
	if o.leftover.Alive() || !other.leftover.Alive() || !other.live() {
		r.Errorf("leftover alive: %v; another login's: %v; it is %s", o.leftover.Alive(), other.leftover.Alive(), other.state())
	}
	other.wipe()
	other.gone()
}

// liar: where the stack reads an environment of the user's (pam_env(8)) before
// it calls the hook, he is still who he is.
func (r *rig) liar() {
	const line = "session optional pam_exec.so quiet /usr/bin/xexit pam-session"
	r.root("cp /etc/pam.d/sshd /etc/pam.d/sshd.saved; sed -i s/pam-session/no-such-verb/ /etc/pam.d/common-session; echo '" + line + "' >>/etc/pam.d/sshd")
	r.must(os.WriteFile(r.m.Path("/home/alice/.pam_environment"), []byte("PAM_USER DEFAULT=bob\nPAM_SERVICE DEFAULT=su\nPAM_TYPE DEFAULT=auth\n"+
		"XDG_SESSION_CLASS DEFAULT=greeter\nXDG_SESSION_ID DEFAULT=1\nGODEBUG DEFAULT=inittrace=1\n"), 0o644))
	o := r.login("liar", "alice")
	r.await("it is there", o.id, o.live)
	if env, err := os.ReadFile(r.m.Path(fmt.Sprintf("/proc/%d/environ", o.Leader.PID))); err != nil || !strings.Contains(string(env), "PAM_SERVICE=su\x00") {
		r.Errorf("the user's words did not come into PAM's environment, so this proves nothing: %q, %v", env, err)
	}
	o.describes(member.IsHookID)
	o.wipe()
	o.gone()
	r.root("mv /etc/pam.d/sshd.saved /etc/pam.d/sshd; sed -i s/no-such-verb/pam-session/ /etc/pam.d/common-session; rm /home/alice/.pam_environment")
}

// restarted: a service that somebody restarts from his login stays in that, and
// is not ended with it; who logs in by the service has a login of his own.
func (r *rig) restarted() {
	admin := r.login("admin", "alice")
	got, err := r.m.Run(admin.Socket, agent.Request{Argv: []string{"sudo", "-n", "setsid", "/usr/sbin/sshd", "-p", "2222", "-o", "PidFile=/run/sshd-again.pid"}, UID: -1})
	if r.must(err); got.Status != 0 {
		r.Fatalf("sshd: %+v", got)
	}
	r.must(r.m.WaitFile("/run/sshd-again.pid"))
	guest, err := r.open("guest", "bob", "2222")
	r.must(err)
	r.await("who comes by that has a login", guest.id, guest.live)
	if guest.id == admin.id {
		r.Fatalf("it is %s's", admin.User)
	}
	own, err := r.open("own", "alice", "2222")
	r.must(err)
	r.await("who comes by that has a login", own.id, own.live)
	r.root("xexit end --session " + admin.id)
	if admin.leftover.Alive() {
		r.Error("what the admin left lives")
	}
	last, err := r.open("last", "bob", "2222")
	if err != nil {
		r.Errorf("the service did not live through the end of the login that it was restarted from: %v", err)
		return
	}
	r.await("who comes by that has a login", last.id, last.live)
	for _, o := range []*opened{guest, own, last} {
		if !o.live() || !o.leftover.Alive() {
			r.Errorf("login %s of %s: %q", o.id, o.User, o.state())
		}
		o.wipe()
		o.gone()
	}
	admin.wipe()
	admin.gone()
}

// daemonEnds: the daemon hears of logins from the hook, and ends what they
// leave, and no more.
func (r *rig) daemonEnds() {
	r.unwatch() // the daemon's source removes what is over
	early := r.login("took-on", "alice")
	r.must(os.WriteFile(r.m.Path("/run/scenario/daemon.toml"), []byte("grace = \"500ms\"\n[daemon]\ntypes = [\"ssh\"]\n"), 0o644))
	r.root("systemd-run -q --unit=the-daemon -p Type=notify xexit daemon --config /run/scenario/daemon.toml")
	late, stays := r.login("took-on-later", "alice"), r.login("stays", "alice")
	for _, o := range []*opened{early, late} {
		r.must(o.Leader.Signal(9))
		if !o.leftover.Gone(machine.Guard) {
			r.Fatalf("hang guard: what login %s left lives: %s", o.id, r.root("journalctl -u the-daemon --no-pager -n 50"))
		}
		r.must(machine.Until("login "+o.id+" is no more", func() (bool, error) { return o.state() == "", nil }))
	}
	if !stays.live() || !stays.leftover.Alive() {
		r.Errorf("another login of the user's: %q", stays.state())
	}
	stays.wipe()
	r.must(machine.Until("login "+stays.id+" is no more", func() (bool, error) { return stays.state() == "", nil }))
	r.root("systemctl stop the-daemon")
}

// broken: a hook that cannot do its work keeps nobody out, and says so.
func (r *rig) broken() {
	r.root("sed -i 's/pam-session/pam-session nonsense/' /etc/pam.d/common-session")
	o := r.login("unknown", "alice")
	if strings.HasPrefix(o.cgroup, "/xexit/") {
		r.Errorf("a broken hook has made %s", o.cgroup)
	}
	r.must(o.Leader.Signal(9))
	r.must(o.leftover.Signal(9))
	r.root("journalctl --sync; journalctl -t xexit-pam | grep -q nonsense")
}
