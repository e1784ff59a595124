package displayd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xexit/tests/booted"
	"xexit/tests/machine"
)

// guest is a booted container with the daemon at work.
type guest struct {
	t *testing.T
	m *machine.Machine
}

// pamService is what a display manager's worker opens a login with.
const pamService = `auth sufficient pam_permit.so
account required pam_permit.so
session required pam_loginuid.so
session required pam_systemd.so type=x11 class=user
`

// desktop is a login's first program: a display with a cookie that only its
// user can read, and what the session leaves behind.
const desktop = `#!/bin/sh
umask 077
cd "$HOME"
export DISPLAY=:$1 XAUTHORITY="$HOME/.cookie-$1" LOGIN_OF=$1
xauth -q add $DISPLAY . $(mcookie)
Xvfb $DISPLAY -auth "$XAUTHORITY" -noreset -nolisten tcp -screen 0 64x64x24 >/dev/null 2>&1 &
echo $! >/run/scenario/server-$1
until xdpyinfo >/dev/null 2>&1; do kill -0 $! || exit 1; sleep 0.1; done
setsid sh -c 'trap "" TERM HUP; while :; do sleep 60; done' >/dev/null 2>&1 </dev/null &
echo $! >/run/scenario/leftover-$1
wait
`

func boot(t *testing.T, config string) *guest {
	t.Helper()
	stage := booted.Stage(t, machine.Debian12)
	if err := os.WriteFile(stage+"/etc/xexit/xexit.toml", []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := machine.Boot(stage)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	g := &guest{t, m}
	for _, unit := range []string{"xexit.service", "xexit-display.service"} {
		text, err := os.ReadFile(stage + "/usr/lib/systemd/system/" + unit)
		if err != nil {
			t.Fatal(err)
		}
		g.write("/run/systemd/system/"+unit, string(text), 0o644)
	}
	g.write("/etc/pam.d/runuser", pamService, 0o644)
	g.write("/run/desktop", desktop, 0o755)
	g.root("systemctl daemon-reload; systemctl start xexit.service")
	return g
}

func (g *guest) write(inside, text string, mode os.FileMode) {
	g.t.Helper()
	path := g.m.Path(inside)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		g.t.Fatal(err)
	}
}

func (g *guest) root(script string) string {
	g.t.Helper()
	out, err := g.m.Root("sh", "-ec", script)
	if err != nil {
		g.t.Fatalf("%v: %s\n%s", err, out, g.journal())
	}
	return strings.TrimSpace(out)
}

func (g *guest) journal() string {
	out, _ := g.m.Root("journalctl", "-b", "--no-pager", "-n", "60", "-u", "xexit.service", "-u", "xexit-display.service", "-u", "xexit-open-*")
	return out
}

// until waits for a script to succeed.
func (g *guest) until(what, script string) {
	g.t.Helper()
	if err := machine.Until(what, func() (bool, error) {
		_, err := g.m.Root("sh", "-ec", script)
		return err == nil, nil
	}); err != nil {
		g.t.Fatalf("%v\n%s", err, g.journal())
	}
}

// login logs a user in on a display of his own, as a display manager does: its
// worker is root, opens the login, and waits for the session to be over.
func (g *guest) login(user string, number int) (id string) {
	g.t.Helper()
	g.root(fmt.Sprintf("systemd-run -q --unit=dm-%d -p KillMode=process runuser -u %s -- /run/desktop %d", number, user, number))
	g.until("the session runs", fmt.Sprintf("test -s /run/scenario/leftover-%d", number))
	id = g.root(fmt.Sprintf(`sed -n 's,^0::.*/session-\(.*\)\.scope.*,\1,p' /proc/$(cat /run/scenario/leftover-%d)/cgroup`, number))
	if id == "" {
		g.t.Fatal("it is in no login")
	}
	return id
}

// watched waits until a login's display is being watched.
func (g *guest) watched(id string) {
	g.t.Helper()
	g.until("the display of login "+id+" is being watched", `grep -q '"resume":"token:' /run/xexit/sessions/`+id+`.json`)
}

func (g *guest) lives(what string, number int) bool {
	_, err := g.m.Root("sh", "-ec", fmt.Sprintf("kill -0 $(cat /run/scenario/%s-%d)", what, number))
	return err == nil
}

// The X server of a login is killed: the login is ended, with that as the
// reason, and nobody else's, also not the same user's on another display.
func TestServerKilled(t *testing.T) {
	g := boot(t, "grace = \"500ms\"\npam-close = \"3s\"\n")
	one, other := g.login("alice", 7), g.login("alice", 8)
	g.watched(one)
	g.watched(other)

	// The worker has no rights, and is killed: no login ends by that.
	if caps := g.root("sed -n 's/^CapPrm:\t//p' /proc/$(systemctl show -P MainPID xexit-display)/status"); strings.Trim(caps, "0") != "" {
		t.Errorf("the worker has capabilities: %s", caps)
	}
	g.root("! grep -q '^Uid:.0' /proc/$(systemctl show -P MainPID xexit-display)/status")
	g.root("systemctl kill -s KILL xexit-display")
	g.root("kill -9 $(cat /run/scenario/server-7)") // whether there is another worker yet or not
	g.until("login "+one+" is ended", "! kill -0 $(cat /run/scenario/leftover-7)")
	g.until("its end is on record", `grep -q '"reason":"server-gone"' /var/lib/xexit/*.jsonl`)
	if !g.lives("leftover", 8) || !g.lives("server", 8) {
		t.Fatalf("the other login lost something\n%s", g.journal())
	}

	// The same before the eyes of the new worker.
	g.until("another worker watches", "test $(journalctl -u xexit.service | grep -c 'the display is being watched.*login="+other+" ') -ge 2")
	g.root("kill -9 $(cat /run/scenario/server-8)")
	g.until("login "+other+" is ended", "! kill -0 $(cat /run/scenario/leftover-8)")
	g.until("its end is on record", `test $(grep -c '"reason":"server-gone"' /var/lib/xexit/*.jsonl) -ge 4`)
	g.until("its openers are gone", "! systemctl list-units --all --plain --no-legend 'xexit-open-*' | grep -q .")
	t.Log(g.journal())
}
