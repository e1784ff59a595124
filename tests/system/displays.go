package system

import (
	"fmt"
	"regexp"
)

var displayNumber = regexp.MustCompile(`:(\d+)`)

// forwarded is `ssh -X` from a terminal with an X server.
func (h *Host) forwarded(name, user string) (*Login, error) {
	t, err := h.m.Terminal(name)
	if err != nil {
		return nil, err
	}
	// guest has no login, and so no such directory, where his cookie goes.
	if err := h.root("install -d -o guest -g guest -m 700 /run/user/$(id -u guest)"); err != nil {
		return nil, err
	}
	server, err := t.Xvfb(name, "guest")
	if err != nil {
		return nil, err
	}
	number := displayNumber.FindStringSubmatch(server.Display)
	if number == nil {
		return nil, fmt.Errorf("the X server's display is %q", server.Display)
	}
	l, err := h.sshFrom(t, name, user, []string{"-X"}, "DISPLAY=127.0.0.1:"+number[1], "XAUTHORITY="+server.Authority)
	if err != nil {
		return nil, err
	}
	l.Server = server.Ref
	return l, nil
}
