package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"xexit/internal/cgroup"
	"xexit/internal/logind"
	"xexit/internal/pamlogin"
)

// HostSource is what tells of the logins of a host: logind where it runs, else
// the PAM hook. That is settled once: who changed from one to the other because
// the first does not answer for a moment would see everybody logged out.
// trouble hears what goes wrong without an end to it; concurrently.
func HostSource(root, procRoot string, trouble func(error)) (s Source, name string, err error) {
	tree, err := cgroup.Mounted(filepath.Join(procRoot, "self/mountinfo"))
	none := errors.Is(err, cgroup.ErrNoHierarchy)
	if err != nil && !none {
		return nil, "", err
	}
	runs := false
	if !none {
		if runs, err = logind.Running(tree); err != nil {
			return nil, "", fmt.Errorf("does logind run: %w", err)
		}
	}
	// It may just be starting again.
	if runs || hasLogind(root) {
		return logind.Source{Root: root, Trouble: trouble}, "logind", nil
	}
	if none {
		return nil, "", fmt.Errorf("neither logind runs here, nor can the PAM hook work: %w", cgroup.ErrNoHierarchy)
	}
	return pamlogin.Source{Root: root, Tree: tree}, "pam", nil
}

// hasLogind: systemd has booted the host (sd_booted(3)), and logind has been up.
func hasLogind(root string) bool {
	for _, dir := range []string{"run/systemd/system", "run/systemd/sessions"} {
		if _, err := os.Stat(filepath.Join(root, dir)); err != nil {
			return false
		}
	}
	return true
}
