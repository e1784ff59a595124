package vm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"xexit/tests/machine"
	"xexit/tests/vm/guest"
)

const (
	groups  = "/sys/fs/cgroup"
	freezer = groups + "/freezer"
)

// hierarchy is one way in which a host can name logins by control groups
// (cgroups(7)), and root is to end them.
type hierarchy struct {
	name, root string
	mounts     []guest.Mount
	kills      bool // the kernel kills a group as one
}

// checkGroups: root ends logins by their control groups, each with a leftover of
// each kind and a bomb in it, once alone and once with a leader to be spared. With
// version 2 that is cgroup.kill or, before kernel 5.14, freeze, KILL, thaw; with
// version 1 alone it is the freezer.
func (l *lab) checkGroups() {
	l.done("root", "sh", "-c", `printf 'grace = "500ms"\npam-close = "500ms"\n[hooks]\ndir = "/none"\n' >/etc/xexit/xexit.toml`)
	defer l.done("root", "sh", "-c", ": >/etc/xexit/xexit.toml")
	for _, h := range []hierarchy{
		{name: "v2", root: groups, kills: !l.before(5, 14), mounts: []guest.Mount{{Kind: "cgroup2", Dir: groups}}},
		{name: "v1", root: groups + "/systemd", mounts: []guest.Mount{
			{Kind: "tmpfs", Dir: groups},
			{Kind: "cgroup", Dir: groups + "/systemd", Options: "none,name=systemd"},
			{Kind: "cgroup", Dir: freezer, Options: "freezer"},
		}},
	} {
		for _, m := range h.mounts {
			l.must(l.Ask("Mount", m, new(bool)))
		}
		l.endLogin(h, "alone"+h.name, false)
		l.endLogin(h, "led"+h.name, true)
		for _, m := range slices.Backward(h.mounts) {
			l.must(l.Ask("Unmount", m.Dir, new(bool)))
		}
	}
}

// breeds: a dozen that have a new child all the time and ignore what can be ignored.
const breeds = `trap "" TERM HUP INT; n=0; while [ $n -lt 12 ]; do (trap "" TERM; while :; do (exec sleep 0.01); done) & n=$((n+1)); done; wait`

