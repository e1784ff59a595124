package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xexit/internal/config"
	"xexit/internal/display"
	"xexit/internal/ending"
	"xexit/internal/history"
	"xexit/internal/ipc"
	"xexit/internal/policy"
	"xexit/internal/registry"
	"xexit/internal/session"
	"xexit/internal/term"
)

// run calls Main with an environment in which nobody has a session.
func run(t *testing.T, environ []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	runtime := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(runtime, 0o700); err != nil {
		t.Fatal(err)
	}
	status = Main(t.Context(), args, Env{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Environ: append([]string{"XDG_RUNTIME_DIR=" + runtime, "XDG_STATE_HOME=" + t.TempDir()}, environ...),
		Self:    "/nowhere/xexit-main", Version: "v1", Root: machineRoot(environ), Daemon: ipc.Client{Path: filepath.Join(runtime, "control")},
	})
	return status, out.String(), errs.String()
}

// machineRoot is a file system without the daemon's records, or the one that a
// test names.
func machineRoot(environ []string) string {
	if root := ending.Getenv(environ, "TEST_ROOT"); root != "" {
		return root
	}
	return "/nowhere"
}

// Root sees what the daemon has recorded; nobody else can.
func TestLogOfTheDaemon(t *testing.T) {
	root := t.TempDir()
	record := history.Record{
		ID: "ab", Event: history.Done, Time: time.Now(), Kind: history.KindAudit, Login: "4", Service: "sshd", User: "alice",
		Session: "1b4e28ba-2fa1-41d2-883f-0016d3cca427", Reason: session.ReasonLogout, Resumed: true,
		Processes: []history.Process{{ProcID: session.ProcID{PID: 7, Start: 1}, Comm: "sleep", Verdict: session.VerdictEnd}},
	}
	host, _ := os.Hostname()
	for _, dir := range []string{history.SystemState, history.SystemRuntime} {
		if err := history.Append(filepath.Join(root, dir), host, record); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"log"}, {"log", "--session", "4"}} {
		_, out, stderr := run(t, []string{"TEST_ROOT=" + root}, args...)
		want := os.Geteuid() == 0
		for _, text := range []string{"login 4 (sshd) of alice", "audit only", "would be ended", "interrupted"} {
			if strings.Contains(out, text) != want || strings.Count(out, "login 4") > 1 {
				t.Errorf("%q: %q in it %v, expected %v: %s%s", args, text, !want, want, out, stderr)
			}
		}
	}
}

func TestBadUsage(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"edn"}, "unknown command"},
		{[]string{"end", "now"}, "unknown command"},
		{[]string{"end", "--gracious"}, "unknown flag"},
		{[]string{"end", "--grace", "soon"}, "--grace"},
		{[]string{"end", "--grace", "-3s"}, "a time cannot be negative"},
		{[]string{"end", "--reason", "boredom"}, "logout, server-gone"},
		{[]string{"end", "--scope", "world"}, "(session or user)"},
		{[]string{"end", "--dry-run", "--session", "12"}, "there are none"},
		{[]string{"ps", "--session", "12"}, "there are none"},
		{[]string{"end", "--dry-run", "--config", "/nowhere.toml", "--session", "12"}, "/nowhere.toml"},
		{[]string{"record", "twice", "session=x"}, "expected begin or done"},
		{[]string{"record", "begin", "session"}, "is not KEY=VALUE"},
		{[]string{"record", "begin", "session=x"}, "not a session id"},
		{[]string{"record", "begin"}, "no session"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			status, stdout, stderr := run(t, nil, tt.args...)
			if status != 2 || stdout != "" || !strings.Contains(stderr, tt.want) || !strings.HasPrefix(stderr, "xexit: ") {
				t.Errorf("status %d, output %q, error %q; want 2 and %q", status, stdout, stderr, tt.want)
			}
		})
	}
}

