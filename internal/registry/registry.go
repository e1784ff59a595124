// Package registry keeps one file a session in the user's runtime directory:
// which sessions there are, which of them live, and by what their processes
// are known. Every process of the user that must know reads it: watchers,
// `xexit end`, `xexit ps`.
//
// What belongs here is the files, their locks and what 'live' means. Who
// belongs to a session, and what to do about it, does not. Small programs link
// this package: no JSON, no net.
//
// A session ID has these files, of which the first alone carries data:
//
//	ID.session   the entry; replaced by rename, so never seen half written
//	ID.lock      flock(2)ed by the watcher as long as it lives
//	ID.end       flock(2)ed by whoever carries out the session's end
//	lock         the directory lock, held for moments around every change
package registry

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"xexit/internal/linux"
	"xexit/internal/session"
)

// The errors that callers tell apart.
var (
	ErrNotFound = errors.New("no such session")
	ErrEnding   = errors.New("an end of this session is under way")
	ErrBusy     = errors.New("the registry's lock is held by another process (stopped?)")
)

// WatchedError reports that a live watcher has this display already.
type WatchedError struct{ Entry Entry }

func (e *WatchedError) Error() string {
	return fmt.Sprintf("display %s is watched already, by process %d for session %s",
		e.Entry.Display, e.Entry.Watcher.PID, e.Entry.ID)
}

// TakenError reports that a live watcher has this id, for another display: the
// id came down by environment from an enclosing session.
type TakenError struct{ Entry Entry }

func (e *TakenError) Error() string {
	return fmt.Sprintf("session id %s is in use, by process %d for display %q",
		e.Entry.ID, e.Entry.Watcher.PID, e.Entry.Display)
}

// Listed is an entry and whether its session lives.
type Listed struct {
	Entry
	Live bool
}

const (
	entrySuffix = ".session"
	lockSuffix  = ".lock"
	endSuffix   = ".end"
	dirLock     = "lock"

	// Every wait for the directory lock is bounded: its holder may be a process
	// of the very session that is being stopped and ended. Readers go on
	// without it, writers give up.
	readPatience  = 200 * time.Millisecond
	writePatience = 2 * time.Second
	lockRetry     = 2 * time.Millisecond
)

// Registry is one runtime directory. Its methods are safe for concurrent use,
// by several processes too.
type Registry struct {
	dir   string
	birth func(pid int) (uint64, error) // linux.Birth
	boot  string
}

// Open opens the registry in dir, which Dir has found and checked.
func Open(dir string) (*Registry, error) {
	var room [64]byte // a UUID and a newline
	boot, err := linux.ReadSmall("/proc/sys/kernel/random/boot_id", room[:])
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	return &Registry{dir: dir, birth: linux.Birth, boot: strings.TrimSpace(string(boot))}, nil
}

// Path is the runtime directory.
func (r *Registry) Path() string { return r.dir }

func (r *Registry) file(id session.ID, suffix string) string {
	return filepath.Join(r.dir, string(id)+suffix)
}

// List returns every session of this boot that has not ended, oldest first. Entries of
// another boot, and ended ones that nobody holds, are removed. What cannot be
// read is named in the error; the rest is returned all the same.
func (r *Registry) List() ([]Listed, error) {
	unlock, err := r.lockDir(false)
	if err == nil {
		defer unlock()
	}
	// Without the lock a watcher that just starts may look busy to another;
	// still better than an end that waits for ever.
	all, stale, errs := r.scan()
	slices.SortFunc(all, func(a, b Listed) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.ID, b.ID))
	})
	if err == nil && len(stale) > 0 {
		unlock()
		errs = append(errs, r.sweep(stale)...)
	}
	return all, errors.Join(errs...)
}

// Find returns one session, live or not; ErrNotFound if there is none.
func (r *Registry) Find(id session.ID) (Listed, error) {
	unlock, err := r.lockDir(false)
	if err == nil {
		defer unlock()
	}
	e, err := r.read(id)
	if err != nil {
		return Listed{}, err
	}
	if e.Boot != r.boot {
		return Listed{}, fmt.Errorf("find session %s: %w", id, ErrNotFound)
	}
	return Listed{e, r.live(&e)}, nil
}

// SetPhase moves a session's phase forward; endedAt is set with it unless it
// is 0 or was set before. For `xexit end`, while the watcher holds its lock.
func (r *Registry) SetPhase(id session.ID, phase session.Phase, endedAt uint64) error {
	return r.change(id, nil, func(e *Entry) {
		e.Phase, _ = e.Phase.Next(phase)
		if e.EndedAt == 0 {
			e.EndedAt = endedAt
		}
	})
}