// endLogin has one login ended by the process that the daemon starts for it.
func (l *lab) endLogin(h hierarchy, id string, led bool) {
	l.t.Helper()
	uid := machine.Users["alice"]
	scope := func(id string) string { return fmt.Sprintf("/user.slice/user-%d.slice/session-%s.scope", uid, id) }
	for _, name := range []string{id, id + "b"} {
		l.must(l.Ask("MakeDir", h.root+scope(name), new(bool)))
	}
	in := func(id, user string, argv ...string) int {
		return l.start(guest.Command{Argv: argv, User: user, Group: h.root + scope(id), Output: "/tmp/" + id + ".errors"})
	}
	if there := slices.Contains(l.names(h.root+scope(id)), "cgroup.kill"); there != h.kills {
		l.t.Fatalf("there is a cgroup.kill on %s: %v, want %v", h.name, there, h.kills)
	}
	leader := map[string]any{"pid": 0, "start": 0}
	var leads int
	if led {
		leads = in(id, "root", "sleep", "86400")
		stat := l.read(fmt.Sprintf("/proc/%d/stat", leads))
		leader = map[string]any{"pid": leads, "start": json.Number(strings.Fields(stat[strings.LastIndexByte(stat, ')')+2:])[19])}
	}
	kinds := []string{"obedient", "doublefork", "termignorer", "stopped", "selfrestop", "nondumpable", "twins"}
	for _, kind := range kinds {
		in(id, "alice", machine.Leftover, kind+id, kind)
	}
	in(id, "alice", "sh", "-c", breeds)
	other := in(id+"b", "alice", machine.Leftover, "other"+id, "obedient")
	for _, kind := range append(kinds, "other") {
		l.until(kind+" is there", func() bool { return l.leftovers(kind+id).Running > 0 })
	}
	l.until("the bomb has gone off", func() bool { return len(l.members(h.root+scope(id))) > len(kinds)+12 })

	request, err := json.Marshal(map[string]any{
		"v": 1, "login": id, "uid": uid, "user": "alice", "cgroup": scope(id), "scope": "session-" + id + ".scope", "leader": leader,
		"type": "tty", "service": "sshd", "reason": "requested", "noticed": "asked for", "record": "record-" + id,
		"session": "0b4e28ba-2fa1-41d2-883f-0016d3cca427",
	})
	l.must(err)
	r := l.run("root", "sh", "-c", `printf %s "$1" | exec /usr/libexec/xexit/xexit-main __end-login`, "sh", string(request))
	l.t.Logf("%s: %s", id, r.Output)
	if r.Status != 0 {
		l.t.Errorf("%s: exit status %d", id, r.Status)
	}
	for _, kind := range kinds {
		if got := l.leftovers(kind + id); got.Running != 0 {
			l.t.Errorf("%s: %s: %+v", id, kind, got)
		}
	}
	var spared []string
	if led {
		spared = []string{fmt.Sprint(leads)}
	}
	if left := l.members(h.root + scope(id)); !slices.Equal(left, spared) {
		l.t.Errorf("%s: left in the group: %q, want %q", id, left, spared)
	}
	if l.leftovers("other"+id).Running != 1 {
		l.t.Errorf("%s: another login of the same user was ended", id)
	}
	l.thawed(h, scope(id), append(spared, fmt.Sprint(other)))
	l.must(l.Ask("Signal", guest.Signal{PID: other, Signal: sigKill}, new(bool)))
	if led {
		l.must(l.Ask("Signal", guest.Signal{PID: leads, Signal: sigKill}, new(bool)))
	}
	l.killedAsOne(id)
}

// thawed demands that nobody is frozen, and nobody where he was not before.
func (l *lab) thawed(h hierarchy, scope string, living []string) {
	l.t.Helper()
	if h.name == "v2" {
		if text := l.read(h.root + scope + "/cgroup.freeze"); text != "0\n" {
			l.t.Errorf("%s is frozen: %q", scope, text)
		}
		return
	}
	for _, name := range l.names(freezer + "/xexit") {
		if strings.HasSuffix(name, ".scope") {
			l.t.Errorf("left in the freezer: %s", name)
		}
	}
	for _, pid := range living {
		if in := l.read("/proc/" + pid + "/cgroup"); !strings.Contains(in, ":freezer:/\n") {
			l.t.Errorf("%s was not put back: %s", pid, in)
		}
	}
}

// killedAsOne demands that somebody was killed before the sweep that stops all.
func (l *lab) killedAsOne(login string) {
	l.t.Helper()
	var records []struct {
		Login     string
		Verified  bool
		Processes []struct{ Signals []string }
	}
	l.must(json.Unmarshal([]byte(l.done("root", "xexit", "log", "--json")), &records))
	for _, r := range records {
		if r.Login != login {
			continue
		}
		killed := 0
		for _, p := range r.Processes {
			if slices.Contains(p.Signals, "KILL") && !slices.Contains(p.Signals, "STOP") {
				killed++
			}
		}
		l.t.Logf("%s: %d processes, %d of them killed with their group", login, len(r.Processes), killed)
		if !r.Verified || killed == 0 {
			l.t.Errorf("%s: verified %v, %d killed with their group: %+v", login, r.Verified, killed, r.Processes)
		}
		return
	}
	l.t.Errorf("%s is not on record: %+v", login, records)
}

// members are the numbers of who is in a group.
func (l *lab) members(dir string) []string { return strings.Fields(l.read(dir + "/cgroup.procs")) }

func (l *lab) names(dir string) (names []string) {
	l.t.Helper()
	l.must(l.Ask("Names", dir, &names))
	return names
}
