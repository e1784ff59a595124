package control

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"xexit/tests/agent"
	"xexit/tests/booted"
	"xexit/tests/machine"
)

// TestUsers is one container, and what users in it ask, one after the other.
func TestUsers(t *testing.T) {
	h := boot(t)
	one, two := h.login("one", "alice"), h.login("two", "alice")
	bobs := h.login("bobs", "bob")

	t.Run("own logins only", func(t *testing.T) {
		h := h.in(t)
		h.sees(one, one.id, two.id)
		h.sees(bobs, bobs.id)
		h.says(bobs, 0, "login "+bobs.id+" of bob", "ps")
		h.says(bobs, 2, "no session", "ps", "--session", one.id)
		h.says(bobs, 0, "no end is on record", "log")
	})
	t.Run("another's login", func(t *testing.T) {
		h := h.in(t)
		h.says(bobs, 2, "no session", "end", "--session", one.id)
		h.raw(bobs, `{"v":1,"op":"end","login":"`+one.id+`","end":{"reason":"requested"}}`, `"code":"no-login"`)
		h.raw(bobs, `{"v":1,"op":"logins","all":true}`, `"code":"denied"`)
		h.alive(one, two, bobs)
	})
	t.Run("doctor", func(t *testing.T) {
		h := h.in(t)
		h.says(one, 0, "the daemon runs", "doctor")
		h.says(one, 0, "login "+one.id+" of alice", "doctor")
	})
	var flooders []*machine.Ref
	t.Run("flood", func(t *testing.T) {
		h := h.in(t)
		for i := range 2 {
			mark := fmt.Sprintf("/run/scenario/flood.%d", i)
			ref, err := h.Spawn(bobs.Socket, "", agent.Request{Argv: []string{"perl", "-MSocket", "-e", flood, mark}, UID: -1})
			h.must(err)
			h.must(h.WaitFile(mark))
			flooders = append(flooders, ref)
		}
		h.sees(one, one.id, two.id)
		if out, err := h.Root("xexit", "ps", "--json"); err != nil || !strings.Contains(out, `"bob"`) {
			t.Errorf("root: %v\n%s", err, out)
		}
	})
	t.Run("end of one's own other login", func(t *testing.T) {
		h := h.in(t)
		h.says(one, 0, "requested", "end", "--session", two.id) // beside the flood
		if !two.left.Gone(machine.Guard) {
			t.Error("what the login left is still there")
		}
		h.alive(one, bobs)
		h.says(one, 0, "login "+two.id, "log")
		for _, f := range flooders { // they are in their own user's way
			if err := f.Signal(syscall.SIGKILL); err != nil || !f.Gone(machine.Guard) {
				t.Fatal("the flood goes on: ", err)
			}
		}
		h.says(bobs, 0, "no end is on record", "log")
	})
	t.Run("while an end hangs", func(t *testing.T) { h.in(t).hanging(one, bobs) })
	t.Run("end of the login that one is in", func(t *testing.T) {
		h := h.in(t)
		// The command itself goes with it, so nothing is said.
		_, err := h.Spawn(bobs.Socket, "", agent.Request{Argv: []string{"xexit", "end", "--session", bobs.id}, UID: -1})
		h.must(err)
		if !bobs.left.Gone(machine.Guard) {
			t.Error("what the login left is still there")
		}
		h.alive(one)
	})
	t.Run("daemon gone", func(t *testing.T) {
		h := h.in(t)
		h.root("systemctl", "stop", "xexit.service")
		h.says(one, 0, "no session is watched", "ps")
		h.says(one, 2, "no session", "end", "--session", one.id)
		h.alive(one)
	})
}

