package member

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"xexit/internal/registry"
	"xexit/internal/session"
)

func TestReadLogin(t *testing.T) {
	t.Parallel()
	root := fstest.MapFS{
		"run/systemd/sessions/4": file("# private\nUID=1000\nUSER=alice\nSTATE=active\nREMOTE=1\nTYPE=tty\nCLASS=user\nSCOPE=session-4.scope\n" +
			"TTY=pts/0\nREMOTE_HOST=10.1.1.1\nSERVICE=sshd\nLEADER=77\nAUDIT=4\n"),
		"run/systemd/sessions/c1": file("UID=1001\nCLASS=user\nTYPE=x11\nDISPLAY=:0\nSEAT=seat0\nSCOPE=elsewhere.scope\nAUDIT=0\n"),
		"run/systemd/sessions/p1": file("UID=1\nCLASS=user\n"), // no id of logind's
		"run/xexit/logins/p7":     file("UID=1000\nUSER=alice\nSTATE=active\nCLASS=user\nCGROUP=/xexit/login-p7\nLEADER=78\nAUDIT=9\n"),
		"run/xexit/logins/p8":     file("UID=1000\nCLASS=user\nCGROUP=/user.slice\n"),
		"run/xexit/logins/9":      file("UID=1000\nCLASS=user\n"), // no id of the hook's
		"run/xexit/logins/.p9":    file("UID=1000\nCLASS=user\n"),
	}
	for _, want := range []Login{
		{
			ID: "4", UID: 1000, User: "alice", Class: "user", Type: "tty", Service: "sshd", State: "active", TTY: "pts/0", RemoteHost: "10.1.1.1",
			Remote: true, Leader: 77, Audit: 4, Scope: "session-4.scope", Cgroup: "/user.slice/user-1000.slice/session-4.scope",
		},
		{ID: "c1", UID: 1001, Class: "user", Type: "x11", Display: ":0", Seat: "seat0", Scope: "elsewhere.scope", Audit: session.NoAudit},
		{ID: "p7", UID: 1000, User: "alice", Class: "user", State: "active", Leader: 78, Audit: 9, Cgroup: "/xexit/login-p7"},
		{ID: "p8", UID: 1000, Class: "user", Audit: session.NoAudit},
	} {
		if got, err := ReadLogin(root, want.ID); err != nil || got != want {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
		}
	}
	for _, id := range []string{"p1", "9", "", "../4", "4.ref"} {
		if got, err := ReadLogin(root, id); err == nil {
			t.Errorf("%q: %+v", id, got)
		}
	}
	list, err := ListLogins(root)
	if err != nil || len(list) != 4 {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestHookedLogins: without logind the PAM hook's logins are what tells whether
// a user is still there.
func TestHookedLogins(t *testing.T) {
	t.Parallel()
	root := fstest.MapFS{
		"run/xexit/logins/p7": file("UID=1000\nSTATE=active\nCLASS=user\nCGROUP=/xexit/login-p7\nLEADER=78\n"),
		"run/xexit/logins/p8": file("UID=1000\nSTATE=closing\nCLASS=user\nCGROUP=/xexit/login-p8\n"),
	}
	l, err := ReadLogins(root, 1000)
	if err != nil || l.Known || l.Unsure || len(l.List) != 2 {
		t.Fatalf("%+v, %v", l, err)
	}
	if l.OtherLive(&registry.Entry{Scope: "/xexit/login-p7"}) || !l.OtherLive(&registry.Entry{Scope: "/xexit/login-p8"}) {
		t.Error("p7 alone lives")
	}
	if l.closing("login-p7") || !l.closing("login-p8") {
		t.Error("p8 alone is closing")
	}
}

// TestForeignLogin: only what root has written says anything of a login.
func TestForeignLogin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, HookDir, "p1")
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("UID=1000\nSTATE=active\nCLASS=user\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(name, 12345, 12345); err != nil {
			t.Fatal(err)
		}
	}
	l, err := ReadLogins(os.DirFS(dir), 1000)
	if err == nil || !strings.Contains(err.Error(), "not a file of root's") || !l.Unsure || len(l.List) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
}

// TestHookedLogin: in a login of the PAM hook's lives also what somebody
// restarted from it.
func TestHookedLogin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		uid       uint32
		own, has  uint32 // audit ids: the login's, the process's
		hook, log bool   // is it a member where the hook has the login, where logind has it
	}{
		{"the user's", 1000, 7, 7, true, true},
		{"the user's, without an audit id", 1000, 7, session.NoAudit, true, true},
		{"a cron job of his", 1000, 7, 8, false, true},
		{"what sudo left", 0, 7, 7, true, true},
		{"another user's", 1001, 7, 7, true, true},
		{"another user's cron job", 1001, 7, 8, false, true},
		{"one that gave itself an audit id", 1000, session.NoAudit, 9, true, true},
	} {
		for scope, want := range map[string]bool{HookCgroup("p7"): c.hook, "/user.slice/user-1000.slice/session-7.scope": c.log} {
			s := &Snapshot{Processes: []*Process{
				{ID: session.ProcID{PID: 50, Start: 5}, PPID: 1, UID: c.uid, UIDKnown: true, Audit: c.has, Cgroup: scope},
			}}
			target := &Target{Login: true, OtherUsers: true, Bound: Bound{UID: 1000}, Entry: registry.Entry{ID: sessionA, Scope: scope, Audit: c.own, OwnsLogin: true}}
			member, undecided := false, false
			for _, f := range Classify(target, s) {
				member, undecided = member || f.Member, undecided || f.Undecided
			}
			if member != want || c.uid == 1000 && !want && !undecided {
				t.Errorf("%s in %s: member %v, undecided %v", c.name, scope, member, undecided)
			}
		}
	}
}
