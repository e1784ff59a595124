package system

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"

	"golang.org/x/sys/unix"

	"xexit/tests/agent"
	"xexit/tests/machine"
)

var displayNumber = regexp.MustCompile(`:(\d+)`)

// numberOf is the number in what names a display.
func numberOf(text string) (string, error) {
	number := displayNumber.FindStringSubmatch(text)
	if number == nil {
		return "", fmt.Errorf("no display is named in %q", text)
	}
	return number[1], nil
}

// seat is a terminal with an X server, at which guest sits.
func (h *Host) seat(name string, args func(*machine.Terminal) []string) (*machine.Terminal, *machine.Server, error) {
	t, err := h.m.Terminal(name)
	if err != nil {
		return nil, nil, err
	}
	// guest has no login, and so no such directory, where his cookie goes.
	if err := h.root("install -d -o guest -g guest -m 700 /run/user/$(id -u guest)"); err != nil {
		return nil, nil, err
	}
	server, err := t.Xvfb(name, "guest", args(t)...)
	return t, server, err
}

// forwarded is `ssh -X` from a terminal with an X server.
func (h *Host) forwarded(name, user string) (*Login, error) {
	t, server, err := h.seat(name, func(*machine.Terminal) []string { return nil })
	if err != nil {
		return nil, err
	}
	number, err := numberOf(server.Display)
	if err != nil {
		return nil, err
	}
	l, err := h.sshFrom(t, name, user, []string{"-X"}, "DISPLAY=127.0.0.1:"+number, "XAUTHORITY="+server.Authority)
	if err != nil {
		return nil, err
	}
	l.Server = server.Ref
	return l, nil
}

// xdm answers XDMCP from anywhere, and at once: whoever has no answer within two
// seconds asks again, and the new cookie that xdm makes then is not the one that
// he gets first. So it asks no name server, and runs no program for an answer.
//
// It tells pam_systemd(8) neither a display nor a terminal of a login from
// elsewhere, so that logind takes it for a background job, if the stack does not
// say that it is none.
const xdm = `systemctl is-active -q xdm || {
	sed -i 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf
	sed -i '/^DisplayManager.willing/d' /etc/X11/xdm/xdm-config
	sed -i 's/^DisplayManager.requestPort.*/DisplayManager.requestPort: 177/' /etc/X11/xdm/xdm-config
	echo '*' >/etc/X11/xdm/Xaccess
	: >/etc/X11/xdm/Xservers # no display of its own
	sed -i 's/^@include common-session$/session optional pam_systemd.so class=user type=x11\n&/' /etc/pam.d/xdm
	systemctl start xdm
}`

// keyboard is somebody who logs in at xdm's greeter. What is typed before the
// greeter asks for it waits in its connection, once it has the focus.
const keyboard = `window=$(timeout 15 xdotool search --sync --onlyvisible --class xlogin)
	xdotool windowfocus --sync "$window" type "$1
$2
"`

// xdmcp is a thin client: an X server at a terminal has xdm come to it over
// TCP, and somebody logs in at the greeter. On a loaded machine xdm may be too
// late, see above; then he takes another terminal.
func (h *Host) xdmcp(_, user string) (*Login, error) {
	if err := h.root(xdm); err != nil {
		return nil, err
	}
	var errs []error
	for range 3 {
		l, err := h.thinClient(h.name("thin"), user)
		if err == nil {
			return l, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("%w: %s", errors.Join(errs...), h.text("/var/log/xdm.log"))
}

func (h *Host) thinClient(name, user string) (l *Login, err error) {
	t, server, err := h.seat(name, func(t *machine.Terminal) []string {
		return []string{"-query", t.Near, "-from", t.IPv4, "-once"}
	})
	if err != nil {
		return nil, err
	}
	off := func() error {
		_ = server.Ref.Signal(unix.SIGKILL) // it goes with the login
		return nil
	}
	defer func() {
		if err != nil {
			_ = off()
		}
	}()
	number, err := numberOf(server.Display)
	if err != nil {
		return nil, err
	}
	out, err := h.m.Run(machine.RootSocket, agent.Request{
		Argv: t.Command("guest", "/bin/sh", "-ec", keyboard, "keyboard", user, password(user)), UID: -1,
		Env: append(machine.RootEnv(), "DISPLAY=127.0.0.1:"+number, "XAUTHORITY="+server.Authority),
	})
	if err == nil && out.Status != 0 {
		err = fmt.Errorf("at the greeter: exit status %d: %s", out.Status, out.Stderr)
	}
	if err != nil {
		return nil, err
	}
	s, err := h.m.Opened("x"+server.Display, user)
	return &Login{Session: s, Server: server.Ref, cut: t.Cut, after: off}, err
}

// password is a user's as image.sh has it.
func password(user string) string { return user[:1] }

// sesman starts xrdp's session manager. That of Debian 12 listens at ::1, where
// its client finds it only if "localhost" is that, too, and the host has an IPv6
// address that is not a loopback one (AI_ADDRCONFIG, see getaddrinfo(3)).
const sesman = `ip -6 addr replace 2001:db8::1/128 dev lo
	grep -q ^::1 /etc/hosts || echo '::1 localhost' >>/etc/hosts
	systemctl start xrdp-sesman`

// xrdp is a login by xrdp's session manager with its own client, as xrdp has it
// for somebody who comes by RDP. There is no link to cut: a session whose
// client goes away waits for the next one.
func (h *Host) xrdp(_, user string) (*Login, error) {
	if err := h.root(sesman); err != nil {
		return nil, err
	}
	said, err := h.ask(`echo "$PASSWORD" | xrdp-sesrun -t Xvnc -g 64x64 -F 0 "$WHO"`, "PASSWORD="+password(user), "WHO="+user)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, said) // it has no standard error
	}
	number, err := numberOf(said)
	var s *machine.Session
	if err == nil {
		s, err = h.m.Opened("x:"+number+".0", user)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, h.text("/var/log/xrdp-sesman.log"))
	}
	// The number may come again.
	return &Login{Session: s, after: func() error { return os.Remove(h.m.Path(s.Socket)) }}, nil
}

// watched returns when the daemon watches a login's display.
func (h *Host) watched(l *Login) error {
	return machine.Until("the display of login "+l.ID+" is watched", func() (bool, error) {
		text, err := os.ReadFile(h.m.Path("/run/xexit/sessions/" + l.ID + ".json"))
		var state struct{ Resume string }
		return err == nil && json.Unmarshal(text, &state) == nil && state.Resume != "", nil
	})
}
