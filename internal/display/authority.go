package display

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"xexit/internal/display/x11"
)

// maxAuthority bounds the Xauthority file: one of a host that has seen a
// thousand displays is 50 kB.
const maxAuthority = 1 << 20

// readAuthority reads an Xauthority file. The home of it may be on a server
// that hangs, so the read has a goroutine of its own, which is left behind when
// ctx ends; it must not be a pipe or device either.
func readAuthority(ctx context.Context, path string) ([]x11.Entry, error) {
	type result struct {
		entries []x11.Entry
		err     error
	}
	done := make(chan result, 1)
	go func() {
		entries, err := readAuthorityFile(path)
		done <- result{entries, err}
	}()
	select {
	case r := <-done:
		return r.entries, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("read %s: %w", path, ctx.Err())
	}
}

func readAuthorityFile(path string) ([]x11.Entry, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxAuthority+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxAuthority {
		return nil, fmt.Errorf("read %s: larger than %d bytes", path, maxAuthority)
	}
	entries, err := x11.ParseAuthority(data)
	if err != nil {
		return entries, fmt.Errorf("read %s: %w", path, err)
	}
	return entries, nil
}

// authority finds the entries for a display. A file that cannot be read is no
// reason to give up yet: a server may let its owner in without a cookie
// (xhost +si:localuser:NAME). The error is for the case that it does not.
func authority(ctx context.Context, o Options) ([]x11.Entry, error) {
	path, named := o.Authority, true
	if path == "" {
		if o.Home == "" {
			return nil, nil
		}
		path, named = o.Home+"/.Xauthority", false
	}
	entries, err := readAuthority(ctx, path)
	if !named && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}