// hanging: while a login's end waits for an exit script its user and root see
// where it is and who is there still, and nobody else does.
func (h *host) hanging(one, bobs *user) {
	h.t.Helper()
	three := h.login("three", "alice")
	h.root("mkfifo", "/run/held")
	h.must(os.WriteFile(h.Path("/run/hold"), []byte(three.id), 0o644))
	end, err := h.Spawn(one.Socket, "", agent.Request{Argv: []string{"xexit", "end", "--session", three.id}, UID: -1})
	h.must(err)
	h.must(machine.Until("the end is at root's exit scripts", func() (bool, error) {
		r, err := h.xexit(one, "ps", "--session", three.id)
		return strings.Contains(r.Stdout, "ending: exit scripts of root (root-hooks)"), err
	}))
	asRoot, err := h.Root("xexit", "ps", "--session", three.id)
	h.must(err)
	r, err := h.xexit(one, "ps")
	h.must(err)
	for who, text := range map[string]string{"root": asRoot, "its user": r.Stdout} {
		if _, after, _ := strings.Cut(text, "login "+three.id+" of alice"); !theLeft().MatchString(after) || !strings.Contains(after, " to be ended, 0 kept by rule") {
			h.t.Errorf("%s does not see what the login left:\n%s", who, text)
		}
	}
	h.says(bobs, 2, "no session", "ps", "--session", three.id)
	var list []struct {
		Login     string
		Daemon    struct{ Phase, At string }
		Processes []struct{ Comm, Evidence, Verdict, Why string }
	}
	r, err = h.xexit(one, "ps", "--session", three.id, "--json")
	h.must(err)
	if err := json.Unmarshal([]byte(r.Stdout), &list); err != nil || len(list) != 1 {
		h.t.Fatalf("%v: %s%s", err, r.Stdout, r.Stderr)
	}
	l := list[0]
	if l.Login != three.id || l.Daemon.Phase != "ending" || l.Daemon.At != "root-hooks" {
		h.t.Errorf("%+v", l)
	}
	named := false
	for _, p := range l.Processes {
		named = named || p.Comm == "leftover" && strings.Contains(p.Evidence, "scope") && p.Verdict == "end" && p.Why != ""
	}
	if !named {
		h.t.Errorf("%+v", l.Processes)
	}
	if !three.left.Alive() {
		h.t.Error("the end went on before its exit script")
	}
	h.root("sh", "-c", ": >/run/held")
	if !three.left.Gone(machine.Guard) || !end.Gone(machine.Guard) {
		h.t.Error("the end does not go on")
	}
	h.alive(one, bobs)
}

