package ending

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"xexit/internal/config"
	"xexit/internal/history"
	"xexit/internal/proc"
	"xexit/internal/session"
)

// programs builds xexit-main, once with fault points and once as it is shipped.
var programs = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "ending-test-"); err != nil {
		return "", err
	}
	built = dir
	for name, tags := range map[string]string{"faults": "faultpoints", "shipped": ""} {
		cmd := exec.Command("go", "build", "-buildvcs=false", "-tags", tags, "-o", filepath.Join(dir, name), "xexit/cmd/xexit-main")
		if out, err := cmd.CombinedOutput(); err != nil {
			return dir, fmt.Errorf("build xexit-main: %w: %s", err, out)
		}
	}
	return dir, nil
})

var built string // where; TestMain removes it

func program(t *testing.T, name string) string {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// endHost is a machine with one login in it, and a daemon's directories.
type endHost struct {
	*loginHost
	scope  string
	leader *process
	config config.Config
	fault  session.Step // where the next child stands still
}

func newEndHost(t *testing.T) *endHost {
	t.Helper()
	h := &endHost{loginHost: newLoginHost(t), config: config.Default()}
	h.RunDir, h.StateDir = t.TempDir(), t.TempDir()
	h.Self = program(t, "faults")
	h.scope = h.loginHost.scope(loginUID, loginName())
	h.config.Grace, h.config.PAMClose = 100*time.Millisecond, 500*time.Millisecond
	h.config.Log.Syslog = false
	h.config.Hooks.Dir, h.config.Hooks.RootDir = h.hooks("user"), h.hooks("root")
	return h
}

// hooks makes a directory of hooks, which every user can get to.
func (h *endHost) hooks(name string) string {
	dir, err := os.MkdirTemp("", "ending-"+name+"-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (h *endHost) request() LoginRequest {
	boot, err := bootID("/proc")
	if err != nil {
		h.t.Fatal(err)
	}
	r := LoginRequest{
		V: 1, Login: loginName(), UID: loginUID, User: "somebody", Cgroup: h.scope, Scope: filepath.Base(h.scope),
		Audit: session.NoAudit, Type: "tty", Service: "sshd", Reason: session.ReasonLogout,
		Noticed: "the leader exited", NoticedUS: 812, Record: history.NewID(),
		Session: "0b4e28ba-2fa1-41d2-883f-0016d3cca427", Boot: boot, Config: &h.config,
	}
	if h.leader != nil {
		r.Leader = procID(h.t, h.leader.Process.Pid)
	}
	return r
}

func procID(t *testing.T, pid int) session.ProcID {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), ") ")
	id := session.ProcID{PID: pid}
	if _, err := fmt.Sscan(strings.Fields(after)[19], &id.Start); err != nil {
		t.Fatal(err)
	}
	return id
}

// child is an end under way in a process of its own.
type child struct {
	*exec.Cmd
	t      *testing.T
	stdin  io.WriteCloser
	out    io.Closer
	lines  *bufio.Reader
	stderr bytes.Buffer
	steps  []session.Step
	result *LoginResult
}

func (h *endHost) child(r LoginRequest) *child {
	h.t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		h.t.Fatal(err)
	}
	c := &child{Cmd: exec.Command(h.Self, EndLoginVerb), t: h.t}
	c.Env = []string{"RUNTIME_DIRECTORY=" + h.RunDir, "STATE_DIRECTORY=" + h.StateDir, "PATH=/usr/bin:/bin"}
	if h.fault != "" {
		c.Env = append(c.Env, "XEXIT_FAULT="+string(h.fault))
	}
	c.Stderr = &c.stderr
	out, err := c.StdoutPipe()
	if err == nil {
		c.stdin, err = c.StdinPipe()
	}
	if err == nil {
		err = c.Start()
	}
	if err == nil {
		_, err = c.stdin.Write(append(text, '\n'))
	}
	if err != nil {
		h.t.Fatal(err)
	}
	c.out, c.lines = out, bufio.NewReader(out)
	h.t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return c
}