// BeginEnd claims the session's end, for as long as the caller lives or until
// it calls release. ErrEnding: somebody else is at it.
func (r *Registry) BeginEnd(id session.ID) (release func(), err error) {
	unlock, err := r.lockDir(true)
	if err != nil {
		return nil, err
	}
	defer unlock()
	f, got, err := openLocked(r.file(id, endSuffix))
	if err != nil {
		return nil, fmt.Errorf("begin end of session %s: %w", id, err)
	}
	if !got {
		return nil, fmt.Errorf("begin end of session %s: %w", id, ErrEnding)
	}
	return func() { _ = f.Close() }, nil
}

// scan reads all entries: those that stay, and the ids of those to be swept.
func (r *Registry) scan() (all []Listed, stale []session.ID, errs []error) {
	names, err := r.names()
	if err != nil {
		return nil, nil, []error{fmt.Errorf("list registry: %w", err)}
	}
	for _, name := range names {
		id, err := session.ParseID(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("list registry: %s%s: %w", name, entrySuffix, err))
			continue
		}
		e, err := r.read(id)
		switch {
		case errors.Is(err, ErrNotFound): // closed meanwhile
		case err != nil:
			errs = append(errs, err)
		case r.stale(&e):
			stale = append(stale, id)
		default:
			all = append(all, Listed{e, r.live(&e)})
		}
	}
	return all, stale, errs
}

// names lists the entry files, without their suffix. Not os.ReadDir, whose
// buffer would stay in every watcher.
func (r *Registry) names() (names []string, err error) {
	d, err := linux.OpenDir(r.dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	buf := make([]byte, 1024)
	for {
		n, err := d.ReadEntries(buf)
		if err != nil || n == 0 {
			return names, err
		}
		for rest := buf[:n]; ; {
			_, name, after, ok := linux.NextEntry(rest)
			if !ok {
				break
			}
			rest = after
			if id, ok := strings.CutSuffix(string(name), entrySuffix); ok {
				names = append(names, id)
			}
		}
	}
}

// sweep removes entries that are still stale now that nobody can change them.
func (r *Registry) sweep(ids []session.ID) (errs []error) {
	unlock, err := r.lockDir(true)
	if err != nil {
		return nil // another time
	}
	defer unlock()
	for _, id := range ids {
		if e, err := r.read(id); err == nil && r.stale(&e) {
			if err := r.remove(id); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errs
}

func (r *Registry) stale(e *Entry) bool {
	return e.Boot != r.boot || e.Phase == session.PhaseEnded && !held(r.file(e.ID, lockSuffix))
}

// live: a watcher holds it and it has not ended; or its leader is there, or
// cannot be seen. To be thought alive by mistake only ever spares processes.
func (r *Registry) live(e *Entry) bool {
	if e.Phase == session.PhaseEnded {
		return false
	}
	if held(r.file(e.ID, lockSuffix)) {
		return true
	}
	if e.Leader.IsZero() {
		// Its display was seen to be gone, and who saw it is gone too.
		return e.Phase == session.PhaseWatching
	}
	start, err := r.birth(e.Leader.PID)
	if err != nil {
		return !errors.Is(err, linux.ErrGone)
	}
	return start == e.Leader.Start
}

func (r *Registry) read(id session.ID) (Entry, error) {
	text, err := os.ReadFile(r.file(id, entrySuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{}, fmt.Errorf("find session %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("read session: %w", err)
	}
	e, err := parseEntry(string(text))
	if err == nil && e.ID != id {
		err = fmt.Errorf("is of session %s: %w", e.ID, errTorn)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("read session %s: %w", r.file(id, entrySuffix), err)
	}
	return e, nil
}

// change rewrites one entry under the directory lock. Where the file is gone,
// fallback (if any) is what it is rewritten from.
func (r *Registry) change(id session.ID, fallback *Entry, f func(*Entry)) error {
	unlock, err := r.lockDir(true)
	if err != nil {
		return err
	}
	defer unlock()
	e, err := r.read(id)
	if err != nil {
		if fallback == nil {
			return err
		}
		e = *fallback
	}
	f(&e)
	return r.write(&e)
}

// entrySize has room for almost every entry's text: one that grows while it is
// written leaves garbage of many sizes, and the watcher keeps pages of each.
const entrySize = 4096

// write replaces an entry's file; the caller holds the directory lock.
func (r *Registry) write(e *Entry) error {
	temp := r.file(e.ID, ".new")
	err := os.WriteFile(temp, e.appendText(make([]byte, 0, entrySize)), 0o600)
	if err == nil {
		err = os.Rename(temp, r.file(e.ID, entrySuffix))
	}
	if err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("write session %s: %w", e.ID, err)
	}
	return nil
}

// remove deletes all files of a session; the caller holds the directory lock.
func (r *Registry) remove(id session.ID) error {
	var errs []error
	for _, suffix := range []string{entrySuffix, lockSuffix, endSuffix} {
		if err := os.Remove(r.file(id, suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove session: %w", err))
		}
	}
	return errors.Join(errs...)
}
