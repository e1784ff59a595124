package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"xexit/internal/cgroup"
	"xexit/internal/logind"
	"xexit/internal/logins"
	"xexit/internal/member"
	"xexit/internal/proc"
)

// leaveLogin takes this process out of the login that somebody has started it
// from (sudo service xexit start): all that is in there ends with it.
func leaveLogin(procRoot string, procs *proc.FS) error {
	group, err := procs.Cgroup(os.Getpid())
	if err != nil || !member.IsLoginCgroup(group) {
		return err
	}
	tree, err := cgroup.Mounted(procRoot)
	if err == nil {
		err = tree.EnterRoot()
	}
	if err != nil {
		return fmt.Errorf("the daemon was started in somebody's login (%s) and would end with it: %w", group, err)
	}
	return nil
}

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
