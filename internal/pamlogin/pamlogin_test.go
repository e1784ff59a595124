package pamlogin

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xexit/internal/cgroup"
	"xexit/internal/member"
	"xexit/internal/session"
)

// TestFile: what is written is read as it was meant.
func TestFile(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		cannot(t, errors.New("only root's files count"))
	}
	root := t.TempDir()
	for _, want := range []member.Login{
		{ID: "p7", UID: 1000, User: "alice", Class: "user", Type: "tty", State: "active", Leader: 4, Audit: 7, Cgroup: "/xexit/login-p7"},
		{
			ID: "p4t55", UID: 1001, User: "bob", Class: "user", Type: "x11", Service: "sshd", State: "closing", TTY: "pts/0", Display: ":1",
			RemoteHost: "::1", Remote: true, Seat: "seat0", Leader: 4, Audit: session.NoAudit, Cgroup: "/xexit/login-p4t55",
		},
	} {
		if err := save(root, want); err != nil {
			t.Fatal(err)
		}
		got, err := member.ReadLogin(os.DirFS(root), want.ID)
		if want.Written = got.Written; err != nil || got != want || got.Written.IsZero() {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
		}
	}
	entries, err := os.ReadDir(filepath.Join(root, member.HookDir))
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v: want the two files", entries, err)
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		env  map[string]string
		want member.Login
	}{
		{"ssh with a terminal", map[string]string{"PAM_TTY": "/dev/pts/3", "PAM_RHOST": "10.0.0.1"}, member.Login{Type: "tty", TTY: "pts/3", RemoteHost: "10.0.0.1", Remote: true}},
		{"ssh without", map[string]string{"PAM_TTY": "ssh", "PAM_RHOST": "localhost"}, member.Login{Type: "tty", RemoteHost: "localhost"}},
		{"a console", map[string]string{"PAM_TTY": "tty1", "XDG_SEAT": "seat0"}, member.Login{Type: "tty", TTY: "tty1", Seat: "seat0"}},
		{"a display", map[string]string{"PAM_TTY": ":10"}, member.Login{Type: "x11", Display: ":10"}},
		{"Wayland", map[string]string{"PAM_TTY": "tty2", "XDG_SESSION_TYPE": "wayland"}, member.Login{Type: "wayland", TTY: "tty2"}},
		{"a display that a user calls a terminal", map[string]string{"PAM_TTY": ":10", "XDG_SESSION_TYPE": "tty", "XDG_SESSION_CLASS": "greeter"}, member.Login{Type: "x11", Display: ":10"}},
		{"nothing", nil, member.Login{Type: "unspecified"}},
		{
			"what would make lines of its own",
			map[string]string{"PAM_TTY": "pts/1\nUID=0", "PAM_RHOST": "a b", "XDG_SEAT": "\"", "PAM_X": strings.Repeat("x", 300)},
			member.Login{Type: "unspecified"},
		},
	} {
		h := hook{class: "user", env: func(name string) string { return c.env[name] }}
		want := c.want
		want.User, want.Service, want.Class = "alice", "sshd", "user"
		if got := h.describe("sshd", "alice"); got != want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", c.name, got, want)
		}
	}
}

// TestPassing: what is called within a login, or for nobody, looks at nothing.
func TestPassing(t *testing.T) {
	t.Parallel()
	for _, env := range []map[string]string{
		{"PAM_TYPE": "open_session", "PAM_SERVICE": "sudo", "PAM_USER": "root"},
		{"PAM_TYPE": "close_session", "PAM_SERVICE": "su-l", "PAM_USER": "root"},
		{"PAM_TYPE": "open_session", "PAM_SERVICE": "cron", "PAM_USER": "alice"},
		{"PAM_TYPE": "open_session", "PAM_SERVICE": "sshd"},
		{"PAM_TYPE": "open_session", "PAM_USER": "alice"},
		{"PAM_TYPE": "auth", "PAM_SERVICE": "sshd", "PAM_USER": "alice"},
		{},
	} {
		h := hook{env: func(name string) string { return env[name] }} // without /proc it would panic
		if err := h.run(); err != nil {
			t.Errorf("%v: %v", env, err)
		}
	}
}

