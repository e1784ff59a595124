package ipc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"xexit/internal/history"
	"xexit/internal/session"
)

// answer carries out a request and sends all but the last line of its answer.
// What the caller may have is decided here, whatever the handler thinks.
func (s *Server) answer(ctx context.Context, c *caller, r request) error {
	if r.All && c.uid != 0 {
		return ErrDenied
	}
	switch r.Op {
	case opLogins:
		logins, err := s.logins(ctx, c, LoginQuery{All: r.All, Who: true})
		return sendAll(s, c, err, logins, func(l *Login) answer { return answer{Login: l} })
	case opLog:
		records, err := s.log(ctx, c, r)
		return sendAll(s, c, err, records, func(r *history.Record) answer { return answer{Record: r} })
	case opStatus:
		status := s.Handler.Status()
		if c.uid != 0 {
			status = status.public()
		}
		return sendAll(s, c, nil, []Status{status}, func(st *Status) answer { return answer{Status: st} })
	default:
		return s.end(ctx, c, r)
	}
}

// sendAll sends a list within one deadline, however long: a client that reads
// slowly keeps its place for no longer.
func sendAll[T any](s *Server, c *caller, err error, list []T, wrap func(*T) answer) error {
	if err != nil {
		return err
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(slowest * s.Patience))
	for i := range list {
		if err := c.send(wrap(&list[i])); err != nil {
			return err
		}
	}
	return nil
}

// slowest is by how much a long answer may take longer than a short one.
const slowest = 3

// public is a status without what it says of others.
func (s Status) public() Status {
	s.Counters = nil // they count what others do
	s.Conflicts = slices.DeleteFunc(slices.Clone(s.Conflicts), func(f Conflict) bool {
		return !slices.Contains(publicConflicts(), f.Key)
	})
	if len(s.ConfigProblems) > 0 { // the file may be root's alone
		s.ConfigProblems = []string{"the configuration on disk is not valid (root is told where)"}
	}
	return s
}

// publicConflicts are the keys of findings that are about the machine and not
// about anybody's login. What is not known here is not public.
func publicConflicts() []string {
	return []string{
		"cgroup.none", "cgroup.legacy", "cgroup.hybrid", "logind.none", "logind.kills", "logind.unsure", "audit.none", "pam.loginuid",
	}
}

// logins are the caller's, or everybody's for root.
func (s *Server) logins(ctx context.Context, c *caller, q LoginQuery) ([]Login, error) {
	q.UID = c.uid
	list, err := s.Handler.Logins(ctx, q)
	if err != nil || q.All {
		return list, err
	}
	return slices.DeleteFunc(slices.Clone(list), func(l Login) bool { return l.UID != c.uid }), nil
}

func (s *Server) log(ctx context.Context, c *caller, r request) ([]history.Record, error) {
	if c.uid != 0 {
		select {
		case s.logs <- struct{}{}:
			defer func() { <-s.logs }()
		case <-ctx.Done():
			return nil, errStopping
		}
	}
	list, err := s.Handler.Log(c.uid, r.All, *r.Log)
	if err != nil || r.All {
		return list, err
	}
	return slices.DeleteFunc(slices.Clone(list), func(h history.Record) bool { return h.UID != c.uid }), nil
}

// end asks for the end of a login and tells how it goes on, for as long as the
// client listens. The end itself does not depend on that: whoever asks for the
// end of the login that he is in goes with it.
func (s *Server) end(ctx context.Context, c *caller, r request) error {
	if c.uid != 0 {
		if r.End.Reason != session.ReasonRequested {
			return fmt.Errorf("%w: another reason than %q", ErrDenied, session.ReasonRequested)
		}
		own, err := s.logins(ctx, c, LoginQuery{})
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(own, func(l Login) bool { return l.ID == r.Login }) {
			return ErrNoLogin
		}
	}
	result, err := s.endTelling(ctx, c, r)
	switch {
	case ctx.Err() != nil:
		return errStopping
	case err != nil:
		return err
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(s.Patience))
	return c.send(answer{Result: &result})
}

// errStopping is for who waits while the daemon is stopped: what it has begun
// is finished, by its next instance if need be.
var errStopping = fmt.Errorf("%w (it is being stopped; an end that was begun goes on)", ErrFailed)

// maxSteps is how far behind the end a client may read.
const maxSteps = 64

// endTelling calls the handler, tells the steps meanwhile and listens for the
// client's hanging up. errHungUp: it has.
func (s *Server) endTelling(stop context.Context, c *caller, r request) (Result, error) {
	ctx, hangUp := context.WithCancel(stop)
	steps, over := make(chan Step, maxSteps), make(chan struct{})
	var side sync.WaitGroup
	_ = c.conn.SetReadDeadline(time.Time{})
	side.Go(func() {
		if hungUp(c) {
			hangUp()
		}
	})
	side.Go(func() {
		if s.tell(ctx, c, steps, over) != nil {
			hangUp()
		}
	})
	result, err := s.Handler.End(ctx, c.uid, r.Login, *r.End, func(step Step) {
		select {
		case steps <- step:
		default: // it reads too slowly: the result counts
		}
	})
	close(over)
	_ = c.conn.SetReadDeadline(time.Unix(1, 0))
	side.Wait()
	gone := ctx.Err() != nil && stop.Err() == nil
	hangUp()
	if gone {
		return result, errHungUp
	}
	return result, err
}

// hungUp waits until the client closes its end, or says a second thing, which
// it must not; false: the deadline was set meanwhile, to stop it.
func hungUp(c *caller) bool {
	_, err := c.conn.Read(make([]byte, 1))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// tell sends steps until the end is over, and those that were there by then.
func (s *Server) tell(ctx context.Context, c *caller, steps <-chan Step, over <-chan struct{}) error {
	send := func(step Step) error {
		_ = c.conn.SetWriteDeadline(time.Now().Add(s.Patience))
		return c.send(answer{Step: &step})
	}
	for {
		select {
		case step := <-steps:
			if err := send(step); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		case <-over:
			for len(steps) > 0 {
				if err := send(<-steps); err != nil {
					return err
				}
			}
			return nil
		}
	}
}
