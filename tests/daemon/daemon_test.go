package daemon

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"xexit/tests/agent"
	"xexit/tests/booted"
	"xexit/tests/machine"
)

// staged builds and installs; a test that cannot run says why.
func staged(t *testing.T) string {
	t.Helper()
	stage := booted.Stage(t, machine.Debian12)
	const config = "grace = \"2s\"\n[daemon]\ntypes = [\"ssh\"]\n"
	if err := os.WriteFile(stage+"/etc/xexit/xexit.toml", []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return stage
}

// host is a container in which the daemon runs.
type host struct {
	t *testing.T
	*machine.Machine
}

func boot(t *testing.T, stage string) *host {
	t.Helper()
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
	return h
}

func (h *host) root(argv ...string) string {
	h.t.Helper()
	out, err := h.Root(argv...)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

func (h *host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// login logs alice in, and leaves somebody of a kind behind who does not go by
// himself.
func (h *host) login(name, kind string) (s *machine.Session, id string, left *machine.Ref) {
	h.t.Helper()
	s, err := h.SSHPlain(name, "alice")
	h.must(err)
	id = h.id(s)
	_, err = h.Spawn(s.Socket, "", agent.Request{
		Argv: []string{"/usr/libexec/xexit-test/leftover", name, kind}, UID: -1, NewSession: true,
	})
	h.must(err)
	refs, err := h.Await(name, 1)
	h.must(err)
	return s, id, refs[0]
}

// id is the id of the login that a session is in, by its control group: of
// logind's or of the PAM hook's.
func (h *host) id(s *machine.Session) string {
	h.t.Helper()
	text, err := os.ReadFile(h.Path(fmt.Sprintf("/proc/%d/cgroup", s.Leader.PID)))
	h.must(err)
	_, group, _ := strings.Cut(string(text), "0::")
	group, _, _ = strings.Cut(group, "\n")
	name := filepath.Base(group)
	for _, form := range [][2]string{{"session-", ".scope"}, {"login-", ""}} {
		if id, ok := strings.CutPrefix(strings.TrimSuffix(name, form[1]), form[0]); ok {
			return id
		}
	}
	h.t.Fatalf("session %s is in no login's control group, but in %s", s.Name, group)
	return ""
}

// takenOn waits until the daemon knows a login.
func (h *host) takenOn(id string) { h.t.Helper(); h.phase(id, "open") }

func (h *host) phase(id, want string) {
	h.t.Helper()
	h.must(machine.Until(fmt.Sprintf("login %s is %q", id, want), func() (bool, error) {
		var state struct{ Phase string }
		text, err := os.ReadFile(h.Path("/run/xexit/sessions/" + id + ".json"))
		if err != nil {
			return want == "", nil
		}
		return json.Unmarshal(text, &state) == nil && state.Phase == want, nil
	}))
}

func (h *host) gone(who string, ref *machine.Ref) {
	h.t.Helper()
	if !ref.Gone(machine.Guard) {
		h.t.Fatalf("%s is still there", who)
	}
}

// record is what the history has of an end.
type record struct {
	Event, User, Reason string
	Verified            bool
	NoticedUS           int64 `json:"noticed_us"`
	Processes           []struct{ Verdict string }
}

func (h *host) records() (all []record) {
	h.t.Helper()
	files, err := filepath.Glob(h.Path("/var/lib/xexit/*.jsonl"))
	h.must(err)
	for _, name := range files {
		text, err := os.ReadFile(name)
		h.must(err)
		for line := range strings.Lines(string(text)) {
			var r record
			h.must(json.Unmarshal([]byte(line), &r))
			all = append(all, r)
		}
	}
	return all
}

// done waits until that many ends are on record, and no more lines than theirs.
func (h *host) done(want int) {
	h.t.Helper()
	count := func(event string) (n int) {
		for _, r := range h.records() {
			if r.Event == event && r.User == "alice" && r.Reason == "logout" {
				n++
			}
		}
		return n
	}
	h.must(machine.Until(fmt.Sprintf("%d ends are on record", want), func() (bool, error) { return count("done") >= want, nil }))
	if b, d := count("begin"), count("done"); b != want || d != want {
		h.t.Errorf("%d ends are on record by %d begin and %d done lines", want, b, d)
	}
	for _, r := range h.records() { // the daemon was there when each of them happened
		if r.User == "alice" && r.NoticedUS <= 0 {
			h.t.Errorf("how long it took to notice an end is not on record: %+v", r)
		}
	}
}

// TestUnit is one container and what the unit does in it, one after the other.
func TestUnit(t *testing.T) {
	h := boot(t, staged(t))
	// One was here before the daemon.
	early, earlyID, earlyLeft := h.login("early", "termignorer")
	h.root("systemctl", "start", "xexit.service")
	h.takenOn(earlyID)
	other, otherID, otherLeft := h.login("other", "obedient")
	h.takenOn(otherID)

	t.Run("logout", func(t *testing.T) {
		h := &host{t, h.Machine}
		h.must(early.Leader.Signal(syscall.SIGKILL))
		h.gone("what the login left", earlyLeft)
		h.phase(earlyID, "")
		h.done(1)
	})
	t.Run("killed leader", func(t *testing.T) {
		h := &host{t, h.Machine}
		_, id, left := h.login("killed", "termignorer")
		h.takenOn(id)
		h.root("sh", "-ec", "kill -9 $(loginctl show-session -p Leader --value "+id+")")
		h.gone("what the login left", left)
		h.done(2)
	})
	t.Run("daemon killed in mid-grace", func(t *testing.T) {
		h := &host{t, h.Machine}
		s, id, left := h.login("grace", "termignorer")
		h.takenOn(id)
		h.must(s.Leader.Signal(syscall.SIGKILL))
		h.phase(id, "ending")
		h.root("systemctl", "kill", "-s", "KILL", "--kill-who=main", "xexit.service")
		h.gone("what the login left", left)
		h.done(3)
		h.phase(id, "")
	})
	t.Run("reload", func(t *testing.T) {
		h := &host{t, h.Machine}
		h.root("systemctl", "reload", "xexit.service")
		if out := h.root("systemctl", "is-active", "xexit.service"); out != "active\n" {
			t.Errorf("after a reload it is %q", out)
		}
	})
	if !other.Leader.Alive() || !otherLeft.Alive() {
		t.Error("another login of the same user was harmed")
	}
	h.phase(otherID, "open")
	t.Run("exposure", func(t *testing.T) {
		h := &host{t, h.Machine}
		out := h.root("systemd-analyze", "security", "--no-pager", "xexit.service")
		_, rest, _ := strings.Cut(out, "Overall exposure level for xexit.service: ")
		var level float64
		if _, err := fmt.Sscan(rest, &level); err != nil || level > 2 {
			t.Errorf("exposure %v, %v:\n%s", level, err, out)
		}
	})
	if out := h.root("systemctl", "show", "-P", "NRestarts", "xexit.service"); out != "1\n" {
		t.Errorf("started again %s times, not once", strings.TrimSpace(out))
	}
	h.root("systemctl", "stop", "xexit.service")
	if out := h.root("systemctl", "show", "-P", "Result", "xexit.service"); out != "success\n" {
		t.Errorf("the unit ended with %q", out)
	}
}

// TestWithoutLogind: the PAM hook tells of logins where logind does not run.
func TestWithoutLogind(t *testing.T) {
	stage := staged(t)
	h := boot(t, stage)
	snippet, err := os.ReadFile(stage + "/usr/share/pam-configs/xexit")
	h.must(err)
	h.must(os.WriteFile(h.Path("/usr/share/pam-configs/xexit"), snippet, 0o644))
	h.root("sh", "-ec", `systemctl mask -q --now systemd-logind.service
		sed -i /pam_systemd/d /etc/pam.d/common-session
		pam-auth-update --enable xexit
		systemctl start xexit.service`)
	s, id, left := h.login("hooked", "termignorer")
	h.takenOn(id)
	_, otherID, otherLeft := h.login("other", "obedient")
	h.takenOn(otherID)
	h.must(s.Leader.Signal(syscall.SIGKILL))
	h.gone("what the login left", left)
	h.phase(id, "")
	h.done(1)
	if !otherLeft.Alive() {
		t.Error("another login of the same user was harmed")
	}
}

// TestNoFaultPoints: what is installed has nothing of the test builds.
func TestNoFaultPoints(t *testing.T) {
	text, err := os.ReadFile(staged(t) + "/usr/libexec/xexit/xexit-main")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "XEXIT_FAULT") {
		t.Error("xexit-main looks at XEXIT_FAULT")
	}
}
