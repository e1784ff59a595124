package endlogin

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// confined is how the daemon's unit confines it, and so the ends that it starts.
var confined = []string{
	"CapabilityBoundingSet=CAP_KILL CAP_SYS_PTRACE CAP_DAC_READ_SEARCH", "NoNewPrivileges=yes",
	"ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "PrivateNetwork=yes", "PrivateDevices=yes", "PrivateIPC=yes",
	"RestrictNamespaces=yes", "MemoryDenyWriteExecute=yes", "RestrictAddressFamilies=AF_UNIX",
	"SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources", "SystemCallErrorNumber=EPERM",
	"RuntimeDirectory=xexit", "RuntimeDirectoryPreserve=yes", "StateDirectory=xexit",
}

// host is a booted container with what the tests put into its /etc.
type host struct {
	t     *testing.T
	m     *machine.Machine
	stage string
}

func boot(t *testing.T) *host {
	t.Helper()
	if why := needs(); why != "" {
		if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	stage, err := os.MkdirTemp("/var/tmp", "xexit-endlogin-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(stage); err != nil {
			t.Error(err)
		}
	})
	if err := machine.Stage(repository, stage); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(stage + "/etc/Xexit.d"); err != nil { // the examples
		t.Fatal(err)
	}
	h := &host{t: t, stage: stage}
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

// needs says why the tests cannot run here, "" if they can.
func needs() string {
	if os.Geteuid() != 0 {
		return "it needs root, for containers in which xexit can harm nobody"
	}
	for _, tool := range []string{"systemd-nspawn", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			return tool + " is not installed (tests/setup.sh installs it)"
		}
	}
	if _, err := os.Stat(machine.Image + ".made"); err != nil {
		return machine.Image + " is not there (tests/image.sh makes it)"
	}
	return ""
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
	return fmt.Sprintf(`{"v":1,"login":%q,"uid":%d,"user":"alice","cgroup":"/user.slice/user-%d.slice/session-%s.scope","scope":"session-%[1]s.scope",
		"audit":0,"type":"tty","service":"sshd","reason":"logout","noticed":"the leader exited","noticed_us":812,
		"record":"aa%[1]s","session":"0b4e28ba-2fa1-41d2-883f-0016d3cca427"}`, id, uid, uid, id)
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
	if err := os.WriteFile(h.m.Path("/run/scenario/request"), []byte(request), 0o600); err != nil {
		h.t.Fatal(err)
	}
	argv := []string{"systemd-run", "--pipe", "--wait", "--quiet", "--collect"}
	for _, p := range confined {
		argv = append(argv, "-p", p)
	}
	argv = append(argv, "sh", "-c", "exec /usr/libexec/xexit/xexit-main __end-login </run/scenario/request")
	r, err := h.m.Run(machine.RootSocket, agent.Request{Argv: argv, Env: machine.RootEnv(), UID: 0})
	if err != nil {
		h.t.Fatal(err)
	}
	for line := range strings.Lines(r.Stdout) {
		var said struct {
			Step   string
			Result *result
		}
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			h.t.Fatalf("%q: %v", line, err)
		}
		if said.Result != nil {
			out = *said.Result
			if r.Status != out.Exit {
				h.t.Errorf("exit status %d, result %d", r.Status, out.Exit)
			}
			h.t.Logf("%+v %s", out, r.Stderr)
			return steps, out
		}
		steps = append(steps, said.Step)
	}
	h.t.Fatalf("no result: %q, status %d, %s", r.Stdout, r.Status, r.Stderr)
	return nil, out
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
	Name     string
	Status   int
	Signal   string
	Output   string
	Refused  string
	Failed   string
	TimedOut bool `json:"timed_out"`
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
	steps, out := h.end(h.request(id, 21001, "grace = \"300ms\"\n[hooks]\ntimeout = \"1s\"\n"))
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
		if want.Name = name; got != want {
			t.Errorf("hook %+v\nwant %+v", got, want)
		}
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
