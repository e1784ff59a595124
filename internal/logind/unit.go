package logind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// Unit is a transient service that runs one command: everything that it starts
// is in a control group of its own, and systemd ends all of it when the command
// exits or its time is over, also if whoever asked for it is dead by then.
type Unit struct {
	Name        string // "….service"
	Description string
	Path        string   // the file to execute
	Argv        []string // with its name in front; nothing in it is expanded
	Env         []string // NAME=VALUE
	User        string   // name or uid; "": root
	Stdin       *os.File // nil: /dev/null
	Output      *os.File // stdout and stderr; nil: the journal
	Stdout      *os.File // instead of Output: stdout alone
	Ambient     uint64   // capabilities that the command has as any user, a bit each (capabilities(7))
	Memory      uint64   // bytes; 0: no limit
	Tasks       uint64   // 0: systemd's default
	Deadline    time.Duration
	Grace       time.Duration // between TERM and KILL
}

// UnitExit is how the command went.
type UnitExit struct {
	Status   int // exit status; -1 if there is none
	Signal   syscall.Signal
	TimedOut bool
	Result   string // systemd's word for it (systemd.exec(5), $SERVICE_RESULT)
}

// Booted reports whether systemd runs the host below root (sd_booted(3)).
func Booted(root string) bool {
	_, err := os.Stat(filepath.Join(root, "run/systemd/system"))
	return err == nil
}

// lateness is how much longer than its own deadlines systemd may take to say
// that a unit is over.
const lateness = 5 * time.Second

// RunUnit starts the unit and waits until it is over, at most for Deadline,
// Grace twice and a little. One of the same name, which an earlier call may
// have left behind, is stopped first. A command that fails is no error. The
// error wraps ErrNoSystemd if nobody is there to ask. Only root may.
//
// A oneshot service has no RuntimeMaxSec; its start is what takes time, and
// TimeoutStartSec bounds it (systemd.service(5)).
func RunUnit(ctx context.Context, u Unit) (UnitExit, error) {
	ctx, cancel := context.WithTimeout(ctx, u.Deadline+2*u.Grace+lateness)
	defer cancel()
	bus, err := dialSystemd(ctx)
	if err != nil {
		return UnitExit{}, fmt.Errorf("run %s: %w: %w", u.Name, ErrNoSystemd, err)
	}
	defer bus.Close()
	result, err := startUnit(ctx, bus, u)
	if isUnitExists(err) {
		if err = stopUnit(ctx, bus, u.Name); err == nil {
			result, err = startUnit(ctx, bus, u)
		}
	}
	if err != nil {
		return UnitExit{}, fmt.Errorf("run %s: %w", u.Name, err)
	}
	exit, err := unitExit(ctx, bus, u.Name)
	if err != nil {
		return UnitExit{}, fmt.Errorf("run %s: systemd says %q: %w", u.Name, result, err)
	}
	return exit, nil
}

// startUnit starts the unit and waits until its command has exited.
func startUnit(ctx context.Context, bus *systemd.Conn, u Unit) (result string, err error) {
	done := make(chan string, 1)
	if _, err := bus.StartTransientUnitContext(ctx, u.Name, "fail", u.properties(), done); err != nil {
		return "", err
	}
	select {
	case result = <-done:
		return result, nil
	case <-ctx.Done():
		// Its time has long been over; systemd goes on ending it.
		return "", fmt.Errorf("it is not over: %w", ctx.Err())
	}
}

func stopUnit(ctx context.Context, bus *systemd.Conn, name string) error {
	done := make(chan string, 1)
	if _, err := bus.StopUnitContext(ctx, name, "replace", done); err != nil {
		return err
	}
	select {
	case <-done:
		_ = bus.ResetFailedUnitContext(ctx, name) // it had not failed, perhaps
		return nil
	case <-ctx.Done():
		return fmt.Errorf("an earlier one is not over: %w", ctx.Err())
	}
}

func isUnitExists(err error) bool {
	var refused dbus.Error
	return errors.As(err, &refused) && refused.Name == "org.freedesktop.systemd1.UnitExists"
}

// execStart is ExecStartEx's a(sasas): path, arguments, flags.
type execStart struct {
	Path  string
	Argv  []string
	Flags []string
}

func (u *Unit) properties() []systemd.Property {
	property := func(name string, value any) systemd.Property {
		return systemd.Property{Name: name, Value: dbus.MakeVariant(value)}
	}
	list := []systemd.Property{
		property("Description", u.Description),
		property("Type", "oneshot"),
		property("ExecStartEx", []execStart{{u.Path, u.Argv, []string{"no-env-expand"}}}),
		property("Environment", u.Env),
		property("WorkingDirectory", "/"),
		property("KillMode", "control-group"),
		property("SendSIGHUP", true),
		property("TimeoutStartUSec", uint64(u.Deadline.Microseconds())),
		property("TimeoutStopUSec", uint64(u.Grace.Microseconds())),
		// So that its exit status can be asked for, and is forgotten then.
		property("AddRef", true),
		property("CollectMode", "inactive-or-failed"),
		// It comes last where the machine goes down, and holds nothing up.
		property("DefaultDependencies", false),
	}
	if u.User != "" {
		list = append(list, property("User", u.User))
	}
	if u.Stdin != nil {
		list = append(list, property("StandardInputFileDescriptor", dbus.UnixFD(u.Stdin.Fd())))
	}
	if u.Stdout != nil {
		list = append(list, property("StandardOutputFileDescriptor", dbus.UnixFD(u.Stdout.Fd())))
	}
	if u.Ambient != 0 {
		list = append(list, property("AmbientCapabilities", u.Ambient))
	}
	if u.Memory != 0 {
		list = append(list, property("MemoryMax", u.Memory))
	}
	if u.Tasks != 0 {
		list = append(list, property("TasksMax", u.Tasks))
	}
	if u.Output != nil {
		list = append(list,
			property("StandardOutputFileDescriptor", dbus.UnixFD(u.Output.Fd())),
			property("StandardErrorFileDescriptor", dbus.UnixFD(u.Output.Fd())))
	}
	return list
}

// CLD_EXITED of siginfo_t (sigaction(2)); others are signals.
const cldExited = 1

// unitExit asks how the command of a unit went, to which bus holds a reference.
func unitExit(ctx context.Context, bus *systemd.Conn, name string) (UnitExit, error) {
	p, err := bus.GetUnitTypePropertiesContext(ctx, name, "Service")
	if err != nil {
		return UnitExit{}, err
	}
	exit := UnitExit{Status: -1}
	exit.Result, _ = p["Result"].(string)
	exit.TimedOut = exit.Result == "timeout"
	code, _ := p["ExecMainCode"].(int32)
	status, known := p["ExecMainStatus"].(int32)
	switch {
	case exit.Result == "resources" || !known || code == 0:
		return exit, fmt.Errorf("it was not started: %s", exit.Result)
	case code == cldExited:
		exit.Status = int(status)
	default:
		exit.Signal = syscall.Signal(status)
	}
	return exit, nil
}
