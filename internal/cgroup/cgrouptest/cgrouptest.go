// Package cgrouptest is for tests with real control groups: it starts programs
// in one, of either version of cgroups(7), and runs tests again where there are
// only those of version 1. What becomes of a group is not its business.
package cgrouptest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Into has c, which is `sh -c SCRIPT` and not started, run in the group that has
// this directory, from its first line on. A group of version 1 cannot be given
// to clone(2): there the shell enters it, by a file that root has opened.
func Into(t testing.TB, c *exec.Cmd, dir string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "cgroup.events")); err == nil {
		d, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		if c.SysProcAttr == nil {
			c.SysProcAttr = &syscall.SysProcAttr{}
		}
		c.SysProcAttr.UseCgroupFD, c.SysProcAttr.CgroupFD = true, int(d.Fd())
		return
	}
	procs, err := os.OpenFile(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = procs.Close() })
	c.ExtraFiles = []*os.File{procs}
	c.Args[2] = "echo 0 >&3 || exit; exec 3>&-\n" + c.Args[2]
}

// legacy makes a mount table that has no cgroup2, as a host has that was booted
// with systemd.unified_cgroup_hierarchy=0 and legacy_systemd_cgroup_controller.
const legacy = `set -e
mount --make-rprivate /
umount -R -l /sys/fs/cgroup
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/freezer
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
mount -t cgroup -o freezer cgroup /sys/fs/cgroup/freezer
`

// Legacy runs tests of this package (a regular expression of their names) once
// more, in a mount namespace in which control groups are those of version 1
// alone. It takes root and a kernel that has them; cannot is told where not.
func Legacy(t *testing.T, cannot func(t *testing.T, why error), tests string) {
	t.Helper()
	namespace := func(script string, argv ...string) *exec.Cmd {
		c := exec.CommandContext(t.Context(), "sh", append([]string{"-c", legacy + script, "sh"}, argv...)...)
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		return c
	}
	if out, err := namespace("").CombinedOutput(); err != nil {
		t.Log(string(out))
		cannot(t, err)
	}
	out, err := namespace(`exec "$@"`, os.Args[0], "-test.v", "-test.count=1", "-test.run", tests).CombinedOutput()
	text := string(out)
	if err != nil || strings.Contains(text, "--- SKIP") || !strings.Contains(text, "--- PASS") {
		t.Errorf("%v\n%s", err, text)
	}
}
