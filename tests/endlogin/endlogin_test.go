package endlogin

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
	"xexit/tests/booted"
	"xexit/tests/machine"
)

// confinement is how the daemon's unit confines it, and so the ends that it
// starts: the settings in its file that are about no more than that.
func confinement(unit string) (settings []string, err error) {
	text, err := os.ReadFile(unit)
	if err != nil {
		return nil, err
	}
	_, service, _ := strings.Cut(string(text), "\n[Service]\n")
	service, _, _ = strings.Cut(service, "\n[")
	about := regexp.MustCompile(`^(Capability|NoNew|Protect|Private|Restrict|Memory|Lock|SystemCall|IPAddress|Runtime|State|UMask)`)
	for line := range strings.Lines(service) {
		if line = strings.TrimSpace(line); about.MatchString(line) {
			settings = append(settings, line)
		}
	}
	if len(settings) < 20 {
		return nil, fmt.Errorf("%s: %d settings: %q", unit, len(settings), settings)
	}
	return settings, nil
}

// host is a booted container with what the tests put into its /etc.
type host struct {
	t        *testing.T
	m        *machine.Machine
	stage    string
	confined []string
}

func boot(t *testing.T) *host {
	t.Helper()
	stage := booted.Stage(t, machine.Debian12)
	if err := os.RemoveAll(stage + "/etc/Xexit.d"); err != nil { // the examples
		t.Fatal(err)
	}
	h := &host{t: t, stage: stage}
	var err error
	if h.confined, err = confinement(stage + "/usr/lib/systemd/system/xexit.service"); err != nil {
		t.Fatal(err)
	}
	h.write("/etc/Xexit.d/.keep", "", 0o644)
	h.write("/etc/xexit/end.d/.keep", "", 0o644)
	if h.m, err = machine.Boot(stage); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.m.Stop(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *host) write(path, text string, mode os.FileMode) {
	h.t.Helper()
	path = h.stage + path
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		h.t.Fatal(err)
	}
}

