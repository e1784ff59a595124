package daemon

import (
	"fmt"
	"log/slog"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"

	"xexit/internal/linux"
)

// notifier tells the service manager how it goes (sd_notify(3)); without one
// it does nothing.
type notifier struct{ log *slog.Logger }

func newNotifier(log *slog.Logger) notifier { return notifier{log} }

func (n notifier) send(state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		n.log.Warn("tell the service manager", "state", state, "error", err)
	}
}

// reloading names the moment too, as systemd 253 and later want it.
func (n notifier) reloading() {
	clocks, err := linux.Now()
	if err != nil {
		return
	}
	n.send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", clocks.Monotonic.Microseconds()))
}

// watchdog ticks as often as the service manager wants to hear that the main
// goroutine goes round; nil: it does not.
func (n notifier) watchdog() <-chan time.Time {
	interval, err := systemd.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return nil
	}
	return time.Tick(interval / 3)
}
