package logins

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"xexit/internal/cgroup"
	"xexit/internal/logind"
	"xexit/internal/logins"
	"xexit/internal/member"
	"xexit/internal/pamlogin"
	"xexit/tests/agent"
	"xexit/tests/booted"
	"xexit/tests/machine"
)

// rig is a container, and the sources that tell of its logins from outside.
type rig struct {
	*testing.T
	m    *machine.Machine
	tree cgroup.Tree
	all  logins.All // logind's, the hook's
	told chan string
	// unwatch ends the last watch.
	unwatch func()
}

// staged installs xexit where a container can have it.
func staged(t *testing.T) string {
	t.Helper()
	stage := booted.Stage(t, machine.Debian12)
	return stage
}

// boot boots a container in which every PAM stack that opens sessions calls
// the hook, as pam-auth-update(8) has it from what is installed, and all that
// are used give an audit id.
func boot(t *testing.T) *rig {
	t.Helper()
	stage := staged(t)
	m, err := machine.Boot(stage)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	r := newRig(t, m, stage)
	r.root("grep -q 'xexit pam-session' /etc/pam.d/common-session /etc/pam.d/common-session-noninteractive")
	return r
}

// newRig configures a container's PAM stacks.
func newRig(t *testing.T, m *machine.Machine, stage string) *rig {
	t.Helper()
	r := &rig{T: t, m: m, tree: cgroup.At(m.Path("/sys/fs/cgroup")), told: make(chan string, 1<<16)}
	r.all = logins.All{
		logind.Source{Root: m.Path("/"), Trouble: func(err error) { t.Log("the bus: ", err) }},
		pamlogin.Source{Root: m.Path("/"), Tree: r.tree},
	}
	snippet, err := os.ReadFile(stage + "/usr/share/pam-configs/xexit")
	r.must(err)
	r.must(os.WriteFile(m.Path("/usr/share/pam-configs/xexit"), snippet, 0o644))
	r.root("rm -f /etc/pam.d/xrdp-sesman /etc/pam.d/tigervnc")
	r.root("sed -i '/Session-Interactive-Only/d' /usr/share/pam-configs/xexit; pam-auth-update --enable xexit")
	return r
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// root runs a script as root in the container, in no login.
func (r *rig) root(script string) string {
	r.Helper()
	out, err := r.m.Root("sh", "-ec", script)
	r.must(err)
	return out
}

// watch listens to a source until unwatch.
func (r *rig) watch(s logins.Source) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Watch(ctx, func(id string) { r.told <- id }) }()
	r.unwatch = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.Errorf("Watch: %v", err)
		}
	})
	r.Cleanup(r.unwatch)
}

// await waits until something holds that a source has told of: it is looked at
// only when the source says that there is something to look at: of the login of
// that id, or of all; of any if id is "".
func (r *rig) await(what, id string, holds func() bool) {
	r.Helper()
	over := time.After(machine.Guard)
	for {
		select {
		case got := <-r.told:
			if (id == "" || got == "" || got == id) && holds() {
				return
			}
		case <-over:
			list, err := r.all.List()
			r.Fatalf("hang guard: nobody told that %s (there are %+v, %v)", what, list, err)
		}
	}
}

// login logs somebody in by ssh, with a leftover that will outlive it. In which
// login he is, the kernel says.
func (r *rig) login(name, user string) *opened {
	r.Helper()
	o, err := r.open(name, user, "22")
	r.must(err)
	return o
}

// open is login by the sshd at a port.
func (r *rig) open(name, user, port string) (*opened, error) {
	s, err := r.m.SSHAt(port, name, user)
	if err != nil {
		return nil, err
	}
	o := &opened{r: r, Session: s}
	text, err := os.ReadFile(r.m.Path(fmt.Sprintf("/proc/%d/cgroup", s.Leader.PID)))
	if err != nil {
		return nil, err
	}
	_, o.cgroup, _ = strings.Cut(string(text), "0::")
	o.cgroup, _, _ = strings.Cut(o.cgroup, "\n")
	// As the host sees it the path begins with the container's own group.
	for _, place := range []string{"/user.slice/", "/xexit/"} {
		if i := strings.Index(o.cgroup, place); i >= 0 {
			o.cgroup = o.cgroup[i:]
		}
	}
	last := filepath.Base(o.cgroup)
	last = strings.TrimSuffix(strings.TrimPrefix(last, "session-"), ".scope")
	o.id = strings.TrimPrefix(last, "login-")
	o.leftover, err = r.m.Spawn(s.Socket, "", agent.Request{Argv: []string{"sleep", "1000000"}, UID: -1, NewSession: true})
	return o, err
}

// opened is a login of the test's.
type opened struct {
	*machine.Session
	r          *rig
	id, cgroup string
	leftover   *machine.Ref
}

// known is what the sources say of it.
func (o *opened) known() (member.Login, bool) {
	l, err := o.r.all.Read(o.id)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		o.r.Errorf("login %s: %v", o.id, err)
	}
	return l, err == nil
}

// state is what they say of its state; "": there is no such login.
func (o *opened) state() string {
	l, _ := o.known()
	return l.State
}

func (o *opened) live() bool { return o.state() == "active" || o.state() == "online" }

// wipe ends all of it, the leader too.
func (o *opened) wipe() {
	o.r.Helper()
	g, err := o.r.tree.Open(o.cgroup)
	if errors.Is(err, cgroup.ErrGone) {
		return
	}
	o.r.must(err)
	o.r.must(errors.Join(g.Kill(o.r.Context()), g.Close()))
}

// gone waits until it has been told that the login is no more.
func (o *opened) gone() {
	o.r.Helper()
	o.r.await(o.id+" is no more", o.id, func() bool { return o.state() == "" })
}

// leader is who leads it, by the kernel's word: sshd's monitor, the first
// process of root's above the session's first program.
func (o *opened) leader() int {
	o.r.Helper()
	for pid := o.Leader.PID; pid > 1; {
		text, err := os.ReadFile(o.r.m.Path(fmt.Sprintf("/proc/%d/status", pid)))
		o.r.must(err)
		status := fields(string(text))
		if strings.HasPrefix(status["Uid"], "0\t") {
			return pid
		}
		pid, err = strconv.Atoi(status["PPid"])
		o.r.must(err)
	}
	o.r.Fatalf("login %s has no leader", o.id)
	return 0
}

func fields(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.SplitSeq(text, "\n") {
		key, value, _ := strings.Cut(line, ":")
		m[key] = strings.TrimSpace(value)
	}
	return m
}
