package system

import (
	"os"
	"testing"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

// desktop: a real one, XFCE on the user's own bus with the services that D-Bus
// starts for it, ended in every way; bob's only login goes with his manager,
// while alice's lives.
func desktop(t *testing.T, stage string) {
	h := host(t, machine.Debian13, stage)
	beside, err := h.stay("alice", some())
	if err != nil {
		t.Fatal(err)
	}
	// An agent in the session, as a terminal would be, and the desktop.
	if err := h.root(`printf '#!/bin/sh\n%s agent "/run/scenario/x$DISPLAY.sock" &\nexec startxfce4\n' "$P" >/home/bob/.xsession`, "P="+machine.Program); err != nil {
		t.Fatal(err)
	}
	for _, end := range kindOf("Xvnc").Ends {
		t.Run(string(end), func(t *testing.T) { h.desktopEnds(t, end) })
		if hurt := beside.hurt(); len(hurt) > 0 {
			t.Fatalf("alice was hurt: %q", hurt)
		}
	}
}

func (h *Host) desktopEnds(t *testing.T, end End) {
	const slice = "/user.slice/user-21002.slice"
	l, err := h.Open(kindOf("Xvnc"), "bob")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.after(); err != nil {
			t.Error(err)
		}
	}()
	for _, part := range []struct{ group, comm string }{
		{l.Group, "xfce4-session"},
		{l.Group, "xfwm4"},
		{l.Group, "xfce4-panel"},
		{l.Group, "xfdesktop"},
		{slice + "/user@21002.service", "xfconfd"},
		{slice + "/user@21002.service", "gvfsd"},
	} {
		if err := machine.Until(part.comm+" runs", func() (bool, error) {
			_, err := h.called(part.group, part.comm)
			return err == nil, nil
		}); err != nil {
			names, _ := h.ask("ps -eo user,args")
			t.Fatalf("%v\n%s", err, names)
		}
	}
	lefts, err := h.leave(l, some())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d processes in the login, %d of bob's", len(h.members(l.Group)), len(h.members(slice)))
	if end == Logout {
		out, err := h.m.Run(l.Socket, agent.Request{Argv: []string{"timeout", "50", "/bin/sh", "-c", // it refuses while it starts
			"until busctl --user call org.xfce.SessionManager /org/xfce/SessionManager org.xfce.Session.Manager Logout bb false false; do sleep 0.2; done"}, UID: -1})
		if err != nil || out.Status != 0 {
			t.Fatal(err, out)
		}
	} else if err := l.end(end); err != nil {
		t.Fatal(err)
	}
	done, err := h.recorded(l.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !done.Verified {
		t.Errorf("not verified: %+v", done)
	}
	for _, one := range lefts {
		if !one.ref.Gone(machine.Guard) {
			t.Errorf("%s lives", one.Name)
		}
	}
	if err := machine.Until("nobody of bob's is left", func() (bool, error) { return len(h.members(slice)) == 0, nil }); err != nil {
		names, _ := h.ask("ps -u bob -o args")
		t.Errorf("%v\n%s", err, names)
	}
	_, err = os.Lstat(h.m.Path("/run/systemd/sessions/" + l.ID))
	if err == nil && end != LeaderKilled {
		t.Errorf("logind still has login %s", l.ID)
	}
}

// forwardedStays: a display that ssh forwards is not the login's own; its loss
// ends nothing.
func forwardedStays(t *testing.T, stage string) {
	h := host(t, machine.Debian13, stage)
	l, err := h.Open(kindOf("ssh -X"), "bob")
	if err != nil {
		t.Fatal(err)
	}
	lefts, err := h.leave(l, some())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.end(ServerKilled); err != nil {
		t.Fatal(err)
	}
	h.another(t) // so much has passed since
	all, err := h.early()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(of(all, l.ID, "begin")); n > 0 || !l.Session.Leader.Alive() {
		t.Errorf("the login was ended: %d records", n)
	}
	for _, one := range lefts {
		if !one.ref.Alive() {
			t.Errorf("%s is gone", one.Name)
		}
	}
}
