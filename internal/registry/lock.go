package registry

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"xexit/internal/linux"
)

// lockDir takes the directory lock, waiting at most for the patience that
// belongs to its kind; then ErrBusy. unlock may be called more than once.
func (r *Registry) lockDir(exclusive bool) (unlock func(), err error) {
	patience := readPatience
	if exclusive {
		patience = writePatience
	}
	f, err := os.OpenFile(filepath.Join(r.dir, dirLock), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock registry: %w", err)
	}
	// flock(2) cannot be given a deadline, so it is asked again and again; the
	// lock is held for microseconds where its holder runs at all.
	var again *time.Ticker
	var enough <-chan time.Time
	for {
		got, err := linux.TryFlock(int(f.Fd()), exclusive)
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock registry: %w", err)
		}
		if got {
			return sync.OnceFunc(func() { _ = f.Close() }), nil
		}
		if again == nil {
			again = time.NewTicker(lockRetry)
			defer again.Stop()
			enough = time.After(patience)
		}
		select {
		case <-again.C:
		case <-enough:
			_ = f.Close()
			return nil, fmt.Errorf("lock registry %s: %w", r.dir, ErrBusy)
		}
	}
}

// openLocked opens path and locks it, without waiting; got is false, and f
// nil, if somebody else has it. The caller holds the directory lock, so that
// the file cannot be removed between the two.
func openLocked(path string) (f *os.File, got bool, err error) {
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	got, err = linux.TryFlock(int(f.Fd()), true)
	if !got {
		_ = f.Close()
		return nil, false, err
	}
	return f, true, nil
}

// held reports whether some process has the lock on path. Where that cannot
// be found out it is taken to be held: the session counts as alive.
func held(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return !os.IsNotExist(err)
	}
	defer func() { _ = f.Close() }()
	got, err := linux.TryFlock(int(f.Fd()), false)
	return err != nil || !got
}
