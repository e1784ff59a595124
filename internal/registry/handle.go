package registry

import (
	"errors"
	"fmt"
	"os"

	"xexit/internal/session"
)

// Handle is a registered session; the process that has it is its watcher.
type Handle struct {
	r    *Registry
	last Entry
	lock *os.File
}

// Register enters a session and takes its lock. Boot and Phase are filled in
// where they are empty. *WatchedError: a live watcher has this display.
// *TakenError: a live watcher has this id. A session in the same login as
// another live one (by audit id or scope) does not own that login, and neither
// does the other from now on.
func (r *Registry) Register(e Entry) (*Handle, error) {
	if e.Boot == "" {
		e.Boot = r.boot
	}
	if e.Phase == "" {
		e.Phase = session.PhaseWatching
	}
	unlock, err := r.lockDir(true)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// What cannot be read is not in the way: its lock file still is, below.
	all, stale, _ := r.scan()
	for _, id := range stale {
		_ = r.remove(id)
	}
	for i := range all {
		other := &all[i].Entry
		// A session that is ending has lost its display: who registers now is
		// on the next server by that number, and must not go unwatched.
		if other.ID != e.ID && other.Display != "" && other.Display == e.Display &&
			other.Phase == session.PhaseWatching && held(r.file(other.ID, lockSuffix)) {
			return nil, &WatchedError{*other}
		}
	}
	lock, err := r.takeLock(&e)
	if err != nil {
		return nil, err
	}
	r.settleOwner(&e, all)
	if err := r.write(&e); err != nil {
		_ = os.Remove(lock.Name())
		_ = lock.Close()
		return nil, err
	}
	return &Handle{r: r, last: e, lock: lock}, nil
}

func (r *Registry) takeLock(e *Entry) (*os.File, error) {
	lock, got, err := openLocked(r.file(e.ID, lockSuffix))
	if err != nil {
		return nil, fmt.Errorf("register session %s: %w", e.ID, err)
	}
	if got {
		return lock, nil
	}
	old, err := r.read(e.ID)
	if err != nil {
		old = Entry{ID: e.ID}
	}
	if old.Display != "" && old.Display == e.Display && old.Phase != session.PhaseEnded {
		return nil, &WatchedError{old}
	}
	return nil, &TakenError{old}
}

// settleOwner takes the login away from all of several sessions in it.
func (r *Registry) settleOwner(e *Entry, all []Listed) {
	for i := range all {
		other := &all[i]
		shared := session.SameAudit(e.Audit, other.Audit) || e.Scope != "" && e.Scope == other.Scope
		if !shared || !other.Live || other.ID == e.ID {
			continue
		}
		e.OwnsLogin = false
		if other.OwnsLogin {
			other.OwnsLogin = false
			_ = r.write(&other.Entry) // full disk: the other keeps its claim, and the vetoes of membership hold
		}
	}
}

// Entry is the entry as last registered, changed or read by this handle.
func (h *Handle) Entry() Entry { return h.last }

// Update changes the entry, starting from what the file says now: others may
// have moved its phase.
func (h *Handle) Update(f func(*Entry)) error {
	return h.r.change(h.last.ID, &h.last, func(e *Entry) {
		f(e)
		h.last = *e
	})
}

// Close removes the session's files and releases its lock. Second and later
// calls do nothing.
func (h *Handle) Close() error {
	if h.lock == nil {
		return nil
	}
	unlock, err := h.r.lockDir(true)
	if err == nil {
		err = h.r.remove(h.last.ID)
		unlock()
	} else {
		// Somebody sits on the directory lock. Left behind as ended, the entry
		// is swept by whoever lists next; write replaces it atomically.
		h.last.Phase = session.PhaseEnded
		err = errors.Join(err, h.r.write(&h.last))
	}
	err = errors.Join(err, h.lock.Close())
	h.lock = nil
	return err
}
