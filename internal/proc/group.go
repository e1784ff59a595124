package proc

import (
	"errors"
	"fmt"
	"syscall"

	"xexit/internal/linux"
)

// ErrUnpinned reports a process that does not pin its group.
var ErrUnpinned = errors.New("it is not stopped in that process group")

// SignalGroup sends sig to the process group that pin is in, at once, as far as
// kill(2) allows it.
//
// A group has no pidfd without its leader, only a number; the kernel gives that
// to nobody else while somebody is in the group. So pin must be a process that
// was sent SIGSTOP, and be stopped in that group now: it can neither leave the
// group nor exit by itself. It is asked again afterwards; if it is gone then
// (somebody killed it in the same moment), what was done is taken back as far
// as that can be: SIGCONT follows SIGSTOP. ErrGone: pin is dead, or was
// afterwards. ErrUnpinned: it has not stopped yet, or is in another group.
func (fs *FS) SignalGroup(pin *Ref, pgid int, sig syscall.Signal) error {
	if err := fs.pins(pin, pgid); err != nil {
		return fmt.Errorf("signal process group %d: %w", pgid, err)
	}
	if err := linux.SignalPinned(pgid, sig); err != nil {
		return fmt.Errorf("signal process group %d: %w", pgid, err)
	}
	// SIGCONT sets the pin going itself.
	if err := fs.pins(pin, pgid); err != nil && sig != syscall.SIGCONT {
		if sig == syscall.SIGSTOP {
			_ = linux.SignalPinned(pgid, syscall.SIGCONT)
		}
		return fmt.Errorf("signal process group %d: %w", pgid, err)
	}
	return nil
}

// pins reports whether pin is stopped in the group.
func (fs *FS) pins(pin *Ref, pgid int) error {
	var s Stat
	if err := fs.ReadStat(pin.id.PID, &s); err != nil {
		return err
	}
	switch {
	case s.ID() != pin.id || s.Dead():
		return ErrGone
	case s.PGID != pgid || s.State != 'T':
		return ErrUnpinned
	}
	return pin.Signal(0)
}