// TestLookup: what PAM says counts, whatever a user has said before.
func TestLookup(t *testing.T) {
	t.Parallel()
	const environ = "PAM_USER=bob\x00PAM_SERVICE=su\x00XPAM_TTY=x\x00PAM_USER=alice\x00PAM_SERVICE=sshd\x00PAM_RHOST=\x00"
	for name, want := range map[string]string{"PAM_USER": "alice", "PAM_SERVICE": "sshd", "PAM_RHOST": "", "PAM_TTY": "", "PAM": ""} {
		if got := lookup(environ, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"class"}, {"class="}, {"type=x11"}, {"class=a\nb"}, {"-h"}} {
		if err := (&hook{worker: 2}).main(args); !errors.Is(err, errOption) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestUIDOf(t *testing.T) {
	t.Parallel()
	if uid, err := uidOf("root"); err != nil || uid != 0 {
		t.Errorf("root: %d, %v", uid, err)
	}
	for _, name := range []string{"no-such-user", "--help", ""} {
		if uid, err := uidOf(name); err == nil {
			t.Errorf("%q: %d", name, uid)
		}
	}
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

// TestSourceRemoves: a login goes when the last process in its control group
// is dead, whether it was closed or not, and one whose group is gone at once.
func TestSourceRemoves(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		cannot(t, errors.New("needs root"))
	}
	host, err := cgroup.Mounted("/proc")
	if err != nil {
		cannot(t, err)
	}
	top := "/xexit-pamlogin-" + filepath.Base(t.TempDir()) + "-" + time.Now().Format("150405.000000000")
	if err := host.MakeNew(top); err != nil {
		cannot(t, err)
	}
	t.Cleanup(func() {
		if err := host.Remove(top); err != nil {
			t.Error(err)
		}
	})
	s := Source{Root: t.TempDir(), Tree: cgroup.At(host.Directory(top))}
	told := make(chan string, 100)
	ended := make(chan error, 1)
	go func() { ended <- s.Watch(t.Context(), func(id string) { told <- id }) }()
	await := func(what string, holds func() bool) {
		t.Helper()
		for over := time.After(time.Minute); !holds(); {
			select {
			case <-told:
			case err := <-ended:
				t.Fatalf("Watch ended: %v", err)
			case <-over:
				t.Fatalf("never told that %s", what)
			}
		}
	}
	gone := func(id string) func() bool {
		return func() bool {
			_, err := s.Read(id)
			return errors.Is(err, fs.ErrNotExist)
		}
	}
	l := member.Login{ID: "p1", UID: 1000, Class: "user", State: "active", Leader: 1, Audit: session.NoAudit, Cgroup: member.HookCgroup("p1")}
	group := open(t, s.Tree, l.Cgroup)
	sleep := exec.Command("sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sleep.Process.Kill() })
	if err := errors.Join(group.Enter(sleep.Process.Pid), save(s.Root, l)); err != nil {
		t.Fatal(err)
	}
	await("p1 is there", func() bool { list, err := s.List(); return err == nil && len(list) == 1 && list[0].ID == "p1" })

	orphan := l
	orphan.ID, orphan.Cgroup = "p2", member.HookCgroup("p2")
	if err := save(s.Root, orphan); err != nil {
		t.Fatal(err)
	}
	await("p2 is gone", gone("p2"))
	if _, err := s.Read("p1"); err != nil {
		t.Errorf("p1 went too: %v", err)
	}
	if err := errors.Join(group.Kill(t.Context()), group.Close()); err != nil {
		t.Fatal(err)
	}
	_ = sleep.Wait()
	await("p1 is gone", gone("p1"))
	if _, err := s.Tree.Open(l.Cgroup); !errors.Is(err, cgroup.ErrGone) {
		t.Errorf("its control group: %v", err)
	}
	if err := s.Tree.Remove("/xexit"); err != nil {
		t.Error(err)
	}
}

func open(t *testing.T, tree cgroup.Tree, name string) *cgroup.Group {
	t.Helper()
	if err := tree.MakeNew(name); err != nil {
		t.Fatal(err)
	}
	g, err := tree.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return g
}