func (h *host) root(script string) string {
	h.t.Helper()
	out, err := h.m.Root("sh", "-ec", script)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// login opens one by ssh.
func (h *host) login(name, user string) (s *machine.Session, id string) {
	h.t.Helper()
	s, err := h.m.SSHPlain(name, user)
	if err == nil {
		id, err = h.m.LoginID(s)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return s, id
}

// leaves starts a program in a session that stays when the session is over.
func (h *host) leaves(s *machine.Session, script string) *machine.Ref {
	h.t.Helper()
	pidfile := fmt.Sprintf("/tmp/%s.%d", s.Name, len(script))
	r, err := h.m.Run(s.Socket, agent.Request{
		Argv: []string{"sh", "-ec", "rm -f " + pidfile + `; setsid sh -c 'echo $$ >"$0.new"; mv "$0.new" "$0"; ` + script + `' ` + pidfile + ` >/dev/null 2>&1 </dev/null &`},
		UID:  -1,
	})
	if err != nil || r.Status != 0 {
		h.t.Fatalf("%v: %+v", err, r)
	}
	if err := h.m.WaitFile(pidfile); err != nil {
		h.t.Fatal(err)
	}
	text, err := os.ReadFile(h.m.Path(pidfile))
	if err != nil {
		h.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		h.t.Fatal(err)
	}
	ref, err := h.m.RefOf(pid)
	if err != nil {
		h.t.Fatal(err)
	}
	return ref
}

// logout ends a session's first program; logind calls it closing then, as long
// as something is left in it.
func (h *host) logout(s *machine.Session, id string) {
	h.t.Helper()
	if err := s.Leader.Signal(unix.SIGKILL); err != nil {
		h.t.Fatal(err)
	}
	if err := machine.Until("logind sees the logout", func() (bool, error) {
		text, err := os.ReadFile(h.m.Path("/run/systemd/sessions/" + id))
		return err != nil || strings.Contains(string(text), "STATE=closing"), nil
	}); err != nil {
		h.t.Fatal(err)
	}
}

// request is what a daemon would have had ended of a login.
func (h *host) request(id string, uid int, config string) string {
	h.t.Helper()
	h.write("/etc/xexit/xexit.toml", config, 0o644)
	user := map[int]string{21001: "alice", 21002: "bob"}[uid]
	return fmt.Sprintf(`{"v":1,"login":%q,"uid":%d,"user":%q,"cgroup":"/user.slice/user-%[2]d.slice/session-%[1]s.scope","scope":"session-%[1]s.scope",
		"audit":0,"type":"tty","service":"sshd","reason":"logout","noticed":"the leader exited","noticed_us":812,
		"record":"aa%[1]s","session":"0b4e28ba-2fa1-41d2-883f-0016d3cca427"}`, id, uid, user)
}

type result struct {
	Exit, Ended, Kept, Spared int
	Verified                  bool
	Survivors                 []any
	Problems                  []string
}

// end runs the end as the daemon's unit would.
func (h *host) end(request string) (steps []string, out result) {
	h.t.Helper()
	steps, out, err := h.run(request)
	if err != nil {
		h.t.Fatal(err)
	}
	return steps, out
}

func (h *host) run(request string) (steps []string, out result, err error) {
	argv, err := h.command(request, "--pipe", "--wait", "--quiet", "--collect")
	if err != nil {
		return nil, out, err
	}
	r, err := h.m.Run(machine.RootSocket, agent.Request{Argv: argv, Env: machine.RootEnv(), UID: 0})
	if err != nil {
		return nil, out, err
	}
	for line := range strings.Lines(r.Stdout) {
		var said struct {
			Step   string
			Result *result
		}
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			return steps, out, fmt.Errorf("%q: %w", line, err)
		}
		if said.Result == nil {
			steps = append(steps, said.Step)
			continue
		}
		h.t.Logf("%+v %s", *said.Result, r.Stderr)
		if r.Status != said.Result.Exit {
			err = fmt.Errorf("exit status %d, result %d", r.Status, said.Result.Exit)
		}
		return steps, *said.Result, err
	}
	return nil, out, fmt.Errorf("no result: %q, status %d, %s", r.Stdout, r.Status, r.Stderr)
}

// command starts an end in a unit that is confined as the daemon's.
func (h *host) command(request string, args ...string) ([]string, error) {
	f, err := os.CreateTemp(h.m.Path("/run/scenario"), "request")
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteString(request); err != nil {
		return nil, err
	}
	argv := append([]string{"systemd-run"}, args...)
	for _, p := range h.confined {
		argv = append(argv, "-p", p)
	}
	argv = append(argv, "sh", "-c", "exec /usr/libexec/xexit/xexit-main __end-login </run/scenario/"+filepath.Base(f.Name()))
	return argv, f.Close()
}

// hooks are those of a login's record, by name.
func (h *host) hooks(id string) map[string]hook {
	h.t.Helper()
	var records []struct {
		Login string
		Hooks []hook
	}
	if err := json.Unmarshal([]byte(h.root("xexit log --json")), &records); err != nil {
		h.t.Fatal(err)
	}
	byName := map[string]hook{}
	for _, r := range records {
		for _, one := range r.Hooks {
			if r.Login == id {
				byName[one.Name] = one
			}
		}
	}
	return byName
}

type hook struct {
	Name       string
	Status     int
	Signal     string
	Output     string
	Refused    string
	Failed     string
	TimedOut   bool `json:"timed_out"`
	Denied     []string
	Unshielded string
}

// Under the daemon's confinement a login is ended with what left its scope, and
// another one of the same user is not; hooks run in units, without that
// confinement, and one that hangs is ended with all that it started.
func TestConfined(t *testing.T) {
	h := boot(t)
	h.write("/etc/Xexit.d/10-user", "#!/bin/sh\nid -un; echo $HOME $XDG_SESSION_ID $XEXIT_REASON; cd; pwd; [ -w . ] && echo writable; grep -o 'xexit-hook[^/]*' /proc/self/cgroup; exit 3\n", 0o755)
	h.write("/etc/Xexit.d/20-no-shebang", "echo \"$0 plain $# $PATH\"; setsid sleep 50001 >/dev/null 2>&1 &\n", 0o755)
	h.write("/etc/Xexit.d/30-fragment", "echo sourced \"$1\" '$HOME'\n", 0o644)
	h.write("/etc/Xexit.d/40-hangs", "#!/bin/sh\ntrap '' TERM HUP\necho before\n(setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 50002; done') &\nwhile :; do sleep 50003; done\n", 0o755)
	h.write("/etc/xexit/end.d/50-root", "#!/bin/sh\nid -un; echo \"$XEXIT_LOGIN $XEXIT_UID $XEXIT_USER\"; grep CapEff /proc/self/status; touch /home/alice/by-root\n", 0o755)
	h.write("/etc/xexit/end.d/60-not-roots", "#!/bin/sh\n", 0o777)

	h.write("/etc/Xexit.d/50-everybody", "#!/bin/sh\nread line || echo no input\nkill -9 -1 2>/dev/null\necho still here\n", 0o755)

	s, id := h.login("one", "alice")
	other, _ := h.login("two", "alice")
	ended := map[string]*machine.Ref{
		"obedient": h.leaves(s, "exec sleep 50010"),
		"deaf":     h.leaves(s, `trap "" TERM HUP; while :; do sleep 50011; done`),
		"env -i":   h.leaves(s, "exec env -i sleep 50012"),
	}
	spared := map[string]*machine.Ref{
		"another login":   other.Leader,
		"its daemon":      h.leaves(other, "exec sleep 50020"),
		"its deaf daemon": h.leaves(other, `trap "" TERM HUP; while :; do sleep 50021; done`),
	}
	h.logout(s, id)
	steps, out := h.end(h.request(id, 21001, "grace = \"300ms\"\n[hooks]\ntimeout = \"6s\"\n"))
	if out.Exit != 0 || !out.Verified || out.Ended < len(ended) || len(out.Survivors) > 0 || len(out.Problems) > 0 {
		t.Errorf("%+v", out)
	}
	if len(steps) != 15 || steps[0] != "claim" || steps[14] != "done" {
		t.Errorf("steps %q", steps)
	}
	for name, ref := range ended {
		if ref.Alive() {
			t.Errorf("%s lives", name)
		}
	}
	for name, ref := range spared {
		if !ref.Alive() {
			t.Errorf("%s was ended", name)
		}
	}
	for name, want := range map[string]hook{
		"10-user":       {Status: 3, Output: "alice\n/home/alice " + id + " logout\n/home/alice\nwritable\nxexit-hook-aa" + id + "-0.service\n"},
		"20-no-shebang": {Output: "/etc/Xexit.d/20-no-shebang plain 0 /usr/local/bin:/usr/bin:/bin\n"},
		"30-fragment":   {Output: "sourced /etc/Xexit.d/30-fragment $HOME\n"},
		"40-hangs":      {Status: -1, Signal: "SIGKILL", Output: "before\n", TimedOut: true},
		"50-root":       {Output: "root\n" + id + " 21001 alice\n"},
	} {
		got := h.hooks(id)[name]
		if name == "50-root" {
			mask, found := strings.CutPrefix(got.Output, want.Output+"CapEff:\t")
			if got.Output = want.Output; !found || strings.HasPrefix(mask, "00000000000") {
				t.Errorf("root's hook is confined: %q", mask)
			}
		}
		if want.Name = name; !reflect.DeepEqual(got, want) {
			t.Errorf("hook %+v\nwant %+v", got, want)
		}
	}
	if got := h.hooks(id)["50-everybody"]; got.Output != "no input\nstill here\n" || len(got.Denied) != 1 || !strings.HasPrefix(got.Denied[0], "kill(-1, SIGKILL)") || got.Unshielded != "" {
		t.Errorf("%+v", got)
	}
	if got := h.hooks(id)["60-not-roots"]; !strings.Contains(got.Refused, "may be written to by others") {
		t.Errorf("%+v", got)
	}
	h.root("test -e /home/alice/by-root; ! pgrep -f 'sleep 5000[1-9]'; ! systemctl list-units --all --plain --no-legend 'xexit-hook*' | grep .")
}

// With scope = "user" the user's last login takes his service manager down, and
// a login before the last one does not.
func TestManager(t *testing.T) {
	h := boot(t)
	one, first := h.login("one", "alice")
	two, second := h.login("two", "alice")
	service := func() bool {
		r, err := h.m.Run(machine.RootSocket, agent.Request{Argv: []string{"systemctl", "is-active", "--quiet", "user@21001.service"}, Env: machine.RootEnv(), UID: 0})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status == 0
	}
	for i, s := range []*machine.Session{one, two} {
		id := []string{first, second}[i]
		h.leaves(s, `trap "" TERM HUP; while :; do sleep 50031; done`)
		h.logout(s, id)
		_, out := h.end(h.request(id, 21001, "grace = \"100ms\"\nscope = \"user\"\n"))
		if out.Exit != 0 || len(out.Problems) > 0 || service() != (i == 0) {
			t.Errorf("login %d: %+v, the manager runs: %v", i, out, service())
		}
	}
}

// No end waits for another: not for one whose hook hangs, nor for one with a
// process that nobody can kill, nor for a hook of that kind.
func TestNothingWaits(t *testing.T) {
	h := boot(t)
	h.root("mkdir -p /run/scenario/hung")
	answer, err := h.m.Helper(machine.RootSocket, agent.Request{
		Argv: []string{machine.Program, "wedge", "/run/scenario/hung"}, Env: machine.RootEnv(), UID: -1,
	}, "hanging")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := answer(); err != nil {
			t.Error(err)
		}
	})
	slow, slowID := h.login("slow", "bob")
	stuck, stuckID := h.login("stuck", "alice")
	unkillable, unkillableID := h.login("unkillable", "alice")
	quick, quickID := h.login("quick", "bob")
	h.write("/etc/Xexit.d/10-slow", "#!/bin/sh\n[ $XDG_SESSION_ID != "+slowID+" ] || { >/tmp/slow; until [ -e /tmp/go ]; do sleep 0.1; done; }\n", 0o755)
	h.write("/etc/Xexit.d/20-stuck", "#!/bin/sh\n[ $XDG_SESSION_ID != "+stuckID+" ] || exec cat /run/scenario/hung/hook\n", 0o755)
	deaf := `trap "" TERM HUP; while :; do sleep 50051; done`
	left := map[string]*machine.Ref{"slow": h.leaves(slow, deaf), "stuck": h.leaves(stuck, deaf), "quick": h.leaves(quick, deaf)}
	h.leaves(unkillable, "exec cat /run/scenario/hung/x")
	for id, s := range map[string]*machine.Session{slowID: slow, stuckID: stuck, unkillableID: unkillable, quickID: quick} {
		h.logout(s, id)
	}
	type answered struct {
		result
		err error
	}
	const long = "grace = \"100ms\"\n[hooks]\ntimeout = \"100s\"\n"
	begin := func(id string, uid int, config string) chan answered {
		request, done := h.request(id, uid, config), make(chan answered, 1)
		go func() {
			_, out, err := h.run(request)
			done <- answered{out, err}
		}()
		return done
	}
	slowEnd := begin(slowID, 21002, long)
	if err := h.m.WaitFile("/tmp/slow"); err != nil {
		t.Fatal(err)
	}
	const short = "grace = \"100ms\"\n[hooks]\ntimeout = \"1s\"\n"
	stuckEnd, unkillableEnd := begin(stuckID, 21001, short), begin(unkillableID, 21001, short)
	if out := <-begin(quickID, 21002, short); out.err != nil || out.Exit != 0 || !out.Verified || left["quick"].Alive() {
		t.Errorf("quick: %+v, lives %v", out, left["quick"].Alive())
	}
	if out := <-stuckEnd; out.err != nil || out.Exit != 0 || !out.Verified || left["stuck"].Alive() {
		t.Errorf("stuck: %+v, lives %v", out, left["stuck"].Alive())
	}
	if out := <-unkillableEnd; out.err != nil || out.Exit != 3 || len(out.Survivors) != 1 {
		t.Errorf("unkillable: %+v", out)
	}
	select {
	case out := <-slowEnd:
		t.Fatalf("slow: %+v", out)
	default:
	}
	h.root("touch /tmp/go")
	if out := <-slowEnd; out.err != nil || out.Exit != 0 || !out.Verified || left["slow"].Alive() {
		t.Errorf("slow: %+v, lives %v", out, left["slow"].Alive())
	}
	if one := h.hooks(stuckID)["20-stuck"]; one.Status == 0 {
		t.Errorf("%+v", one)
	}
}