// until reads lines up to a step, or up to the result with "".
func (c *child) until(step session.Step) {
	c.t.Helper()
	for {
		line, err := c.lines.ReadBytes('\n')
		if err != nil {
			c.t.Fatalf("after %q: %v: %s", c.steps, err, &c.stderr)
		}
		var said struct {
			Step   session.Step `json:"step"`
			Result *LoginResult `json:"result"`
		}
		if err := json.Unmarshal(line, &said); err != nil {
			c.t.Fatalf("%s: %v", line, err)
		}
		if c.result = said.Result; c.result != nil {
			if step != "" {
				c.t.Fatalf("no step %q in %q", step, c.steps)
			}
			return
		}
		if c.steps = append(c.steps, said.Step); said.Step == step {
			return
		}
	}
}

// over waits for the result and the exit status, which must be the same.
func (c *child) over() LoginResult {
	c.t.Helper()
	c.until("")
	_ = c.Wait() // a status other than 0 is no error
	if status := c.ProcessState.ExitCode(); status != c.result.Exit {
		c.t.Errorf("exit status %d, result %d", status, c.result.Exit)
	}
	return *c.result
}

// recorded counts the lines of an end in both files.
func (h *endHost) recorded(id string) (counts map[string]int) {
	counts = map[string]int{}
	host, _ := os.Hostname()
	for name, path := range map[string]string{
		"runtime": history.RuntimeFile(h.RunDir), "lasting": history.StateFile(h.StateDir, host),
	} {
		text, _ := os.ReadFile(path)
		for line := range bytes.Lines(text) {
			var r history.Record
			if json.Unmarshal(line, &r) == nil && r.ID == id {
				counts[name+" "+string(r.Event)]++
			}
		}
	}
	return counts
}

func (h *endHost) mustBeRecordedOnce(id string) {
	h.t.Helper()
	for _, line := range []string{"runtime begin", "runtime done", "lasting begin", "lasting done"} {
		if got := h.recorded(id); got[line] != 1 {
			h.t.Errorf("%q is there %d times, expected once: %v", line, got[line], got)
		}
	}
}

func (h *endHost) record(id string) history.Record {
	h.t.Helper()
	host, _ := os.Hostname()
	found, err := history.Find(id, history.StateFile(h.StateDir, host))
	if err != nil {
		h.t.Fatal(err)
	}
	return found.Record()
}

// A login of which logind knows nothing any more is ended, with what left its
// control group and carries its audit id, and nobody else.
func TestEndLogin(t *testing.T) {
	h := newEndHost(t)
	escaped := filepath.Join(t.TempDir(), "escaped")
	h.leader = h.start("", 0, fmt.Sprintf(`echo %d >/proc/self/loginuid
		setpriv --reuid=%[1]d --regid=%[1]d --clear-groups sh -c 'trap "" TERM; echo $$ >&3; exec 3>&-; while :; do sleep 0.02; done' 3>%[2]s &
		until [ -s %[2]s ]; do sleep 0.02; done; `, loginUID, escaped)+waits)
	r := h.request()
	r.Audit = auditOf(t, h.leader.Process.Pid)
	members := map[string]*process{
		"in its group":             h.start(h.scope, loginUID, waits),
		"deaf":                     h.start(h.scope, loginUID, stubborn),
		"another user's (sudo)":    h.start(h.scope, otherUID, waits),
		"root's (sudo)":            h.start(h.scope, 0, waits),
		"of a group in that group": h.start(h.inner(), loginUID, stubborn),
	}
	out := procID(t, numberIn(t, escaped))
	strangers := map[string]*process{
		"the leader":     h.leader,
		"another login":  h.start(h.loginHost.scope(loginUID, loginName()+"b"), loginUID, stubborn),
		"the user's own": h.start("", loginUID, waits),
		"another user's": h.start("", otherUID, waits),
	}
	c := h.child(r)
	result := c.over()
	if result.Exit != 0 || !result.Verified || result.Ended <= len(members) || len(result.Survivors) > 0 {
		t.Errorf("%+v: %s", result, &c.stderr)
	}
	if !slices.Equal(c.steps, session.Steps()) {
		t.Errorf("steps %q", c.steps)
	}
	for name, p := range members {
		if p.lives() {
			t.Errorf("%s lives", name)
		}
	}
	for name, p := range strangers {
		if !p.lives() {
			t.Errorf("%s was ended", name)
		}
	}
	if h.scheduled(out) {
		t.Error("who left the group and has the login's audit id lives")
	}
	h.mustBeRecordedOnce(r.Record)
	record := h.record(r.Record)
	if record.Login != r.Login || record.User != "somebody" || record.Session != r.Session || record.Resumed ||
		record.Noticed != r.Noticed || record.Type != "tty" || record.Service != "sshd" {
		t.Errorf("record %+v", record)
	}
}

