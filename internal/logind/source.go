package logind

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"xexit/internal/dirwatch"
	"xexit/internal/member"
)

// Source tells of logind's logins. What it says is only that one is to be
// looked at again: what is so, logind's files say. Two things tell it:
//
//	the bus    SessionNew, SessionRemoved; logind started anew
//	inotify    on the files: no signal tells that a login is closing
//
// Either alone finds every login, so a bus that is restarted, or is not there
// at all, costs nothing.
type Source struct {
	Root string // of the host's file system: "/"
	// Trouble hears, once each time, that the bus cannot be listened to, and
	// why; it is tried again. May be nil. Called beside Watch's changed.
	Trouble func(error)
}

const sessionsDir = "run/systemd/sessions"

// Watch subscribes, then calls changed("") (list everything), then changed(id)
// when a login opened, changed or went, and changed("") again when anything
// may have happened. It calls changed from the caller's goroutine, and returns
// nil when ctx is over, or why it cannot watch.
func (s Source) Watch(ctx context.Context, changed func(id string)) error {
	ctx, cancel := context.WithCancel(ctx)
	told, ended := make(chan string), make(chan error, 1)
	tell := func(id string) {
		select {
		case told <- id:
		case <-ctx.Done():
		}
	}
	heard := make(chan struct{})
	go func() {
		ended <- dirwatch.Watch(ctx, filepath.Join(s.Root, sessionsDir), func(name string) {
			if name == "" || member.IsLogindID(name) {
				tell(name)
			}
		})
	}()
	go func() {
		defer close(heard)
		s.listen(ctx, tell)
	}()
	defer func() { <-heard }()
	defer cancel()
	// Each says "" when it has subscribed: what happened before is found then,
	// however late the bus comes.
	for {
		select {
		case id := <-told:
			changed(id)
		case err := <-ended:
			return err
		}
	}
}

// How long to wait before the bus is tried again: what makes it fail is over
// in a moment (a restart), or lasts (there is none).
const (
	firstTry = 100 * time.Millisecond
	lastTry  = 30 * time.Second
)

// listen listens to the bus until ctx is over.
func (s Source) listen(ctx context.Context, tell func(string)) {
	wait, troubled := firstTry, false
	for {
		heard, err := s.hear(ctx, tell)
		if ctx.Err() != nil {
			return
		}
		if heard {
			wait, troubled = firstTry, false
		}
		if s.Trouble != nil && !troubled {
			s.Trouble(err)
		}
		troubled = true
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		wait = min(2*wait, lastTry)
	}
}

// errLost reports that the bus went away.
var errLost = errors.New("the system bus has closed the connection")

// hear listens to one connection as long as it lasts; heard: it was there.
func (s Source) hear(ctx context.Context, tell func(string)) (heard bool, err error) {
	e := newEar()
	conn, err := connect(ctx, s.Root, e)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := e.subscribe(limited, conn); err != nil {
		return false, err
	}
	tell("")
	for {
		select {
		case <-e.wake:
			for id := range e.take() {
				tell(id)
			}
		case <-conn.Context().Done():
			return true, errLost
		}
	}
}

// List is what logind's files say now. One that cannot be read is in the
// error; the others are returned.
func (s Source) List() ([]member.Login, error) {
	list, err := member.ListLogins(os.DirFS(s.Root))
	ours := list[:0]
	for _, l := range list {
		if member.IsLogindID(l.ID) {
			ours = append(ours, l)
		}
	}
	return ours, err
}

// Read is what logind's file says of one login now. fs.ErrNotExist: there is
// none of that id.
func (s Source) Read(id string) (member.Login, error) {
	if !member.IsLogindID(id) {
		return member.Login{}, &fs.PathError{Op: "read login", Path: id, Err: fs.ErrNotExist}
	}
	return member.ReadLogin(os.DirFS(s.Root), id)
}
