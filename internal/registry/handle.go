package registry

import (
	"errors"
	"fmt"
	"os"
	"slices"

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
	var over []session.ID
	all = slices.DeleteFunc(all, func(other Listed) bool {
		yes := r.superseded(&other.Entry, &e)
		if yes {
			over = append(over, other.ID)
		}
		return yes
	})
	r.settleOwner(&e, all)
	if err := r.write(&e); err != nil {
		_ = os.Remove(lock.Name())
		_ = lock.Close()
		return nil, err
	}
	for _, id := range over {
		_ = r.remove(id)
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

// superseded: nobody watches other any more, and e now has its display. Without
// a leader to be seen gone it would count as alive for as long as the host is
// up, and its markers as those of a session of its own. It stays where it may
// be alive all the same: where its own leader is there, or e runs below a
// subreaper, inside the session that the display has. What is being ended is
// left to whoever does that: a display may be in use again before.
func (r *Registry) superseded(other, e *Entry) bool {
	if other.ID == e.ID || other.Display == "" || other.Display != e.Display ||
		other.Phase != session.PhaseWatching || e.Phase != session.PhaseWatching || !e.Subreaper.IsZero() ||
		held(r.file(other.ID, lockSuffix)) || held(r.file(other.ID, endSuffix)) {
		return false
	}
	return other.Leader.IsZero() || other.Leader == e.Leader || !r.live(other)
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

// Leave releases the lock and leaves the entry where it is, for a session whose
// end could not be carried out: what is known of it serves the next attempt.
// A Close after it does nothing. A nil Handle, of a session that could not be
// registered, has nothing to leave.
func (h *Handle) Leave() error {
	if h == nil || h.lock == nil {
		return nil
	}
	err := h.lock.Close()
	h.lock = nil
	return err
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
