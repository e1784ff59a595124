package proc

import (
	"errors"
	"fmt"
	"syscall"

	"xexit/internal/linux"
	"xexit/internal/session"
)

// Ref is a reference to one process: its identity and a pidfd. Once opened it
// never comes to mean another process. It is not safe for concurrent use.
type Ref struct {
	id session.ProcID
	fd *linux.PidFD // nil once closed
}

// ErrClosed reports the use of a Ref after Close.
var ErrClosed = errors.New("reference is closed")

// Open makes a reference to the process that has pid now. The identity is
// read while the pidfd is open, and signal 0 goes through afterwards: so the
// number belonged to that process all the while.
//
// ErrGone: there is none, or no longer. An error that is EPERM: it exists, but
// kill(2) is not for us.
func (fs *FS) Open(pid int) (*Ref, error) {
	var stat Stat
	ref, err := fs.Hold(pid, &stat)
	if err != nil {
		return nil, err
	}
	if err := ref.Signal(0); err != nil {
		_ = ref.Close()
		return nil, err
	}
	return ref, nil
}

// Hold is the first half of Open: what it reads into s, and whatever is read of
// pid afterwards, is of the process behind the reference if a Signal after
// that goes through or is refused with EPERM. Until then it may be of another
// process, and the reference must not be used for more. On ErrGone there is
// no such process; other errors are of the descriptor table, mostly.
func (fs *FS) Hold(pid int, s *Stat) (*Ref, error) {
	fd, err := linux.OpenPidFD(pid)
	if err != nil {
		if errors.Is(err, syscall.ESRCH) {
			return nil, ErrGone
		}
		return nil, fmt.Errorf("open reference to %d: %w", pid, err)
	}
	if err := fs.ReadStat(pid, s); err != nil {
		_ = fd.Close()
		if errors.Is(err, ErrGone) {
			return nil, ErrGone
		}
		return nil, fmt.Errorf("open reference to %d: %w", pid, err)
	}
	return &Ref{id: s.ID(), fd: fd}, nil
}

// ID is the identity of the process.
func (r *Ref) ID() session.ProcID { return r.id }

// FD is the pidfd, for polling only: it is readable once the process is dead,
// also while it is a zombie. -1 once closed.
func (r *Ref) FD() int {
	if r.fd == nil {
		return -1
	}
	return r.fd.FD()
}

// Signal sends sig; 0 only asks. The error is ErrGone (and ESRCH) if the
// process is gone and reaped, EPERM if it is not ours to signal. A zombie
// takes every signal without an error.
func (r *Ref) Signal(sig syscall.Signal) error {
	if r.fd == nil {
		return fmt.Errorf("signal %d: %w", r.id.PID, ErrClosed)
	}
	err := r.fd.Signal(sig)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ESRCH):
		return ErrGone
	}
	return fmt.Errorf("signal %d: %w", r.id.PID, err)
}

// Close releases the reference. The process is not touched. A second Close
// does nothing.
func (r *Ref) Close() error {
	if r.fd == nil {
		return nil
	}
	err := r.fd.Close()
	r.fd = nil
	return err
}
