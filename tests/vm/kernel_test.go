package vm

import (
	"encoding/json"
	"fmt"
	"strings"

	"xexit/tests/machine"
	"xexit/tests/vm/guest"
)

// checkKernel: which of the kernel's newer abilities this one lacks decides
// what the checks after it prove. It asserts only what must be.
func (l *lab) checkKernel() {
	if id := l.done("alice", "id", "-u"); strings.TrimSpace(id) != fmt.Sprint(machine.Users["alice"]) {
		l.t.Errorf("alice is %s", id)
	}
	l.t.Logf("kernel %s: without pidfd process groups and pidfs: %v, without cgroup.kill: %v", l.release(), l.before(6, 9), l.before(5, 14))
}

func (l *lab) checkOldest() {
	l.checkKernel()
	if !strings.HasPrefix(l.release(), "5.10.") {
		l.t.Fatalf("kernel %s is not 5.10", l.release())
	}
}

// before reports whether the kernel is older.
func (l *lab) before(major, minor int) bool {
	l.t.Helper()
	var a, b int
	if _, err := fmt.Sscanf(l.release(), "%d.%d", &a, &b); err != nil {
		l.t.Fatal(err)
	}
	return a < major || a == major && b < minor
}

func (l *lab) checkDemo() {
	r := l.run("alice", "xexit", "demo")
	if r.Status != 0 {
		l.t.Errorf("exit status %d", r.Status)
	}
	l.t.Log(r.Output)
}

// checkClassic: a whole session by the start-up snippet, with leftovers that do
// not go by themselves, ends with its server.
func (l *lab) checkClassic() {
	d := l.xvfb("classic", ":380")
	// Xsession takes its arguments apart: a script it must be.
	const script = "/home/alice/session"
	kinds := []string{"obedient", "doublefork", "termignorer", "stopped", "selfrestop", "nondumpable", "overwritten", "twins"}
	l.done("alice", "sh", "-c", `printf %s "$1" >`+script, "sh", leave(kinds))
	session := l.start(guest.Command{
		Argv: []string{"sh", "/usr/libexec/xexit-test/Xsession", "sh", script},
		Env:  d.env, User: "alice", Output: "/home/alice/classic.errors",
	})
	other := l.start(guest.Command{Argv: []string{machine.Leftover, "other", "obedient"}, User: "bob", Output: "/home/bob/errors"})
	for _, kind := range append(kinds, "other") {
		l.until(kind+" is there", func() bool { return l.leftovers(kind).Running > 0 })
	}
	l.says(machine.Syslog, "session .* on :380: watching", 1)
	d.signal(sigKill)
	for _, kind := range kinds {
		l.until(kind+" is gone", func() bool { return l.leftovers(kind).Running == 0 })
	}
	l.until("the session's first program is gone", func() bool { return l.state(session) == "" })
	if got := l.leftovers("other"); got.Running != 1 {
		l.t.Errorf("another user's process: %+v", got)
	}
	l.must(l.Ask("Signal", guest.Signal{PID: other, Signal: sigKill}, new(bool)))
	var records []struct {
		Reason    string
		Verified  bool
		Processes []json.RawMessage
	}
	l.until("the end is recorded", func() bool {
		text := l.done("alice", "xexit", "log", "--json")
		l.must(json.Unmarshal([]byte(text), &records))
		return len(records) > 0 && len(records[0].Processes) > 0
	})
	// At least one a kind, and the session's first program.
	if r := records[0]; len(records) != 1 || r.Reason != "server-gone" || !r.Verified || len(r.Processes) <= len(kinds) {
		l.t.Errorf("%d records; %s, verified: %v, %d processes", len(records), r.Reason, r.Verified, len(r.Processes))
	}
	l.t.Log(l.done("alice", "xexit", "log"))
}

// leave is the script of a session that leaves one process of each kind.
func leave(kinds []string) string {
	script := ""
	for _, kind := range kinds {
		script += fmt.Sprintf("%s %s %s & ", machine.Leftover, kind, kind)
	}
	return script + "exec sleep 86400"
}

func (l *lab) leftovers(name string) (a guest.Alive) {
	l.t.Helper()
	l.must(l.Ask("Leftovers", name, &a))
	return a
}
