package ending

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"xexit/internal/linux"
)

// claimsDir is below Host.RunDir.
const claimsDir = "ends"

// claimLogin makes one end of a login exclusive, by a lock on a file that goes
// with the process. Whoever finds it taken waits: that end may be cut short.
// The file is removed by who releases it, so a lock counts only if the name
// still leads to what was locked.
func (h Host) claimLogin(id string) (release func(), err error) {
	dir := filepath.Join(h.RunDir, claimsDir)
	// Ordinary users pass through the one above, to the daemon's socket.
	if err := os.MkdirAll(h.RunDir, 0o755); err != nil {
		return nil, fmt.Errorf("claim the end of login %s: %w", id, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("claim the end of login %s: %w", id, err)
	}
	path := filepath.Join(dir, id+".lock")
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
		if err == nil {
			err = linux.Flock(int(f.Fd()), true)
		}
		if err != nil {
			return nil, fmt.Errorf("claim the end of login %s: %w", id, err)
		}
		mine, err := f.Stat()
		if err != nil {
			return nil, fmt.Errorf("claim the end of login %s: %w", id, errors.Join(err, f.Close()))
		}
		now, err := os.Lstat(path)
		if err == nil && os.SameFile(mine, now) {
			return func() { _ = errors.Join(os.Remove(path), f.Close()) }, nil
		}
		if err = errors.Join(f.Close(), ignore(err, fs.ErrNotExist)); err != nil {
			return nil, fmt.Errorf("claim the end of login %s: %w", id, err)
		}
	}
}

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}
