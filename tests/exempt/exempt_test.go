package exempt

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"xexit/tests/agent"
	"xexit/tests/booted"
	"xexit/tests/machine"
)

// cannot skips the test, or fails it where nothing may be skipped.
func cannot(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("XEXIT_TEST_NO_SKIP") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// world is a container with the login that ends and those beside it.
type world struct {
	*testing.T
	m     *machine.Machine
	login *machine.Session
	id    string // of the login
	refs  map[string][]*machine.Ref
}

func start(t *testing.T) *world {
	t.Helper()
	stage := booted.Stage(t, machine.Debian12)
	w := &world{T: t, refs: map[string][]*machine.Ref{}}
	var err error
	if w.m, err = machine.Boot(stage); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.m.Stop(); err != nil {
			t.Error(err)
		}
	})
	if _, err := os.Stat(w.m.Path("/usr/bin/mosh-server")); err != nil {
		cannot(t, "mosh is not installed in the Debian tree (tests/image.sh makes it anew)")
	}
	w.sh(nil, `su alice -c "ssh-keygen -q -t ed25519 -N '' -f /home/alice/.ssh/id_ed25519"
		cat /home/alice/.ssh/id_ed25519.pub >>/home/bob/.ssh/authorized_keys
		printf '[containers]\nkeyring = false\n' >/etc/containers/containers.conf`)
	w.login = w.open("ended")
	if w.id, err = w.m.LoginID(w.login); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) open(name string) *machine.Session {
	w.Helper()
	s, err := w.m.SSHPlain(name, "alice")
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// sh runs a script in a session, or as root outside of any.
func (w *world) sh(s *machine.Session, script string) string {
	w.Helper()
	socket, r := machine.RootSocket, agent.Request{Argv: []string{"sh", "-ec", script}, UID: -1, Env: machine.RootEnv()}
	if s != nil {
		socket, r.Env = s.Socket, nil
	}
	out, err := w.m.Run(socket, r)
	if err != nil || out.Status != 0 {
		w.Fatalf("%s: exit status %d, %v: %s%s", script, out.Status, err, out.Stdout, out.Stderr)
	}
	return out.Stdout
}

// alice: a tree for containers, a directory for a VS Code server, ssh's options.
const alice = `exec 3>&1 >/dev/null 2>/run/scenario/resident.errors </dev/null
	S="-F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
	V=$HOME/.vscode-server/bin/0a1b2c3d; mkdir -p $V $HOME/tree
	export XDG_RUNTIME_DIR=/run/user/$(id -u)
	`

// settle starts a resident and finds its processes.
func (w *world) settle(r resident) {
	w.Helper()
	out, err := w.m.Run(w.login.Socket, agent.Request{Argv: []string{"bash", "-ec", alice + r.script}, UID: -1})
	if err != nil || out.Status != 0 {
		text, _ := os.ReadFile(w.m.Path("/run/scenario/resident.errors"))
		w.Fatalf("%s: exit status %d, %v: %s", r.name, out.Status, err, text)
	}
	if r.client != "" {
		w.sh(nil, "setsid sh -c \"$(cat <<'IN'\n"+r.client+"\nIN\n)\" >/run/scenario/client.log 2>&1 &")
	}
	for _, pattern := range r.patterns {
		w.refs[r.name] = append(w.refs[r.name], w.find(pattern)...)
	}
	if r.group != "" {
		w.sh(nil, fmt.Sprintf("mkdir -p /sys/fs/cgroup/%[1]s; pgrep -xf '%[2]s' >/sys/fs/cgroup/%[1]s/cgroup.procs", r.group, r.patterns[0]))
	}
}

// find finds processes by their command line.
func (w *world) find(pattern string) (refs []*machine.Ref) {
	w.Helper()
	err := machine.Until(pattern+" runs", func() (bool, error) {
		out, err := w.m.Run(machine.RootSocket, agent.Request{Argv: []string{"pgrep", "-xf", pattern}, Env: machine.RootEnv(), UID: -1})
		if err != nil || out.Status != 0 {
			return false, err
		}
		for _, field := range strings.Fields(out.Stdout) {
			pid, _ := strconv.Atoi(field)
			if ref, err := w.m.RefOf(pid); err == nil {
				refs = append(refs, ref)
			}
		}
		return len(refs) > 0, nil
	})
	if err != nil {
		client, _ := os.ReadFile(w.m.Path("/run/scenario/client.log"))
		text, _ := os.ReadFile(w.m.Path("/run/scenario/resident.errors"))
		w.Fatalf("%v: %s%s", err, text, client)
	}
	return refs
}

// record is what an end or a look says.
type record struct {
	Verified  bool  `json:"verified"`
	Survivors []any `json:"survivors"`
	Undecided []any `json:"undecided"`
	Processes []struct {
		PID     int    `json:"pid"`
		Verdict string `json:"verdict"`
		Why     string `json:"why"`
	} `json:"processes"`
}

// confined is root with no more than the daemon has, in mounts of his own.
func confined(argv ...string) []string {
	run := []string{"systemd-run", "-q", "--wait", "--pipe", "--collect"}
	for _, property := range []string{
		"CapabilityBoundingSet=CAP_KILL CAP_SYS_PTRACE CAP_DAC_READ_SEARCH", "NoNewPrivileges=yes", "ProtectSystem=strict",
		"ReadWritePaths=/run", "ProtectHome=yes", "PrivateTmp=yes", "PrivateNetwork=yes", "PrivateDevices=yes",
	} {
		run = append(run, "-p", property)
	}
	return append(append(run, "--"), argv...)
}

// end has root end the login with the exemptions that are named.
func (w *world) end(exempt ...string) record {
	w.Helper()
	list, err := json.Marshal(slices.Concat([]string{}, exempt))
	if err != nil {
		w.Fatal(err)
	}
	// Delegated: what a container's scope is spared for is the exemption alone.
	config := fmt.Sprintf("grace = \"500ms\"\ndelegated = true\n[log]\nfile = false\n[daemon]\nexempt = %s\n", list)
	if err := os.WriteFile(w.m.Path("/run/scenario/xexit.toml"), []byte(config), 0o644); err != nil {
		w.Fatal(err)
	}
	out, err := w.m.Run(machine.RootSocket, agent.Request{
		Argv: confined("xexit", "end", "--session", w.id, "--config", "/run/scenario/xexit.toml", "--json"), UID: -1, Env: machine.RootEnv(),
	})
	var r record
	if err == nil {
		err = json.Unmarshal([]byte(out.Stdout), &r)
	}
	if err != nil || out.Status != 0 || !r.Verified || len(r.Survivors)+len(r.Undecided) > 0 {
		w.Fatalf("exempt = %s: exit status %d, %v: %s%s", list, out.Status, err, out.Stdout, out.Stderr)
	}
	return r
}

// check says who should live and does not, or should not and does.
func (w *world) check(when string, lives func(resident) bool) {
	w.Helper()
	for _, r := range residents() {
		for _, ref := range w.refs[r.name] {
			if !lives(r) && !ref.Gone(30*time.Second) {
				w.Errorf("%s: %s lives (%d)", when, r.name, ref.PID)
			}
			if lives(r) && !ref.Alive() {
				w.Errorf("%s: %s was ended (%d)", when, r.name, ref.PID)
			}
		}
	}
}

// said checks what is said of those who are spared.
func (w *world) said(r record) {
	w.Helper()
	spared := map[string]int{}
	for _, p := range r.Processes {
		if name, ok := strings.CutPrefix(p.Why, "exempt: "); ok && p.Verdict == "spare" {
			name, _, _ = strings.Cut(name, " ")
			spared[name]++
		}
	}
	for _, x := range genuine() {
		if spared[x.exemption] == 0 {
			w.Errorf("nobody is said to be spared as %s: %+v", x.exemption, r.Processes)
		}
	}
}

// TestExempt: what is exempt outlives the login and works on; what is not, or
// only looks like it, goes; and each exemption that is switched off is none.
func TestExempt(t *testing.T) {
	w := start(t)
	w.sh(w.login, `mkdir -p ~/tree/bin ~/tree/proc ~/tree/dev ~/tree/sys ~/tree/etc ~/tree/tmp ~/tree/run ~/tree/lib64
		cp /bin/sleep ~/tree/bin; for f in $(ldd /bin/sleep | grep -o '/[^ ]*'); do mkdir -p ~/tree/${f%/*}; cp $f ~/tree/$f; done`)
	beside := w.open("beside")
	w.sh(beside, "setsid sleep 4301 >/dev/null 2>&1 </dev/null &")
	others := append(w.find("sleep 4301"), beside.Leader)
	for _, r := range residents() {
		w.settle(r)
	}

	var all []string
	for _, r := range genuine() {
		if !slices.Contains(all, r.exemption) {
			all = append(all, r.exemption)
		}
	}
	w.said(w.end(all...))
	w.check("everything is exempt", func(r resident) bool { return r.exemption != "" })
	if out := w.sh(beside, "ssh -F none -o BatchMode=yes -o ControlPath=$HOME/.ssh/shared bob@127.0.0.1 id -un"); out != "bob\n" {
		t.Errorf("through the master: %q", out)
	}
	off := map[string]bool{}
	for i, name := range all {
		w.end(slices.Delete(slices.Clone(all), i, i+1)...)
		off[name] = true
		w.check(name+" is not exempt", func(r resident) bool { return r.exemption != "" && !off[r.exemption] })
	}
	for _, ref := range others {
		if !ref.Alive() {
			t.Errorf("another login of the user lost %d", ref.PID)
		}
	}
}
