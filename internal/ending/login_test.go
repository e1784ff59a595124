package ending

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/cgroup"
	"xexit/internal/cgroup/cgrouptest"
	"xexit/internal/config"
	"xexit/internal/engine"
	"xexit/internal/history"
	"xexit/internal/session"
)

// The login that these tests end: logind's word for it is made up, its control
// group and its processes are real.
const (
	loginUID = 24981
	otherUID = 24982
)

// loginName is logind's id of it: another one for each run of the tests, since
// the control groups are the machine's.
func loginName() string { return fmt.Sprint("x", os.Getpid()) }

// loginHost is a machine with one login in it.
type loginHost struct {
	Host
	t    *testing.T
	tree cgroup.Tree
}

func newLoginHost(t *testing.T) *loginHost {
	t.Helper()
	if os.Geteuid() != 0 {
		cannot(t, errors.New("needs root"))
	}
	tree, err := cgroup.Mounted("/proc")
	if err != nil {
		cannot(t, err)
	}
	root, run := t.TempDir(), t.TempDir()
	if err := os.Chmod(run, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "etc/login.defs"), "UID_MIN 1000\nUID_MAX 60000\n")
	conf := filepath.Join(root, "xexit.toml")
	write(t, conf, "grace = \"100ms\"\npam-close = \"500ms\"\n[log]\nsyslog = false\nfile = false\n[hooks]\ndir = \""+filepath.Join(root, "no-hooks")+"\"\n")
	h := &loginHost{t: t, tree: tree, Host: Host{
		Environ: []string{"XDG_RUNTIME_DIR=" + run}, Proc: "/proc", Root: root, Self: "/bin/false", RunDir: run,
		Config: config.Paths{File: conf},
	}}
	return h
}

// cannot skips a test on a machine that cannot run it, and fails it where
// nothing may be skipped.
func cannot(t *testing.T, why error) {
	t.Helper()
	if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// says makes logind say something of a login.
func (h *loginHost) says(id string, lines ...string) {
	write(h.t, filepath.Join(h.Root, "run/systemd/sessions", id), strings.Join(lines, "\n")+"\n")
}

// scope makes the control group of a login, at the path where it belongs.
func (h *loginHost) scope(uid int, id string) string {
	h.t.Helper()
	path := ""
	for _, part := range []string{"user.slice", fmt.Sprintf("user-%d.slice", uid), "session-" + id + ".scope"} {
		path += "/" + part
		h.group(path, strings.HasSuffix(path, ".scope"))
	}
	return path
}

// group makes a control group and removes it in the end, with all in it if it
// is a test's own: a slice may be another test's too. Whoever is started in one
// that was killed and has stayed is killed at once (seen on kernel 6.18).
func (h *loginHost) group(path string, own bool) {
	h.t.Helper()
	g, err := h.tree.Make(path)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if own {
			if err := g.Kill(ctx); err != nil {
				h.t.Error(err)
			}
		}
		_ = g.Close()
		if err := os.Remove(h.tree.Directory(path)); own && err != nil && !errors.Is(err, os.ErrNotExist) {
			h.t.Error(err)
		}
	})
}

// process is one that a test started.
type process struct {
	*exec.Cmd
	gone chan struct{}
}

func (p *process) lives() bool {
	select {
	case <-p.gone:
		return false
	default:
	}
	// Dead it may be before it has been waited for.
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	_, after, found := strings.Cut(string(stat), ") ")
	return err == nil && found && after[0] != 'Z' && after[0] != 'X'
}

// start starts a shell script as a user in a control group ("": that of the
// test) and waits for its first line.
func (h *loginHost) start(group string, uid uint32, script string) *process {
	h.t.Helper()
	p := &process{exec.Command("/bin/sh", "-c", script), make(chan struct{})}
	p.Env, p.Dir = []string{"PATH=/usr/bin:/bin"}, "/"
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if group != "" {
		cgrouptest.Into(h.t, p.Cmd, h.tree.Directory(group))
	}
	out, err := p.StdoutPipe()
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		h.t.Fatalf("%s: %v: %v", script, err, p.Wait())
	}
	go func() { _ = p.Wait(); close(p.gone) }()
	h.t.Cleanup(func() { _ = p.Process.Kill(); <-p.gone })
	return p
}

const (
	waits    = "echo; exec sleep 1000"
	stubborn = `trap "" TERM HUP; echo; while :; do sleep 0.02; done`
)

