package system

import (
	"fmt"

	"golang.org/x/sys/unix"

	"xexit/tests/machine"
)

// restart starts the daemon with this in its environment.
func (h *Host) restart(env string) error {
	return h.root(`mkdir -p /run/systemd/system/xexit.service.d
		printf '[Unit]\nStartLimitIntervalSec=0\n[Service]\nEnvironment="%s"\n' "$FAULT" >/run/systemd/system/xexit.service.d/fault.conf
		systemctl daemon-reload; systemctl restart xexit.service`, "FAULT="+env)
}

// main is the daemon's process.
func (h *Host) main() (*machine.Ref, error) {
	text, err := h.ask("systemctl show -P MainPID xexit.service")
	if err != nil {
		return nil, err
	}
	var pid int
	if _, err := fmt.Sscan(text, &pid); err != nil || pid == 0 {
		return nil, fmt.Errorf("the daemon does not run: %q", text)
	}
	return h.m.RefOf(pid)
}

func (h *Host) kill() error {
	main, err := h.main()
	if err != nil {
		return err
	}
	return main.Signal(unix.SIGKILL)
}
