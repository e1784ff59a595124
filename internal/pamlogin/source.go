package pamlogin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"xexit/internal/cgroup"
	"xexit/internal/dirwatch"
	"xexit/internal/linux"
	"xexit/internal/member"
)

// Source tells of the hook's logins, and removes those that are over: with it
// they come and go as logind's do.
type Source struct {
	Root string      // of the host's file system: "/"
	Tree cgroup.Tree // the host's control groups
}

// Watch subscribes, then calls changed("") (list everything), then changed(id)
// when a login opened, changed or went. A login goes when the last process in
// its control group is dead. It calls changed from the caller's goroutine, and
// returns nil when ctx is over, or why it cannot watch. One Watch a host at a
// time.
func (s Source) Watch(ctx context.Context, changed func(id string)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	groups, err := linux.NewInotify()
	if err != nil {
		return fmt.Errorf("watch logins: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = groups.Close() })
	defer func() {
		if stop() {
			_ = groups.Close()
		}
	}()
	told, ended := make(chan string), make(chan error, 2)
	tell := func(id string) {
		select {
		case told <- id:
		case <-ctx.Done():
		}
	}
	k := keeper{Source: s, groups: groups, watched: map[string]int{}}
	events := make(chan []linux.InotifyEvent)
	go func() { ended <- dirwatch.Watch(ctx, filepath.Join(s.Root, member.HookDir), tell) }()
	go func() { ended <- readAll(ctx, groups, events) }()
	for {
		select {
		case id := <-told:
			if err := k.look(id); err != nil {
				return err
			}
			if id == "" || member.IsHookID(id) {
				changed(id)
			}
		case list := <-events:
			if err := k.heard(list); err != nil {
				return err
			}
		case err := <-ended:
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

func readAll(ctx context.Context, n *linux.Inotify, to chan<- []linux.InotifyEvent) error {
	for {
		events, err := n.Read()
		if err != nil {
			return err
		}
		select {
		case to <- events:
		case <-ctx.Done():
			return nil
		}
	}
}

// keeper removes logins that are over.
type keeper struct {
	Source
	groups  *linux.Inotify
	watched map[string]int // of a login: the watch on its control group's events
}

// look looks at one login, or at all of them: whoever is new is waited for,
// and what is over goes.
func (k *keeper) look(id string) error {
	if id != "" {
		return k.tend(id)
	}
	list, _ := k.List() // one that cannot be read stays
	for _, l := range list {
		if err := k.tend(l.ID); err != nil {
			return err
		}
	}
	return nil
}

// tend waits for a login's end, which the kernel tells by cgroup.events
// (cgroups(7)), and if that has come already removes it. The removal of its
// file is what others hear of.
func (k *keeper) tend(id string) error {
	if !member.IsHookID(id) {
		return nil
	}
	if _, err := k.Read(id); errors.Is(err, fs.ErrNotExist) {
		return k.forget(id)
	}
	if _, ok := k.watched[id]; !ok {
		watch, err := k.groups.Watch(filepath.Join(k.Tree.Directory(member.HookCgroup(id)), "cgroup.events"), linux.InotifyModify)
		if err == nil {
			k.watched[id] = watch
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	_, err := removeIfEmpty(k.Root, k.Tree, id)
	return err
}

func (k *keeper) forget(id string) error {
	watch, ok := k.watched[id]
	if !ok {
		return nil
	}
	delete(k.watched, id)
	return k.groups.Forget(watch)
}

func (k *keeper) heard(events []linux.InotifyEvent) error {
	for _, e := range events {
		for id, watch := range k.watched {
			if e.Lost || watch == e.Watch {
				if err := k.tend(id); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// List is what the hook's files say now. One that cannot be read is in the
// error; the others are returned.
func (s Source) List() ([]member.Login, error) {
	list, err := member.ListLogins(os.DirFS(s.Root))
	ours := list[:0]
	for _, l := range list {
		if member.IsHookID(l.ID) {
			ours = append(ours, l)
		}
	}
	return ours, err
}

// Read is what the hook's file says of one login now. fs.ErrNotExist: there is
// none of that id.
func (s Source) Read(id string) (member.Login, error) {
	if !member.IsHookID(id) {
		return member.Login{}, &fs.PathError{Op: "read login", Path: id, Err: fs.ErrNotExist}
	}
	return member.ReadLogin(os.DirFS(s.Root), id)
}
