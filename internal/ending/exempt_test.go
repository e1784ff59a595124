package ending

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"xexit/internal/config"
	"xexit/internal/session"
)

// TestExemptionsAreKnown: every word of the configuration means something.
func TestExemptionsAreKnown(t *testing.T) {
	e := exempt(config.Default())
	names, words := slices.Sorted(slices.Values(e.Names())), slices.Sorted(slices.Values(config.Exemptions()))
	if !slices.Equal(names, words) {
		t.Errorf("recognised are %v, the configuration has %v", names, words)
	}
}

// TestExemptOutlivesLogin: who is exempt is spared, and so are those below it,
// though the control group they are in with all others cannot be killed as one.
func TestExemptOutlivesLogin(t *testing.T) {
	h := newLoginHost(t)
	scope := h.scope(loginUID, loginName())
	server := userServer(t)
	leader := h.start(scope, 0, waits)
	h.login(leader)
	serves := h.start(scope, loginUID, "exec "+server+" -c 'sleep 1000 & echo; wait'")
	member, deaf := h.start(scope, loginUID, waits), h.start(scope, loginUID, stubborn)
	r := h.end().Record
	if member.lives() || deaf.lives() || !serves.lives() {
		t.Errorf("lives: member %v, one that ignores TERM %v, exempt %v", member.lives(), deaf.lives(), serves.lives())
	}
	if len(r.Survivors) > 0 || !r.Verified {
		t.Errorf("%+v", r)
	}
	spared := 0
	for _, p := range r.Processes {
		if p.Verdict == session.VerdictSpare && strings.HasPrefix(p.Why, "exempt: vscode-server") {
			spared++
		}
	}
	if spared != 2 { // and its child
		t.Errorf("%d are said to be exempt: %+v", spared, r.Processes)
	}
	g, err := h.tree.Open(scope)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(g.Kill(t.Context()), g.Close()); err != nil {
		t.Error(err)
	}
}

// TestChildOfExemptOutside: the list of the control group, which is looked at
// first, does not show that somebody's parent is exempt who has left it.
func TestChildOfExemptOutside(t *testing.T) {
	h := newLoginHost(t)
	scope := h.scope(loginUID, loginName())
	leader := h.start(scope, 0, waits)
	h.login(leader)
	server := h.start(scope, loginUID, "exec "+userServer(t)+" -c 'sleep 1000 & echo; wait'")
	member := h.start(scope, loginUID, waits)
	if err := os.WriteFile(h.tree.Directory("/")+"/cgroup.procs", []byte(strconv.Itoa(server.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	r := h.end().Record
	if member.lives() || !server.lives() {
		t.Errorf("member lives %v, who is exempt %v", member.lives(), server.lives())
	}
	g, err := h.tree.Open(scope)
	if err != nil {
		t.Fatal(err)
	}
	left, err := g.PIDs()
	if err != nil || len(left) != 2 || !slices.Contains(left, leader.Process.Pid) {
		t.Errorf("in the scope are %v, %v; want the leader %d and the child: %+v", left, err, leader.Process.Pid, r.Processes)
	}
	if err := errors.Join(g.Kill(t.Context()), g.Close()); err != nil {
		t.Error(err)
	}
}

// userServer is a shell of the login's user's own, below a directory that makes
// it a VS Code server.
func userServer(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), ".vscode-server", "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for at := dir; at != os.TempDir() && at != "/"; at = filepath.Dir(at) { // go's directories are root's alone
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sh, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	server := filepath.Join(dir, "node")
	if err := os.WriteFile(server, sh, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(server, loginUID, -1); err != nil {
		t.Fatal(err)
	}
	return server
}
