package ending

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"xexit/internal/config"
	"xexit/internal/logindefs"
	"xexit/internal/member"
	"xexit/internal/registry"
)

// servicesIn is what lists the services that may run in a login: nil where
// systemd starts them elsewhere, or none is to be spared.
func (h Host) servicesIn(e *registry.Entry, c config.Config) (func() (map[int]string, error), error) {
	if !member.IsHookCgroup(e.Scope) || !slices.Contains(c.Daemon.Exempt, config.ExemptServices) {
		return nil, nil
	}
	limits, err := loginDefs(path.Join(h.Root, logindefs.Path))
	return func() (map[int]string, error) { return h.services(limits) }, err
}

// runDir is where services keep their pid files, in it or in a directory of
// their own (hier(7), "FHS 3.0, 3.15"). Links to it (/var/run) lead here.
const runDir = "run"

// services lists what pid files in /run name: whose number it is, and the path
// of the file. One counts only if nobody but root and system users can have
// written it or put it there. An error says that the list is not whole.
func (h Host) services(limits logindefs.Range) (map[int]string, error) {
	found := map[int]string{}
	var errs []error
	top := filepath.Join(h.Root, runDir)
	list := func(dir string, below func(name string)) {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("look for pid files: %w", err))
		}
		for _, e := range entries {
			name := filepath.Join(dir, e.Name())
			switch {
			case e.IsDir() && below != nil:
				below(name)
			case e.Type().IsRegular() && isPidFile(e.Name()):
				pid, err := readPidFile(name, limits)
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					errs = append(errs, err)
				}
				if pid > 0 {
					found[pid] = path.Join("/", runDir, strings.TrimPrefix(name, top))
				}
			}
		}
	}
	list(top, func(dir string) {
		if info, err := os.Lstat(dir); err == nil && info.IsDir() && systems(info, limits) {
			list(dir, nil)
		}
	})
	return found, errors.Join(errs...)
}

func isPidFile(name string) bool { return name == "pid" || strings.HasSuffix(name, ".pid") }

// systems: root's or a system user's, and nobody else may write to it.
func systems(info fs.FileInfo, limits logindefs.Range) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().Perm()&0o002 == 0 && (owner.Uid == 0 || limits.System(owner.Uid))
}

// readPidFile is the number in a pid file, 0 if it says none, or is none. What
// is not a file is not waited for: a service user could have put a FIFO there.
func readPidFile(name string, limits logindefs.Range) (int, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return 0, nil // it was none when it was listed
	}
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // read only
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || !systems(info, limits) {
		return 0, err
	}
	const longest = 32
	line, err := bufio.NewReaderSize(io.LimitReader(f, longest), longest).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 1 {
		return 0, nil // of a service that is not running
	}
	return pid, nil
}
