package logind

import (
	"errors"

	"xexit/internal/cgroup"
)

// service is where systemd runs logind.
const service = "/system.slice/systemd-logind.service"

// Running reports whether systemd's logind runs: its processes say so, the
// directories in /run are there without it too.
func Running(tree cgroup.Tree) (bool, error) {
	g, err := tree.Open(service)
	if errors.Is(err, cgroup.ErrGone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	live, err := g.Populated()
	return live, errors.Join(err, g.Close())
}
