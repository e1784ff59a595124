package displayd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"xexit/internal/linux"
)

// open has a connection opened for the worker, or says that it cannot be had
// now. It does not wait.
func (c *Client) open(ctx context.Context, all *sync.WaitGroup, l *link, m message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.logins[m.Login]
	if w == nil || w.ended || w.opening >= waitingALogin {
		l.send(message{Say: sayHere, N: m.N}, none)
		return nil
	}
	w.opening++
	turn, spec := w.turn, w.spec
	all.Go(func() {
		err := c.takeTurn(ctx, turn, l, m, spec)
		c.mu.Lock()
		defer c.mu.Unlock()
		w.opening--
		if err == nil || ctx.Err() != nil || c.logins[m.Login] != w {
			return
		}
		// The worker learns that nothing came; why, only the daemon knows.
		if text := err.Error(); text != w.trouble {
			w.trouble = text
			c.events.put(Event{Login: m.Login, Kind: Failed, Err: short(text, maxText)})
		}
	})
	return nil
}

// takeTurn runs an opener when others are done. If that takes too long it is
// asked for again.
func (c *Client) takeTurn(ctx context.Context, turn chan struct{}, l *link, m message, s Spec) error {
	patience := time.NewTimer(slotPatience)
	defer patience.Stop()
	for _, slots := range []chan struct{}{turn, c.slots} {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-patience.C:
			l.send(message{Say: sayHere, N: m.N}, none)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return c.runOpener(ctx, l, m, s)
}

// runOpener runs an opener between the worker and a login's display.
func (c *Client) runOpener(ctx context.Context, l *link, m message, s Spec) error {
	note, err := c.note(m.Login)
	if err != nil {
		l.send(message{Say: sayHere, N: m.N}, none)
		return err
	}
	defer note.Close()
	workers, openers, err := linux.MessagePair()
	if err != nil {
		l.send(message{Say: sayHere, N: m.N}, none)
		return err
	}
	socket := os.NewFile(uintptr(openers), "opener")
	defer socket.Close()
	l.send(message{Say: sayHere, N: m.N}, workers)
	ctx, cancel := context.WithTimeout(ctx, openerPatience)
	defer cancel()
	err = c.o.Opener(ctx, Opening{Login: m.Login, UID: s.UID, Argv: s.argv(m.Again), Socket: socket, Note: note})
	if err != nil {
		return fmt.Errorf("start what opens the display of login %s: %w", m.Login, err)
	}
	return nil
}

// argv tells an opener what to open.
func (s *Spec) argv(again bool) []string {
	argv := []string{
		OpenerVerb, "--leader", strconv.Itoa(s.Leader.PID), "--start", strconv.FormatUint(s.Leader.Start, 10), "--cgroup", s.Cgroup,
	}
	if s.Display != "" {
		argv = append(argv, "--display", s.Display)
	}
	if s.Wayland {
		argv = append(argv, "--wayland")
	}
	if again {
		argv = append(argv, "--again")
	}
	return argv
}

// What an opener has found out it keeps in a file that the daemon opens for it
// and never reads: the next one may not find it any more, in a session that is
// falling apart. The file outlasts the daemon.

func (c *Client) makeNotes() error {
	if err := os.MkdirAll(c.o.Notes, 0o700); err != nil {
		return fmt.Errorf("keep what is known of displays: %w", err)
	}
	return nil
}

func (c *Client) note(login string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(c.o.Notes, login), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep what is known of a display: %w", err)
	}
	return f, nil
}

// forgetNote: there may be none.
func (c *Client) forgetNote(login string) { _ = os.Remove(filepath.Join(c.o.Notes, login)) }

// errNotOver reports an opener that was still there when its time was over.
var errNotOver = errors.New("it took too long")
