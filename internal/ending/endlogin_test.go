package ending

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"xexit/internal/history"
	"xexit/internal/proc"
	"xexit/internal/session"
)

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
