package logind

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// Ping asks systemd of the host below root for an answer, whatever it is, and
// waits for it until ctx is over. The error wraps ErrNoSystemd if there is no bus
// to ask by.
func Ping(ctx context.Context, root string) error {
	conn, err := connect(ctx, root, newEar())
	if err != nil {
		return fmt.Errorf("ask systemd: %w: %w", ErrNoSystemd, err)
	}
	defer conn.Close() //nolint:errcheck // nothing was left to be written
	const systemd, object = "org.freedesktop.systemd1", dbus.ObjectPath("/org/freedesktop/systemd1")
	if err := conn.Object(systemd, object).CallWithContext(ctx, busItem+".Peer.Ping", 0).Err; err != nil {
		return fmt.Errorf("ask systemd: %w", err)
	}
	return nil
}