// scheduled reports whether a process that is not the test's child lives. Its
// parent may never wait for it.
func (h *endHost) scheduled(id session.ProcID) bool {
	fs, err := proc.New("/proc")
	if err != nil {
		h.t.Fatal(err)
	}
	defer fs.Close()
	stat, err := fs.Stat(id.PID)
	return err == nil && stat.ID() == id && !stat.Dead()
}

func numberIn(t *testing.T, path string) (n int) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		_, err = fmt.Sscan(string(text), &n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func auditOf(t *testing.T, pid int) (id uint32) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/sessionid", pid))
	if err == nil {
		_, err = fmt.Sscan(string(text), &id)
	}
	if err != nil {
		cannot(t, err)
	}
	return id
}

func (h *endHost) inner() string {
	inner := h.scope + "/inner"
	h.group(inner, true)
	return inner
}

// Killed at any step and run again: the end is carried out, nothing stays
// frozen, and the record has it once.
func TestEndLoginKilled(t *testing.T) {
	for _, step := range session.Steps() {
		t.Run(string(step), func(t *testing.T) {
			h := newEndHost(t)
			h.leader = h.start("", 0, waits)
			keeper := h.keeps()
			deaf, obedient := h.start(h.scope, loginUID, stubborn), h.start(h.scope, loginUID, waits)
			h.hook(h.config.Hooks.Dir, "10-user", "echo user")
			h.hook(h.config.Hooks.RootDir, "10-root", "echo root")
			r := h.request()

			h.fault = step
			first := h.child(r)
			first.until(step)
			if err := first.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = first.Wait()

			h.fault = ""
			result := h.child(r).over()
			if result.Exit != 0 || !result.Verified || result.Kept != 1 {
				t.Errorf("%+v", result)
			}
			if deaf.lives() || obedient.lives() || !keeper.lives() || h.frozen() {
				t.Errorf("deaf lives %v, obedient lives %v, kept lives %v, frozen %v", deaf.lives(), obedient.lives(), keeper.lives(), h.frozen())
			}
			h.mustBeRecordedOnce(r.Record)
			if begun := step != session.StepClaim && step != session.StepDone; h.record(r.Record).Resumed != begun {
				t.Errorf("resumed %v, expected %v", !begun, begun)
			}
			again := h.child(r)
			if same := again.over(); same.Exit != 0 || same.Kept != 1 || same.Ended != result.Ended {
				t.Errorf("once more: %+v, expected %+v", same, result)
			}
			h.mustBeRecordedOnce(r.Record)
			if left, _ := os.ReadDir(filepath.Join(h.RunDir, claimsDir)); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// The same at whatever instant: XEXIT_KILLS says how often it is tried. The
// instants are spread over the time that an end takes here and now.
func TestEndLoginKilledAnytime(t *testing.T) {
	kills := 6
	if text := os.Getenv("XEXIT_KILLS"); text != "" {
		if _, err := fmt.Sscan(text, &kills); err != nil {
			t.Fatal(err)
		}
	}
	var whole time.Duration
	for i := range kills + 1 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			h := newEndHost(t)
			keeper := h.keeps()
			deaf, obedient := h.start(h.scope, loginUID, stubborn), h.start(h.scope, loginUID, waits)
			r := h.request()
			began := time.Now()
			first := h.child(r)
			if i == 0 {
				first.over()
				whole = time.Since(began)
			} else {
				<-time.After(whole * time.Duration(i) / time.Duration(kills+1))
				_ = first.Process.Kill() // it may be over
				_ = first.Wait()
			}
			result := h.child(r).over()
			if result.Exit != 0 || !result.Verified || deaf.lives() || obedient.lives() || !keeper.lives() || h.frozen() {
				t.Errorf("killed after %d/%d of %v: %+v, deaf lives %v, obedient lives %v, kept lives %v, frozen %v",
					i, kills+1, whole, result, deaf.lives(), obedient.lives(), keeper.lives(), h.frozen())
			}
			h.mustBeRecordedOnce(r.Record)
		})
	}
}

// keeps starts a program in the login that a rule keeps.
func (h *endHost) keeps() *process {
	const kept = "/usr/bin/tail"
	h.config.Keep = []config.Keep{{Name: "kept", Programs: []string{kept}}}
	// It says something of its own: by then it is what the shell has executed.
	return h.start(h.scope, loginUID, "exec "+kept+" -n 1 -f /etc/passwd")
}

func (h *endHost) frozen() bool {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.tree.Directory(h.scope), "cgroup.freeze"))
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.TrimSpace(string(text)) != "0"
}

