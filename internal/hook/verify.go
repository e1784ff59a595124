package hook

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

// verified is a hook that may be run: nobody but root and the user can have
// written it, or can put something else in its place.
type verified struct {
	target  string // its path without any symbolic link
	sourced bool
}

// verifyHook examines the hook at path, an absolute name, for the user uid.
//
// The path is resolved first, then walked from / by descriptors, no link
// followed. Every directory on the way and the file itself must belong to root
// or uid, and nobody else may write to it. After that the name cannot be turned
// to another file by anybody but those two, so that running it by its name is
// no race; the name is what a script wants to see as $0, which a descriptor
// under /proc/self/fd would spoil.
func verifyHook(path string, uid int) (verified, error) {
	if _, err := verifyDir(filepath.Dir(path), uid); err != nil {
		return verified{}, fmt.Errorf("its directory: %w", err)
	}
	target, info, err := walk(path, uid)
	if err != nil {
		return verified{}, err
	}
	if !info.Mode().IsRegular() {
		return verified{}, fmt.Errorf("it is no regular file (%s)", info.Mode().Type())
	}
	if err := trusted(target, info, uid, false); err != nil {
		return verified{}, err
	}
	v := verified{target: target, sourced: info.Mode().Perm()&0o111 == 0}
	const readable, executable = 4, 1 // R_OK, X_OK
	if v.sourced {
		if err := syscall.Access(target, readable); err != nil {
			return verified{}, fmt.Errorf("uid %d may not read it: %w", uid, err)
		}
	} else if err := syscall.Access(target, executable); err != nil {
		return verified{}, fmt.Errorf("it is executable (mode %04o), but uid %d may not execute it: %w",
			info.Mode().Perm(), uid, err)
	}
	return v, nil
}

// verifyDir examines a directory of hooks and returns its resolved path.
func verifyDir(dir string, uid int) (string, error) {
	target, info, err := walk(dir, uid)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", errors.New("it is no directory")
	}
	return target, trusted(target, info, uid, false)
}

// walk resolves path and returns what it leads to. The directories above that
// have been found trustworthy then; the thing itself has not been looked at.
func walk(path string, uid int) (target string, info fs.FileInfo, err error) {
	target, err = filepath.EvalSymlinks(path)
	if err != nil {
		return "", nil, err
	}
	at, err := linux.OpenPathAt(nil, "/")
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = at.Close() }()
	rest := strings.TrimPrefix(target, "/")
	for {
		info, err = at.Stat()
		if err != nil || rest == "" {
			return target, info, err
		}
		if err := trusted(at.Name(), info, uid, true); err != nil {
			return "", nil, err
		}
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		next, err := linux.OpenPathAt(at, name)
		if err != nil {
			return "", nil, err
		}
		_ = at.Close()
		at = next
	}
}

// trusted tells whether only root and uid can change what info describes. The
// group bits of the mode include what an access control list grants (acl(5)).
// In a sticky directory above, such as /tmp, nobody can replace the files of
// root and uid, so that others may write to it.
func trusted(path string, info fs.FileInfo, uid int, above bool) error {
	if info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%s was replaced while it was examined", path)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: its owner cannot be told", path)
	}
	if owner := int(stat.Uid); owner != 0 && owner != uid {
		return fmt.Errorf("%s belongs to uid %d, neither root nor the user it would run as (uid %d); chown root %[1]s, once you know what it does",
			path, owner, uid)
	}
	if info.Mode().Perm()&0o022 != 0 && !(above && info.Mode()&os.ModeSticky != 0) {
		return fmt.Errorf("%s may be written to by others than its owner (mode %04o); chmod go-w %[1]s", path, info.Mode().Perm())
	}
	return nil
}