func (h *loginHost) end() Result {
	h.t.Helper()
	r, err := h.End(h.t.Context(), Request{Session: loginName()}, slog.New(slog.DiscardHandler))
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func (h *loginHost) login(leader *process) {
	h.says(loginName(), fmt.Sprintf("UID=%d", loginUID), "CLASS=user", "TYPE=tty", "STATE=closing",
		"SCOPE=session-"+loginName()+".scope", fmt.Sprintf("LEADER=%d", leader.Process.Pid))
}

// Root ends a login: everybody in its scope, whoever he runs as, and nobody
// else of the user's; the leader is left, and closes it.
func TestRootEndsLogin(t *testing.T) {
	h := newLoginHost(t)
	scope, other := h.scope(loginUID, loginName()), h.scope(loginUID, loginName()+"b")
	// The leader goes when the shell that it serves does, as sshd's monitor.
	leader := h.start(scope, 0, `echo; trap "" TERM; n=0; while grep -q . "`+h.tree.Directory(scope)+`"/inner/cgroup.procs; do sleep 0.02; done`)
	h.login(leader)
	inner := scope + "/inner"
	h.group(inner, true)
	members := []*process{
		h.start(inner, loginUID, stubborn),
		h.start(inner, loginUID, waits),
		h.start(inner, 0, waits),        // sudo, detached
		h.start(inner, otherUID, waits), // sudo -u other
	}
	strangers := map[string]*process{
		"another login":    h.start(other, loginUID, waits),
		"the user's, free": h.start("", loginUID, waits),
		"another user":     h.start("", otherUID, waits),
	}
	r := h.end()
	if r.Exit != engine.ExitDone || !r.Record.Verified || len(r.Record.Survivors) > 0 {
		t.Errorf("exit %d, verified %v, survivors %v, problems %v", r.Exit, r.Record.Verified, r.Record.Survivors, r.Problems)
	}
	for i, p := range members {
		if p.lives() {
			t.Errorf("member %d lives", i)
		}
	}
	for name, p := range strangers {
		if !p.lives() {
			t.Errorf("%s was ended", name)
		}
	}
	if leader.lives() || len(r.Problems) > 0 {
		t.Errorf("the leader lives %v, problems %v", leader.lives(), r.Problems)
	}
	ended := func(p *process) bool {
		return slices.ContainsFunc(r.Record.Processes, func(q history.Process) bool {
			return q.PID == p.Process.Pid && q.Verdict == session.VerdictEnd && q.Evidence.Has(session.ByScope)
		})
	}
	for i, p := range members {
		if !ended(p) {
			t.Errorf("member %d is not in the record", i)
		}
	}
}

// A leader that stays is no member, and is told of.
func TestRootSparesLeaderThatStays(t *testing.T) {
	h := newLoginHost(t)
	scope := h.scope(loginUID, loginName())
	leader := h.start(scope, 0, waits)
	h.login(leader)
	member := h.start(scope, loginUID, stubborn)
	r := h.end()
	if member.lives() || !leader.lives() {
		t.Errorf("member lives %v, leader lives %v", member.lives(), leader.lives())
	}
	if len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Error(), "leader") {
		t.Errorf("problems %v", r.Problems)
	}
}

// The end is asked for from within the login, as with sudo in its terminal: the
// process that carries it out leaves the scope first. Here that is the test,
// which goes back.
func TestRootLeavesScopeFirst(t *testing.T) {
	h := newLoginHost(t)
	scope := h.scope(loginUID, loginName())
	leader := h.start("", 0, waits) // elsewhere: its number is somebody else's by now
	h.login(leader)
	member := h.start(scope, loginUID, waits)
	if err := os.WriteFile(h.tree.Directory(scope)+"/cgroup.procs", []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	done := make(chan Result, 1)
	go func() { done <- h.end() }()
	select {
	case r := <-done:
		if member.lives() || !leader.lives() || !r.Record.Verified {
			t.Errorf("member lives %v, leader lives %v, verified %v", member.lives(), leader.lives(), r.Record.Verified)
		}
	case <-time.After(time.Minute):
		t.Fatal("no end within a minute")
	}
	if text, err := os.ReadFile("/proc/self/cgroup"); err != nil || strings.Contains(string(text), scope) {
		t.Errorf("still in the scope: %s, %v", text, err)
	}
}

// What logind says is checked before anybody is ended for it.
func TestRootRefusesLogin(t *testing.T) {
	h := newLoginHost(t)
	uid := fmt.Sprintf("UID=%d", loginUID)
	for _, c := range []struct {
		id    string
		lines []string
		want  string
	}{
		{"x1", []string{uid, "CLASS=manager", "SCOPE=session-x1.scope"}, "no user's"},
		{"x2", []string{uid, "CLASS=background", "SCOPE=session-x2.scope"}, "no user's"},
		{"x3", []string{uid, "CLASS=user"}, "no scope"},
		{"x4", []string{uid, "CLASS=user", "SCOPE=init.scope"}, "no scope"},
		{"x5", []string{uid, "CLASS=user", "SCOPE=../../system.slice"}, "no scope"},
		{"x6", []string{"UID=33", "CLASS=user", "SCOPE=session-x6.scope"}, "system user"},
		{"x9", []string{"CLASS=user", "SCOPE=session-x9.scope"}, "UID"},
		{"nobody", nil, "no session"},
	} {
		if c.lines != nil {
			h.says(c.id, c.lines...)
		}
		_, err := h.End(t.Context(), Request{Session: c.id}, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("login %s: %v, want %q", c.id, err, c.want)
		}
	}
}

// The id of a login stays the same as long as it is the same login.
func TestLoginIDs(t *testing.T) {
	h := newLoginHost(t)
	h.says("x7", fmt.Sprintf("UID=%d", loginUID), "CLASS=user", "SCOPE=session-x7.scope")
	h.says("x8", fmt.Sprintf("UID=%d", loginUID), "CLASS=user", "SCOPE=session-x8.scope")
	a, err := h.Host.login("x7")
	b, err2 := h.Host.login("x7")
	c, err3 := h.Host.login("x8")
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	if a.ID != b.ID || a.ID == c.ID {
		t.Errorf("ids %s, %s, %s", a.ID, b.ID, c.ID)
	}
	if _, err := session.ParseID(string(a.ID)); err != nil {
		t.Error(err)
	}
}
