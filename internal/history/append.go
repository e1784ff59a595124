package history

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"xexit/internal/linux"
)

// DefaultLimit is the size in bytes at which a file is set aside for a new
// one. One old file is kept, so a user's history never takes more than twice that.
const DefaultLimit = 1 << 20

// systemAside is how many old files of a whole machine's lasting history are kept:
// some thousand ends.
const systemAside = 32

// runtimeName is the file of the first copy, in the runtime directory.
const runtimeName = "records.jsonl"

// StateDir is where a user's history lasts: xexit below $XDG_STATE_HOME, or
// below ~/.local/state where that is unset or relative (XDG base directory
// specification). "" if there is no home either. The disk is not touched.
func StateDir(getenv func(string) string) string {
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "xexit")
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local/state/xexit")
	}
	return ""
}

// StateFile is the file of one host's records in dir. A home may be shared by
// many hosts, and their locks do not always reach each other.
func StateFile(dir, host string) string {
	host = strings.Map(func(c rune) rune {
		if c == '/' || c < ' ' || c == 0x7f {
			return '_'
		}
		return c
	}, host)
	if strings.Trim(host, ".") == "" {
		host = "localhost"
	}
	return filepath.Join(dir, host+".jsonl")
}

// RuntimeFile is the first copy in the runtime directory.
func RuntimeFile(dir string) string { return filepath.Join(dir, runtimeName) }

// Append adds one line to the records of a host in dir and waits until the
// disk has it. It blocks for as long as the file system does: what must not
// wait goes through Writer.
func Append(dir, host string, line Record) error {
	text, err := encode(line)
	if err != nil {
		return err
	}
	return appendLines(StateFile(dir, host), DefaultLimit, text)
}

// appendLines adds whole lines to the file, each in one write at the file's
// end (O_APPEND, open(2)), and syncs. A file of limit bytes or more is set
// aside first. Nobody is waited for: where another writer has the lock, the
// lines go in all the same, which is safe, and only the rotation is left out.
func appendLines(path string, limit int64, lines ...[]byte) error {
	return appendTo(path, limit, 1, false, lines)
}

func appendTo(path string, limit int64, aside int, once bool, lines [][]byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, created, err := openForAppend(path, limit, aside, once)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if once {
		if lines, err = missing(path, lines); err != nil {
			return err
		}
	}
	for i, line := range lines {
		if i == 0 && torn(f) {
			line = append([]byte{'\n'}, line...)
		}
		if _, err := f.Write(line); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if created {
		return syncDir(filepath.Dir(path))
	}
	return nil
}

// openForAppend opens the file, after setting aside a full one, so that there are
// at most so many of these. With wait it comes back with the lock, otherwise only
// if that is free.
func openForAppend(path string, limit int64, aside int, wait bool) (f *os.File, created bool, err error) {
	for range 16 { // each time but one another writer was faster
		_, statErr := os.Lstat(path)
		created = errors.Is(statErr, os.ErrNotExist)
		// A link or a pipe in its place would lead the write elsewhere or block it.
		f, err = os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, false, err
		}
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("open %s: not a regular file", path)
		}
		if err != nil {
			return nil, false, errors.Join(err, f.Close())
		}
		var locked bool
		if wait {
			if locked, err = lockAlone(f, path); err == nil && !locked {
				_ = f.Close() // nothing was written
				continue
			}
			if err == nil {
				info, err = f.Stat() // others may have written meanwhile
			}
		} else {
			locked, err = linux.TryFlock(int(f.Fd()), true)
		}
		if err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.ENOLCK) {
			return nil, false, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		if !locked || !full(path, info, limit) {
			return f, created, nil
		}
		err = setAside(path, aside)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, false, err
		}
	}
	return nil, false, fmt.Errorf("open %s: it is full again at once", path)
}

// setAside makes the file the newest of those that were set aside, and drops the
// oldest. Where it was cut short a number is missing, which does no harm.
func setAside(path string, aside int) error {
	for n := aside; n > 1; n-- {
		if err := os.Rename(oldName(path, n-1), oldName(path, n)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.Rename(path, oldName(path, 1))
}

// oldName is the name of a file that was set aside: 1 is the newest.
func oldName(path string, n int) string { return path + "." + strconv.Itoa(n) }

// full reports whether the opened file is to be set aside. It is not where path
// names another file by now: the writer that had the lock before did it, and
// doing it again would cost the old file.
func full(path string, opened os.FileInfo, limit int64) bool {
	if opened.Size() < limit {
		return false
	}
	now, err := os.Lstat(path)
	return err == nil && os.SameFile(now, opened)
}

// torn reports whether the last write to the file was cut off: the next line
// then begins on a line of its own, and only the torn one is lost.
func torn(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], info.Size()-1)
	return err != nil && !errors.Is(err, io.EOF) || last[0] != '\n'
}

// syncDir makes a new name last (fsync(2)); not every file system can.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

// explain puts an error of the file system into words that say what to do.
func explain(err error) string {
	for _, known := range []struct {
		errno syscall.Errno
		text  string
	}{
		{syscall.ENOSPC, "disk full (ENOSPC): free some space there"},
		{syscall.EDQUOT, "disk quota used up (EDQUOT): free some space there or raise the quota"},
		{syscall.EROFS, "the file system is read-only (EROFS)"},
		{syscall.EACCES, "permission denied (EACCES): the directory must be the user's own"},
		{syscall.EPERM, "operation not permitted (EPERM)"},
		{syscall.ELOOP, "it is a symbolic link (ELOOP): remove it"},
		{syscall.ENOTDIR, "a part of its path is no directory (ENOTDIR)"},
		{syscall.ESTALE, "the file system is gone (ESTALE)"},
		{syscall.ENOTCONN, "the file system is gone (ENOTCONN)"},
		{syscall.EIO, "input/output error (EIO)"},
	} {
		if errors.Is(err, known.errno) {
			return known.text
		}
	}
	return err.Error()
}
