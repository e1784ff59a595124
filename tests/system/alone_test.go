package system

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// endsDoNotWait: what hangs in one login's end delays nobody else's.
func endsDoNotWait(t *testing.T, stage string) {
	h := host(t, machine.Debian13, stage)
	if err := h.configure(config + "[hooks]\ntimeout = \"1h\"\n"); err != nil {
		t.Fatal(err)
	}
	t.Run("a hanging hook", h.besideHook)
	t.Run("an unkillable process", h.besideUnkillable)
	t.Run("a hung home", h.besideHungHome)
}

// configure gives the daemon another configuration.
func (h *Host) configure(text string) error {
	return h.root(`umount -q /etc/xexit || :
		mkdir -p /etc/xexit; printf '%s' "$TEXT" >/etc/xexit/xexit.toml
		systemctl restart xexit.service`, "TEXT="+text)
}

// hooks puts one exit script in the place of the installed ones.
func (h *Host) hook(text string) error {
	return h.root(`umount -q /etc/Xexit.d || :
		mkdir -p /etc/Xexit.d; rm -f /etc/Xexit.d/*
		printf '%s' "$TEXT" >/etc/Xexit.d/10-hook; chmod 755 /etc/Xexit.d/10-hook`, "TEXT="+text)
}

// ends has a login of bob's, with one leftover by this script, end.
func (h *Host) ends(t *testing.T, script string) (*Login, []left) {
	t.Helper()
	l, err := h.Open(Kinds()[0], "bob")
	if err != nil {
		t.Fatal(err)
	}
	lefts, err := h.leave(l, []Leftover{deaf()})
	if err != nil {
		t.Fatal(err)
	}
	if script != "" {
		out, err := h.m.Run(l.Socket, agent.Request{Argv: []string{"/bin/sh", "-c", script}, UID: -1})
		if err != nil || out.Status != 0 {
			t.Fatalf("%s: %v %+v", script, err, out)
		}
	}
	return l, lefts
}

// another is an end of alice's, from beginning to end.
func (h *Host) another(t *testing.T) {
	t.Helper()
	out, err := h.Run(Kinds()[0], Logout, "alice", some(), nil)
	c := Cell{Outcome: out, Err: err, Last: true}
	if wrong := c.wrong(some()); len(wrong) > 0 {
		t.Errorf("%q", wrong)
	}
}

// unfinished demands that an end has begun and is not done.
func (h *Host) unfinished(t *testing.T, l *Login) {
	t.Helper()
	all, err := h.early()
	if err != nil {
		t.Fatal(err)
	}
	if b, d := len(of(all, l.ID, "begin")), len(of(all, l.ID, "done")); b != 1 || d != 0 {
		t.Errorf("%d begun, %d done: what should hang does not", b, d)
	}
}

func (h *Host) begun(t *testing.T, l *Login) {
	t.Helper()
	if err := machine.Until("the end of login "+l.ID+" has begun", func() (bool, error) {
		all, err := h.early()
		return len(of(all, l.ID, "begin")) > 0, err
	}); err != nil {
		t.Fatal(err)
	}
}

func (h *Host) besideHook(t *testing.T) {
	if err := h.hook("#!/bin/sh\n[ \"$XEXIT_USER\" != bob ] || exec sleep 31017\n"); err != nil {
		t.Fatal(err)
	}
	l, lefts := h.ends(t, "")
	if err := l.end(Logout); err != nil {
		t.Fatal(err)
	}
	if err := machine.Until("the hook hangs", func() (bool, error) {
		text, err := h.ask("pgrep -xf 'sleep 31017' || :")
		return text != "", err
	}); err != nil {
		t.Fatal(err)
	}
	h.another(t)
	h.unfinished(t, l)
	if err := h.root("pkill -KILL -xf 'sleep 31017'; echo '#!/bin/sh' >/etc/Xexit.d/10-hook"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.recorded(l.ID); err != nil {
		t.Error(err)
	}
	if err := h.clear(l, lefts); err != nil {
		t.Error(err)
	}
}

func (h *Host) besideUnkillable(t *testing.T) {
	release := h.wedge(t, "wedge", "/run/scenario/wedge")
	l, lefts := h.ends(t, "setsid cat /run/scenario/wedge/x >/dev/null 2>&1 </dev/null &")
	if err := machine.Until("cat waits for what does not come", func() (bool, error) {
		ref, err := h.called(l.Group, "cat")
		if err != nil {
			return false, nil
		}
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", ref.Host))
		return strings.Contains(string(text), "request_wait_answer"), nil // fuse's
	}); err != nil {
		t.Fatal(err)
	}
	if err := l.end(Logout); err != nil {
		t.Fatal(err)
	}
	h.begun(t, l)
	h.another(t)
	done, err := h.recorded(l.ID)
	if err != nil {
		t.Fatal(err)
	}
	named := false
	for _, s := range done.Survivors {
		named = named || s.Comm == "cat" && s.Cause != ""
	}
	if !named {
		t.Errorf("the record does not name who is left: %+v", done)
	}
	release()
	if err := h.clear(l, lefts); err != nil {
		t.Error(err)
	}
}

func (h *Host) besideHungHome(t *testing.T) {
	l, lefts := h.ends(t, "")
	release := h.wedge(t, "hang", "/home/bob")
	if err := l.end(Logout); err != nil {
		t.Fatal(err)
	}
	h.another(t)
	done, err := h.recorded(l.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !done.Verified {
		t.Errorf("not verified: %+v", done)
	}
	release()
	if err := h.clear(l, lefts); err != nil {
		t.Error(err)
	}
}

// wedge mounts a file system that never answers; release has it answer.
func (h *Host) wedge(t *testing.T, how, dir string) (release func()) {
	t.Helper()
	if err := h.root("mkdir -p " + dir); err != nil {
		t.Fatal(err)
	}
	end, err := h.m.Helper(machine.RootSocket, agent.Request{Argv: []string{machine.Program, how, dir}, Env: machine.RootEnv(), UID: -1}, "hanging")
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		err := end()
		if err != nil && !strings.Contains(err.Error(), "exit") {
			t.Error(err)
		}
		if err := h.root("umount -l " + dir); err != nil {
			t.Error(err)
		}
	}
}
