package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// UnsafeError reports a runtime directory that cannot be trusted or used.
type UnsafeError struct {
	Path   string
	Why    string
	Remedy string
}

func (e *UnsafeError) Error() string {
	return fmt.Sprintf("runtime directory %s: %s (%s)", e.Path, e.Why, e.Remedy)
}

// places are the directories in which the runtime directory may be made.
type places struct {
	run string // per-user runtime directories: /run/user
	tmp string // shared and sticky: /tmp
}

// Dir finds the runtime directory of uid, makes it if it is missing, and
// checks it: $XDG_RUNTIME_DIR/xexit, or xexit in /run/user/UID where the
// variable is unset (a cron job of the user must see the same sessions as his
// logins), or /tmp/xexit-UID where there is neither. It must be a directory of
// uid that nobody else may enter; anything else is an *UnsafeError.
func Dir(getenv func(string) string, uid uint32) (string, error) {
	return findDir(getenv, uid, places{run: "/run/user", tmp: "/tmp"})
}

func findDir(getenv func(string) string, uid uint32, p places) (string, error) {
	name := strconv.FormatUint(uint64(uid), 10)
	for _, base := range []string{getenv("XDG_RUNTIME_DIR"), filepath.Join(p.run, name)} {
		if usableBase(base, uid) {
			return makeDir(filepath.Join(base, "xexit"), uid)
		}
	}
	return makeDir(filepath.Join(p.tmp, "xexit-"+name), uid)
}

// usableBase: a directory of uid's in which nobody else can rename things.
func usableBase(base string, uid uint32) bool {
	if !filepath.IsAbs(base) {
		return false
	}
	info, err := os.Stat(base)
	return err == nil && info.IsDir() && ownerOf(info) == uid && info.Mode().Perm()&0o022 == 0
}

func makeDir(path string, uid uint32) (string, error) {
	err := os.Mkdir(path, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", &UnsafeError{path, "cannot be made: " + err.Error(), "is its parent full or read-only?"}
	}
	info, err := os.Lstat(path) // not Stat: a link would be somebody's trap
	if err != nil {
		return "", &UnsafeError{path, "cannot be looked at: " + err.Error(), "remove it"}
	}
	switch {
	case !info.IsDir():
		return "", &UnsafeError{path, "is not a directory", "remove it: rm " + path}
	case ownerOf(info) != uid:
		return "", &UnsafeError{
			path, fmt.Sprintf("belongs to uid %d, not to uid %d", ownerOf(info), uid),
			"have its owner or root remove it, or set XDG_RUNTIME_DIR to a directory of yours",
		}
	case info.Mode().Perm()&0o077 != 0:
		return "", &UnsafeError{
			path, fmt.Sprintf("is open to others (mode %04o)", info.Mode().Perm()),
			"look what is in it, then: chmod 700 " + path,
		}
	}
	return path, nil
}

func ownerOf(info fs.FileInfo) uint32 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Uid
	}
	return ^uint32(0)
}
