package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"xexit/internal/doctor"
	"xexit/internal/history"
	"xexit/internal/ipc"
	"xexit/internal/session"
)

// Users of the tests, of no account.
const (
	alice = 61001
	bob   = 61002
)

const escape = "\x1b]0;owned\a\x1b[2J"

// keeper is a daemon that has two logins of alice's and one of bob's. What
// users can choose is as hostile as can be.
type keeper struct {
	mu    sync.Mutex
	asked []string // whose end was asked for, and by whom
	exit  int
}

func (k *keeper) Logins(context.Context, ipc.LoginQuery) ([]ipc.Login, error) {
	evil := history.Process{ProcID: session.ProcID{PID: 77}, Comm: escape, Evidence: session.ByScope, Verdict: session.VerdictEnd, Why: "in its scope" + escape}
	child := history.Process{ProcID: session.ProcID{PID: 76}, PPID: 77, Comm: "child", Evidence: session.ByScope, Verdict: session.VerdictKeep, Why: "rule batch"}
	odd := history.Process{ProcID: session.ProcID{PID: 75}, Comm: "odd", Evidence: session.ByAudit, Verdict: session.VerdictSpare, Why: "cannot be read"}
	return []ipc.Login{
		{ID: "1", UID: alice, User: "alice", Type: "tty", Service: "sshd", Client: "evil" + escape, Phase: ipc.PhaseOpen, Fate: ipc.FateEnd},
		{ID: "c2", UID: bob, User: "bob", Type: "x11", Display: ":7" + escape, Phase: ipc.PhaseOpen, Fate: ipc.FateAudit},
		{
			ID: "3", UID: alice, User: "alice", Type: "x11", Phase: ipc.PhaseEnding, Fate: ipc.FateEnd, Reason: session.ReasonLinkLost,
			Noticed: "no sign" + escape, Step: "term", At: "grace", Left: history.Millis(2 * time.Second),
			Looked: true, Processes: []history.Process{child, evil}, Undecided: []history.Process{odd}, Omitted: 4,
		},
		{ID: "5", UID: bob, User: "bob", Type: "tty", Phase: ipc.PhaseEnding, Fate: ipc.FateEnd, Step: "leader", At: "user-hooks", Unseen: "too slow" + escape},
		{ID: "6", UID: bob, User: "bob", Type: "tty", Phase: ipc.PhaseDone, Fate: ipc.FateEnd, Looked: true},
	}, nil
}

func (k *keeper) record(id, login string, uid uint32) history.Record {
	return history.Record{
		V: 1, ID: id, Event: history.Done, Kind: history.KindEnd, UID: uid, User: "u", Login: login, Reason: session.ReasonLogout, Verified: true,
		Session: "0d75dae3-267e-4772-b1e5-0dbf9c080aa1", Time: time.Unix(int64(len(id)), 0), Noticed: "x" + escape,
		Took: history.Millis(time.Second), Problems: []string{"p" + escape}, Survivors: []history.Survivor{{Comm: escape, Cause: escape}},
		Processes: []history.Process{{ProcID: session.ProcID{PID: 8}, Comm: escape, Verdict: session.VerdictEnd}},
		Hooks:     []history.Hook{{Name: "h" + escape, Output: "o" + escape + "\n"}},
	}
}

func (k *keeper) Log(uint32, bool, ipc.LogQuery) ([]history.Record, error) {
	return []history.Record{k.record("a", "1", alice), k.record("bb", "c2", bob)}, nil
}

func (k *keeper) End(_ context.Context, caller uint32, login string, r ipc.EndRequest, progress func(ipc.Step)) (ipc.Result, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = append(k.asked, strconv.Itoa(int(caller))+" "+login+" "+string(r.Reason))
	if login == "c2" {
		return ipc.Result{}, ipc.ErrTaken
	}
	progress(ipc.Step{Step: "claim", Text: escape})
	return ipc.Result{
		Exit: k.exit, Verified: true, Ended: 2, Record: map[string]string{"1": "a"}[login],
		Survivors: []history.Survivor{{Comm: escape, Cause: escape}}, Problems: []string{escape},
	}, nil
}

func (k *keeper) Status() ipc.Status {
	return ipc.Status{
		Version: "v", PID: 1, Since: time.Now().Add(-3 * time.Hour), Types: []string{"x11", "tty"}, AuditOnly: true,
		Sources:        []ipc.State{{Name: "logind", Alive: true}},
		Worker:         ipc.State{Name: "the display worker", Text: "it broke off" + escape},
		Conflicts:      []ipc.Conflict{{Key: "pam.loginuid", Text: "logins get no audit id" + escape}, {Key: "audit.unset", Text: "9 of carol"}},
		ConfigProblems: []string{"xexit.toml:3: grase"},
		Counters:       map[string]int64{"ended": 12},
	}
}

// system is a running daemon and the means to call xexit as several users.
type system struct {
	*keeper
	path string
	stop func()
}