func TestNothingThere(t *testing.T) {
	for _, tt := range []struct{ verb, want string }{
		{"ps", "no session is watched\n"},
		{"log", "no end is on record\n"},
		{"version", "xexit v1\n"},
	} {
		if status, stdout, stderr := run(t, nil, tt.verb); status != 0 || stdout != tt.want || stderr != "" {
			t.Errorf("%s: status %d, %q, %q; want %q", tt.verb, status, stdout, stderr, tt.want)
		}
	}
	for _, verb := range []string{"ps", "log"} {
		if status, stdout, _ := run(t, nil, verb, "--json"); status != 0 || strings.TrimSpace(stdout) != "[]" {
			t.Errorf("%s --json: status %d, %q; want an empty list", verb, status, stdout)
		}
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	hooks := filepath.Join(dir, "hooks")
	if err := os.Mkdir(hooks, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	rootHooks := filepath.Join(dir, "root")
	if err := os.Mkdir(rootHooks, 0o755); err != nil {
		t.Fatal(err)
	}
	write("root/40-r", "exit 0\n", 0o755)
	write("root/50-s", "exit 0\n", 0o644)
	good := write("good.toml", "[hooks]\ndir = \""+hooks+"\"\nroot-dir = \""+rootHooks+"\"\n", 0o644)
	bad := write("bad.toml", "grase = \"3s\"\n", 0o644)
	write("hooks/10-a.sh", "exit 0\n", 0o755)
	write("hooks/20-b", "exit 0\n", 0o644)
	write("hooks/20-b~", "exit 0\n", 0o644)

	status, stdout, _ := run(t, nil, "check", "--config", good)
	for _, want := range []string{"10-a.sh  run", "20-b     sourced", "20-b~    ignored", "no problems"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in:\n%s", want, stdout)
		}
	}
	for _, want := range []string{"40-r      run as root", "50-s      sourced as root"} {
		if root := os.Geteuid() == 0; strings.Contains(stdout, want) != root {
			t.Errorf("%q: in it %v, expected %v:\n%s", want, !root, root, stdout)
		}
	}
	if status != 0 {
		t.Errorf("status %d of a good configuration", status)
	}

	write("hooks/30-c", "exit 0\n", 0o777)
	if status, stdout, _ := run(t, nil, "check", "--config", good); status != 2 || !strings.Contains(stdout, "30-c: refused") {
		t.Errorf("a hook that anybody may write to: status %d\n%s", status, stdout)
	}
	status, stdout, _ = run(t, nil, "check", "--config", bad)
	if status != 2 || !strings.Contains(stdout, bad+":1") || !strings.Contains(stdout, "grace") {
		t.Errorf("an unknown key: status %d, want file:line and the key that was meant:\n%s", status, stdout)
	}
}

func item(pid, ppid int, comm string) policy.Item {
	return policy.Item{
		Process: policy.Process{ID: session.ProcID{PID: pid}, PPID: ppid, Comm: comm, Evidence: session.ByMarker, Member: true},
		Verdict: session.VerdictEnd,
	}
}

func TestTree(t *testing.T) {
	rows := tree([]policy.Item{item(9, 4, "d"), item(2, 1, "a"), item(4, 2, "b"), item(5, 2, "c"), item(6, 7, "e"), item(7, 6, "f")})
	var got []string
	for _, r := range rows {
		got = append(got, strings.Repeat(">", r.depth)+r.item.Comm)
	}
	// 6 and 7 say that they are each other's parent: shown nowhere would be
	// worse than shown wrong, and for ever worst.
	if want := "a >b >>d >c"; !strings.HasPrefix(strings.Join(got, " "), want) {
		t.Errorf("tree is %v, want it to begin with %q", got, want)
	}
	if len(rows) != 6 {
		t.Errorf("%d of 6 processes are shown: %v", len(rows), got)
	}
}

func TestPlanIsSafeToShow(t *testing.T) {
	var out bytes.Buffer
	env := Env{Stdout: &out}
	evil := item(2, 1, "\x1b[2J\rroot")
	evil.Why = "a\x07b"
	plan := ending.Plan{
		Entry: registry.Entry{ID: "s", Display: ":1\x1b]0;x\x07"}, User: "u\nv",
		Plan: policy.Plan{Items: []policy.Item{evil}},
	}
	if err := showPlans(env, []ending.Plan{plan}, false, "would be"); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\x07\r") {
		t.Errorf("control bytes reach the terminal: %q", out.String())
	}
}

