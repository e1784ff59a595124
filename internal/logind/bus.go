package logind

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/godbus/dbus/v5"
)

// What logind is called on the bus (org.freedesktop.login1(5)).
const (
	name     = "org.freedesktop.login1"
	manager  = name + ".Manager"
	object   = dbus.ObjectPath("/org/freedesktop/login1")
	busItem  = "org.freedesktop.DBus"
	busSock  = "run/dbus/system_bus_socket"
	patience = 10 * time.Second // for the bus to answer while connecting
)

// connect connects to the system bus of the host below root. The connection
// is closed when ctx is over.
func connect(ctx context.Context, root string, signals dbus.SignalHandler) (*dbus.Conn, error) {
	socket, err := new(net.Dialer).DialContext(ctx, "unix", filepath.Join(root, busSock))
	if err != nil {
		return nil, err
	}
	// A bus that is stopped accepts connections all the same.
	if err := socket.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	conn, err := dbus.NewConn(socket, dbus.WithContext(ctx), dbus.WithSignalHandler(signals))
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))})
	if err == nil {
		err = conn.Hello()
	}
	if err == nil {
		err = socket.SetDeadline(time.Time{})
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// KillsUserProcesses asks logind of the host below root whether it ends what a
// login leaves by itself (KillUserProcesses, logind.conf(5)). It waits no
// longer than ctx, and not for a logind that does not run.
func KillsUserProcesses(ctx context.Context, root string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := connect(ctx, root, newEar())
	if err != nil {
		return false, fmt.Errorf("ask logind: %w: %w", ErrNoSystemd, err)
	}
	defer conn.Close()
	var v dbus.Variant
	err = conn.Object(name, object).CallWithContext(ctx, busItem+".Properties.Get", dbus.FlagNoAutoStart, manager, "KillUserProcesses").Store(&v)
	if err != nil {
		return false, fmt.Errorf("ask logind: %w", err)
	}
	kills, ok := v.Value().(bool)
	if !ok {
		return false, fmt.Errorf("ask logind: KillUserProcesses is a %s", v.Signature())
	}
	return kills, nil
}
