// Package dirwatch says which names of a directory may have changed, by
// inotify(7). What the files say, and whether it is news, is for the reader.
package dirwatch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"xexit/internal/linux"
)

// Watch calls changed with each name that is made, replaced, written or
// removed in dir, and with "" whenever any of them may have been: first when
// dir is watched, later when the kernel had too much to tell and when dir
// itself went or came. A directory that is not there is waited for. It calls
// changed from one goroutine, and returns when ctx is over, with nil, or when
// it can no longer watch.
func Watch(ctx context.Context, dir string, changed func(name string)) error {
	n, err := linux.NewInotify()
	if err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = n.Close() })
	defer func() {
		if stop() {
			_ = n.Close()
		}
	}()
	w := watch{n: n, dir: filepath.Clean(dir), id: -1, above: -1}
	if err = w.run(changed); ctx.Err() != nil {
		return nil // what failed, failed because of Close
	}
	return fmt.Errorf("watch %s: %w", dir, err)
}

// watch is one directory, or the nearest above it that is there.
type watch struct {
	n         *linux.Inotify
	dir       string
	id, above int // -1: not watched
}

func (w *watch) run(changed func(string)) error {
	if err := w.aim(changed); err != nil {
		return err
	}
	for {
		events, err := w.n.Read()
		if err != nil {
			return err
		}
		again := false
		for _, e := range events {
			switch {
			case e.Lost:
				changed("")
			case e.Watch == w.above:
				again = true
			case e.Watch != w.id:
			case e.Gone:
				w.id, again = -1, true
				if err := w.n.Forget(e.Watch); err != nil { // renamed, it would be watched still
					return err
				}
				changed("")
			case e.Name != "":
				changed(e.Name)
			}
		}
		if again && w.id < 0 {
			if err := w.aim(changed); err != nil {
				return err
			}
		}
	}
}

// aim watches the directory, or while it is not there what it will come in.
func (w *watch) aim(changed func(string)) error {
	for {
		id, err := w.n.Watch(w.dir, linux.InotifyNames)
		if err == nil {
			if w.above >= 0 {
				err = w.n.Forget(w.above)
			}
			w.id, w.above = id, -1
			changed("")
			return err
		}
		if !missing(err) {
			return err
		}
		above, err := w.watchAbove()
		if err != nil {
			return err
		}
		if above == w.above {
			return nil // nothing came between the two looks
		}
		if w.above >= 0 {
			if err := w.n.Forget(w.above); err != nil {
				return err
			}
		}
		w.above = above
	}
}

// watchAbove watches the nearest directory above that is there.
func (w *watch) watchAbove() (int, error) {
	for up := filepath.Dir(w.dir); ; up = filepath.Dir(up) {
		id, err := w.n.Watch(up, linux.InotifyNames)
		if err == nil || !missing(err) || up == "/" {
			return id, err
		}
	}
}

func missing(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