func TestRecordText(t *testing.T) {
	var out bytes.Buffer
	status := 3
	showRecord(Env{Stdout: &out}, history.Record{
		Event: history.Done, Kind: history.KindEnd, Session: "11111111-1111-4111-8111-111111111111", User: "ann",
		Display: ":21", Reason: session.ReasonServerGone, Noticed: "EOF", NoticedAfter: history.Micros(2 * time.Millisecond),
		Took: history.Millis(40 * time.Millisecond), Program: []string{"/bin/p", "x"}, Status: &status, Output: "one\ntwo\x1b\n",
		Hooks:     []history.Hook{{Name: "10-a", Status: 1, Took: history.Millis(time.Millisecond), Output: "hi\n"}, {Name: "20-b", Refused: "others may write to it"}},
		Processes: []history.Process{{ProcID: session.ProcID{PID: 7}, Comm: "sleep", Evidence: session.ByMarker, Signals: []string{"TERM", "CONT"}, Ended: "term", After: history.Millis(8 * time.Millisecond)}},
		Survivors: []history.Survivor{{ProcID: session.ProcID{PID: 8}, Comm: "nfs", Cause: "state D in rpc_wait"}},
	}, term.Style{})
	for _, want := range []string{
		"session 11111111 on :21 of ann ended: server-gone (EOF, noticed in 2.0 ms); 1 could not be ended in 40 ms\n",
		"  hook 10-a: status 1, 1.0 ms\n    | hi\n",
		"  hook 20-b: refused: others may write to it",
		"  7  sleep  marker  TERM CONT  gone after 8.0 ms\n",
		"  still there: 8 nfs: state D in rpc_wait\n",
		"  program /bin/p x: status 3\n    | one\n    | two\\x1b\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}

// What was not done must be seen at once, with what to do.
func TestRefusedRecordText(t *testing.T) {
	const id = "11111111-1111-4111-8111-111111111111"
	var out bytes.Buffer
	showRecord(Env{Stdout: &out}, history.Record{Event: history.Done, Kind: history.KindEnd, Session: id, Problems: []string{"xexit.toml:1: grase"}}, term.Style{})
	for _, want := range []string{"NOT CARRIED OUT (try again: xexit end --session " + id + ")", "problem: xexit.toml:1: grase"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}

// What was printed into a full disk was not printed.
func TestWriteErrors(t *testing.T) {
	for _, args := range [][]string{{"log"}, {"ps"}, {"check"}, {"version"}, {"--help"}, {"log", "--json"}} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		runtime := filepath.Join(t.TempDir(), "run")
		if err := os.Mkdir(runtime, 0o700); err != nil {
			t.Fatal(err)
		}
		status := Main(t.Context(), args, Env{
			Stdin: strings.NewReader(""), Stdout: full, Stderr: &errs,
			Environ: []string{"XDG_RUNTIME_DIR=" + runtime, "XDG_STATE_HOME=" + t.TempDir()},
		})
		if status != 1 || !strings.Contains(errs.String(), "no space left") {
			t.Errorf("%v: status %d, %q", args, status, errs.String())
		}
		if err := full.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRecordVerb(t *testing.T) {
	state, runtime := t.TempDir(), filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(runtime, 0o700); err != nil {
		t.Fatal(err)
	}
	output := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(output, []byte("bye\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable() // TestMain makes it append
	if err != nil {
		t.Fatal(err)
	}
	env := Env{
		Stdin: strings.NewReader(""), Stdout: &bytes.Buffer{}, Stderr: os.Stderr, Self: self,
		Environ: []string{"XDG_RUNTIME_DIR=" + runtime, "XDG_STATE_HOME=" + state},
	}
	fields := []string{"session=11111111-1111-4111-8111-111111111111", "reason=server-gone", "took-us=1500", "program=/bin/p", "program=x y", "output-file=" + output, "later=unknown"}
	if status := Main(t.Context(), append([]string{"record", "begin"}, fields...), env); status != 0 {
		t.Fatalf("begin: status %d", status)
	}
	if status := Main(t.Context(), append([]string{"record", "done", "status=4"}, fields...), env); status != 0 {
		t.Fatalf("done: status %d", status)
	}
	host, _ := os.Hostname()
	for _, path := range []string{history.StateFile(filepath.Join(state, "xexit"), host), history.RuntimeFile(filepath.Join(runtime, "xexit"))} {
		records, problems, err := history.Read(path)
		if err != nil || len(problems) > 0 || len(records) != 1 {
			t.Fatalf("%s: %d records, %v, %v", path, len(records), problems, err)
		}
		r := records[0]
		if r.Event != history.Done || r.Status == nil || *r.Status != 4 || r.Output != "bye\n" || len(r.Program) != 2 || r.NoticedAfter != history.Micros(1500*time.Microsecond) {
			t.Errorf("%s: %+v", path, r)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(string(text), "\n"); lines != 2 {
			t.Errorf("%s has %d lines, want begin and done", path, lines)
		}
	}
}

// TestMain lets the test binary be the child that appends to the history, and xexit-main for another user.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == history.AppendVerb {
		os.Exit(history.AppendMain(os.Args[2:], os.Stdin))
	}
	if os.Getenv(asVar) != "" {
		os.Exit(playUser())
	}
	os.Exit(m.Run())
}

// TestDisplayDefaults: the daemon waits for a lost display as long as a user's
// own watcher does, unless the site says otherwise.
func TestDisplayDefaults(t *testing.T) {
	got, want := config.Default().Display, display.NewThresholds(display.Local, 0, 0, 0, 0)
	if got.LostAfter != want.LostAfter || got.BlindAfter != want.Blind || got.HungAfter != want.Hung {
		t.Errorf("%+v, a watcher has %+v", got, want)
	}
}
