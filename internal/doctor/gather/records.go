package gather

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"xexit/internal/doctor"
	"xexit/internal/history"
)

// access(2), W_OK and X_OK.
const (
	mayWrite = 2
	mayEnter = 1
)

func (g *gatherer) records(ctx context.Context) doctor.Records {
	r := doctor.Records{Syslog: history.DevLog}
	if dir := history.StateDir(g.getenv); dir != "" {
		host, _ := os.Hostname()
		r.State = history.StateFile(dir, host)
		r.StateBad = bounded(ctx, func() string { return writable(r.State) })
	}
	r.SyslogBad = heard(r.Syslog)
	return r
}

// bounded waits for a file system that may hang for no longer than patience;
// the goroutine is left behind then.
func bounded(ctx context.Context, look func() string) string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	said := make(chan string, 1)
	go func() { said <- look() }()
	select {
	case text := <-said:
		return text
	case <-ctx.Done():
		return "its file system does not answer (a file server that hangs?)"
	}
}

// writable says why a file cannot be written, or be made with the directories
// that it is in; "" if it can. Nothing is made for it.
func writable(path string) string {
	mode := uint32(mayWrite)
	for {
		info, err := os.Stat(path)
		switch {
		case err == nil:
			if info.IsDir() {
				mode |= mayEnter
			}
			return room(path, mode)
		case !errors.Is(err, fs.ErrNotExist) || path == "/":
			return plain(err)
		}
		path = filepath.Dir(path)
	}
}

func room(path string, mode uint32) string {
	if err := syscall.Access(path, mode); err != nil {
		return path + ": " + err.Error()
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(path, &fs); err == nil && fs.Blocks > 0 && fs.Bavail == 0 {
		return "its file system is full"
	}
	return ""
}

func plain(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Path + ": " + p.Err.Error()
	}
	return err.Error()
}

// heard says why nobody listens at a log daemon's socket; "" if somebody does.
// Nothing is sent.
func heard(socket string) string {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		var errno syscall.Errno
		if errors.As(err, &errno) {
			return errno.Error()
		}
		return err.Error()
	}
	_ = conn.Close()
	return ""
}
