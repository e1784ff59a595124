package watcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"xexit/internal/linux"
)

// MainName is the other binary, with all the verbs that need not stay small.
const MainName = "xexit-main"

// Self is the path of the running binary, links resolved.
func Self() (string, error) {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return strings.TrimSuffix(path, " (deleted)"), nil
}

// FindMain finds xexit-main for the binary at exe: beside it, or in
// ../libexec/xexit.
func FindMain(exe string) (string, error) {
	dir := filepath.Dir(exe)
	places := []string{filepath.Join(dir, MainName), filepath.Join(dir, "../libexec/xexit", MainName)}
	for _, path := range places {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && linux.Executable(path) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is missing: neither %s nor %s is an executable file (is xexit installed completely?)", MainName, places[0], places[1])
}

// FindProgram resolves a PROGRAM as execvp(3) does, against path (PATH) if it
// has no slash, and says why if it cannot be run.
func FindProgram(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		full, err := filepath.Abs(name)
		if err != nil {
			return "", fmt.Errorf("find program %s: %w", name, err)
		}
		return full, runnable(full)
	}
	var refused error
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue // the watcher's directory is /, whatever this one's is
		}
		full := filepath.Join(dir, name)
		err := runnable(full)
		if err == nil {
			return full, nil
		}
		if refused == nil && !errors.Is(err, fs.ErrNotExist) {
			refused = err
		}
	}
	if refused != nil {
		return "", refused
	}
	return "", fmt.Errorf("program %s: not found in PATH: %w", name, fs.ErrNotExist)
}

func runnable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("program %s: there is no such file: %w", path, fs.ErrNotExist)
	case err != nil:
		return fmt.Errorf("program %s: %w", path, err)
	case info.IsDir():
		return fmt.Errorf("program %s: is a directory", path)
	case linux.Executable(path) != nil:
		return fmt.Errorf("program %s: not executable (mode %04o); mend it with: chmod +x %s", path, info.Mode().Perm(), path)
	}
	return nil
}

// EndName is the name by which the binary is `xexit end`.
const EndName = "EndXSession"

// builtin reports whether PROGRAM is xexit itself, asked to end the session,
// and with which further arguments.
func builtin(exe, main, path string, argv []string) (args []string, yes bool) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, false
	}
	if !sameFile(info, exe) && (main == "" || !sameFile(info, main)) {
		return nil, false
	}
	if filepath.Base(path) == EndName {
		return argv[1:], true
	}
	if len(argv) > 1 && argv[1] == "end" {
		return argv[2:], true
	}
	return nil, false
}

func sameFile(info fs.FileInfo, path string) bool {
	other, err := os.Stat(path)
	return err == nil && os.SameFile(info, other)
}