// theLeft is the line of a leftover in a list of processes.
func theLeft() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^ +end +[0-9]+ +\S*scope\S* +leftover +\S.* belongs to the session`)
}

// flood opens connections without end, says nothing, and keeps the last 300.
const flood = `
	my @held; my $n = 0;
	while (1) {
		socket(my $s, PF_UNIX, SOCK_STREAM, 0) or next;
		next unless connect($s, sockaddr_un("/run/xexit/control"));
		push @held, $s; shift @held if @held > 300;
		if (++$n == 500) { open(my $mark, ">", $ARGV[0]) or die; }
	}`

// say sends a message as it is, and prints the answer.
const say = `
	socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die;
	connect($s, sockaddr_un("/run/xexit/control")) or die $!;
	syswrite($s, "$ARGV[0]\n"); print while <$s>;`

// user is one login, and what it left behind by now.
type user struct {
	*machine.Session
	id   string
	left *machine.Ref
}

// host is a container in which the daemon runs.
type host struct {
	t *testing.T
	*machine.Machine
}

// in is the host for a part of the test.
func (h *host) in(t *testing.T) *host { return &host{t, h.Machine} }

func (h *host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) root(argv ...string) {
	h.t.Helper()
	_, err := h.Root(argv...)
	h.must(err)
}

func boot(t *testing.T) *host {
	t.Helper()
	stage := staged(t)
	m, err := machine.Boot(stage)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t, m}
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := m.Root("journalctl", "-u", "xexit.service", "-o", "short-precise", "--no-pager")
			t.Log(text)
		}
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	unit, err := os.ReadFile("../../share/systemd/system/xexit.service")
	h.must(err)
	h.root("install", "-d", "/run/systemd/system")
	h.must(os.WriteFile(m.Path("/run/systemd/system/xexit.service"), unit, 0o644))
	h.root("systemctl", "daemon-reload")
	h.root("systemctl", "start", "xexit.service")
	h.must(h.WaitFile("/run/xexit/control"))
	return h
}

// staged builds and installs; a test that cannot run says why.
func staged(t *testing.T) string {
	t.Helper()
	stage := booted.Stage(t, machine.Debian12)
	const config = "grace = \"1s\"\n[hooks]\ntimeout = \"10m\"\n[daemon]\ntypes = [\"ssh\"]\n"
	if err := os.WriteFile(stage+"/etc/xexit/xexit.toml", []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	const hold = "#!/bin/sh\n[ \"$XEXIT_LOGIN\" != \"$(cat /run/hold)\" ] || exec cat /run/held\n"
	dir := stage + "/etc/xexit/end.d"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/10-hold", []byte(hold), 0o755); err != nil {
		t.Fatal(err)
	}
	return stage
}

// login logs somebody in, leaves a process behind that ignores being asked to
// go, and waits until the daemon knows of the login.
func (h *host) login(name, who string) *user {
	h.t.Helper()
	s, err := h.SSHPlain(name, who)
	h.must(err)
	u := &user{Session: s}
	u.id, err = h.LoginID(s)
	h.must(err)
	_, err = h.Spawn(s.Socket, "", agent.Request{
		Argv: []string{"/usr/libexec/xexit-test/leftover", name, "termignorer"}, UID: -1, NewSession: true,
	})
	h.must(err)
	refs, err := h.Await(name, 1)
	h.must(err)
	u.left = refs[0]
	h.must(machine.Until("the daemon knows login "+u.id, func() (bool, error) {
		r, err := h.xexit(u, "ps", "--session", u.id)
		return r.Status == 0, err
	}))
	return u
}

func (h *host) xexit(u *user, args ...string) (machine.Result, error) {
	return h.Run(u.Socket, agent.Request{Argv: append([]string{"xexit"}, args...), UID: -1})
}

// says demands the status, and the text in what a user is told.
func (h *host) says(u *user, status int, text string, args ...string) {
	h.t.Helper()
	r, err := h.xexit(u, args...)
	h.must(err)
	if r.Status != status || !strings.Contains(r.Stdout+r.Stderr, text) {
		h.t.Errorf("%s: xexit %s: status %d, want %d and %q:\n%s%s", u.Name, strings.Join(args, " "), r.Status, status, text, r.Stdout, r.Stderr)
	}
}

// sees demands that these are the logins that a user is shown.
func (h *host) sees(u *user, want ...string) {
	h.t.Helper()
	r, err := h.xexit(u, "ps", "--json")
	h.must(err)
	var list []struct{ Login string }
	if err := json.Unmarshal([]byte(r.Stdout), &list); err != nil {
		h.t.Fatalf("%v: %s%s", err, r.Stdout, r.Stderr)
	}
	var got []string
	for _, l := range list {
		got = append(got, l.Login)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		h.t.Errorf("%s sees the logins %q, want %q", u.Name, got, want)
	}
}

func (h *host) raw(u *user, message, want string) {
	h.t.Helper()
	r, err := h.Run(u.Socket, agent.Request{Argv: []string{"perl", "-MSocket", "-e", say, message}, UID: -1})
	h.must(err)
	if !strings.Contains(r.Stdout, want) {
		h.t.Errorf("%s: %s: %q %q, want %s", u.Name, message, r.Stdout, r.Stderr, want)
	}
}

func (h *host) alive(users ...*user) {
	h.t.Helper()
	for _, u := range users {
		if !u.left.Alive() || !u.Leader.Alive() {
			h.t.Errorf("login %s was harmed", u.Name)
		}
	}
}