// An end that is killed while a hook runs, and run again, ends that hook and
// runs it once more: never twice at a time.
func TestKilledDuringHook(t *testing.T) {
	h := boot(t)
	h.write("/etc/Xexit.d/10-first", "#!/bin/sh\n[ ! -e /tmp/ran ] || { echo again; exit; }\ntouch /tmp/ran\ntrap '' TERM HUP; while :; do sleep 50061; done\n", 0o755)
	s, id := h.login("one", "alice")
	left := h.leaves(s, "exec sleep 50062")
	h.logout(s, id)
	request := h.request(id, 21001, "grace = \"100ms\"\n[hooks]\ntimeout = \"100s\"\n")
	argv, err := h.command(request, "--quiet", "--unit=first")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.m.Root(argv...); err != nil {
		t.Fatal(err)
	}
	if err := h.m.WaitFile("/tmp/ran"); err != nil {
		t.Fatal(err)
	}
	h.root("systemctl kill --signal=KILL --kill-who=all first.service")
	_, out := h.end(request)
	if out.Exit != 0 || !out.Verified || left.Alive() || len(out.Problems) > 0 {
		t.Errorf("%+v, lives %v", out, left.Alive())
	}
	if got, want := h.hooks(id)["10-first"], (hook{Name: "10-first", Output: "again\n"}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	h.root("! pgrep -f 'sleep 5006[1]'")
}

// withoutSystemd prepares an end that is no unit, for a systemd that does not answer.
func (h *host) withoutSystemd(request string) (end func() (machine.Result, error)) {
	h.t.Helper()
	if err := os.WriteFile(h.m.Path("/run/scenario/request"), []byte(request), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return func() (machine.Result, error) {
		return h.m.Run(machine.RootSocket, agent.Request{
			Argv: []string{"sh", "-c", "exec /usr/libexec/xexit/xexit-main __end-login </run/scenario/request"}, Env: machine.RootEnv(), UID: 0,
		})
	}
}

// A bus that accepts connections and says nothing costs an end its hooks and
// some seconds, and nothing else.
func TestBusHangs(t *testing.T) {
	h := boot(t)
	for _, name := range []string{"/etc/Xexit.d/10-one", "/etc/Xexit.d/20-two", "/etc/xexit/end.d/30-root"} {
		h.write(name, "#!/bin/sh\n", 0o755)
	}
	s, id := h.login("one", "alice")
	left := h.leaves(s, "exec sleep 50071")
	h.logout(s, id)
	end := h.withoutSystemd(h.request(id, 21001, "grace = \"100ms\"\nscope = \"user\"\n"))
	h.root("pkill -STOP -u messagebus dbus-daemon")
	r, err := end()
	h.root("pkill -CONT -u messagebus dbus-daemon")
	if err != nil || r.Status != 3 || left.Alive() || !strings.Contains(r.Stdout, `"verified":true`) {
		t.Errorf("%v: %+v, lives %v", err, r, left.Alive())
	}
	for _, name := range []string{"10-one", "20-two", "30-root"} {
		if one := h.hooks(id)[name]; !strings.Contains(one.Failed, "does not answer") {
			t.Errorf("%+v", one)
		}
	}
}

// While systemd does not answer the login stands still: what keeps systemd busy may
// be what dies in it. Its hooks run when it answers, and then all of it is ended.
func TestSystemdBusy(t *testing.T) {
	h := boot(t)
	h.write("/etc/Xexit.d/10-user", "#!/bin/sh\necho ran\n", 0o755)
	h.write("/etc/xexit/end.d/20-root", "#!/bin/sh\necho ran\n", 0o755)
	s, id := h.login("one", "alice")
	left := h.leaves(s, "exec sleep 50081")
	other, _ := h.login("two", "alice")
	h.logout(s, id)
	end := h.withoutSystemd(h.request(id, 21001, "grace = \"100ms\"\n"))
	systemd, err := h.m.RefOf(1)
	if err == nil {
		err = systemd.Signal(unix.SIGSTOP)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Signal(unix.SIGCONT) //nolint:errcheck // it was, if all went well
	ended := make(chan machine.Result, 1)
	go func() {
		r, err := end()
		if err != nil {
			t.Error(err)
		}
		ended <- r
	}()
	if err := machine.Until("the login stands still", func() (bool, error) {
		text, err := os.ReadFile(h.m.Path("/sys/fs/cgroup/user.slice/user-21001.slice/session-" + id + ".scope/cgroup.events"))
		return strings.Contains(string(text), "frozen 1"), err
	}); err != nil {
		t.Error(err)
	}
	if !left.Alive() || !other.Leader.Alive() {
		t.Errorf("ended before systemd has answered: leftover lives %v, another login's leader %v", left.Alive(), other.Leader.Alive())
	}
	if err := systemd.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	r := <-ended
	if r.Status != 0 || left.Alive() || !other.Leader.Alive() || !strings.Contains(r.Stdout, `"verified":true`) || strings.Count(r.Stdout, "systemd did not answer") != 1 {
		t.Errorf("%+v, lives %v, another login's leader %v", r, left.Alive(), other.Leader.Alive())
	}
	for _, name := range []string{"10-user", "20-root"} {
		if got, want := h.hooks(id)[name], (hook{Name: name, Output: "ran\n"}); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}