func startSystem(t *testing.T) *system {
	t.Helper()
	dir, err := os.MkdirTemp("", "cli")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &system{keeper: &keeper{}, path: filepath.Join(dir, "control")}
	l, err := ipc.Listen(s.path)
	if err != nil {
		t.Fatal(err)
	}
	s.serve(t, l)
	return s
}

func (s *system) serve(t *testing.T, l *net.UnixListener) {
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	server := &ipc.Server{Handler: s.keeper}
	go func() { served <- server.Serve(ctx, l) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
}

// asVar makes the test binary xexit-main, see playUser.
const asVar = "XEXIT_TEST_CLI_SOCKET"

// call runs xexit as a user, with a runtime directory and a home of his own.
func (s *system) call(t *testing.T, uid uint32, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	home, err := os.MkdirTemp("", "cli")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	if err := os.Chown(home, int(uid), int(uid)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Dir = "/"
	cmd.Env = []string{asVar + "=" + s.path, "XDG_RUNTIME_DIR=" + home, "HOME=" + home}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// playUser is the other side of call.
func playUser() int {
	return Main(context.Background(), os.Args[1:], Env{
		Stdin: strings.NewReader(""), Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(),
		Self: "/nowhere/xexit-main", Version: "v1", Root: "/nowhere", Daemon: ipc.Client{Path: os.Getenv(asVar)},
	})
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
		t.Fatal("only root can be several users")
	}
	t.Skip("only root can be several users")
}

func TestSystemPS(t *testing.T) {
	needRoot(t)
	s := startSystem(t)
	for _, tt := range []struct {
		uid     uint32
		args    string
		want    []string
		without []string
	}{
		{alice, "ps", []string{"login 1 of alice (tty, sshd)", "open; at its end, what it leaves behind is ended", "ending: grace, 2.0 s left", "link-lost (no sign", "in its scope", "  child", "unknown, spared", "1 to be ended, 1 kept by rule, 1 unknown and spared; 4 more"}, []string{"bob"}},
		{alice, "ps --session 3", []string{"login 3 of alice"}, []string{"login 1", "bob"}},
		{bob, "ps", []string{"login c2 of bob (x11) on :7", "audit-only", "ending: exit scripts of the user (user-hooks)", "who is there is not known: too slow", "nobody is left"}, []string{"alice"}},
		{bob + 1, "ps", []string{"no session is watched"}, []string{"alice", "bob"}},
	} {
		status, out, errs := s.call(t, tt.uid, strings.Fields(tt.args)...)
		for _, want := range tt.want {
			if !strings.Contains(out, want) {
				t.Errorf("%d: %s: no %q in\n%s%s", tt.uid, tt.args, want, out, errs)
			}
		}
		for _, bad := range tt.without {
			if strings.Contains(out+errs, bad) {
				t.Errorf("%d: %s: %q in\n%s%s", tt.uid, tt.args, bad, out, errs)
			}
		}
		if status != 0 {
			t.Errorf("%d: %s: status %d: %s", tt.uid, tt.args, status, errs)
		}
	}
	if status, _, errs := s.call(t, bob, "ps", "--session", "1"); status != 2 || !strings.Contains(errs, `no session "1"`) {
		t.Errorf("alice's login for bob: status %d, %s", status, errs)
	}
	status, out, errs := s.call(t, alice, "ps", "--json")
	var list []planned
	if err := json.Unmarshal([]byte(out), &list); err != nil || status != 0 || len(list) != 2 {
		t.Fatalf("status %d, %v: %s%s", status, err, out, errs)
	}
	if l := list[1]; l.Login != "3" || l.Daemon == nil || l.Daemon.At != "grace" || l.Daemon.Left == 0 || len(l.Daemon.Processes) > 0 ||
		len(l.Processes) != 2 || l.Processes[1].Comm != escape || len(l.Undecided) != 1 {
		t.Errorf("%s", out)
	}
}

func TestSystemEnd(t *testing.T) {
	needRoot(t)
	s := startSystem(t)
	for _, tt := range []struct {
		uid    uint32
		args   string
		status int
		want   string
	}{
		{alice, "end --session 1", 0, "login 1"},
		{alice, "end --session 3 -v", 0, "claim"},
		{alice, "end --session c2", 2, `no session "c2"`},
		{alice, "end --session 9", 2, `no session "9"`},
		{alice, "end --session 1 --grace 9s", 2, "the daemon, as its configuration says"},
		{alice, "end --session 1 --reason limit", 1, "only root may ask"},
		{bob, "end --session c2", 1, "not one that the daemon takes on"},
		{0, "end --session 3 --reason limit --json", 0, `"ended": 2`},
		{0, "end --session 1 --json", 0, `"id": "a"`},
	} {
		status, out, errs := s.call(t, tt.uid, strings.Fields(tt.args)...)
		if status != tt.status || !strings.Contains(out+errs, tt.want) {
			t.Errorf("%d: %s: status %d, want %d and %q:\n%s%s", tt.uid, tt.args, status, tt.status, tt.want, out, errs)
		}
	}
	want := []string{"61001 1 requested", "61001 3 requested", "61002 c2 requested", "0 3 limit", "0 1 requested"}
	s.mu.Lock()
	if !slices.Equal(s.asked, want) {
		t.Errorf("asked for %q, want %q", s.asked, want)
	}
	s.exit = 3
	s.mu.Unlock()
	if status, _, _ := s.call(t, alice, "end", "--session", "1"); status != 3 {
		t.Errorf("who could not be ended: status %d, want 3", status)
	}
}

func TestSystemLog(t *testing.T) {
	needRoot(t)
	s := startSystem(t)
	ids := func(uid uint32, args ...string) string {
		status, out, errs := s.call(t, uid, append([]string{"log", "--json"}, args...)...)
		var list []history.Record
		if err := json.Unmarshal([]byte(out), &list); err != nil || status != 0 {
			t.Fatalf("status %d, %v: %s%s", status, err, out, errs)
		}
		var text string
		for _, r := range list {
			text += r.ID + " "
		}
		return strings.TrimSpace(text)
	}
	for _, tt := range []struct {
		uid  uint32
		args string
		want string
	}{
		{alice, "", "a"}, {bob, "", "bb"}, {bob + 1, "", ""}, {alice, "--session 1", "a"}, {alice, "--session c2", ""}, {alice, "--session 0d75 -n 1", "a"},
	} {
		if got := ids(tt.uid, strings.Fields(tt.args)...); got != tt.want {
			t.Errorf("%d: %s: %q, want %q", tt.uid, tt.args, got, tt.want)
		}
	}
}

func TestSystemDoctor(t *testing.T) {
	needRoot(t)
	s := startSystem(t)
	findings := func(uid uint32) map[string]string {
		_, out, errs := s.call(t, uid, "doctor", "--json")
		var r doctor.Report
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatalf("%v: %s%s", err, out, errs)
		}
		texts := map[string]string{}
		for _, section := range r.Sections {
			for _, f := range section.Findings {
				texts[f.Key] += f.Text + "\n"
			}
		}
		return texts
	}
	got := findings(alice)
	for key, want := range map[string]string{
		"daemon.runs": "x11, tty", "daemon.audit": "audit-only", "daemon.source": "logind", "daemon.worker": "does not run",
		"daemon.config": "not valid", "pam.loginuid": "no audit id", "daemon.login": "login 1 of alice",
	} {
		if !strings.Contains(got[key], want) {
			t.Errorf("alice: %s: %q, want %q", key, got[key], want)
		}
	}
	if got["audit.unset"] != "" || got["daemon.counters"] != "" || strings.Contains(got["daemon.login"]+got["daemon.config"], "bob") {
		t.Errorf("alice is told of others: %q", got)
	}
	if got := findings(0); !strings.Contains(got["audit.unset"], "carol") || !strings.Contains(got["daemon.counters"], "ended 12") || !strings.Contains(got["daemon.config"], "xexit.toml:3") {
		t.Errorf("root is not told all: %q", got)
	}
	s.stop()
	if got := findings(alice); got["daemon.stopped"] == "" {
		t.Errorf("a daemon that has ended: %q", got)
	}
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	if got := findings(alice); got["daemon.none"] == "" {
		t.Errorf("no daemon: %q", got)
	}
}

// TestSystemTextIsEscaped: what processes, displays and hooks are called, and
// what hooks print, comes to no terminal as it is.
func TestSystemTextIsEscaped(t *testing.T) {
	needRoot(t)
	s := startSystem(t)
	for _, args := range []string{"ps", "log", "doctor", "end --session 1 -v", "end --session 3 -v"} {
		for _, uid := range []uint32{alice, 0} {
			if uid == 0 && args == "log" {
				continue // he reads the files himself
			}
			_, out, errs := s.call(t, uid, strings.Fields(args)...)
			if strings.ContainsAny(out+errs, "\x1b\a") {
				t.Errorf("%s as %d: control bytes: %q", args, uid, out+errs)
			}
			if !strings.Contains(out, `\x1b]0;owned\x07`) {
				t.Errorf("%s as %d: the text is not shown: %q %q", args, uid, out, errs)
			}
		}
	}
}

// TestSystemBroken: without the daemon's answer what can be seen without it is
// shown, and that something is missing is said.
func TestSystemBroken(t *testing.T) {
	needRoot(t)
	s := startSystem(t)
	s.stop()
	l, err := ipc.Listen(s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("{\"v\":7}\n"))
			_ = conn.Close()
		}
	}()
	for _, tt := range []struct {
		args, out string
		status    int
	}{
		{"ps", "no session is watched", 1},
		{"log", "no end is on record", 1},
		{"end --session 1", "", 2},
		{"doctor", "the daemon does not answer", 1},
	} {
		status, out, errs := s.call(t, alice, strings.Fields(tt.args)...)
		if status != tt.status || !strings.Contains(out, tt.out) || !strings.Contains(out+errs, "version 7, known is 1") {
			t.Errorf("%s: status %d, %q, %q", tt.args, status, out, errs)
		}
	}
}