func (h *endHost) hook(dir, name, script string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		h.t.Fatal(err)
	}
}

// Two ends of one login at a time: the second waits, and finds it done.
func TestEndLoginTwice(t *testing.T) {
	h := newEndHost(t)
	deaf := h.start(h.scope, loginUID, stubborn)
	r := h.request()
	h.fault = session.StepRootHooks // later ones have deadlines
	first := h.child(r)
	first.until(session.StepRootHooks)
	h.fault = ""
	second := h.child(r)
	h.awaitLock(second)
	if _, err := first.stdin.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	one, two := first.over(), second.over()
	if one.Exit != 0 || two.Exit != 0 || one.Ended == 0 || two.Ended != one.Ended || deaf.lives() {
		t.Errorf("%+v, %+v, lives %v", one, two, deaf.lives())
	}
	if !slices.Equal(second.steps, session.Steps()) {
		t.Errorf("steps %q", second.steps)
	}
	h.mustBeRecordedOnce(r.Record)
}

// awaitLock waits until a process waits for a lock.
func (h *endHost) awaitLock(c *child) {
	h.t.Helper()
	for over := time.Now().Add(time.Minute); time.Now().Before(over); {
		locks, err := os.ReadFile("/proc/locks")
		if err != nil {
			h.t.Fatal(err)
		}
		if strings.Contains(string(locks), "-> FLOCK  ADVISORY  WRITE "+fmt.Sprint(c.Process.Pid)+" ") {
			return
		}
	}
	h.t.Fatal("it does not wait for the lock")
}

