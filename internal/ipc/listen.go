package ipc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"xexit/internal/linux"
)

// Listen makes the socket at path, for everybody to connect to. What a daemon
// that is gone left there is replaced, and so is a symbolic link, whatever it
// leads to; at no time is there nothing. The directory must be of this
// process's user, and nobody else may write to it: who can replace the socket
// can speak for the daemon. It is an error if somebody answers there.
func Listen(path string) (*net.UnixListener, error) {
	l, err := listen(path)
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	return l, nil
}

func listen(path string) (*net.UnixListener, error) {
	if err := trusted(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return nil, errors.New("that is a directory")
	} else if err == nil && info.Mode()&fs.ModeSocket != 0 && answers(path) {
		return nil, errors.New("another daemon answers there")
	}
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var config net.ListenConfig
	generic, err := config.Listen(context.Background(), "unix", fresh)
	if err != nil {
		return nil, err
	}
	l := generic.(*net.UnixListener) //nolint:forcetypeassert // of a unix socket
	// The file stays when the listener is closed: a socket where nobody listens
	// says that the daemon has ended, and its next instance replaces it.
	l.SetUnlinkOnClose(false)
	if err = shorten(l); err == nil {
		err = os.Chmod(fresh, 0o666)
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(fresh))
	}
	return l, nil
}

// backlog is how many connections wait to be accepted. Whoever floods the
// socket fills it, and the next honest one stands behind all of those: with the
// usual 4096 that took seconds where it takes milliseconds now. The client
// waits for a place in it.
const backlog = 32

func shorten(l *net.UnixListener) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = linux.SetBacklog(int(fd), backlog) })
	return errors.Join(err, failed)
}

// trusted: nobody but us and root can put another file there.
func trusted(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is no directory", dir)
	case !ok || stat.Uid != uint32(os.Geteuid()):
		return fmt.Errorf("%s belongs to another user", dir)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s can be written to by others (mode %o)", dir, info.Mode().Perm())
	}
	return nil
}

func answers(path string) bool {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return errors.Is(err, syscall.EAGAIN) // its queue is full
	}
	_ = conn.Close()
	return true
}
