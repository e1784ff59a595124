package daemon

import (
	"errors"
	"os"
	"path/filepath"

	"xexit/internal/cgroup"
	"xexit/internal/logind"
	"xexit/internal/logins"
)

// HostSource is what tells of the logins of a host: logind and the PAM hook,
// both, always. The hook has none where logind runs, and whoever has one tells
// when it is over, so nobody need decide between them, and a logind that does
// not run for a moment leaves nobody logged out. name is what people call the
// one that tells now. trouble hears what goes wrong without an end to it;
// concurrently.
func HostSource(root, procRoot string, trouble func(error)) (s Source, name string, err error) {
	all, err := logins.Of(root, procRoot, trouble)
	if err != nil {
		return nil, "", err
	}
	tree, err := cgroup.Mounted(procRoot)
	if errors.Is(err, cgroup.ErrNoHierarchy) {
		if _, absent := os.Stat(filepath.Join(root, "run/systemd/system")); absent == nil { // sd_booted(3)
			return all, "logind", nil
		}
		return nil, "", errors.Join(errors.New("neither logind runs here, nor can the PAM hook work"), err)
	}
	if err != nil {
		return nil, "", err
	}
	runs, err := logind.Running(tree)
	if runs || err != nil {
		return all, "logind", err
	}
	return all, "pam", nil
}