// A daemon that dies, and polite signals, do not keep an end from its own end.
func TestEndLoginOrphaned(t *testing.T) {
	h := newEndHost(t)
	deaf := h.start(h.scope, loginUID, stubborn)
	r := h.request()
	h.fault = session.StepBegin
	c := h.child(r)
	c.until(session.StepBegin)
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT} {
		if err := c.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(c.out.Close(), c.stdin.Close()); err != nil { // as the kernel does for the dead
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil || deaf.lives() {
		t.Errorf("%v: %s, lives %v", err, &c.stderr, deaf.lives())
	}
	h.mustBeRecordedOnce(r.Record)
}

// Audit only: everything is found and recorded, nobody is signalled, no hook runs.
func TestEndLoginAudit(t *testing.T) {
	h := newEndHost(t)
	keeper, deaf := h.keeps(), h.start(h.scope, loginUID, waits)
	ran := filepath.Join(t.TempDir(), "ran")
	h.hook(h.config.Hooks.Dir, "10-user", "touch "+ran)
	h.hook(h.config.Hooks.RootDir, "10-root", "touch "+ran)
	r := h.request()
	r.AuditOnly = true
	c := h.child(r)
	if result := c.over(); result.Exit != 0 || result.Ended != 0 || result.Kept != 1 || len(result.Problems) > 0 {
		t.Errorf("%+v: %s", result, &c.stderr)
	}
	if !slices.Equal(c.steps, session.AuditSteps()) {
		t.Errorf("steps %q", c.steps)
	}
	if _, err := os.Stat(ran); err == nil || !keeper.lives() || !deaf.lives() {
		t.Errorf("kept lives %v, other lives %v, a hook ran: %v", keeper.lives(), deaf.lives(), err == nil)
	}
	h.mustBeRecordedOnce(r.Record)
	record := h.record(r.Record)
	if i := slices.IndexFunc(record.Processes, func(p history.Process) bool { return p.PID == deaf.Process.Pid }); i < 0 ||
		record.Processes[i].Verdict != session.VerdictEnd || len(record.Processes[i].Signals) > 0 || record.Kind != history.KindAudit {
		t.Errorf("record %+v", record)
	}
}

// Without systemd the user's hooks run as him, root's after them as root, with
// nothing that does not look right. (With it: see tests/endlogin.)
func TestEndLoginHooks(t *testing.T) {
	h := newEndHost(t)
	const uid = 1 // an account that every host has
	write(t, filepath.Join(h.Root, "etc/login.defs"), "UID_MIN 1\n")
	h.scope = h.loginHost.scope(uid, loginName())
	h.hook(h.config.Hooks.Dir, "10-user", "echo $XEXIT_REASON $(id -u) $XDG_SESSION_ID")
	h.hook(h.config.Hooks.RootDir, "20-root", "echo $(id -u) $XEXIT_LOGIN $XEXIT_UID ${XEXIT_CLIENT-unset} $PATH; echo $HOME")
	h.hook(h.config.Hooks.RootDir, "30-hangs", "exec sleep 1000")
	h.config.Hooks.Timeout = 5 * time.Second // loaded machines start a shell slowly
	r := h.request()
	r.UID, r.Client = uid, "evil$(reboot)"
	result, _ := h.here(r)
	hooks := h.record(r.Record).Hooks
	if result.Exit != 0 || len(result.Problems) > 0 || len(hooks) != 3 {
		t.Fatalf("%+v, hooks %+v", result, hooks)
	}
	for i, want := range []string{
		fmt.Sprintf("logout %d %s\n", uid, loginName()),
		fmt.Sprintf("0 %s %d %s\n\n", loginName(), uid, strings.TrimPrefix(rootPath, "PATH=")),
		"",
	} {
		if hooks[i].Output != want {
			t.Errorf("%q, expected %q", hooks[i].Output, want)
		}
	}
	if !hooks[2].TimedOut {
		t.Errorf("%+v", hooks[2])
	}
}

// A user whom nobody knows runs no hooks, and not as somebody else either.
func TestEndLoginHooksOfNobody(t *testing.T) {
	h := newEndHost(t)
	h.hook(h.config.Hooks.Dir, "10-user", "id -u")
	r := h.request()
	result, _ := h.here(r)
	if hooks := h.record(r.Record).Hooks; len(hooks) > 0 || len(result.Problems) != 1 || !strings.Contains(result.Problems[0], "look up user") {
		t.Errorf("%+v, %+v", result, hooks)
	}
}

// What cannot be the login that was meant is refused, and nobody touched.
func TestEndLoginRefuses(t *testing.T) {
	h := newEndHost(t)
	member := h.start(h.scope, loginUID, waits)
	h.leader = member
	for name, c := range map[string]struct {
		change func(*LoginRequest)
		want   string
	}{
		"a later version":  {func(r *LoginRequest) { r.V = 2 }, "version"},
		"no record":        {func(r *LoginRequest) { r.Record = "" }, "letters"},
		"a record's path":  {func(r *LoginRequest) { r.Record = "../x" }, "letters"},
		"a login's path":   {func(r *LoginRequest) { r.Login = "../x" }, "letters"},
		"no session":       {func(r *LoginRequest) { r.Session = "1" }, "session id"},
		"the root group":   {func(r *LoginRequest) { r.Cgroup = "/" }, "control group"},
		"the user's slice": {func(r *LoginRequest) { r.Cgroup = filepath.Dir(h.scope) }, "control group"},
		"another's scope":  {func(r *LoginRequest) { r.Cgroup = h.scope + "b" }, "control group"},
		"another's slice":  {func(r *LoginRequest) { r.UID++ }, "control group"},
		"a way around":     {func(r *LoginRequest) { r.Cgroup = h.scope + "/../x" }, "control group"},
		"the user's manager": {func(r *LoginRequest) {
			r.Cgroup = fmt.Sprintf("/user.slice/user-%d.slice/user@%[1]d.service", loginUID)
		}, "control group"},
		"nothing to go by": {func(r *LoginRequest) { r.Cgroup, r.Audit = "", 0 }, "neither"},
		"another boot":     {func(r *LoginRequest) { r.Boot = "0b4e28ba-2fa1-41d2-883f-0016d3cca427" }, "boot"},
		"a system user": {func(r *LoginRequest) {
			r.UID, r.Cgroup = 33, strings.ReplaceAll(r.Cgroup, fmt.Sprint("user-", loginUID), "user-33")
		}, "system user"},
	} {
		r := h.request()
		c.change(&r)
		result, status := h.here(r)
		if status != 2 || result.Exit != 2 || len(result.Problems) != 1 || !strings.Contains(result.Problems[0], c.want) {
			t.Errorf("%s: status %d, %+v, expected %q", name, status, result, c.want)
		}
	}
	// logind has another login by that name now: its leader is another process.
	h.says(loginName(), fmt.Sprintf("UID=%d", loginUID), "CLASS=user", "SCOPE="+filepath.Base(h.scope), fmt.Sprintf("LEADER=%d", member.Process.Pid))
	r := h.request()
	r.Leader.Start--
	if result, _ := h.here(r); len(result.Problems) != 1 || !strings.Contains(result.Problems[0], "another one by now") {
		t.Errorf("another leader: %+v", result)
	}
	if !member.lives() {
		t.Error("somebody was ended")
	}
	if entries, _ := os.ReadDir(h.StateDir); len(entries) > 0 {
		t.Errorf("recorded: %v", entries)
	}
}

// here runs an end in this process, below the test's own root of the file system.
func (h *endHost) here(r LoginRequest) (LoginResult, int) {
	h.t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		h.t.Fatal(err)
	}
	var out bytes.Buffer
	status := h.EndLogin(h.t.Context(), bytes.NewReader(text), &out, slog.New(slog.DiscardHandler))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var last struct {
		Result *LoginResult `json:"result"`
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Result == nil {
		h.t.Fatalf("%s: %v", &out, err)
	}
	return *last.Result, status
}

// The shipped program has no fault points.
func TestNoFaultPoints(t *testing.T) {
	for name, want := range map[string]bool{"faults": true, "shipped": false} {
		text, err := os.ReadFile(program(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(text, []byte("XEXIT_FAULT")); got != want {
			t.Errorf("%s: XEXIT_FAULT is in it: %v", name, got)
		}
	}
}

// What a hook is told is what it is supposed to be, or nothing.
func TestOnly(t *testing.T) {
	for _, c := range []struct{ text, signs, want string }{
		{"alice", userSigns, "alice"},
		{`DOM\alice`, userSigns, `DOM\alice`},
		{"a$(reboot)", userSigns, ""},
		{"-rf", userSigns, ""},
		{"a\nb", userSigns, ""},
		{"älice", userSigns, ""},
		{"10.1.1.1:30.0", displaySigns, "10.1.1.1:30.0"},
		{"[fe80::1%eth0]:0", displaySigns, "[fe80::1%eth0]:0"},
		{":0 LD_PRELOAD=x", displaySigns, ""},
		{"ltsp7.example.org", hostSigns, "ltsp7.example.org"},
		{"../../x", hostSigns, ""},
		{strings.Repeat("a", 257), hostSigns, ""},
	} {
		if got := only(c.text, c.signs); got != c.want {
			t.Errorf("%q: %q, expected %q", c.text, got, c.want)
		}
	}
}
