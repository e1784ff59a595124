// Package logind asks systemd, over D-Bus, for what must not be done behind
// its back. It is the only importer of D-Bus. What logind keeps in files
// (sd-login(3)) is read by package member, without it.
package logind

import (
	"context"
	"errors"
	"fmt"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// ErrNoSystemd reports a host without systemd's bus.
var ErrNoSystemd = errors.New("systemd does not answer on the system bus")

// dialSystemd connects to systemd by the system bus, within patience: a bus
// that is stopped accepts connections, and then says nothing. Unlike connect's
// this connection can pass descriptors.
func dialSystemd(ctx context.Context) (*systemd.Conn, error) {
	type answer struct {
		bus *systemd.Conn
		err error
	}
	dialled := make(chan answer, 1)
	go func() {
		bus, err := systemd.NewSystemConnectionContext(ctx)
		dialled <- answer{bus, err}
	}()
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case a := <-dialled:
		return a.bus, a.err
	case <-bounded.Done():
		go func() {
			if a := <-dialled; a.err == nil {
				a.bus.Close()
			}
		}()
		return nil, fmt.Errorf("the bus does not answer: %w", bounded.Err())
	}
}

// StopUserManager stops user@UID.service and with it all that a user's service
// manager runs, as systemd does itself some time after the user's last login,
// and waits until it is down or ctx is over. A manager that does not run is
// down. Only root may ask for it.
func StopUserManager(ctx context.Context, uid uint32) error {
	unit := fmt.Sprintf("user@%d.service", uid)
	bus, err := dialSystemd(ctx)
	if err != nil {
		return fmt.Errorf("stop %s: %w: %w", unit, ErrNoSystemd, err)
	}
	defer bus.Close()
	done := make(chan string, 1)
	if _, err := bus.StopUnitContext(ctx, unit, "replace", done); err != nil {
		var refused dbus.Error
		if errors.As(err, &refused) && refused.Name == "org.freedesktop.systemd1.NoSuchUnit" {
			return nil
		}
		return fmt.Errorf("stop %s: %w", unit, err)
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("stop %s: systemd says %q", unit, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop %s: %w", unit, ctx.Err())
	}
}
